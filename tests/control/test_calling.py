"""Sub-runs where they are conducted: kept with what called them, found again, and cancelled when nobody waits for them."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from harpoon.control.calling import Calls
from harpoon.control.connecting import Connecting
from harpoon.control.ledger_records import run_key, shard_of
from harpoon.control.metrics import Metrics
from harpoon.control.orders import Form
from harpoon.control.retention import Budget, Retention
from harpoon.control.view import View
from harpoon.control.work_floor import Nobody
from harpoon.control.workflows import Workflows
from harpoon.core.graph import compile_graph
from harpoon.core.step import Signal
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, Invalid, NotFound
from harpoon.model.job import Metadata
from harpoon.model.sub_run import Caller, sub_run_id
from harpoon.model.workflow import WorkflowManifest, WorkflowSpec
from harpoon.store.memory import MemoryStore
from tests.control.crewing import Site
from tests.control.stage import SHARD
from tests.core.flow import await_signal, choose, retry, spec
from tests.core.test_calls import call

#: It calls one that calls another, which waits for somebody.
OUTER = spec(a=call("middle", retry=retry(lost=1)), outputs={"told": "${ops.a.output}"})
MIDDLE = spec(a=call("inner", retry=retry(lost=1)), outputs={"told": "${ops.a.output}"})
INNER = spec(a=await_signal("go", labels=["no"]), outputs={"told": "${ops.a.output}"})
SPECS = {"middle": MIDDLE, "inner": INNER}


class Kept:
    """Workflows of which each has one generation."""

    def __init__(self, specs: dict[str, WorkflowSpec]) -> None:
        self.graphs = {name: compile_graph(one) for name, one in specs.items()}

    async def graph(self, _namespace: str, name: str, generation: str) -> Any:
        assert generation == f"g-{name}"
        return self.graphs[name]


class Found:
    """The one conductor of the stage."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def reader(self) -> Any:
        return self._site.stage.reader

    def conductor_of(self, key: str) -> Any:
        return self._site.conductor_of(key)

    async def awaited(self, key: str, _within_s: float) -> Any:
        await asyncio.sleep(0)
        return self.conductor_of(key)


