"""Limits that several instances keep together: what workers have at any moment, through joins, deaths and silence."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from harpoon.control import pen as pens
from harpoon.control import shards
from harpoon.control import sharing as module
from harpoon.control.ledger_records import shard_of
from harpoon.control.orders import Start
from harpoon.control.sharing import Sharing, home_of, homes_of
from harpoon.control.work import WorkExchange
from harpoon.core.crew import Wait, waits_for
from harpoon.core.homes import Standing
from harpoon.core.offers import AttemptId
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, Unavailable
from harpoon.model.job import Metadata
from harpoon.model.permits import PermitReport
from harpoon.model.work import WorkRequest
from harpoon.model.workflow import WorkflowManifest
from harpoon.store.memory import MemoryStore
from tests.control.crew import Mate, soon
from tests.control.test_shards import Team
from tests.control.working import ops, stay, which
from tests.core.flow import limit, spec, work
from tests.faulty import FaultyStore

RUNS = [f"r{number}" for number in range(60)]
MOST = 2
ONE = spec(a=work(concurrency=limit("one", MOST)))
HOME = home_of(("shop", "one"))


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "HAND_OVER_AGAIN_S", 0.005)
    monkeypatch.setattr(shards, "RETRY_S", 0.02)
    monkeypatch.setattr(pens, "RETRY_S", 0.005)
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    monkeypatch.setattr(module, "UNUSED_S", 0.05)
    monkeypatch.setattr(module, "WAIT_S", 0.3)


class Partners(Team):
    """Instances whose workers have work with a limit."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.sharing: dict[str, Sharing] = {}
        #: Instances that others do not reach.
        self.unreached: set[str] = set()
        #: What workers are at now, and were at most; and who has done what.
        self.working: set[str] = set()
        self.most = 0
        self.done: dict[str, str] = {}
        self.numbers = 0

    def _exchange(self, conductor_of: Any) -> Any:
        self._latest = WorkExchange(conductor_of, SystemClock(), homes_of(self.joining))
        return self._latest

    async def join(self, name: str, **settings: object) -> Mate:
        self.joining = name
        mate = await super().join(name, tell_home=partial(self._tell, name), **settings)
        sharing = Sharing(mate.plane._means, mate.plane.view, mate.plane.runs, self.exchange(name))
        self.sharing[name] = sharing
        running = asyncio.ensure_future(sharing.run())
        mate.life.add_done_callback(lambda _: running.cancel())
        return mate

    def exchange(self, name: str) -> WorkExchange:
        exchange = self.notes[name]
        assert isinstance(exchange, WorkExchange)
        return exchange

    async def _tell(self, sender: str, url: str, body: bytes, within_s: float) -> bytes:
        if url not in self.mates or sender not in self.mates or {sender, url} & self.unreached:
            await asyncio.sleep(0.01)
            raise Unavailable(f"{url} does not answer")
        return codec.dump(await self.sharing[url].answer(codec.load(PermitReport, body), stay))

    def home(self) -> str:
        """The instance that keeps the limit."""
        [name] = [name for name in self.mates if HOME in self.conducted(name)]
        return name

    async def begin(self, *runs: str) -> None:
        for run in runs:
            key = f"shop/{run}"
            await soon(lambda key=key: self.place(key) is not None)
            plane = self.mates[self.place(key)].plane  # type: ignore[index]
            await soon(lambda plane=plane: "shop/refund" in plane.view.workflows.rows)
            order = Start("shop", run, "refund", "h1", {}, {})
            conductor = plane.runs.conductor_of(key)
            await conductor.start([(order, await plane.workflows.form("shop", "refund"))])  # type: ignore[union-attr]

    async def declare(self, name: str) -> None:
        told = WorkflowManifest(
            apiVersion="harpoon/v1", kind="Workflow", metadata=Metadata(name="refund", namespace="shop"), spec=ONE
        )
        await self.mates[name].plane.workflows.put(told)

    async def ask(self, name: str, worker: str = "w", *, wait_s: float = 0.0, **more: Any) -> dict[str, Any]:
        """Have a worker ask an instance, each time as a new one."""
        self.numbers += 1
        asked = WorkRequest(
            worker=f"{worker}-{self.numbers}",
            session="s",
            seq=1,
            handlers=() if "closings" in more else ("w",),
            want=0 if "closings" in more else 1,
            wait=timedelta(seconds=wait_s),
            **more,
        )
        return json.loads(await self.exchange(name).serve("shop", asked, stay))

    async def close(self, claim: dict[str, Any]) -> None:
        """Bring back what is done, wherever it is conducted, until it is known to be closed."""
        closing = codec.load(WorkRequest, json.dumps({
            "worker": "w", "session": "s", "seq": 1, "closings": [{**which(claim), "label": "done"}]
        }).encode()).closings  # fmt: skip
        while True:
            name = self.place(f"shop/{claim['run']}")
            if name is not None:
                with suppress(Conflict, Unavailable):
                    [told] = (await self.ask(name, closings=closing))["results"]
                    if told["status"] == 200:
                        return
                    assert told["status"] == 503, told
            await asyncio.sleep(0.005)

    async def claim(self, name: str) -> dict[str, Any]:
        """Have a worker take an attempt here, and begin with it."""
        while True:
            with suppress(Conflict, Unavailable):
                for claim in (await self.ask(name, wait_s=0.2)).get("claims", ()):
                    assert claim["run"] not in self.working | self.done.keys()
                    self.working.add(claim["run"])
                    self.most = max(self.most, len(self.working))
                    assert self.most <= MOST, f"{self.working} are worked on at once"
                    return dict(claim)
            await asyncio.sleep(0)

    async def work(self, name: str) -> None:
        """Take attempts at an instance, and do them, for ever."""
        while True:
            claim = await self.claim(name)
            await asyncio.sleep(0.002)
            self.working.discard(claim["run"])
            self.done[claim["run"]] = name
            await self.close(claim)

    def standing(self, name: str) -> Standing:
        return self.exchange(name).core.gates.standing("shop", "one")

    async def done_by(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.done) < count:
                await asyncio.sleep(0.01)


