"""Exclusive jobs: which slots want a placement and which placements go, rule by rule."""

from dataclasses import replace
from datetime import timedelta

import pytest

from harpoon.core.exclusive import revoked, waits_for_agent
from harpoon.core.rollout import rollout
from harpoon.core.standing import Standing
from harpoon.core.waits import agents_word
from harpoon.model.decision import Drop, Rollout
from harpoon.model.job import OnLost
from harpoon.model.lifecycle import RestartPolicy
from harpoon.model.task import TaskState
from harpoon.model.why import ReasonCode
from tests.builders import T0, a_job, a_placement, a_task, at

READY, STARTING, FAILED, FINISHED, LOST = (
    TaskState.RUNNING,
    TaskState.STARTING,
    TaskState.FAILED,
    TaskState.FINISHED,
    TaskState.LOST,
)
NOTHING = Rollout(wants=(), drops=(), held=(), due=None)


def one(slot=0, state=READY, *, since_s=0.0, reason="", why="it had the fewest", **placement):
    """A placement of an exclusive job and its task; state None: not reported."""
    placed = a_placement(slot=slot, reason=why, **({"is_exclusive": True} | placement))
    task = state and a_task(placed, state=state, since_ms=at(since_s).wall, reason=reason)
    return Standing(placement=placed, task=task)


def old(slot=0, state=READY, **fields):
    return one(slot, state, **({"generation": "g0"} | fields))


def going(slot=0, state=None, **fields):
    return old(slot, state, is_revoked=True, **fields)


def denied(slot=0, state=None, **fields):
    return one(slot, state, is_revoked=True, is_denied=True, **fields)


def roll(job, *standings, now=None, **how):
    return rollout(job, standings, now or at(0), **how)


def wanted(rolled):
    return [want.slot for want in rolled.wants]


def dropped(rolled):
    return [drop.task for drop in rolled.drops]


def a_single(**fields):
    return a_job(exclusive=True, **fields)


def test_slots_without_placements_are_wanted_at_once():
    assert wanted(roll(a_single(scale=3))) == [0, 1, 2]


@pytest.mark.parametrize("state", [None, READY, STARTING, TaskState.STOPPING, LOST])
def test_what_is_placed_and_not_known_to_have_failed_is_left_alone(state):
    assert roll(a_single(), one(state=state)) == replace(NOTHING, is_complete=True)
    assert roll(a_single(), one(state=state), evictable=0) == replace(NOTHING, is_complete=True)


def test_a_slot_on_an_agent_that_is_drained_is_broken_when_it_is_its_turn():
    rolled = roll(a_single(scale=2), one(), one(1, agent="a2"), leaving={"a1": None, "a2": None})
    assert rolled.drops == (Drop(task=one().placement.task, agent="a1", reason="agent a1 is being drained"),)
    assert roll(a_single(scale=2), one(), one(1, agent="a2"), leaving={"a3": None}).drops == ()


def test_when_the_deadline_of_a_drain_has_passed_it_is_broken_whosever_turn_it_is():
    slots = one(state=STARTING), one(1, agent="a2")
    waits = roll(a_single(scale=2), *slots, leaving={"a2": T0 + 3_000})
    assert (dropped(waits), waits.due) == ([], timedelta(seconds=3))
    assert dropped(roll(a_single(scale=2), *slots, leaving={"a2": T0})) == [slots[1].placement.task]


def test_the_deadline_of_a_drain_does_not_wait_for_what_the_job_depends_on():
    slot = one(agent="a2")
    waits = roll(a_single(), slot, is_held=True, leaving={"a2": T0 + 3_000})
    assert (dropped(waits), waits.held, waits.due) == ([], (0,), timedelta(seconds=3))
    assert dropped(roll(a_single(), slot, is_held=True, leaving={"a2": T0})) == [slot.placement.task]


def test_a_slot_whose_task_runs_unclaimed_waits_for_an_operator():
    unclaimed = going(state=TaskState.UNCLAIMED, reason="running since yesterday; adopt or stop it")
    assert wanted(roll(a_single(), unclaimed)) == []
    said = (
        f"slot 0 waits for an operator's word on {unclaimed.placement.task}: running since yesterday; adopt or stop it"
    )
    assert waits_for_agent(unclaimed.placement, unclaimed.task) == said
    assert agents_word(unclaimed.placement, unclaimed.task) is ReasonCode.UNCLAIMED


