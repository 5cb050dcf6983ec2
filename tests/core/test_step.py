"""What may be done to a run: claims, closings, edges, joins, visits, retries, and how it ends."""

import pytest

from harpoon.core import step
from harpoon.core.event import Closed, Ended, Fired
from harpoon.core.step import MISTAKES, Refused, Result
from harpoon.core.stepping import ERROR_MAX, OPENED_BYTES_MAX
from harpoon.core.visit import Ref
from harpoon.model.run import Status
from harpoon.model.workflow import OnFailed
from tests.core.flow import (
    HOUR,
    MINUTE,
    SECOND,
    T0,
    Flow,
    await_signal,
    begun,
    choose,
    limit,
    loose,
    refs,
    retry,
    sleep,
    spec,
    story,
    work,
)


def refused(code, verb, *given):
    with pytest.raises(Refused) as told:
        verb(*given)
    assert told.value.code == code
    assert told.value.is_mistake is (code in MISTAKES)
    assert str(told.value) == told.value.message
    return told.value.message


# Claims.


def test_of_five_claimers_of_one_attempt_one_wins():
    flow = begun(spec(a=work()))
    ref = flow.ref("a")
    won = []
    for worker in range(5):
        try:
            won += step.claim(flow.run, ref, f"t{worker}", f"w{worker}", "s", flow.now)
        except Refused as error:
            assert error.code == "taken"
    assert [event.worker for event in won] == ["w0"]
    assert flow.run.open["a", 1].claim.token == "t0"
    assert flow.run.ready == {}


def test_a_claim_made_again_by_its_token_changes_nothing():
    flow = begun(spec(a=work()))
    ref, token = flow.claim("a")
    assert step.claim(flow.run, ref, token, "w1", "s1", flow.now) == []
    assert flow.run.seq == 2


def test_only_attempts_of_workers_are_claimed():
    flow = begun(spec(a=await_signal("go")))
    assert "it is for none" in refused("taken", step.claim, flow.run, refs("a"), "t", "w", "s", flow.now)


def test_a_retry_is_claimed_from_its_time_on():
    flow = begun(spec(a=work(retry=retry(fail=2))))
    flow.do("a", "fail")
    ref = flow.ref("a")
    assert ref == refs("a#1/2")
    flow.now += 999
    assert refused("early", step.claim, flow.run, ref, "t", "w", "s", flow.now).endswith("in 1 ms")
    flow.now += 1
    flow.do("a")
    assert flow.run.status is Status.SUCCEEDED


def test_nothing_is_claimed_that_is_not_open():
    flow = begun(spec(a=work(retry=retry(fail=2)), b=work()))
    flow.do("a", "fail")
    for ref in (refs("x"), refs("a#2"), refs("a#1/3"), Ref("a", 0, 1), Ref("a", 1, 0)):
        refused("unknown", step.claim, flow.run, ref, "t", "w", "s", flow.now)
    message = refused("late", step.claim, flow.run, refs("a"), "t", "w", "s", flow.now)
    assert message == "attempt 1 of visit 1 of a is closed; attempt 2 has taken its place"
    flow.do("b")
    refused("late", step.claim, flow.run, refs("b"), "t", "w", "s", flow.now)
    flow.cancel("enough")
    message = refused("over", step.claim, flow.run, refs("a#1/2"), "t", "w", "s", flow.now)
    assert message == "the run is over: cancelled: enough"


# Closings.


def test_a_closing_made_again_is_answered_alike():
    flow = begun(spec(a=work(next={"done": "b"}), b=work()))
    ref, token = flow.claim("a")
    assert len(flow.close(ref, token, output=1)) == 1
    assert flow.close(ref, token, output=1) == []
    flow.do("b")
    assert flow.run.status is Status.SUCCEEDED
    assert flow.close(ref, token, output=1) == []


