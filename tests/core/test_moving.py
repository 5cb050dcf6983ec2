"""Open runs that go on by another generation: what they stand on, what their joins know, and why some cannot."""

from dataclasses import replace

import pytest

from harpoon.core.chronicle import read
from harpoon.core.event import Moved, dump, load
from harpoon.core.graph import compile_graph
from harpoon.core.moving import TOLD_MAX, objections, stands_at
from harpoon.core.repair import REPAIRS_MAX
from harpoon.core.run_told import told
from harpoon.core.step import Refused
from harpoon.model.inputs import InputSchema
from harpoon.model.operation import Operation, Wait
from harpoon.model.run import Status
from harpoon.model.workflow import OnFailed
from tests.core.flow import MINUTE, SECOND, await_signal, begun, choose, each, sleep, spec, story, work

OLD = spec(a=work(next={"done": "b"}), b=work(), c=work(), d=work(needs=["b", "c"]))


def moved(flow, new, generation="g2"):
    flow.move(generation, compile_graph(new))
    assert story(flow.again()) == story(flow.run)


def against(flow, new):
    return list(objections(flow.run, compile_graph(new)))


def test_a_run_goes_on_by_another_form_of_its_workflow():
    flow = begun(OLD)
    flow.do("a")
    assert stands_at(flow.run) == ("b", "c")
    moved(flow, replace(OLD, operations={**OLD.operations, "b": work(next={"done": "e"}), "e": work()}))
    assert (flow.run.generation, flow.run.scope["run"]["generation"], flow.opened()) == ("g2", "g2", ["c", "b"])
    [event] = [event for event in flow.log if type(event) is Moved]
    assert load(dump(event)) == event
    shown = told("shop", "r1", event)
    assert (shown.kind, shown.generation, shown.by) == ("moved", "g2", "ann")
    assert read(flow.log).moved == ("g2",)
    flow.do("b")
    flow.do("c")
    assert flow.opened() == ["e", "d"]
    assert flow.move("g2", flow.run.graph) == []


def test_clocks_are_those_of_the_new_form_but_what_is_claimed_keeps_its_own():
    flow = begun(spec(a=work(queue_timeout=MINUTE), b=work(takes=MINUTE)))
    flow.claim("b")
    moved(flow, spec(a=work(queue_timeout=10 * SECOND), b=work(takes=10 * SECOND)))
    flow.pass_(10 * SECOND)
    assert flow.closings() == ["a.timeout"]
    assert flow.run.cut or flow.opened() == []


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (spec(a=work()), ["operation b, at which it stands, is gone", "operation c, at which it stands, is gone"]),
        (
            spec(a=work(next={"done": "b"}), b=sleep(MINUTE), c=await_signal("s"), d=work(needs=["b", "c"])),
            [
                "operation b, at which it stands, is no worker any more, but a wait for a moment",
                "operation c, at which it stands, is no worker any more, but a wait for a signal",
            ],
        ),
        (
            spec(a=choose("x", next={"x": "b"}), b=work(), c=work(), d=work(needs=["b", "c"])),
            ["a was closed as done, which it does not give any more"],
        ),
    ],
)
def test_it_stays_where_it_stands_on_nothing(new, why):
    flow = begun(OLD)
    flow.do("a")
    assert against(flow, new) == why
    before = story(flow.run)
    with pytest.raises(Refused) as error:
        flow.move("g2", compile_graph(new))
    assert str(error.value) == f"it stays on generation g1: {'; '.join(why)}"
    assert story(flow.run) == before


def test_what_has_occurred_for_a_join_is_not_lost():
    flow = begun(OLD)
    flow.do("c")
    assert against(flow, spec(a=work(next={"done": "b"}), b=work(), c=work())) == [
        "operation d is gone, and c.done has occurred for it"
    ]
    # One more is needed now, and one that is closed already counts.
    flow.do("a")
    moved(flow, spec(a=work(next={"done": "b"}), b=work(), c=work(), d=work(needs=["a", "b", "c"])))
    flow.do("b")
    assert flow.opened() == ["d"]