def test_a_migrate_breaks_before_it_makes():
    before = old(version=4)
    rolled = roll(a_single(version=7), before)
    assert rolled.wants == ()
    assert rolled.drops == (Drop(task=before.placement.task, agent="a1", reason="version 7 replaces version 4"),)


@pytest.mark.parametrize("state", [None, READY, STARTING, TaskState.STOPPING, LOST, FAILED, FINISHED])
def test_what_is_revoked_keeps_its_slot_whatever_its_agent_reports_or_does_not(state):
    assert roll(a_single(), going(state=state)) == NOTHING


def test_what_is_denied_makes_way():
    gone = denied(generation="g0", why="version 2 replaces version 1")
    rolled = roll(a_single(), gone)
    (want,) = rolled.wants
    assert (want.slot, want.replaces, want.avoid, want.failures) == (0, (), (), 0)
    assert want.reason == "version 2 replaces version 1"
    assert dropped(rolled) == [gone.placement.task]


def test_nothing_is_wanted_while_one_of_several_is_not_denied():
    rolled = roll(a_single(), denied(revision=1), going(revision=2))
    assert rolled.wants == ()
    assert dropped(rolled) == ["default.web.0.1-1"]


def test_of_several_that_may_run_all_but_the_current_one_go():
    rolled = roll(a_single(), old(revision=1), one(revision=2, state=STARTING))
    assert rolled.wants == ()
    assert rolled.drops == (Drop(task="default.web.0.1-1", agent="a1", reason="a slot of an exclusive job runs once"),)


@pytest.mark.parametrize(("unavailable", "slots"), [(0, [0]), (1, [0]), (2, [0, 1]), (9, [0, 1, 2])])
def test_no_more_slots_are_broken_at_once_than_may_be_unavailable_or_one(unavailable, slots):
    job = a_single(scale=3, unavailable=unavailable)
    rolled = roll(job, *(old(slot) for slot in range(3)))
    assert [int(task.split(".")[2]) for task in dropped(rolled)] == slots


@pytest.mark.parametrize("gap", [going(0), denied(0), one(0, STARTING), one(0, LOST), None])
def test_a_slot_that_does_not_serve_keeps_others_from_being_broken(gap):
    broken = [gap] if gap else []
    assert dropped(roll(a_single(scale=2), *broken, old(1)))[:1] != ["default.web.1.1-1"]


def test_a_slot_that_has_finished_as_it_may_serves():
    job = a_single(scale=2, restart=RestartPolicy.ON_FAILURE)
    assert dropped(roll(job, one(0, FINISHED), old(1))) == ["default.web.1.1-1"]
    # That one of an older generation has is not what is wanted now.
    assert dropped(roll(job, old(0, FINISHED), old(1))) == ["default.web.0.1-1"]


@pytest.mark.parametrize("state", [None, STARTING, FAILED, LOST])
def test_old_ones_that_serve_nothing_are_revoked_at_no_cost(state):
    rolled = roll(a_single(scale=2), old(0, state), old(1, state))
    assert dropped(rolled) == ["default.web.0.1-1", "default.web.1.1-1"]


def test_a_failed_one_is_revoked_at_once_and_counts():
    rolled = roll(a_single(), one(state=FAILED, since_s=-0.1, reason="exit 1", decided_ms=at(-1).wall))
    (drop,) = rolled.drops
    assert drop.reason == "default.web.0.1-1 on a1 is failed: exit 1"
    assert drop.failures == 1
    assert (rolled.wants, rolled.due) == ((), None)


def test_a_failed_one_that_failed_before_waits_for_its_backoff():
    failed = one(state=FAILED, failures=2, since_s=-0.5, decided_ms=at(-1).wall)
    rolled = roll(a_single(), failed)
    assert (rolled.wants, rolled.drops) == ((), ())
    assert rolled.due.total_seconds() == 1.5
    assert roll(a_single(), failed, now=at(1.5)).drops[0].failures == 3