def test_a_closing_that_was_retried_is_answered_alike_too():
    flow = begun(spec(a=work(retry=retry(fail=2))))
    ref, token = flow.claim("a")
    flow.close(ref, token, "fail")
    before = story(flow.run)
    assert flow.close(ref, token, "fail") == []
    refused("late", flow.close, ref, token, "done")
    assert story(flow.run) == before


@pytest.mark.parametrize(
    ("code", "ref", "token", "result"),
    [
        ("foreign", "a", "other", Result("done")),
        ("foreign", "b", "t1", Result("done")),
        ("unknown", "a#2", "t1", Result("done")),
        ("unknown", "z", "t1", Result("done")),
        ("label", "a", "t1", Result("maybe")),
        ("label", "a", "t1", Result("timeout")),
        ("label", "a", "t1", Result("cancelled")),
        ("output", "a", "t1", Result("done", "x" * (64 << 10))),
    ],
)
def test_a_refused_closing_changes_nothing(code, ref, token, result):
    flow = begun(spec(a=work(next={"timeout": "c"}, labels=["good"]), b=work(), c=work()))
    flow.claim("a")
    before = story(flow.run)
    refused(code, step.close, flow.run, refs(ref), token, result, flow.now)
    assert story(flow.run) == before
    assert flow.close(refs("a"), "t1", "good")


def test_refusals_say_what_would_have_been_right():
    flow = begun(spec(a=work(labels=["good"], output_max=10)))
    flow.claim("a")
    message = refused("label", step.close, flow.run, refs("a"), "t1", Result("bad"), flow.now)
    assert message == "a is not closed as 'bad'; it offers done, fail, good"
    message = refused("output", step.close, flow.run, refs("a"), "t1", Result("done", "123456789"), flow.now)
    assert message == "the output has 11 bytes, and output_max of a is 10"
    message = refused("foreign", step.close, flow.run, refs("a"), "t2", Result("done"), flow.now)
    assert message == "attempt 1 of visit 1 of a is not claimed by that token; worker w1 has it"
    assert flow.close(refs("a"), "t1", output="12345678")


def test_a_late_worker_does_not_close_what_another_one_has():
    flow = begun(spec(a=work(heartbeat=10 * SECOND)))
    ref, token = flow.claim("a", worker="w1")
    flow.pass_(10 * SECOND)
    again, other = flow.claim("a", worker="w2")
    refused("late", flow.close, ref, token)
    refused("foreign", flow.close, again, token)
    flow.close(again, other)
    assert flow.run.status is Status.SUCCEEDED


def test_long_errors_are_cut():
    flow = begun(spec(a=work(next={"fail": "b"}), b=work()))
    flow.do("a", "fail", error="x" * 10_000)
    assert len(flow.run.ops["a"].latest.error) == ERROR_MAX


# Edges.


def test_a_label_opens_what_its_edges_lead_to():
    flow = begun(spec(a=work(labels=["c"], next={"done": ["b", "c"], "odd": "d"}), b=work(), c=work(), d=work()))
    flow.do("a")
    assert flow.opened() == ["b", "c"]
    flow.do("b")
    flow.do("c")
    assert flow.run.status is Status.SUCCEEDED
    assert "d" not in flow.run.ops


def test_a_label_without_an_edge_ends_its_branch():
    flow = begun(spec(a=work(labels=["enough"], next={"done": "b"}), b=work()))
    flow.do("a", "enough")
    assert flow.run.status is Status.SUCCEEDED


def test_a_join_fires_once_all_have_occurred():
    flow = begun(spec(a=work(), b=work(labels=["good"]), c=work(needs=["a", "b.good"])))
    flow.do("a")
    assert flow.opened() == ["b"]
    flow.do("b", "good")
    assert flow.opened() == ["c"]
    assert flow.run.occurred == {}


def test_a_join_whose_member_closed_otherwise_never_fires():
    flow = begun(spec(a=work(), b=work(labels=["good"]), c=work(needs=["a", "b.good"])))
    flow.do("a")
    flow.do("b")
    assert flow.run.status is Status.SUCCEEDED
    assert "c" not in flow.run.ops


