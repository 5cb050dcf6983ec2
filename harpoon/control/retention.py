"""How long runs that have ended are kept: by a budget of time and one of bytes, in each shard alike.

What goes first is what ended first. A run that is not kept any more leaves a tombstone, so that the same start again is
not another run; tombstones go after a time, too. Each shard is looked at now and then, if anything has ended there or
has become too old since: what nothing happens in is left alone.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

import structlog

from harpoon.control.conductor import Conductor
from harpoon.control.draft import Draft
from harpoon.control.ledger_records import SHARDS, load_tombstone, run_key
from harpoon.control.metrics import Metrics
from harpoon.control.run_reader import RunReader
from harpoon.control.timers import NEVER
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.model.header import Header
from harpoon.model.sub_run import family_of
from harpoon.model.tombstone import Tombstone
from harpoon.store.port import Delete, Put, Store, StoreUnavailable, Trouble

#: A shard is looked at no oftener.
EVERY_S: Final = 300.0
#: How long the id of a run that is not kept any more is remembered.
TOMBSTONES_KEPT: Final = timedelta(days=7)
#: Of one shard; beyond, the oldest go earlier.
TOMBSTONES_MAX: Final = 20_000
#: Keys deleted in one commit.
_DELETED_AT_ONCE: Final = 90
_MILLISECOND: Final = timedelta(milliseconds=1)
_ENDING: Final = frozenset({Trouble.CLOSED, Trouble.ROLLED_BACK})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is kept of runs that have ended, in the whole registry."""

    span: timedelta = timedelta(days=3)
    bytes: int = 256 << 20


class _Ended(NamedTuple):
    """A run that has ended, with its sub-runs: they are kept as long as it is, and go with it."""

    ended_ms: int
    bytes: int
    #: Its own is the last, unless it could not be read.
    headers: tuple[Header, ...]


