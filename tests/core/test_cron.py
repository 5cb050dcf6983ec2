"""When expressions are due: each time once, whatever clocks do, in every zone that there is."""

import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.core.cron import dues_between, is_interval, latest_due, local_of, next_due, peculiarity
from harpoon.model.cron import check_expression, zone_names
from tests.core.dues import Named, alike, dues, minute_of

#: Ten years take minutes: HARPOON_CRON_YEARS=10.
FIRST, LAST = 2025, 2024 + int(os.environ.get("HARPOON_CRON_YEARS", "2"))
#: So long around each change of clocks; with more than two years, all of the time is looked at.
AROUND = 36 * 60
NAMED = (
    Named("30 2 * * *", minutes=frozenset({30}), hours=frozenset({2})),
    Named("0 0 * * *", hours=frozenset({0})),
    Named("15,45 0-3,23 * * *", minutes=frozenset({15, 45}), hours=frozenset({0, 1, 2, 3, 23})),
    Named("59 1 * * 0", minutes=frozenset({59}), hours=frozenset({1}), weekdays=frozenset({7})),
    Named("*/15 2 * * *", minutes=frozenset({0, 15, 30, 45}), hours=frozenset({2})),
    Named("*/15 * * * *", is_interval=True, minutes=frozenset({0, 15, 30, 45})),
    Named("35 */2 * * *", is_interval=True, minutes=frozenset({35}), hours=frozenset(range(0, 24, 2))),
    Named(
        "5 0-23 1-7 3,10 *",
        is_interval=True,
        minutes=frozenset({5}),
        days=frozenset(range(1, 8)),
        months=frozenset({3, 10}),
    ),
)
ZONES = tuple((zone, names[0]) for zone, names in alike(FIRST, LAST).items())


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def told(at: str, zone: str, after: str, *, most: int) -> list[str]:
    found = dues_between(at, zone, ms(after), ms("2100-01-01T00:00Z"), most=most)
    return [local_of(zone, one).isoformat(timespec="minutes") for one in found]


@pytest.mark.timeout(120 if LAST - FIRST <= 1 else 1800)
@pytest.mark.parametrize("named", NAMED, ids=lambda named: named.at)
def test_each_due_of_every_zone_comes_once_and_none_twice(named: Named) -> None:
    """Against a search that looks at every minute, and knows no library of cron."""
    assert is_interval(named.at) is named.is_interval
    for zone, name in ZONES:
        wanted = dues(named, zone, FIRST, LAST)
        windows = [(one.start - AROUND, one.start + AROUND) for one in zone[1:]]
        # The first and last hours are of other years in some zones.
        if LAST - FIRST > 1 and not named.at.startswith("*"):
            windows = [(zone[0].start + AROUND, zone[-1].end - AROUND)]
        for begins, ends in windows:
            found = dues_between(named.at, name, begins * 60_000, ends * 60_000, most=10**6)
            assert [one // 60_000 for one in found] == [one for one in wanted if begins < one <= ends], name
            assert all(one % 60_000 == 0 for one in found)


def test_there_are_zones_of_every_kind_among_those_that_are_tried() -> None:
    steps = {late.offset - early.offset for zone, _ in ZONES for early, late in pairwise(zone)}
    assert {60, -60, 30, -30} <= steps, "half hours, too"
    assert len(ZONES) > 50


@pytest.mark.parametrize(
    ("at", "zone", "after", "wanted"),
    [
        # Left out: once, at the gap's end; all of a gap together.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("0,30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"]),
        # Twice: the first time only, also when it is asked from within the second one.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10Z", ["2026-10-26T02:30+01:00"]),
        # Real time: the quarters of both hours.
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00Z", ["2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:29Z", ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"]),
        # A gap of half an hour.
        ("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00Z", ["2026-10-04T02:30+11:00"]),
        # Midnight is left out.
        ("0 0 * * *", "America/Santiago", "2026-09-05T12:00Z", ["2026-09-06T01:00-03:00"]),
        # A whole day is.
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T23:00Z", ["2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", ["2028-02-29T00:00+00:00"]),
        # Both days are restricted: either will do; one begins with a star: both must hold.
        ("0 0 13 * FRI", "UTC", "2026-02-08T00:00Z", ["2026-02-13T00:00+00:00", "2026-02-20T00:00+00:00"]),
    ],
)
def test_what_is_left_out_comes_at_the_gaps_end_and_what_comes_twice_the_first_time(
    at: str, zone: str, after: str, wanted: list[str]
) -> None:
    assert told(at, zone, after, most=len(wanted)) == wanted


