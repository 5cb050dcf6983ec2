"""Real faults on real processes, each on a host of its own; what happened is judged as a simulation is."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.network import need_root_and_tools
from tests.proof.checks.running import NoDoubleRun
from tests.proof.history import Event
from tests.proof.judge import Judge, Violation
from tests.system.chaos.census import Census
from tests.system.chaos.flows import flows
from tests.system.chaos.jobs import PROGRAM
from tests.system.chaos.plan import KINDS, from_text, plan, to_text
from tests.system.chaos.run import Setting, round_of
from tests.system.chaos.runners import Asked, amiss
from tests.system.cluster import eventually

pytestmark = pytest.mark.system

#: The shortest times that may be, as this is to be over in a minute.
SHORT = Setting(seed=1, count=16, every_s=1.0, ttl_s=2.0, lost_after_s=6.0, resync_s=3.0, silent_s=6.0, runners=1)


def test_a_seed_makes_the_same_faults_each_time_of_every_kind_in_the_long_run() -> None:
    made = plan(7, 200, 1.5, 3.0)
    assert made == plan(7, 200, 1.5, 3.0) == from_text(to_text(made))
    assert made != plan(8, 200, 1.5, 3.0)
    assert {one.what for one in plan(7, 45, 1.5, 3.0)} == KINDS.keys()


def a_task(census: Census, agent: str, task: str) -> subprocess.Popen[bytes]:
    own = {"CENSUS": str(census.path), "HARPOON_AGENT": agent, "HARPOON_TASK": task}
    return subprocess.Popen([sys.executable, "-S", "-E", str(PROGRAM)], env=own)


def test_the_census_tells_of_starts_and_ends_in_the_order_in_which_they_happened(tmp_path: Path) -> None:
    told: list[Event] = []
    census = Census(tmp_path / "census", lambda event, _: told.append(event), time.monotonic)
    try:
        for number in range(1, 6):
            # Each begins the moment the one before is gone, and not earlier.
            process = a_task(census, "a1", f"default.db.0.1-{number}")
            eventually(lambda: len(told), lambda count, until=2 * number - 1: count == until)
            assert [run.pid for run in census.running()] == [process.pid]
            process.kill()
            process.wait()
        eventually(lambda: len(told), lambda count: count == 10)
        assert not census.running()
        assert [event.kind for event in told] == ["started", "exited"] * 5
        first, second = a_task(census, "a1", "default.db.0.1-6"), a_task(census, "a2", "default.db.0.1-7")
        eventually(lambda: len(told), lambda count: count == 12)
    finally:
        census.close()
    # They end with the census.
    assert (first.wait(10), second.wait(10)) == (0, 0)
    judge = Judge(SHORT.terms(), [NoDoubleRun])
    judge.state.exclusive |= {"default.db.0.1-6", "default.db.0.1-7"}
    for event in told:
        judge.see(event)
    with pytest.raises(Violation, match=r"S3: default.db.0.1-[67] starts on a[12] while"):
        judge.end()


def test_runs_are_to_end_as_follows_from_what_they_were_started_with() -> None:
    made = {
        "r1": Asked("r1", "line", {"n": 1}, is_there=True),
        "r2": Asked("r2", "wrong", {}, is_there=True),
        "r3": Asked("r3", "circle", {"n": 7}, is_there=True, is_cancelled=True),
        "r4": Asked("r4", "ask", {"n": 7}),
    }
    right = {
        "r1": {"status": "succeeded", "outputs": {"n": 6}, "reason": ""},
        "r2": {"status": "failed", "outputs": None, "reason": ""},
        "r3": {"status": "cancelled", "outputs": None, "reason": ""},
    }
    assert not list(amiss(made, right, flows()))
    for run, wrong in (
        ("r1", {"outputs": {"n": 7}}),
        ("r2", {"status": "succeeded"}),
        ("r2", {"status": "cancelled"}),
        ("r3", {"status": "timed_out"}),
    ):
        assert len(list(amiss(made, {**right, run: {**right[run], **wrong}}, flows()))) == 1
    assert len(list(amiss(made, {}, flows()))) == 3


@pytest.mark.timeout(180)
def test_whatever_is_broken_nothing_that_is_promised_is(tmp_path: Path) -> None:
    need_root_and_tools()
    outcome = asyncio.run(round_of(SHORT, tmp_path))
    print(outcome.told())
    assert not outcome.wrong, outcome.told()
    # A run that does little shows little.
    assert outcome.faults.total() >= 12, outcome.told()
    assert outcome.events["started"] > 20
    assert outcome.events["exited"] > 10
    assert outcome.events["committed"] > 50
    assert outcome.events["executed"] > 60
    assert outcome.events["runs_succeeded"] > 8
    assert outcome.events["runs_failed"] >= 1