class Working:
    """Workers of some instances; they end with the block, and none of them has failed."""

    def __init__(self, team: Partners, *names: str) -> None:
        self.tasks = {name: [asyncio.ensure_future(team.work(name)) for _ in range(3)] for name in names}

    async def __aenter__(self) -> "Working":
        return self

    async def __aexit__(self, *_error: object) -> None:
        for name in list(self.tasks):
            await self.end(name)

    async def end(self, name: str) -> None:
        """Let the workers of one instance go."""
        for task in self.tasks[name]:
            task.cancel()
        told = await asyncio.gather(*self.tasks.pop(name), return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in told), told


async def a_claim(team: Partners, holds: Callable[[str], bool]) -> tuple[dict[str, Any], str]:
    """A claim of the first instance that can be had and is chosen."""
    for name in [name for name in team.mates if holds(name)]:
        return await team.claim(name), name
    raise AssertionError("nobody is chosen")


async def test_two_instances_keep_one_limit_and_both_have_their_turns() -> None:
    team = Partners(MemoryStore())
    async with team.conducting("one", "two"):
        await team.declare("one")
        async with Working(team, "one", "two"):
            await team.begin(*RUNS)
            await team.done_by(len(RUNS))
        assert team.most == MOST
        assert set(team.done.values()) == {"one", "two"}
        await soon(lambda: team.standing(team.home()).held == 0)
        away = next(name for name in team.mates if name != team.home())
        await soon(lambda: not len(team.exchange(away).core.gates))


async def test_a_limit_holds_while_instances_come_stop_and_die() -> None:
    team = Partners(FaultyStore())
    async with team.conducting("one", "two"):
        await team.declare("one")
        async with Working(team, "one", "two") as working:
            await team.begin(*RUNS)
            await team.done_by(5)
            await team.join("three")
            working.tasks["three"] = [asyncio.ensure_future(team.work("three"))]
            await soon(team.is_shared)
            await team.done_by(15)
            # The home dies, and leaves claims; its workers bring back what they have to whoever conducts the run then.
            home = team.home()
            with capture_logs():
                dead = await team.kill(home)
                await asyncio.sleep(0.02)
                team.lapse(dead)
                await soon(team.is_shared)
            left = [task for task in working.tasks.pop(home) if not task.done()]
            await team.done_by(30)
            # And the next one stops as it should.
            stopped = team.home()
            working.tasks["left"] = left + working.tasks.pop(stopped)
            await team.leave(stopped)
            await soon(team.is_shared)
            await team.done_by(40)
            # What was taken by workers of those who are gone is theirs to bring back, so all goes on by the last.
            await team.done_by(len(RUNS))


