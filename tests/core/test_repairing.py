"""Runs that went wrong, and what is done about them: failures that are parked, parts done anew, visits set by hand."""

import pytest

from harpoon.core import repairing, step
from harpoon.core.bounds import bounds, shown
from harpoon.core.chronicle import read
from harpoon.core.event import Ended, RetriedFrom, dump, load
from harpoon.core.graph import compile_graph
from harpoon.core.outlook import outlook, skipped
from harpoon.core.repair import REPAIRS_MAX, part_of
from harpoon.core.repairing import Audit, Value
from harpoon.core.run_groups import Plot
from harpoon.core.run_told import told
from harpoon.core.run_why import summary, why
from harpoon.core.step import Refused
from harpoon.model.operation import Operation, Wait
from harpoon.model.run import Status
from harpoon.model.workflow import OnFailed
from tests.core.flow import (
    DAY,
    HOUR,
    MINUTE,
    T0,
    Flow,
    await_signal,
    begun,
    choose,
    each,
    loose,
    refs,
    sleep,
    spec,
    story,
    work,
)  # fmt: skip

PARKED = {"on_failure": OnFailed.PARK}
FORK = {"a": work(next={"done": ("b", "c")}), "b": work(), "c": work(), "d": work(needs=["b", "c"])}


def refused(flow, verb, *given, **more):
    before = story(flow.run)
    with pytest.raises(Refused) as error:
        verb(*given, **more)
    assert story(flow.run) == before
    return error.value.code, str(error.value)


def test_a_failure_that_no_edge_takes_is_parked_and_siblings_go_on():
    flow = begun(spec(**FORK, **PARKED))
    flow.do("a")
    flow.do("b", "fail", error="no")
    assert (flow.run.status, flow.opened()) == (Status.RUNNING, ["c"])
    flow.do("c")
    assert (flow.run.status, flow.opened()) == (Status.RUNNING, [])
    [incident] = flow.run.incidents
    assert (incident.told, incident.since_ms) == ("b closed as fail, which no edge takes: no", T0)
    [join] = outlook(flow.run, flow.now).joins
    assert (join.op, [str(one) for one in join.missing], join.impossible) == ("d", ["b.done"], ())
    assert skipped(flow.run) == ()
    assert story(flow.again()) == story(flow.run)
    plot = Plot(operations=flow.spec.operations, most={})
    [cause, *_] = why(read(flow.log), plot, (), None, flow.now, "", flow.run.incidents)
    assert (cause.code.value, cause.evidence["op"]) == ("incident", "b")
    assert "it is parked since" in cause.sentence
    assert summary(read(flow.log), plot, 1) == "1 parked"
    flow.retry_from("b")
    flow.do("b")
    flow.do("d")
    assert (flow.run.status, flow.run.incidents, flow.run.repairs) == (Status.SUCCEEDED, (), 1)


def test_what_is_parked_ends_with_the_deadline_or_when_the_run_is_cancelled():
    for end in (lambda flow: flow.pass_(DAY), lambda flow: flow.cancel()):
        flow = begun(spec(a=work(), deadline=DAY, **PARKED))
        flow.do("a", "fail")
        end(flow)
        assert flow.run.status in (Status.TIMED_OUT, Status.CANCELLED)
        assert flow.run.incidents == ()
        flow.retry_from("a")
        flow.do("a")
        assert flow.run.status is Status.SUCCEEDED
    assert flow.run.reason == ""


def test_a_deadline_names_what_was_parked():
    flow = begun(spec(a=work(), b=work(takes=2 * DAY, queue_timeout=2 * DAY), deadline=DAY, **PARKED))
    flow.do("a", "fail")
    flow.pass_(DAY)
    assert flow.run.reason == "it did not end by its deadline; open were b; parked were a"


def test_the_bound_of_a_workflow_that_parks_is_its_deadline():
    told = bounds(compile_graph(spec(a=work(takes=MINUTE), deadline=DAY, **PARKED)))
    assert told.ends_after_ms == DAY
    assert shown(told)["ends_after_ms"]["because"].endswith("; what fails is parked, until the deadline at most")


def test_retrying_from_an_operation_does_all_that_it_leads_to_anew():
    flow = begun(spec(**FORK))
    for op in "abcd":
        flow.do(op, output={"n": op})
    assert flow.run.status is Status.SUCCEEDED
    flow.now += HOUR
    flow.retry_from("b", reason="wrong price")
    assert (flow.run.status, flow.opened(), flow.run.ended_ms) == (Status.RUNNING, ["b#2"], None)
    assert flow.run.deadline_ms == flow.now + flow.spec.deadline.total_seconds() * 1000
    assert flow.run.scope["run"]["deadline_ms"] == flow.run.deadline_ms
    flow.do("b")
    # What it joins with was done before.
    assert flow.opened() == ["d#2"]
    flow.do("d")
    assert flow.run.status is Status.SUCCEEDED
    assert [one.reason for one in flow.log if type(one) is RetriedFrom] == ["wrong price"]


