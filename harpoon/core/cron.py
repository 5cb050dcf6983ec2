"""When an expression is due, in a zone whose clocks are set forward and back.

Two kinds of expressions.

1. One that names hours (``30 2 * * *``) means the hands of the clock: it is due when they *first* come to a time that
   it names, or pass it. So a time that is left out, as clocks are set forward, is due once, at the end of the gap,
   together with all others of that gap; and one that comes twice, as they are set back, is due the first time only.
2. One of every hour, or of every so many (its hour begins with ``*``, or names all of them), means real time: it is due
   at each moment at which the clock shows a time that it names. As clocks are set back, ``*/15 * * * *`` is due on
   every quarter of both hours; what is left out is not due.

The expression itself is `cronsim`'s, in the hours of no zone. What that makes of zones is not used: from within the
hour that comes twice it returns to the first one, it skips what a step of half an hour brings twice, and where midnight
is left out, it names a moment that there is not.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from harpoon.model.cron import zone_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_SECOND: Final = timedelta(seconds=1)
#: No zone changes its clocks twice within so long.
_PROBE: Final = timedelta(hours=6)
#: Times that one change of clocks repeats: a day's minutes.
_REPEATED_MAX: Final = 1500
_HOURS: Final = frozenset(range(24))
#: Of what an expression names it does not matter when the search begins.
_SOME_DAY: Final = datetime(2000, 1, 1)  # noqa: DTZ001 the wall clock of no zone


def next_due(at: str, timezone: str, after_ms: int) -> int | None:
    """Return the first due after a moment, UTC milliseconds; None: there is none in fifty years.

    Args:
        at: An expression that `model.cron.check_expression` lets pass.
        timezone: The name of a zone.
        after_ms: UTC milliseconds.
    """
    zone = zone_of(timezone)
    find = _next_real if is_interval(at) else _next_of_hands
    try:
        due = find(at, zone, _EPOCH + after_ms * _MILLISECOND)
    except OverflowError:
        # Beyond the year 9999 there is no calendar.
        return None
    return None if due is None else (due - _EPOCH) // _MILLISECOND


def dues_between(at: str, timezone: str, after_ms: int, until_ms: int, *, most: int) -> list[int]:
    """Return the first dues after a moment and up to another, at most so many."""
    return list(islice(_dues(at, timezone, after_ms, until_ms), most))


def latest_due(at: str, timezone: str, after_ms: int, until_ms: int) -> int | None:
    """Return the last due after a moment and up to another; the cost grows with the logarithm of the time between."""
    latest = next_due(at, timezone, after_ms)
    if latest is None or latest > until_ms:
        return None
    # There is one at `latest`, and none between `above` and the end.
    above = until_ms
    while above - latest > 1:
        middle = (latest + above) // 2
        due = next_due(at, timezone, middle)
        if due is not None and due <= until_ms:
            latest = due
        else:
            above = middle
    return latest


def is_interval(at: str) -> bool:
    """Return whether an expression means real time, and not the hands of the clock."""
    return at.split()[1].startswith("*") or _rule(at, _SOME_DAY).hours == _HOURS


def local_of(timezone: str, at_ms: int) -> datetime:
    """Return what clocks of a zone show at a moment."""
    return (_EPOCH + at_ms * _MILLISECOND).astimezone(zone_of(timezone))


def peculiarity(at: str, timezone: str, due_ms: int) -> str:
    """Say what is odd of a due because clocks are set forward or back; empty: nothing is."""
    zone, due = zone_of(timezone), _EPOCH + due_ms * _MILLISECOND
    local, before = _hands(due, zone), _hands(due - _SECOND, zone) + _SECOND
    if not is_interval(at) and local > before:
        left_out = [one for one in islice(_rule(at, before - _SECOND), _REPEATED_MAX) if one < local][:1]
        if left_out:
            form = "%H:%M" if before.date() == local.date() else "%Y-%m-%d %H:%M"
            missed, begins, ends = (one.strftime(form) for one in (left_out[0], before, local))
            return f"{missed} is left out: clocks go from {begins} to {ends}, the gap's end"
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first < second and _hands(first, zone) == local:
        if not is_interval(at):
            return f"{local:%H:%M} comes twice: clocks are set back; this is the first time, and the only due"
        return (
            f"{local:%H:%M} comes twice: clocks are set back; this is the {'first' if due == first else 'second'} time"
        )
    return ""


def _dues(at: str, timezone: str, after_ms: int, until_ms: int) -> Iterator[int]:
    due = next_due(at, timezone, after_ms)
    while due is not None and due <= until_ms:
        yield due
        due = next_due(at, timezone, due)


def _rule(at: str, after: datetime) -> CronSim:
    """Return the times after one that an expression names, as a calendar without zones has them."""
    return CronSim(at, after)


def _hands(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return what the clock shows at a moment, as a time of no zone."""
    return moment.astimezone(zone).replace(tzinfo=None)


def _next_of_hands(at: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    # Whatever comes later on the calendar is not due earlier. What the clock shows in the second of two equal hours was
    # due in the first, so some of them are passed over.
    for local in islice(_rule(at, _hands(after, zone)), _REPEATED_MAX):
        due = _reached(local, zone)
        if due > after:
            return due
    return None


def _reached(local: datetime, zone: ZoneInfo) -> datetime:
    """Return when a clock first shows a time, or passes it."""
    late = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _hands(late, zone) == local:
        return late
    # It is left out: read by the offset of after the gap, it is before it, and by that of before, after it.
    early = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while late - early > _SECOND:
        middle = early + (late - early) // 2 // _SECOND * _SECOND
        if _hands(middle, zone) < local:
            early = middle
        else:
            late = middle
    return late


def _next_real(at: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    start, hands = after, _hands(after, zone)
    while True:
        # Fifty years on the rule gives up, so there is an end to this.
        local = next(_rule(at, hands), None)
        if local is None:
            return None
        due = start + (local - _hands(start, zone))
        change = _change(zone, start, due)
        if change is None:
            return due
        # Up to there nothing is due. From there on clocks go on from another time, which may be named itself.
        start, hands = change, _hands(change, zone) - _SECOND


def _change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """Return the first moment after one and up to another at which clocks are set to another time."""
    offset = after.astimezone(zone).utcoffset()
    while after < until:
        probed = min(after + _PROBE, until)
        if probed.astimezone(zone).utcoffset() != offset:
            while probed - after > _SECOND:
                middle = after + (probed - after) // 2
                if middle.astimezone(zone).utcoffset() != offset:
                    probed = middle
                else:
                    after = middle
            return probed.replace(microsecond=0)
        after = probed
    return None
