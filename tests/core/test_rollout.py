"""Which slots want a placement, which placements go: rule by rule. `test_rollout_world` runs them against a world."""

from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from harpoon.core import glance
from harpoon.core.eviction import UNLIMITED
from harpoon.core.rollout import NOBODY, _roll, rollout
from harpoon.core.standing import Brake, Standing, aims
from harpoon.model.decision import Drop
from harpoon.model.job import OnLost
from harpoon.model.lifecycle import RestartPolicy
from harpoon.model.task import TaskState
from tests.builders import a_job, a_placement, a_task, at

READY, STARTING, FAILED, FINISHED, LOST = (
    TaskState.RUNNING,
    TaskState.STARTING,
    TaskState.FAILED,
    TaskState.FINISHED,
    TaskState.LOST,
)


def standing(slot=0, state=READY, *, ready=None, since_s=0.0, reason="", **placement):
    """A placement and its task; state None: not reported yet."""
    placed = a_placement(slot=slot, **placement)
    task = state and a_task(placed, state=state, ready=ready, since_ms=at(since_s).wall, reason=reason)
    return Standing(placement=placed, task=task)


def roll(job, *standings, now=None, evictable=UNLIMITED, leaving=NOBODY):
    return rollout(job, standings, now or at(0), evictable=evictable, leaving=leaving)


def slots(rolled):
    return [want.slot for want in rolled.wants]


def dropped(rolled):
    return [drop.task for drop in rolled.drops]


def old(slot=0, state=READY, **fields):
    return standing(slot, state, **({"generation": "g0", "revision": 1} | fields))


def new(slot=0, state=READY, **fields):
    return standing(slot, state, **({"generation": "g1", "revision": 2} | fields))


# Slots and scale.


def test_a_new_job_wants_all_its_slots_at_once():
    rolled = roll(a_job(scale=3))
    assert slots(rolled) == [0, 1, 2]
    assert rolled.wants[0].reason == "slot 0 has no placement"
    assert (rolled.drops, rolled.due) == ((), None)


@pytest.mark.parametrize("state", [READY, STARTING, TaskState.STOPPING, TaskState.UNCLAIMED, None])
def test_a_slot_with_a_live_placement_wants_nothing(state):
    rolled = roll(a_job(), new(state=state))
    assert (rolled.wants, rolled.drops, rolled.due) == ((), (), None)


def test_scaling_down_drops_the_highest_slots():
    kept, gone = new(0), new(1)
    assert roll(a_job(scale=1), gone, kept).drops == (
        Drop(task=gone.placement.task, agent="a1", reason="the job is scaled down to 1"),
    )


def test_an_unscheduled_job_drops_everything_even_while_evicting_is_halted():
    rolled = roll(a_job(scale=2, is_terminating=True), new(0, LOST), new(1), evictable=0)
    assert [drop.reason for drop in rolled.drops] == ["the job is unscheduled"] * 2
    assert rolled.wants == ()


def test_a_hole_in_the_middle_is_filled():
    assert slots(roll(a_job(scale=3), new(0), new(2))) == [1]


# Migrating.


def test_a_migrate_makes_before_it_breaks():
    rolled = roll(a_job(version=7), old(version=4))
    assert slots(rolled) == [0]
    assert rolled.wants[0].replaces == ()
    assert rolled.wants[0].reason == "version 7 replaces version 4"
    assert rolled.drops == ()


def test_the_old_one_stays_until_the_new_one_is_ready():
    for state in (None, STARTING, TaskState.STOPPING):
        assert roll(a_job(), old(), new(state=state)).drops == ()
    assert roll(a_job(), old(), new(ready=False)).drops == ()


def test_the_old_one_goes_once_the_new_one_is_ready():
    before, after = old(), new()
    rolled = roll(a_job(), before, after)
    assert rolled.drops == (
        Drop(task=before.placement.task, agent="a1", reason=f"replaced by {after.placement.task}, which is ready"),
    )
    assert rolled.wants == ()


def test_the_old_one_goes_once_the_new_one_has_finished_as_its_policy_lets_it():
    rolled = roll(a_job(restart=RestartPolicy.ON_FAILURE), old(), new(state=FINISHED))
    assert [drop.reason for drop in rolled.drops] == ["replaced by default.web.0.1-2, which has finished"]


