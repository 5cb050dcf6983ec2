"""A shard and its conductor for tests, with an exchange that only takes notes, and a clock that is set."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

from harpoon.control.conductor import Conductor
from harpoon.control.ledger import Ledger
from harpoon.control.means import HoldLost
from harpoon.control.orders import BeatOrder, ClaimOrder, CloseOrder, Form, Granted, Start
from harpoon.control.run_reader import RunReader
from harpoon.control.takeover import Loader
from harpoon.control.timers import Timers
from harpoon.control.together import Together
from harpoon.control.turns import Turns
from harpoon.core.graph import compile_graph
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import NotFound
from harpoon.model.label import DONE
from harpoon.store.hold import acquire, held, seal
from harpoon.store.port import Compare, Put, StoreUnavailable
from tests.core.flow import T0

#: Runs of tests are all in one shard, whatever their names say.
SHARD = 7
GRAPH = "/test/graphs/shop/refund/g1"


class Wall(SystemClock):
    """A clock whose wall stands still until it is moved."""

    def __init__(self):
        self.ms = T0

    def now(self):
        return replace(super().now(), wall=self.ms)


class Notes:
    """An exchange that takes notes, and nothing else."""

    def __init__(self):
        self.open = {}
        self.taken = []
        self.lost = []
        self.ended = []
        self.gone = []
        #: Called with each run and attempts that are ready.
        self.react = None

    def ready(self, run, attempts):
        attempts = tuple(attempts)
        self.open |= {(run.id, attempt.ref): attempt for attempt in attempts}
        if self.react is not None:
            self.react(run, attempts)

    def claimed(self, run, attempts):
        self.taken += [(run.id, attempt.ref, attempt.claim.token) for attempt in attempts]

    def withdrawn(self, run, refs, reason, draft):
        for ref in refs:
            self.open.pop((run.id, ref), None)
            self.lost.append((run.id, ref.op, reason))

    def over(self, run, draft):
        self.ended.append(run.id)
        self._forget(run)

    def left(self, run):
        self.gone.append(run.id)
        self._forget(run)

    def _forget(self, run):
        self.open = {key: attempt for key, attempt in self.open.items() if key[0] != run.id}

    def offered(self):
        return sorted((run, ref.op) for run, ref in self.open)


class Stage:
    """One conductor of one shard; made again as another instance by `again`."""

    def __init__(self, store, told, name="me"):
        self.store = store
        self.graph = compile_graph(told)
        self.name = name
        self.clock = Wall()
        self.notes = Notes()
        self.reader = RunReader(store)
        self.lease = None

    @asynccontextmanager
    async def at_work(self, hold=None):
        """Conduct the shard; what the ledger ends by is kept in `ended_by`."""
        entry = await self.store.get(GRAPH)
        if entry is None:
            await self.store.commit((), [Put(GRAPH, b"graph")])
            entry = await self.store.get(GRAPH)
        self.form = Form("g1", self.graph, (Compare(GRAPH, mod=entry.mod_revision),))
        if hold is None:
            self.lease = await self.store.lease(30)
            hold = await acquire(self.store, self.lease, f"shards/{SHARD:02d}", self.name, 1)
        assert hold is not None
        turns = self.turns = Turns(SystemClock())
        self.ledger = Ledger(Together(self.store, turns), hold, SHARD, self.name)
        self.conductor = Conductor(self.ledger, self.notes, self.clock, 1, self.reader)
        self.timers = Timers(self.clock, turns)
        self.timers.enter(self.conductor.dues)
        self.life = asyncio.ensure_future(self.ledger.run())
        ticking = asyncio.ensure_future(self.timers.run())
        self.ended_by = None
        try:
            self.loaded = await Loader(self.store, self.reader, self._graph, turns).load(SHARD, self.conductor.adopt)
            yield self
        finally:
            ticking.cancel()
            self.life.cancel()
            await asyncio.wait((ticking, self.life))
            with suppress(asyncio.CancelledError):
                self.ended_by = self.life.exception()
            assert self.ended_by is None or isinstance(self.ended_by, HoldLost | StoreUnavailable), self.ended_by

    async def _graph(self, namespace, workflow, generation):
        if (namespace, workflow, generation) != ("shop", "refund", "g1"):
            raise NotFound(f"generation {generation} is not kept")
        return self.graph

    async def sealed(self):
        """Return this instance's hold, sealed anew, as it goes on with it."""
        hold = await seal(self.store, self.ledger.hold, self.name)
        assert hold is not None
        return hold

    async def held(self):
        return await held(self.store, self.lease, f"shards/{SHARD:02d}", self.name, 1)

    # What is asked of it.

    def order(self, run, **fields):
        fields = {"inputs": {}, "tags": {}, "body_hash": "h1", **fields}
        return Start(namespace="shop", id=run, workflow="refund", **fields), self.form

    async def start(self, *runs, **fields):
        return await self.conductor.start([self.order(run, **fields) for run in runs])

    def attempt(self, run, op):
        """The attempt of an operation that is offered."""
        return next(ref for (of, ref) in self.notes.open if of == run and ref.op == op)

    async def claim(self, run, op, worker="w1"):
        ref = self.attempt(run, op)
        [told] = await self.conductor.claim([ClaimOrder(f"shop/{run}", ref, worker, "s1")])
        if isinstance(told, Granted):
            del self.notes.open[run, ref]
            return ref, told.token
        return told

    async def close(self, run, ref, token, label=DONE, output=None, error=""):
        [told] = await self.conductor.close([CloseOrder(f"shop/{run}", ref, token, label, output, error)])
        return told

    async def do(self, run, op, label=DONE, output=None, error=""):
        return await self.close(run, *await self.claim(run, op), label, output, error)

    async def beat(self, run, ref, token):
        [told] = await self.conductor.beat([BeatOrder(f"shop/{run}", ref, token)])
        return told

    def run(self, run):
        return self.conductor.runs[f"shop/{run}"].run

    async def pass_(self, milliseconds):
        """Let time pass, and all that is due then be done."""
        self.clock.ms += milliseconds
        self.timers._is_sooner.set()
        async with asyncio.timeout(5):
            while self.conductor.dues.first_ms <= self.clock.ms or not self.ledger.is_idle:
                await asyncio.sleep(0)

    async def stored(self, run):
        """A run as the store has it: its header and its events."""
        key = f"shop/{run}"
        entry = await self.store.get(self.ledger.place.runs + key)
        header = await self.reader.header_of(entry)
        prefix = f"{self.ledger.place.log}{key}/"
        records = {e.key.removeprefix(prefix): e.value async for page in self.store.list(prefix) for e in page.entries}
        return header, records


def seconds(count):
    return timedelta(seconds=count)
