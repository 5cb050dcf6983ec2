"""Restoring a registry from a backup into an empty store, so that servers go on there. It arrives by `store.arrival`.

The registry begins a new life: its incarnation rises above that of the backup, and by the clock above that of every
life that began before, so that agents, which remember the highest token they were shown, take this one's.

It rises by the clock alone: two lives that begin in one second, or by clocks that disagree, cannot be told apart. So
whoever restores waits until the second is over (`remaining_s`) before saying that it is done.
"""

from dataclasses import dataclass
from pathlib import Path

import orjson

from harpoon.store import backup, cluster
from harpoon.store.arrival import Arrival
from harpoon.store.backup import Reading, Whole
from harpoon.store.port import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What restoring has done."""

    #: What was restored.
    whole: Whole
    incarnation: int
    #: Records that an unfinished one had left in the destination.
    removed: int


async def restore(path: Path, target: Store, *, by: str, now_ms: int) -> Restored:
    """Bring a backup into a store.

    Args:
        path: Of a backup that `backup.inspect` has found whole; it is read again.
        target: Holds no registry yet, or an unfinished one.
        by: The name of whoever restores; never used again.
        now_ms: UTC; the incarnation is made from it.

    Raises:
        Conflict: A server is at work there, it holds a registry, or something wrote meanwhile.
        Invalid: The file is not what it was.
        HarpoonError: What arrived is not what was sent.
        StoreUnavailable: The store could not answer.
    """
    arrival = await Arrival.begin(target, by, now_ms)
    reading = Reading()
    await arrival.take(backup.entries(path, reading))
    whole = reading.whole()
    await arrival.check(reading.tally)
    about = whole.header.cluster
    record = cluster.risen(orjson.dumps({"cluster": about.id, "incarnation": about.incarnation}), now_ms)
    await arrival.finish(record)
    return Restored(whole=whole, incarnation=cluster.read(record).incarnation, removed=arrival.removed)


def remaining_s(restored: Restored, now_ms: int) -> float:
    """Return how long it takes until a further life cannot begin with the same incarnation; at most a second."""
    left_ms = (restored.incarnation + 1) * 1000 - now_ms
    return left_ms / 1000 if 0 < left_ms <= 1000 else 0.0
