"""An operation with ``foreach``: its items, what becomes of it by them, and what is shown of both."""

from dataclasses import replace

import pytest

from harpoon.core import step
from harpoon.core.bounds import Share, bounds
from harpoon.core.chronicle import read
from harpoon.core.event import Closed, Fired, dump, load
from harpoon.core.flaws import flaws
from harpoon.core.graph import compile_graph
from harpoon.core.items import LIST_MAX
from harpoon.core.outlook import outlook, skipped
from harpoon.core.run_groups import UNKNOWN, Plot
from harpoon.core.run_items import Items, items
from harpoon.core.run_picture import attempts, measures, span_ms_of, visits
from harpoon.core.run_told import told as tell
from harpoon.core.run_why import summary, why
from harpoon.core.step import Refused, Result
from harpoon.core.stepping import EVENTS_MAX, OPENED_BYTES_MAX
from harpoon.model.call import Call
from harpoon.model.foreach import ITEMS_MAX, Foreach, Together
from harpoon.model.inputs import InputSchema
from harpoon.model.operation import Operation
from harpoon.model.run import Status
from harpoon.model.workflow import OnFailed, WorkflowSpec
from tests.core.flow import (
    HOUR,
    MINUTE,
    SECOND,
    T0,
    await_signal,
    begun,
    choose,
    each,
    limit,
    retry,
    sleep,
    spec,
    story,
    until,
    work,
)


def packing(items="${inputs.items}", given=(1, 2, 3), most=10, more=None, **foreach):
    """Every item is packed, two at a time; then all are sent."""
    fields = {"input": {"item": "${item}", "index": "${index}"}} | (more or {})
    pack = work(foreach=each(items, most, **foreach), next={"done": "send", "fail": "mend"}, **fields)
    told = spec(pack=pack, send=work(input="${ops.pack.output}"), mend=work(), inputs={"items": "array"})
    return begun(told, {"items": list(given)})


def plot_of(flow):
    return Plot(operations=flow.graph.operations, most={}, bare=flow.graph.bare)


def counts_of(flow):
    """What the run's picture counts of the first visit."""
    shown, _ = visits(read(flow.log), plot_of(flow), flow.now)
    one = shown[0].items
    return {"done": one.done, "failed": one.failed, "open": one.open, "pending": one.pending, "off": one.cancelled}


def test_items_are_opened_as_there_is_room_and_their_outputs_are_a_list_in_their_order():
    flow = packing()
    assert flow.opened() == ["pack", "pack[]", "pack[]#2"]
    assert flow.run.open["pack[]", 2].input == {"item": 2, "index": 1}
    flow.do("pack[]", visit=2, output="B")
    assert flow.opened() == ["pack", "pack[]", "pack[]#3"]
    flow.do("pack[]", visit=3, output="C")
    flow.do("pack[]", visit=1, output="A")
    assert flow.run.open["send", 1].input == ["A", "B", "C"]
    # The list is not written: it follows.
    assert dump(flow.log[-1])[:9] == ["x", flow.run.seq, T0, "pack", 1, 1, "", "done", None]
    assert "pack[]" not in flow.run.scope["ops"]
    assert story(flow.again()) == story(flow.run)


def test_without_items_it_is_done_at_once():
    flow = packing(given=())
    assert flow.closings() == ["pack.done"]
    assert flow.run.open["send", 1].input == []


def test_what_is_not_collected_is_not_kept():
    flow = packing(collect=False, given=(1,))
    group = flow.run.groups["pack", 1]
    flow.do("pack[]", output="x")
    assert (group.outputs, flow.run.open["send", 1].input) == ([], None)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (range(4), "items came to 4, and max is 3"),
        ("text", "items came to something else than a list"),
    ],
)
def test_what_are_no_items_or_too_many_fails_it(given, error):
    told = spec(a=work(foreach=each("${inputs.it}", most=3), next={"fail": "b"}), b=work(), inputs={"it": None})
    flow = begun(told, {"it": given if isinstance(given, str) else list(given)})
    assert [(event.op, event.label, event.error) for event in flow.log if type(event) is Closed] == [
        ("a", "fail", error)
    ]
    assert flow.opened() == ["b"]


