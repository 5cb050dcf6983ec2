"""The shards of runs that are this instance's: each is taken, loaded, conducted, and handed over.

Which are its own follows from who is live and fit, as with agents (`core.assign`): nobody tells it. It takes what is
its own and nobody's, and hands over, a few at a time, what is another's.

The order in which a shard changes hands:

1. Nothing more is found to be conducted here, and the exchange is told to forget its runs. 2. What was decided gets
durable. 3. The ledger ends. 4. The hold as it was sealed last is kept, and only then given back: whoever takes it next
finds everything in the store, and nothing more comes. An instance that is killed leaves out all of this; the hold that
its commits compare does the same.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from harpoon.control.calling import Calls
from harpoon.control.conducted import Conducted
from harpoon.control.conductor import Conductor
from harpoon.control.exchange_port import Exchange
from harpoon.control.holding import Holding
from harpoon.control.keyed_signals import KeyedSignals
from harpoon.control.ledger import Ledger
from harpoon.control.ledger_records import SHARDS
from harpoon.control.means import HoldLost, Means
from harpoon.control.membership import Membership, until
from harpoon.control.metrics import Metrics
from harpoon.control.retention import Retention
from harpoon.control.runs import SHARD_HOLDS, Runs, shard_name
from harpoon.control.settling import Settling
from harpoon.control.sweeping import Sweeper
from harpoon.control.takeover import Loader
from harpoon.control.timers import Timers
from harpoon.control.together import Together
from harpoon.control.turns import Turns
from harpoon.control.view import View
from harpoon.control.workflows import Workflows
from harpoon.core.assign import Verdict, owner
from harpoon.store.hold import ACQUIRED_MAX, Hold
from harpoon.store.port import StoreUnavailable, Trouble
from harpoon.store.table import RowChange

#: Shards handed over at a time, and the pause before the next: for a moment nobody conducts them.
HANDED_OVER_AT_ONCE: Final = 8
HAND_OVER_AGAIN_S: Final = 0.2
#: All shards are looked at again so often, even if nothing is heard.
LOOK_AGAIN_S: Final = 30.0
#: Wait after the store could not answer, or another was faster.
RETRY_S: Final = 0.5
#: What was decided has so long to become durable when a shard is given up.
FAREWELL_S: Final = 2.0
#: Generations that are of no use are looked for so often.
SWEEP_S: Final = 600.0
_NAMES: Final = {shard_name(shard): shard for shard in range(SHARDS)}
_ENDING: Final = frozenset({Trouble.CLOSED, Trouble.ROLLED_BACK})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conducting:
    """What conducting runs takes, whoever holds which shard; made once in a process."""

    #: Where conductors are found.
    runs: Runs
    workflows: Workflows
    #: Told what may be claimed.
    exchange: Exchange
    retention: Retention
    #: Signals that name no run.
    keyed: KeyedSignals
    #: Sub-runs.
    calls: Calls
    #: Unschedules tasks of attempts that are over.
    sweeper: Sweeper


class Shards:
    """Conducts this instance's share of the shards.

    Args:
        means: The store, the clock, and who we are.
        metrics: Counts what is taken and handed over.
        view: Shows who holds what.
        member: Under whose lease they are held.
        conducting: What it takes.
    """

    def __init__(self, means: Means, metrics: Metrics, view: View, member: Membership, conducting: Conducting) -> None:
        self._means = means
        self._metrics = metrics
        self._view = view
        self._member = member
        self._conducting = conducting
        self._runs = conducting.runs
        self._turns = Turns(means.clock)
        self._together = Together(means.store, self._turns)
        self._loader = Loader(
            means.store, conducting.runs.reader, conducting.workflows.generations.graph, self._turns, means.public_url
        )
        self._holding = Holding(means, view, member, SHARD_HOLDS)
        self._settling = Settling(means, member)
        self._timers: Timers[Conducted] = Timers(means.clock, self._turns)
        self._running: dict[str, asyncio.Task[None]] = {}
        #: Shard → the revision that the tokens of its last conductor here began with.
        self._begun: dict[str, int] = {}
        #: Shards to be looked at.
        self._dirty: dict[str, None] = {}
        self._has_dirty = asyncio.Event()

    async def run(self) -> None:
        """Conduct what is this instance's until cancelled."""
        with self._view.mirror.listening(self._hear):
            self._see(timedelta(0))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._timers.run(), name="timers")
                group.create_task(self._conducting.retention.run(self._runs.conductors), name="retention")
                group.create_task(self._sweep(), name="generations")
                group.create_task(self._conducting.keyed.run(), name="keyed-signals")
                group.create_task(self._conducting.sweeper.run(), name="sweeper")
                self._look_at(_NAMES)
                while True:
                    await self._pass(group)
                    if not await until(self._has_dirty, LOOK_AGAIN_S):
                        self._look_at(_NAMES)

    # What there is to look at.

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        view = self._view
        for change in changes:
            if change.table is view.instances:
                self._look_at(_NAMES)
                self._see(self._means.settle)
            elif change.table is view.holds and change.key.startswith(SHARD_HOLDS):
                name = change.key.removeprefix(SHARD_HOLDS)
                self._look_at((name,) if name in _NAMES else ())

    def _see(self, settle: timedelta) -> None:
        self._settling.see(settle, lambda: self._look_at(tuple(self._running)))

    def _look_at(self, names: Iterable[str]) -> None:
        self._dirty.update(dict.fromkeys(names))
        if self._dirty:
            self._has_dirty.set()

    def _look_later(self, names: Iterable[str], after_s: float) -> None:
        if names := tuple(names):
            asyncio.get_running_loop().call_later(after_s, self._look_at, names)

    # What to do about it.

    async def _pass(self, group: asyncio.TaskGroup) -> None:
        """Look at all that is dirty, and do what is to be done."""
        self._has_dirty.clear()
        dirty, self._dirty = self._dirty, {}
        able = self._member.fit()
        todo: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
        for name in dirty:
            belongs_to = owner(SHARD_HOLDS + name, able)
            todo[self._settling.verdict(self._holding.holder(name), belongs_to)].append(name)
        for name in todo[Verdict.KEEP]:
            if name not in self._running:
                self._begin(group, name, None)
        await self._stop(todo[Verdict.LEAVE])
        await self._hand_over(todo[Verdict.HAND_OVER])
        await self._take(group, todo[Verdict.TAKE])

    async def _take(self, group: asyncio.TaskGroup, names: Sequence[str]) -> None:
        for start in range(0, len(names), ACQUIRED_MAX):
            chunk = names[start : start + ACQUIRED_MAX]
            # One that was held before, and was lost, may still be ending.
            await self._stop(chunk)
            for name, hold in (await self._holding.take(chunk)).items():
                self._metrics.takeovers.labels("shard").inc()
                self._begin(group, name, hold)
            self._look_later((name for name in chunk if name not in self._running), RETRY_S)

    async def _hand_over(self, names: Sequence[str]) -> None:
        """Give some shards back, so that those whose they are can take them."""
        now, later = names[:HANDED_OVER_AT_ONCE], names[HANDED_OVER_AT_ONCE:]
        await self._stop(now)
        for name in await self._holding.give_back(now):
            self._metrics.shards_handed_over.inc()
            _log.info("shard_handed_over", shard=name)
        self._look_later(later, HAND_OVER_AGAIN_S)
        self._look_later((name for name in now if self._holding.has(name)), RETRY_S)

    def _begin(self, group: asyncio.TaskGroup, name: str, hold: Hold | None) -> None:
        self._running[name] = group.create_task(self._conduct(name, hold), name=f"shard-{name}")

    async def _stop(self, names: Iterable[str]) -> None:
        running = {name: self._running[name] for name in names if name in self._running}
        for task in running.values():
            task.cancel()
        if running:
            await asyncio.wait(running.values())
        for name in running:
            self._running.pop(name, None)

    async def _sweep(self) -> None:
        """Have generations of workflows deleted that no run is on; one instance does, whoever has the first shard."""
        while True:
            await asyncio.sleep(SWEEP_S)
            if 0 in self._runs.conductors:
                try:
                    await self._conducting.workflows.generations.sweep(self._runs.reader)
                except StoreUnavailable as error:
                    if error.trouble in _ENDING:
                        raise
                    _log.warning("generations_not_swept", reason=str(error))

    # Conducting.

    async def _conduct(self, name: str, hold: Hold | None) -> None:
        """Conduct one shard for as long as its hold lasts; without one given, by that which we have."""
        try:
            hold = hold or await self._holding.renewed(name)
            if hold.sealed <= self._begun.get(name, 0):
                hold = await self._holding.renewed(name)
            self._begun[name] = hold.sealed
            await self._conduct_by(name, hold)
        except HoldLost as lost:
            _log.warning("shard_not_held", shard=name, reasons=[str(lost)])
        except StoreUnavailable as error:
            if error.trouble in _ENDING:
                raise
            _log.warning("shard_waits_for_store", shard=name, reason=str(error))
        self._running.pop(name, None)
        self._look_later((name,), RETRY_S)

    async def _conduct_by(self, name: str, hold: Hold) -> None:
        shard, means = _NAMES[name], self._means
        # Workflows that runs were started on before are to be known.
        await self._view.mirror.reached(hold.sealed)
        ledger = Ledger(self._together, hold, shard, means.instance)
        conductor = Conductor(ledger, self._conducting.exchange, means.clock, self._view.incarnation, self._runs.reader)
        conductor.waits, conductor.ends = self._conducting.keyed, self._conducting.calls
        conductor.base = means.public_url
        writing = asyncio.ensure_future(ledger.run())
        self._timers.enter(conductor.dues)
        try:
            began = means.clock.now().elapsed
            loaded = await self._loader.load(shard, conductor.adopt)
            self._runs.enter(shard, conductor)
            self._conducting.calls.adopted(conductor)
            self._conducting.keyed.look_again()
            self._conducting.sweeper.look_again()
            spent_ms = (means.clock.now().elapsed - began) // timedelta(milliseconds=1)
            if loaded:  # of the many that have no runs there is nothing to tell
                _log.info("shard_held", shard=name, token=str(hold.token), runs=loaded, duration_ms=spent_ms)
            await asyncio.wait((writing,))
            writing.result()
        finally:
            self._runs.leave(shard, conductor)
            self._timers.leave(conductor.dues)
            await conductor.leave(self._turns)
            await _end(ledger, writing)
            self._holding.keep(name, ledger.hold)


async def _end(ledger: Ledger, writing: asyncio.Task[None]) -> None:
    """Let what was decided become durable, if that may be and does not take long, and end the ledger."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0 if ledger.hold.lost.is_set() else FAREWELL_S):
            await ledger.drained()
    writing.cancel()
    await asyncio.wait((writing,))
    if not writing.cancelled():
        # What it ended by was told to all who waited.
        writing.exception()