class Retention:
    """Deletes what is not to be kept.

    Args:
        store: Where runs are.
        reader: Reads them.
        clock: What ``now`` is told by.
        metrics: Counts what is deleted.
        budget: What is kept.
    """

    def __init__(
        self, store: Store, reader: RunReader, clock: Clock, metrics: Metrics, budget: Budget | None = None
    ) -> None:
        self._store = store
        self._reader = reader
        self._clock = clock
        self._metrics = metrics
        self._budget = budget or Budget()
        #: Shard → (its conductor, how many runs had ended by it, when the next becomes too old), when looked at last.
        self._looked: dict[int, tuple[Conductor, int, int]] = {}

    async def run(self, conductors: Mapping[int, Conductor]) -> None:
        """Look at the shards that are conducted here, again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            for shard, conductor in tuple(conductors.items()):
                try:
                    await self.look(shard, conductor)
                except StoreUnavailable as error:
                    if error.trouble in _ENDING:
                        raise
                    _log.warning("runs_not_purged", shard=shard, reason=str(error))
                except HarpoonError as error:
                    # Whoever conducts the shard now does it.
                    _log.warning("runs_not_purged", shard=shard, reason=str(error))

    async def look(self, shard: int, conductor: Conductor) -> int:
        """Delete what is not to be kept of a shard, if there may be anything; return how many runs.

        Raises:
            StoreUnavailable: The store could not answer.
            Unavailable: The shard is not conducted here any more.
        """
        now_ms = self._clock.now().wall
        ended = conductor.ended
        looked = self._looked.get(shard)
        if looked is not None and looked[:2] == (conductor, ended) and now_ms < looked[2]:
            return 0
        runs = _families([one async for one in self._ended(conductor)], conductor)
        runs.sort(key=lambda one: one.ended_ms, reverse=True)
        kept, old = _split(runs, now_ms, self._budget)
        purged = 0
        for one in old:
            is_gone = False
            for header in one.headers:
                with conductor.reopening.purging(run_key(header.namespace, header.run)):
                    is_gone = await self._purge(conductor, header, now_ms)
            # The last one is what has called the others.
            purged += is_gone
        tombstones = await self._tombstones(conductor, now_ms)
        span_ms = self._budget.span // _MILLISECOND
        next_ms = min(NEVER if not kept else kept[-1].ended_ms + span_ms, tombstones)
        self._looked[shard] = (conductor, ended, next_ms)
        if purged:
            self._metrics.runs_purged.inc(purged)
            _log.info("runs_purged", shard=shard, purged=purged, kept=len(kept))
        return purged

    async def _ended(self, conductor: Conductor) -> AsyncIterator[Header]:
        async for page in self._store.list(conductor.ledger.place.runs):
            for number, entry in enumerate(page.entries, 1):
                try:
                    header = await self._reader.header_of(entry)
                except Invalid:
                    # What cannot be read stays: another release may have written it.
                    continue
                if header.status.is_over and header.ended_ms is not None:
                    yield header
                if number % 50 == 0:
                    await asyncio.sleep(0)

    async def _purge(self, conductor: Conductor, header: Header, now_ms: int) -> bool:
        """Delete a run: its log first, so that whatever is left of it is found again by its header.

        One that goes on again since it was looked at, or has ended once more, stays: False.
        """
        place, key = conductor.ledger.place, run_key(header.namespace, header.run)
        present = await self._reader.header(key) if conductor.forget(key) else None
        if present is None or present.ended_ms != header.ended_ms:
            return False
        logs = [entry.key async for page in self._store.list(f"{place.log}{key}/") for entry in page.entries]
        await _delete(conductor, key, logs)
        gone = Tombstone(body_hash=header.body_hash, status=header.status, purged_ms=now_ms)
        draft = Draft(f"{key}/")
        draft.writes = (Delete(place.runs + key),)
        if header.caller is None:
            # A sub-run's id follows from that of the run that called it, which is not used again.
            draft.writes += (Put(place.gone + key, codec.dump(gone)),)
        await _landed(conductor, draft)
        return True

    async def _tombstones(self, conductor: Conductor, now_ms: int) -> int:
        """Delete the tombstones that are too old, or too many; return when the next one is too old."""
        found = sorted(
            [
                (load_tombstone(entry.value).purged_ms, entry.key)
                async for page in self._store.list(conductor.ledger.place.gone)
                for entry in page.entries
            ]
        )
        span_ms = TOMBSTONES_KEPT // _MILLISECOND
        surplus = max(0, len(found) - TOMBSTONES_MAX)
        old = [
            key for number, (purged_ms, key) in enumerate(found) if number < surplus or purged_ms + span_ms <= now_ms
        ]
        await _delete(conductor, "", old)
        left = found[len(old) :]
        return left[0][0] + span_ms if left else NEVER


def _families(headers: Sequence[Header], conductor: Conductor) -> list[_Ended]:
    """Return runs with their sub-runs, but those that are open, given all that have ended; sub-runs first."""
    families: dict[str, list[Header]] = {}
    for header in headers:
        families.setdefault(family_of(run_key(header.namespace, header.run)), []).append(header)
    found = []
    for key, own in families.items():
        if key in conductor.runs:
            continue
        # The longer an id, the deeper it was called.
        own.sort(key=lambda header: len(header.run), reverse=True)
        ended_ms = max([header.ended_ms or 0 for header in own])
        found.append(_Ended(ended_ms, sum([header.bytes for header in own]), tuple(own)))
    return found


def _split(runs: Sequence[_Ended], now_ms: int, budget: Budget) -> tuple[list[_Ended], list[_Ended]]:
    """Return which runs of a shard are kept, and which are not, given in the order in which they ended, last first."""
    since_ms, size = now_ms - budget.span // _MILLISECOND, 0
    for number, one in enumerate(runs):
        size += one.bytes
        if one.ended_ms <= since_ms or size > budget.bytes // SHARDS:
            return list(runs[:number]), list(runs[number:])
    return list(runs), []


async def _delete(conductor: Conductor, key: str, keys: Sequence[str]) -> None:
    for start in range(0, len(keys), _DELETED_AT_ONCE):
        draft = Draft(f"{key}/")
        draft.writes = [Delete(one) for one in keys[start : start + _DELETED_AT_ONCE]]
        await _landed(conductor, draft)


async def _landed(conductor: Conductor, draft: Draft) -> None:
    conductor.ledger.write(draft)
    await draft.settled()
    draft.check()