def test_an_expression_that_gives_nothing_fails_it():
    told = spec(a=work(foreach=each("${ops.b.output}"), next={"fail": "b"}), b=work())
    assert "ops.b.output is not there" in begun(told).log[1].error


def test_one_failure_closes_it_and_cancels_what_is_under_way():
    flow = packing(parallel=3)
    held = flow.claim("pack[]", 3)
    flow.do("pack[]", "fail", visit=2, error="too heavy")
    closed = flow.log[-1]
    assert (closed.op, closed.label, closed.error) == ("pack", "fail", "item 1 closed as fail: too heavy")
    assert closed.cancelled == (("pack[]", 1, 1), ("pack[]", 3, 1))
    assert (flow.opened(), list(flow.run.ready)) == (["mend"], [("mend", 1)])
    with pytest.raises(Refused, match="attempt 1 of visit 3 of pack\\[\\] is closed"):
        flow.close(*held)
    assert story(flow.again()) == story(flow.run)
    assert counts_of(flow) == {"done": 0, "failed": 1, "open": 0, "pending": 0, "off": 2}


def test_some_may_fail():
    flow = packing(tolerate=1, given=range(4), more={"retry": retry(fail=2)})
    flow.do("pack[]", "fail", visit=1, retryable=False)
    flow.do("pack[]", visit=2, output=2)
    flow.do("pack[]", "fail", visit=3)
    assert counts_of(flow) == {"done": 1, "failed": 1, "open": 2, "pending": 0, "off": 0}
    flow.pass_(SECOND)
    flow.do("pack[]", visit=3, output=3)
    flow.do("pack[]", visit=4, output=4)
    assert flow.run.open["send", 1].input == [None, 2, 3, 4]
    flow = packing(tolerate=1, given=range(4))
    flow.do("pack[]", "fail", visit=1, error="a")
    flow.do("pack[]", "fail", visit=2, error="b")
    assert flow.log[-1].error == "2 of 4 items failed, and tolerate is 1; item 0 closed as fail: a"


def test_one_after_the_other_up_to_the_first_failure():
    flow = packing(parallel=1)
    flow.do("pack[]")
    assert flow.opened() == ["pack", "pack[]#2"]
    flow.do("pack[]", "fail")
    assert (flow.opened(), flow.closings()) == (["mend"], ["pack[].done", "pack[].fail", "pack.fail"])


def test_a_list_that_is_too_large_fails_it():
    most = LIST_MAX // 3
    flow = packing(more={"output_max": 1 << 20})
    for visit in (1, 2, 3):
        flow.do("pack[]", visit=visit, output="x" * most)
    assert (flow.log[-1].op, flow.log[-1].label) == ("pack", "fail")
    assert "takes more than 1Mi together" in flow.log[-1].error
    flow = packing(more={"output_max": 1 << 20})
    for visit in (1, 2, 3):
        flow.do("pack[]", visit=visit, output="x" * (most - 5))
    assert "pack.done" in flow.closings()


def test_items_whose_input_cannot_be_told_fail_without_end():
    many = [{} for _ in range(50)]
    flow = packing(given=many, most=50, more={"input": "${item.n}"})
    assert flow.closings() == ["pack[].fail", "pack.fail"]
    flow = packing(given=[*many, {"n": 1}], most=60, tolerate=50, more={"input": "${item.n}"})
    assert (flow.closings(), flow.run.open["pack[]", 51].input) == (["pack[].fail"] * 50, 1)
    assert story(flow.again()) == story(flow.run)


def test_very_many_items_go_into_several_events():
    flow = packing(given=range(ITEMS_MAX), most=ITEMS_MAX, parallel=ITEMS_MAX)
    assert [type(event) for event in flow.log[1:]] == [Fired] * (len(flow.log) - 1)
    assert 2 < len(flow.log) < 64 * ITEMS_MAX / OPENED_BYTES_MAX * 3
    assert len(flow.run.ready) == ITEMS_MAX
    assert len(flow.log) < EVENTS_MAX


