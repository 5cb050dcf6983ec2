"""The bucket that says how many lost tasks may be replaced."""

from datetime import timedelta

import hypothesis.strategies as st
from hypothesis import given

from harpoon.core.eviction import BURST, PER_SECOND, Bucket
from tests.builders import at


def test_a_full_bucket_is_replaced_from_at_once_and_then_fills_again_by_and_by():
    bucket = Bucket()
    assert bucket.available(at()) == BURST == 200
    bucket = bucket.take(BURST, at())
    assert bucket.available(at()) == 0
    assert bucket.available(at(0.049)) == 0
    assert bucket.available(at(0.05)) == 1
    assert bucket.available(at(1)) == PER_SECOND == 20
    assert bucket.available(at(1000)) == BURST


def test_what_waits_is_told_when_there_is_enough_for_it():
    bucket = Bucket().take(BURST, at())
    assert bucket.due(1, at()) == timedelta(milliseconds=50)
    assert bucket.due(20, at()) == timedelta(seconds=1)
    assert bucket.due(20, at(0.5)) == timedelta(seconds=0.5)
    assert bucket.due(1, at(5)) == timedelta(0)
    assert bucket.due(100 * BURST, at()) == timedelta(seconds=1000)


def test_taking_nothing_changes_nothing():
    bucket = Bucket().take(3, at())
    assert bucket.take(0, at(1)) is bucket


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 300)), max_size=30))
def test_in_no_time_are_more_replaced_than_the_burst_and_what_that_time_brings(steps):
    bucket, passed_ms, taken = Bucket(), 0, 0
    for span_ms, wanted in steps:
        passed_ms += span_ms
        now = at(passed_ms / 1000)
        count = min(wanted, bucket.available(now))
        bucket = bucket.take(count, now)
        taken += count
        assert taken <= BURST + passed_ms * PER_SECOND // 1000
        assert 0 <= bucket.available(now) <= BURST