def test_a_repeat_before_a_join_fires_replaces_the_earlier_one():
    """a occurs twice before b does: c fires once; then both are needed again."""
    flow = loose(
        spec(
            start="go",
            go=work(next={"done": ["a", "b"]}),
            a=work(visits=3, labels=["more"], next={"more": "a"}),
            b=work(visits=2),
            c=work(visits=2, needs=["a.more", "b"]),
        )
    )
    flow.do("go")
    flow.do("a", "more", 1)
    flow.do("a", "more", 2)
    assert flow.opened() == ["b", "a#3"]
    flow.do("b")
    assert flow.opened() == ["a#3", "c"]
    flow.do("c")
    flow.do("a", "more")
    assert flow.run.status is Status.FAILED
    assert flow.run.reason == "visit 4 of a closed as exhausted, which no edge takes: a was fired more than 3 times"
    assert flow.run.ops["c"].fired == 1
    assert list(flow.run.occurred.values()) == [{("a", "more")}]


def test_two_edges_to_one_operation_are_two_visits():
    flow = begun(spec(a=work(next={"done": "c"}), b=work(next={"done": "c"}), c=work(visits=2)))
    flow.do("a")
    flow.do("b")
    assert flow.opened() == ["c", "c#2"]


def test_retries_fire_no_edge():
    flow = begun(spec(a=work(retry=retry(fail=3), next={"fail": "b"}), b=work(visits=3)))
    flow.do("a", "fail")
    assert flow.opened() == ["a"]
    assert flow.run.attempts_total == 2


# Visits.


def test_a_firing_beyond_its_visits_closes_as_exhausted_at_once():
    flow = begun(
        spec(
            start="a",
            a=work(visits=2, labels=["again"], next={"again": "a", "exhausted": "b"}),
            b=work(input="${ops.a.output}"),
        )
    )
    flow.do("a", "again", 1)
    flow.do("a", "again", 2)
    assert flow.opened() == ["b"]
    assert flow.closings() == ["a.again", "a.again", "a.exhausted"]
    # What the visits came to is still to be had.
    assert flow.run.open["b", 1].input == 2
    assert flow.run.scope["ops"]["a"] == {"output": 2, "label": "exhausted", "visits": 2}
    assert flow.run.attempts_total == 3
    assert story(flow.again()) == story(flow.run)


def test_one_that_was_never_closed_may_be_exhausted():
    flow = loose(
        spec(
            a=work(next={"done": ["b", "c"]}), c=choose("x", next={"x": "b"}), b=work(next={"exhausted": "d"}), d=work()
        )
    )
    flow.do("a")
    assert flow.opened() == ["b", "d"]
    assert flow.run.scope["ops"]["b"] == {"label": "exhausted", "visits": 0}


def test_a_cycle_without_end_ends_the_run():
    """The graph's own checks refuse it; should one get here, nothing hangs."""
    loop = choose("x", next={"exhausted": "a", "x": "a"})
    flow = loose(spec(start="a", a=loop))
    assert flow.run.status is Status.FAILED
    assert flow.run.reason == "it did not come to rest within 100000 events of one step"


# Retries.


def test_each_condition_is_counted_by_itself():
    flow = begun(spec(a=work(retry=retry(fail=3, timeout=2, lost=2), takes=MINUTE, heartbeat=30 * SECOND)))

    def fail():
        flow.do("a", "fail")
        flow.now += MINUTE

    def lose():
        flow.claim("a")
        flow.pass_(30 * SECOND)

    def time_out():
        ref, token = flow.claim("a")
        flow.now += 29 * SECOND
        assert step.beat(flow.run, ref, token, flow.now)
        flow.now += 29 * SECOND
        assert step.beat(flow.run, ref, token, flow.now)
        flow.pass_(2 * SECOND)
        flow.now += MINUTE

    fail()
    lose()
    fail()
    time_out()
    assert flow.closings() == ["a.fail", "a.lost", "a.fail", "a.timeout"]
    assert flow.run.open["a", 1].spent == ("fail", "lost", "fail", "timeout")
    assert flow.opened() == ["a"]
    flow.do("a", "fail")
    assert flow.run.status is Status.FAILED
    assert flow.run.reason == "a closed as fail, which no edge takes"
    assert flow.run.ops["a"].attempts == 5


