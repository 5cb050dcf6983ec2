"""A batch as it is written, and the workflow that is made of it."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.batch_manifest import BatchManifest, BatchSpec, pointer_of, workflow_of
from harpoon.model.foreach import Foreach, Together
from harpoon.model.operation import Operation
from harpoon.model.workflow import WorkflowSpec
from tests.workflows import a_batch


def read(**spec: Any) -> BatchSpec:
    return codec.decode(BatchManifest, orjson.dumps(a_batch(**spec))).spec


def test_items_become_those_of_one_operation() -> None:
    told = workflow_of(read(parallel=7, tolerate=2, deadline="10m", collect=True))
    foreach = Foreach(items=("a", "b", "c"), max=3, parallel=7, tolerate=2)
    assert told.operations == {"each": Operation(worker="img.resize", input="${item}", foreach=foreach)}
    assert (told.deadline, told.outputs, told.together) == (
        timedelta(minutes=10),
        {"results": "${ops.each.output}"},
        None,
    )


def test_steps_become_operations_that_go_together() -> None:
    told = workflow_of(read(steps=[{"worker": "a"}, {"worker": "b", "timeout": "1s"}], mode="in_order"))
    assert list(told.operations) == ["step_00000", "step_00001"]
    assert told.operations["step_00001"].worker == "b"
    assert (told.together, told.outputs) == (Together(parallel=1), {})
    collecting = workflow_of(read(steps=[{"worker": "a"}], collect=True))
    assert collecting.outputs == {"results": "${ops.steps.output}"}


def test_there_are_as_many_things_to_do_as_items_or_steps() -> None:
    assert (read().count, read(steps=[{"worker": "a"}] * 2).count) == (3, 2)


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("/spec/operations/each/foreach/items/2", "/spec/items/2"),
        ("/spec/operations/each/input/n", "/spec/each/input/n"),
        ("/spec/operations/step_00012/input", "/spec/steps/12/input"),
        ("/spec/operations/steps", "/spec/steps"),
        ("/spec/deadline", "/spec/deadline"),
    ],
)
def test_a_place_in_the_workflow_is_one_in_the_batch(there: str, here: str) -> None:
    assert pointer_of(there) == here


@pytest.mark.parametrize(
    "field",
    [
        {"needs": ["b"]},
        {"next": {"done": "b"}},
        {"end": "failed"},
        {"visits": 2},
        {"foreach": {"items": [1]}},
        {"choose": [{"else": "x"}], "worker": None},
    ],
)
def test_operations_that_go_together_have_no_edges(field: dict[str, Any]) -> None:
    operations = {"a": codec.decode(Operation, orjson.dumps({"worker": "w"} | field)), "b": Operation(worker="w")}
    with pytest.raises(ValueError, match=r"operations\.a: with together, an operation has no"):
        WorkflowSpec(operations=operations, together=Together())


def test_what_goes_together_is_not_called_back() -> None:
    asked = codec.decode(Operation, b'{"wait": {"callback": true}}')
    with pytest.raises(ValueError, match=r"operations\.a: wait\.callback has no meaning with together"):
        WorkflowSpec(operations={"a": asked}, together=Together())


def test_what_goes_together_has_no_start_and_bounds() -> None:
    with pytest.raises(ValueError, match="start has no meaning with together"):
        WorkflowSpec(operations={"a": Operation(worker="w")}, start="a", together=Together())
    with pytest.raises(ValueError, match="parallel is 1 to 10000"):
        Together(parallel=0)
    with pytest.raises(ValueError, match="tolerate is 0 to 10000"):
        Together(tolerate=-1)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"steps": []}, "a batch has items and each, or steps"),
        ({"steps": [{"worker": "a"}], "items": [1]}, "a batch has items and each, or steps"),
        ({"steps": [{"worker": "a"}], "each": {"worker": "a"}}, "a batch has items and each, or steps"),
        ({"items": [1] * 10_001}, "items holds at most 10000"),
        ({"mode": "in_order", "parallel": 2}, "parallel and tolerate have no meaning with mode in_order"),
        ({"each": {"worker": "a", "end": "failed"}}, "each: end is for a workflow"),
        ({"each": {"wait": {"callback": True}}}, "each: wait.callback is for a workflow; wait for a signal"),
        ({"steps": [{"worker": "a"}, {"worker": "a", "next": {"done": "b"}}]}, r"steps\[1\]: next is for a workflow"),
    ],
)
def test_what_is_no_batch_is_refused(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        read(**spec)
