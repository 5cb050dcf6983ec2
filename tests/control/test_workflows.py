"""Workflows: what is declared is compiled, kept by its generation, and deleted when no run is on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest

from harpoon.control.beside import compiled, spec_kept
from harpoon.control.generations import Generations, generation_of
from harpoon.control.view import GRAPHS, WORKFLOWS, View
from harpoon.control.workflow_told import bounds_json, changes_json, large_workflow_json
from harpoon.control.workflows import Workflows, drafted
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, Invalid, NotFound, PreconditionFailed
from harpoon.model.job import Metadata
from harpoon.model.shown import Outcome
from harpoon.model.workflow import GraphRecord, WorkflowManifest, WorkflowSpec
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete, Put, Store
from tests.control.stage import Stage
from tests.core.flow import spec, work
from tests.faulty import Fault, FaultyStore

ONE, TWO = spec(a=work()), spec(a=work("other"))


def told(declared: WorkflowSpec, name: str = "refund", **tags: str) -> WorkflowManifest:
    metadata = Metadata(name=name, namespace="shop", tags=tags)
    return WorkflowManifest(apiVersion="harpoon/v1", kind="Workflow", metadata=metadata, spec=declared)


@asynccontextmanager
async def declaring(store: Store) -> AsyncIterator[Workflows]:
    view = View(store, incarnation=1, cluster="c")
    await view.mirror.load()
    following = asyncio.ensure_future(view.mirror.run())
    try:
        yield Workflows(store, view, SystemClock())
    finally:
        following.cancel()
        await asyncio.wait((following,))


async def generations(store: Store) -> list[str]:
    return [e.key.removeprefix(f"{GRAPHS}shop/") async for page in store.list(GRAPHS) for e in page.entries]


async def test_a_workflow_is_created_changed_and_left_alone_when_nothing_changes() -> None:
    store = MemoryStore()
    async with declaring(store) as workflows:
        first = await workflows.put(told(ONE), is_new=True)
        again = await workflows.put(told(ONE))
        tagged = await workflows.put(told(ONE, team="x"))
        second = await workflows.put(told(TWO), if_match=tagged.revision)
        outcomes = [one.outcome for one in (first, again, tagged, second)]
        assert outcomes == [Outcome.CREATED, Outcome.UNCHANGED, Outcome.CHANGED, Outcome.CHANGED]
        assert [one.workflow.version for one in (first, again, tagged, second)] == [1, 1, 2, 3]
        assert first.workflow.generation == tagged.workflow.generation == generation_of(ONE)
        assert second.workflow.generation == generation_of(TWO)
        assert workflows.get("shop", "refund").value == second.workflow
        assert (again.revision, tagged.workflow.created_ms) == (first.revision, first.workflow.created_ms)
        assert await generations(store) == sorted(f"refund/{generation_of(one)}" for one in (ONE, TWO))


async def test_preconditions_are_kept() -> None:
    store = MemoryStore()
    async with declaring(store) as workflows:
        with pytest.raises(PreconditionFailed):
            await workflows.put(told(ONE), if_match=5)
        first = await workflows.put(told(ONE))
        for arguments in ({"is_new": True}, {"if_match": first.revision - 1}):
            with pytest.raises(PreconditionFailed):
                await workflows.put(told(TWO), **arguments)
        with pytest.raises(PreconditionFailed):
            await workflows.delete("shop", "refund", if_match=first.revision - 1)
        await workflows.delete("shop", "refund", if_match=first.revision)
        for ask in (workflows.delete("shop", "refund"), workflows.form("shop", "refund")):
            with pytest.raises(NotFound):
                await ask


async def test_what_another_instance_did_a_moment_ago_is_not_denied() -> None:
    store = FaultyStore()
    async with declaring(store) as one, declaring(store) as other:
        first = await one.put(told(ONE))
        store.hush()
        later = asyncio.ensure_future(other.delete("shop", "refund", if_match=first.revision))
        await asyncio.sleep(0.01)
        store.tell()
        assert await later > first.revision


async def test_a_lost_answer_is_found_out() -> None:
    store = FaultyStore()
    async with declaring(store) as workflows:
        for fault in (Fault.SILENT, Fault.LOST):
            store.fail(fault, prefix=WORKFLOWS)
            declared = await workflows.put(told(ONE, fault=fault.name))
            assert workflows.get("shop", "refund").mod_revision == declared.revision


async def test_a_run_is_started_on_the_present_generation_and_no_other() -> None:
    async with declaring(MemoryStore()) as workflows:
        await workflows.put(told(ONE))
        form = await workflows.form("shop", "refund", generation_of(ONE))
        assert (form.generation, list(form.graph.nodes)) == (generation_of(ONE), ["a"])
        assert (await workflows.form("shop", "refund")).graph is form.graph
        await workflows.put(told(TWO))
        with pytest.raises(PreconditionFailed):
            await workflows.form("shop", "refund", generation_of(ONE))
        graph = await workflows.generations.graph("shop", "refund", generation_of(ONE))
        assert graph.nodes["a"].spec.worker == "w"
        with pytest.raises(NotFound):
            await workflows.generations.graph("shop", "refund", "unknown")


async def test_one_that_is_too_large_is_refused() -> None:
    async with declaring(MemoryStore()) as workflows:
        with pytest.raises(Invalid, match="bytes"):
            await workflows.put(told(spec(a=work(input={"x": "y" * 600_000}))))


async def test_many_operations_are_compiled_beside_the_loop() -> None:
    async with declaring(MemoryStore()) as workflows:
        large = spec(**{f"s{n}": work(next={"done": f"s{n + 1}"} if n < 99 else {}) for n in range(100)})
        await workflows.put(told(large))
        assert len((await workflows.form("shop", "refund")).graph.nodes) == 100


@pytest.mark.parametrize(("count", "is_done"), [(10, True), (10_000, False)])
async def test_one_operation_with_much_in_it_is_compiled_beside_the_loop(count: int, is_done: bool) -> None:
    one = spec(a=work(input=[[number] for number in range(count)]))
    compiling = asyncio.ensure_future(compiled(one))
    await asyncio.sleep(0)
    assert compiling.done() is is_done
    assert len((await compiling).nodes) == 1


@pytest.mark.parametrize(("count", "is_done"), [(2, True), (1_000, False)])
async def test_all_of_a_large_workflow_is_looked_at_beside_the_loop(count: int, is_done: bool) -> None:
    manifest = told(spec(**{f"s{n}": work() for n in range(count)}))
    async with declaring(MemoryStore()) as workflows:
        done = await workflows.put(manifest)
        row, view = workflows.get("shop", "refund"), workflows._view
        graph = await compiled(manifest.spec)
        looking = [
            asyncio.ensure_future(one)
            for one in (
                drafted(row, manifest, 0),
                changes_json(row, manifest),
                bounds_json(view, "shop", "refund", graph),
                large_workflow_json(view, done.workflow, done.revision),
                spec_kept(codec.dump(GraphRecord(namespace="", name="", generation="", spec=manifest.spec, at_ms=0))),
            )
        ]
        await asyncio.sleep(0)
        assert [one.done() for one in looking] == [is_done] * 5
        record, changes, bounds, shown, kept = await asyncio.gather(*looking)
        assert (record is row.value, changes, kept) == (True, b"[]", manifest.spec)
        assert len(orjson.loads(bounds)["operations"]) == len(orjson.loads(shown)["spec"]["operations"]) == count


async def test_a_generation_goes_when_no_run_is_on_it_and_stays_as_long_as_one_is() -> None:
    store = MemoryStore()
    stage = Stage(store, ONE)
    async with declaring(store) as workflows, stage.at_work():
        await workflows.put(told(ONE))
        form = await workflows.form("shop", "refund")
        order, _ = stage.order("r1")
        await stage.conductor.start([(order, form)])
        await workflows.put(told(TWO))
        assert await workflows.generations.sweep(stage.reader) == 0
        kept = sorted(f"refund/{generation_of(one)}" for one in (ONE, TWO))
        assert await generations(store) == kept
        await stage.do("r1", "a")
        # It may be repaired for as long as it is kept.
        assert await workflows.generations.sweep(stage.reader) == 0
        await store.commit((), [Delete(f"{stage.ledger.place.runs}shop/r1")])
        assert await workflows.generations.sweep(stage.reader) == 1
        assert await generations(store) == [f"refund/{generation_of(TWO)}"]
        revision = await store.revision()
        assert await workflows.generations.sweep(stage.reader) == 0
        assert await store.revision() == revision


async def test_a_start_on_its_way_either_is_seen_by_the_sweep_or_fails() -> None:
    store = MemoryStore()
    stage = Stage(store, ONE)
    async with declaring(store) as workflows, stage.at_work():
        await workflows.put(told(ONE))
        form = await workflows.form("shop", "refund")
        await workflows.put(told(TWO))
        # It was marked, and is not deleted yet, when the start comes.
        await workflows.generations._mark(f"shop/refund/{form.generation}")
        order, _ = stage.order("r1")
        [refused] = await stage.conductor.start([(order, form)])
        assert isinstance(refused, Conflict)
        # What is the present one again may be started on again.
        await workflows.put(told(ONE))
        [begun] = await stage.conductor.start([(order, await workflows.form("shop", "refund"))])
        assert begun.is_new
        await workflows.generations.sweep(stage.reader)
        assert await workflows.generations.graph("shop", "refund", form.generation)


@pytest.mark.parametrize("is_marked", [False, True])
async def test_a_generation_that_is_made_the_present_one_while_it_is_swept_stays(is_marked: bool) -> None:
    """Two instances: the one that sweeps has seen nothing yet of what the other declares."""
    store = MemoryStore()
    stage = Stage(store, ONE)
    async with declaring(store) as workflows, stage.at_work():
        await workflows.put(told(ONE))
        await workflows.put(told(TWO))
        if is_marked:
            await workflows.generations._mark(f"shop/refund/{generation_of(ONE)}")
        behind = View(store, incarnation=1, cluster="c")
        await behind.mirror.load()
        await workflows.put(told(ONE))
        assert await Generations(store, behind, SystemClock()).sweep(stage.reader) == 0
        form = await workflows.form("shop", "refund")
        assert (form.generation, f"refund/{form.generation}" in await generations(store)) == (generation_of(ONE), True)
        assert workflows._view.graphs.rows[f"shop/refund/{form.generation}"].value.retired_ms is None


async def test_the_graphs_of_deleted_workflows_go_too() -> None:
    store = MemoryStore()
    stage = Stage(store, ONE)
    async with declaring(store) as workflows, stage.at_work():
        await workflows.put(told(ONE))
        await workflows.delete("shop", "refund")
        await workflows.generations.sweep(stage.reader)
        assert await generations(store) == []


async def test_records_are_read_as_they_were_written() -> None:
    store = MemoryStore()
    async with declaring(store) as workflows:
        declared = await workflows.put(told(ONE))
        entry = await store.get(f"{WORKFLOWS}shop/refund")
        assert entry is not None
        await store.commit((), [Put(entry.key, codec.dump(replace(declared.workflow, version=7)))])
    async with declaring(store) as workflows:
        assert workflows.get("shop", "refund").value == replace(declared.workflow, version=7)
