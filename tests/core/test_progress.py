"""How a rollout goes as a whole, rule by rule; `test_progress_world` runs it with the slots."""

from dataclasses import replace
from datetime import timedelta

import pytest

from harpoon.core.progress import (
    begin,
    brake_of,
    can_revert,
    fails,
    formerly,
    has_failed,
    is_held_up,
    is_open,
    pause,
    progress,
    promote,
    resume,
    rollout_waits,
    witness_of,
)
from harpoon.core.standing import Standing
from harpoon.model.job import OnFailure, Update, Version
from harpoon.model.rollout import Failure, PausedBy, RolloutPhase, RolloutRecord
from harpoon.model.task import CheckResult, TaskState
from tests.builders import T0, a_job, a_placement, a_task, a_template, at

READY, STARTING, FAILED, LOST = TaskState.RUNNING, TaskState.STARTING, TaskState.FAILED, TaskState.LOST
#: Of the job's present form.
JOB = a_job(scale=3, generation="g2", version=2)


def standing(slot=0, state=READY, *, ready=None, ready_since_s=0.0, version=2, **placement):
    placed = a_placement(
        slot=slot, **({"generation": f"g{version}", "version": version, "revision": version} | placement)
    )
    if state is None:
        return Standing(placement=placed, task=None)
    is_ready = state is READY if ready is None else ready
    since_ms = at(ready_since_s).wall if is_ready else 0
    return Standing(placement=placed, task=a_task(placed, state=state, ready=is_ready, ready_since_ms=since_ms))


def old(slot=0, state=READY, **fields):
    return standing(slot, state, version=1, **fields)


def a_job_with(**update):
    return replace(JOB, spec=replace(JOB.spec, update=Update(**update)))


def a_record(**fields):
    given = {"version": 2, "generation": "g2", "stable": 1, "since_ms": T0, "is_promoted": True}
    return RolloutRecord(namespace="default", job="web", **(given | fields))


def a_version(**fields):
    spec = replace(JOB.spec, scale=9, task=a_template(env={"MODE": "old"}))
    given = {"version": 1, "generation": "g1", "spec": spec, "at_ms": T0}
    return Version(namespace="default", name="web", **(given | fields))


def a_failure(**fields):
    return Failure(version=2, revision=7, at_ms=T0, reason="it did not come up", **fields)


# It begins.


def test_a_job_that_was_never_changed_has_no_rollout():
    assert begin(JOB, None, [], at(), is_revert=False) is None
    assert begin(JOB, None, [standing(0), standing(1, FAILED)], at(), is_revert=False) is None


def test_a_rollout_begins_when_tasks_of_another_generation_are_there():
    begun = begin(JOB, None, [old(0), old(1)], at(3), is_revert=False)
    assert begun == a_record(since_ms=at(3).wall)
    assert begin(JOB, begun, [old(0), old(1)], at(9), is_revert=False) is None


def test_what_goes_back_to_what_is_still_there_needs_no_canaries():
    job = replace(a_job_with(canary=1), generation="g1", version=3)
    known = a_record(is_promoted=False)
    back = begin(job, known, [old(0), standing(0), old(1), old(2)], at(3), is_revert=False)
    assert (back.is_promoted, back.is_revert, back.stable) == (True, True, 2)
    elsewhere = begin(job, known, [standing(0), standing(1)], at(3), is_revert=False)
    assert (elsewhere.is_promoted, elsewhere.is_revert) == (False, False)
    ended = begin(job, replace(known, is_complete=True), [old(0), standing(0)], at(3), is_revert=False)
    assert not ended.is_promoted


def test_a_rollout_begins_with_every_other_generation_once_there_was_one():
    done = a_record(generation="g1", version=1, stable=None, is_complete=True, failure=a_failure())
    begun = begin(JOB, done, [], at(3), is_revert=False)
    assert begun == a_record(stable=None, since_ms=at(3).wall, failure=a_failure())


def test_a_job_that_is_being_unscheduled_is_not_rolled_out():
    assert begin(replace(JOB, is_terminating=True), None, [old(0)], at(), is_revert=False) is None