def test_what_the_end_broke_off_goes_on_when_the_run_is_repaired():
    flow = begun(spec(**FORK))
    flow.do("a")
    flow.claim("c")
    flow.do("b", "fail")
    assert (flow.run.status, list(flow.run.cut)) == (Status.FAILED, [("c", 1)])
    flow.retry_from("b")
    assert flow.opened() == ["b#2", "c#2"]
    told = read(flow.log)
    assert [(key, visit.latest.label) for key, visit in told.visits.items()] == [
        (("a", 1), "done"), (("b", 1), "fail"), (("c", 1), "cancelled"), (("b", 2), None), (("c", 2), None),
    ]  # fmt: skip
    assert (told.status, told.reason, told.repairs) == (Status.RUNNING, "", 1)
    for op in "bcd":
        flow.do(op)
    assert flow.run.status is Status.SUCCEEDED


def test_what_is_open_of_the_part_is_cancelled_and_its_worker_is_too_late():
    flow = begun(spec(a=work(next={"done": "b"}), b=work(), c=work()))
    flow.do("a")
    ref, token = flow.claim("b")
    flow.retry_from("a")
    assert flow.opened() == ["c", "a#2"]
    with pytest.raises(Refused, match="is closed"):
        flow.close(ref, token)
    [event] = [event for event in flow.log if type(event) is RetriedFrom]
    assert event.cancelled == (tuple(ref),)
    assert load(dump(event)) == event
    shown = told("shop", "r1", event)
    assert (shown.kind, shown.op, shown.by, shown.cancelled[0].op) == ("retried_from", "a", "ann", "b")
    assert read(flow.log).visits["b", 1].latest.label == "cancelled"


def test_what_others_opened_goes_on():
    """Both lead to c, each by an edge of its own: doing a anew is nothing to what b has brought about."""
    flow = begun(spec(a=work(next={"done": "c"}), b=work(next={"done": "c"}), c=work(visits=2)))
    flow.do("b")
    flow.do("a")
    assert flow.opened() == ["c", "c#2"]
    flow.retry_from("a")
    assert flow.opened() == ["c", "a#2"]


def test_visits_are_allowed_anew_and_no_more():
    flow = begun(spec(start="a", a=work(visits=2, next={"done": "a"}), on_failure=OnFailed.CANCEL))
    for _ in range(2):
        flow.do("a")
    assert flow.run.reason.startswith("visit 3 of a closed as exhausted, which no edge takes")
    flow.retry_from("a")
    assert flow.opened() == ["a#4"]
    for _ in range(2):
        flow.do("a")
    assert (flow.run.status, flow.run.ops["a"].fired) == (Status.FAILED, 6)


def test_a_failure_elsewhere_stands():
    flow = begun(spec(a=work(), b=work()))
    flow.do("a")
    flow.do("b", "fail", error="no")
    code, told = refused(flow, flow.retry_from, "a")
    assert (code, told) == (
        "stands",
        "b closed as fail, which no edge takes: no; that ends the run, so retry from b, or set it",
    )
    flow = begun(spec(a=work(), b=work(end="failed"), on_failure=OnFailed.CONTINUE))
    flow.do("a", "fail")
    flow.do("b")
    flow.retry_from("a")
    flow.do("a")
    assert (flow.run.status, flow.run.reason) == (Status.FAILED, "b was reached, which ends the run as failed")
    flow.retry_from("b")
    assert flow.run.failure is None


def test_an_operation_that_was_never_opened_is_not_retried():
    flow = begun(spec(a=work(next={"done": "b"}), b=work()))
    assert refused(flow, flow.retry_from, "b") == (
        "unopened",
        "b was never opened in this run; retry from an operation that was",
    )
    assert refused(flow, flow.retry_from, "x") == ("unknown", "workflow refund has no operation 'x'; there is a, b")
    assert refused(flow, flow.set_to, "b")[0] == "unopened"
    assert refused(flow, flow.set_to, "a", visit=2) == ("unopened", "visit 2 of a was never opened in this run")


def test_an_operation_that_is_misspelt_is_told_what_was_meant():
    flow = begun(spec(pay_back=work()))
    assert refused(flow, flow.retry_from, "pay_bakc")[1].endswith("; did you mean 'pay_back'?")


