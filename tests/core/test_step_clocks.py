"""The clocks of a run: what runs out, what is warned of before, and what a take-over leaves of them."""

from datetime import timedelta

import pytest

from harpoon.core import step
from harpoon.core.dues import Clock, next_due_ms, retry_after_ms
from harpoon.core.event import Closed, Warned
from harpoon.core.step import Result
from harpoon.model.lifecycle import Backoff
from harpoon.model.run import Status
from tests.core.flow import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    await_signal,
    begun,
    choose,
    refs,
    retry,
    sleep,
    spec,
    story,
    until,
    work,
)


def told(events):
    """What clocks did: warnings by name, closings by label."""
    names = []
    for event in events:
        if type(event) is Warned:
            names.append(f"{event.op or 'run'} {event.clock}?")
        elif type(event) is Closed:
            names.append(f"{event.op}.{event.label}")
    return names


def left(flow):
    """How long until the clocks are to be looked at."""
    due_ms = next_due_ms(flow.run)
    return None if due_ms is None else due_ms - flow.now


def go(flow):
    """Let time pass until something is due."""
    return told(flow.pass_(left(flow)))


def test_a_failure_may_ask_for_a_longer_pause_up_to_the_longest():
    backoff = Backoff(initial=timedelta(seconds=2), factor=1.0, max=timedelta(seconds=30), jitter=0.0)
    for asked, waits in ((0, 2_000), (1_999, 2_000), (2_001, 2_001), (30_000, 30_000), (31_000, 30_000)):
        flow = begun(spec(a=work(retry=retry(fail=2, backoff=backoff))))
        ref, token = flow.claim("a")
        flow.take(step.close(flow.run, ref, token, Result("fail", after_ms=asked), flow.now))
        assert flow.run.open["a", 1].ready_ms == flow.now + waits
    flow = begun(spec(a=work(retry=retry(fail=2, backoff=backoff))))
    ref, token = flow.claim("a")
    flow.take(step.close(flow.run, ref, token, Result("fail", retryable=False, after_ms=9), flow.now))
    assert flow.run.status is Status.FAILED


def test_an_attempt_that_nobody_claims_times_out():
    flow = begun(spec(a=work(queue_timeout=HOUR, next={"timeout": "b"}), b=work()))
    assert left(flow) == 48 * MINUTE
    assert go(flow) == ["a queue?"]
    assert left(flow) == 12 * MINUTE
    assert told(flow.pass_(12 * MINUTE - 1)) == []
    assert go(flow) == ["a.timeout"]
    assert flow.run.ops["a"].latest.error == "no worker claimed it within 1h"
    assert flow.opened() == ["b"]


def test_the_queue_counts_as_a_timeout_for_retries_and_runs_anew():
    flow = begun(spec(a=work(queue_timeout=HOUR, retry=retry(timeout=2))))
    assert told(flow.pass_(HOUR)) == ["a.timeout"]
    attempt = flow.run.open["a", 1]
    assert (attempt.ref, attempt.ready_ms) == (refs("a#1/2"), flow.now + SECOND)
    assert told(flow.pass_(HOUR)) == ["a queue?"]
    assert told(flow.pass_(SECOND)) == ["a.timeout"]
    assert flow.run.status is Status.FAILED


def test_an_attempt_times_out_from_its_claim_on():
    flow = begun(spec(a=work(takes=10 * SECOND, heartbeat=HOUR, next={"timeout": "b"}), b=work()))
    flow.now += 30 * MINUTE
    flow.claim("a")
    assert left(flow) == 8 * SECOND
    assert go(flow) == ["a timeout?"]
    assert go(flow) == ["a.timeout"]
    assert flow.now == T0 + 30 * MINUTE + 10 * SECOND
    assert flow.run.ops["a"].latest.error == "worker w1 did not close it within 10s"


def test_a_worker_that_is_silent_loses_its_attempt():
    flow = begun(spec(a=work(takes=HOUR, heartbeat=10 * SECOND, retry=retry(lost=1))))
    flow.claim("a")
    assert go(flow) == ["a heartbeat?"]
    assert go(flow) == ["a.lost"]
    assert flow.now == T0 + 10 * SECOND
    assert flow.run.reason == "a closed as lost, which no edge takes: nothing was heard of worker w1 for 10s"