def test_while_it_is_paused_no_item_is_opened():
    flow = packing()
    ref, token = flow.claim("pack[]", 1)
    flow.pause()
    flow.close(ref, token)
    assert flow.opened() == ["pack", "pack[]#2"]
    flow.resume()
    assert flow.opened() == ["pack", "pack[]#2", "pack[]#3"]


def test_it_closes_while_the_run_is_paused():
    flow = packing(given=(1,))
    ref, token = flow.claim("pack[]")
    flow.pause()
    flow.close(ref, token)
    assert (flow.closings(), flow.opened()) == (["pack[].done", "pack.done"], [])
    flow.resume()
    assert flow.opened() == ["send"]


def test_a_log_that_ends_before_it_is_closed_is_taken_up():
    flow = packing(given=(1,))
    flow.do("pack[]")
    assert flow.log[-1].op == "pack"
    run = flow.again(len(flow.log) - 1)
    assert run.groups["pack", 1].opened == 1
    assert [event.op for event in step.adopt(run, flow.now)] == ["pack"]
    flow = packing(given=range(4))
    flow.log[-1] = flow.log[-1]._replace(opened=flow.log[-1].opened[:1])
    run = flow.again()
    assert [one.op for one in step.adopt(run, flow.now)[0].opened] == ["pack[]", "pack[]"]


def test_each_visit_has_its_own_items():
    told = spec(
        start="a",
        a=work(visits=3, next={"done": ["pack", "a"], "exhausted": "z"}),
        pack=work(foreach=each([1, 2, 3]), visits=2, next={"exhausted": "z"}, input="${index}"),
        z=work(visits=5),
    )
    flow = begun(told)
    flow.do("a")
    flow.do("a")
    assert flow.opened() == ["pack", "pack[]", "pack[]#2", "pack#2", "a#3", "pack[]#4", "pack[]#5"]
    flow.do("pack[]", visit=4)
    flow.do("pack[]", visit=1)
    assert flow.opened()[-2:] == ["pack[]#6", "pack[]#3"]
    assert {key: list(group.open) for key, group in flow.run.groups.items()} == {
        ("pack", 1): [1, 2],
        ("pack", 2): [1, 2],
    }
    flow.do("a")
    assert "pack.exhausted" in flow.closings()
    assert [one.visit for one in items(read(flow.log), plot_of(flow), Items(op="pack", visit=2), T0)] == [2, 2, 2]


def test_a_failure_that_no_edge_takes_ends_the_run_by_what_the_item_said():
    flow = begun(spec(a=work(foreach=each([1])), b=work(), on_failure=OnFailed.CONTINUE))
    flow.do("a[]", "fail", error="boom")
    assert flow.run.status is Status.RUNNING
    flow.do("b")
    assert flow.run.reason == "a closed as fail, which no edge takes: item 0 closed as fail: boom"


def test_waits_may_have_items_too():
    told = spec(
        s=await_signal("paid", key="${item}", foreach=each(["k1", "k2"]), labels=["late"], takes=HOUR),
        t=until("${run.started + duration(item)}", foreach=each(["60s", "120s"])),
        z=sleep(5 * MINUTE, foreach=each([1, 2, 3])),
    )
    flow = begun(told)
    flow.send("paid", label="late", payload=7, key="k2")
    assert flow.opened()[:2] == ["s", "t"]
    assert ("s[]", 2) not in flow.run.open
    flow.pass_(MINUTE)
    flow.pass_(MINUTE)
    assert flow.run.scope["ops"]["t"]["output"] == [None, None]
    flow.pass_(3 * MINUTE)
    flow.pass_(5 * MINUTE)
    assert "z" in flow.run.scope["ops"]
    flow.pass_(HOUR)
    assert flow.log[-1].reason == (
        "s closed as fail, which no edge takes: item 0 closed as timeout: signal paid did not come within 1h"
    )


def test_concurrency_is_counted_under_a_key_of_the_item():
    flow = begun(spec(a=work(foreach=each(["x", "y"]), concurrency=limit("${item}"))))
    assert [attempt.key for attempt in flow.run.ready.values()] == ["x", "y"]


