"""Workers and instances that lose each other's answers at random: every attempt is done once, and none is lost.

The conductors here have no clocks: what is claimed and not told to anybody stays so, and the world never ends.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import pytest

from harpoon.control import work_errand
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, Unavailable
from harpoon.model.work import Closing, WorkRequest
from tests.control.working import NAMESPACE, Table, a_closing, stay

RUNS, OPS = 12, ("a", "b", "c")
PATIENCE_S = 30


class Instances:
    """Some instances, each with runs of its own; what they ask each other gets lost now and then."""

    def __init__(self, count: int, rng: random.Random, losses: float) -> None:
        self.rng = rng
        self.losses = losses
        self.tables = {f"i{number}": Table() for number in range(count)}
        self.home = {f"{NAMESPACE}/r{run}": f"i{run % count}" for run in range(RUNS)}
        for name, table in self.tables.items():
            table.conductors = lambda key, name=name, table=table: table.plain if self.home.get(key) == name else None

    def start(self) -> None:
        for run in range(RUNS):
            table = self.tables[self.home[f"{NAMESPACE}/r{run}"]]
            table.plain.start(f"r{run}", *OPS, workflow=f"f{run % 3}", most=2 if run % 4 == 0 else 0)

    @property
    def closed(self) -> int:
        return sum(len(table.plain.closed) for table in self.tables.values())

    def is_lost(self) -> bool:
        return self.rng.random() < self.losses


class Beyond:
    """The other instances, as one of them sees them."""

    def __init__(self, instances: Instances, name: str) -> None:
        self._instances = instances
        self._name = name

    def holder_of(self, key: str) -> str | None:
        return self._instances.home.get(key)

    def others(self) -> Sequence[str]:
        return [name for name in self._instances.tables if name != self._name]

    async def ask(self, instance: str, body: bytes, within_s: float) -> bytes:
        self._maybe_lost()
        asked = codec.decode(WorkRequest, body)
        answer = await self._instances.tables[instance].exchange.serve(NAMESPACE, asked, stay, via=self._name)
        self._maybe_lost()
        return answer

    async def look(self, instance: str, handlers: Sequence[str]) -> bool:
        self._maybe_lost()

        async def bounded(wait: Any) -> None:
            try:
                async with asyncio.timeout(0.01):
                    await wait()
            except TimeoutError:
                return

        return await self._instances.tables[instance].exchange.looked(NAMESPACE, handlers, bounded)

    def _maybe_lost(self) -> None:
        if self._instances.is_lost():
            raise Unavailable("lost")


class Worker:
    """Asks one instance, does what it is given, and asks again when it gets no answer."""

    def __init__(self, instances: Instances, name: str, at: str) -> None:
        self._instances = instances
        self._name = name
        self._table = instances.tables[at]
        self._elsewhere = Beyond(instances, at)
        self._seq = 1
        self.has: dict[tuple[str, str], dict[str, Any]] = {}
        self.over: list[Closing] = []

    async def run(self) -> None:
        while self._instances.closed < RUNS * len(OPS):
            answer = await self._ask()
            if answer is None:
                continue
            self._seq += 1
            settled = {(one["run"], one["op"]) for one in answer.get("results", ()) if one["status"] == 200}
            self.over = [one for one in self.over if (one.run, one.op) not in settled]
            for claim in answer.get("claims", ()):
                key = (claim["run"], claim["op"])
                assert key not in self.has, "it is told of a claim once"
                self.has[key] = claim
                self.over.append(a_closing(claim))

    async def _ask(self) -> dict[str, Any] | None:
        """The answer to a request, if it arrives."""
        rng = self._instances.rng
        asked = WorkRequest(
            worker=self._name,
            session="s1",
            seq=self._seq,
            handlers=("pack",),
            want=rng.randrange(4),
            wait=timedelta(milliseconds=rng.choice([0, 20])),
            closings=tuple(rng.sample(self.over, rng.randrange(len(self.over) + 1))),
        )
        serving = self._table.exchange.serve(NAMESPACE, asked, stay, elsewhere=self._elsewhere)
        try:
            if self._instances.is_lost():
                # It leaves before it is answered, sooner or later.
                async with asyncio.timeout(rng.choice([0, 0.0005, 0.005])):
                    await serving
                return None
            answer = orjson.loads(await serving)
        except (TimeoutError, Unavailable):
            return None
        if self._instances.is_lost():
            return None
        if not self._instances.losses:
            assert len(answer.get("claims", ())) <= asked.want
        return answer


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [1, 3])
async def test_whatever_gets_lost_every_attempt_is_done_once(
    seed: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(work_errand, "SHUNNED_S", 0.001)
    monkeypatch.setattr(work_errand, "LOOK_AGAIN_S", 0.001)
    monkeypatch.setattr(work_errand, "ASIDE_EVERY_S", rng.choice([0.0, 0.01, 100.0]))
    instances = Instances(count, rng, losses=rng.choice([0.0, 0.1, 0.4]))
    workers = [Worker(instances, f"w{number}", f"i{number % count}") for number in range(4)]
    async with asyncio.timeout(PATIENCE_S):
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.run())
            instances.start()
    for table in instances.tables.values():
        assert not table.plain.open
        # Each was claimed once, and closed by that claim.
        assert {key: token for key, (token, _) in table.plain.closed.items()} == table.plain.tokens
        assert not table.exchange.under_way
        assert not table.exchange._asking
        assert len(table.exchange.core) == 0


async def test_what_is_refused_elsewhere_is_not_asked_again_and_its_instance_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work_errand, "ASIDE_EVERY_S", 0.0)
    table, asked = Table(), []

    class Stubborn(Beyond):
        async def ask(self, instance: str, body: bytes, within_s: float) -> bytes:
            asked.append(orjson.loads(body))
            raise Conflict("it is not a request")

    async def ask(seq: int) -> dict[str, Any]:
        request = WorkRequest(worker="w1", session="s1", seq=seq, handlers=("pack",), want=1)
        elsewhere = Stubborn(instances, "i0")
        return orjson.loads(await table.exchange.serve(NAMESPACE, request, stay, elsewhere=elsewhere))

    instances = Instances(2, random.Random(0), 0.0)
    for seq in (1, 2, 3):
        assert await ask(seq) == {"seq": seq}
    assert [one["want"] for one in asked] == [1]