def test_a_worker_that_is_heard_of_keeps_its_attempt():
    flow = begun(spec(a=work(takes=HOUR, heartbeat=10 * SECOND)))
    ref, token = flow.claim("a")
    for _ in range(100):
        flow.now += 7 * SECOND
        assert step.beat(flow.run, ref, token, flow.now)
        assert flow.pass_(0) == []
    assert flow.run.seq == 2
    assert len(flow.run.wakes) < 5
    assert told(flow.pass_(10 * SECOND)) == ["a.lost"]
    assert not step.beat(flow.run, ref, token, flow.now)


def test_a_beat_by_another_token_is_none():
    flow = begun(spec(a=work(), b=await_signal("go")))
    assert not step.beat(flow.run, refs("a"), "t1", flow.now)
    ref, token = flow.claim("a")
    assert not step.beat(flow.run, ref, "other", flow.now)
    assert not step.beat(flow.run, refs("z"), token, flow.now)
    assert step.beat(flow.run, ref, token, flow.now - HOUR)
    assert flow.run.open["a", 1].claim.beat_due_ms == T0 + 30 * SECOND


def test_a_clock_is_warned_of_once_and_at_the_share_that_is_said():
    flow = begun(spec(a=work(queue_timeout=100 * SECOND, warn=50), b=work(takes=100 * SECOND, heartbeat=80 * SECOND)))
    assert told(flow.pass_(50 * SECOND)) == ["a queue?"]
    assert told(flow.pass_(SECOND)) == []
    flow.claim("b")
    assert told(flow.pass_(48 * SECOND)) == []
    assert told(flow.pass_(16 * SECOND)) == ["a.timeout"]
    assert flow.run.status is Status.FAILED


def test_what_two_clocks_are_near_is_warned_of_twice():
    flow = begun(spec(a=work(takes=100 * SECOND, heartbeat=80 * SECOND)))
    ref, token = flow.claim("a")
    flow.now += 15 * SECOND
    step.beat(flow.run, ref, token, flow.now)
    assert told(flow.pass_(64 * SECOND)) == ["a heartbeat?"]
    assert told(flow.pass_(SECOND)) == ["a timeout?"]
    step.beat(flow.run, ref, token, flow.now)
    assert flow.pass_(20 * SECOND - 1) == []
    assert go(flow) == ["a.timeout"]
    assert flow.now == T0 + 100 * SECOND


def test_two_clocks_near_at_once_are_told_together():
    flow = begun(spec(a=work(takes=10 * SECOND, heartbeat=10 * SECOND)))
    flow.claim("a")
    assert go(flow) == ["a timeout?", "a heartbeat?"]
    assert go(flow) == ["a.timeout"]


def test_what_is_due_already_is_not_warned_of():
    flow = begun(spec(a=work(queue_timeout=HOUR)))
    assert told(flow.pass_(DAY)) == ["a.timeout"]


def test_a_claim_begins_its_warnings_anew():
    flow = begun(spec(a=work(queue_timeout=10 * SECOND, takes=10 * SECOND)))
    assert go(flow) == ["a queue?"]
    flow.claim("a")
    assert flow.run.open["a", 1].warned == ()
    assert go(flow) == ["a timeout?"]
    assert flow.run.open["a", 1].warned == (Clock.TIMEOUT,)
    assert story(flow.again()) == story(flow.run)


def test_a_run_ends_at_its_deadline():
    flow = begun(spec(deadline=10 * MINUTE, a=work(), b=work(), c=await_signal("go"), d=work()))
    assert go(flow) == ["run deadline?"]
    assert flow.run.is_warned
    assert left(flow) == 2 * MINUTE
    flow.claim("b")
    (ended,) = flow.pass_(2 * MINUTE)
    assert (ended.status, flow.run.status) == (Status.TIMED_OUT, Status.TIMED_OUT)
    assert flow.run.reason == "it did not end by its deadline; open were a, b, c and 1 more"
    assert left(flow) is None
    assert flow.pass_(DAY) == []