def test_what_is_wrong_with_it_is_told():
    told = spec(
        a=work(foreach=each("${item}"), input="${ops.b.nothing}"),
        b=work(foreach=each("${1 + 1}"), next={"timeout": "c", "good": "c"}),
        c=work(input="${item}", needs=["a.late"]),
        d=work(foreach=each([1]), input="${inputs.none}", labels=["late"]),
    )
    found = {flaw.pointer.removeprefix("/spec/operations/"): flaw.message for flaw in flaws(told)}
    assert "item" in found["a/foreach/items"]
    assert found["b/foreach/items"] == "it must give a list; it gives whole"
    assert found["b/next/timeout"] == "b is never closed as timeout; it gives done, exhausted, fail"
    assert found["c/needs/0"] == "a is never closed as late; it gives done, exhausted, fail"
    assert "item" in found["c/input"]
    assert "a/input" in found
    assert not {pointer for pointer in found if pointer.startswith("d/") and pointer != "d/input"}


@pytest.mark.parametrize(
    "fields",
    [{"max": 0}, {"max": ITEMS_MAX + 1}, {"parallel": 0}, {"tolerate": -1}, {"items": "x" * 5000}, {"items": ""}],
)
def test_what_is_out_of_bounds_is_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        Foreach(**{"items": "${inputs.x}"} | fields)


def test_a_list_is_no_longer_than_max_and_choices_have_no_items():
    with pytest.raises(ValueError, match="items has 3, and max is 2; raise max"):
        Foreach(items=(1, 2, 3), max=2)
    with pytest.raises(ValueError, match="foreach has no meaning with choose"):
        choose("x", foreach=each([1]))
    assert (Foreach(items=(1, 2)).most, Foreach(items="${inputs.x}").most) == (2, 500)


def test_the_span_of_a_visit_is_that_of_as_many_rounds_as_it_takes():
    one = work(takes=MINUTE, queue_timeout=MINUTE, retry=retry(lost=1))
    assert span_ms_of(one) == 2 * MINUTE
    many = work(takes=MINUTE, queue_timeout=MINUTE, retry=retry(lost=1), foreach=each("${inputs.x}", 7, parallel=3))
    assert span_ms_of(many) == 3 * 2 * MINUTE


def test_it_is_shown_by_what_became_of_its_items():
    flow = packing(tolerate=1)
    shown, left = visits(read(flow.log), plot_of(flow), T0)
    assert ([one.op for one in shown], left, shown[0].kind, shown[0].state.value) == (["pack"], 0, "each", "waiting")
    assert (shown[0].due_ms, shown[0].waits_for) == (None, "its items: 0 of 3 done, 2 under way")
    flow.do("pack[]", visit=1, output="A")
    flow.do("pack[]", "fail", visit=2, error="no")
    flow.claim("pack[]", 3)
    shown, _ = visits(read(flow.log), plot_of(flow), T0)
    assert shown[0].waits_for == "its items: 1 of 3 done, 1 failed, 1 under way"
    told = measures(read(flow.log), plot_of(flow), (), T0)
    assert [(one.op, one.kind, one.visits, one.attempts) for one in told if one.op == "pack"] == [
        ("pack", "each", 1, 4)
    ]
    every = [(one.op, one.visit, one.state.value) for one in attempts(read(flow.log), plot_of(flow), T0)]
    assert every == [
        ("pack", 1, "waiting"),
        ("pack[]", 1, "closed"),
        ("pack[]", 2, "closed"),
        ("pack[]", 3, "running"),
    ]
    flow.pause()
    shown, _ = visits(read(flow.log), plot_of(flow), T0)
    assert shown[0].waits_for == "the run to be resumed"
    one = items(read(flow.log), plot_of(flow), Items(statuses=frozenset({"failed"})), T0)
    assert [(item.index, item.item, item.error) for item in one] == [(1, 2, "no")]
    assert [item.status.value for item in items(read(flow.log), plot_of(flow), Items(), T0)] == [
        "done",
        "failed",
        "open",
    ]


