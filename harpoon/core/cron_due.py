"""What becomes of the dues of a cron job that have come: the latest is fired, or skipped, or waits a while.

Rules.

1. Every due up to the record's ``seen_ms`` is decided. Nothing at or before it is ever looked at again, also when a
   clock is set back; so each due is fired once at most, whoever decides, since the record is written with the child.
2. Of several dues that have come the latest counts; those before it are missed.
3. The latest is fired up to ``catch_up`` after it was due, and is missed beyond that.
4. While a child of an earlier one is not over: ``forbid`` skips the due, ``allow`` fires it, and ``replace`` has the
   child unscheduled, and fires it once that is gone.
5. While the job is paused, dues pass, and are neither fired nor counted.
6. Another expression or zone counts from when it was declared: what it would have been due before, it was not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from harpoon.core.cron import dues_between, latest_due, local_of, next_due
from harpoon.model.cron import Cron, CronRecord, Firing, Overlap, Skip
from harpoon.model.job import Job
from harpoon.model.units import format_duration

#: Missed dues are counted up to here; more would not tell more.
MISSED_MAX: Final = 1000
_MILLISECOND: Final = timedelta(milliseconds=1)
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CronDecision:
    """What is to be done for a cron job now."""

    #: To be written; the same as before: nothing is.
    record: CronRecord
    #: To be made in the same commit; the record names the child.
    fires: Firing | None = None
    #: Children to be unscheduled first.
    stops: tuple[str, ...] = ()
    #: When it is to be looked at again by time alone, UTC milliseconds; None: never.
    look_ms: int | None = None


def begin(job: Job, cron: Cron, known: CronRecord | None) -> CronRecord:
    """Return the record that the job's dues are counted by from now on (rule 6); the same if nothing of it changed."""
    if known is not None and (known.at, known.timezone) == (cron.at, cron.timezone):
        return known
    if known is None:
        known = CronRecord(namespace=job.namespace, job=job.name, at="", timezone="", seen_ms=0)
    seen_ms = max(known.seen_ms, job.updated_ms)
    return replace(known, at=cron.at, timezone=cron.timezone, seen_ms=seen_ms)


