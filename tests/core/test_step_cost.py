"""What a step costs goes by what happens in it, and not by how large the workflow is or how long the run has gone on."""

import sys

from harpoon.core import step
from harpoon.core.dues import next_due_ms
from harpoon.core.event import dump, load
from harpoon.core.fold import fold
from harpoon.core.step import Result
from harpoon.core.visit import Ref
from tests.core.flow import Flow, await_signal, begun, spec, wired, work


def calls(verb, *given):
    """Count the calls that a call makes, those of what is written in C included."""
    count = 0

    def note(_frame, event, _of):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        verb(*given)
    finally:
        sys.setprofile(None)
    return count


def chained(width):
    """So many operations beside one another, and one after each."""
    first = {f"a{n}": work(next={"done": f"b{n}"}) for n in range(width)}
    told = spec(**first, **{f"b{n}": work() for n in range(width)}, w=await_signal("s"))
    return begun(told, graph=wired(told))


def costs(flow):
    run, now_ms = flow.run, flow.now
    ref = Ref("a3", 1, 1)
    return [
        calls(step.claim, run, ref, "t", "w", "s", now_ms),
        calls(step.beat, run, ref, "t", now_ms),
        calls(step.close, run, ref, "t", Result("done"), now_ms),
        calls(step.claim, run, Ref("b3", 1, 1), "u", "w", "s", now_ms),
        calls(step.close, run, Ref("b3", 1, 1), "u", Result("done"), now_ms),
        calls(next_due_ms, run),
    ]


def test_a_step_makes_as_many_calls_in_a_small_workflow_as_in_a_large_one():
    small, large = costs(chained(10)), costs(chained(1000))
    assert small == large
    assert sum(small) < 200


def test_a_step_makes_as_many_calls_after_many_steps():
    flow = begun(spec(start="a", a=work(visits=1000, next={"done": "a", "exhausted": "b"}), b=work()))

    def cost():
        return calls(step.claim, flow.run, flow.ref("a"), "t", "w", "s", flow.now) + calls(
            step.close, flow.run, flow.ref("a"), "t", Result("done"), flow.now
        )

    flow.do("a")
    before = cost()
    for _ in range(900):
        flow.do("a")
    assert min(cost() for _ in range(5)) == before


def test_a_start_makes_calls_in_proportion_to_what_it_opens():
    def cost(width):
        told = spec(**{f"a{n}": work() for n in range(width)})
        flow = Flow(told, graph=wired(told))
        return calls(step.start, flow.run, flow.now)

    assert cost(1000) < 10.5 * cost(100)


def test_a_log_is_folded_at_a_cost_of_its_length():
    def cost(width):
        flow = chained(width)
        for n in range(width):
            flow.do(f"a{n}")
        written = [dump(event) for event in flow.log]
        run = Flow(flow.spec, graph=flow.graph).run

        def read():
            for event in written:
                fold(run, load(event))

        return calls(read)

    assert cost(500) < 10.5 * cost(50)