def test_a_visit_is_closed_by_hand_and_what_follows_follows():
    flow = begun(spec(a=work(next={"done": "b", "odd": "c"}), b=work(), c=work(input="${ops.a.output.n}")))
    ref, token = flow.claim("a")
    [event, *_] = flow.set_to("a", "odd", {"n": 3})
    assert (event.attempt, flow.opened(), flow.run.open["c", 1].input) == (1, ["c"], 3)
    with pytest.raises(Refused, match="is closed"):
        flow.close(ref, token)
    assert load(dump(event)) == event
    shown = told("shop", "r1", event)
    assert (shown.kind, shown.op, shown.label, shown.output, shown.opened[0].op) == ("set", "a", "odd", {"n": 3}, "c")
    assert read(flow.log).visits["a", 1].latest.output == {"n": 3}


def test_what_was_parked_is_skipped():
    flow = begun(spec(a=work(visits=2, next={"done": "b"}), b=work(), **PARKED))
    flow.do("a", "fail")
    flow.set_to("a")
    assert (flow.opened(), flow.run.scope["ops"]["a"]) == (["b"], {"label": "done", "visits": 1, "output": None})
    assert refused(flow, flow.set_to, "a") == (
        "closed",
        "a is closed as done, and what follows has followed; retry from it, or fork the run",
    )
    flow.do("b", "fail")
    flow.set_to("b", "fail")
    # It is what it was.
    assert [one.op for one in flow.run.incidents] == ["b"]


def test_what_the_end_cut_short_is_closed_by_hand_and_not_opened_again():
    flow = begun(spec(a=work(), b=work(), c=work(needs=["a", "b"])))
    flow.do("a")
    flow.cancel()
    flow.set_to("b")
    assert (flow.run.status, flow.opened(), flow.run.cancel_reason) == (Status.RUNNING, ["c"], None)


def test_of_several_visits_one_is_named():
    flow = begun(spec(a=work(next={"done": "c"}), b=work(next={"done": "c"}), c=work(visits=2)))
    flow.do("a")
    flow.do("b")
    assert refused(flow, flow.set_to, "c") == ("visit", "c has several visits to be closed: 1, 2; say which by visit")
    flow.set_to("c", visit=2)
    assert flow.opened() == ["c"]


def test_what_is_set_is_what_the_operation_offers():
    told_ = spec(a=work(labels=["odd"], output_max=10), w=sleep(MINUTE), s=await_signal("go"))
    flow = begun(told_)
    assert refused(flow, flow.set_to, "a", "even")[1] == "a is not closed as 'even'; it offers done, fail, odd"
    assert refused(flow, flow.set_to, "a", output="x" * 20)[1] == "the output has 22 bytes, and output_max of a is 10"
    assert refused(flow, flow.set_to, "w", output=1)[1] == "w has no output of its own, however it closes; leave it out"
    flow.set_to("w")
    flow.set_to("s", output={"by": "ann"})
    assert flow.opened() == ["a"]
    flow = begun(spec(a=choose(("${1 > 2}", "x"), next={"x": "b"}), b=work(), on_failure=OnFailed.PARK))
    assert refused(flow, flow.set_to, "a", "x", 1)[0] == "output"
    flow.set_to("a", "x")
    assert flow.opened() == ["b"]


def test_the_same_order_again_changes_nothing():
    flow = begun(spec(a=work()))
    flow.do("a", "fail")
    assert flow.retry_from("a", order="n1")
    assert flow.retry_from("a", order="n1") == []
    flow.do("a", "fail")
    assert flow.set_to("a", order="n1") == []
    assert flow.set_to("a", order="n2")
    assert flow.set_to("a", order="n2") == []
    assert flow.run.status is Status.SUCCEEDED


def test_repairs_are_counted():
    flow = begun(spec(a=work()))
    for _ in range(REPAIRS_MAX):
        flow.retry_from("a")
    assert refused(flow, flow.retry_from, "a")[0] == "spent"


def test_a_paused_run_is_repaired_and_goes_on_when_it_is_resumed():
    flow = begun(spec(**FORK))
    flow.do("a")
    flow.pause()
    flow.retry_from("a")
    assert (flow.opened(), flow.run.is_paused) == ([], True)
    assert outlook(flow.run, flow.now).held == ("a",)
    flow.resume()
    assert flow.opened() == ["a#2"]
    flow.pause()
    flow.cancel()
    flow.retry_from("a")
    assert (flow.opened(), flow.run.is_paused) == (["a#3"], False)
    assert read(flow.log).is_paused is False


