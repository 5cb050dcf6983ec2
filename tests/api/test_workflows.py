"""Workflows over HTTP: declared, compared, shown with their bounds, refused with all of their flaws, taken away."""

from typing import Any

from harpoon.kit import codec
from harpoon.model.workflow_shown import WorkflowBounds, WorkflowDeclared, WorkflowList, WorkflowObject
from tests.api.rig import Rig, a_rig
from tests.api.runs_rig import WORKFLOWS, a_runs_rig
from tests.api.telling import as_problem
from tests.workflows import REFUND, a_workflow

PATH = f"{WORKFLOWS}/refund"


def changed(**spec: Any) -> dict[str, Any]:
    return {**REFUND, "spec": {**REFUND["spec"], **spec}}


async def put(rig: Rig, manifest: dict[str, Any] = REFUND, query: str = "", **headers: str) -> dict[str, Any]:
    answer = await rig.ask("PUT", PATH + query, manifest, **headers)
    assert answer.status == 200, answer.body
    codec.load(WorkflowDeclared, answer.body)
    return answer.json


async def test_a_workflow_is_declared_changed_and_shown_with_its_bounds() -> None:
    async with a_runs_rig(shards=()) as rig:
        first = await put(rig)
        assert first["outcome"] == "created"
        assert {"pointer": "/spec/deadline", "op": "add", "old": None, "new": "1d"} not in first["changes"]
        assert (await put(rig))["outcome"] == "unchanged"
        second = await put(rig, changed(deadline="2h"))
        assert second["outcome"] == "changed"
        assert second["changes"] == [{"pointer": "/spec/deadline", "op": "replace", "old": "1d", "new": "2h"}]
        answer = await rig.get(PATH)
        codec.load(WorkflowObject, answer.body)
        shown = answer.json
        assert (shown["metadata"]["version"], shown["spec"]["deadline"]) == (2, "2h")
        assert shown["metadata"]["generation"] != first["workflow"]["metadata"]["generation"]
        assert answer.headers["ETag"] == f'"{shown["metadata"]["revision"]}"'
        assert shown["bounds"]["ends_after_ms"]["most"] == 2 * 3_600_000
        assert shown["bounds"]["operations"]["pay_back"]["visits"] <= 4
        assert shown["bounds"] == second["workflow"]["bounds"]


async def test_workflows_are_listed_by_namespace_and_tags() -> None:
    async with a_runs_rig(shards=()) as rig:
        await put(rig)
        other = {**a_workflow(a={"worker": "x"}), "metadata": {"name": "a", "namespace": "shop", "tags": {"t": "1"}}}
        assert (await rig.ask("PUT", "/v1/namespaces/shop/workflows/a", other)).status == 200
        answer = await rig.get("/v1/workflows")
        codec.load(WorkflowList, answer.body)
        assert [one["metadata"]["name"] for one in answer.json["items"]] == ["refund", "a"]
        assert [one["metadata"]["name"] for one in (await rig.get(WORKFLOWS)).json["items"]] == ["refund"]
        tagged = await rig.get("/v1/workflows?tag=t=1")
        assert [one["metadata"]["name"] for one in tagged.json["items"]] == ["a"]


async def test_what_would_come_of_a_manifest_is_told_without_declaring_it() -> None:
    async with a_runs_rig(shards=()) as rig:
        told = await put(rig, REFUND, "?dry_run=true")
        assert (told["outcome"], told["workflow"]["metadata"]["version"]) == ("created", 1)
        assert (await rig.get(PATH)).status == 404
        await put(rig)
        told = await put(rig, changed(on_failure="continue"), "?dry_run=true")
        assert told["outcome"] == "changed"
        assert [one["pointer"] for one in told["changes"]] == ["/spec/on_failure"]
        assert (await put(rig, REFUND, "?dry_run=true"))["outcome"] == "unchanged"
        assert (await rig.get(PATH)).json["spec"]["on_failure"] == "cancel"


async def test_every_flaw_is_told_with_its_place_and_what_would_be_right() -> None:
    async with a_runs_rig(shards=()) as rig:
        bad = a_workflow(
            a={"worker": "x", "next": {"done": "bb"}}, b={"worker": "x", "next": {"done": "b"}}, c={"call": {}}
        )
        told = as_problem(await rig.ask("PUT", PATH, bad), 400, "invalid")
        assert "/spec/operations/c/call/workflow" in [one["pointer"] for one in told["errors"]]
        del bad["spec"]["operations"]["c"]
        bad["metadata"]["name"] = "refund"
        told = as_problem(await rig.ask("PUT", PATH, bad), 400, "invalid")
        assert "/spec/operations/a/next/done" in [one["pointer"] for one in told["errors"]]
        assert (await rig.get(PATH)).status == 404


async def test_what_is_ordered_of_jobs_is_checked_as_far_as_it_is_known() -> None:
    async with a_runs_rig(shards=()) as rig:
        bad = a_workflow(
            a={"task": {"task": {"comand": ["x", "${inputs.order}"]}}},
            b={"job": {"migrate": "web", "set": {"task": {"env": {"N": 1}}}}},
        )
        told = as_problem(await rig.ask("PUT", f"{WORKFLOWS}/{bad['metadata']['name']}", bad), 400, "invalid")
        assert {one["pointer"]: one["detail"].partition(";")[0] for one in told["errors"]} == {
            "/spec/operations/a/task/task/comand": "unknown field 'comand'",
            "/spec/operations/b/job/set/task/env/N": "expected text, got a whole number",
        }


async def test_the_path_and_the_manifest_name_one_workflow() -> None:
    async with a_runs_rig(shards=()) as rig:
        told = as_problem(await rig.ask("PUT", f"{WORKFLOWS}/other", REFUND), 400, "invalid")
        assert [one["pointer"] for one in told["errors"]] == ["/metadata/name"]


async def test_preconditions_hold_or_the_answer_is_412() -> None:
    async with a_runs_rig(shards=()) as rig:
        first = await put(rig, REFUND, If_None_Match="*")
        tag = f'"{first["workflow"]["metadata"]["revision"]}"'
        as_problem(await rig.ask("PUT", PATH, REFUND, If_None_Match="*"), 412, "precondition_failed")
        await put(rig, changed(deadline="2h"), If_Match=tag)
        as_problem(await rig.ask("PUT", PATH, REFUND, If_Match=tag), 412, "precondition_failed")
        both = await rig.ask("PUT", PATH, REFUND, If_Match=tag, If_None_Match="*")
        assert both.status == 400
        as_problem(await rig.ask("DELETE", PATH, If_Match=tag), 412, "precondition_failed")


async def test_a_workflow_is_taken_away() -> None:
    async with a_runs_rig(shards=()) as rig:
        await put(rig)
        assert (await rig.ask("DELETE", PATH)).status == 200
        as_problem(await rig.get(PATH), 404, "not_found")
        as_problem(await rig.ask("DELETE", PATH), 404, "not_found")


async def test_bounds_are_told_of_a_manifest_that_is_not_declared() -> None:
    async with a_runs_rig(shards=()) as rig:
        answer = await rig.ask("POST", "/v1/bounds", REFUND)
        assert answer.status == 200, answer.body
        codec.load(WorkflowBounds, answer.body)
        assert answer.json["operations"]["tell"]["visits"] >= 1
        assert (await rig.get(WORKFLOWS)).json["items"] == []


async def test_where_there_are_no_runs_that_is_said() -> None:
    async with a_rig() as rig:
        for path in (PATH, "/v1/runs", "/v1/namespaces/default/runs/o-1"):
            as_problem(await rig.get(path), 503, "unavailable")
