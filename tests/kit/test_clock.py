"""The machine's clocks and randomness."""

from harpoon.kit.clock import SystemClock, system_random


def test_elapsed_time_never_goes_back_and_wall_time_is_of_this_century() -> None:
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert second.elapsed >= first.elapsed
    assert 1_700_000_000_000 < first.wall < 4_000_000_000_000


def test_two_sources_of_randomness_differ() -> None:
    assert system_random().random() != system_random().random()