def test_surge_bounds_how_many_slots_have_two_placements():
    job = a_job(scale=4, surge=2)
    assert slots(roll(job, *(old(slot) for slot in range(4)))) == [0, 1]
    assert slots(roll(job, *(old(slot) for slot in range(4)), new(2, STARTING))) == [0]
    assert slots(roll(job, *(old(slot) for slot in range(4)), new(1, STARTING), new(3, FAILED, since_s=-1))) == [3]


def test_a_broken_old_generation_blocks_nothing_and_costs_no_surge():
    starting, unready, failed, lost = old(0, STARTING), old(1, READY, ready=False), old(2, FAILED), old(3, LOST)
    rolled = roll(a_job(scale=5), starting, unready, failed, lost, old(4))
    assert slots(rolled) == [0, 1, 2, 3, 4]
    assert [want.replaces for want in rolled.wants] == [
        (starting.placement.task,),
        (unready.placement.task,),
        (failed.placement.task,),
        (lost.placement.task,),
        (),
    ]
    assert [want.ended for want in rolled.wants] == [(), (), (failed.placement.task,), (), ()]
    assert {want.avoid for want in rolled.wants} == {()}
    assert {want.failures for want in rolled.wants} == {0}


def test_old_ones_that_are_not_ready_go_as_soon_as_the_new_one_is_placed():
    between = standing(0, STARTING, generation="g0.5", revision=2)
    rolled = roll(a_job(), old(), between, new(state=None, revision=3))
    assert dropped(rolled) == [between.placement.task]
    assert rolled.drops[0].reason == "replaced by default.web.0.1-3 before it was ready"


def test_a_migrate_in_mid_migrate_replaces_what_is_not_ready_and_keeps_what_is():
    first, second = old(), standing(0, STARTING, generation="g0.5", revision=2)
    rolled = roll(a_job(scale=2), first, second, old(slot=1))
    assert slots(rolled) == [0]
    assert rolled.wants[0].replaces == (second.placement.task,)
    assert rolled.drops == ()


def test_of_two_old_ones_that_are_ready_the_newer_is_enough():
    first, second = old(), standing(0, generation="g0.5", revision=2)
    rolled = roll(a_job(), second, first)
    assert dropped(rolled) == [first.placement.task]
    assert rolled.drops[0].reason == "a newer one of its slot is ready"
    assert rolled.wants == (), "which would make three"
    assert dropped(roll(a_job(), first, second, new(state=STARTING, revision=3))) == [first.placement.task]


def test_reverting_a_migrate_takes_up_the_old_generation_where_it_still_runs():
    kept, broken = standing(0, generation="g1", revision=1), standing(0, STARTING, generation="g2", revision=2)
    rolled = roll(a_job(generation="g1"), kept, broken)
    assert (rolled.wants, dropped(rolled)) == ((), [broken.placement.task])


def test_unavailable_lets_a_ready_one_go_in_the_commit_that_places_its_successor():
    job = a_job(scale=4, surge=0, unavailable=2)
    olds = [old(slot) for slot in range(4)]
    rolled = roll(job, *olds)
    assert slots(rolled) == [0, 1]
    assert [want.replaces for want in rolled.wants] == [(o.placement.task,) for o in olds[:2]]
    assert slots(roll(job, *olds[1:], new(0, STARTING))) == [1]
    assert slots(roll(job, *olds[2:], new(0, STARTING), new(1, STARTING))) == []


def test_surge_and_unavailable_add_up():
    rolled = roll(a_job(scale=4, surge=1, unavailable=1), *(old(slot) for slot in range(4)))
    assert [len(want.replaces) for want in rolled.wants] == [1, 0]


def test_of_one_generation_twice_in_a_slot_the_newer_stays():
    first, second = standing(revision=1), standing(revision=2)
    assert dropped(roll(a_job(), first, second)) == [first.placement.task]


# Failures.


def test_a_failed_task_is_replaced_at_once_the_first_time_and_elsewhere():
    failed = new(state=FAILED, agent="a7", since_s=5, reason="exited 1")
    (want,) = roll(a_job(), failed, now=at(5)).wants
    assert (want.failures, want.avoid, want.replaces) == (1, ("a7",), (failed.placement.task,))
    assert want.ended == want.replaces
    assert want.reason == "default.web.0.1-2 on a7 is failed: exited 1"


