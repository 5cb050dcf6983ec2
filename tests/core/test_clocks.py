"""Clocks that differ."""

from datetime import timedelta

import pytest

from harpoon.core.clocks import Reading, is_fit, skew


@pytest.mark.parametrize(
    ("readings", "joined", "found_ms"),
    [
        ((), 1, 0),
        # Of two, the first to join is right.
        ((Reading(3_000, 1),), 2, -3_000),
        ((Reading(3_000, 2),), 1, 0),
        # Of three, the one in the middle, whoever that is.
        ((Reading(3_000, 1), Reading(10, 3)), 2, -10),
        ((Reading(3_000, 1), Reading(-10, 3)), 2, 0),
        ((Reading(-3_000, 1), Reading(-2_990, 2)), 3, 2_990),
        # Of four, the first to join of the two in the middle.
        ((Reading(9_000, 1), Reading(5, 2), Reading(-7, 3)), 4, -5),
    ],
)
def test_the_clock_in_the_middle_is_taken_for_right(readings: tuple[Reading, ...], joined: int, found_ms: int) -> None:
    assert skew(readings, joined) == timedelta(milliseconds=found_ms)


def test_a_clock_that_is_off_is_to_be_clearly_right_before_it_is_gone_by_again() -> None:
    assert is_fit(timedelta(seconds=-2), was_fit=True)
    assert not is_fit(timedelta(seconds=2.001), was_fit=True)
    assert not is_fit(timedelta(seconds=1.5), was_fit=False)
    assert is_fit(timedelta(seconds=1), was_fit=False)
