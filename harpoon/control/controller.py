"""One instance's control plane: what is there for all the process's life, and the terms in which it acts.

Starting is recovering: everything is read from the store and from the agents, and no shutdown hook is needed. The view
and what the doors need are made once. The right to act comes and goes with the lease of this instance: while it has
none, reads are answered from the view, writes as far as the store takes them, and tasks run on under their agents.
"""

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from harpoon.control.bookings import Bookings
from harpoon.control.calling import Calls
from harpoon.control.conductor import Conductor
from harpoon.control.cordons import Cordons
from harpoon.control.cron_orders import CronOrders
from harpoon.control.exchange_port import Exchange
from harpoon.control.keyed_signals import KeyedSignals
from harpoon.control.means import HoldLost, Means
from harpoon.control.membership import Membership
from harpoon.control.metrics import Metrics
from harpoon.control.rebalancing import Rebalancer
from harpoon.control.registry import Registry
from harpoon.control.retention import Retention
from harpoon.control.roster import Roster
from harpoon.control.run_reader import RunReader
from harpoon.control.runs import Runs
from harpoon.control.shards import Conducting
from harpoon.control.steering import Steering
from harpoon.control.sweeping import Sweeper
from harpoon.control.term import Term
from harpoon.control.view import View
from harpoon.control.workflows import Workflows
from harpoon.kit.apart import apart
from harpoon.kit.errors import leaves
from harpoon.kit.news import News
from harpoon.store import cluster
from harpoon.store.port import Lease, StoreUnavailable, Trouble
from harpoon.store.table import RowChange

#: The view is compared with the store so often.
VERIFY_EVERY: Final = timedelta(minutes=10)
#: One that is doubted is compared at once, but not sooner than so long after the last time.
DOUBTED_EVERY: Final = timedelta(minutes=1)
#: Wait before a store that is away is asked again for the right to act.
RETRY_S: Final = 0.5
#: The store has so long to take a lease back from an instance that ends; else it runs out.
FAREWELL_S: Final = 2.0

#: Given what finds the conductor of a run that is conducted here, makes what is told of it.
ExchangeFor = Callable[[Callable[[str], Conductor | None]], Exchange]

_log = structlog.get_logger(__name__)


