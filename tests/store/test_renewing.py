"""How the holder of a lease counts, whichever store keeps it."""

from harpoon.store.port import BY_THIRDS, Renewal
from harpoon.store.renewing import counted, patience


def test_a_renewal_counts_from_when_it_was_sent_less_the_margin() -> None:
    found = counted(100.0, 6.0, Renewal(margin_s=1.5))
    assert (found.until, found.due) == (104.5, 102.0)


def test_a_lease_is_renewed_as_often_as_asked_and_at_least_three_times_within_its_ttl() -> None:
    assert counted(100.0, 6.0, Renewal(every_s=0.5)).due == 100.5
    assert counted(100.0, 6.0, Renewal(every_s=60.0)).due == 102.0
    assert counted(100.0, 6.0, BY_THIRDS).due == 102.0


def test_a_try_leaves_time_for_others_before_the_lease_is_over() -> None:
    assert [patience(ttl_s) for ttl_s in (2.0, 8.0, 60.0)] == [0.25, 1.0, 1.0]