def test_items_of_a_workflow_that_is_not_kept_any_more_are_not_guessed_at():
    flow = packing()
    assert [one.op for one in visits(read(flow.log), UNKNOWN, T0)[0]] == ["pack"]
    assert items(read(flow.log), UNKNOWN, Items(), T0) == []
    assert len(why(read(flow.log), UNKNOWN, (), None, T0)) == 3


def test_items_that_could_not_be_told_are_none():
    flow = packing(most=2)
    assert counts_of(flow) == {"done": 0, "failed": 0, "open": 0, "pending": 0, "off": 0}


def test_items_that_were_not_begun_when_the_run_ended_are_cancelled_with_it():
    flow = packing(given=range(5))
    assert [item.waits_for for item in items(read(flow.log), plot_of(flow), Items(), T0)][-1] == "its turn"
    flow.cancel()
    assert counts_of(flow) == {"done": 0, "failed": 0, "open": 0, "pending": 0, "off": 5}
    assert {item.status.value for item in items(read(flow.log), plot_of(flow), Items(), T0)} == {"cancelled"}
    assert (flow.run.groups, flow.run.roomy) == ({}, {})


def test_why_tells_of_the_first_items_what_keeps_them():
    flow = packing(given=range(40), most=40, parallel=30)
    told = why(read(flow.log), plot_of(flow), (), None, T0)
    assert [one.code.value for one in told] == ["items", *["workers_unknown"] * 10, "waiting"]
    assert told[0].sentence == "pack (visit 1) has 0 of 40 done, 30 under way"
    assert dict(told[0].evidence) == {
        "op": "pack", "visit": 1, "items": 40, "pending": 10, "open": 30, "done": 0, "failed": 0,
    }  # fmt: skip
    assert told[1].sentence == "item 0 of pack (visit 1) waits for a worker that offers w"
    assert told[-1].sentence == "and 20 more open visits"
    assert summary(read(flow.log), plot_of(flow)) == "30 waiting"


def test_what_a_run_waits_for_names_its_items():
    flow = packing()
    whole, one, _ = outlook(flow.run, T0).stands
    assert (whole.state, whole.handler, whole.due_ms, whole.clock) == ("items", "", flow.run.deadline_ms, "deadline")
    assert (one.state, one.handler) == ("ready", "w")
    assert skipped(flow.run) == ()


def test_watchers_are_told_what_was_cancelled():
    flow = packing()
    flow.do("pack[]", "fail", visit=1)
    told = tell("n", "r", flow.log[-1])
    assert [(one.op, one.visit, one.attempt) for one in told.cancelled] == [("pack[]", 2, 1)]
    assert story(flow.again()) == story(flow.run)


def test_an_item_is_closed_once():
    flow = packing()
    ref, token = flow.claim("pack[]", 1)
    flow.close(ref, token)
    assert step.close(flow.run, ref, token, Result("done"), flow.now) == []
    with pytest.raises(Refused, match="there was no attempt 1 of visit 9"):
        step.claim(flow.run, ref._replace(visit=9), "t", "w", "s", flow.now)


def together(told, parallel=2, tolerate=0, collect=False, outputs=None):
    """Operations without edges, which are gone through in the order of their names."""
    rule = Together(parallel=parallel, tolerate=tolerate, collect=collect)
    return WorkflowSpec(operations=told, together=rule, outputs=outputs or {})


def test_operations_may_go_together_in_the_order_of_their_names():
    told = {"c": work("w3"), "a": work("w1", input="${run.id}"), "b": await_signal("go")}
    flow = begun(together(told, collect=True, outputs={"all": "${ops.steps.output}"}))
    assert flow.opened() == ["steps", "steps[0]", "steps[1]"]
    assert flow.run.open["steps", 1].input == ["a", "b", "c"]
    assert flow.run.open["steps[0]", 1].input == "r1"
    flow.send("go", payload="B")
    flow.do("steps[2]", output="C")
    flow.do("steps[0]", output="A")
    assert (flow.run.status, flow.run.outputs) == (Status.SUCCEEDED, {"all": ["A", "B", "C"]})
    assert story(flow.again()) == story(flow.run)
    told = items(read(flow.log), plot_of(flow), Items(op="steps"), T0)
    assert [(one.index, one.item, one.status.value, one.output) for one in told] == [
        (0, "a", "done", "A"),
        (1, "b", "done", "B"),
        (2, "c", "done", "C"),
    ]


