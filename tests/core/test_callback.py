"""Callbacks: each visit has one address, which brings one thing, once, perhaps before the visit is opened."""

import pytest

from harpoon.core.callback import Reply, was_called
from harpoon.core.event import Closed, Signalled
from harpoon.core.run import callback_key
from harpoon.core.run_picture import callbacks
from harpoon.core.signalling import SIGNALS_MAX
from harpoon.core.step import Refused
from harpoon.model.run import Status
from tests.core.flow import DAY, HOUR, await_signal, begun, called_back, refs, spec, story, work


def refused(code, verb, *given, **more):
    with pytest.raises(Refused) as told:
        verb(*given, **more)
    assert told.value.code == code
    return told.value.message


def asking(**fields):
    return called_back(labels=["approved", "rejected"], **fields)


def test_a_callback_closes_the_visit_that_it_is_of():
    flow = begun(spec(a=asking(next={"approved": "b"}), b=work(input="${ops.a.output.by}")))
    signalled, closed = flow.call("a", 1, "approved", {"by": "ann"})
    assert (type(signalled), type(closed)) == (Signalled, Closed)
    assert (signalled.key, closed.label, closed.signal) == ("a/1", "approved", signalled.id)
    assert flow.run.open["b", 1].input == "ann"
    assert (flow.run.kept, flow.run.waiting, flow.run.callbacks) == ({}, {}, {})
    assert story(flow.again()) == story(flow.run)


def test_the_same_again_changes_nothing_and_anything_else_is_refused():
    flow = begun(spec(a=asking(next={"approved": "b"}), b=work()))
    flow.call("a", 1, "approved", "yes")
    assert flow.call("a", 1, "approved", "yes") == []
    told = "the callback of visit 1 of a was used already, and brought something else"
    assert refused("used", flow.call, "a", 1, "approved", "no") == told
    assert refused("used", flow.call, "a", 1, "rejected", "yes") == told
    flow.do("b")
    assert flow.run.status is Status.SUCCEEDED
    assert flow.call("a", 1, "approved", "yes") == [], "also when the run is over"
    assert refused("over", flow.call, "a", 1, "rejected") == "the run is over: succeeded"


def test_it_may_come_before_its_visit_and_is_kept_for_as_long_as_that_takes():
    flow = begun(spec(a=work(next={"done": "b"}, queue_timeout=30 * DAY), b=asking(), deadline=60 * DAY))
    assert len(flow.call("b", 1, "rejected", "no")) == 1
    assert flow.call("b", 1, "rejected", "no") == []
    assert (
        refused("used", flow.call, "b") == "the callback of visit 1 of b was used already, and brought something else"
    )
    flow.now += 20 * DAY
    assert story(flow.again()) == story(flow.run)
    flow.do("a")
    assert flow.closings() == ["a.done", "b.rejected"]
    assert flow.run.ops["b"].latest.output == "no"


def test_what_callbacks_brought_is_no_signal_that_is_kept_too_long_or_too_many():
    flow = begun(spec(a=await_signal("go", next={"done": "b"}), b=asking(visits=3), deadline=60 * DAY))
    flow.call("b", 1, "approved")
    flow.now += 8 * DAY
    for number in range(SIGNALS_MAX):
        flow.send("go", key="no one's", named=f"s{number}")
    assert refused("full", flow.send, "go", key="k").startswith("the run keeps 1000 signals")
    assert len(flow.run.kept) == SIGNALS_MAX + 1
    flow.now += 8 * DAY
    flow.send("go")
    assert flow.closings() == ["a.done", "b.approved"]


def test_an_expression_sees_the_address_of_the_visit_that_is_open_or_next():
    flow = begun(
        spec(
            start="tell",
            tell=work(input="${run.callbacks.ask}", visits=3, next={"done": "ask"}),
            ask=asking(visits=2, next={"rejected": "tell"}),
        )
    )
    assert flow.run.open["tell", 1].input == "ask/1"
    flow.do("tell")
    assert flow.run.scope["run"]["callbacks"] == {"ask": "ask/1"}
    flow.call("ask", 1, "rejected")
    assert flow.run.open["tell", 2].input == "ask/2"
    flow.do("tell")
    assert (
        refused("used", flow.call, "ask", 1)
        == "the callback of visit 1 of ask was used already, and brought something else"
    )
    flow.call("ask", 2, "rejected")
    assert flow.run.status is Status.FAILED
    assert "run.callbacks.ask is not there" in flow.run.reason, "there is no third visit"
    assert story(flow.again()) == story(flow.run)


