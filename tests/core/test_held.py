"""Slots that wait for other jobs."""

from harpoon.core.held import NoSecret, Unmet, hold_back
from harpoon.model.decision import Blocker, Pending
from harpoon.model.dependency import Dependency
from tests.builders import T0, a_job, at

DB = Unmet(dependency=Dependency(job="db"), found="progressing, 1/3 ready")
CACHE = Unmet(dependency=Dependency(job="cache"), found="there is no such job")
FULL = Pending(
    namespace="default",
    job="web",
    generation="g1",
    slots=(2,),
    reason="1 of 3 wanted slots cannot be placed",
    blockers=(Blocker(predicate="cpu", wanted="2", found="1", agents=("a1",), agents_count=1),),
    since_ms=5,
)


def test_what_waits_says_for_whom_and_how_that_one_stands():
    pending = hold_back(a_job(scale=3), (0, 1), (DB, CACHE), None, at())
    assert pending.reason == (
        "2 of 3 wanted slots wait for job db to be ready (found progressing, 1/3 ready) "
        "and for job cache to be ready (found there is no such job)"
    )
    assert [(b.predicate, b.wanted, b.found) for b in pending.blockers] == [
        ("depends_on db", "ready", "progressing, 1/3 ready"),
        ("depends_on cache", "ready", "there is no such job"),
    ]
    assert (pending.slots, pending.since_ms, pending.generation) == ((0, 1), T0, "g1")


def test_without_slots_held_back_it_is_as_it_was():
    assert hold_back(a_job(), (), (DB,), FULL, at()) is FULL
    assert hold_back(a_job(), (), (), None, at()) is None


def test_slots_held_back_and_slots_without_room_are_told_together():
    pending = hold_back(a_job(scale=3), (0,), (DB,), FULL, at())
    assert pending.slots == (0, 2)
    assert pending.reason.startswith("1 of 3 wanted slots wait for job db")
    assert pending.reason.endswith("; 1 of 3 wanted slots cannot be placed")
    assert [b.predicate for b in pending.blockers] == ["depends_on db", "cpu"]


def test_what_waits_for_a_secret_names_it_and_says_what_is_lacking():
    lacking = NoSecret(name="db/password", found="secret db has no key password")
    pending = hold_back(a_job(scale=2), (0, 1), (DB, lacking), None, at())
    assert pending.reason.endswith(" and for secret db/password to be set (secret db has no key password)")
    told = pending.blockers[1]
    assert (told.predicate, told.wanted, told.found) == (
        "secret db/password",
        "set",
        "secret db has no key password",
    )


def test_what_waits_for_a_run_says_how_that_one_ended():
    lacking = Unmet(dependency=Dependency(run="m-42"), found="failed: no disk")
    pending = hold_back(a_job(scale=1), (0,), (DB, lacking), None, at())
    assert pending.reason.endswith(" and for run m-42 to have succeeded (found failed: no disk)")
    told = pending.blockers[1]
    assert (told.predicate, told.wanted, told.found) == ("depends_on run/m-42", "succeeded", "failed: no disk")
