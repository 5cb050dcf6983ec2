"""What is wrong with workflows, in the very words in which it is told."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harpoon.core.flaws import FLAWS_MAX, flaws
from harpoon.core.graph import compile_graph
from harpoon.core.graph_flaws import way
from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.workflow import WorkflowManifest, WorkflowSpec
from tests.core.graphs import spec, specs
from tests.workflows import REFUND, SEVEN

OFTEN = "say how often at most, such as visits: 2 (up to 1000)"


def told(start: str | None = None, **operations: Any) -> dict[str, str]:
    """Return the flaws of a workflow of these operations."""
    found = flaws(spec(start, **operations))
    assert len({flaw.pointer for flaw in found}) == len(found)
    return {flaw.pointer.removeprefix("/spec/operations"): flaw.message for flaw in found}


def read(document: dict[str, Any]) -> WorkflowSpec:
    data = orjson.dumps(document)
    return codec.decode(WorkflowManifest, data).spec


@pytest.mark.parametrize("document", [REFUND, SEVEN], ids=["refund", "seven"])
def test_a_workflow_without_flaws_has_none(document: dict[str, Any]) -> None:
    assert flaws(read(document)) == ()


@pytest.mark.parametrize("name", ["pay_back", "ask_human", "wait_human"])
def test_an_operation_of_a_cycle_says_how_often_it_fires(name: str) -> None:
    document = orjson.loads(orjson.dumps(REFUND))
    del document["spec"]["operations"][name]["visits"]
    [flaw] = flaws(read(document))
    assert flaw.pointer == f"/spec/operations/{name}/visits"
    rounds = {
        "pay_back": "pay_back → ask_human → wait_human → pay_back",
        "ask_human": "ask_human → wait_human → ask_human",
        "wait_human": "wait_human → ask_human → wait_human",
    }
    assert flaw.message == f"it may fire again and again, {rounds[name]}; {OFTEN}"


def test_without_a_start_nothing_begins_where_everything_waits() -> None:
    document = orjson.loads(orjson.dumps(REFUND))
    del document["spec"]["start"]
    assert [tuple(flaw) for flaw in flaws(read(document))] == [
        ("/spec/start", "every operation waits for another; say which a run begins with, such as pay_back")
    ]


@pytest.mark.parametrize(
    ("operations", "pointer", "message"),
    [
        ({"ask": {"next": {"done": "tel"}}, "tell": {}}, "/ask/next/done", "there is no operation 'tel'; did you mean 'tell'?"),
        ({"ask": {"next": {"done": ["tell", "asc"]}, "visits": 2}, "tell": {"visits": 2}, "a": {"next": {"done": "ask"}}}, "/ask/next/done/1", "there is no operation 'asc'; did you mean 'ask'?"),
        ({"ask": {}, "tell": {"needs": ["ask", "zzz.done"]}}, "/tell/needs/1", "there is no operation 'zzz'; there is ask, tell"),
        ({f"op{n}x": {} for n in range(13)} | {"b": {"needs": ["zzz"]}}, "/b/needs/0", "there is no operation 'zzz'; see how it is spelled"),
        ({"ask": {}, "tell": {"needs": ["ask.approved"]}}, "/tell/needs/0", "ask is never closed as approved; it gives done, exhausted, fail, lost, timeout; declare it there: labels: [approved]"),
        ({"ask": {"wait": {"signal": "s"}}, "tell": {"needs": ["ask.approved"]}}, "/tell/needs/0", "ask is never closed as approved; it gives done, exhausted, fail, timeout; declare it there: labels: [approved]"),
        ({"ask": {"wait": {"for": "1m"}}, "tell": {"needs": ["ask.fail"]}}, "/tell/needs/0", "ask is never closed as fail; it gives done, exhausted"),
        ({"ask": {"wait": {"until": "${run.started}"}, "next": {"approved": "tell"}}, "tell": {}}, "/ask/next/approved", "ask is never closed as approved; it gives done, exhausted, fail, timeout"),
        ({"pick": {"choose": [{"when": "${true}", "label": "big"}, {"else": "small"}], "next": {"huge": "tell"}}, "tell": {}}, "/pick/next/huge", "pick is never closed as huge; it gives big, exhausted, fail, small"),
        ({"ask": {"wait": {"signal": "s"}}, "tell": {"needs": ["ask.lost"]}}, "/tell/needs/0", "ask is never closed as lost; it gives done, exhausted, fail, timeout"),
        ({"ask": {"next": {"cancelled": "tell"}}, "tell": {}}, "/ask/next/cancelled", "no edge follows on cancelled: it is over then; leave it out"),
        ({"ask": {}, "tell": {"needs": ["ask.cancelled"]}}, "/tell/needs/0", "no edge follows on cancelled: it is over then; leave it out"),
        ({"a": {"needs": ["a"]}, "b": {}}, "/a", "it can never open, for it waits for itself: a → a"),
        ({"s": {}, "a": {"needs": ["s", "b"]}, "b": {"needs": ["a"]}, "c": {"needs": ["b"]}}, "/a", "it can never open, for it waits for itself: a → b → a"),
        ({"s": {"next": {"done": ["a", "b"]}}, "a": {"next": {"done": "c"}}, "b": {"next": {"done": "c"}}, "c": {}}, "/c/visits", f"it may fire more often than once, on a.done and on b.done, which may both occur; join them in its needs, or {OFTEN}"),
        ({"s": {"next": {"done": "a"}}, "a": {"needs": ["s"]}}, "/a/visits", f"it fires twice on s.done, which leads to it twice; leave one out, or {OFTEN}"),
        ({"s": {"next": {"done": ["a", "b"]}}, "a": {"next": {"done": "b"}}, "b": {"visits": 2}, "c": {"needs": ["b.fail"]}}, "/c/visits", f"it may fire more often than once, for b.fail may occur more often; {OFTEN}"),
        ({"ask": {"labels": ["x"]}, "b": {"needs": ["ask.x", "ask.fail"]}}, "/b/needs", "it can never be met: ask is never closed as x and as fail in one run; for either of them, write an edge in the next of each"),
        ({"a": {"next": {"done": "b", "fail": "c"}}, "b": {}, "c": {}, "d": {"needs": ["b", "c"]}}, "/d/needs", "it can never be met: b.done and c.done exclude one another; for either of them, write an edge in the next of each"),
        ({"a": {"visits": 2, "next": {"done": "b", "exhausted": "b"}}, "b": {"visits": 2, "next": {"exhausted": "a"}}, "s": {"next": {"done": "a"}}}, "/a", "once it is exhausted the run would go round for ever, a → b → a; let exhausted lead out of there"),
        ({"s": {"next": {"done": "a"}}, "a": {"visits": 2, "next": {"exhausted": "a"}}}, "/a", "once it is exhausted the run would go round for ever, a → a; let exhausted lead out of there"),
        ({"a": {"input": {"x": ["${ops.b.output}", "${ops.tel.output}"]}}, "b": {}, "tell": {}}, "/a/input/x/1", "${ops.tel.output}: ops has no operation 'tel'; did you mean 'tell'?"),
        ({"a": {"input": "${inputs.order}"}}, "/a/input", "${inputs.order}: inputs has no input 'order'; known here: none"),
        ({"a": {"choose": [{"when": "${1}", "label": "x"}]}}, "/a/choose/0/when", "it must give true or false; it gives whole"),
        ({"a": {"choose": [{"when": "inputs.n > 2", "label": "x"}]}}, "/a/choose/0/when", "it must give true or false; it gives text; an expression stands within ${…}"),
        ({"a": {"wait": {"until": "run.started"}}}, "/a/wait/until", "until came to a text that is no moment; write it like 2026-01-31T12:00:00Z; an expression stands within ${…}"),
        ({"a": {"wait": {"until": "2026-01-31T12:00:00"}}}, "/a/wait/until", "until came to a moment without an offset from UTC; write it like 2026-01-31T12:00:00Z; an expression stands within ${…}"),
        ({"a": {"wait": {"signal": "s", "key": "${ops.}"}}}, "/a/wait/key", None),
        ({"a": {"wait": {"signal": "s", "key": "${[1]}"}}}, "/a/wait/key", "it must give text or a whole number; it gives list"),
        ({"a": {"concurrency": {"key": "${true}", "limit": 1}}}, "/a/concurrency/key", "it must give text or a whole number; it gives boolean"),
        ({"a": {"wait": {"until": "${2.5}"}}}, "/a/wait/until", "it must give a moment or a text such as 2026-01-31T12:00:00Z or UTC milliseconds; it gives number"),
        ({"a": {"wait": {"until": "${ops.b.label}"}}}, "/a/wait/until", "${ops.b.label}: ops has no operation 'b'; known here: a"),
        ({"a": {"concurrency": {"key": "${ops.b.label}", "limit": 1}}}, "/a/concurrency/key", "${ops.b.label}: ops has no operation 'b'; known here: a"),
    ],
)  # fmt: skip
def test_a_flaw_is_named_with_what_would_be_right(
    operations: dict[str, Any], pointer: str, message: str | None
) -> None:
    found = told(**operations)
    assert list(found) == [pointer]
    assert message is None or found[pointer] == message


@pytest.mark.parametrize(
    ("start", "operations", "found"),
    [
        ("tel", {"tell": {}}, {"/spec/start": "there is no operation 'tel'; did you mean 'tell'?"}),
        ("zzz", {"tell": {}}, {"/spec/start": "there is no operation 'zzz'; there is tell"}),
        (
            "a",
            {"a": {}, "b": {"next": {"done": "c"}}, "c": {}},
            {"/b": "nothing leads to it, and the run begins with a; name it in the next of another operation, or give it needs"},
        ),
        ("a", {"a": {}, "b": {"next": {"done": "c"}}, "c": {"next": {"done": "b"}}}, {"/b": "it can never open, for it waits for itself: b → c → b"}),
        (
            "a",
            {"a": {"next": {"done": "c"}}, "b": {}, "c": {"needs": ["a", "b"]}},
            {
                "/b": "nothing leads to it, and the run begins with a; name it in the next of another operation, or give it needs",
                "/c/needs/1": "b.done never occurs, for b can never open; so these needs are never met",
            },
        ),
        (
            "b",
            {"a": {"next": {"done": "b"}}, "b": {"next": {"done": "a"}}},
            {
                "/a/visits": f"it may fire again and again, a → b → a; {OFTEN}",
                "/b/visits": f"it may fire again and again, b → a → b; {OFTEN}",
            },
        ),
    ],
)  # fmt: skip
def test_a_start_decides_what_can_be_reached(start: str, operations: dict[str, Any], found: dict[str, str]) -> None:
    assert told(start, **operations) == found


def test_everything_is_told_at_once_and_what_only_follows_is_not() -> None:
    found = told(
        a={"next": {"done": "bb", "fail": "c"}, "input": "${ops.x.label}"},
        b={"next": {"done": ["c", "d"]}},
        c={"next": {"done": "c"}},
        d={"needs": ["zzz"]},
        e={"needs": ["d"]},
    )
    assert list(found) == ["/a/next/done", "/d/needs/0", "/a/input", "/c/visits"]


def test_no_more_is_told_than_anybody_reads() -> None:
    loop = {f"a{n}": {"next": {"done": f"a{n}"}} for n in range(99)}
    assert len(flaws(spec("a1", **loop))) == FLAWS_MAX
    assert len(flaws(spec(None, **{f"a{n}": {"next": {"done": f"b{n}x"}} for n in range(99)}))) == FLAWS_MAX


def test_an_invalid_workflow_is_refused_with_all_of_it() -> None:
    with pytest.raises(
        Invalid, match=r"^/spec/operations/a/next/done: there is no operation 'c'; .* \(and 1 more\)$"
    ) as caught:
        compile_graph(spec(a={"next": {"done": "c", "fail": "d"}}))
    assert [problem.pointer for problem in caught.value.problems] == [
        "/spec/operations/a/next/done",
        "/spec/operations/a/next/fail",
    ]
    with pytest.raises(Invalid, match=r"there is a$"):
        compile_graph(spec(a={"next": {"done": "c"}}))


def test_a_long_way_is_cut() -> None:
    names = [f"a{n}" for n in range(20)]
    assert way(names[:12]) == " → ".join(names[:12])
    assert way(names) == "a0 → a1 → a2 → a3 → a4 → a5 → a6 → a7 → (9 more) → a17 → a18 → a19"


def test_of_many_names_the_one_that_is_a_slip_away_is_meant() -> None:
    operations = {f"operation_{n}": {} for n in range(600)}
    for wrong in ("operation_77x", "opertion_77", "opeartion_77", "operbtion_77"):
        [flaw] = flaws(spec(None, **operations, last={"needs": [wrong]}))
        assert flaw.message == f"there is no operation {wrong!r}; did you mean 'operation_77'?"
    [flaw] = flaws(spec(None, **operations, last={"needs": ["oprtn_77"]}))
    assert flaw.message == "there is no operation 'oprtn_77'; see how it is spelled"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(specs())
def test_what_has_no_flaws_compiles_and_everything_in_it_can_be_reached(drawn: WorkflowSpec) -> None:
    found = flaws(drawn)
    if found:
        with pytest.raises(Invalid) as caught:
            compile_graph(drawn)
        assert [(one.pointer, one.detail) for one in caught.value.problems] == [tuple(flaw) for flaw in found]
        return
    graph = compile_graph(drawn)
    reached, ahead = set(graph.starts), list(graph.starts)
    while ahead:
        following = {trigger.op for edge in graph.nodes[ahead.pop()].edges.values() for trigger in edge} - reached
        reached |= following
        ahead += sorted(following)
    assert reached == set(drawn.operations)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 9999) | st.text("ab.{}$ ", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["worker", "wait", "choose", "input", "needs", "next", "labels", "visits", "end", "concurrency", "timeout", "task"]
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "worker": st.just("w"),
    "wait": st.sampled_from([{"signal": "s"}, {"for": "1m"}, {"until": "${run.started}"}]),
    "needs": st.lists(st.sampled_from(["a", "b.fail", "c.x", "d"]), max_size=3),
    "next": st.dictionaries(
        st.sampled_from(["done", "fail", "x", "lost"]), st.sampled_from(["a", "b", "c"]), max_size=2
    ),
    "input": st.sampled_from(["${inputs.a}", "${ops.b.label}", "${1 + }", "$${x}", {"a": "${ops.zz}"}]),
}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    operations = {}
    for name in draw(st.lists(st.sampled_from(["a", "b", "c", "in", "A"]), max_size=4, unique=True)):
        fields = draw(st.lists(FIELDS, max_size=4, unique=True))
        operations[name] = {field: draw(LIKELY.get(field, ANYTHING) | ANYTHING) for field in fields}
        operations[name].setdefault("worker", "w") if draw(st.booleans()) else None
    manifest = {
        "apiVersion": "harpoon/v1",
        "kind": "Workflow",
        "metadata": {"name": "x"},
        "spec": {"operations": operations},
    }
    for field in draw(st.lists(st.sampled_from(["inputs", "outputs", "start", "deadline"]), max_size=2, unique=True)):
        manifest["spec"][field] = draw(ANYTHING)
    return manifest


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_whatever_is_declared_is_compiled_or_invalid(document: dict[str, Any]) -> None:
    try:
        compile_graph(read(document))
    except Invalid as refused:
        assert refused.problems


def layers(width: int, depth: int) -> dict[str, Any]:
    def op(layer: int, at: int) -> dict[str, Any]:
        before = [f"op_{layer - 1}_{(at + shift) % width}" for shift in range(3)] if layer else []
        return {"worker": "a.b", "input": {"order": "${inputs.order}"}, "needs": before}

    return {f"op_{layer}_{at}": op(layer, at) for layer in range(depth) for at in range(width)}


def chain(length: int) -> dict[str, Any]:
    return {
        f"op_{n}": {"worker": "a.b", "next": {"done": f"op_{n + 1}"} if n + 1 < length else {}} for n in range(length)
    }


def fan(width: int) -> dict[str, Any]:
    names = [f"op_{n}" for n in range(width)]
    ways = {name: {"worker": "a.b", "input": {"order": "${inputs.order}"}} for name in names}
    return {"first": {"worker": "a.b", "next": {"done": names}}, **ways, "last": {"worker": "a.b", "needs": names}}


@pytest.mark.parametrize("operations", [chain(10_000), fan(9_998), layers(100, 100)], ids=["chain", "fan", "layers"])
def test_ten_thousand_operations_are_read_and_compiled_in_time(operations: dict[str, Any]) -> None:
    document = {"apiVersion": "harpoon/v1", "kind": "Workflow", "metadata": {"name": "x"}}
    told = {"inputs": {"order": {"type": "string"}}, "operations": operations}
    manifest = read(document | {"spec": told})
    before = time.process_time()
    graph = compile_graph(manifest)
    assert time.process_time() - before < 5
    assert len(graph.nodes) == 10_000