def test_a_join_that_needs_less_fires_and_one_whose_moment_has_passed_does_not():
    flow = begun(OLD)
    flow.do("c")
    moved(flow, spec(a=work(next={"done": "b"}), b=work(), c=work(), d=work(needs=["c"])))
    assert flow.opened() == ["a", "d"]
    flow = begun(OLD)
    flow.do("c")
    flow.do("a")
    new = {"a": work(next={"done": "b"}), "b": work(), "c": work(), "e": work(needs=["a", "c"])}
    moved(flow, spec(**new, d=work(needs=["b", "c"])))
    assert flow.opened() == ["b"]
    # It was opened before: what closed before that is nothing to it.
    flow = begun(spec(a=work(), b=work(), d=work(needs=["a"], visits=2), e=work(needs=["d"])))
    flow.do("a")
    moved(flow, spec(a=work(), b=work(), d=work(needs=["a", "b"], visits=2), e=work(needs=["d"])))
    flow.do("b")
    assert flow.opened() == ["d"]


def test_what_is_about_to_be_opened_is_opened_by_the_same():
    flow = begun(spec(a=work(next={"done": ["b", "c"]}), b=work(), c=work()))
    ref, token = flow.claim("a")
    flow.pause()
    flow.close(ref, token)
    assert stands_at(flow.run) == ("b", "c")
    assert against(flow, spec(a=work(next={"done": "b"}), b=work())) == [
        "operation c, which is about to be opened, is gone"
    ]
    assert against(flow, spec(a=work(next={"done": "b", "fail": "c"}), b=work(), c=work())) == [
        "c is about to be opened by a.done, which does not open it any more"
    ]
    moved(flow, spec(a=work(next={"done": ["c", "b", "x"]}), b=work(), c=work(), x=work()))
    flow.resume()
    assert flow.opened() == ["b", "c"]


def test_what_was_opened_by_nothing_that_is_left_can_be_repaired_still():
    flow = begun(spec(start="a", a=work(next={"done": "b"}), b=work(visits=2)))
    flow.do("a")
    moved(flow, spec(start="a", a=work(next={"fail": "b"}), b=work()))
    flow.retry_from("a")
    # It is led to by no way that is left.
    assert flow.opened() == ["a#2"]
    flow.retry_from("a")
    moved(flow, spec(a=work(), b=work()), "g4")
    assert flow.opened() == ["a#3"]


def test_failures_are_handled_as_they_were():
    flow = begun(spec(a=work(), b=work(), on_failure=OnFailed.PARK))
    flow.do("a", "fail")
    assert stands_at(flow.run) == ("a", "b")
    assert against(flow, spec(b=work(), on_failure=OnFailed.PARK)) == [
        "operation a, which has failed, is gone: repair it first"
    ]
    assert against(flow, spec(a=work(), b=work(), on_failure=OnFailed.CONTINUE)) == [
        "a has failed, which would end the run: on_failure is continue now; repair it first"
    ]
    both = {"a": work(next={"done": ["a", "b"]}, visits=2), "b": work(visits=2)}
    flow = begun(spec(start="a", **both, on_failure=OnFailed.CONTINUE))
    flow.do("a")
    flow.do("a", "fail")
    assert against(flow, spec(start="a", **both)) == [
        "visit 2 of a has failed, which would end the run: on_failure is cancel now; repair it first"
    ]
    moved(flow, replace(flow.spec, on_failure=OnFailed.PARK))
    assert [one.visit for one in flow.run.incidents] == [2]


def test_visits_are_as_many_as_the_new_form_has():
    flow = begun(spec(start="a", a=work(next={"done": "a"}, visits=3)))
    flow.do("a")
    new = spec(start="a", a=work(next={"fail": "a"}, visits=2))
    moved(flow, new)
    flow = begun(spec(start="a", a=work(next={"done": "a"}, visits=3)))
    flow.do("a")
    flow.do("a")
    assert against(flow, new) == ["a is in visit 3, and may have 2 now"]


def test_waits_have_what_is_kept_for_them_by_the_new_form():
    flow = begun(spec(a=await_signal("go"), b=await_signal("other"), c=work()))
    flow.send("other", named="m2")
    flow.send("other", named="m3", payload=3)
    moved(flow, spec(a=await_signal("other"), b=await_signal("other"), c=work()))
    assert (flow.opened(), flow.run.ops["a"].latest.output) == (["c"], 3)
    flow = begun(spec(a=await_signal("go")))
    assert against(flow, spec(a=await_signal("go", key="k"))) == [
        "operation a, at which it stands, is no wait for a signal any more, but a wait for a signal with a key"
    ]


