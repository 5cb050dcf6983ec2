"""Sub-runs where they are conducted: kept with what called them, found again, and cancelled when nobody waits for them."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from harpoon.control.callees import bounds_within
from harpoon.control.calling import Calls
from harpoon.control.connecting import Connecting
from harpoon.control.connector_port import Order
from harpoon.control.ledger_records import run_key, shard_of
from harpoon.control.metrics import Metrics
from harpoon.control.orders import Form
from harpoon.control.retention import Budget, Retention
from harpoon.control.run_lists import RunChoice
from harpoon.control.view import View
from harpoon.control.work_floor import Nobody
from harpoon.control.workflows import Workflows
from harpoon.core.graph import compile_graph
from harpoon.core.repairing import Audit, Value, retry_from, set_to
from harpoon.core.step import Refused, Signal
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, Invalid, NotFound
from harpoon.model.foreach import Foreach
from harpoon.model.header import Header
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
SPECS = {"outer": OUTER, "middle": MIDDLE, "inner": INNER}


class Kept:
    """Workflows of which each has one generation."""

    def __init__(self, specs: dict[str, WorkflowSpec]) -> None:
        self.graphs = {name: compile_graph(one) for name, one in specs.items()}
        #: Those that stand now.
        self.present: set[str] = set()

    async def form(self, _namespace: str, name: str) -> Any:
        if name not in self.present:
            raise NotFound(f"there is no workflow {name}")
        return Form(f"g-{name}", self.graphs[name], ())

    @property
    def generations(self) -> "Kept":
        return self

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

    def __init__(self, store: MemoryStore, name: str, specs: dict[str, WorkflowSpec]) -> None:
        self.site = Site(store, specs["outer"], (), name)
        self.specs = specs
        self.calls = Calls(Found(self.site), Kept(specs))  # type: ignore[arg-type]
        self.site.crew = Connecting(self.site.exchange, self.site.conductor_of, name, (self.calls,))
        self.stage = self.site.stage
        stage = self.stage
        stage_graph = stage._graph

        async def graph_of(namespace: str, workflow: str, generation: str) -> Any:
            if workflow in specs:
                return compile_graph(specs[workflow])
            return await stage_graph(namespace, workflow, generation)

        stage._graph = graph_of

    async def start(self, run: str) -> None:
        order, form = self.stage.order(run)
        forms = {name: f"g-{name}" for name in self.specs if name != "outer"}
        await self.stage.conductor.start([(order, Form(form.generation, form.graph, form.kept, forms))])

    async def calm(self) -> None:
        """Wait until nothing more comes of what was done."""
        calm = 0
        while calm < 20:
            calm = calm + 1 if self.stage.ledger.is_idle else 0
            await asyncio.sleep(0)

    async def disturb(self, random: Random) -> None:
        """Do something that may happen at any time."""
        runs = self.open()
        if not runs:
            return
        run, what = random.choice(runs), random.choice(["signal", "signal", "cancel", "pass", "pass", "nothing"])
        with suppress(Refused):
            if what == "signal":
                sent = Signal(f"s{random.random()}", "go", None, random.choice(["done", "no", "fail"]))
                await self.stage.conductor.signal(f"shop/{run}", sent)
            elif what == "cancel" and run != ONE:
                await self.stage.conductor.cancel(f"shop/{run}", "chance")
            elif what == "pass":
                await self.stage.pass_(random.choice([500, 3_000, 9_000, 31_000]))
        if random.random() < 0.7:
            await self.calm()

    def open(self) -> list[str]:
        return sorted(key.partition("/")[2] for key in self.stage.conductor.runs)


@asynccontextmanager
async def a_yard(
    store: MemoryStore | None = None, hold: Any = None, name: str = "me", specs: dict[str, WorkflowSpec] | None = None
):
    yard = Yard(store or MemoryStore(), name, specs or SPECS)
    async with yard.site.at_work(hold):
        yard.stage.conductor.ends = yard.calls
        yard.calls.adopted(yard.stage.conductor)
        yield yard


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


async def test_repairs_end_what_was_called_and_call_it_anew() -> None:
    async with a_yard() as yard:
        await yard.start(ONE)
        await yard.site.until(lambda: yard.open() == FAMILY)
        again = [ONE, f"{ONE}~a.2", f"{ONE}~a.2~a.1"]
        await yard.stage.conductor.order(f"shop/{ONE}", lambda run, now_ms: retry_from(run, "a", Audit(), now_ms))
        await yard.site.until(lambda: yard.open() == again)
        await yard.stage.conductor.order(
            f"shop/{ONE}", lambda run, now_ms: set_to(run, "a", 2, Value("done", 7), Audit(), now_ms)
        )
        assert await yard.site.ended(ONE, *again[1:], *FAMILY[1:]) == ["succeeded", *["cancelled"] * 4]
        header, _ = await yard.stage.stored(ONE)
        assert header.outputs == {"told": 7}


async def test_what_the_run_was_not_started_with_is_called_as_it_stands() -> None:
    async with a_yard() as yard:
        order, form = yard.stage.order(ONE)
        yard.calls._workflows.present.add("middle")  # type: ignore[attr-defined]
        await yard.stage.conductor.start([(order, form)])
        assert await yard.site.ended(ONE, f"{ONE}~a.1") == ["failed", "failed"]
        header, _ = await yard.stage.stored(f"{ONE}~a.1")
        assert header.reason == "a closed as fail, which no edge takes: there is no workflow inner"
        assert header.generation == "g-middle"


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


#: Each of three items calls one that calls another, as long as it takes; and some of it is tried again.
FAMILIES = {
    "outer": spec(
        a=call(
            "middle",
            takes=20_000,
            foreach=Foreach(items=(1, 2, 3), max=3, parallel=2, tolerate=3),
            retry=retry(fail=2, timeout=2, lost=3),
        )
    ),
    "middle": spec(a=call("inner", takes=8_000, retry=retry(fail=2, lost=3)), deadline=60_000),
    "inner": spec(a=await_signal("go", takes=5_000, labels=["no"], next={"timeout": "b"}), b=choose("yes")),
}


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_no_sub_run_outlives_what_called_it_or_is_run_twice_at_once(seed: int) -> None:
    random, store, hold, now_ms = Random(seed), MemoryStore(), None, 0
    for life in range(4):
        async with a_yard(store, hold, f"i{life}", FAMILIES) as yard:
            stage = yard.stage
            stage.clock.ms = max(stage.clock.ms, now_ms)
            if not life:
                await yard.start(ONE)
            for _ in range(random.randint(3, 12)):
                await yard.disturb(random)
            now_ms = stage.clock.ms
            if life == 3:
                while yard.open():
                    await stage.pass_(5_000)
                    await yard.calm()
            hold = await stage.sealed()
            headers = [one async for some in stage.reader.headers() for one in some]
    by_id = {one.run: one for one in headers}
    assert all(one.status.is_over for one in headers)
    sub_runs = [one for one in headers if one.caller is not None]
    told = bounds_within(compile_graph(FAMILIES["outer"]), {name: FAMILIES[name] for name in ("inner", "middle")})
    assert 0 < len(sub_runs) <= told.calls.runs
    for one in sub_runs:
        caller = one.caller
        assert caller is not None
        assert one.run == sub_run_id(caller)
        assert one.deadline_ms <= by_id[caller.run].deadline_ms
        before = by_id.get(sub_run_id(replace(caller, attempt=caller.attempt - 1)))
        assert caller.attempt == 1 or before is None or (before.ended_ms or 0) <= one.created_ms


async def test_a_further_try_ends_what_is_left_of_the_one_before() -> None:
    async with a_yard() as yard:
        await yard.start(ONE)
        await yard.site.until(lambda: yard.open() == FAMILY)
        attempt = yard.stage.run(ONE).open["a", 1]
        again = Order(
            "shop", ONE, "outer", attempt.ref._replace(attempt=2), OUTER.operations["a"], {}, "k",
            attempt.claim.due_ms, is_resumed=False,
        )  # fmt: skip
        trying = asyncio.ensure_future(yard.calls.carry_out(again, print))
        await yard.site.until(lambda: f"{ONE}~a.1.2" in yard.open())
        assert f"{ONE}~a.1" not in yard.open()
        trying.cancel()
        await asyncio.wait((trying,))


def test_lists_leave_sub_runs_out_unless_they_are_asked_for() -> None:
    told = {
        "namespace": "shop",
        "workflow": "w",
        "generation": "g",
        "body_hash": "h",
        "created_ms": 1,
        "deadline_ms": 2,
    }
    of_user = Header(run="o", **told)
    called = Header(run="o~a.1", caller=Caller(run="o", op="a", visit=1, attempt=1), **told)
    deeper = Header(run="o~a.1~a.1", caller=Caller(run="o~a.1", op="a", visit=1, attempt=1), **told)
    every = (of_user, called, deeper)
    assert [one for one in every if RunChoice().takes(one)] == [of_user]
    assert [one for one in every if RunChoice(has_sub_runs=True).takes(one)] == [*every]
    assert [one for one in every if RunChoice(parent="o").takes(one)] == [called]