@pytest.mark.parametrize(("failures", "delay_s"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5000, 60)])
def test_further_failures_wait_twice_as_long_each_time(failures, delay_s):
    failed = new(state=FAILED, failures=failures, since_s=30)
    waiting = roll(a_job(), failed, now=at(30 + delay_s - 0.25))
    assert (waiting.wants, waiting.due) == ((), timedelta(seconds=0.25))
    due = roll(a_job(), failed, now=at(30 + delay_s))
    assert (due.wants[0].failures, due.due) == (failures + 1, None)


def test_due_is_the_earliest_end_of_a_backoff():
    rolled = roll(a_job(scale=2), new(0, FAILED, failures=3), new(1, FAILED, failures=2), now=at(1))
    assert rolled.due == timedelta(seconds=1)


def test_a_task_that_ran_for_long_before_it_failed_starts_counting_anew():
    failed = new(state=FAILED, failures=9, since_s=600)
    assert roll(a_job(), failed, now=at(600)).wants[0].failures == 1


@pytest.mark.parametrize("since_s", [-3600, 3600])
def test_an_agents_clock_neither_stops_replacements_nor_lets_them_run_hot(since_s):
    failed = new(state=FAILED, failures=2, since_s=since_s)
    assert roll(a_job(), failed, now=at(1)).due == timedelta(seconds=1)
    assert roll(a_job(), failed, now=at(2)).wants[0].failures == 3


def test_a_clock_that_was_set_back_stops_no_replacement():
    assert slots(roll(a_job(), new(state=FAILED, failures=5), now=at(-3600))) == [0]


def test_a_failing_migrate_keeps_the_old_one_and_its_surge():
    standings = (old(0), new(0, FAILED, failures=3), old(1))
    rolled = roll(a_job(scale=2), *standings, now=at(1))
    assert (rolled.wants, rolled.drops, rolled.due) == ((), (), timedelta(seconds=3))
    rolled = roll(a_job(scale=2), *standings, now=at(4))
    assert slots(rolled) == [0]
    assert rolled.wants[0].replaces == (standings[1].placement.task,)


def test_a_failed_migrate_is_fixed_by_the_next_one_without_waiting():
    bad = standing(0, FAILED, generation="g0.5", revision=2, failures=6)
    (want,) = roll(a_job(), old(), bad).wants
    assert (want.replaces, want.ended, want.failures) == ((bad.placement.task,), (bad.placement.task,), 0)


def test_a_finished_task_is_settled_where_its_policy_lets_it_finish():
    rolled = roll(a_job(restart=RestartPolicy.ON_FAILURE), new(state=FINISHED))
    assert (rolled.wants, rolled.drops, rolled.due) == ((), (), None)


def test_a_finished_task_that_should_run_always_is_replaced():
    assert slots(roll(a_job(restart=RestartPolicy.ALWAYS), new(state=FINISHED))) == [0]


def test_a_live_one_stands_for_a_dead_one_of_its_generation():
    live, dead = standing(revision=1), standing(state=FAILED, revision=2)
    rolled = roll(a_job(), live, dead)
    assert (rolled.wants, dropped(rolled)) == ((), [dead.placement.task])


# Lost agents.


def test_a_lost_task_is_replaced_at_once_elsewhere_and_its_failures_stay_counted():
    lost = new(state=LOST, agent="a3", failures=4)
    (want,) = roll(a_job(), lost).wants
    assert (want.avoid, want.replaces, want.ended, want.failures) == (("a3",), (lost.placement.task,), (), 4)
    assert want.reason == "default.web.0.1-2 on a3 is lost"


def test_nothing_is_evicted_while_evicting_is_halted():
    rolled = roll(a_job(scale=2), new(0, LOST), old(1, LOST), evictable=0)
    assert (rolled.wants, rolled.drops, rolled.due) == ((), (), None)
    rolled = roll(a_job(), old(0, LOST), new(0, STARTING), evictable=0)
    assert (rolled.wants, rolled.drops) == ((), ())


def test_a_lost_old_one_goes_once_its_successor_is_ready_even_while_evicting_is_halted():
    lost = old(0, LOST)
    assert dropped(roll(a_job(), lost, new(), evictable=0)) == [lost.placement.task]