def test_what_most_ready_tasks_run_is_stable():
    third = [standing(2, READY, version=3, generation="g3")]
    job = replace(JOB, generation="g4", version=4)
    assert begin(job, None, [old(0), old(1), *third], at(), is_revert=False).stable == 1
    unready = [old(0, STARTING), old(1, STARTING), *third]
    assert begin(job, None, unready, at(), is_revert=False).stable == 3
    assert begin(job, None, [old(0, STARTING), *[]], at(), is_revert=False).stable == 1


def test_what_is_denied_is_not_there():
    gone = old(0, None, is_exclusive=True, is_revoked=True, is_denied=True)
    assert begin(JOB, None, [gone], at(), is_revert=False) is None


def test_a_pause_by_an_operator_outlives_its_rollout_and_one_by_a_deadline_does_not():
    by_operator = a_record(generation="g1", paused_by=PausedBy.OPERATOR)
    by_deadline = a_record(generation="g1", paused_by=PausedBy.DEADLINE)
    assert begin(JOB, by_operator, [old()], at(), is_revert=False).paused_by is PausedBy.OPERATOR
    assert begin(JOB, by_deadline, [old()], at(), is_revert=False).paused_by is None


def test_canaries_are_for_what_is_new_beside_something_that_serves():
    job = a_job_with(canary=1)
    assert not begin(job, None, [old()], at(), is_revert=False).is_promoted
    assert begin(job, None, [old()], at(), is_revert=True).is_promoted
    assert begin(job, a_record(generation="g1"), [], at(), is_revert=False).is_promoted


# It waits.


def test_nothing_brakes_a_rollout_that_may_go_on():
    for record in (None, a_record(), a_record(generation="g3", is_promoted=False), a_record(is_complete=True)):
        assert brake_of(a_job_with(canary=1), record, a_version()) is None
    assert brake_of(a_job_with(canary=1), a_record(is_promoted=False), None) is None
    # The canaries were taken out of the spec while it waited for their promotion.
    assert brake_of(JOB, a_record(is_promoted=False), a_version()) is None


def test_what_served_before_stays_while_people_are_waited_for():
    job = a_job_with(canary=1)
    assert is_held_up(job, a_record(is_promoted=False))
    assert is_held_up(job, a_record(paused_by=PausedBy.OPERATOR))
    assert not is_held_up(JOB, a_record(is_promoted=False)), "the canaries were taken out of the spec"
    for record in (a_record(), a_record(generation="g3", is_promoted=False), a_record(is_complete=True)):
        assert not is_held_up(job, record)


def test_canaries_and_pauses_brake_it():
    job = a_job_with(canary=2)
    on_trial = brake_of(job, a_record(is_promoted=False), a_version())
    assert (on_trial.canaries, on_trial.is_paused) == (2, False)
    paused = brake_of(job, a_record(paused_by=PausedBy.DEADLINE), a_version())
    assert (paused.canaries, paused.is_paused) == (None, True)
    both = brake_of(a_job_with(canary=9), a_record(is_promoted=False, paused_by=PausedBy.OPERATOR), a_version())
    assert (both.canaries, both.is_paused) == (3, True)


def test_what_served_before_keeps_the_present_scale_and_updating():
    form = formerly(a_job_with(surge=3), a_version())
    assert (form.generation, form.version, form.spec.scale, form.spec.update.surge) == ("g1", 1, 3, 3)
    assert form.spec.task.env == {"MODE": "old"}


# How far it is.


def told(job, record, *standings, now=None, **how):
    return progress(job, record, standings, now or at(10), **how)


def test_it_is_complete_when_every_slot_is_healthy_and_nothing_older_is_left():
    all_new = [standing(slot) for slot in range(3)]
    assert told(JOB, a_record(), *all_new).phase is RolloutPhase.COMPLETE
    assert told(JOB, a_record(paused_by=PausedBy.OPERATOR), *all_new).phase is RolloutPhase.COMPLETE
    assert told(JOB, a_record(), *all_new, old(0)).phase is RolloutPhase.PROGRESSING
    assert told(JOB, a_record(), *all_new[:2]).phase is RolloutPhase.PROGRESSING
    assert told(JOB, a_record(), *all_new[:2], standing(2, STARTING)).phase is RolloutPhase.PROGRESSING
    assert told(JOB, a_record(), *all_new[:2], standing(7)).phase is RolloutPhase.PROGRESSING