def test_a_failure_that_is_not_retryable_is_not_retried():
    flow = begun(spec(a=work(retry=retry(fail=9))))
    flow.do("a", "fail", retryable=False, error="no such order")
    assert flow.run.status is Status.FAILED
    assert flow.run.reason == "a closed as fail, which no edge takes: no such order"


def test_retries_wait_longer_and_longer_and_no_longer_than_the_most():
    flow = begun(spec(a=work(retry=retry(fail=10))))
    waits = []
    while flow.run.ready:
        flow.now = max(flow.now, flow.run.open["a", 1].ready_ms)
        flow.do("a", "fail")
        waits.append((flow.log[-1].retry_ms or flow.now) - flow.now if type(flow.log[-1]) is Closed else None)
    assert waits[:-1] == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]


def test_what_was_lost_may_be_claimed_again_at_once():
    flow = begun(spec(a=work(heartbeat=SECOND)))
    flow.claim("a")
    (closed,) = flow.pass_(SECOND)
    assert (closed.label, closed.retry_ms, closed.token) == ("lost", flow.now, "t1")
    assert closed.error == "nothing was heard of worker w1 for 1s"
    flow.do("a")
    assert flow.run.status is Status.SUCCEEDED


def test_an_attempt_knows_why_it_is_tried_again():
    flow = begun(spec(a=work(retry=retry(fail=2), input={"n": 1})))
    flow.do("a", "fail", error="full")
    attempt = flow.run.open["a", 1]
    assert (attempt.last_error, attempt.input, attempt.opened_ms, attempt.ready_ms) == (
        "full",
        {"n": 1},
        T0,
        T0 + SECOND,
    )


# The ends.


def test_a_run_ends_when_nothing_is_open_and_tells_its_outputs():
    flow = begun(spec(a=work(), b=work(needs=["a"]), outputs={"sum": "${ops.a.output}", "fixed": 1}))
    flow.do("a", output=3)
    flow.now += SECOND
    flow.do("b")
    run = flow.run
    assert (run.status, run.outputs, run.ended_ms, run.reason) == (
        Status.SUCCEEDED,
        {"sum": 3, "fixed": 1},
        T0 + SECOND,
        "",
    )


def test_outputs_that_cannot_be_evaluated_fail_the_run():
    flow = begun(spec(a=work(labels=["no"], next={"no": "b"}), b=work(), outputs={"x": "${ops.b.output}"}))
    flow.do("a")
    assert flow.run.status is Status.FAILED
    assert flow.run.reason.startswith("outputs: ")
    assert flow.run.outputs is None


def test_outputs_that_are_too_large_fail_the_run():
    large = 1 << 20
    flow = begun(spec(a=work(output_max=large), outputs={"x": "${ops.a.output}"}))
    flow.do("a", output="x" * (large - 2))
    assert flow.run.status is Status.FAILED
    assert flow.run.reason.startswith("outputs: ")
    assert "larger than 1 MiB" in flow.run.reason


def test_a_failure_that_no_edge_takes_cancels_what_is_open():
    flow = begun(spec(a=work(), b=work(), c=work(needs=["b"]), d=await_signal("go")))
    ref, token = flow.claim("b")
    flow.do("a", "fail", error="broken")
    run = flow.run
    assert (run.status, run.reason) == (Status.FAILED, "a closed as fail, which no edge takes: broken")
    assert [run.ops[op].latest.label for op in "abd"] == ["fail", "cancelled", "cancelled"]
    assert type(flow.log[-1]) is Ended
    refused("over", flow.close, ref, token)


