"""S19, S20 and S21: what rollouts and more urgent jobs may take away, and how much may be on trial."""

from dataclasses import replace
from datetime import timedelta

import pytest

from harpoon.model.job import Update
from harpoon.model.rollout import PausedBy, RolloutRecord
from harpoon.model.task import TaskState
from tests.builders import a_cordon, a_placement
from tests.proof.checks.converging import Converges
from tests.proof.checks.rolling import CanariesFew, MakesBeforeItBreaks, PreemptsLower
from tests.proof.told import Told, a_house, refuted

OLD = "g0"


def serving(told: Told, slot: int, **fields: object):
    """Tell of a slot that is served by a task of before."""
    one = told.placed("a1", slot=slot, generation=OLD, **fields)
    told.report(one)
    told.wait(20)
    return one


def succeeded(told: Told, one, *, serves_s: float | None = 0.0):
    """Tell of its successor, which has served for so long when it is said to take its place; None: it never does."""
    two = told.placed("a2", slot=one.slot)
    told.report(two, TaskState.STARTING, ready=False)
    if serves_s is not None:
        told.report(two)
        told.wait(serves_s)
    return two


# S19


def test_who_makes_before_they_break_are_right():
    told = a_house(None, MakesBeforeItBreaks)
    told.job(scale=2, version=2)
    one, other = serving(told, 0), serving(told, 1)
    succeeded(told, one)
    told.place(drop=[one])
    succeeded(told, other)
    told.place(drop=[other])
    told.end()


def test_an_old_task_that_goes_before_its_successor_serves_is_refuted():
    told = a_house(None, MakesBeforeItBreaks)
    told.job(version=2)
    one = serving(told, 0)
    succeeded(told, one, serves_s=None)
    with refuted("S19"):
        told.place(drop=[one])


def test_an_old_task_that_goes_with_its_successors_coming_is_refuted():
    told = a_house(None, MakesBeforeItBreaks)
    told.job(version=2)
    one = serving(told, 0)
    with refuted("S19"):
        told.place(a_placement(agent="a2", revision=told.revision), drop=[one])


def test_a_successor_that_was_not_watched_for_long_enough_is_refuted():
    update = Update(healthy_for=timedelta(seconds=10))
    for served_s, is_right in ((10, True), (8, True), (5, False)):
        told = a_house(None, MakesBeforeItBreaks)
        told.job(version=2, update=update)
        one = serving(told, 0)
        succeeded(told, one, serves_s=served_s)
        if is_right:
            told.place(drop=[one])
        else:
            with refuted("S19"):
                told.place(drop=[one])


def test_who_decides_may_not_know_yet_that_the_successor_has_died():
    told = a_house(None, MakesBeforeItBreaks)
    told.job(version=2)
    one = serving(told, 0)
    two = succeeded(told, one)
    told.report(two, TaskState.FAILED, ready=False)
    told.wait(20)
    told.place(drop=[one])
    told = a_house(None, MakesBeforeItBreaks)
    told.job(version=2)
    one = serving(told, 0)
    two = succeeded(told, one)
    told.report(two, TaskState.FAILED, ready=False)
    told.wait(40)
    with refuted("S19"):
        told.place(drop=[one])


@pytest.mark.parametrize(("exclusive", "unavailable", "allowed"), [(False, 1, 1), (False, 2, 2), (True, 0, 1)])
def test_as_many_slots_may_be_open_as_the_job_says(exclusive, unavailable, allowed):
    told = a_house(None, MakesBeforeItBreaks)
    told.job(scale=3, version=2, exclusive=exclusive, unavailable=unavailable)
    olds = [serving(told, slot, is_exclusive=exclusive) for slot in range(3)]
    gone = [replace(one, is_revoked=True) for one in olds] if exclusive else []

    def take(slot):
        told.place(*gone[slot : slot + 1], drop=[] if exclusive else [olds[slot]])

    for slot in range(allowed):
        take(slot)
    if allowed < 2:
        # One that serves again makes way for the next.
        two = told.placed("a2", slot=0)
        told.report(two)
        take(1)
    with refuted("S19"):
        take(2)


def test_what_others_decide_is_no_matter_of_the_rollout():
    told = a_house(None, MakesBeforeItBreaks)
    told.job(scale=2)
    one, other = serving(told, 0), serving(told, 1)
    told.job(scale=1, version=2)
    told.place(drop=[other])
    told.commit({"cordons/a1": a_cordon("a1", is_draining=True, deadline_ms=told.now_ms)})
    told.place(drop=[one])
    last = told.placed("a2", slot=0)
    told.report(last)
    told.dead("a2")
    told.place(drop=[last])
    final = serving(told, 0)
    told.job(is_terminating=True, version=3)
    told.place(drop=[final])
    told.end()


def test_a_slot_that_is_not_wanted_any_more_is_not_open():
    told = a_house(None, MakesBeforeItBreaks)
    told.job(scale=2, unavailable=1)
    one, other = serving(told, 0), serving(told, 1)
    told.place(drop=[other])
    told.job(scale=1, unavailable=1, version=2)
    told.place(drop=[one])
    told.end()


def test_a_drain_without_a_deadline_takes_nothing_before_its_successor_serves():
    told = a_house(None, MakesBeforeItBreaks)
    told.job()
    one = told.placed("a1")
    told.report(one)
    told.wait(20)
    told.commit({"cordons/a1": a_cordon("a1", is_draining=True)})
    with refuted("S19"):
        told.place(drop=[one])