def test_what_happens_after_it_was_complete_is_no_matter_of_its_own():
    after = told(JOB, a_record(is_complete=True), standing(0, FAILED), now=at(10_000))
    assert (after.phase, after.healthy, after.since_ms) == (RolloutPhase.COMPLETE, 0, None)


def test_a_task_counts_as_healthy_once_it_was_ready_for_long_enough():
    job = a_job_with(healthy_for=timedelta(seconds=5))
    tasks = [standing(0, ready_since_s=0), standing(1, ready_since_s=7), standing(2, ready_since_s=8), old(2)]
    first = told(job, a_record(), *tasks, now=at(10))
    assert (first.healthy, first.wanted, first.proven_in) == (1, 3, timedelta(seconds=2))
    assert told(job, a_record(), *tasks, now=at(12)).healthy == 2
    assert told(job, a_record(), *tasks, now=at(13)).proven_in is None


def test_a_clock_that_was_set_back_does_not_keep_a_task_from_being_healthy():
    job = a_job_with(healthy_for=timedelta(seconds=5))
    assert told(job, a_record(), standing(0, ready_since_s=3600), now=at(0)).healthy == 1
    assert told(job, a_record(), standing(0, ready_since_s=1), now=at(0)).healthy == 0


def test_it_came_further_when_it_began_or_a_slot_became_healthy():
    job = a_job_with(healthy_for=timedelta(seconds=2))
    assert told(job, a_record(), old(0)).since_ms == at(0).wall
    assert told(job, a_record(since_ms=at(4).wall), old(0)).since_ms == at(4).wall
    assert told(job, a_record(), standing(0, ready_since_s=6), old(1)).since_ms == at(8).wall
    # One that was ready before, such as after a migrate back, is none of this rollout's merits.
    assert told(job, a_record(since_ms=at(5).wall), standing(0, ready_since_s=-99), old(1)).since_ms == at(5).wall


def test_a_finished_task_is_healthy_at_no_time_of_its_own():
    job = a_job(scale=2, generation="g2", version=2, restart="on_failure")
    assert told(job, a_record(), standing(0, TaskState.FINISHED), old(1)).healthy == 1


def test_while_it_waits_for_people_it_cannot_fail():
    job = a_job_with(canary=1)
    on_trial = a_record(is_promoted=False)
    waits = told(job, on_trial, standing(0), old(0), old(1), old(2))
    assert (waits.phase, waits.healthy, waits.wanted) == (RolloutPhase.AWAITING_PROMOTION, 1, 1)
    paused = told(job, replace(on_trial, paused_by=PausedBy.OPERATOR), standing(0, STARTING), old(0))
    assert (paused.phase, waits.since_ms, paused.since_ms) == (RolloutPhase.PAUSED, None, None)
    trying = told(job, on_trial, standing(0, STARTING), old(0))
    assert (trying.phase, trying.since_ms) == (RolloutPhase.PROGRESSING, T0)


def test_one_that_has_failed_and_goes_on_does_not_fail_again():
    record = a_record(failure=a_failure())
    assert has_failed(record)
    assert told(JOB, record, old(0)) == replace(told(JOB, record, old(0)), phase=RolloutPhase.FAILED, since_ms=None)
    assert not has_failed(a_record(version=3, failure=a_failure()))


def test_it_is_open_until_it_is_complete():
    assert not is_open(JOB, None)
    assert is_open(JOB, a_record())
    assert is_open(JOB, a_record(generation="g1", is_complete=True))
    assert not is_open(JOB, a_record(is_complete=True))


# It fails.