def test_a_failure_that_an_edge_takes_is_none_of_the_run():
    flow = begun(spec(a=work(next={"fail": "b"}), b=work()))
    flow.do("a", "fail")
    flow.do("b")
    assert flow.run.status is Status.SUCCEEDED


def test_siblings_go_on_if_the_workflow_says_so():
    flow = begun(spec(on_failure=OnFailed.CONTINUE, a=work(), b=work(), c=work(needs=["b"]), d=work(needs=["a", "c"])))
    flow.do("a", "fail")
    assert flow.run.status is Status.RUNNING
    flow.do("b")
    flow.do("c", "fail", error="too")
    assert flow.run.status is Status.FAILED
    assert flow.run.reason == "a closed as fail, which no edge takes"
    assert "d" not in flow.run.ops


def test_an_operation_may_end_the_run_as_failed():
    flow = begun(spec(a=work(end="failed"), b=work()))
    flow.do("a")
    assert flow.run.status is Status.RUNNING
    flow.do("b")
    assert flow.run.status is Status.FAILED
    assert flow.run.reason == "a was reached, which ends the run as failed"


def test_a_run_that_is_cancelled_fires_nothing():
    flow = loose(spec(a=work(next={"cancelled": "b"}), b=work()))
    asked, ended = flow.cancel("wrong order")
    assert (asked.reason, ended.status, ended.reason) == ("wrong order", Status.CANCELLED, "wrong order")
    assert flow.run.cancel_reason == "wrong order"
    assert "b" not in flow.run.ops
    assert flow.cancel() == []


def test_a_run_that_has_ended_is_not_cancelled():
    flow = begun(spec(a=work()))
    flow.do("a")
    assert refused("over", flow.cancel) == "the run is over: succeeded"
    assert flow.pass_(8 * 24 * HOUR) == []
    assert step.adopt(flow.run, flow.now) == []


# Values.


def test_an_input_is_what_its_expressions_come_to_when_it_is_opened():
    flow = begun(
        spec(
            inputs={"order": "string"},
            a=work(input={"order": "${inputs.order}", "note": "for ${inputs.order}!"}),
            b=work(needs=["a"], input=["${ops.a.output}", 1]),
        ),
        {"order": "o1"},
    )
    assert flow.run.open["a", 1].input == {"order": "o1", "note": "for o1!"}
    flow.do("a", output={"id": 7})
    assert flow.run.open["b", 1].input == [{"id": 7}, 1]


def test_an_input_that_cannot_be_evaluated_closes_as_fail_at_once():
    flow = begun(spec(a=work(), b=work(needs=["a"], input="${ops.a.output.id}", next={"fail": "c"}), c=work()))
    flow.do("a", output={})
    assert flow.opened() == ["c"]
    assert flow.closings() == ["a.done", "b.fail"]
    assert flow.run.ops["b"].latest.error
    assert story(flow.again()) == story(flow.run)


def test_an_input_that_is_too_large_closes_as_fail():
    flow = begun(
        spec(
            a=work(output_max=1 << 20), b=work(needs=["a"], input=["${ops.a.output}", 1], next={"fail": "c"}), c=work()
        )
    )
    flow.do("a", output="x" * ((1 << 20) - 2))
    assert "larger than 1 MiB" in flow.run.ops["b"].latest.error


def test_the_key_of_a_limit_is_evaluated():
    flow = loose(
        spec(
            inputs=dict.fromkeys(["shop", "n", "list", "long"], "string"),
            a=work(concurrency=limit("${inputs.shop}")),
            b=work(concurrency=limit("${inputs.n}")),
            c=work(concurrency=limit("${inputs.list}"), next={"fail": "e"}),
            d=work(concurrency=limit("${inputs.long}"), next={"fail": "e"}),
            e=work(visits=2),
        ),
        {"shop": "north", "n": 5, "list": [], "long": "x" * 257},
    )
    assert [flow.run.open[op, 1].key for op in "ab"] == ["north", "5"]
    assert flow.run.ops["c"].latest.error == "key came to neither a text nor a whole number"
    assert flow.run.ops["d"].latest.error == "key came to 257 characters, and 256 is the most"


