"""What a workflow calls, directly or not: found, refused where it does not end, and counted in its bounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.core.bounds import ATTEMPTS_MAX, Bounds, Called, bounds, shown
from harpoon.core.calls import CALLED_MAX, call_flaws, calls_of, check_calls, reach
from harpoon.core.graph import compile_graph
from harpoon.kit.errors import Invalid
from harpoon.model.call import Call
from harpoon.model.foreach import Foreach
from harpoon.model.inputs import InputSchema
from harpoon.model.operation import Operation
from harpoon.model.sub_run import DEPTH_MAX
from tests.core.flow import _edges, retry, spec, work


def call(workflow, inputs=None, **fields):
    return Operation(call=Call(workflow=workflow, inputs=inputs or {}), **_edges(fields))


def calling(*names):
    """A workflow that calls these, one after the other."""
    return spec(**{f"o{number}": call(name) for number, name in enumerate(names)}) if names else spec(a=work())


def refusal(name, told, known):
    with pytest.raises(Invalid) as caught:
        reach(name, told, known.get)
    [problem] = caught.value.problems
    return problem.pointer, problem.detail


def test_what_is_called_stands_after_what_it_calls_itself():
    known = {"a": calling("b", "c"), "b": calling("c"), "c": calling(), "d": calling("a")}
    assert list(reach("top", calling("a", "c"), known.get)) == ["c", "b", "a"]
    assert reach("top", calling(), known.get) == {}
    assert {op: one.workflow for op, one in calls_of(known["a"]).items()} == {"o0": "b", "o1": "c"}


def test_what_calls_itself_or_what_there_is_not_is_refused():
    known = {"a": calling("b"), "b": calling("top"), "c": calling("nobody")}
    at = "/spec/operations/o0/call/workflow"
    told = "a workflow does not call itself: top → a → b → top; the chain of calls has to end"
    assert refusal("top", calling("a"), known) == (at, told)
    assert refusal("top", calling("c"), known) == (at, "there is no workflow nobody, which c calls; declare it first")
    assert refusal("top", calling("c", "x"), {"c": calling()}) == (
        "/spec/operations/o1/call/workflow",
        "there is no workflow x; declare it first",
    )


def test_calls_go_so_deep_and_no_deeper():
    known = {f"w{n}": calling(f"w{n + 1}") for n in range(DEPTH_MAX)} | {f"w{DEPTH_MAX}": calling()}
    assert len(reach("top", calling("w1"), known.get)) == DEPTH_MAX
    _, detail = refusal("top", calling("w0"), known)
    assert detail.startswith("calls go at most 8 deep, and top → w0 → ")
    # It was found before, nearer to the top.
    _, detail = refusal("top", calling("w1", "x"), known | {"x": calling("w1")})
    assert detail == "calls go at most 8 deep, and top → x goes on; call less by way of others"


def test_so_many_workflows_are_called_and_no_more():
    known = {f"w{n}": calling() for n in range(CALLED_MAX + 1)}
    assert len(reach("top", calling(*list(known)[:-1]), known.get)) == CALLED_MAX
    _, detail = refusal("top", calling(*known), known)
    assert detail == "with it, 51 workflows are called, all together; 50 is the most"


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefg"), st.lists(st.sampled_from("abcdefg"), max_size=3), max_size=7))
def test_whatever_is_found_ends_and_is_in_order(drawn):
    known = {name: calling(*names) for name, names in drawn.items()}
    try:
        found = reach("top", calling(*known), known.get)
    except Invalid:
        return
    order = list(found)
    for name in order:
        below = [one.workflow for one in calls_of(found[name]).values()]
        assert all(order.index(one) < order.index(name) for one in below)
        assert len(reach(name, found[name], known.get)) < len(found)


def flaws(inputs, taken, **own):
    callee = spec(a=work(), inputs=None)
    object.__setattr__(callee, "inputs", {name: InputSchema(**one) for name, one in taken.items()})
    told = spec(inputs=own, a=call("f", inputs))
    return {
        one.pointer.removeprefix("/spec/operations/a/call/"): one.message for one in call_flaws(told, {"f": callee}.get)
    }


KINDS = {"s": "string", "i": "integer", "n": "number", "b": "boolean", "o": "object", "l": "array"}
TYPES = {name: (kind,) for name, kind in KINDS.items()}


def test_what_is_given_fits_what_is_taken():
    taken = {"size": {"type": ("integer",)}, "name": {"type": ("string",), "maxLength": 3}, "free": {"default": 1}}
    assert flaws({"size": 1, "name": "abc"}, taken) == {}
    assert flaws({"size": "${inputs.i}", "name": "x${inputs.i}", "free": "${inputs}"}, taken, **TYPES) == {}
    assert flaws({"sise": 1, "name": "abcd"}, taken) == {
        "inputs/sise": "workflow f has no input 'sise'; did you mean 'size'?",
        "inputs/name": "it has at most 3 characters; got 4",
        "inputs": "workflow f needs input 'size'; give it",
    }
    assert flaws({"q": "${"}, {}) == {"inputs/q": "workflow f has no input 'q'; it has none"}
    assert flaws({"size": "${nonsense}", "name": "x"}, taken) == {}, "that is told with the workflow itself"


@pytest.mark.parametrize(
    ("kind", "fits"),
    [("string", "s"), ("integer", "i"), ("number", "ni"), ("boolean", "b"), ("object", "o"), ("array", "l")],
)
def test_types_of_expressions_are_known_before_a_run(kind, fits):
    for name in TYPES:
        told = flaws({"x": f"${{inputs.{name}}}"}, {"x": {"type": (kind,)}}, **TYPES)
        assert bool(told) == (name not in fits), name


def test_an_output_may_be_anything():
    callee = spec(a=work(), inputs={"x": ("integer",)})
    told = spec(w=work(next={"done": "a"}), a=call("f", {"x": "${ops.w.output}"}))
    assert check_calls("top", told, {"f": callee}.get) == {"f": callee}
    with pytest.raises(Invalid, match="workflow f needs input 'x'"):
        check_calls("top", spec(a=call("f")), {"f": callee}.get)
    assert list(call_flaws(told, {}.get)) == []


def of(told, **callees):
    return bounds(compile_graph(told), None, callees)


def test_bounds_of_what_is_called_multiply_in():
    once = of(spec(a=work(retry=retry(lost=1))))
    assert (once.attempts, once.calls) == (1, Called(0, 0, 0))
    steady = retry(fail=2, lost=1)
    twice = of(spec(a=call("f", retry=steady)), f=once)
    assert (twice.attempts, twice.calls) == (2 + 2, Called(2, 2, 2 * once.bytes))
    assert twice.bytes - twice.calls.bytes == of(spec(a=call("f", retry=steady))).bytes
    deep = of(spec(start="a", a=call("g", visits=3, retry=steady, next={"done": "a"})), g=twice)
    assert deep.calls == Called(6 * 3, 6 * 4, 6 * twice.bytes)
    assert deep.attempts == 6 + 24
    told = shown(deep)
    assert told["attempts"]["because"].startswith(
        "its 18 sub-runs may have 24; a has up to 3 visits of 2 attempts each"
    )
    assert told["bytes"]["because"].startswith("its 18 sub-runs may store ")


def test_each_item_of_a_list_calls_for_itself():
    once = of(spec(a=work(retry=retry(lost=1))))
    told = of(spec(a=call("f", foreach=Foreach(items="${[1]}", max=5), retry=retry(lost=1), visits=2)), f=once)
    assert told.calls[:2] == (5, 5), "it is visited once"
    callee = spec(a=work(), inputs={"x": ("integer",)})
    fits = spec(a=call("f", {"x": "${item}"}, foreach=Foreach(items="${[1]}", max=5)))
    assert list(call_flaws(fits, {"f": callee}.get)) == []
    wrong = spec(a=call("f", {"x": "${string(index)}"}, foreach=Foreach(items="${[1]}", max=5)))
    assert [one.message for one in call_flaws(wrong, {"f": callee}.get)] == ["the input takes whole; it gives text"]


def test_labels_that_exclude_one_another_are_not_counted_together():
    once = of(spec(a=work(retry=retry(lost=1))))
    only = retry(lost=1)
    told = spec(a=work(next={"done": "b", "fail": "c"}), b=call("f", retry=only), c=call("f", retry=only))
    assert of(told, f=once).calls.runs == 1


def test_in_time_a_call_counts_as_its_timeout():
    assert of(spec(a=call("f", takes=5000, queue_timeout=1000, retry=retry(lost=1)))).ends_after_ms == 6000
    assert compile_graph(spec(a=call("f"))).nodes["a"].pace.timeout_ms == 24 * 3600 * 1000


def huge(**more) -> Bounds:
    told = of(spec(a=work(retry=retry(lost=1))))
    for name, value in more.items():
        object.__setattr__(told, name, value)
    return told


def test_what_is_too_much_with_what_is_called_is_refused():
    many = call("f", retry=retry(lost=1))
    with pytest.raises(Invalid) as caught:
        of(spec(b=work(), a=many), f=huge(attempts=ATTEMPTS_MAX))
    assert caught.value.problems[0].pointer == "/spec/operations/a"
    assert "a alone has 1 visits of 1 attempts, and all 1 sub-runs have 1000000" in str(caught.value)
    with pytest.raises(Invalid) as caught:
        of(spec(b=work(), a=many), f=huge(bytes=16 << 30))
    assert (caught.value.problems[0].pointer, "all 1 sub-runs 16Gi" in str(caught.value)) == (
        "/spec/operations/a",
        True,
    )


def test_a_call_is_written_as_it_is_meant():
    for wrong in (
        {"workflow": "A"},
        {"workflow": "a", "inputs": {"B": 1}},
        {"workflow": "a", "inputs": dict.fromkeys([f"i{n}" for n in range(101)])},
    ):
        with pytest.raises(ValueError, match=r"workflow is|an input's name|at most 100"):
            Call(**wrong)
    assert Call(workflow="a", inputs={"b": 1}).template() == {"b": 1}