def test_of_those_that_go_together_one_failure_too_many_ends_the_run():
    flow = begun(together({f"s{n}": work() for n in range(4)}, parallel=3, tolerate=1))
    flow.do("steps[0]", "fail", error="a")
    assert flow.opened() == ["steps", "steps[1]", "steps[2]", "steps[3]"]
    flow.do("steps[2]", "fail", error="b")
    assert flow.run.reason.endswith("2 of 4 items failed, and tolerate is 1; item 0 closed as fail: a")
    assert counts_of(flow) == {"done": 0, "failed": 2, "open": 0, "pending": 0, "off": 2}


def test_what_goes_together_takes_as_long_as_its_places_are_taken():
    def of(parallel, *spans):
        steps = {f"s{n}": work(takes=span, queue_timeout=10, retry=retry(lost=1)) for n, span in enumerate(spans)}
        told = bounds(compile_graph(together(steps, parallel)))
        assert told.attempts == 1 + len(spans)
        assert told.operations == {"steps": Share(1, 1 + len(spans))}
        return told.ends_after_ms

    assert of(1, 10, 20, 30) == 90
    assert of(2, 30, 10, 10, 20) == 20 + 20 + 30
    assert of(9, 30, 10) == 40


def test_signals_of_what_goes_together_are_counted():
    one = bounds(compile_graph(together({"a": await_signal("go")})))
    two = bounds(compile_graph(together({"a": await_signal("go"), "b": await_signal("go")})))
    assert one.signals_bytes < two.signals_bytes


def test_what_is_wrong_with_what_goes_together_is_told_where_it_stands():
    found = flaws(together({"a": work(input="${item}"), "b": work(input="${ops.a.output}")}))
    assert sorted(flaw.pointer for flaw in found) == ["/spec/operations/a/input", "/spec/operations/b/input"]


def test_what_goes_together_is_bounded_with_what_it_calls():
    callee = bounds(compile_graph(spec(a=work(retry=retry(lost=1)), b=work(retry=retry(lost=1)))))
    one = Operation(call=Call(workflow="ship"), retry=retry(lost=1))
    assert callee.attempts == 2
    told = bounds(compile_graph(together({"a": one, "b": one, "c": work(retry=retry(lost=1))})), None, {"ship": callee})
    assert (told.attempts, told.calls.runs) == (1 + 3 + 2 * 2, 2)
    each_one = replace(one, foreach=each("${inputs.items}", most=7))
    told = bounds(compile_graph(spec(a=each_one, inputs={"items": "array"})), None, {"ship": callee})
    assert (told.attempts, told.calls.runs) == (1 + 7 + 7 * 2, 7)
    assert bounds(compile_graph(together({"a": one}))).calls.runs == 1


@pytest.mark.parametrize(
    ("items_", "text", "is_right"),
    [
        ("${inputs.texts}", "${item + 'x'}", True),
        ("${ inputs.texts }", "${item + 1}", False),
        ("${inputs.orders}", "${item.n + 1}", True),
        ("${inputs.orders}", "${item.n + 'x'}", False),
        ("${inputs.any}", "${item + 1}", True),
        ("${inputs.texts.map(t, size(t))}", "${item + 'x'}", True),
        (["a", "b"], "${item + 1}", False),
        ([1, 2], "${item + 1}", True),
        ([1.5], "${item > 1}", False),
        ([True], "${item && index > 0}", True),
        (["a", 1], "${item + 1}", True),
        (["a", "${inputs.any}"], "${item + 1}", True),
        ([{"n": 1}], "${item.n + 1}", True),
        ([], "${item + 1}", True),
    ],
)
def test_what_items_are_is_known_where_it_can_be(items_, text, is_right):
    schemas = {
        "texts": InputSchema(type=("array",), items=InputSchema(type=("string",))),
        "orders": InputSchema(
            type=("array",), items=InputSchema(type=("object",), properties={"n": InputSchema(type=("integer",))})
        ),
        "any": InputSchema(type=("array",)),
    }
    told = WorkflowSpec(operations={"a": work(foreach=each(items_), input={"x": text})}, inputs=schemas)
    assert [flaw.pointer for flaw in flaws(told)] == ([] if is_right else ["/spec/operations/a/input/x"])