def test_the_deadline_comes_before_every_other_clock():
    flow = begun(spec(deadline=10 * MINUTE, a=work(queue_timeout=MINUTE, next={"timeout": "b"}), b=work()))
    flow.pass_(HOUR)
    assert flow.run.status is Status.TIMED_OUT
    assert "b" not in flow.run.ops


def test_a_deadline_while_paused_with_nothing_open_names_nothing():
    flow = begun(spec(deadline=10 * MINUTE, a=work(next={"done": "b"}), b=work()))
    ref, token = flow.claim("a")
    flow.pause()
    flow.close(ref, token)
    flow.pass_(HOUR)
    assert flow.run.reason == "it did not end by its deadline"


# Waits for a time.


def test_a_wait_for_a_while_closes_by_itself():
    flow = begun(spec(a=sleep(36 * HOUR, next={"done": "b"}), b=work()))
    assert left(flow) == 36 * HOUR
    assert go(flow) == ["a.done"]
    assert flow.opened() == ["b"]
    assert story(flow.again()) == story(flow.run)


@pytest.mark.parametrize(
    "moment", [T0 + 90 * MINUTE, "2023-11-14T23:43:20Z", "2023-11-15T00:43:20.000+01:00", "2023-11-14T23:43:20+00:00"]
)
def test_a_wait_for_a_moment_closes_then(moment):
    flow = begun(spec(inputs={"at": {}}, a=until("${inputs.at}", next={"done": "b"}), b=work()), {"at": moment})
    assert flow.run.open["a", 1].due_ms == T0 + 90 * MINUTE
    assert go(flow) == ["a.done"]
    assert flow.now == T0 + 90 * MINUTE


def test_a_moment_that_is_past_closes_at_once():
    flow = begun(spec(inputs={"at": {}}, a=until("${inputs.at}", next={"done": "b"}), b=work()), {"at": T0})
    assert flow.opened() == ["b"]


def test_a_moment_that_is_too_far_away_times_out():
    flow = begun(spec(inputs={"at": {}}, a=until("${inputs.at}", takes=HOUR)), {"at": T0 + DAY})
    assert told(flow.pass_(48 * MINUTE)) == ["a timeout?"]
    assert go(flow) == ["a.timeout"]
    assert flow.run.reason == "a closed as timeout, which no edge takes: its moment did not come within 1h"


@pytest.mark.parametrize(
    ("moment", "error"),
    [
        ("tomorrow", "until came to a text that is no moment"),
        ("2023-11-14T23:43:20", "until came to a moment without an offset from UTC"),
        (True, "until came to no moment"),
        (1.5, "until came to no moment"),
        (-1, "until came to no moment"),
        (10**15, "until came to no moment"),
        (None, "until came to no moment"),
    ],
)
def test_what_is_no_moment_closes_as_fail(moment, error):
    flow = begun(spec(inputs={"at": {}}, a=until("${inputs.at}", next={"fail": "b"}), b=work()), {"at": moment})
    assert flow.opened() == ["b"]
    assert flow.run.ops["a"].latest.error.startswith(error)


def test_a_timer_due_while_nobody_looked_fires_once():
    flow = begun(spec(a=sleep(HOUR, next={"done": "b"}), b=work()))
    events = flow.pass_(3 * HOUR)
    assert told(events) == ["a.done"]
    assert flow.pass_(0) == []
    assert flow.run.open["b", 1].ready_ms == T0 + 3 * HOUR


def test_what_is_due_is_done_in_its_order():
    flow = begun(spec(c=sleep(3 * HOUR), a=sleep(HOUR), b=sleep(2 * HOUR), x=choose("y")))
    assert told(flow.pass_(4 * HOUR)) == ["a.done", "b.done", "c.done"]
    assert flow.run.status is Status.SUCCEEDED


def test_nothing_more_is_looked_at_once_the_run_has_ended():
    flow = begun(spec(a=work(queue_timeout=HOUR), b=work(queue_timeout=2 * HOUR)))
    assert told(flow.pass_(3 * HOUR)) == ["a.timeout"]
    assert flow.run.status is Status.FAILED


# Taking over.


