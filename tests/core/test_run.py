"""A run is the fold of its log."""

import pytest

from harpoon.core.event import Claimed, Ended, Fired, Opened, Started
from harpoon.core.fold import fold
from harpoon.model.run import Status
from tests.core.flow import DAY, MINUTE, SECOND, T0, Flow, await_signal, begun, choose, refs, retry, spec, story, work


def test_a_run_in_which_nothing_happened_knows_by_what_it_was_started():
    run = Flow(spec(a=work()), {"order": "o1"}).run
    assert (run.namespace, run.id, run.workflow, run.generation) == ("shop", "r1", "refund", "g1")
    assert (run.seq, run.status, run.open, run.tags) == (0, Status.RUNNING, {}, {})
    assert run.scope["inputs"] == {"order": "o1"}
    assert run.scope["run"] == {
        "id": "r1",
        "namespace": "shop",
        "workflow": "refund",
        "generation": "g1",
        "started_ms": T0,
        "deadline_ms": T0 + 7 * DAY,
    }


def test_only_a_run_that_goes_on_is_not_over():
    assert [status for status in Status if not status.is_over] == [Status.RUNNING]


def test_events_are_taken_in_order_only():
    run = Flow(spec(a=work())).run
    with pytest.raises(AssertionError, match="event 2 of run r1 after 0"):
        fold(run, Started(2, T0))
    fold(run, Started(1, T0 + 5, (Opened("a", 1),)))
    with pytest.raises(AssertionError, match="earlier"):
        fold(run, Claimed(2, T0, "a", 1, 1, "t"))


def test_only_what_is_complete_fires():
    run = Flow(spec(a=work(next={"done": "b"}), b=work())).run
    with pytest.raises(AssertionError, match="trigger 0 fired, but -1 is next"):
        fold(run, Started(1, T0, (Opened("b", 1, 0),)))


def test_a_log_that_breaks_off_before_all_fired_is_gone_on_with():
    flow = begun(spec(a=work(), b=work(needs=["a"]), c=work(needs=["a"])))
    flow.do("a")
    closed = flow.log[-1]
    assert [opened.op for opened in closed.opened] == ["b", "c"]
    run = flow.again(2)
    fold(run, closed._replace(opened=closed.opened[:1]))
    fold(run, Fired(4, T0, closed.opened[1:]))
    assert list(run.open) == [("b", 1), ("c", 1)]


def test_a_run_knows_what_its_operations_came_to():
    flow = begun(spec(a=work(retry=retry(fail=2)), b=work(needs=["a"])))
    flow.now += SECOND
    flow.do("a", "fail", {"n": 1}, "broken")
    flow.now += MINUTE
    flow.do("a", output={"n": 2})
    progress = flow.run.ops["a"]
    latest = progress.latest
    assert (progress.fired, progress.attempts, progress.closed) == (1, 2, 1)
    assert (latest.visit, latest.attempt, latest.label, latest.output, latest.worker) == (1, 2, "done", {"n": 2}, "w1")
    assert (latest.opened_ms, latest.claimed_ms, latest.closed_ms) == (T0, T0 + SECOND, T0 + SECOND + MINUTE)
    assert flow.run.attempts_total == 3
    assert flow.run.bytes_total == len('{"n":1}') + len("broken") + len('{"n":2}') + 2 * len("null")


def test_the_output_of_what_failed_without_one_is_absent():
    flow = begun(
        spec(
            a=work(next={"fail": "b"}),
            b=work(next={"done": "c"}, input={"label": "${ops.a.label}", "visits": "${ops.a.visits}"}),
            c=work(input="${ops.b.output}"),
        )
    )
    flow.do("a", "fail")
    assert flow.run.open["b", 1].input == {"label": "fail", "visits": 1}
    assert flow.run.scope["ops"]["a"] == {"label": "fail", "visits": 1}
    flow.do("b")
    assert flow.run.scope["ops"]["b"] == {"label": "done", "visits": 1, "output": None}
    assert flow.run.open["c", 1].input is None


def test_the_end_closes_what_is_open_and_ends_what_waits():
    flow = begun(spec(a=work(), b=await_signal("go"), c=choose("x")))
    flow.cancel("enough")
    run = flow.run
    assert (run.open, run.ready, run.waiting, list(run.pending), run.wakes) == ({}, {}, {}, [], [])
    assert [run.ops[op].latest.label for op in "ab"] == ["cancelled", "cancelled"]
    assert type(flow.log[-1]) is Ended
    assert story(flow.again()) == story(run)


def test_an_attempt_is_found_while_it_is_open():
    flow = begun(spec(a=work(retry=retry(fail=2))))
    assert flow.run.find(refs("a")).ref == refs("a")
    assert flow.run.find(refs("a#2")) is None
    flow.do("a", "fail")
    assert flow.run.find(refs("a")) is None
    assert flow.run.find(refs("a#1/2")) is not None