async def test_claims_of_an_instance_that_died_count_wherever_they_are_conducted_next() -> None:
    team = Partners(FaultyStore())
    async with team.conducting("one", "two", "three"):
        await team.declare("one")
        await team.begin(*RUNS)
        home = team.home()
        other = next(name for name in team.mates if name != home)
        claims = [await team.claim(other) for _ in range(MOST)]
        dead = await team.kill(other)
        team.lapse(dead)
        await soon(team.is_shared)
        for name in team.mates:
            assert ops(await team.ask(name, wait_s=0.1)) == []
        await soon(lambda: team.standing(team.home()).held == MOST)
        assert set(team.standing(team.home()).runs) == {claim["run"] for claim in claims}
        for claim in claims:
            team.working.discard(claim["run"])
            await team.close(claim)
        for name in team.mates:
            await team.claim(name)


async def test_a_new_home_gives_out_nothing_before_it_has_heard_from_all_and_says_so() -> None:
    team = Partners(FaultyStore())
    async with team.conducting("one", "two", "three"):
        await team.declare("one")
        await team.begin(*RUNS)
        dead = await team.kill(team.home())
        deaf, other = team.mates
        team.unreached.add(deaf)
        with capture_logs():
            team.lapse(dead)
            await soon(team.is_shared)
            home, away = team.home(), next(name for name in (deaf, other) if name != team.home())
            asked = [asyncio.ensure_future(team.claim(name)) for name in (deaf, other)]
            await soon(lambda: team.standing(home).lacks == (away,))
            await soon(lambda: team.standing(away).is_silent)
            run = next(run for run in RUNS if team.place(f"shop/{run}") == away)
            exchange = team.exchange(away)

            def waits() -> Wait | None:
                found = waits_for(exchange.core, exchange.sessions, AttemptId("shop", run, "a", 1, 1), 0)
                return None if found is None else found.wait

            await soon(lambda: waits() is Wait.LIMIT)
            assert not any(one.done() for one in asked)
            team.unreached.clear()
            async with asyncio.timeout(5):
                await asyncio.gather(*asked)


async def test_what_was_claimed_before_a_restart_counts_from_the_first_moment() -> None:
    store = MemoryStore()
    team = Partners(store)
    async with team.conducting("one"):
        await team.declare("one")
        await team.begin(*RUNS[:9])
        claims = [await team.claim("one") for _ in range(MOST)]
        await team.leave("one")
        await team.join("again")
        async with Working(team, "again"):
            await soon(lambda: team.conducted("again") == set(range(64)))
            await asyncio.sleep(0.05)
            assert not team.done
            team.working.clear()
            await asyncio.gather(*(team.close(claim) for claim in claims))
            await team.done_by(7)


async def test_the_end_of_a_claim_makes_room_once_it_is_durable() -> None:
    store = FaultyStore()
    team = Partners(store)
    async with team.conducting("one"):
        await team.declare("one")
        await team.begin(*RUNS[:3])
        first, _ = await team.claim("one"), await team.claim("one")
        conductor = team.mates["one"].plane.runs.conductor_of(f"shop/{first['run']}")
        assert conductor is not None
        landing = conductor.cancel(f"shop/{first['run']}", "enough")
        gates = team.exchange("one").core.gates
        assert gates.standing("shop", "one").held == MOST
        await landing
        assert gates.standing("shop", "one").held == MOST - 1
        team.working.clear()
        await team.claim("one")


async def test_what_nobody_uses_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNUSED_S", 0.02)
    team = Partners(MemoryStore())
    async with team.conducting("one", "two"):
        await team.declare("one")
        await team.begin(*RUNS[:20])
        home = team.home()
        away = next(name for name in team.mates if name != home)
        # Somebody asks, and is gone when something comes.
        assert ops(await team.ask(away)) == []
        await soon(lambda: team.standing(home).held == 1)
        await soon(lambda: team.standing(home).held == 0)
        await team.claim(away)


async def test_an_old_report_and_one_of_nobody_change_nothing() -> None:
    team = Partners(MemoryStore())
    async with team.conducting("one", "two"):
        home = team.home()
        await soon(lambda: not team.standing(home).is_closed)
        for name, number in (("two" if home == "one" else "one", 0), ("nobody", 99)):
            with pytest.raises(Conflict):
                await team.sharing[home].answer(PermitReport(instance=name, number=number), stay)


def test_keys_are_spread_over_the_shards() -> None:
    assert len({home_of(("shop", f"k{number}")) for number in range(1000)}) == 64
    assert home_of(("shop", "k")) == shard_of("shop/limit/k")
