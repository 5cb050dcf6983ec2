"""The judge: every property once, each event once, and what it says of a violation."""

import inspect
import re
from pathlib import Path

import pytest

from tests.proof.checks import CHECKS
from tests.proof.history import KINDS, Adopted, Settled, from_line, to_line
from tests.proof.judge import Check, Judge, Terms, Violation
from tests.proof.told import Told, a_house

NAMES = [
    "S1",
    "S2",
    "S3",
    "S4",
    "S5",
    "S6",
    "S7",
    "S8",
    "S9",
    "S11",
    "S12",
    "S15",
    "S16",
    "S17",
    "S18",
    "S19",
    "S20",
    "S21",
    "S22",
    "S23",
    "S24",
    "S25",
    "S26",
    "S27",
    "S28",
    "S29",
    "L1",
    "L2",
    "L3",
    "L4",
    "L5",
    "L6",
    "L7",
    "L8",
    "L9",
]


def test_every_property_is_judged_and_by_one_check_of_each_kind_of_thing():
    assert {check.name for check in CHECKS} == set(NAMES)
    assert len({(check.name, check.says) for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("name", NAMES)
def test_every_property_is_refuted_by_some_history(name):
    """A check that cannot fail is none."""
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_checks*.py"))
    assert re.search(rf'refuted\(.*"{name}"', tests)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_says_what_holds_and_sees_events_that_there_are(check):
    assert check.says.endswith(".")
    assert inspect.getdoc(check)
    handlers = {name.removeprefix("on_") for name in dir(check) if name.startswith("on_")}
    assert handlers <= KINDS.keys()
    assert handlers


def test_a_violation_names_the_property_and_shows_the_evidence():
    event = Settled(t=1.5, node="nemesis")
    violation = Violation("S1", "it does not hold", event)
    assert violation.name == "S1"
    assert str(violation) == 'S1: it does not hold\n  {"t":1.5,"kind":"settled","node":"nemesis"}'
    assert violation.evidence == (event,)


def test_a_check_sees_only_commits_that_concern_it_unless_the_run_is_real():
    seen = []

    class Curious(Check):
        name = "X1"
        says = "Nothing."
        tables = ("links",)

        def on_committed(self, event):
            seen.append(event.revision)

    for terms, wanted in ((Terms(), [3, 4]), (Terms(is_exact=False), [1, 2, 3, 4, 5])):
        seen.clear()
        a_house(terms, Curious)
        assert seen == wanted


def test_a_history_that_was_written_is_judged_as_it_was_told():
    told = a_house()
    told.job()
    token, one = told.hold("a1", "i1"), told.placed("a1")
    told.adopt("a1", token, "i1")
    told.send("a1", token, ("start", one.task))
    told.apply("a1", token, "i1", "start", one.task)
    told.start("a1", one.task)
    read = [from_line(to_line(event)) for event in told.events]
    assert read == told.events
    judge = Judge(Terms())
    for event in read:
        judge.see(event)
    judge.end()
    with pytest.raises(Violation, match=r"^S1: "):
        judge.see(Adopted(t=9, node="a1", token=(0, 1), instance="i0"))


def test_a_told_history_is_judged_as_it_goes():
    told = Told()
    with pytest.raises(Violation, match=r"^S4: "):
        told.start("a1", "default.web.0.1-1")