def test_of_two_open_visits_each_has_its_own():
    flow = begun(
        spec(
            a=work(next={"done": ["b", "c"]}),
            b=work(next={"done": "ask"}),
            c=work(next={"done": "ask"}),
            ask=asking(visits=2),
        )
    )
    flow.do("a")
    flow.do("b")
    flow.do("c")
    assert flow.opened() == ["ask", "ask#2"]
    flow.call("ask", 2, "approved", 2)
    assert flow.opened() == ["ask"]
    flow.call("ask", 1, "rejected", 1)
    assert flow.closings()[-2:] == ["ask.approved", "ask.rejected"]
    assert story(flow.again()) == story(flow.run)


def test_what_is_to_be_called_back_is_told_with_where():
    tells = {name: work(next={"done": "ask"}) for name in ("b", "c", "d")}
    flow = begun(spec(a=work(next={"done": list(tells)}), ask=asking(visits=3), once=asking(), **tells))
    flow.do("a")
    flow.do("c")
    flow.call("ask", 2)

    def told():
        return [(one.op, one.visit, one.is_open, one.is_used) for one in callbacks(flow.run, callback_key)]

    assert told() == [("ask", 1, True, False), ("ask", 2, False, True), ("once", 1, True, False)]
    assert [one.url for one in callbacks(flow.run, callback_key)] == ["ask/1", "ask/2", "once/1"]
    flow.do("b")
    flow.do("d")
    assert told() == [("ask", 1, True, False), ("ask", 3, True, False), ("once", 1, True, False)]


def test_what_no_visit_can_have_is_refused():
    flow = begun(spec(a=asking(output_max=8), b=await_signal("go")))
    assert refused("unknown", flow.call, "nobody") == "visit 1 of nobody has no callback"
    assert refused("unknown", flow.call, "b") == "visit 1 of b has no callback"
    assert refused("unknown", flow.call, "a", 2) == "visit 2 of a has no callback"
    assert refused("unknown", flow.call, "a", 0) == "visit 0 of a has no callback"
    assert refused("label", flow.call, "a", 1, "perhaps") == (
        "a is not closed as 'perhaps'; it offers approved, done, fail, rejected"
    )
    assert refused("payload", flow.call, "a", 1, "done", "x" * 10) == "the payload has 12 bytes, and 8 is the most"
    assert refused("signal", flow.send, ":callback", key="a/1") == (
        "no operation of refund waits for signal ':callback'; there is go"
    )
    assert len(flow.log) == 1


def test_a_visit_that_is_closed_otherwise_is_not_called_back():
    flow = begun(spec(a=asking(takes=HOUR, next={"timeout": "b"}), b=work()))
    flow.pass_(HOUR)
    assert flow.log[-1].error == "its callback did not come within 1h"
    assert refused("late", flow.call, "a") == "visit 1 of a does not wait any more"
    flow.cancel()
    assert refused("over", flow.call, "a") == "the run is over: cancelled: no more"


def test_while_a_run_is_paused_it_is_kept():
    flow = begun(spec(a=asking(next={"approved": "b"}), b=work()))
    flow.pause()
    assert len(flow.call("a", 1, "approved")) == 1
    assert flow.opened() == ["a"]
    flow.resume()
    assert flow.opened() == ["b"]
    assert flow.run.past == {}
    assert refs("b") == flow.ref("b")


def test_the_log_of_a_run_tells_what_was_brought():
    flow = begun(spec(a=asking(visits=10), b=await_signal("go")))
    flow.send("go", named="a/1:x")
    flow.call("a", 1, "approved", "yes")
    told = [
        was_called(flow.log, Reply("a", visit, digest))
        for visit, digest in ((1, "approved='yes'"), (1, "x"), (10, "x"))
    ]
    assert told == [True, False, None]