def test_a_lost_old_one_does_not_hold_up_a_migrate():
    lost = old(0, LOST)
    assert dropped(roll(a_job(), lost, new(0, STARTING))) == [lost.placement.task]


# Dependencies, endpoints, lost agents.


def test_new_slots_are_held_back_while_a_dependency_does_not_hold():
    rolled = rollout(a_job(scale=2), [], at(), is_held=True)
    assert (slots(rolled), rolled.held) == ([], (0, 1))


def test_what_is_placed_stays_and_is_replaced_while_a_dependency_does_not_hold():
    job = a_job(scale=3)
    rolled = rollout(job, [new(0), new(1, FAILED)], at(), is_held=True)
    assert (slots(rolled), rolled.held, rolled.drops) == ([1], (2,), ())


def test_a_migrate_is_held_back_with_the_old_ones_running():
    rolled = rollout(a_job(scale=1), [old(0)], at(), is_held=True)
    assert (slots(rolled), rolled.held, rolled.drops) == ([], (0,), ())


def test_nothing_is_held_back_when_all_is_there():
    assert rollout(a_job(), [new(0)], at(), is_held=True).held == ()


def rebound(*standings, seconds, bindings, **job):
    return rollout(a_job(scale=len(standings), **job), standings, at(seconds), bindings=bindings)


def test_tasks_with_outdated_endpoints_are_replaced_as_in_a_migrate():
    stale = new(0, bindings={"API": "h:1"})
    rolled = rebound(stale, new(1, bindings={"API": "h:2"}), seconds=60, bindings={"API": "h:2"})
    assert slots(rolled) == [0]
    assert rolled.wants[0].reason == "endpoints that its environment names have changed"
    assert (rolled.wants[0].replaces, rolled.drops) == ((), ())
    fresh = standing(0, STARTING, revision=3, bindings={"API": "h:2"})
    assert rebound(stale, fresh, seconds=60, bindings={"API": "h:2"}).drops == ()
    ready = standing(0, READY, revision=3, bindings={"API": "h:2"})
    assert dropped(rollout(a_job(), [stale, ready], at(60), bindings={"API": "h:2"})) == [stale.placement.task]


def test_tasks_with_another_value_of_a_secret_are_replaced_and_nothing_tells_the_value():
    now = {"db/password": "2-bb", "db/user": "1-aa", "API": "h:2"}
    stale = new(0, bindings={"db/password": "1-aa", "db/user": "1-aa", "API": "h:1"})
    assert rebound(stale, seconds=60, bindings=now).wants[0].reason == "secret db/password has changed"
    older = new(0, bindings={"API": "h:2"})
    assert rebound(older, seconds=60, bindings=now).wants[0].reason == "secret db/password (and 1 more) has changed"


def test_endpoints_that_keep_changing_replace_a_task_only_so_often():
    rolled = rebound(new(0, bindings={"API": "h:1"}), seconds=2, bindings={"API": "h:2"})
    assert (slots(rolled), rolled.due) == ([], timedelta(seconds=3))
    assert slots(rebound(new(0, bindings={"API": "h:1"}), seconds=5, bindings={"API": "h:2"})) == [0]


def test_a_clock_that_was_set_back_does_not_keep_endpoints_outdated():
    assert slots(rebound(new(0, bindings={"API": "h:1"}), seconds=-60, bindings={"API": "h:2"})) == [0]


def test_a_placement_without_bindings_has_empty_ones():
    assert slots(rebound(new(0), seconds=60, bindings={"API": ""})) == []
    assert slots(rebound(new(0), seconds=60, bindings={"API": "h:1"})) == [0]


def test_a_lost_task_of_a_job_that_waits_for_its_agent_is_not_replaced():
    rolled = roll(a_job(scale=1, on_lost=OnLost.WAIT), new(0, LOST))
    assert (slots(rolled), rolled.drops, rolled.due) == ([], (), None)
    assert slots(roll(a_job(scale=1, on_lost=OnLost.WAIT), new(0, FAILED))) == [0]


