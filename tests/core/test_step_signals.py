"""Signals: they close waits, wait for them, are known by their ids, and are consumed once."""

import pytest

from harpoon.core import step
from harpoon.core.event import Closed, Signalled
from harpoon.core.signalling import ID_MAX, SIGNALS_MAX, has_taker
from harpoon.core.step import Refused
from harpoon.model.run import Status
from tests.core.flow import DAY, HOUR, MINUTE, await_signal, begun, choose, loose, refs, spec, story, work


def refused(code, verb, *given, **more):
    with pytest.raises(Refused) as told:
        verb(*given, **more)
    assert told.value.code == code
    return told.value.message


def asking(**fields):
    return await_signal("decision", labels=["approved", "rejected"], **fields)


def test_a_signal_closes_the_wait_for_it():
    flow = begun(spec(a=asking(next={"approved": "b"}), b=work(input="${ops.a.output.by}")))
    signalled, closed = flow.send("decision", "approved", {"by": "ann"}, named="d1")
    assert type(signalled) is Signalled
    assert (closed.label, closed.signal, closed.output) == ("approved", "d1", None)
    assert flow.run.open["b", 1].input == "ann"
    assert flow.run.ops["a"].latest.output == {"by": "ann"}
    assert (flow.run.kept, flow.run.kept_by, flow.run.waiting) == ({}, {}, {})
    assert story(flow.again()) == story(flow.run)


def test_a_signal_may_come_before_its_wait():
    flow = begun(spec(a=work(next={"done": "b"}), b=asking()))
    assert len(flow.send("decision", "rejected", "no")) == 1
    assert story(flow.again()) == story(flow.run)
    flow.do("a")
    assert flow.run.ops["b"].latest.output == "no"
    assert flow.closings() == ["a.done", "b.rejected"]
    assert flow.run.status is Status.SUCCEEDED


def test_a_signal_sent_again_is_not_another_one():
    flow = begun(spec(start="a", a=asking(visits=3, next={"approved": "a"})))
    assert len(flow.send("decision", "approved", named="d1")) == 2
    before = story(flow.run)
    assert flow.send("decision", "approved", named="d1") == []
    assert story(flow.run) == before
    assert flow.opened() == ["a#2"]
    flow.cancel()
    assert flow.send("decision", "approved", named="d1") == []
    assert refused("over", flow.send, "decision", "approved", named="d2") == "the run is over: cancelled: no more"


def test_signals_are_consumed_in_the_order_in_which_they_came():
    flow = begun(spec(a=work(next={"done": "b"}), b=asking(visits=3, next={"approved": "b"})))
    for n in range(3):
        flow.now += 1
        flow.send("decision", "approved" if n < 2 else "rejected", n)
    flow.do("a")
    consumed = [event.signal for event in flow.log if type(event) is Closed and event.op == "b"]
    assert consumed == ["m1", "m2", "m3"]
    assert flow.run.ops["b"].latest.output == 2


def test_one_signal_closes_one_wait_the_first_that_was_opened():
    flow = begun(spec(a=asking(), b=asking()))
    flow.send("decision", "approved")
    assert flow.opened() == ["b"]
    flow.send("decision", "rejected")
    assert flow.run.status is Status.SUCCEEDED


def test_a_key_finds_its_wait():
    keyed = await_signal("paid", key="${inputs.order}", next={"done": "c"})
    flow = begun(spec(inputs={"order": "string"}, a=await_signal("paid"), b=keyed, c=work()), {"order": "o1"})
    assert list(flow.run.waiting) == [("paid", None), ("paid", "o1")]
    flow.send("paid", key="o2")
    assert flow.opened() == ["a", "b"]
    flow.send("paid", key="o1")
    assert flow.opened() == ["a", "c"]
    assert list(flow.run.waiting) == [("paid", None)]
    assert story(flow.again()) == story(flow.run)


def test_a_signal_without_a_key_is_for_any_wait_of_its_name():
    flow = begun(spec(inputs={"order": "string"}, a=await_signal("paid", key="${inputs.order}")), {"order": "o1"})
    flow.send("paid")
    assert flow.run.status is Status.SUCCEEDED


