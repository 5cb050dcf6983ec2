"""What becomes of the dues of a cron job, decided by its record, its children and the wall clock alone."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.core.cron import dues_between
from harpoon.core.cron_due import MISSED_MAX, begin, child_name, decide, pause, refused, resume, trigger
from harpoon.model.cron import Cron, CronRecord, Overlap
from harpoon.model.job import Job
from tests.builders import T0, a_job

MINUTE = 60_000
HOUR = 60 * MINUTE
EVERY_HOUR = Cron(at="0 * * * *")
JOB = a_job(name="nightly")
#: Everything up to the beginning is decided.
BEGUN = begin(JOB, EVERY_HOUR, None)


def told(
    now_ms: int, *running: str, cron: Cron = EVERY_HOUR, known: CronRecord | None = BEGUN, job: Job = JOB
) -> tuple[int | None, int | None, int, int | None]:
    """What is fired, what was skipped last, how many were missed in all, and when it is looked at again; hours."""
    found = decide(job, cron, known, running, now_ms)
    fires, skipped = found.fires, found.record.skipped
    times = (None if fires is None else fires.due_ms, None if skipped is None else skipped.due_ms, found.look_ms)
    fired, last, look = (None if one is None else (one - T0) / HOUR for one in times)
    return fired, last, found.record.missed, look


def test_a_new_job_is_due_from_when_it_was_declared_and_not_before() -> None:
    assert told(T0, known=None) == (None, None, 0, 1)
    assert told(T0 + HOUR - 1, known=None) == (None, None, 0, 1)
    assert BEGUN.seen_ms == JOB.updated_ms == T0


def test_a_due_is_fired_when_it_has_come_and_never_again() -> None:
    found = decide(JOB, EVERY_HOUR, BEGUN, (), T0 + HOUR + 5)
    firing = found.fires
    assert (firing.due_ms, firing.at_ms, firing.job) == (T0 + HOUR, T0 + HOUR + 5, f"nightly-{(T0 + HOUR) // MINUTE}")
    assert found.record.fired == firing
    assert found.look_ms == T0 + 2 * HOUR
    for now_ms in (T0 + HOUR + 5, T0 + HOUR - 1, T0 - 10 * HOUR, T0 + 2 * HOUR - 1):
        assert told(now_ms, known=found.record)[0] is None, "also by a clock that was set back"


def test_of_several_dues_the_latest_is_made_up_for_and_the_others_are_missed() -> None:
    found = decide(JOB, EVERY_HOUR, BEGUN, (), T0 + 4 * HOUR + 5 * MINUTE)
    assert told(T0 + 4 * HOUR + 5 * MINUTE) == (4, 3, 3, 5)
    assert found.record.skipped.reason == (
        "3 dues before 2026-01-01 04:00 UTC passed before they could be fired; only that one is made up for"
    )
    one = decide(JOB, EVERY_HOUR, BEGUN, (), T0 + 2 * HOUR)
    assert one.record.skipped.reason.startswith("1 due before")


def test_a_due_beyond_catch_up_is_missed_like_those_before() -> None:
    cron = replace(EVERY_HOUR, catch_up=timedelta(minutes=10))
    assert told(T0 + 2 * HOUR + 10 * MINUTE, cron=cron) == (2, 1, 1, 3)
    assert told(T0 + 2 * HOUR + 10 * MINUTE + 1, cron=cron) == (None, 2, 2, 3)
    late = decide(JOB, cron, BEGUN, (), T0 + 2 * HOUR + 45 * MINUTE + 1)
    assert late.record.skipped.reason == "nobody could fire it in time: it was due 45m ago, and catch_up is 10m"
    assert late.record.skipped.at_ms == T0 + 2 * HOUR + 45 * MINUTE + 1


@pytest.mark.parametrize(
    ("hours", "said"), [(30, "30h"), (50, "2d"), (0.02, "72s"), (3.5, "3h"), (1.5, "90m")]
)  # fmt: skip
def test_how_late_it_was_is_said_in_few_figures(hours: float, said: str) -> None:
    yearly = Cron(at="0 0 1 1 *", catch_up=timedelta(seconds=10))
    known = replace(begin(JOB, yearly, None), seen_ms=T0 - 1)
    found = decide(JOB, yearly, known, (), T0 + round(hours * HOUR) + 1)
    assert f"due {said} ago" in found.record.skipped.reason


def test_missed_dues_are_counted_up_to_a_bound() -> None:
    cron = Cron(at="* * * * *")
    known = begin(JOB, cron, None)
    found = decide(JOB, cron, known, (), T0 + 100 * HOUR)
    assert (found.fires.due_ms, found.record.missed) == (T0 + 100 * HOUR, MISSED_MAX)
    assert found.record.skipped.reason.startswith("1000 dues or more before")


def test_while_a_child_runs_the_overlap_decides() -> None:
    now_ms, running = T0 + 2 * HOUR, ("nightly-1", "nightly-2")
    assert told(now_ms, *running) == (None, 2, 1, 3)
    found = decide(JOB, EVERY_HOUR, BEGUN, running, now_ms)
    assert found.record.skipped.reason == "nightly-1 and 1 more are not over, and overlap is forbid"
    assert told(now_ms, *running, cron=replace(EVERY_HOUR, overlap=Overlap.ALLOW))[0] == 2
    assert told(now_ms, cron=replace(EVERY_HOUR, overlap=Overlap.REPLACE))[0] == 2


def test_what_replaces_a_child_waits_until_that_is_gone_but_not_for_ever() -> None:
    cron = replace(EVERY_HOUR, overlap=Overlap.REPLACE, catch_up=timedelta(minutes=10))
    found = decide(JOB, cron, BEGUN, ("nightly-1",), T0 + HOUR + 5)
    assert (found.fires, found.stops, found.record) == (None, ("nightly-1",), BEGUN)
    assert found.look_ms == T0 + HOUR + 10 * MINUTE + 1
    assert told(T0 + HOUR + MINUTE, cron=cron)[0] == 1, "once it is gone"
    late = decide(JOB, cron, BEGUN, ("nightly-1",), T0 + HOUR + 15 * MINUTE)
    assert (late.fires, late.stops) == (None, ())
    assert late.record.skipped.reason == "nightly-1 is not gone in time: it was due 15m ago, and catch_up is 10m"
    long = replace(cron, catch_up=timedelta(hours=5))
    assert decide(JOB, long, BEGUN, ("nightly-1",), T0 + HOUR).look_ms == T0 + 2 * HOUR, "the next due takes its place"


def test_while_it_is_paused_dues_pass_and_are_not_counted() -> None:
    paused = pause(JOB, EVERY_HOUR, BEGUN, T0 + MINUTE)
    assert paused.paused_ms == T0 + MINUTE
    assert pause(JOB, EVERY_HOUR, paused, T0 + HOUR) == paused
    assert told(T0 + 5 * HOUR, known=paused) == (None, None, 0, None)
    resumed = resume(JOB, EVERY_HOUR, paused, T0 + 5 * HOUR)
    assert told(T0 + 5 * HOUR + 1, known=resumed) == (None, None, 0, 6)
    assert resume(JOB, EVERY_HOUR, resumed, T0 + 9 * HOUR) == resumed
    assert resume(JOB, EVERY_HOUR, paused, T0 - HOUR).seen_ms == T0, "by a clock that was set back"


def test_another_schedule_counts_from_when_it_was_declared() -> None:
    other = replace(EVERY_HOUR, timezone="Europe/Berlin")
    changed = replace(JOB, updated_ms=T0 + 3 * HOUR)
    assert told(T0 + 3 * HOUR + 1, cron=other, job=changed) == (None, None, 0, 4)
    assert begin(changed, other, BEGUN).timezone == "Europe/Berlin"
    assert begin(changed, replace(EVERY_HOUR, overlap=Overlap.ALLOW), BEGUN) is BEGUN
    assert begin(replace(JOB, updated_ms=T0 - HOUR), other, BEGUN).seen_ms == T0, "what is decided stays so"


def test_a_child_that_cannot_be_made_is_a_due_that_is_skipped() -> None:
    before = decide(JOB, EVERY_HOUR, BEGUN, (), T0 + HOUR).record
    found = decide(JOB, EVERY_HOUR, before, (), T0 + 2 * HOUR)
    skipped = refused(found, before, "no room").record
    assert (skipped.fired, skipped.seen_ms) == (before.fired, T0 + 2 * HOUR)
    assert (skipped.skipped.due_ms, skipped.skipped.reason) == (T0 + 2 * HOUR, "no room")
    assert refused(found, None, "no room").record.fired is None


def test_an_operator_may_ask_for_a_child_unless_it_may_not_run_beside_another() -> None:
    record = trigger(JOB, EVERY_HOUR, BEGUN, (), T0 + 1500)
    assert (record.triggered.job, record.triggered.is_triggered) == (f"nightly-t{(T0 + 1500) // 1000}", True)
    assert record.seen_ms == BEGUN.seen_ms
    for overlap in (Overlap.FORBID, Overlap.REPLACE):
        with pytest.raises(ValueError, match=rf"nightly-1 is not over, and overlap is {overlap}; wait for it, or"):
            trigger(JOB, replace(EVERY_HOUR, overlap=overlap), BEGUN, ("nightly-1",), T0)
    assert trigger(JOB, replace(EVERY_HOUR, overlap=Overlap.ALLOW), BEGUN, ("nightly-1",), T0).triggered is not None


#: The next pass comes so much later, by a clock that may be set back; and whether a child runs then.
PASSES = st.lists(
    st.tuples(st.integers(-3 * HOUR, 4 * HOUR), st.booleans(), st.sampled_from(["", "pause", "resume"])), max_size=40
)
CRONS = st.builds(
    Cron,
    at=st.sampled_from(["*/20 * * * *", "0 * * * *", "30 2 * * *", "7,9 0-3 * * *"]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    overlap=st.sampled_from(list(Overlap)),
    catch_up=st.sampled_from([timedelta(seconds=10), timedelta(hours=1), timedelta(hours=7)]),
)


@settings(max_examples=300, deadline=None)
@given(CRONS, PASSES, st.integers(0, 300))
def test_each_due_is_fired_once_at_most_and_is_accounted_for(
    cron: Cron, passes: Sequence[tuple[int, bool, str]], days: int
) -> None:
    start = T0 + days * 24 * HOUR
    job = replace(JOB, updated_ms=start)
    record, now_ms, latest_ms = begin(job, cron, None), start, start
    fired: list[int] = []
    skipped = paused = 0
    for span, is_running, order in passes:
        now_ms = max(start, now_ms + span)
        if order:
            record = (pause if order == "pause" else resume)(job, cron, record, now_ms)
            paused += 1
        latest_ms = max(latest_ms, now_ms)
        found = decide(job, cron, record, ("nightly-1",) if is_running else (), now_ms)
        if found.fires is not None:
            fired.append(found.fires.due_ms)
            assert found.fires.due_ms <= now_ms <= found.fires.due_ms + cron.catch_up / timedelta(milliseconds=1)
            assert not is_running or cron.overlap is Overlap.ALLOW
        elif found.record.seen_ms > record.seen_ms and found.record.missed == record.missed:
            skipped += 1
        elif found.record.seen_ms > record.seen_ms and cron.overlap is Overlap.FORBID and is_running:
            skipped += found.record.skipped.reason.endswith("overlap is forbid")
        record = found.record
        if found.look_ms is not None and not found.stops:
            assert found.look_ms > now_ms
    every = dues_between(cron.at, cron.timezone, start, latest_ms, most=10**5)
    assert fired == sorted(set(fired))
    assert set(fired) <= set(every)
    assert len({child_name("nightly", one) for one in fired}) == len(fired)
    if not paused:
        decided = [one for one in every if one <= record.seen_ms]
        assert len(decided) == len(fired) + record.missed + skipped