def test_inputs_have_the_defaults_of_the_new_form():
    flow = begun(spec(a=work()), {})
    text = InputSchema(type=("string",))
    [why] = against(flow, replace(flow.spec, inputs={"n": text}))
    assert why.startswith("its inputs are not what the workflow is given: ")
    moved(flow, replace(flow.spec, inputs={"n": InputSchema(type=("string",), default="x")}))
    assert flow.run.scope["inputs"] == flow.run.inputs == {"n": "x"}
    # One that the next form does not have is of no use to it.
    moved(flow, spec(a=work()), "g3")
    assert flow.run.inputs == {}


def test_what_is_over_stays():
    flow = begun(spec(a=work()))
    flow.cancel()
    with pytest.raises(Refused, match="the run is over: cancelled"):
        flow.move("g2", flow.graph)
    assert flow.run.status is Status.CANCELLED


def test_moves_are_counted_and_the_same_order_is_not_another():
    flow = begun(spec(a=work()))
    assert flow.move("g2", flow.graph, order="n1")
    assert flow.move("g3", flow.graph, order="n1") == []
    for number in range(REPAIRS_MAX - 1):
        flow.move(f"h{number}", flow.graph)
    with pytest.raises(Refused, match="100 is the most"):
        flow.move("g4", flow.graph)


def test_of_many_objections_some_are_told():
    many = spec(**{f"o{number}": work() for number in range(TOLD_MAX + 5)})
    told_ = against(begun(many), spec(a=work()))
    assert (len(told_), told_[-1]) == (TOLD_MAX + 1, "and 5 more")


def test_what_goes_through_items_goes_on_with_them_if_they_are_as_many():
    def packing(given=(1, 2, 3), **more):
        return spec(p=work(foreach=each(list(given), **more)), q=work())

    flow = begun(packing())
    flow.claim("p[]")
    assert stands_at(flow.run) == ("p", "q")
    moved(flow, packing(parallel=3))
    assert sorted(flow.opened()) == ["p", "p[]", "p[]#2", "p[]#3", "q"]
    assert against(flow, packing(range(4))) == [
        "p goes through its items, and max or collect of its foreach are not what they were"
    ]
    assert against(flow, packing(collect=False)) != []
    waits = spec(p=await_signal("go", foreach=each([1, 2, 3])), q=work())
    assert against(flow, waits) == ["an item of p, at which it stands, is no worker any more, but a wait for a signal"]
    assert against(flow, spec(p=work(), q=work())) == [
        "operation p, at which it stands, is no foreach any more, but a worker"
    ]
    assert against(flow, spec(q=work())) == ["operation p, at which it stands, is gone"]
    # What has closed has items that are numbered, too.
    for visit in (1, 2, 3):
        ref, token = (flow.ref("p[]", 1), "t1") if visit == 1 else flow.claim("p[]", visit)
        flow.close(ref, token)
    assert flow.opened() == ["q"]
    assert against(flow, packing(range(4))) == [
        "p has gone through items, which are numbered by the max of its foreach; that is another one now"
    ]
    flow.move("g9", compile_graph(packing(collect=False)))
    assert flow.run.went == {}
    # Fewer may fail now than have.
    flow = begun(packing(tolerate=2, parallel=1))
    flow.do("p[]", "fail")
    flow.move("g2", compile_graph(packing(parallel=1)))
    assert flow.run.status is Status.FAILED


def test_callbacks_have_their_addresses_by_the_new_form():
    called = Operation(wait=Wait(callback=True))
    flow = begun(spec(a=work(), w=called))
    moved(flow, spec(a=work(next={"done": "v"}), w=called, v=called))
    assert flow.run.scope["run"]["callbacks"] == {"w": "w/1", "v": "v/1"}
    assert against(flow, spec(a=work(), w=await_signal("go"))) == [
        "operation w, at which it stands, is no wait for a callback any more, but a wait for a signal"
    ]
