"""When expressions are due, found plainly: every minute of the calendar is looked at, and no library of cron is asked.

A zone is a list of stretches between changes of its clocks. Within one, what the hands show and real time differ by a
constant.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise

from harpoon.model.cron import zone_names, zone_of

MINUTE = timedelta(minutes=1)
_PROBE = 6 * 60
_EVER = frozenset(range(60))


@dataclass(frozen=True)
class Named:
    """What an expression names, said twice: as it is written, and as sets."""

    at: str
    is_interval: bool = False
    minutes: frozenset[int] = frozenset({0})
    hours: frozenset[int] = _EVER
    days: frozenset[int] = _EVER
    months: frozenset[int] = _EVER
    #: Monday is 1.
    weekdays: frozenset[int] = _EVER


@dataclass(frozen=True)
class Stretch:
    """Between two changes of clocks; minutes since the epoch."""

    start: int
    end: int
    offset: int


def minute_of(moment: datetime) -> int:
    return int(moment.timestamp()) // 60


def stretches(zone: str, first: int, last: int) -> tuple[Stretch, ...]:
    """Return the stretches of some years, from the beginning of the first to the end of the last."""
    known = zone_of(zone)
    start, end = (minute_of(datetime(year, 1, 1, tzinfo=UTC)) for year in (first, last + 1))

    @cache
    def offset(minute: int) -> int:
        span = datetime.fromtimestamp(minute * 60, known).utcoffset()
        return span // MINUTE

    starts = [start]
    for early, late in pairwise(range(start, end + 1, _PROBE)):
        if offset(early) != offset(late):
            starts.append(next(one for one in range(early, late + 1) if offset(one) != offset(early)))
    return tuple(Stretch(one, other, offset(one)) for one, other in pairwise([*starts, end]))


def alike(first: int, last: int) -> Mapping[tuple[Stretch, ...], list[str]]:
    """Return all zones, those together whose clocks show the same all these years."""
    found: dict[tuple[Stretch, ...], list[str]] = {}
    for zone in sorted(zone_names()):
        found.setdefault(stretches(zone, first, last), []).append(zone)
    return found


@cache
def shown(named: Named, first: int, last: int) -> Sequence[int]:
    """Return the minutes that an expression names, by the hands of a clock that is never set."""
    return tuple(_shown(named, first, last))


def _shown(named: Named, first: int, last: int) -> Iterator[int]:
    day = date(first - 1, 12, 31)
    while day.year <= last:
        if day.day in named.days and day.month in named.months and day.isoweekday() in named.weekdays:
            midnight = minute_of(datetime(day.year, day.month, day.day, tzinfo=UTC))
            for hour in range(24):
                if hour in named.hours:
                    yield from (midnight + 60 * hour + minute for minute in range(60) if minute in named.minutes)
        day += timedelta(days=1)


def dues(named: Named, zone: tuple[Stretch, ...], first: int, last: int) -> list[int]:
    """Return all dues of some years, minutes since the epoch."""
    names = shown(named, first, last)
    found: list[int] = []
    # What the hands have shown so far.
    highest = zone[0].start + zone[0].offset - 1
    for stretch in zone:
        begins, ends = stretch.start + stretch.offset, stretch.end + stretch.offset
        if named.is_interval:
            found += [one - stretch.offset for one in names[bisect_left(names, begins) : bisect_left(names, ends)]]
            continue
        if names[bisect_left(names, highest + 1) : bisect_left(names, begins)] and begins not in names:
            found.append(stretch.start)
        from_ = max(highest + 1, begins)
        found += [one - stretch.offset for one in names[bisect_left(names, from_) : bisect_left(names, ends)]]
        highest = max(highest, ends - 1)
    return found