@pytest.mark.parametrize(
    ("at", "zone", "due", "said"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00Z", "02:30 is left out: clocks go from 02:00 to 03:00, the gap's end"),
        ("0 3 * * *", "Europe/Berlin", "2026-03-29T01:00Z", ""),
        ("0 12 * * *", "Pacific/Apia", "2011-12-30T10:00Z", "2011-12-30 12:00 is left out: clocks go from 2011-12-30 00:00 to 2011-12-31 00:00, the gap's end"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30Z", "02:30 comes twice: clocks are set back; this is the first time, and the only due"),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T00:30Z", "02:30 comes twice: clocks are set back; this is the first time"),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T01:30Z", "02:30 comes twice: clocks are set back; this is the second time"),
        ("0 * * * *", "Europe/Berlin", "2026-03-29T01:00Z", ""),
        ("30 2 * * *", "Europe/Berlin", "2026-06-01T00:30Z", ""),
    ],
)  # fmt: skip
def test_what_is_odd_of_a_due_is_said(at: str, zone: str, due: str, said: str) -> None:
    assert peculiarity(at, zone, ms(due)) == said


def test_a_search_ends_where_the_calendar_does() -> None:
    assert next_due("0 0 * * *", "UTC", 10**18) is None
    assert next_due("0 0 1 1 *", "Europe/Berlin", ms("9999-06-01T00:00Z")) is None
    assert next_due("0 * 1 1 *", "Europe/Berlin", ms("9999-06-01T00:00Z")) is None


def test_a_search_for_a_day_that_there_is_not_ends() -> None:
    for at in ("0 0 */10 2 SUN#5", "0 * */10 2 SUN#5"):
        assert next_due(at, "Europe/Berlin", ms("2026-01-01T00:00Z")) is None


def test_one_that_is_due_rarely_in_real_time_is_found_beyond_many_changes_of_clocks() -> None:
    assert told("0 * 29 2 *", "Europe/Berlin", "2096-03-01T00:00Z", most=1) == []
    assert next_due("0 * 29 2 *", "Europe/Berlin", ms("2096-03-01T00:00Z")) == ms("2104-02-29T00:00+01:00")


_FIELD = st.sampled_from


def fires(at: str) -> bool:
    try:
        return bool(check_expression(at))
    except ValueError:
        # Of a few of them there is no such day.
        return False


EXPRESSIONS = st.builds(
    "{} {} {} {} {}".format,
    _FIELD(["0", "30", "*/7", "5-50/9", "*", "0,59"]),
    _FIELD(["0", "2", "23", "1-3", "*", "*/5", "0-23", "0,12"]),
    _FIELD(["*", "1", "L", "29", "LW", "*/10"]),
    _FIELD(["*", "2", "3,10", "MAR-APR"]),
    _FIELD(["*", "0", "MON-FRI", "7", "SUN#5", "6L"]),
).filter(fires)
MOMENTS = st.integers(ms("1990-01-01T00:00Z"), ms("2040-01-01T00:00Z"))


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, st.sampled_from(sorted(zone_names())), MOMENTS)
def test_dues_rise_and_are_the_same_wherever_the_search_begins(at: str, zone: str, after: int) -> None:
    first = next_due(at, zone, after)
    assert first is not None
    second = next_due(at, zone, first)
    assert after < first < second
    for between in ((after + first) // 2, first - 1):
        assert next_due(at, zone, between) == first
    assert next_due(at, zone, second - 1) == second
    assert dues_between(at, zone, after, second, most=9) == [first, second]
    assert dues_between(at, zone, after, second, most=1) == [first]


@settings(max_examples=100, deadline=None)
@given(EXPRESSIONS, st.sampled_from(sorted(zone_names())), MOMENTS, st.integers(0, 40))
def test_the_latest_due_is_the_last_of_all(at: str, zone: str, after: int, hours: int) -> None:
    until = after + hours * 3_600_000
    every = dues_between(at, zone, after, until, most=10_000)
    assert latest_due(at, zone, after, until) == (every[-1] if every else None)


@settings(max_examples=200, deadline=None)
@given(EXPRESSIONS, st.sampled_from(sorted(zone_names())), MOMENTS)
def test_what_is_odd_of_any_due_can_be_told(at: str, zone: str, after: int) -> None:
    due = next_due(at, zone, after)
    assert isinstance(peculiarity(at, zone, due), str)


def test_a_due_is_reached_from_anywhere_in_the_ten_years_before_it() -> None:
    due = next_due("0 0 29 2 *", "Asia/Tokyo", ms("2028-03-01T00:00Z"))
    start = datetime(2028, 3, 1, tzinfo=UTC)
    for days in range(0, 1400, 100):
        assert next_due("0 0 29 2 *", "Asia/Tokyo", minute_of(start + timedelta(days=days)) * 60_000) == due