def test_the_witness_is_who_tells_most():
    failed, starting = standing(2, FAILED), standing(0, STARTING)
    assert witness_of(JOB, [starting, old(1, FAILED), failed], at()).task == failed.placement.task
    assert witness_of(JOB, [standing(1, STARTING), starting], at()).task == starting.placement.task
    assert witness_of(JOB, [standing(0), old(1, FAILED), standing(2, None)], at()) is None
    unproven = standing(0, ready_since_s=0)
    job = a_job_with(healthy_for=timedelta(seconds=5))
    assert witness_of(job, [unproven, standing(1, LOST)], at(1)).task == unproven.placement.task


def test_the_witness_tells_its_checks_and_how_it_ended():
    task = replace(
        standing(0, STARTING).task, checks=(CheckResult(name="http", is_passing=False, detail="503"),), exit_code=3
    )
    found = witness_of(JOB, [standing(0, STARTING)._replace(task=task)], at())
    assert (found.checks, found.exit_code, found.log) == (task.checks, 3, ())


def test_it_is_taken_back_where_something_served_before():
    assert can_revert(JOB, a_record(), a_version())
    assert not can_revert(JOB, a_record(), None)
    assert not can_revert(JOB, a_record(is_revert=True), a_version())
    assert not can_revert(a_job_with(on_failure=OnFailure.PAUSE), a_record(), a_version())


def test_else_it_is_paused_or_goes_on():
    assert fails(JOB, a_record(), a_failure(), at(5)) == a_record(failure=a_failure(), since_ms=at(5).wall)
    paused = fails(a_job_with(on_failure=OnFailure.PAUSE), a_record(), a_failure(), at(5))
    assert paused.paused_by is PausedBy.DEADLINE


# People decide.


def test_pausing_and_resuming():
    assert pause(JOB, None, at(2)) == a_record(stable=None, since_ms=at(2).wall, paused_by=PausedBy.OPERATOR)
    paused = pause(JOB, a_record(), at(2))
    assert paused == a_record(paused_by=PausedBy.OPERATOR)
    assert resume(JOB, paused, at(5)) == a_record(since_ms=at(5).wall)
    failed = a_record(paused_by=PausedBy.DEADLINE, failure=a_failure())
    assert resume(JOB, failed, at(5)) == a_record(since_ms=at(5).wall)
    later = a_record(version=4, paused_by=PausedBy.OPERATOR, failure=a_failure(reverted_by=3))
    assert resume(JOB, later, at(5)).failure == a_failure(reverted_by=3)
    assert resume(JOB, None, at()) is None
    assert resume(JOB, a_record(), at(9)) == a_record()


def test_promoting():
    job = a_job_with(canary=1)
    on_trial = a_record(is_promoted=False)
    assert promote(job, on_trial, at(5)) == a_record(since_ms=at(5).wall)
    assert promote(job, a_record(), at(5)) == a_record()
    for record in (None, a_record(generation="g1"), a_record(is_complete=True)):
        with pytest.raises(ValueError, match="no rollout under way"):
            promote(job, record, at())
    with pytest.raises(ValueError, match="no canaries"):
        promote(JOB, on_trial, at())


def test_it_says_what_it_waits_for():
    assert rollout_waits(JOB, None) == rollout_waits(JOB, a_record()) == ()
    by_operator = a_record(paused_by=PausedBy.OPERATOR, is_complete=True)
    assert rollout_waits(JOB, by_operator) == (
        "its rollouts are paused by an operator; to go on: harpoon rollout resume web",
    )
    by_deadline = a_record(paused_by=PausedBy.DEADLINE, failure=a_failure())
    assert rollout_waits(JOB, by_deadline) == (
        "its rollouts are paused by update.on_failure; to go on: harpoon rollout resume web",
        "the rollout of version 2 failed: it did not come up",
    )
    assert rollout_waits(a_job_with(canary=1), a_record(is_promoted=False)) == (
        "version 2 is on trial in 1 of 3 slots; to go on: harpoon rollout promote web; to go back: harpoon rollout undo web",
    )
    back = a_record(version=3, failure=a_failure(reverted_by=3))
    assert rollout_waits(JOB, back) == ("version 2 failed and is being taken back: it did not come up",)
    assert rollout_waits(JOB, replace(back, version=4, generation="g2")) == ()
