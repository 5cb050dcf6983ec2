"""Workflows, as they are written."""

from typing import Any

import orjson
import pytest

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.workflow import GraphRecord, OnFailed, WorkflowManifest, WorkflowRecord
from tests.workflows import REFUND, a_workflow


def read(document: dict[str, Any]) -> WorkflowManifest:
    return codec.decode(WorkflowManifest, orjson.dumps(document))


def refusal(document: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        read(document)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


def test_the_refund_is_a_workflow() -> None:
    manifest = read(REFUND)
    assert list(manifest.spec.operations) == ["pay_back", "ask_human", "wait_human", "incident", "tell"]
    assert manifest.spec.inputs["order"].maxLength == 64
    assert manifest.spec.operations["pay_back"].retry.timeout.attempts == 2
    assert manifest.spec.on_failure is OnFailed.CANCEL
    again = codec.decode(WorkflowManifest, codec.dump(manifest))
    assert again == manifest
    assert codec.canonical(again.spec) == codec.canonical(manifest.spec)


def test_records_are_read_back_as_they_were_written() -> None:
    spec = read(REFUND).spec
    record = WorkflowRecord(
        namespace="shop",
        name="refund",
        spec=spec,
        generation="g1",
        version=1,
        created_ms=1,
        updated_ms=2,
        tags={"a": "b"},
    )
    assert codec.load(WorkflowRecord, codec.dump(record)) == record
    graph = GraphRecord(namespace="shop", name="refund", generation="g1", spec=spec, at_ms=3)
    assert codec.load(GraphRecord, codec.dump(graph)) == graph


@pytest.mark.parametrize(
    ("spec", "detail"),
    [
        ({"operations": {}}, "operations holds 1 to 10000"),
        ({"operations": {f"a{n}": {"worker": "a"} for n in range(10_001)}}, "operations holds 1 to 10000"),
        ({"operations": {"A": {"worker": "a"}}}, "an operation's name is 1 to 63 of a-z, 0-9 and '_', starting with a letter; got 'A'"),
        ({"operations": {"in": {"worker": "a"}}}, "an operation's name cannot be 'in', which means something else in expressions; call it otherwise"),
        ({"inputs": {"A": {}}}, "an input's name is 1 to 63 of a-z, 0-9 and '_', starting with a letter; got 'A'"),
        ({"outputs": {"A": 1}}, "an output's name is 1 to 63 of a-z, 0-9 and '_', starting with a letter; got 'A'"),
        ({"inputs": {f"a{n}": {} for n in range(101)}}, "inputs and outputs hold at most 100 each"),
        ({"deadline": "366d"}, "deadline is 1s to 365d"),
        ({"inputs": {"a": {}}, "deadline": "1ms"}, "deadline is 1s to 365d"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_workflow_is_named(spec: dict[str, Any], detail: str) -> None:
    document = a_workflow(a={"worker": "a"})
    document["spec"] |= spec
    assert refusal(document) == {"/spec": detail}


def test_schemas_of_inputs_are_not_deeper_than_can_be_read() -> None:
    schema: dict[str, Any] = {}
    for _ in range(16):
        schema = {"items": schema}
    document = a_workflow(a={"worker": "a"})
    document["spec"]["inputs"] = {"a": schema}
    assert refusal(document) == {"/spec": "inputs.a holds more than 16 schemas within each other"}
    document["spec"]["inputs"] = {"a": schema["items"]}
    assert read(document)


def test_an_unknown_field_is_named_with_the_nearest() -> None:
    assert refusal(a_workflow(a={"worker": "a", "nxt": {}})) == {
        "/spec/operations/a/nxt": "unknown field 'nxt'; did you mean 'next'?"
    }
    assert refusal(a_workflow(a={"worker": "a", "retry": {"fial": {"attempts": 1}}})) == {
        "/spec/operations/a/retry/fial": "unknown field 'fial'; did you mean 'fail'?"
    }
