"""A server in this process, as far as workflows go: what conducts runs, what workers ask, and what tells of runs.

It is put together of the parts that a server process is made of, one instance alone: it holds every shard from its
beginning to its end. There are no doors, no agents, and no history; and runs that have ended are kept for good.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from harpoon.control.beside import compiled
from harpoon.control.calling import Calls
from harpoon.control.conducted import Conducted
from harpoon.control.conductor import Conductor
from harpoon.control.connecting import Connecting
from harpoon.control.connector_port import Connector
from harpoon.control.keyed_signals import KeyedSignals
from harpoon.control.ledger import Ledger
from harpoon.control.ledger_records import SHARDS, run_key
from harpoon.control.metrics import Metrics
from harpoon.control.run_reader import RunReader
from harpoon.control.run_signals import not_open, refusal
from harpoon.control.run_status import RunStatus
from harpoon.control.runs import SHARD_HOLDS, Runs, shard_name
from harpoon.control.takeover import Loader
from harpoon.control.timers import Timers
from harpoon.control.together import Together
from harpoon.control.turns import Turns
from harpoon.control.view import View
from harpoon.control.work import WorkExchange
from harpoon.control.workflow_told import bounds_json
from harpoon.control.workflows import Workflows
from harpoon.core.step import Refused
from harpoon.kit.clock import Clock, Random
from harpoon.kit.errors import Conflict, NotFound
from harpoon.kit.loop import Pace
from harpoon.model.why import Why
from harpoon.model.work import WorkRequest
from harpoon.model.workflow import WorkflowManifest
from harpoon.store import cluster
from harpoon.store.hold import ACQUIRED_MAX, Hold, acquire_all
from harpoon.store.port import Lease, Store

#: Nobody else is there to take a hold, so it lasts.
LEASE_S: Final = timedelta(days=36_500).total_seconds()
#: Workers that left are forgotten so often: rarely, since time may pass fast.
SWEEP_S: Final = 60.0
#: Signals that nobody waits for are looked at so often: whoever begins to wait is known.
LOOK_AGAIN: Final = timedelta(hours=1)

Do = Callable[[Conductor, str], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One life of a server; made by `open`."""

    store: Store
    clock: Clock
    instance: str
    view: View
    workflows: Workflows
    runs: Runs
    keyed: KeyedSignals
    exchange: WorkExchange
    calls: Calls
    connecting: Connecting
    status: RunStatus
    lease: Lease

    @classmethod
    async def open(cls, store: Store, clock: Clock, instance: str, connectors: Iterable[Connector]) -> Self:
        """Read what the store has, and take all shards.

        Args:
            store: Where everything is kept.
            clock: Tells the moment.
            instance: What it is called, unlike any before it.
            connectors: What carries out what no worker does, but for calls of workflows, which need nothing outside.
        """
        found = await cluster.found(store, "testing")
        view = View(store, incarnation=found.incarnation, cluster=found.id)
        await view.mirror.load()
        runs = Runs(view, RunReader(store))
        exchange = WorkExchange(runs.conductor_of, clock)
        failures = Metrics().passes_failed.labels("keyed-signals")
        workflows = Workflows(store, view, clock)
        calls = Calls(runs, workflows)
        return cls(
            store=store,
            clock=clock,
            instance=instance,
            view=view,
            workflows=workflows,
            runs=runs,
            calls=calls,
            keyed=KeyedSignals(store, clock, runs, rng=Random(0), failures=failures, pace=Pace(resync=LOOK_AGAIN)),
            exchange=exchange,
            connecting=Connecting(exchange, runs.conductor_of, instance, (*connectors, calls)),
            status=RunStatus(store, runs.reader, clock),
            lease=await store.lease(LEASE_S),
        )

    async def run(self, is_up: asyncio.Event) -> None:
        """Serve until cancelled: that is as if it were killed, but for the shards, which are given back.

        Args:
            is_up: Is set once it conducts all runs.
        """
        turns = Turns(self.clock)
        together = Together(self.store, turns)
        timers: Timers[Conducted] = Timers(self.clock, turns, is_exact=True)
        loader = Loader(self.store, self.runs.reader, self.workflows.generations.graph, turns)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.view.mirror.run(), name="view")
                group.create_task(timers.run(), name="timers")
                group.create_task(self.exchange.run(SWEEP_S), name="work")
                group.create_task(self.connecting.run(), name="connectors")
                for shard, hold in enumerate(await self._holds()):
                    ledger = Ledger(together, hold, shard, self.instance)
                    incarnation, reader = self.view.incarnation, self.runs.reader
                    conductor = Conductor(ledger, self.exchange, self.clock, incarnation, reader)
                    group.create_task(ledger.run(), name=f"shard-{shard_name(shard)}")
                    conductor.waits, conductor.ends = self.keyed, self.calls
                    timers.enter(conductor.dues)
                    await loader.load(shard, conductor.adopt)
                    self.runs.enter(shard, conductor)
                    self.calls.adopted(conductor)
                group.create_task(self.keyed.run(), name="keyed-signals")
                is_up.set()
        finally:
            await self.lease.revoke()

    async def _holds(self) -> list[Hold]:
        names = [SHARD_HOLDS + shard_name(shard) for shard in range(SHARDS)]
        holds: list[Hold] = []
        for start in range(0, SHARDS, ACQUIRED_MAX):
            chunk, incarnation = names[start : start + ACQUIRED_MAX], self.view.incarnation
            taken = await acquire_all(self.store, self.lease, chunk, self.instance, incarnation)
            if taken is None:
                raise Conflict("the store is another server's: give each environment its own")
            holds += taken
        return holds

    async def declare(self, manifest: WorkflowManifest) -> None:
        """Declare a workflow.

        Raises:
            Invalid: It has flaws, all of which are told, or no bound.
        """
        metadata, graph = manifest.metadata, await compiled(manifest.spec)
        await bounds_json(self.view, metadata.namespace, metadata.name, graph)
        await self.workflows.put(manifest, graph)

    async def work(self, namespace: str, asked: WorkRequest) -> bytes:
        """Answer a worker; the errors are those of `WorkExchange.serve`."""
        return await self.exchange.serve(namespace, asked, _stay)

    async def order(self, namespace: str, run: str, do: Do) -> None:
        """Have something done with a run that is open.

        Raises:
            NotFound: There is no such run.
            Conflict: It is over, or does not take that now.
            Invalid: It would never take it.
        """
        key = run_key(namespace, run)
        try:
            await do(self.conductor(key), key)
        except NotFound as error:
            raise not_open(await self.status.existing(namespace, run)) from error
        except Refused as error:
            raise refusal(error) from error

    async def why(self, namespace: str, run: str) -> Why:
        """Say why a run stands as it does; the errors are those of `RunStatus.existing`."""
        key = run_key(namespace, run)
        conducted = self.conductor(key).runs.get(key)
        takers = None if conducted is None else self.exchange.takers(conducted.run)
        revision = self.view.external(await self.store.revision())
        return await self.status.why(namespace, run, takers, revision)

    def conductor(self, key: str) -> Conductor:
        """Return who conducts a run, open or not."""
        conductor = self.runs.conductor_of(key)
        assert conductor is not None, "it conducts all shards"
        return conductor

    def is_open(self, key: str) -> bool:
        """Whether a run goes on."""
        return key in self.conductor(key).runs

    def is_at_work(self) -> bool:
        """Whether a worker has anything."""
        return any(attempt.claim is not None for run in self._open() for attempt in run.run.open.values())

    def _open(self) -> Iterable[Conducted]:
        for conductor in self.runs.conductors.values():
            yield from conductor.runs.values()


async def _stay(wait: Callable[[], Awaitable[None]]) -> None:
    await wait()
