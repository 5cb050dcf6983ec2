"""Plans of workflows and batches over HTTP: what would come of them together, and that nothing comes of asking."""

from typing import Any

from harpoon.kit import codec
from harpoon.model.plan import Plan
from tests.api.rig import Rig, a_manifest
from tests.api.runs_rig import NAMESPACE, Worker, a_runs_rig, declare
from tests.api.telling import as_problem
from tests.workflows import a_batch, a_workflow


def ship(**spec: Any) -> dict[str, Any]:
    """A workflow that is called."""
    told = a_workflow(send={"worker": "shop.send"})
    return told | {"metadata": {"name": "ship"}, "spec": told["spec"] | spec}


def order(**inputs: Any) -> dict[str, Any]:
    """A workflow that calls it."""
    told = a_workflow(pack={"worker": "shop.pack"}, ship={"call": {"workflow": "ship", "inputs": inputs}})
    return told | {"metadata": {"name": "order"}}


async def plan(rig: Rig, *documents: dict[str, Any]) -> Any:
    answer = await rig.ask("POST", "/v1/plan", {"documents": list(documents)})
    assert answer.status == 200, answer.body
    codec.load(Plan, answer.body)
    return answer.json


async def refused(rig: Rig, *documents: dict[str, Any]) -> list[tuple[str, str]]:
    told = as_problem(await rig.ask("POST", "/v1/plan", {"documents": list(documents)}), 400, "invalid")
    return [(one["pointer"], one["detail"]) for one in told["errors"]]


async def test_who_calls_is_judged_by_what_comes_with_it_whatever_the_order() -> None:
    async with a_runs_rig(shards=()) as rig:
        revision = await rig.store.revision()
        told = await plan(rig, order(), a_manifest(scale=1), ship())
        assert [(one["workflow"], one["outcome"]) for one in told["workflows"]] == [
            ("ship", "created"),
            ("order", "created"),
        ]
        assert ([one["job"] for one in told["plans"]], told["batches"], told["has_changes"]) == (["web"], [], True)
        assert await rig.store.revision() == revision
        assert not rig.view.workflows.rows
        assert await refused(rig, order()) == [
            ("/documents/0/spec/operations/ship/call/workflow", "there is no workflow ship; declare it first")
        ]


async def test_where_both_change_the_new_one_is_what_counts() -> None:
    async with a_runs_rig(shards=()) as rig:
        await declare(rig, ship())
        await declare(rig, order())
        assert (await plan(rig, order(), ship()))["has_changes"] is False
        needy = ship(inputs={"order": {"type": "string"}})
        told = await plan(rig, order(order="o-1"), needy)
        assert [(one["workflow"], one["outcome"]) for one in told["workflows"]] == [
            ("ship", "changed"),
            ("order", "changed"),
        ]
        detail = "workflow ship needs input 'order'; give it"
        assert await refused(rig, order(), needy) == [("/documents/0/spec/operations/ship/call/inputs", detail)]
        wrong = await refused(rig, needy, order(order=3))
        assert [pointer for pointer, _ in wrong] == ["/documents/1/spec/operations/ship/call/inputs/order"]


async def test_who_calls_it_and_is_changed_only_after_it_may_be_in_its_way_as_when_it_is_applied() -> None:
    async with a_runs_rig(shards=()) as rig:
        often = a_workflow(call={"call": {"workflow": "ship"}, "visits": 1000, "next": {"done": "call"}})
        often = {**often, "metadata": {"name": "order"}, "spec": {**often["spec"], "start": "call"}}
        await declare(rig, ship())
        await declare(rig, often)
        steps = {"send": {"choose": [{"else": "again"}], "visits": 900, "next": {"again": "send"}}}
        large = ship(operations=steps, start="send")
        [(pointer, detail)] = await refused(rig, order(), large)
        assert pointer == "/documents/1"
        assert detail.startswith("workflow order calls it, and would not stand any more: ")