def test_items_of_a_known_type_are_given_as_such():
    schemas = {"xs": InputSchema(type=("array",), items=InputSchema(type=("number",)))}
    told = WorkflowSpec(operations={"a": work(foreach=each("${inputs.xs}"), input="${item + 0.5}")}, inputs=schemas)
    flow = begun(told, {"xs": [1.0, 2.5]})
    assert [flow.run.open["a[]", visit].input for visit in (1, 2)] == [1.5, 3.0]


def failed_flow(told=None, **foreach):
    """A run that has failed, for item 1 of 0 to 4 has, when 0 was done; 2 was under way."""
    flow = begun(told or spec(a=work(foreach=each([10, 11, 12, 13, 14], **foreach), next={"done": "b"}), b=work(
        input="${ops.a.output}"
    )))  # fmt: skip
    flow.do("a[]", output="A", visit=1)
    flow.do("a[]", "fail", visit=2)
    assert flow.run.status is Status.FAILED
    return flow


def kept_counts(flow):
    return visits(read(flow.log), plot_of(flow), flow.now)[0][-1].items


def test_what_came_to_nothing_is_done_anew_and_the_rest_is_kept():
    flow = failed_flow()
    flow.retry_from("a", items=())
    assert flow.opened() == ["a#2", "a[]#7", "a[]#8"]
    assert dump(flow.log[-1])[-1] == [1, 2, 3, 4]
    assert load(dump(flow.log[-1])) == flow.log[-1]
    assert [attempt.input for attempt in (flow.run.open["a[]", 7], flow.run.open["a[]", 8])] == [None, None]
    told = items(read(flow.log), plot_of(flow), Items(visit=2), T0)
    assert [(one.status.value, one.output) for one in told] == [
        ("done", "A"), ("open", None), ("open", None), ("pending", None), ("pending", None),
    ]  # fmt: skip
    assert (kept_counts(flow).done, kept_counts(flow).open, kept_counts(flow).pending) == (1, 2, 2)
    for visit in (7, 8, 9, 10):
        flow.do("a[]", output=visit, visit=visit)
    assert flow.run.open["b", 1].input == ["A", 7, 8, 9, 10]
    assert story(flow.again()) == story(flow.run)
    assert kept_counts(flow) is None
    assert visits(read(flow.log), plot_of(flow), T0)[0][1].items.done == 5


def test_one_item_may_be_done_anew():
    flow = failed_flow(tolerate=0)
    with pytest.raises(Refused, match="3 other items of a came to nothing, too"):
        flow.retry_from("a", items=(1,))
    flow = begun(spec(a=work(foreach=each([0, 1, 2], tolerate=1, collect=False))))
    for visit, label in ((1, "done"), (2, "fail"), (3, "done")):
        flow.do("a[]", label, visit=visit)
    assert flow.run.status is Status.SUCCEEDED
    flow.retry_from("a", items=(1, 1))
    assert flow.opened() == ["a#2", "a[]#5"]
    flow.do("a[]")
    assert flow.run.status is Status.SUCCEEDED
    flow.retry_from("a", items=(0,))
    assert (flow.opened(), flow.run.groups["a", 3].failed) == (["a#3", "a[]#7"], 0)
    assert [one.status.value for one in items(read(flow.log), plot_of(flow), Items(visit=3), T0)] == [
        "open",
        "done",
        "done",
    ]
    assert story(flow.again()) == story(flow.run)


def test_a_failure_that_is_kept_counts():
    flow = begun(spec(a=work(foreach=each([0, 1, 2], tolerate=1, parallel=3))))
    for visit, label in ((1, "fail"), (2, "done"), (3, "done")):
        flow.do("a[]", label, visit=visit)
    flow.retry_from("a", items=(1,))
    flow.do("a[]", "fail", error="now")
    assert flow.run.reason.endswith("2 of 3 items failed, and tolerate is 1; item 1 closed as fail: now")