def test_kept_signals_find_their_wait_by_key_or_without_one_in_their_order():
    def first(*keys):
        keyed = await_signal("paid", key="${inputs.order}")
        flow = begun(spec(inputs={"order": "string"}, a=work(next={"done": "b"}), b=keyed), {"order": "o1"})
        for n, key in enumerate(keys):
            flow.send("paid", key=key, payload=n)
        flow.do("a")
        latest = flow.run.ops.get("b").latest
        return latest and latest.output

    assert first("o1", None) == 0
    assert first(None, "o1") == 0
    assert first("o2", "o1", None) == 1
    assert first("o2") is None


def test_a_signal_is_kept_for_a_wait_that_offers_its_label():
    flow = begun(
        spec(
            start="a",
            a=await_signal("s", labels=["one"], next={"one": "b"}),
            b=await_signal("s", labels=["two"], next={"two": "c"}),
            c=work(),
        )
    )
    flow.send("s", "two", named="two")
    assert list(flow.run.kept) == ["two"]
    flow.send("s", "one")
    assert flow.closings() == ["a.one", "b.two"]
    assert flow.opened() == ["c"]


def test_a_wait_passes_over_what_another_one_is_for():
    flow = begun(
        spec(
            start="g",
            g=work(next={"done": ["a", "b"]}),
            a=await_signal("s", labels=["one"]),
            b=await_signal("s", labels=["two"]),
        )
    )
    flow.send("s", "two")
    flow.do("g")
    assert flow.closings() == ["g.done", "b.two"]
    flow.send("s", "two")
    assert flow.opened() == ["a"]
    assert len(flow.run.kept) == 1


def test_what_no_wait_can_ever_consume_is_refused():
    flow = begun(spec(a=asking(next={"timeout": "b"}), b=work()))
    assert (
        refused("signal", flow.send, "decisoin")
        == "no operation of refund waits for signal 'decisoin'; there is decision"
    )
    message = refused("label", flow.send, "decision", "maybe")
    assert message == "no wait for decision is closed as 'maybe'; they offer approved, done, fail, rejected"
    message = refused("payload", flow.send, "decision", payload="x" * (64 << 10))
    assert message == "the payload has 65538 bytes, and 65536 is the most"
    refused("payload", flow.send, "decision", named="x" * (ID_MAX + 1))
    refused("payload", flow.send, "decision", key="x" * 257)
    assert flow.run.seq == 1


def test_so_many_signals_are_kept_and_no_more():
    flow = begun(spec(a=work(next={"done": "b"}), b=asking()))
    for _ in range(SIGNALS_MAX):
        flow.send("decision")
    refused("full", flow.send, "decision")
    flow.now += 7 * DAY - 1
    refused("full", flow.send, "decision")
    flow.now += 1
    flow.send("decision")
    assert len(flow.run.kept) == 1


def test_whether_a_run_would_consume_a_signal_at_once_is_known_before_it_is_sent():
    flow = begun(spec(a=asking(key="${run.id}", output_max=200, next={"approved": "b"}), b=work()))
    sent = ("decision", "r1", "approved", 12)

    def takes(**other):
        fields = dict(zip(("name", "key", "label", "size"), sent, strict=True)) | other
        return has_taker(flow.run, tuple(fields.values()), flow.now)

    before = story(flow.run)
    assert takes()
    assert story(flow.run) == before
    others = ({"name": "other"}, {"key": "r2"}, {"key": None, "name": "x"}, {"label": "late"}, {"size": 201})
    assert not any(takes(**other) for other in others)
    flow.pause()
    assert not takes()
    flow.resume()
    flow.send("decision", "approved", {"by": "ann"}, key="r1")
    assert flow.run.ops["a"].latest.label == "approved"
    assert not takes()


def test_a_run_that_keeps_as_many_signals_as_it_may_takes_none():
    flow = begun(spec(a=asking(key="${run.id}"), b=await_signal("later", key="x")))
    for number in range(SIGNALS_MAX):
        assert has_taker(flow.run, ("decision", "r1", "approved", 4), flow.now)
        flow.send("later", key="y", named=f"m{number}")
    assert not has_taker(flow.run, ("decision", "r1", "approved", 4), flow.now)


def test_a_signal_that_was_not_consumed_expires():
    flow = begun(spec(deadline=30 * DAY, a=work(queue_timeout=30 * DAY, next={"done": ["b"]}), b=asking(visits=2)))
    flow.send("decision", "approved", named="d1")
    flow.now += 3 * DAY
    flow.send("decision", "rejected", named="d2")
    flow.now += 4 * DAY
    flow.do("a")
    assert flow.closings() == ["a.done", "b.rejected"]