async def test_those_that_call_each_other_are_declared_twice_or_are_too_many_are_refused() -> None:
    async with a_runs_rig(shards=()) as rig:
        back = ship(operations={"send": {"call": {"workflow": "order"}}})
        [(pointer, detail)] = await refused(rig, order(), back)
        assert pointer == "/documents/1/spec/operations/send/call/workflow"
        assert detail.startswith("a workflow does not call itself: ship → order → ship")
        assert await refused(rig, ship(), a_manifest(), ship()) == [
            ("/documents/2/metadata/name", "workflow default/ship is declared twice; keep one")
        ]
        assert await refused(rig, a_batch(), a_batch(), ship()) == [
            ("/documents/1/metadata/name", "batch default/resize is declared twice; keep one")
        ]
        many = [{**ship(), "metadata": {"name": f"w{number}"}} for number in range(201)]
        told = as_problem(await rig.ask("POST", "/v1/plan", {"documents": many}), 400, "invalid")
        assert told["detail"] == "at most 200 workflows are planned at once; got 201"


async def test_a_batch_says_what_it_would_start_and_what_that_comes_to_at_most() -> None:
    async with a_runs_rig() as rig:
        [told] = (await plan(rig, a_batch(parallel=2, tolerate=1, deadline="10m")))["batches"]
        counts = {"items": 3, "steps": 0, "mode": "parallel", "parallel": 2, "tolerate": 1, "deadline_ms": 600_000}
        # The operation itself, and for each item one that is not lost and four that are.
        bounds = {"attempts": 1 + 3 * 5, "ends_after_ms": 600_000, "bytes": told["bytes"]}
        named = {"namespace": "default", "batch": "resize", "action": "start", "refusal": None, "status": None}
        assert told == named | counts | bounds
        assert (await rig.get(f"{NAMESPACE}/batches/resize")).status == 404
        steps = a_batch("move", mode="in_order", steps=[{"worker": "db.drain"}, {"worker": "db.move"}])
        [told] = (await plan(rig, steps))["batches"]
        assert (told["items"], told["steps"], told["mode"], told["parallel"]) == (0, 2, "in_order", 1)


async def test_a_batch_is_started_once_and_its_name_is_its_own() -> None:
    async with a_runs_rig() as rig:
        assert (await rig.ask("POST", f"{NAMESPACE}/batches", a_batch())).status == 201
        answer = await plan(rig, a_batch())
        [told] = answer["batches"]
        assert (told["action"], told["status"], answer["has_changes"]) == ("unchanged", "running", False)
        worker = Worker(rig, "img.resize")
        for _ in range(3):
            await worker.close(await worker.claim())
        [told] = (await plan(rig, a_batch()))["batches"]
        assert (told["action"], told["status"]) == ("unchanged", "succeeded")
        [told] = (await plan(rig, a_batch(items=["a"])))["batches"]
        assert (told["action"], told["refusal"]) == (
            "refuse",
            "something else was started under the name resize before; give this batch another metadata.name",
        )


async def test_a_batch_may_call_what_comes_with_it_and_is_refused_at_its_place() -> None:
    async with a_runs_rig() as rig:
        calling = a_batch(each={"call": {"workflow": "ship"}})
        [told] = (await plan(rig, calling, ship()))["batches"]
        assert (told["action"], told["attempts"]) == ("start", 1 + 3 * 5 * (1 + 5))
        [(pointer, detail)] = await refused(rig, a_manifest(), calling)
        assert (pointer, detail) == (
            "/documents/1/spec/each/call/workflow",
            "there is no workflow ship; declare it first",
        )
        assert await refused(rig, a_batch("export")) == [
            ("/documents/0/metadata/name", "no batch is called export; make another name")
        ]


async def test_what_is_wrong_with_a_document_is_told_of_the_kind_that_it_says() -> None:
    async with a_runs_rig(shards=()) as rig:
        told = await refused(rig, a_manifest(), ship(deadlin="1h"))
        assert told == [("/documents/1/spec/deadlin", "unknown field 'deadlin'; did you mean 'deadline'?")]
        told = await refused(rig, ship(), a_batch(paralel=3))
        assert told == [("/documents/1/spec/paralel", "unknown field 'paralel'; did you mean 'parallel'?")]
        told = await refused(rig, ship(), a_manifest(comand=["x"]))
        assert told[0][0] == "/documents/1/spec/task/comand"
        # Jobs are judged together, and told at their places among all documents.
        told = await refused(rig, ship(), a_manifest(), order(), a_manifest())
        assert told[0][0] == "/documents/3/metadata/name"