def test_a_successor_that_has_finished_serves_and_what_does_not_serve_may_go():
    told = a_house(None, MakesBeforeItBreaks)
    told.job(version=2)
    one = serving(told, 0)
    two = told.placed("a2")
    told.report(two, TaskState.FINISHED, ready=False)
    told.place(drop=[one])
    told.report(two, TaskState.FAILED, ready=False)
    told.place(drop=[two])
    told.end()


def test_who_decides_may_not_know_yet_that_the_old_one_is_ready():
    told = a_house(None, MakesBeforeItBreaks)
    told.job(version=2)
    one = told.placed("a1", generation=OLD)
    told.report(one)
    told.wait(5)
    told.place(drop=[one])
    told.end()


def test_clocks_that_were_set_are_not_judged_by():
    told = a_house(None, MakesBeforeItBreaks)
    told.fault("clock_jump", "i1")
    told.job(version=2, update=Update(healthy_for=timedelta(seconds=10)))
    one = serving(told, 0)
    succeeded(told, one, serves_s=1)
    told.place(drop=[one])
    told.end()


# S20


def on_trial(told: Told, **fields: object) -> None:
    given = {"version": 2, "generation": "g1", "stable": 1}
    told.commit({"rollouts/default/web": RolloutRecord(namespace="default", job="web", **(given | fields))})


def test_as_many_are_on_trial_as_there_are_canaries():
    told = a_house(None, CanariesFew)
    told.job(scale=3, version=2, update=Update(canary=1))
    for slot in range(3):
        serving(told, slot)
    on_trial(told)
    told.placed("a2", slot=0)
    told.placed("a1", slot=0)
    with refuted("S20"):
        told.placed("a2", slot=1)


def test_once_it_is_promoted_all_may_follow():
    for fields in ({"is_promoted": True}, {"stable": None}, {"generation": "g9"}):
        told = a_house(None, CanariesFew)
        told.job(scale=2, version=2, update=Update(canary=1))
        on_trial(told, **fields)
        told.placed("a2", slot=0)
        told.placed("a2", slot=1)
        told.end()


# L1


def test_a_job_whose_rollout_waits_for_people_may_have_two_forms():
    def end(**fields: object) -> None:
        told = a_house(None, Converges)
        told.job(scale=1, version=2)
        one = serving(told, 0)
        succeeded(told, one)
        on_trial(told, **fields)
        told.calm("a1", "a2")
        told.settle()

    end()
    end(is_promoted=True, paused_by=PausedBy.DEADLINE)
    with refuted("L1"):
        end(is_promoted=True)
    with refuted("L1"):
        end(is_complete=True)


def test_a_rollout_that_came_about_is_complete_unless_a_task_is_to_be_replaced_that_fits_nowhere():
    for is_pending in (True, False):
        told = a_house(None, Converges)
        told.job(scale=1)
        told.report(told.placed("a1"))
        on_trial(told, is_promoted=True)
        pending = {"namespace": "default", "job": "web", "generation": "g1", "slots": [0], "reason": "no room"}
        told.commit({"pending/default/web": pending if is_pending else None})
        told.calm("a1", "a2")
        if is_pending:
            told.settle()
        else:
            with refuted("L1"):
                told.settle()


# S21


def preempt(told: Told, *tasks, **records):
    """Tell of a commit in which tasks go for a more urgent job, or are revoked."""
    pending = {"namespace": "default", "job": "urgent", "generation": "g1", "slots": [0], "reason": "no room"}
    rows = {f"placements/{one.agent}/{one.task}": records.get("revoked") for one in tasks}
    told.commit(rows | {"pending/default/urgent": pending | {"awaited": [one.task for one in tasks]}})


def a_low_and_an_urgent_job(*, low: int = 10, urgent: int = 80, asks: bool = True, **fields: object):
    told = a_house(None, MakesBeforeItBreaks, PreemptsLower)
    told.job(priority=low, **fields)
    told.job(name="urgent", priority=urgent, preempt=asks)
    return told, serving(told, 0, **({"is_exclusive": True} if fields.get("exclusive") else {}))


def test_a_task_of_lower_priority_that_goes_for_a_job_that_asks_is_right():
    told, one = a_low_and_an_urgent_job()
    preempt(told, one)
    told.end()


def test_an_exclusive_one_that_is_revoked_for_it_is_right_too():
    told, one = a_low_and_an_urgent_job(exclusive=True)
    preempt(told, one, revoked=replace(one, is_revoked=True))
    # That it is said again, until it has gone, is nothing new.
    preempt(told, replace(one, is_revoked=True), revoked=replace(one, is_revoked=True, reason="it goes"))
    told.end()


def test_a_task_that_goes_for_a_job_that_does_not_ask_is_refuted():
    told, one = a_low_and_an_urgent_job(asks=False)
    with refuted("S21"):
        preempt(told, one)


@pytest.mark.parametrize("low", [80, 90])
def test_a_task_of_no_lower_priority_that_goes_is_refuted(low):
    told, one = a_low_and_an_urgent_job(low=low)
    with refuted("S21"):
        preempt(told, one)


def test_a_revoked_one_of_no_lower_priority_is_refuted():
    told, one = a_low_and_an_urgent_job(low=80, exclusive=True)
    with refuted("S21"):
        preempt(told, one, revoked=replace(one, is_revoked=True))


def test_what_goes_for_nobody_is_still_judged_by_its_rollout():
    told, one = a_low_and_an_urgent_job()
    with refuted("S19"):
        told.place(drop=[one])