def test_ids_are_forgotten_when_signals_expire():
    flow = begun(spec(start="a", deadline=30 * DAY, a=asking(visits=4, takes=20 * DAY, next={"approved": "a"})))
    flow.send("decision", "approved", named="d1")
    flow.now += 7 * DAY
    flow.send("decision", "approved", named="d2")
    assert list(flow.run.seen) == ["d2"]
    assert len(flow.send("decision", "approved", named="d1")) == 2
    assert story(flow.again()) == story(flow.run)


def test_a_wait_times_out():
    flow = begun(spec(a=asking(takes=HOUR, next={"timeout": "b"}), b=work()))
    flow.pass_(HOUR)
    assert flow.opened() == ["b"]
    assert flow.run.ops["a"].latest.error == "signal decision did not come within 1h"
    assert flow.run.waiting == {}


def test_a_signal_that_fails_a_wait_fails_the_run():
    flow = begun(spec(a=asking()))
    flow.send("decision", "fail", "no")
    assert flow.run.status is Status.FAILED
    assert flow.run.reason == "a closed as fail, which no edge takes"


def test_a_wait_in_a_cycle_consumes_what_was_kept_in_one_step():
    flow = begun(
        spec(
            start="g",
            g=work(next={"done": "a"}),
            a=asking(visits=3, next={"approved": "c"}),
            c=choose("again", next={"again": "a"}, visits=3),
        )
    )
    flow.send("decision", "approved")
    flow.send("decision", "approved")
    flow.do("g")
    assert flow.closings() == ["g.done", "a.approved", "c.again", "a.approved", "c.again"]
    assert flow.opened() == ["a#3"]


# Pausing.


def test_while_a_run_is_paused_nothing_is_claimed_fired_or_consumed():
    flow = begun(spec(a=work(next={"done": "b"}), b=work(), c=asking(next={"approved": "d"}), d=work(), e=work()))
    ref, token = flow.claim("a")
    flow.pause()
    assert refused("paused", flow.claim, "e") == "the run is paused; nothing is claimed until it is resumed"
    flow.close(ref, token, output=1)
    flow.send("decision", "approved")
    assert flow.opened() == ["c", "e"]
    assert story(flow.again()) == story(flow.run)
    resumed = flow.resume()[0]
    assert [opened.op for opened in resumed.opened] == ["b"]
    assert flow.opened() == ["e", "b", "d"]
    assert story(flow.again()) == story(flow.run)


def test_pausing_does_not_change_what_comes_of_a_run():
    def come(is_paused):
        flow = begun(
            spec(
                start="g",
                g=work(next={"done": ["a", "b"]}),
                a=work(next={"done": "c"}),
                b=work(next={"done": "c"}),
                c=work(visits=2),
                d=work(needs=["a", "b"]),
            )
        )
        flow.do("g")
        one, other = flow.claim("a"), flow.claim("b")
        if is_paused:
            flow.pause()
        flow.close(*one)
        flow.close(*other)
        if is_paused:
            assert flow.opened() == []
            assert flow.run.status is Status.RUNNING
            flow.resume()
        return flow.opened()

    assert come(is_paused=True) == come(is_paused=False) == ["c", "c#2", "d"]


def test_clocks_run_on_while_a_run_is_paused():
    flow = loose(
        spec(
            a=work(queue_timeout=HOUR, next={"timeout": "b"}), b=work(), c=asking(takes=2 * HOUR, next={"timeout": "b"})
        )
    )
    flow.pause()
    flow.pass_(HOUR)
    flow.pass_(HOUR)
    assert flow.closings() == ["a.timeout", "c.timeout"]
    flow.resume()
    assert flow.closings()[2:] == ["b.exhausted"]
    assert flow.run.status is Status.FAILED


def test_a_failure_that_no_edge_takes_ends_a_paused_run():
    flow = begun(spec(a=work(), b=work()))
    ref, token = flow.claim("a")
    flow.pause()
    flow.close(ref, token, "fail")
    assert flow.run.status is Status.FAILED


def test_a_paused_run_in_which_nothing_is_left_ends():
    flow = begun(spec(a=work()))
    ref, token = flow.claim("a")
    flow.pause()
    flow.close(ref, token)
    assert flow.run.status is Status.SUCCEEDED


def test_pausing_and_resuming_again_changes_nothing():
    flow = begun(spec(a=work()))
    assert flow.resume() == []
    assert len(flow.pause()) == 1
    assert flow.pause() == []
    assert flow.log[-1].by == "ann"
    assert len(flow.resume()) == 1
    flow.do("a")
    refused("over", flow.pause)
    refused("over", flow.resume)