def test_a_wait_that_is_done_anew_has_a_signal_that_was_kept():
    flow = begun(spec(a=work(next={"done": "s"}), s=await_signal("go")))
    flow.send("go", payload=1)
    flow.do("a", "fail")
    flow.retry_from("a")
    flow.do("a")
    assert (flow.run.status, flow.run.ops["s"].latest.output) == (Status.SUCCEEDED, 1)
    flow.retry_from("s")
    flow.send("go", payload=2)
    flow.retry_from("s")
    flow.set_to("s")
    assert flow.run.status is Status.SUCCEEDED


def test_an_end_that_was_cut_off_before_a_repair_is_not_done_again_after_it():
    flow = begun(spec(a=work(), b=work()))
    flow.cancel("no more")
    flow.retry_from("a")
    run = flow.again()
    step.adopt(run, flow.now)
    assert (run.status, type(flow.log[-2])) == (Status.RUNNING, Ended)


def test_what_is_wired_to_nothing_is_its_own_part():
    flow = loose(spec(start="a", a=work(), b=work()))
    assert part_of(flow.graph, "b") == {"b"}
    assert part_of(flow.graph, "a") == {"a"}


def test_who_and_why_are_cut_to_a_length():
    flow = Flow(spec(a=work()))
    flow.start()
    [event] = flow.take(repairing.retry_from(flow.run, "a", Audit("b" * 9999, "r" * 9999), flow.now))
    assert (len(event.by), len(event.reason)) == (1024, 1024)
    assert Value() == ("done", None)
    assert refs("a") == ("a", 1, 1)


def packing(**more):
    """Each of three items is packed, two at a time; then all are sent."""
    pack = work(foreach=each([1, 2, 3]), input="${item}", next={"done": "send"}, visits=2)
    return begun(spec(pack=pack, send=work(input="${ops.pack.output}"), **more, on_failure=OnFailed.PARK))


def test_what_goes_through_items_is_parked_and_done_anew_with_all_of_them():
    flow = packing()
    flow.do("pack[]", output="a")
    flow.do("pack[]", "fail", error="torn")
    [incident] = flow.run.incidents
    assert (incident.op, incident.error) == ("pack", "item 1 closed as fail: torn")
    flow.retry_from("pack")
    assert flow.opened() == ["pack#2", "pack[]#4", "pack[]#5"]
    for output in "abc":
        flow.do("pack[]", output=output)
    assert flow.run.open["send", 1].input == ["a", "b", "c"]
    assert story(flow.again()) == story(flow.run)


def test_items_that_are_under_way_are_cancelled_with_what_they_are_items_of():
    for repair in (lambda flow: flow.retry_from("pack"), lambda flow: flow.set_to("pack")):
        flow = packing()
        ref, token = flow.claim("pack[]")
        events = repair(flow)
        assert [one[:2] for one in events[0].cancelled if one[0] == "pack[]"] == [("pack[]", 1), ("pack[]", 2)]
        assert load(dump(events[0])) == events[0]
        with pytest.raises(Refused, match="is closed"):
            flow.close(ref, token)
        assert {key for key, visit in read(flow.log).visits.items() if visit.latest.label == "cancelled"} >= {
            ("pack[]", 1),
            ("pack[]", 2),
        }
        assert story(flow.again()) == story(flow.run)
    assert flow.opened() == ["send"]
    assert flow.run.groups == {}
    assert refused(flow, flow.set_to, "pack[]")[0] == "unknown"
    flow = packing()
    assert refused(flow, flow.set_to, "pack", output=[1])[0] == "output"
    assert refused(flow, flow.set_to, "pack", "odd")[1] == "pack is not closed as 'odd'; it offers done, fail"


def test_items_that_the_end_broke_off_are_gone_through_again():
    flow = packing(other=work())
    flow.do("pack[]", output="a")
    flow.cancel()
    assert list(flow.run.cut) == [("other", 1), ("pack", 1)] or list(flow.run.cut) == [("pack", 1), ("other", 1)]
    flow.retry_from("other")
    assert sorted(flow.opened()) == ["other#2", "pack#2", "pack[]#4", "pack[]#5"]


def test_callbacks_have_addresses_as_long_as_they_may_be_opened():
    flow = begun(spec(a=work(next={"done": "w"}), w=Operation(wait=Wait(callback=True))))
    seen = flow.run.scope["run"]["callbacks"]
    flow.do("a")
    assert seen == {"w": "w/1"}
    flow.call("w", label="fail")
    assert seen == {}
    flow.retry_from("a")
    assert seen == {"w": "w/2"}
    flow.do("a")
    assert flow.run.has_visit("w", 2)
    assert not flow.run.has_visit("w", 3)
    flow.call("w", visit=2)
    assert flow.run.status is Status.SUCCEEDED
