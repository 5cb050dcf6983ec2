"""Shards: each is conducted by one instance, handed over without a gap in what was acknowledged, and taken when lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from harpoon.control import pen as pens
from harpoon.control import shards as module
from harpoon.control.ledger_records import LOG, RUNS, SHARDS, run_key, shard_of
from harpoon.control.orders import ClaimOrder, CloseOrder, Granted, Start
from harpoon.control.runs import shard_name
from harpoon.core.assign import owner
from harpoon.core.visit import Ref
from harpoon.kit.errors import Unavailable
from harpoon.model.job import Metadata
from harpoon.model.run import Status
from harpoon.model.token import Token
from harpoon.model.workflow import WorkflowManifest
from harpoon.store.hold import HOLDS
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete
from tests.control.crew import Crew, Mate, soon
from tests.control.stage import Notes
from tests.core.flow import spec, work
from tests.faulty import Fault, FaultyStore

RUN_KEYS = [run_key("shop", f"r{number}") for number in range(200)]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HAND_OVER_AGAIN_S", 0.005)
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    monkeypatch.setattr(pens, "RETRY_S", 0.005)


class Team(Crew):
    """Instances that conduct runs; each with an exchange that takes notes."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, ())
        self.notes: dict[str, Notes] = {}
        self.exchange_for = self._exchange

    def _exchange(self, _conductor_of: Any) -> Notes:
        self._latest = Notes()
        return self._latest

    async def join(self, name: str, **settings: object) -> Mate:
        mate = await super().join(name, **settings)
        self.notes[name] = self._latest
        return mate

    @asynccontextmanager
    async def conducting(self, *names: str) -> AsyncIterator["Team"]:
        """Have instances that conduct all shards."""
        try:
            for name in names:
                await self.join(name)
            await soon(self.is_shared)
            yield self
        finally:
            for mate in self.mates.values():
                mate.life.cancel()
            for name in list(self.mates):
                await self.leave(name)

    def conducted(self, name: str) -> set[int]:
        return set(self.mates[name].plane.runs.conductors)

    def is_shared(self) -> bool:
        """Whether each shard is conducted by the instance whose it is."""
        able = list(self.mates)
        own = {name: {s for s in range(SHARDS) if owner(f"shards/{shard_name(s)}", able) == name} for name in able}
        return all(self.conducted(name) == own[name] for name in able)

    def place(self, key: str) -> str | None:
        """Return the instance that conducts a run."""
        [name] = [name for name in self.mates if shard_of(key) in self.conducted(name)] or [None]
        return name

    async def declare(self, name: str) -> None:
        told = WorkflowManifest(
            apiVersion="harpoon/v1", kind="Workflow", metadata=Metadata(name="refund", namespace="shop"), spec=CHAIN
        )
        await self.mates[name].plane.workflows.put(told)

    async def start(self, key: str) -> object:
        name = self.place(key)
        assert name is not None
        plane = self.mates[name].plane
        await soon(lambda: "shop/refund" in plane.view.workflows.rows)
        form = await plane.workflows.form("shop", "refund")
        order = Start("shop", key.partition("/")[2], "refund", "h1", {}, {})
        conductor = plane.runs.conductor_of(key)
        assert conductor is not None
        [told] = await conductor.start([(order, form)])
        return told


CHAIN = spec(a=work(next={"done": "b"}), b=work())


async def test_an_instance_alone_conducts_all_shards_and_then_the_store_stands_still() -> None:
    store = MemoryStore()
    async with Team(store).conducting("one") as team:
        assert team.conducted("one") == set(range(SHARDS))
        holds = await team.holds()
        assert {name for name in holds if name.startswith("shards/")} == {f"shards/{s:02d}" for s in range(SHARDS)}
        await asyncio.sleep(0.1)
        revision = await store.revision()
        await asyncio.sleep(0.3)
        assert await store.revision() == revision