FATES = st.tuples(
    st.integers(0, 3),
    st.sampled_from([*TaskState, None]),
    st.booleans(),
    st.sampled_from(["g0", "g1"]),
    st.integers(1, 2),
)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 3), st.lists(FATES, max_size=4), st.booleans(), st.booleans())
def test_finding_at_a_glance_that_all_is_well_comes_to_the_same(scale, fates, is_held, is_terminating):
    standings = [
        standing(slot, state, ready=ready, generation=generation, revision=revision)
        for slot, state, ready, generation, revision in fates
    ]
    known = list({one.placement.task: one for one in standings}.values())
    job = a_job(scale=scale, is_terminating=is_terminating)
    aimed = aims(job, known, at(), bindings={}, leaving={}, brake=None)
    in_full = _roll(job, aimed, known, at(), evictable=UNLIMITED, is_held=is_held, leaving={})
    assert rollout(job, known, at(), is_held=is_held) == in_full


@settings(max_examples=500, deadline=None)
@given(
    st.integers(0, 3),
    st.lists(FATES, max_size=6),
    st.booleans(),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([NOBODY, {"a1": None}, {"a1": at(-1).wall}]),
    st.sampled_from([None, False, True]),
)
def test_what_is_plain_at_a_glance_comes_to_the_same(scale, fates, is_held, surge, leaving, is_paused):
    """Each slot is judged in full where nothing is plain."""
    standings = [
        standing(slot, state, ready=ready, generation=generation, revision=revision)
        for slot, state, ready, generation, revision in fates
    ]
    known = list({one.placement.task: one for one in standings}.values())
    job = a_job(scale=scale, generation="g1", surge=surge, unavailable=1 if surge == 0 else 0)
    former = replace(job, generation="g0")
    brake = None if is_paused is None else Brake(form=former, bindings={}, canaries=1, is_paused=is_paused)
    how = {"is_held": is_held, "leaving": leaving, "brake": brake}
    at_a_glance = rollout(job, known, at(), **how)
    with patch.object(glance, "_kind", lambda *_: glance._Kind.ODD):
        assert rollout(job, known, at(), **how) == at_a_glance


# Evicting.


def test_no_more_lost_tasks_are_replaced_than_may_be_and_those_that_stay_are_named():
    rolled = roll(a_job(scale=3), new(0, LOST), new(1, LOST), new(2, LOST), evictable=2)
    assert (slots(rolled), rolled.evictions, rolled.limited) == ([0, 1], {0, 1}, (2,))
    assert rolled.due is None
    assert not rolled.is_complete


def test_only_slots_with_lost_tasks_count_among_those_that_may_be_replaced():
    rolled = roll(a_job(scale=3), new(0, FAILED), new(2, LOST), evictable=1)
    assert (slots(rolled), rolled.evictions, rolled.limited) == ([0, 1, 2], {2}, ())


def test_lost_tasks_of_a_job_that_waits_for_its_agents_take_nothing_from_what_may_be_replaced():
    rolled = roll(a_job(on_lost=OnLost.WAIT), new(0, LOST), evictable=0)
    assert (rolled.wants, rolled.limited, rolled.is_complete) == ((), (), True)


def test_a_job_of_which_a_slot_waits_to_be_given_other_bindings_is_not_complete():
    here = [new(0, STARTING, revision=3, bindings={"API": "new"}), new(1, bindings={"API": "old"}, decided_ms=0)]
    rolled = rollout(a_job(scale=2, surge=0, unavailable=1), here, at(), bindings={"API": "new"})
    assert (rolled.wants, rolled.drops, rolled.due, rolled.is_complete) == ((), (), None, False)


# Draining.

DRAINED = {"a1": None}


def test_a_placement_on_a_draining_agent_is_replaced_before_it_goes():
    before = new()
    rolled = roll(a_job(), before, leaving=DRAINED)
    assert [(want.slot, want.replaces, want.reason) for want in rolled.wants] == [(0, (), "agent a1 is being drained")]
    assert (rolled.drops, rolled.due, rolled.is_complete) == ((), None, False)
    coming = new(state=STARTING, revision=3, agent="a2")
    assert roll(a_job(), before, coming, leaving=DRAINED).drops == ()
    arrived = new(revision=3, agent="a2")
    assert dropped(roll(a_job(), before, arrived, leaving=DRAINED)) == [before.placement.task]
    assert roll(a_job(), arrived, leaving=DRAINED).is_complete


