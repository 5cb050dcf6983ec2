"""A batch job: what is noted of its tasks, which slots want one, and when it has ended."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from harpoon.core.batch import expires_ms, is_over, judge, note, spent, spent_of
from harpoon.core.batch_roll import Batched, roll_batch
from harpoon.core.eviction import UNLIMITED
from harpoon.core.standing import Standing
from harpoon.model.batch import BatchRecord, Ending, SlotResult
from harpoon.model.instant import Instant
from harpoon.model.job import Job, OnLost, OnSpent
from harpoon.model.task import Placement, TaskState
from tests.builders import T0, a_batch, a_placement, a_task, a_task_id, at

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
NOW = at(10)
EMPTY = BatchRecord(namespace="default", job="web", version=1)


def standing(
    slot: int = 0, state: TaskState | None = TaskState.RUNNING, revision: int = 1, **fields: object
) -> Standing:
    told = {name: fields.pop(name) for name in ("exit_code", "since_ms", "reason") if name in fields}
    placement = a_placement(slot=slot, revision=revision, **fields)
    return Standing(placement, None if state is None else a_task(placement, state=state, **told))


def result(slot: int = 0, *, is_complete: bool = True, attempts: int = 1, **fields: object) -> SlotResult:
    given = {"task": a_task_id(slot=slot), "agent": "a1", "at_ms": T0 + 5000, "placed_ms": T0} | fields
    return SlotResult(slot=slot, is_complete=is_complete, attempts=attempts, **given)


def with_results(*results: SlotResult, **fields: object) -> BatchRecord:
    return replace(EMPTY, results=results, **fields)


def roll(
    job: Job,
    *standings: Standing,
    record: BatchRecord = EMPTY,
    now: Instant = NOW,
    leaving: Mapping[str, int | None] | None = None,
    evictable: int = UNLIMITED,
    lingering: int = 0,
    is_held: bool = False,
) -> Batched:
    return roll_batch(
        job,
        record,
        standings,
        now,
        lingering=lingering,
        evictable=evictable,
        is_held=is_held,
        leaving=leaving or {},
    )


def wanted(found: Batched) -> list[int]:
    return [want.slot for want in found.rolled.wants]


def dropped(found: Batched) -> dict[int, str]:
    return {int(drop.task.split(".")[2]): drop.reason for drop in found.rolled.drops}


# What is noted.


def test_a_task_that_finished_makes_its_slot_complete_and_one_that_failed_is_an_attempt() -> None:
    done = standing(0, TaskState.FINISHED, exit_code=0, since_ms=T0 + 7000)
    bad = standing(1, TaskState.FAILED, exit_code=3, since_ms=T0 + 8000, reason="exited 3")
    noted = note(a_batch(completions=3), None, [bad, done, standing(2)], NOW)
    assert noted.results == (
        result(0, exit_code=0, at_ms=T0 + 7000),
        result(1, is_complete=False, exit_code=3, at_ms=T0 + 8000, reason="exited 3"),
    )


def test_what_is_noted_is_noted_once() -> None:
    bad = standing(0, TaskState.FAILED)
    first = note(a_batch(), None, [bad], NOW)
    assert note(a_batch(), first, [bad], at(20)) is first
    again = note(a_batch(), first, [standing(0, TaskState.FAILED, revision=2)], at(20))
    assert again.results[0].attempts == 2


def test_a_complete_slot_stays_as_it_was_noted_whatever_is_reported_later() -> None:
    record = with_results(result())
    assert note(a_batch(), record, [standing(0, TaskState.FAILED, revision=9)], NOW) is record


@pytest.mark.parametrize(
    "one",
    [
        standing(0, TaskState.RUNNING),
        standing(0, None),
        standing(0, TaskState.LOST),
        standing(0, TaskState.FINISHED, is_exclusive=True, is_revoked=True),
    ],
)
def test_what_has_not_ended_by_itself_is_noted_as_nothing(one: Standing) -> None:
    assert note(a_batch(), EMPTY, [one], NOW) is EMPTY


def test_what_ends_of_an_earlier_run_is_noted_as_nothing() -> None:
    job = a_batch(version=2, run=2)
    old = with_results(result())
    assert note(job, old, [standing(0, TaskState.FINISHED)], NOW) == replace(EMPTY, version=2)


def test_an_agents_clock_cannot_date_an_end_before_its_beginning_or_after_now() -> None:
    for since_ms in (T0 - 1, NOW.wall + 1):
        noted = note(a_batch(), None, [standing(0, TaskState.FAILED, since_ms=since_ms)], NOW)
        assert noted.results[0].at_ms == NOW.wall


# How it ends.


def test_it_has_succeeded_when_every_slot_is_complete() -> None:
    job = a_batch(completions=2)
    assert judge(job, with_results(result(0)), NOW).outcome is None
    ended = judge(job, with_results(result(0), result(1)), NOW)
    assert (ended.outcome, ended.ended_ms) == (Ending.SUCCEEDED, NOW.wall)
    assert judge(job, ended, at(99)) is ended
    assert expires_ms(job, ended) == NOW.wall + 24 * 3600 * 1000
    assert expires_ms(job, EMPTY) is None


def test_it_has_failed_when_a_slot_has_no_attempts_left() -> None:
    record = with_results(result(0, is_complete=False, attempts=2, exit_code=7, reason="boom"))
    assert judge(a_batch(attempts=3), record, NOW).outcome is None
    ended = judge(a_batch(attempts=2), record, NOW)
    assert ended.outcome is Ending.FAILED
    assert ended.reason == (
        "slot 0 has no attempts left: default.web.0.1-1 on a1 failed with exit code 7, attempt 2 of 2: boom"
    )
    assert judge(a_batch(attempts=9), ended, NOW) is ended, "what has failed stays so"


def failed(slot: int, attempts: int = 1, **fields: object) -> SlotResult:
    return result(slot, is_complete=False, attempts=attempts, **fields)


def test_one_that_is_to_finish_goes_on_until_every_slot_is_complete_or_has_no_attempts_left() -> None:
    job = a_batch(completions=3, on_failure=OnSpent.FINISH)
    assert judge(job, with_results(failed(1)), NOW).outcome is None
    assert judge(job, with_results(result(0), failed(1)), NOW).outcome is None
    ended = judge(job, with_results(result(0), failed(1, exit_code=7), result(2)), NOW)
    assert (ended.outcome, ended.reason) == (
        Ending.FAILED,
        "slot 1 has no attempts left: default.web.1.1-1 on a1 failed with exit code 7, its only attempt",
    )
    both = judge(job, with_results(failed(0, at_ms=T0 + 7000), failed(1, at_ms=T0 + 6000), result(2)), NOW)
    assert both.reason.startswith("2 of 3 slots have no attempts left, first of them slot 1: default.web.1.1-1 on a1")
    assert spent(job, both) == 2
    assert (spent_of(job, both), spent_of(job, EMPTY)) == (both.results[1], None)
    assert judge(job, with_results(result(0), result(1), result(2)), NOW).outcome is Ending.SUCCEEDED


def test_one_that_is_to_finish_tries_each_slot_as_often_as_it_may_and_keeps_to_its_deadline() -> None:
    job = a_batch(completions=2, attempts=2, deadline=20 * SECOND, on_failure=OnSpent.FINISH)
    record = with_results(failed(0, attempts=2), failed(1, attempts=1))
    assert judge(job, record, NOW).outcome is None
    assert wanted(roll(job, record=record)) == [1], "what has no attempts left is not tried again"
    assert judge(job, record, at(20)).reason == "its deadline of 20s has passed, and 0 of 2 slots are complete"


def test_what_runs_goes_on_when_another_slot_has_no_attempts_left_if_it_is_to_finish() -> None:
    job = a_batch(completions=3, parallel=2, on_failure=OnSpent.FINISH)
    gone = standing(0, TaskState.FAILED)
    found = roll(job, gone, standing(1), record=with_results(failed(0, task=gone.placement.task)))
    assert dropped(found) == {0: "it failed"}
    assert wanted(found) == [2]


def test_of_a_single_attempt_that_leaves_no_exit_code_just_that_is_told() -> None:
    ended = judge(a_batch(), with_results(result(is_complete=False)), NOW)
    assert ended.reason == "slot 0 has no attempts left: default.web.0.1-1 on a1 failed, its only attempt"


def test_it_has_failed_when_its_deadline_passes_counted_from_when_it_was_declared() -> None:
    job = a_batch(completions=2, deadline=10 * SECOND)
    assert judge(job, with_results(result(0)), at(9.9)).outcome is None
    ended = judge(job, with_results(result(0)), at(10))
    assert ended.reason == "its deadline of 10s has passed, and 1 of 2 slots are complete"


def test_one_that_succeeded_goes_on_when_it_is_given_more_to_do() -> None:
    ended = judge(a_batch(), with_results(result(0)), NOW)
    assert is_over(a_batch(), ended)
    more = a_batch(completions=2)
    assert not is_over(more, ended)
    assert judge(more, ended, NOW).outcome is None
    assert note(a_batch(), ended, [standing(1, TaskState.FAILED)], NOW) is ended


def test_a_run_is_over_only_for_itself() -> None:
    ended = judge(a_batch(), with_results(result(0, is_complete=False)), NOW)
    assert is_over(a_batch(), ended)
    assert not is_over(a_batch(), EMPTY)
    assert not is_over(a_batch(version=2, run=2), ended)


# What is placed.


def test_at_most_parallel_tasks_run_and_those_that_still_stop_count() -> None:
    job = a_batch(completions=5, parallel=3)
    found = roll(job)
    assert (wanted(found), found.turn) == ([0, 1, 2], (3, 4))
    found = roll(job, standing(0), standing(1), lingering=1)
    assert (wanted(found), found.turn) == ([], (2, 3, 4))


def test_a_complete_slot_is_never_placed_and_what_is_there_of_it_goes() -> None:
    found = roll(a_batch(completions=2), standing(0, TaskState.FINISHED), record=with_results(result(0)))
    assert wanted(found) == [1]
    assert dropped(found) == {0: "its slot is complete"}


def test_a_failed_slot_is_tried_again_elsewhere_and_later_each_time() -> None:
    job = a_batch(attempts=9)
    first = with_results(result(is_complete=False, exit_code=1))
    (want,) = roll(job, record=first).rolled.wants
    assert (want.avoid, want.failures) == (("a1",), 1)
    assert want.reason == "attempt 2 of 9: default.web.0.1-1 failed with exit code 1"
    third = with_results(result(is_complete=False, attempts=4))
    found = roll(job, record=third, now=at(6))
    assert (wanted(found), found.backoff, found.rolled.due) == ([], {0: 3 * SECOND}, 3 * SECOND)
    assert wanted(roll(job, record=third, now=at(9))) == [0]
    assert wanted(roll(job, record=third, now=at(1))) == [0], "a clock that was set back does not make it wait"


def test_a_failed_task_that_is_noted_goes_before_and_its_slot_is_not_placed_when_the_job_is_to_fail() -> None:
    failed = standing(0, TaskState.FAILED)
    record = with_results(result(is_complete=False, task=failed.placement.task, exit_code=2))
    found = roll(a_batch(completions=2), failed, record=record)
    assert (wanted(found), dropped(found)) == ([], {0: "it failed with exit code 2"})
    found = roll(a_batch(completions=2, attempts=2), failed, record=record)
    assert wanted(found) == [0, 1]


def test_a_slot_that_waits_for_its_last_task_to_be_noted_is_left_alone() -> None:
    found = roll(a_batch(attempts=2), standing(0, TaskState.FAILED))
    assert (wanted(found), dropped(found), found.turn) == ([], {}, ())


def test_when_it_has_ended_all_goes_and_nothing_is_placed() -> None:
    ended = with_results(outcome=Ending.FAILED, ended_ms=NOW.wall)
    found = roll(a_batch(completions=3, deadline=HOUR), standing(0), record=ended)
    assert (wanted(found), dropped(found), found.rolled.due) == ([], {0: "the job has failed"}, None)


def test_an_unscheduled_job_has_all_withdrawn() -> None:
    found = roll(a_batch(completions=2, is_terminating=True), standing(0))
    assert (wanted(found), dropped(found)) == ([], {0: "the job is unscheduled"})


def test_of_another_run_all_goes_first() -> None:
    job = a_batch(completions=1, version=2, run=2)
    found = roll(job, standing(0), record=replace(EMPTY, version=2))
    assert (wanted(found), dropped(found)) == ([], {0: "version 2 starts over"})
    found = roll(job, standing(0, TaskState.FINISHED), record=replace(EMPTY, version=2))
    assert wanted(found) == [0], "what has ended is in nobody's way"


def test_slots_beyond_the_completions_go() -> None:
    found = roll(a_batch(completions=1), standing(0), standing(1))
    assert dropped(found) == {1: "the job has 1 completions"}


def test_a_lost_task_is_replaced_unless_its_job_waits_and_no_faster_than_that_may_be() -> None:
    lost = standing(0, TaskState.LOST)
    found = roll(a_batch(), lost)
    (want,) = found.rolled.wants
    assert (want.replaces, want.avoid, want.failures) == ((lost.placement.task,), ("a1",), 0)
    assert want.reason == "default.web.0.1-1 on a1 is lost"
    assert found.rolled.evictions == {0}
    found = roll(a_batch(), lost, evictable=0)
    assert (wanted(found), found.rolled.limited) == ([], (0,))
    assert wanted(roll(a_batch(on_lost=OnLost.WAIT), lost)) == []


def test_a_drain_lets_tasks_end_until_its_deadline() -> None:
    job = a_batch(completions=2)
    found = roll(job, standing(0), standing(1, agent="a2"), leaving={"a1": None})
    assert (dropped(found), found.rolled.due) == ({}, None)
    found = roll(job, standing(0), leaving={"a1": T0 + 12_000})
    assert (dropped(found), found.rolled.due) == ({}, 2 * SECOND)
    found = roll(job, standing(0), leaving={"a1": T0 + 10_000})
    assert dropped(found) == {0: "agent a1 is being drained, and its deadline has passed"}
    assert wanted(found) == [1], "the slot itself is placed once nothing of it runs"
    lost = standing(0, TaskState.LOST)
    assert dropped(roll(a_batch(on_lost=OnLost.WAIT), lost, leaving={"a1": T0})) == {}


def test_while_it_depends_on_others_nothing_is_placed() -> None:
    found = roll(a_batch(completions=2), is_held=True)
    assert (wanted(found), found.rolled.held) == ([], (0, 1))


def test_it_is_looked_at_again_at_its_deadline() -> None:
    assert roll(a_batch(deadline=HOUR)).rolled.due == HOUR - 10 * SECOND


# Exclusive.


def exclusive(state: TaskState | None, **fields: object) -> Standing:
    return standing(0, state, is_exclusive=True, **fields)


def test_an_exclusive_slot_is_free_only_once_all_it_had_is_denied() -> None:
    job = a_batch(attempts=3, exclusive=True)
    record = with_results(result(is_complete=False))
    found = roll(job, exclusive(TaskState.FAILED), record=record)
    assert (wanted(found), dropped(found)) == ([], {0: "it failed"})
    found = roll(job, exclusive(TaskState.FAILED, is_revoked=True), record=record)
    assert (wanted(found), dropped(found)) == ([], {})
    found = roll(job, exclusive(None, is_revoked=True, is_denied=True), record=record)
    assert (wanted(found), dropped(found)) == ([0], {0: "its agent has forgotten it"})


def test_placements_are_data_that_any_order_does() -> None:
    job = a_batch(completions=4, parallel=2)
    there = [standing(slot, agent=f"a{slot}") for slot in (3, 1, 0)]
    assert roll(job, *there) == roll(job, *reversed(there))


def test_the_placement_that_failed_is_what_is_noted_of_it() -> None:
    placement: Placement = standing(0).placement
    noted = note(a_batch(), None, [Standing(placement, a_task(placement, state=TaskState.FAILED))], NOW)
    assert noted.results[0].task == placement.task