def decide(job: Job, cron: Cron, known: CronRecord | None, running: Sequence[str], now_ms: int) -> CronDecision:
    """Return what becomes of the dues that have come.

    Args:
        job: As declared.
        cron: Of the job.
        known: Its record, if it has one.
        running: Its children that are not over, those among them that are being unscheduled, too.
        now_ms: UTC milliseconds.
    """
    record = begin(job, cron, known)
    if record.paused_ms is not None:
        return CronDecision(record=record)
    due_ms = latest_due(record.at, record.timezone, record.seen_ms, now_ms)
    if due_ms is None:
        return CronDecision(record=record, look_ms=next_due(record.at, record.timezone, record.seen_ms))
    late = (now_ms - due_ms) * _MILLISECOND
    if late > cron.catch_up:
        why = f"{_named(running)} not gone" if running and cron.overlap is Overlap.REPLACE else "nobody could fire it"
        reason = f"{why} in time: it was due {_span(late)} ago, and catch_up is {format_duration(cron.catch_up)}"
        return _skip(record, due_ms, now_ms, reason, missed=_count(record, due_ms) + 1)
    if running and cron.overlap is Overlap.FORBID:
        reason = f"{_named(running)} not over, and overlap is forbid"
        return _skip(record, due_ms, now_ms, reason, missed=_count(record, due_ms))
    if running and cron.overlap is Overlap.REPLACE:
        # Then it is too late for this one, or the next one takes its place.
        ends = (due_ms + cron.catch_up // _MILLISECOND + 1, next_due(record.at, record.timezone, due_ms))
        look_ms = min(end for end in ends if end is not None)
        return CronDecision(record=record, stops=tuple(running), look_ms=look_ms)
    return _fire(record, due_ms, now_ms)


def child_name(job: str, due_ms: int) -> str:
    """Return the name of the child that is made for a due."""
    return f"{job}-{due_ms // _MINUTE_MS}"


def triggered_name(job: str, now_ms: int) -> str:
    """Return the name of a child that an operator asks for; no due has it."""
    return f"{job}-t{now_ms // 1000}"


def refused(decision: CronDecision, known: CronRecord | None, reason: str) -> CronDecision:
    """Return what becomes of a due whose child cannot be made: it is skipped.

    Args:
        decision: To fire it.
        known: The record before that.
        reason: Why the child cannot be made.
    """
    firing = decision.fires
    assert firing is not None, "what is not fired needs no child"
    skip = Skip(due_ms=firing.due_ms, at_ms=firing.at_ms, reason=reason)
    record = replace(decision.record, fired=None if known is None else known.fired, skipped=skip)
    return replace(decision, record=record, fires=None)


def pause(job: Job, cron: Cron, known: CronRecord | None, now_ms: int) -> CronRecord:
    """Return the record of a job whose dues pass from now on."""
    record = begin(job, cron, known)
    return record if record.paused_ms is not None else replace(record, paused_ms=now_ms)


def resume(job: Job, cron: Cron, known: CronRecord | None, now_ms: int) -> CronRecord:
    """Return the record of a job whose dues are fired from now on; what passed meanwhile is not made up for."""
    record = begin(job, cron, known)
    if record.paused_ms is None:
        return record
    return replace(record, paused_ms=None, seen_ms=max(record.seen_ms, now_ms))


def trigger(job: Job, cron: Cron, known: CronRecord | None, running: Sequence[str], now_ms: int) -> CronRecord:
    """Return the record of a job of which a child is made now, because an operator asks for it.

    Raises:
        ValueError: Another one is not over, and they may not both run.
    """
    if running and cron.overlap is not Overlap.ALLOW:
        raise ValueError(
            f"{_named(running)} not over, and overlap is {cron.overlap}; wait for it, or unschedule it: "
            f"harpoon unschedule {running[0]}"
        )
    firing = Firing(due_ms=now_ms, at_ms=now_ms, job=triggered_name(job.name, now_ms), is_triggered=True)
    return replace(begin(job, cron, known), triggered=firing)


def _fire(record: CronRecord, due_ms: int, now_ms: int) -> CronDecision:
    missed = _count(record, due_ms)
    firing = Firing(due_ms=due_ms, at_ms=now_ms, job=child_name(record.job, due_ms))
    after = replace(record, seen_ms=due_ms, fired=firing, missed=record.missed + missed)
    if missed:
        passed = f"{missed} due{'s' * (missed > 1)}{' or more' * (missed >= MISSED_MAX)} before"
        reason = f"{passed} {_local(record, due_ms)} passed before they could be fired; only that one is made up for"
        before = latest_due(record.at, record.timezone, record.seen_ms, due_ms - 1)
        assert before is not None, "what was counted is there"
        after = replace(after, skipped=Skip(due_ms=before, at_ms=now_ms, reason=reason))
    return CronDecision(record=after, fires=firing, look_ms=next_due(record.at, record.timezone, due_ms))


def _skip(record: CronRecord, due_ms: int, now_ms: int, reason: str, *, missed: int) -> CronDecision:
    skip = Skip(due_ms=due_ms, at_ms=now_ms, reason=reason)
    after = replace(record, seen_ms=due_ms, skipped=skip, missed=record.missed + missed)
    return CronDecision(record=after, look_ms=next_due(record.at, record.timezone, due_ms))


def _count(record: CronRecord, due_ms: int) -> int:
    """Return how many dues have passed before the latest one."""
    return len(dues_between(record.at, record.timezone, record.seen_ms, due_ms - 1, most=MISSED_MAX))


def _named(running: Sequence[str]) -> str:
    more = f" and {len(running) - 1} more" if len(running) > 1 else ""
    return f"{running[0]}{more} {'are' if more else 'is'}"


def _local(record: CronRecord, at_ms: int) -> str:
    return f"{local_of(record.timezone, at_ms):%Y-%m-%d %H:%M %Z}"


def _span(span: timedelta) -> str:
    """Write how long ago something was, so that it can be taken in."""
    for unit in (timedelta(days=2), timedelta(hours=2), timedelta(minutes=2)):
        if span >= unit:
            return format_duration(span // (unit // 2) * (unit // 2))
    return format_duration(span // timedelta(seconds=1) * timedelta(seconds=1))