class Yard:
    """A shard with its conductor and a crew that carries out calls."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self.site = Site(store, OUTER, (), name)
        self.calls = Calls(Found(self.site), Kept(SPECS))  # type: ignore[arg-type]
        self.site.crew = Connecting(self.site.exchange, self.site.conductor_of, name, (self.calls,))
        self.stage = self.site.stage
        stage = self.stage
        stage_graph = stage._graph

        async def graph_of(namespace: str, workflow: str, generation: str) -> Any:
            if workflow in SPECS:
                return self.calls._workflows.graph and compile_graph(SPECS[workflow])
            return await stage_graph(namespace, workflow, generation)

        stage._graph = graph_of

    async def start(self, run: str) -> None:
        order, form = self.stage.order(run)
        forms = {name: f"g-{name}" for name in SPECS}
        await self.stage.conductor.start([(order, Form(form.generation, form.graph, form.kept, forms))])

    def open(self) -> list[str]:
        return sorted(key.partition("/")[2] for key in self.stage.conductor.runs)


@asynccontextmanager
async def a_yard(store: MemoryStore | None = None, hold: Any = None, name: str = "me"):
    yard = Yard(store or MemoryStore(), name)
    site = yard.site
    working = asyncio.ensure_future(site.crew.run())
    try:
        async with site.stage.at_work(hold):
            site.stage.conductor.ends = yard.calls
            yard.calls.adopted(site.stage.conductor)
            yield yard
            working.cancel()
            await asyncio.wait((working,))
    finally:
        working.cancel()
        await asyncio.wait((working,))
        if not working.cancelled():
            working.result()


#: Ids of runs that live in the shard.
ONE, TWO, THREE = [f"r{n}" for n in range(1000) if shard_of(f"shop/r{n}") == SHARD][:3]
FAMILY = [ONE, f"{ONE}~a.1", f"{ONE}~a.1~a.1"]


async def test_a_family_is_conducted_together_and_ends_from_within() -> None:
    async with a_yard() as yard:
        await yard.start(ONE)
        await yard.site.until(lambda: yard.open() == FAMILY)
        await yard.site.until(lambda: yard.stage.ledger.is_idle)
        header, _ = await yard.stage.stored(f"{ONE}~a.1~a.1")
        assert header.caller == Caller(run=f"{ONE}~a.1", op="a", visit=1, attempt=1)
        assert header.forms == {"middle": "g-middle", "inner": "g-inner"}
        await yard.stage.conductor.signal(f"shop/{ONE}~a.1~a.1", Signal("s", "go", None, "done", 5))
        assert await yard.site.ended(*FAMILY) == ["succeeded"] * 3
        header, _ = await yard.stage.stored(ONE)
        assert header.outputs == {"told": {"told": {"told": 5}}}


async def test_another_instance_goes_on_with_all_of_it() -> None:
    store = MemoryStore()
    async with a_yard(store) as first:
        await first.start(ONE)
        await first.site.until(lambda: first.open() == FAMILY)
        await first.site.until(lambda: first.stage.ledger.is_idle)
        hold = await first.stage.sealed()
    async with a_yard(store, hold, "you") as second:
        assert second.open() == FAMILY
        await second.stage.conductor.cancel(f"shop/{ONE}", "enough")
        assert await second.site.ended(*FAMILY) == ["cancelled"] * 3


async def test_a_sub_run_that_nobody_waits_for_is_cancelled_by_whoever_comes_next() -> None:
    store = MemoryStore()
    async with a_yard(store) as first:
        await first.start(ONE)
        await first.site.until(lambda: first.open() == FAMILY)
        # The instance dies between the end of what called and that of what was called.
        first.site.exchange.crew = Nobody()
        await first.stage.conductor.cancel(f"shop/{ONE}", "enough")
        await first.site.until(lambda: first.stage.ledger.is_idle)
        hold = await first.stage.sealed()
    async with a_yard(store, hold, "you") as second:
        assert await second.site.ended(*FAMILY[1:]) == ["cancelled"] * 2
        header, _ = await second.stage.stored(f"{ONE}~a.1")
        assert header.reason == "what called it is over"


async def test_what_has_ended_meanwhile_is_told_by_what_the_store_has() -> None:
    store = MemoryStore()
    async with a_yard(store) as first:
        await first.start(ONE)
        await first.site.until(lambda: first.open() == FAMILY)
        # It dies before what called hears of the end.
        first.stage.conductor.ends = None
        await first.stage.conductor.cancel(f"shop/{ONE}~a.1~a.1", "no")
        await first.site.until(lambda: first.stage.ledger.is_idle)
        hold = await first.stage.sealed()
    async with a_yard(store, hold, "you") as second:
        assert await second.site.ended(ONE) == ["failed"]
        header, _ = await second.stage.stored(ONE)
        assert f"sub-run {ONE}~a.1~a.1 was cancelled: no" in header.reason


async def test_sub_runs_are_kept_with_what_called_them_and_go_with_it() -> None:
    async with a_yard() as yard:
        for run in (ONE, TWO):
            await yard.start(run)
        await yard.site.until(lambda: len(yard.open()) == 6)
        await yard.stage.conductor.cancel(f"shop/{TWO}~a.1~a.1", "no")
        await yard.site.ended(TWO)
        # Of an open run nothing goes, though a sub-run of it has ended long ago.
        await yard.start(THREE)
        await yard.site.until(lambda: f"{THREE}~a.1~a.1" in yard.open())
        keep = Retention(
            yard.stage.store, yard.stage.reader, yard.stage.clock, Metrics(), Budget(span=timedelta(hours=1))
        )
        yard.stage.clock.ms += 3_000_000
        await yard.stage.conductor.cancel(f"shop/{ONE}", "late")
        await yard.site.ended(ONE)
        yard.stage.clock.ms += 1_000_000
        assert await keep.look(SHARD, yard.stage.conductor) == 1
        left = [e.key async for page in yard.stage.store.list("/h/1/run/") for e in page.entries]
        assert not [key for key in left if f"{TWO}~" in key or ("/runs/" in key and key.endswith(TWO))]
        assert [key for key in left if "/gone/" in key and TWO in key and "~" not in key]
        assert [key for key in left if f"{ONE}~a.1~a.1" in key]


async def test_what_the_run_was_not_started_with_is_not_called() -> None:
    async with a_yard() as yard:
        order, form = yard.stage.order(ONE)
        await yard.stage.conductor.start([(order, form)])
        assert await yard.site.ended(ONE) == ["failed"]
        header, _ = await yard.stage.stored(ONE)
        assert f"run {ONE} was not started with what calls middle" in header.reason


@asynccontextmanager
async def a_registry():
    store = MemoryStore()
    view = View(store, incarnation=1, cluster="c1")
    await view.mirror.load()
    following = asyncio.ensure_future(view.mirror.run())
    try:
        yield Workflows(store, view, SystemClock())
    finally:
        following.cancel()
        await asyncio.wait((following,))


def declared(name: str, told: WorkflowSpec) -> WorkflowManifest:
    return WorkflowManifest(apiVersion="harpoon/v1", kind="Workflow", metadata=Metadata(name=name), spec=told)


async def test_what_others_call_is_not_taken_away_nor_changed_beyond_their_bounds() -> None:
    async with a_registry() as workflows:
        await workflows.put(declared("inner", spec(a=choose("yes"))))
        await workflows.put(declared("outer", spec(start="a", a=call("inner", visits=1000, next={"done": "a"}))))
        with pytest.raises(Conflict, match="workflow inner is called by outer; change or delete that first"):
            await workflows.delete("default", "inner")
        many = spec(start="a", a=choose("yes", visits=500, next={"yes": "a"}))
        with pytest.raises(Invalid, match="workflow outer calls it, and would not stand any more"):
            await workflows.put(declared("inner", many))
        with pytest.raises(Invalid, match="inner → outer → inner"):
            await workflows.put(declared("inner", spec(a=call("outer"))))
        await workflows.delete("default", "outer")
        await workflows.put(declared("inner", many))
        await workflows.delete("default", "inner")
        with pytest.raises(NotFound):
            await workflows.form("default", "outer")


async def test_two_that_are_changed_at_once_do_not_come_to_call_each_other() -> None:
    async with a_registry() as workflows:
        for name in ("a", "b"):
            await workflows.put(declared(name, spec(a=choose("yes"))))
        told = await asyncio.gather(
            workflows.put(declared("a", spec(a=call("b")))),
            workflows.put(declared("b", spec(a=call("a")))),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in told) == ["Declared", "Invalid"]


async def test_a_run_keeps_the_generations_that_it_may_call() -> None:
    async with a_registry() as workflows:
        await workflows.put(declared("inner", INNER))
        await workflows.put(declared("middle", MIDDLE))
        await workflows.put(declared("outer", OUTER))
        form = await workflows.form("default", "outer")
        assert list(form.forms) == ["inner", "middle"]
        assert len(form.kept) == 3
        assert sub_run_id(Caller(run="o", op="a", visit=1, attempt=1)) in run_key("default", "o~a.1")