class Controller:
    """The control plane of one instance; made by `open`, which reads everything first."""

    def __init__(self, means: Means, metrics: Metrics, view: View, exchange_for: ExchangeFor | None = None) -> None:
        self.metrics = metrics
        self.view = view
        self.registry = Registry(means.store, view, means.clock, means.keyring)
        self.roster = Roster(means.store, view, means.instance)
        self.cordons = Cordons(means.store, view, means.clock)
        self.steering = Steering(means.store, view, self.registry, means.clock)
        self.cron_orders = CronOrders(means.store, view, self.registry, means.clock)
        self.rebalancer = Rebalancer(means.store, view, means.clock)
        self.workflows = Workflows(means.store, view, means.clock)
        #: Who conducts which run.
        self.runs = Runs(view, RunReader(means.store))
        #: Carries out calls of workflows.
        self.calls = Calls(self.runs, self.workflows)
        self._conducting = None
        #: Signals that name no run; None: no runs are conducted here.
        self.keyed: KeyedSignals | None = None
        #: Matches attempts with workers; None: no runs are conducted here.
        self.exchange = None if exchange_for is None else exchange_for(self.runs.conductor_of)
        #: Sweeps what is left of orders of attempts.
        self.sweeper = Sweeper(means, metrics, view, self.registry, self.runs)
        if self.exchange is not None:
            failures = metrics.passes_failed.labels("keyed-signals")
            self.keyed = KeyedSignals(
                means.store, means.clock, self.runs, rng=means.rng, failures=failures, pace=means.pace
            )
            self._conducting = Conducting(
                runs=self.runs,
                workflows=self.workflows,
                exchange=self.exchange,
                retention=Retention(means.store, self.runs.reader, means.clock, metrics),
                keyed=self.keyed,
                calls=self.calls,
                sweeper=self.sweeper,
            )
        #: The present one; None: this instance does not act now.
        self.term: Term | None = None
        self._means = means
        #: The latest; until it is certainly over, what was written under it may still come true.
        self._lease: Lease | None = None
        self._news = News()
        view.mirror.listen(self._hear)

    @classmethod
    async def open(cls, means: Means, metrics: Metrics, exchange_for: ExchangeFor | None = None) -> "Controller":
        """Load the view.

        Args:
            means: Ways out of the process.
            metrics: Of this instance.
            exchange_for: Makes what matches attempts with workers; None: no runs are conducted here.

        Raises:
            StoreUnavailable: The store could not answer.
            HarpoonError: What it holds is not to be used.
        """
        found = await cluster.found(means.store, uuid.uuid4().hex[:12])
        view = View(means.store, incarnation=found.incarnation, cluster=found.id)
        await view.mirror.load()
        _log.info("controller_opened", cluster=found.id, incarnation=found.incarnation, revision=view.revision)
        return cls(means, metrics, view, exchange_for)

    async def follow(self) -> None:
        """Keep the view in step with the store until cancelled; before `run` begins, and until it has ended.

        Apart from `run`, because requests under way need the view to their end.

        Raises:
            RolledBack: The store is at a lower revision than the view: nothing here can be relied on.
            StoreUnavailable: It was closed.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self.view.mirror.run(), name="mirror")
            group.create_task(self._verify(), name="verify")

    async def run(self) -> None:
        """Act, in one term after the other, until cancelled; then give all holds back.

        Raises:
            RolledBack: As of `follow`.
            StoreUnavailable: The store was closed.
        """
        try:
            while True:
                term = self.term = await self._begin()
                self.metrics.terms.inc()
                try:
                    await apart(term.run())
                except* HoldLost as lost:
                    reasons = sorted({str(error) for error in leaves(lost)})
                    _log.warning("term_ended", joined=term.member.joined, reasons=reasons)
                self.term = None
                await asyncio.sleep(RETRY_S)
        finally:
            self.term = None
            await self._resign()

    def bookings(self) -> Bookings | None:
        """Return the index that slots are placed by, for reading; None: nothing is scheduled here now."""
        return None if self.term is None else self.term.bookings

    def is_commandable(self, agent: str) -> bool:
        """Whether this instance may command an agent now."""
        return self.term is not None and self.term.shepherd.is_commandable(agent)

    async def _begin(self) -> Term:
        """Join the live instances, however long that takes."""
        while True:
            try:
                return await self._join()
            except StoreUnavailable as error:
                if error.trouble in {Trouble.CLOSED, Trouble.ROLLED_BACK}:
                    raise
                self._say("waiting_for_store", reason=str(error))
                await asyncio.sleep(RETRY_S)

    async def _join(self) -> Term:
        """Join under a new lease."""
        means, view = self._means, self.view
        if self._lease is not None:
            await self._lease.revoke()
            self._lease = None
        self._lease = await means.store.lease(means.lease_ttl.total_seconds(), means.renewal)
        member = await Membership.join(means, view, self._lease)
        self._news.forget()
        _log.info("term_begun", instance=means.instance, joined=member.joined, revision=view.revision)
        return Term(means, self.metrics, view, member, self._conducting)

    def _hear(self, revision: int, _changes: tuple[RowChange, ...]) -> None:
        self.metrics.revision.set(revision)

    def _say(self, event: str, **fields: str) -> None:
        if self._news.is_news(f"{event} {fields}", asyncio.get_running_loop().time()):
            _log.warning(event, **fields)

    async def _resign(self) -> None:
        """Give all holds back, so that a successor need not wait for the lease to run out."""
        if self._lease is None:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._lease.revoke()
        except (StoreUnavailable, TimeoutError) as error:
            _log.warning("holds_not_given_back", reason=str(error) or "the store does not answer")

    async def _verify(self) -> None:
        loop, mirror, not_before = asyncio.get_running_loop(), self.view.mirror, 0.0
        while True:
            spread = self._means.rng.uniform(0.9, 1.1)
            if await mirror.doubted(VERIFY_EVERY.total_seconds() * spread):
                await asyncio.sleep(not_before - loop.time())
            try:
                repaired = await mirror.verify()
                _log.info("view_verified", repaired=repaired, revision=self.view.revision)
            except StoreUnavailable as error:
                if error.trouble is Trouble.ROLLED_BACK:
                    raise
                _log.warning("view_not_verified", reason=str(error))
            not_before = loop.time() + DOUBTED_EVERY.total_seconds()
