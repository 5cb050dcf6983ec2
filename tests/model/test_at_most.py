"""Upper bounds as they are told: few digits, and never less than there is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.model.at_most import size_at_most, span_at_most


@pytest.mark.parametrize(
    ("span_ms", "told"),
    [
        (0, "0s"),
        (5, "5ms"),
        (1_000, "1s"),
        (1_241, "1.25s"),
        (12_301, "12.4s"),
        (59_901, "1m"),
        (61_000, "1m1s"),
        (3_599_001, "1h"),
        (3_601_000, "1h1m"),
        (29_544_000, "8h13m"),
        (86_400_000, "1d"),
        (86_400_001, "1d1h"),
        (180_000_000, "2d2h"),
    ],
)
def test_a_span_is_told_in_two_units_and_rounded_up(span_ms: int, told: str) -> None:
    assert span_at_most(span_ms) == told


@pytest.mark.parametrize(
    ("size", "told"),
    [(0, "0"), (8, "8"), (10_239, "10239"), (10_241, "11Ki"), ((125 << 20) + 1, "126Mi"), (10 << 30, "10Gi")],
)
def test_a_size_is_told_in_whole_units_and_rounded_up(size: int, told: str) -> None:
    assert size_at_most(size) == told


_OF: dict[str, int] = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def _span_ms(told: str) -> float:
    """Read a span that was told."""
    total, number = 0.0, ""
    for letter in told:
        if letter in "0123456789.":
            number += letter
        elif number:
            total += float(number) * _OF["ms" if told.endswith("ms") else letter]
            number = ""
    return total


@settings(max_examples=200)
@given(st.integers(0, 10**12))
def test_no_span_is_told_as_less_than_it_is(span_ms: int) -> None:
    assert _span_ms(span_at_most(span_ms)) > span_ms - 1e-6 * (1 + span_ms)