def test_items_of_what_is_open_or_was_cut_short_may_be_done_anew():
    flow = begun(spec(a=work(foreach=each([0, 1, 2]))))
    flow.do("a[]", visit=2, output="B")
    flow.retry_from("a", items=())
    assert flow.opened() == ["a#2", "a[]#4", "a[]#6"]
    flow.cancel()
    flow.retry_from("a", items=())
    assert flow.opened() == ["a#3", "a[]#7", "a[]#9"]
    flow.do("a[]", visit=7, output="A")
    flow.do("a[]", visit=9, output="C")
    assert flow.run.scope["ops"]["a"]["output"] == ["A", "B", "C"]
    assert story(flow.again()) == story(flow.run)


def test_a_retry_of_some_items_that_was_not_begun_is_not_in_the_way_of_one_of_all():
    flow = begun(spec(a=work(next={"done": "b"}), b=work(foreach=each([0, 1, 2]))))
    flow.do("a")
    flow.do("b[]", output="A")
    flow.pause()
    flow.retry_from("b", items=(1, 2))
    flow.retry_from("b")
    flow.resume()
    assert flow.opened() == ["b#2", "b[]#4", "b[]#5"]
    flow.do("b[]", visit=4)
    flow.pause()
    flow.retry_from("b", items=(1, 2))
    flow.retry_from("a")
    flow.resume()
    flow.do("a")
    assert flow.opened() == ["b#3", "b[]#7", "b[]#8"]
    assert story(flow.again()) == story(flow.run)


def test_steps_may_be_done_anew_from_where_they_stopped():
    flow = begun(together({f"s{number}": work() for number in range(3)}, parallel=1))
    flow.do("steps[0]")
    flow.do("steps[1]", "fail")
    flow.retry_from("steps", items=())
    assert flow.opened() == ["steps#2", "steps[1]#2"]
    flow.do("steps[1]")
    assert [one.status.value for one in items(read(flow.log), plot_of(flow), Items(visit=2), T0)] == [
        "done",
        "done",
        "open",
    ]
    flow.do("steps[2]")
    assert flow.run.status is Status.SUCCEEDED


def test_a_list_that_is_too_large_may_become_small_enough():
    most = LIST_MAX // 3
    flow = begun(spec(a=work(foreach=each([0, 1, 2], parallel=3), output_max=1 << 20)))
    for visit in (1, 2):
        flow.do("a[]", visit=visit, output="x" * most)
    flow.do("a[]", "fail", visit=3)
    flow.retry_from("a", items=(0, 2))
    flow.do("a[]", visit=4, output="y")
    flow.do("a[]", visit=6, output="x" * most)
    assert flow.run.status is Status.SUCCEEDED
    assert flow.run.groups == {}


@pytest.mark.parametrize(
    ("asked", "said"),
    [((5,), "a has items 0 to 4"), ((-1,), "a has items 0 to 4")],
)
def test_items_that_there_are_not_are_not_done_anew(asked, said):
    with pytest.raises(Refused, match=said) as told:
        failed_flow().retry_from("a", items=asked)
    assert told.value.is_mistake


def test_where_nothing_is_left_or_there_are_no_items_that_is_said():
    flow = begun(spec(a=work(foreach=each([0])), b=work(needs=["a"])))
    flow.do("a[]")
    with pytest.raises(Refused, match="all 1 items of a are done"):
        flow.retry_from("a", items=())
    with pytest.raises(Refused, match="b has no items"):
        flow.retry_from("b", items=())


def test_items_wait_for_a_paused_run_to_go_on():
    flow = begun(spec(a=work(foreach=each([0, 1])), b=await_signal("go")))
    flow.do("a[]", visit=1)
    flow.pause()
    flow.retry_from("a", items=(1,))
    assert (flow.opened(), flow.run.anew) == (["b"], {"a": (1,)})
    assert story(flow.again()) == story(flow.run)
    flow.resume()
    assert (flow.opened(), flow.run.anew) == (["b", "a#2", "a[]#4"], {})