def test_a_claim_gets_one_full_heartbeat_when_it_is_taken_over():
    flow = begun(spec(a=work(takes=HOUR, heartbeat=10 * SECOND), b=work(), c=await_signal("go")))
    flow.claim("a")
    flow.now += 9 * SECOND
    run = flow.again()
    assert step.adopt(run, flow.now) == []
    assert run.open["a", 1].claim.beat_due_ms == flow.now + 10 * SECOND
    assert next_due_ms(run) == flow.now + 8 * SECOND
    assert told(step.tick(run, flow.now + 9 * SECOND)) == ["a heartbeat?"]
    assert told(step.tick(run, flow.now + 10 * SECOND)) == ["a.lost"]


def test_a_claim_never_gets_more_than_its_attempt_has():
    flow = begun(spec(a=work(takes=20 * SECOND, heartbeat=10 * SECOND)))
    flow.claim("a")
    flow.now += 15 * SECOND
    run = flow.again()
    step.adopt(run, flow.now)
    assert run.open["a", 1].claim.beat_due_ms == T0 + 20 * SECOND
    assert told(step.tick(run, T0 + 20 * SECOND)) == ["a.timeout"]


def test_a_run_read_again_is_due_when_it_was():
    flow = begun(spec(a=work(queue_timeout=HOUR), b=sleep(30 * MINUTE), c=work(queue_timeout=2 * HOUR)))
    flow.do("c")
    assert next_due_ms(flow.again()) == next_due_ms(flow.run) == T0 + 30 * MINUTE


# The heap.


def test_the_heap_does_not_grow_with_what_is_over():
    flow = begun(spec(start="a", deadline=DAY, a=work(visits=1000, labels=["again"], next={"again": "a"})))
    for _ in range(900):
        flow.do("a", "again")
    assert len(flow.run.wakes) <= 70
    assert next_due_ms(flow.run) == T0 + 48 * MINUTE


def test_outdated_entries_are_passed_over():
    flow = begun(spec(a=work(queue_timeout=HOUR), b=work(queue_timeout=2 * HOUR)))
    flow.do("a")
    assert next_due_ms(flow.run) == T0 + 96 * MINUTE
    flow.do("b")
    assert next_due_ms(flow.run) is None


def test_outdated_entries_that_come_up_are_thrown_out():
    flow = begun(spec(a=work(queue_timeout=HOUR), b=work(queue_timeout=2 * HOUR), c=work(queue_timeout=2 * HOUR)))
    flow.do("a")
    flow.do("b")
    assert flow.pass_(HOUR) == []
    assert told(flow.pass_(36 * MINUTE)) == ["c queue?"]


def test_a_run_without_clocks_of_its_attempts_waits_for_its_deadline():
    flow = begun(spec(a=work(next={"done": "b"}), b=work()))
    ref, token = flow.claim("a")
    flow.pause()
    flow.close(ref, token)
    assert next_due_ms(flow.run) == T0 + 7 * DAY * 8 // 10
    flow.pass_(6 * DAY)
    assert next_due_ms(flow.run) == T0 + 7 * DAY


# Jitter.


def test_the_wait_before_a_retry_is_spread_alike_everywhere():
    backoff = Backoff(initial=timedelta(seconds=10), factor=2.0, max=timedelta(seconds=30), jitter=0.5)
    first = [retry_after_ms(backoff, "shop", f"r{n}", refs("a")) for n in range(200)]
    assert first == [retry_after_ms(backoff, "shop", f"r{n}", refs("a")) for n in range(200)]
    assert 5000 <= min(first) < 6000
    assert 14_000 < max(first) <= 15_000
    assert len(set(first)) > 190
    third = [retry_after_ms(backoff, "shop", f"r{n}", refs("a#1/3")) for n in range(200)]
    assert 15_000 <= min(third) < 17_000
    assert max(third) == 30_000
    assert first[0] == 11477


def test_a_great_many_retries_wait_no_longer_than_the_most():
    backoff = Backoff(initial=timedelta(seconds=10), factor=100.0, max=timedelta(minutes=1), jitter=0.0)
    assert retry_after_ms(backoff, "shop", "r1", refs("a#1/400")) == 60_000