def test_choices_pick_the_first_that_holds():
    def picked(n):
        flow = begun(
            spec(
                inputs={"n": "integer"},
                a=choose(("${inputs.n > 100}", "big"), ("${inputs.n > 10}", "middle"), "small", next={"big": "b"}),
                b=work(),
            ),
            {"n": n},
        )
        return flow.closings()[0]

    assert [picked(n) for n in (500, 50, 5)] == ["a.big", "a.middle", "a.small"]


@pytest.mark.parametrize(
    ("when", "error"),
    [
        ("${inputs.n > 100}", "no choice holds, and there is no else"),
        ("${inputs.n}", "choice 1 came to neither true nor false"),
        ("${ops.b.output == 1}", "choice 1: "),
    ],
)
def test_a_choice_that_cannot_be_made_fails(when, error):
    flow = begun(
        spec(inputs={"n": "integer"}, start="a", a=choose((when, "big"), next={"fail": "b"}), b=work()), {"n": 1}
    )
    assert flow.opened() == ["b"]
    assert flow.run.ops["a"].latest.error.startswith(error)


def test_choices_follow_one_another_in_one_step():
    chain = {f"c{n}": choose("x", next={"x": f"c{n + 1}"}) for n in range(200)}
    flow = begun(spec(start="c0", **chain, c200=work()))
    assert flow.opened() == ["c200"]
    assert len(flow.log) == 201
    assert story(flow.again()) == story(flow.run)


def test_what_opens_much_is_told_in_several_events():
    large = "x" * (OPENED_BYTES_MAX // 2)
    many = {f"b{n}": work(needs=["a"], input=large) for n in range(5)}
    flow = begun(spec(a=work(), **many))
    flow.do("a")
    closed, *fired = flow.log[2:]
    assert [type(event) for event in fired] == [Fired, Fired]
    assert [len(event.opened) for event in (closed, *fired)] == [2, 2, 1]
    assert story(flow.again()) == story(flow.run)
    # The log ends after the first of them: the others fire when the run is taken over.
    cut = flow.again(3)
    assert (len(cut.open), len(cut.pending)) == (2, 3)
    assert step.adopt(cut, flow.now) == fired
    assert story(cut) == story(flow.run)


def test_a_run_is_started_once():
    flow = begun(spec(a=work()))
    with pytest.raises(AssertionError, match="started before"):
        flow.start()


def test_what_a_log_was_cut_short_of_is_done_when_the_run_is_taken_over():
    """Wherever a log ends, what follows from it follows."""
    flow = loose(
        spec(
            start="a",
            a=work(next={"done": ["b", "c", "w"]}),
            b=choose("x", next={"x": "d"}),
            c=work(input="${ops.d.output}", next={"fail": "d"}),
            w=sleep(MINUTE),
            d=work(next={"exhausted": "e"}),
            e=choose("x"),
        )
    )
    flow.do("a")
    for upto in range(3, len(flow.log) + 1):
        cut = flow.again(upto)
        told = step.adopt(cut, flow.now)
        assert {event.op for event in told} == {event.op for event in flow.log[upto:]}
        assert cut.open.keys() == flow.run.open.keys()
    flow.cancel()
    cut = flow.again(len(flow.log) - 1)
    assert step.adopt(cut, flow.now) == flow.log[-1:]


def test_a_clock_that_goes_back_stands_still():
    flow = begun(spec(a=work(), b=work()))
    flow.now += MINUTE
    flow.do("a")
    flow.now -= HOUR
    flow.do("b")
    assert [event.now_ms for event in flow.log[-3:]] == [T0 + MINUTE] * 3
    assert flow.run.ended_ms == T0 + MINUTE


def test_a_run_not_begun_waits_for_its_start():
    assert Flow(spec(a=work())).run.ready == {}