async def test_a_second_instance_gets_its_share_with_all_that_was_acknowledged() -> None:
    store = MemoryStore()
    async with Team(store).conducting("one") as team:
        await team.declare("one")
        for key in RUN_KEYS:
            told = await team.start(key)
            assert told.is_new
        await team.join("two")
        await soon(team.is_shared)
        assert team.conducted("two")
        for key in RUN_KEYS:
            conductor = team.mates[team.place(key)].plane.runs.conductor_of(key)
            assert list(conductor.runs[key].run.ready) == [("a", 1)]
        ones, twos = team.notes["one"], team.notes["two"]
        assert {run for run, _ in ones.open} | {run for run, _ in twos.open} == {key.split("/")[1] for key in RUN_KEYS}
        assert {run for run, _ in ones.open}.isdisjoint(run for run, _ in twos.open)
        # Nobody is told that work was lost, which goes on elsewhere.
        assert ones.lost == twos.lost == []
        await team.leave("one")
        await soon(team.is_shared)
        assert {run for run, _ in twos.open} == {key.split("/")[1] for key in RUN_KEYS}


async def test_work_goes_on_through_joins_leaves_and_deaths_and_every_closing_counts_once() -> None:
    """Workers that ask whoever conducts their run, again and again, until they know."""
    store = FaultyStore()
    team = Team(store)
    tokens: list[str] = []

    async def ask(key: str, give: Any) -> Any:
        while True:
            name = team.place(key)
            conductor = None if name is None else team.mates[name].plane.runs.conductor_of(key)
            if conductor is not None:
                [told] = await give(conductor)
                if getattr(told, "code", "") != "moved":
                    return told
            await asyncio.sleep(0.005)

    async def worker(number: int, key: str) -> None:
        for op in ("a", "b"):
            await asyncio.sleep(number % 40 * 0.01)
            while True:
                ref = Ref(op, 1, 1)
                granted = await ask(key, lambda c, ref=ref: c.claim([ClaimOrder(key, ref, "w", "s")]))
                if isinstance(granted, Granted):
                    tokens.append(granted.token)
                    break
                # The claim may have been made, and its answer lost.
                conductor = team.mates[team.place(key)].plane.runs.conductor_of(key) if team.place(key) else None
                held = conductor and key in conductor.runs and conductor.runs[key].run.find(ref)
                if held and held.claim is not None:
                    granted = Granted(held.claim.token)
                    break
                await asyncio.sleep(0.005)
            order = CloseOrder(key, ref, granted.token, "done")
            assert await ask(key, lambda c, order=order: c.close([order])) is None
            # And once more, as after a lost answer.
            assert await ask(key, lambda c, order=order: c.close([order])) is None

    async with team.conducting("one"):
        await team.declare("one")
        for key in RUN_KEYS:
            await team.start(key)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for number, key in enumerate(RUN_KEYS):
                group.create_task(worker(number, key))
            await team.join("two")
            store.fail(*[Fault.SILENT, Fault.LOST] * 20, prefix=LOG)
            await soon(team.is_shared)
            dead = await team.kill("one")
            await asyncio.sleep(0.02)
            team.lapse(dead)
            await team.join("three")
        assert len(set(tokens)) == len(tokens)
        reader = team.mates["two"].plane.runs.reader
        for key in RUN_KEYS:
            header = await reader.header(key)
            assert header.status is Status.SUCCEEDED
            closed = [event.op for event in await reader.events(key, header) if type(event).__name__ == "Closed"]
            assert closed == ["a", "b"]


async def test_a_shard_that_is_lost_is_conducted_again_and_nothing_older_is_written() -> None:
    store = FaultyStore()
    async with Team(store).conducting("one") as team:
        await team.declare("one")
        key = RUN_KEYS[0]
        await team.start(key)
        runs = team.mates["one"].plane.runs
        before = runs.conductor_of(key)
        assert before is not None
        # Its lease goes, and the instance does not know yet.
        team.lapse(team.mates["one"])
        landing = before.claim([ClaimOrder(key, Ref("a", 1, 1), "w", "s")])
        [told] = await landing
        assert told.code == "moved"
        await soon(lambda: runs.conductor_of(key) not in (None, before))
        assert await (await runs.awaited(key, 1)).claim([ClaimOrder(key, Ref("a", 1, 1), "w", "s")])


