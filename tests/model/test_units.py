"""Durations, sizes and processor shares."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harpoon.model.units import (
    DURATION_MAX,
    SIZE_MAX,
    Unit,
    format_cpu,
    format_duration,
    format_size,
    parse_cpu,
    parse_duration,
    parse_size,
)

WORDS = (
    st.text()
    | st.integers()
    | st.floats()
    | st.none()
    | st.booleans()
    | st.from_regex(r"[0-9]{1,22}(ms|[a-zA-Z.]i?)?[0-9]{0,4}")
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0s", 0),
        ("250ms", 250),
        ("10s", 10_000),
        ("90s", 90_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("7d", 604_800_000),
    ],
)
def test_durations_are_read(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1", 1),
        (4096, 4096),
        ("1k", 1000),
        ("64Ki", 65_536),
        ("500M", 500_000_000),
        ("1Gi", 1 << 30),
        ("1048576Ti", SIZE_MAX),
    ],
)
def test_sizes_are_read(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "millicores"),
    [
        ("0", 0),
        ("500m", 500),
        ("0.5", 500),
        (0.5, 500),
        ("1.25", 1250),
        ("0.001", 1),
        (2, 2000),
        ("2", 2000),
        ("1024", 1_024_000),
    ],
)
def test_processor_shares_are_read(text: object, millicores: int) -> None:
    assert parse_cpu(text) == millicores


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "1",
        "1.5s",
        "-1s",
        "1 s",
        "1S",
        "1w",
        "1s ",
        "1s\n",
        "٣s",
        "1ms1s",
        "3651d",
        "9" * 13 + "s",
        None,
        10,
        True,
        [],
    ],
)
def test_other_durations_are_refused_with_what_would_be_right(text: object) -> None:
    with pytest.raises(ValueError, match=r"write a duration as a whole number and a unit|at most 3650d"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text",
    ["", "Mi", "1.5Gi", "-1", "1 Mi", "1MB", "1mi", "1Ki\n", "1048577Ti", str(SIZE_MAX + 1), None, 1.0, True, -1, [1]],
)
def test_other_sizes_are_refused_with_what_would_be_right(text: object) -> None:
    with pytest.raises(ValueError, match=r"write a size as a number and a unit|at most 1048576Ti"):
        parse_size(text)


@pytest.mark.parametrize(
    "text", ["", "m", "0.0001", ".5", "1.", "-1", "1,5", "1e3", "1\n", "0.5m", 1e-7, float("inf"), -1, None, False, {}]
)
def test_other_processor_shares_are_refused_with_what_would_be_right(text: object) -> None:
    with pytest.raises(ValueError, match="write cpu as"):
        parse_cpu(text)


@given(st.integers(0, DURATION_MAX // timedelta(milliseconds=1)))
def test_a_written_duration_is_read_as_it_was(milliseconds: int) -> None:
    span = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(span)) == span


@given(st.integers(0, SIZE_MAX) | st.integers(0, 1 << 40).map(lambda size: size << 20))
def test_a_written_size_is_read_as_it_was(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 999_999_999))
def test_a_written_processor_share_is_read_as_it_was(millicores: int) -> None:
    assert parse_cpu(format_cpu(millicores)) == millicores


@given(WORDS)
def test_what_can_be_read_can_be_written_and_read_again(word: object) -> None:
    pairs: list[tuple[Any, Any]] = [
        (parse_duration, format_duration),
        (parse_size, format_size),
        (parse_cpu, format_cpu),
    ]
    for parse, write in pairs:
        try:
            value = parse(word)
        except ValueError:
            continue
        assert parse(write(value)) == value


def test_the_shortest_whole_unit_is_written() -> None:
    assert [format_duration(timedelta(seconds=s)) for s in (0, 0.25, 59, 60, 90, 3600, 172_800)] == [
        "0s",
        "250ms",
        "59s",
        "1m",
        "90s",
        "1h",
        "2d",
    ]
    assert [format_size(size) for size in (0, 1000, 1024, 3 << 20, 1 << 50)] == ["0", "1000", "1Ki", "3Mi", "1024Ti"]
    assert format_cpu(250) == "250m"


def test_a_unit_takes_values_that_are_read_already() -> None:
    unit = Unit(parse_duration, format_duration, timedelta, "duration", {"type": "string"})
    accept = unit.__get_pydantic_core_schema__(None, None)["function"]["function"]
    assert accept(timedelta(seconds=1)) == accept("1s") == timedelta(seconds=1)
