"""The times of a lease go together, or are refused with the inequality that does not hold."""

from datetime import timedelta

import pytest

from harpoon.model.lease import LeaseTimes


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_what_is_not_said_follows_from_the_ttl() -> None:
    times = LeaseTimes.of()
    assert (times.ttl, times.keepalive, times.margin) == (s(5), s(5) / 3, s(0.5))
    assert LeaseTimes.of(s(10), s(2), s(1)) == LeaseTimes(ttl=s(10), keepalive=s(2), margin=s(1))


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (
            (5, 2.5, 0.5),
            "(one renewal may be lost): 2 x 2.5 s + 0.5 s = 5.5 s > 5 s",
        ),
        ((1.9, 0.5, 0.5), "lease_ttl is 2 s (etcd grants no less at its defaults) to 60 s"),
        ((60.1, 1, 1), "got 60.1 s"),
        ((5, 1, 0.099), "fence_margin >= 0.1 s does not hold (it is the time to stop acting): got 0.099 s"),
        ((5, 1, 0), "fence_margin >= 0.1 s does not hold"),
        ((5, 0, 0.5), "keepalive > 0 s does not hold: got 0 s"),
    ],
)
def test_times_that_do_not_go_together_are_refused(times: tuple[float, float, float], told: str) -> None:
    with pytest.raises(ValueError, match=r"hold|got") as raised:
        LeaseTimes.of(*map(s, times))
    assert told in str(raised.value)


@pytest.mark.parametrize("times", [(5, 2.25, 0.5), (2, 0.95, 0.1), (60, 20, 6), (2, 2 / 3, 0.2)])
def test_times_at_the_bounds_are_taken(times: tuple[float, float, float]) -> None:
    assert LeaseTimes.of(*map(s, times)).ttl == s(times[0])


def test_an_agent_is_not_taken_for_lost_while_nobody_minds_it() -> None:
    times = LeaseTimes.of(s(5))
    times.check_lost_after(s(12))
    with pytest.raises(ValueError, match="lost") as raised:
        times.check_lost_after(s(11.9))
    assert str(raised.value) == (
        "lost_after >= 2 x lease_ttl + 2 s does not hold (an agent's time would run out while nobody minds it): "
        "11.9 s < 2 x 5 s + 2 s = 12 s"
    )