async def test_one_shard_whose_hold_is_taken_away_leaves_the_others_alone() -> None:
    store = FaultyStore()
    async with Team(store).conducting("one") as team:
        await team.declare("one")
        key, other = RUN_KEYS[0], next(k for k in RUN_KEYS if shard_of(k) != shard_of(RUN_KEYS[0]))
        await team.start(key)
        await team.start(other)
        runs = team.mates["one"].plane.runs
        before, untouched = runs.conductor_of(key), runs.conductor_of(other)
        await store.commit((), [Delete(f"{HOLDS}shards/{shard_name(shard_of(key))}")])
        await soon(lambda: runs.conductor_of(key) not in (None, before))
        assert runs.conductor_of(other) is untouched
        assert list(runs.conductor_of(key).runs) == list(before.runs or {key: None})
        with pytest.raises(Unavailable):
            before.ledger.check_room()


async def test_a_store_that_is_away_while_a_shard_is_loaded_is_asked_again() -> None:
    store = FaultyStore()
    async with Team(store).conducting("one") as team:
        await team.declare("one")
        for key in RUN_KEYS[:20]:
            await team.start(key)
        team.lapse(team.mates["one"])
        team.mates["one"].way.cut()
        await asyncio.sleep(0.05)
        team.mates["one"].way.heal()
        await soon(team.is_shared)
        assert sum(len(c.runs) for c in team.mates["one"].plane.runs.conductors.values()) == 20


async def test_an_instance_that_stops_lets_what_was_decided_become_durable() -> None:
    store = MemoryStore()
    team = Team(store)
    async with team.conducting("one"):
        await team.declare("one")
        plane = team.mates["one"].plane
        form = await plane.workflows.form("shop", "refund")
        for key in RUN_KEYS:
            order = Start("shop", key.partition("/")[2], "refund", "h1", {}, {}, is_fresh=True)
            plane.runs.conductor_of(key).start([(order, form)])
        await team.leave("one")
    kept = [entry.key async for page in store.list(RUNS) for entry in page.entries]
    assert len(kept) == len(RUN_KEYS)
    assert await team.holds() == {}


async def test_who_looks_for_a_conductor_waits_for_it_but_not_for_ever() -> None:
    store = MemoryStore()
    team = Team(store)
    async with team.conducting("one"):
        runs = team.mates["one"].plane.runs
        assert runs.holder_of(RUN_KEYS[0]) == "one"
        assert await runs.awaited(RUN_KEYS[0], 1) is runs.conductor_of(RUN_KEYS[0])
        await team.join("two")
        await soon(team.is_shared)
        key = next(key for key in RUN_KEYS if team.place(key) == "two")
        await soon(lambda: runs.holder_of(key) == "two")
        assert await runs.awaited(key, 0.01) is None
        waiting = asyncio.ensure_future(runs.awaited(key, 10))
        await team.leave("two")
        conductor = await waiting
        assert conductor is runs.conductor_of(key)
        assert conductor is not None


async def test_one_unfit_leaves_its_shards_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    async with Team(store).conducting("one", "two") as team:
        team.mates["two"].clock.ahead_ms = 60_000
        with capture_logs():
            await soon(lambda: team.conducted("one") == set(range(SHARDS)) or not team.conducted("one"))
        assert team.conducted("one") | team.conducted("two") == set(range(SHARDS))


def test_a_run_has_its_shard_for_ever() -> None:
    assert SHARDS == 64
    assert [shard_of(key) for key in ("shop/r1", "default/order-42", "a/b")] == [44, 5, 28]


async def test_a_hold_is_gone_on_with_as_it_was_sealed_last_and_never_as_it_was_before() -> None:
    store = FaultyStore()
    async with Team(store).conducting("one") as team:
        await team.declare("one")
        plane = team.mates["one"].plane
        shards = plane.term._shards
        key = RUN_KEYS[0]
        name, conductor = shard_name(shard_of(key)), plane.runs.conductor_of(key)
        before = conductor.ledger.hold
        store.fail(Fault.LOST, prefix=RUNS)
        await team.start(key)
        sealed = conductor.ledger.hold
        assert sealed.sealed > before.sealed
        await shards._stop([name])
        holding = shards._holding
        assert holding._holds[name] == sealed
        for older in (before, replace(sealed, token=Token(incarnation=1, revision=1), sealed=sealed.sealed + 9)):
            holding.keep(name, older)
            assert holding._holds[name] == sealed
        shards._look_at([name])
        await soon(lambda: plane.runs.conductor_of(key) not in (None, conductor))
        again = plane.runs.conductor_of(key)
        assert again.ledger.hold.token == sealed.token
        assert again.ledger.hold.sealed > sealed.sealed
        assert list(again.runs) == [key]