def test_a_denied_one_that_counts_failures_is_kept_until_its_successor_is_placed():
    gone = denied(failures=3, agent="a2", why="it is failed: exit 1")
    rolled = roll(a_single(), denied(revision=0), gone)
    (want,) = rolled.wants
    assert (want.failures, want.avoid) == (3, ("a2",))
    assert want.replaces == want.ended == (gone.placement.task,)
    assert want.reason == "it is failed: exit 1"
    assert dropped(rolled) == ["default.web.0.1-0"]


def test_another_generation_does_not_count_the_failures_of_the_one_before():
    (want,) = roll(a_single(), denied(generation="g0", failures=3)).wants
    assert (want.failures, want.avoid, want.replaces) == (0, (), ())


@pytest.mark.parametrize("fields", [{"scale": 1}, {"scale": 2, "is_terminating": True}])
def test_a_slot_that_is_not_wanted_any_more_is_revoked_once_and_dropped_when_denied(fields):
    job = a_single(**fields)
    assert dropped(roll(job, one(1)))[-1:] == ["default.web.1.1-1"]
    assert dropped(roll(job, one(1, LOST))) == ["default.web.1.1-1"]
    assert dropped(roll(job, going(1))) == []
    assert dropped(roll(job, denied(1))) == ["default.web.1.1-1"]


def test_nothing_is_broken_for_a_successor_that_a_dependency_holds_back():
    job = a_single(scale=5)
    rolled = roll(job, old(0), old(1, LOST), denied(2, failures=1), denied(3), is_held=True)
    assert rolled.held == (0, 3, 4)
    assert wanted(rolled) == [2]
    assert dropped(rolled) == ["default.web.3.1-1"]


def test_endpoints_that_change_break_a_slot_when_it_is_old_enough():
    young = one(decided_ms=at(0).wall)
    rolled = roll(a_single(), young, bindings={"API": "h:1"})
    assert (rolled.drops, rolled.due.total_seconds()) == ((), 5)
    rolled = roll(a_single(), young, bindings={"API": "h:1"}, now=at(5))
    assert rolled.drops[0].reason == "endpoints that its environment names have changed"


def test_the_order_of_records_is_irrelevant():
    standings = [old(2), going(0), one(1), denied(3)]
    job = a_single(scale=4)
    assert roll(job, *standings) == roll(job, *reversed(standings))


def test_it_waits_for_lost_agents_whatever_is_said():
    assert a_single().spec.waits_for_lost
    assert a_single(on_lost=OnLost.WAIT).spec.waits_for_lost
    assert not a_job().spec.waits_for_lost
    for wrong in ({"on_lost": OnLost.REPLACE}, {"surge": 2}):
        with pytest.raises(ValueError, match="exclusive: true"):
            a_single(**wrong)


def test_a_revoked_record_says_why_it_goes_and_what_it_counts():
    drop = Drop(task="default.web.0.1-1", agent="a1", reason="it is failed", failures=2)
    record = revoked(a_placement(is_exclusive=True), drop, at(9))
    assert (record.is_revoked, record.is_denied) == (True, False)
    assert (record.reason, record.failures, record.decided_ms) == ("it is failed", 2, at(9).wall)


WAITS = "slot 0 waits for agent a1"
END = "; if a1 will never come back: harpoon declare-dead a1"


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (one(), ""),
        (one(state=None), ""),
        (one(state=LOST), f"{WAITS}, on which default.web.0.1-1 may still run{END}"),
        (one(state=LOST, is_exclusive=False), ""),
        (going(), f"{WAITS} to acknowledge that it forgot default.web.0.1-1{END}"),
        (going(state=LOST), f"{WAITS} to acknowledge that it forgot default.web.0.1-1{END}"),
        (going(state=FAILED), f"{WAITS} to acknowledge that it forgot default.web.0.1-1{END}"),
        (going(state=TaskState.STOPPING), ""),
        (denied(), ""),
    ],
)
def test_what_a_slot_waits_for_is_said(standing, said):
    assert waits_for_agent(standing.placement, standing.task) == said


def test_a_slot_whose_record_cannot_be_read_waits_and_says_so():
    unread = going(version=0)
    assert wanted(roll(a_single(), unread)) == []
    said = f"slot 0 waits: the record of {unread.placement.task} cannot be read by this release"
    assert waits_for_agent(unread.placement, unread.task) == said