def test_a_run_that_was_called_goes_on_once_neither_it_nor_its_caller_is_paused():
    flow = begun(spec(a=work(next={"done": "b"}), b=work()))
    ref, token = flow.claim("a")
    assert flow.follow(is_held=False) == []
    assert len(flow.follow(is_held=True)) == 1
    assert flow.follow(is_held=True) == []
    assert refused("held", flow.resume) == "run r1 is paused as the run that called it is; resume that one"
    flow.close(ref, token)
    assert (flow.run.pending, flow.opened()) == ([0], [])
    assert len(flow.pause()) == 1
    resumed = flow.follow(is_held=False)
    assert (resumed[0].is_callers, resumed[0].opened, flow.run.is_paused) == (True, (), True)
    flow.follow(is_held=True)
    resumed = flow.resume()
    assert (resumed[0].is_callers, resumed[0].opened, flow.run.is_paused) == (False, (), True)
    assert story(flow.again()) == story(flow.run)
    [resumed] = flow.follow(is_held=False)
    assert [one.op for one in resumed.opened] == ["b"]
    flow.do("b")
    assert flow.follow(is_held=True) == []


def test_a_run_that_is_begun_again_is_not_paused():
    flow = begun(spec(a=work()))
    flow.follow(is_held=True)
    flow.pause()
    flow.cancel()
    flow.retry_from("a")
    assert (flow.run.is_stopped, flow.run.is_held) == (False, False)
    assert story(flow.again()) == story(flow.run)


def test_a_paused_run_may_be_cancelled():
    flow = begun(spec(a=work(next={"done": "b"}), b=work()))
    ref, token = flow.claim("a")
    flow.pause()
    flow.close(ref, token)
    flow.cancel()
    assert flow.run.status is Status.CANCELLED
    assert not flow.run.pending


def test_a_retry_made_ready_while_paused_may_be_claimed_after():
    flow = begun(spec(a=work(heartbeat=MINUTE)))
    flow.claim("a")
    flow.pause()
    flow.pass_(MINUTE)
    assert refused("paused", flow.claim, "a")
    flow.resume()
    flow.do("a")
    assert flow.run.status is Status.SUCCEEDED


def test_resuming_consumes_what_each_wait_may_have():
    flow = loose(
        spec(
            start="g",
            g=work(next={"done": ["a", "b"]}),
            a=asking(next={"approved": "a", "exhausted": "b"}),
            b=await_signal("other", next={"done": "c"}),
            c=asking(),
        )
    )
    flow.do("g")
    flow.pause()
    flow.send("decision", "rejected", named="d1")
    flow.send("other", named="o1")
    flow.send("decision", "approved", named="d2")
    assert len(flow.run.kept) == 3
    flow.resume()
    assert flow.closings() == ["g.done", "a.rejected", "b.done", "c.approved"]
    assert flow.run.status is Status.SUCCEEDED


def test_a_resumed_run_may_end_before_all_is_consumed():
    flow = begun(spec(a=asking(), b=asking()))
    flow.pause()
    for label in ("fail", "approved"):
        flow.send("decision", label)
    flow.resume()
    assert flow.run.status is Status.FAILED
    assert len(flow.run.kept) == 1


def test_taking_over_a_paused_run_consumes_nothing():
    flow = begun(spec(a=asking(), b=work(next={"done": "c"}), c=work()))
    ref, token = flow.claim("b")
    flow.pause()
    flow.close(ref, token)
    flow.send("decision", "approved")
    run = flow.again()
    assert step.adopt(run, flow.now) == []
    assert story(run) == story(flow.run)
    assert run.find(refs("a")) is not None


def test_a_wait_may_be_exhausted():
    flow = begun(spec(start="a", a=asking(visits=2, next={"approved": "a", "exhausted": "b"}), b=work()))
    flow.send("decision", "approved")
    flow.send("decision", "approved")
    assert flow.closings() == ["a.approved", "a.approved", "a.exhausted"]
    assert flow.opened() == ["b"]
    assert flow.run.waiting == {}


def test_a_wait_whose_key_cannot_be_evaluated_closes_as_fail():
    keyed = await_signal("paid", key="${ops.b.output}", next={"fail": "b"})
    flow = begun(spec(start="a", a=keyed, b=work()))
    assert flow.opened() == ["b"]
    assert flow.run.waiting == {}
