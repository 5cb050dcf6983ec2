"""S22 and L8: what becomes of the dues of cron jobs."""

from dataclasses import replace

from harpoon.model.cron import Cron, CronRecord, Firing, Skip
from harpoon.model.job import Job, Owner
from tests.builders import T0, a_batch, a_job
from tests.proof.checks.recurring import DuesDecided, FiredOnce
from tests.proof.history import Settled
from tests.proof.told import Told, a_house, refuted

MINUTE = 60_000
PLAIN = a_batch(name="nightly")
CRON = replace(a_batch(name="nightly", cron=Cron(at="* * * * *")), run=None)
RECORD = CronRecord(namespace="default", job="nightly", at="* * * * *", timezone="UTC", seen_ms=T0)


def child(minute: int, *, name: str = "", is_triggered: bool = False) -> Job:
    owner = Owner(job="nightly", due_ms=T0 + minute * MINUTE, is_triggered=is_triggered)
    return replace(PLAIN, name=name or f"nightly-{minute}", owner=owner)


def noted(minute: int, name: str = "") -> CronRecord:
    due_ms = T0 + minute * MINUTE
    return replace(RECORD, seen_ms=due_ms, fired=Firing(due_ms=due_ms, at_ms=due_ms, job=name or f"nightly-{minute}"))


def a_cron_job(*checks: type) -> Told:
    told = a_house(None, *checks)
    told.commit({"jobs/default/nightly": CRON})
    told.commit({"cron/default/nightly": RECORD})
    return told


def fire(told: Told, minute: int, *, missed: int = 0, **fields: str) -> None:
    one, record = child(minute, **fields), noted(minute, fields.get("name", ""))
    told.commit({f"jobs/default/{one.name}": one, "cron/default/nightly": replace(record, missed=missed)})


# S22


def test_dues_that_are_fired_one_after_the_other_are_right():
    told = a_cron_job(FiredOnce)
    fire(told, 1)
    fire(told, 3, missed=1)
    told.commit({"jobs/default/nightly-t5": child(2, name="nightly-t5", is_triggered=True)})
    told.job(a_job(name="web"))
    told.commit({"cron/default/nightly": None, "jobs/default/nightly-1": None, "jobs/default/nightly-3": None})
    told.commit({"cron/default/nightly": RECORD})
    fire(told, 3, missed=2)
    told.end()


def test_a_due_that_is_fired_twice_is_refuted():
    told = a_cron_job(FiredOnce)
    fire(told, 1)
    with refuted("S22"):
        fire(told, 1, name="nightly-again")


def test_a_due_that_is_fired_after_a_later_one_is_refuted():
    told = a_cron_job(FiredOnce)
    told.commit({"jobs/default/nightly-3": child(3), "cron/default/nightly": replace(noted(3), seen_ms=T0)})
    with refuted("S22"):
        fire(told, 2, missed=1)


def test_a_child_that_the_record_does_not_name_is_refuted():
    told = a_cron_job(FiredOnce)
    with refuted("S22"):
        told.commit({"jobs/default/nightly-1": child(1)})
    told = a_cron_job(FiredOnce)
    with refuted("S22"):
        told.commit({"jobs/default/nightly-1": child(1), "cron/default/nightly": noted(1, "other")})


def test_a_decision_that_is_taken_back_is_refuted():
    told = a_cron_job(FiredOnce)
    fire(told, 2, missed=1)
    with refuted("S22"):
        told.commit({"cron/default/nightly": noted(1)})


def test_dues_that_are_passed_over_are_counted_and_skipped_ones_are_told():
    told = a_cron_job(FiredOnce)
    skip = Skip(due_ms=T0 + 3 * MINUTE, at_ms=T0 + 3 * MINUTE, reason="one before it is not over")
    skipped = replace(RECORD, seen_ms=skip.due_ms, skipped=skip, missed=2)
    told.commit({"cron/default/nightly": skipped})
    late = replace(skip, due_ms=T0 + 5 * MINUTE)
    told.commit({"cron/default/nightly": replace(skipped, seen_ms=late.due_ms, skipped=late, missed=4)})
    told.commit({"cron/default/nightly": replace(skipped, seen_ms=late.due_ms, skipped=late, missed=4, paused_ms=T0)})
    told.commit({"cron/default/nightly": replace(skipped, seen_ms=T0 + 9 * MINUTE, skipped=late, missed=4)})
    with refuted("S22"):
        told.commit({"cron/default/nightly": replace(skipped, seen_ms=T0 + 11 * MINUTE, skipped=late, missed=5)})


def test_a_due_that_is_fired_and_told_as_missed_is_refuted():
    told = a_cron_job(FiredOnce)
    with refuted("S22"):
        fire(told, 1, missed=1)


def test_after_a_restore_nothing_is_known_of_what_was_fired():
    told = a_cron_job(FiredOnce)
    fire(told, 2, missed=1)
    told.revision = 0
    told.commit({"meta/cluster": {"cluster": "c1", "incarnation": 2}}, is_anew=True)
    told.commit({"cron/default/nightly": RECORD})
    fire(told, 2, missed=1)
    told.end()


# L8


def settled(told: Told, seconds: float) -> None:
    told.wait(seconds)
    told.say(Settled(t=0, node="nemesis"))


def test_dues_that_are_decided_are_right_and_so_are_those_that_pass_in_a_pause():
    told = a_cron_job(DuesDecided)
    fire(told, 2)
    settled(told, 200)
    told.commit({"cron/default/nightly": replace(noted(2), paused_ms=T0)})
    settled(told, 2000)
    told.commit({"cron/default/nightly": noted(2), "jobs/default/nightly": replace(CRON, is_terminating=True)})
    settled(told, 2000)
    told.end()


def test_a_due_of_which_nothing_comes_is_refuted():
    told = a_cron_job(DuesDecided)
    fire(told, 2)
    with refuted("L8"):
        settled(told, 220)


def test_a_cron_job_that_nobody_counts_for_is_refuted():
    told = a_house(None, DuesDecided)
    told.commit({"jobs/default/nightly": CRON})
    with refuted("L8"):
        settled(told, 1)
    told = a_cron_job(DuesDecided)
    other = replace(CRON, spec=replace(CRON.spec, cron=Cron(at="* * * * *", timezone="Europe/Berlin")))
    told.commit({"jobs/default/nightly": other})
    with refuted("L8"):
        settled(told, 1)
