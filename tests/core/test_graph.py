"""Graphs, compiled."""

from typing import Any

import orjson

from harpoon.core.graph import Graph, Kind, Trigger, compile_graph
from harpoon.kit import codec
from harpoon.model.label import Member
from harpoon.model.workflow import WorkflowManifest
from tests.core.graphs import spec
from tests.workflows import REFUND, SEVEN


def compiled(document: dict[str, Any]) -> Graph:
    return compile_graph(codec.decode(WorkflowManifest, orjson.dumps(document)).spec)


def test_the_graph_of_seven() -> None:
    graph = compiled(SEVEN)
    assert graph.starts == ("a", "b")
    assert list(graph.nodes) == ["a", "b", "c", "d", "e", "f", "g"]
    assert [(one.op, [str(member) for member in one.members]) for one in graph.triggers] == [
        ("c", ["a.done"]),
        ("d", ["a.done", "b.done"]),
        ("e", ["c.done", "d.done"]),
        ("f", ["b.done"]),
        ("g", ["e.done", "f.done"]),
    ]
    assert [one.op for one in graph.nodes["a"].edges["done"]] == ["c", "d"]
    assert [one.op for one in graph.nodes["b"].edges["done"]] == ["d", "f"]
    assert graph.nodes["g"].triggers == (Trigger(4, "g", (Member("e", "done"), Member("f", "done"))),)
    assert graph.nodes["g"].edges == {}
    assert graph.outputs is None


def test_the_refund() -> None:
    graph = compiled(REFUND)
    assert graph.starts == ("pay_back",)
    assert [one.index for one in graph.triggers] == list(range(8))
    edges = {
        (name, label): [one.op for one in triggers]
        for name, node in graph.nodes.items()
        for label, triggers in node.edges.items()
    }
    assert edges == {
        ("pay_back", "done"): ["tell"],
        ("pay_back", "fail"): ["ask_human"],
        ("pay_back", "timeout"): ["ask_human"],
        ("ask_human", "done"): ["wait_human"],
        ("ask_human", "exhausted"): ["incident"],
        ("wait_human", "approved"): ["pay_back"],
        ("wait_human", "rejected"): ["tell"],
        ("wait_human", "timeout"): ["ask_human"],
    }
    assert graph.nodes["pay_back"].kind is Kind.WORKER
    assert graph.nodes["wait_human"].kind is Kind.WAIT
    assert graph.nodes["wait_human"].offered == {"approved", "rejected", "done", "fail"}
    assert graph.nodes["ask_human"].offered == {"done", "fail"}
    scope = {
        "inputs": {"order": "o1", "amount": 5.0},
        "ops": {"pay_back": {"output": {"id": 7}, "label": "done", "visits": 1}},
    }
    given = graph.nodes["pay_back"].input
    assert given is not None
    assert given.value(scope) == {"order": "o1", "amount": 5.0}
    assert graph.outputs is not None
    assert graph.outputs.value(scope) == {"refund": 7}
    assert graph.outputs.value({**scope, "ops": {}}) == {"refund": None}


def test_what_else_is_compiled() -> None:
    graph = compile_graph(
        spec(
            pick={"choose": [{"when": "${run.id == 'a'}", "label": "big"}, {"else": "small"}], "next": {"big": "sig", "small": ["at", "w"]}},
            sig={"wait": {"signal": "paid", "key": "${run.id}"}},
            at={"wait": {"until": "${run.started}"}},
            w={"worker": "w", "concurrency": {"key": "k-${run.id}", "limit": 1}},
        )
    )  # fmt: skip
    scope = {"inputs": {}, "ops": {}, "run": {"id": "a", "started_ms": 0}}
    pick, sig, at, w = graph.nodes.values()
    assert pick.kind is Kind.CHOOSE
    assert [choice.label for choice in pick.choices] == ["big", "small"]
    assert pick.choices[0].when is not None
    assert pick.choices[0].when.value(scope) is True
    assert pick.choices[1].when is None
    assert pick.offered == {"big", "small"}
    assert sig.key is not None
    assert sig.key.value(scope) == "a"
    assert at.until is not None
    assert at.offered == {"done"}
    assert w.key is not None
    assert w.key.value(scope) == "k-a"
    assert w.input is None
    assert (sig.choices, sig.until, at.key) == ((), None, None)


def test_triggers_have_their_numbers_whatever_the_order_of_the_manifest() -> None:
    operations = {
        "c": {"next": {"fail": "b", "done": ["a", "d"]}},
        "b": {},
        "a": {"needs": ["c", "d"], "visits": 2},
        "d": {"needs": ["c.timeout"], "visits": 2},
    }
    turned = {
        name: {field: operations[name][field] for field in reversed(operations[name])} for name in reversed(operations)
    }
    turned["c"]["next"] = dict(reversed(operations["c"]["next"].items()))
    one, other = compile_graph(spec(**operations)), compile_graph(spec(**turned))
    assert one.triggers == other.triggers
    assert codec.canonical(one.spec) == codec.canonical(other.spec)
    assert [trigger.op for trigger in one.triggers] == ["a", "a", "d", "b", "d"]


def test_needs_of_one_and_an_edge_are_one_trigger_each() -> None:
    graph = compile_graph(spec(a={}, b={"needs": ["a"]}))
    other = compile_graph(spec(a={"next": {"done": "b"}}, b={}))
    assert graph.triggers == other.triggers == (Trigger(0, "b", (Member("a", "done"),)),)
