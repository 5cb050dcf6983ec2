"""One instance's control plane: it takes the holds, then runs the loops that they entitle it to.

Starting is recovering: everything is read from the store and from the agents, and no shutdown hook is needed. A
lost hold ends the loops at once; whoever runs the controller starts it again.
"""

import asyncio
import uuid
from datetime import timedelta
from typing import Final

import orjson
import structlog

from harpoon.control.bookings import Bookings
from harpoon.control.means import HoldLost, Means
from harpoon.control.metrics import Metrics
from harpoon.control.registry import Registry
from harpoon.control.roster import Roster
from harpoon.control.scheduler import Scheduler
from harpoon.control.shepherd import Shepherd
from harpoon.control.transformer import Transformer
from harpoon.control.view import META, View
from harpoon.kit.errors import Conflict
from harpoon.store.hold import Hold, acquire
from harpoon.store.port import Compare, Lease, Put, Store

#: A hold not renewed for so long is another instance's to take.
LEASE_TTL_S: Final = 10.0
#: The view is compared with the store so often.
VERIFY_EVERY: Final = timedelta(minutes=10)

_log = structlog.get_logger(__name__)


class Controller:
    """The wired loops of one instance; made by `open`, which reads everything first."""

    def __init__(self, means: Means, metrics: Metrics, view: View, lease: Lease, hold: Hold) -> None:
        self.metrics = metrics
        self.view = view
        self.hold = hold
        self.registry = Registry(means.store, view, means.clock)
        self.roster = Roster(means.store, view)
        self.shepherd = Shepherd(means, metrics, view, lease)
        self._scheduler = Scheduler(means, metrics, view, hold)
        self._transformer = Transformer(means, metrics, view, self.shepherd)
        self._means = means
        self._lease = lease

    @classmethod
    async def open(cls, means: Means, metrics: Metrics) -> "Controller":
        """Take the scheduler's hold and load the view.

        Raises:
            Conflict: Another instance holds it.
        """
        cluster, incarnation = await _cluster(means.store)
        view = View(means.store, incarnation=incarnation, cluster=cluster)
        # The longest part comes first: a lease is not to run out over it.
        await view.mirror.load()
        lease = await means.store.lease(LEASE_TTL_S)
        hold = await acquire(means.store, lease, "scheduler", means.instance, incarnation)
        if hold is None:
            raise Conflict("another server instance is at work on this store; stop it first")
        _log.info("controller_opened", cluster=cluster, token=str(hold.token), revision=view.revision)
        return cls(means, metrics, view, lease, hold)

    async def follow(self) -> None:
        """Keep the view in step with the store until cancelled; before `run` begins, and until it has ended.

        Apart from `run`, because requests under way still need the view when a hold was lost.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self.view.mirror.run(), name="mirror")
            group.create_task(self._verify(), name="verify")

    async def run(self) -> None:
        """Keep jobs in their declared state until cancelled.

        Raises:
            HoldLost: This instance may no longer act.
        """
        # What was written before the hold was taken is to be known before anything is done by virtue of it.
        await self.view.mirror.reached(self.hold.token.revision)
        async with asyncio.TaskGroup() as group:
            # The transformer listens before the shepherd reports the first agent.
            group.create_task(self._transformer.run(), name="transformer")
            group.create_task(self.shepherd.run(), name="shepherd")
            group.create_task(self._scheduler.run(), name="scheduler")
            group.create_task(self._guard(), name="guard")

    def bookings(self) -> Bookings | None:
        """Return the index that slots are placed by, for reading; None: nothing is scheduled here yet."""
        return self._scheduler.bookings

    async def close(self) -> None:
        """Give all holds back, so that a successor need not wait for the lease to run out."""
        await self._lease.revoke()

    async def _guard(self) -> None:
        await self._lease.lost.wait()
        raise HoldLost("the lease of this instance was lost")

    async def _verify(self) -> None:
        while True:
            spread = self._means.rng.uniform(0.9, 1.1)
            await asyncio.sleep(VERIFY_EVERY.total_seconds() * spread)
            await self.view.mirror.verify()


async def _cluster(store: Store) -> tuple[str, int]:
    """Return the cluster's id and incarnation, made when the store is new."""
    fresh = {"cluster": uuid.uuid4().hex[:12], "incarnation": 1}
    await store.commit((Compare(META, mod=0),), (Put(META, orjson.dumps(fresh)),))
    entry = await store.get(META)
    assert entry is not None, "the cluster's record is written before it is read, and never deleted"
    record = orjson.loads(entry.value)
    return record["cluster"], record["incarnation"]