def test_a_drain_changes_no_more_at_once_than_an_update():
    here = [new(slot) for slot in range(4)]
    assert slots(roll(a_job(scale=4, surge=2), *here, leaving=DRAINED)) == [0, 1]
    without_surge = roll(a_job(scale=4, surge=0, unavailable=1), *here, leaving=DRAINED)
    assert [(want.slot, want.replaces) for want in without_surge.wants] == [(0, (here[0].placement.task,))]


def test_a_job_whose_turn_has_not_come_is_not_complete():
    here, moved = new(1), new(0, STARTING, agent="a2", revision=3)
    rolled = roll(a_job(scale=2, surge=0, unavailable=1), here, moved, leaving=DRAINED)
    assert (rolled.wants, rolled.drops, rolled.due, rolled.is_complete) == ((), (), None, False)


def test_what_never_became_ready_on_a_draining_agent_goes_in_the_commit_that_places_its_successor():
    starting = new(state=STARTING)
    rolled = roll(a_job(), starting, leaving=DRAINED)
    assert [want.replaces for want in rolled.wants] == [(starting.placement.task,)]
    assert rolled.drops == ()


def test_what_does_not_run_on_a_draining_agent_needs_not_leave():
    finished = new(state=FINISHED)
    assert roll(a_job(restart=RestartPolicy.ON_FAILURE), finished, leaving=DRAINED).is_complete
    failed = new(state=FAILED, failures=3)
    assert roll(a_job(), failed, leaving=DRAINED) == roll(a_job(), failed)
    held = new(state=LOST)
    assert roll(a_job(on_lost=OnLost.WAIT), held, leaving={"a1": at(-1).wall}).drops == ()


def test_of_two_placements_on_draining_agents_the_newer_stays_until_its_successor_is_ready():
    older, newer = new(revision=2), new(revision=3, agent="a2")
    rolled = roll(a_job(), older, newer, leaving={"a1": None, "a2": None})
    assert dropped(rolled) == [older.placement.task]
    assert slots(roll(a_job(), newer, leaving={"a1": None, "a2": None})) == [0]


def test_a_drain_waits_for_its_deadline_and_then_no_longer():
    leaving = {"a1": at(60).wall, "a2": at(30).wall, "a3": None}
    here = [new(0), new(1, agent="a2"), new(2, agent="a3")]
    rolled = roll(a_job(scale=3), *here, leaving=leaving)
    assert (rolled.drops, rolled.due) == ((), timedelta(seconds=30))
    late = roll(a_job(scale=3), *here, now=at(30), leaving=leaving)
    [drop] = late.drops
    assert (drop.task, drop.reason) == (
        here[1].placement.task,
        "agent a2 is being drained, and its deadline has passed",
    )
    assert (slots(late), late.due) == ([0, 1], timedelta(seconds=30))
    assert late.wants[1].replaces == ()


def test_beyond_the_deadline_everything_that_still_runs_there_goes_at_once():
    here = [new(slot) for slot in range(4)]
    rolled = roll(a_job(scale=4), *here, now=at(1), leaving={"a1": at(1).wall})
    assert dropped(rolled) == [one.placement.task for one in here]
    assert slots(rolled) == [0, 1, 2, 3]


def test_what_was_bound_to_other_endpoints_is_replaced_for_that():
    bound = a_placement(bindings={"API": "127.0.0.1:80"})
    standing = Standing(placement=bound, task=a_task(bound, ready=True))
    [want] = rollout(a_job(), [standing], at(60), bindings={"API": "127.0.0.1:81"}).wants
    assert want.reason == "endpoints that its environment names have changed"


def test_what_fails_while_a_rollout_waits_gives_way_to_what_served_before():
    job, form = a_job(generation="g2", version=2), a_job(generation="g1")
    failed = a_placement(generation="g2", version=2)
    standing = Standing(placement=failed, task=a_task(failed, state=TaskState.FAILED))
    [want] = rollout(job, [standing], at(60), brake=Brake(form=form, bindings={}, is_paused=True)).wants
    assert (want.is_held_back, want.replaces) == (True, (failed.task,))
    assert want.reason == "the rollout waits, and version 1 stays meanwhile"
