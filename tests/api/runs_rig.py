"""A rig whose doors conduct runs: all shards, some, or none of them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from harpoon.control.conducted import Conducted
from harpoon.control.conductor import Conductor
from harpoon.control.ledger import Ledger
from harpoon.control.ledger_records import SHARDS
from harpoon.control.runs import SHARD_HOLDS, shard_name
from harpoon.control.takeover import Loader
from harpoon.control.timers import Timers
from harpoon.control.together import Together
from harpoon.control.turns import Turns
from harpoon.store.hold import acquire
from tests.api.rig import Answer, Rig, a_rig
from tests.workflows import REFUND, a_workflow

NAMESPACE = "/v1/namespaces/default"
RUNS = f"{NAMESPACE}/runs"
WORKFLOWS = f"{NAMESPACE}/workflows"
ORDER = {"order": "o-1", "amount": 20.5}
#: One operation of a worker, and nothing else.
PLAIN: dict[str, Any] = a_workflow(pack={"worker": "shop.pack"})


@asynccontextmanager
async def a_runs_rig(*, shards: Iterable[int] = range(SHARDS), **settings: Any) -> AsyncIterator[Rig]:
    """Doors of an instance that conducts these shards."""
    async with a_rig(has_runs=True, **settings) as rig, conducting(rig, shards):
        yield rig


@asynccontextmanager
async def conducting(rig: Rig, shards: Iterable[int] = range(SHARDS), *, loads: bool = False) -> AsyncIterator[None]:
    """Conduct shards while the block runs; nobody may hold them. What was conducted before is loaded if asked for."""
    doors = rig.doors
    assert doors.runs is not None
    assert doors.work is not None
    assert doors.workflows is not None
    lease = await rig.store.lease(30.0)
    turns = Turns(doors.clock)
    together = Together(rig.store, turns)
    timers: Timers[Conducted] = Timers(doors.clock, turns)
    writing = [asyncio.ensure_future(timers.run())]
    conductors: dict[int, Conductor] = {}
    for shard in shards:
        hold = await acquire(rig.store, lease, SHARD_HOLDS + shard_name(shard), doors.instance, rig.view.incarnation)
        assert hold is not None, "somebody holds it"
        ledger = Ledger(together, hold, shard, doors.instance)
        conductor = Conductor(ledger, doors.work, doors.clock, rig.view.incarnation, doors.runs.reader)
        conductor.waits = doors.keyed
        writing.append(asyncio.ensure_future(ledger.run()))
        timers.enter(conductor.dues)
        if loads:
            await Loader(rig.store, doors.runs.reader, doors.workflows.generations.graph, turns).load(
                shard, conductor.adopt
            )
        doors.runs.enter(shard, conductor)
        conductors[shard] = conductor
    assert doors.keyed is not None
    doors.keyed.look_again()
    await rig.view.mirror.reached(await rig.store.revision())
    try:
        yield
    finally:
        for shard, conductor in conductors.items():
            doors.runs.leave(shard, conductor)
            for conducted in tuple(conductor.runs.values()):
                conductor.drop(conducted)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        await lease.revoke()


async def declare(rig: Rig, manifest: dict[str, Any] = REFUND) -> None:
    """Declare a workflow."""
    answer = await rig.ask("PUT", f"{WORKFLOWS}/{manifest['metadata']['name']}", manifest)
    assert answer.status == 200, answer.body


async def start(rig: Rig, run: str | None = "o-1", *, workflow: str = "refund", **more: Any) -> Answer:
    """Start a run."""
    body = {"workflow": workflow, "inputs": ORDER if workflow == "refund" else {}, **more}
    return await rig.ask("POST", RUNS, body if run is None else {"id": run, **body})


class Worker:
    """A worker that does as it is told, by way of the doors."""

    def __init__(self, rig: Rig, *handlers: str, name: str = "w1") -> None:
        self._rig = rig
        self._asked = {"worker": name, "session": "s1", "handlers": list(handlers)}
        self._seq = 0

    async def ask(self, *closings: dict[str, Any], want: int = 1, wait: str = "0s") -> dict[str, Any]:
        """Bring these back, and take what there is."""
        self._seq += 1
        body = {**self._asked, "seq": self._seq, "want": want, "wait": wait, "closings": closings}
        answer = await self._rig.ask("POST", f"{NAMESPACE}/work", body)
        assert answer.status == 200, answer.body
        return dict(orjson.loads(answer.body))

    async def claim(self) -> dict[str, Any]:
        """Take one attempt."""
        told = await self.ask(wait="5s")
        return dict(told["claims"][0])

    async def close(self, claim: dict[str, Any], label: str = "done", **more: Any) -> None:
        """Close one, and take nothing."""
        which = {name: claim[name] for name in ("run", "op", "visit", "attempt", "token")}
        told = await self.ask({**which, "label": label, **more}, want=0)
        assert [one["status"] for one in told["results"]] == [200], told
