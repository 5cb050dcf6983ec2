"""Receipts of mutations that carried an idempotency key: found again, and dropped when there are enough of them.

A receipt is written in the very commit of what it is a receipt of, so nothing can be done and not recorded. Its key in
the store is a hash of the key that the client chose, and the commit compares that nothing stands there yet: of two
requests with one key that somehow got so far, one is done.

The store has no clock and receipts have no loop: each new one takes a few with it that are over. So there are never
more than the bounds say, and a server that is not asked does nothing.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import structlog

from harpoon.control.view import ROOT
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Invalid
from harpoon.model.receipt import Receipt
from harpoon.store.port import Compare, Delete, Entry, Put, Store, Write

RECEIPTS: Final = ROOT + "idem/"
#: A client that tries again for longer than a day is better served by looking.
KEPT_FOR: Final = timedelta(hours=24)
#: Enough for a mutation every nine seconds of that day; of more, the oldest go.
KEPT_MAX: Final = 10_000
KEPT_BYTES: Final = 64 << 20
#: One answer; together with the job that it tells it must fit a commit.
RECEIPT_BYTES_MAX: Final = 256 << 10
#: Receipts that are over and go with a new one: more than one, so that there come to be fewer.
DROPPED_AT_ONCE: Final = 4
#: Receipts read before others get their turn on the event loop.
_SLICE: Final = 100

_log = structlog.get_logger(__name__)


class Found(NamedTuple):
    """A receipt that stands, and the revision of the mutation that it is of."""

    receipt: Receipt
    revision: int


class _Note(NamedTuple):
    at_ms: int
    size: int


class Receipts:
    """The receipts of a store, by the hash of their key.

    Args:
        store: Where they are kept.
        clock: What they are dated by.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        #: What is kept, oldest first; to know what to drop.
        self._notes: OrderedDict[str, _Note] = OrderedDict()
        self._bytes = 0
        self._is_loaded = False
        self._loading = asyncio.Lock()

    async def find(self, name: str) -> tuple[Found | None, Compare]:
        """Return the receipt that stands under a name, and the condition that it still is what stands there.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        await self._load()
        entry = await self._store.get(RECEIPTS + name)
        if entry is None:
            return None, Compare(RECEIPTS + name, mod=0)
        receipt = _read(entry)
        is_over = receipt is None or receipt.at_ms <= self._oldest_ms()
        found = None if receipt is None or is_over else Found(receipt, entry.mod_revision)
        return found, Compare(RECEIPTS + name, mod=entry.mod_revision)

    def writes(self, name: str, receipt: Receipt) -> Sequence[Write]:
        """Return what to write for a new receipt, and for some that are over.

        Raises:
            Invalid: The answer is too large to be kept.
        """
        record = codec.dump(receipt)
        if len(record) > RECEIPT_BYTES_MAX:
            raise Invalid(
                f"the answer takes {len(record)} bytes; at most {RECEIPT_BYTES_MAX} are kept: send it without a key"
            )
        return (Put(RECEIPTS + name, record), *(Delete(RECEIPTS + other) for other in self._over(name, len(record))))

    def note(self, writes: Sequence[Write]) -> None:
        """Take note that what `writes` returned was committed."""
        for write in writes:
            name = write.key.removeprefix(RECEIPTS)
            before = self._notes.pop(name, None)
            self._bytes -= 0 if before is None else before.size
            if isinstance(write, Put):
                self._add(name, _Note(self._clock.now().wall, len(write.value)))

    def _add(self, name: str, note: _Note) -> None:
        self._notes[name] = note
        self._bytes += note.size

    def _oldest_ms(self) -> int:
        return self._clock.now().wall - int(KEPT_FOR.total_seconds() * 1000)

    def _over(self, name: str, size: int) -> list[str]:
        """Return the oldest receipts that are over, or too many beside a new one; only a few."""
        oldest_ms, count, total = self._oldest_ms(), len(self._notes) + 1, self._bytes + size
        over: list[str] = []
        for other, note in self._notes.items():
            is_needless = note.at_ms <= oldest_ms or count > KEPT_MAX or total > KEPT_BYTES
            if len(over) == DROPPED_AT_ONCE or not is_needless:
                break
            if other != name:
                over.append(other)
                count, total = count - 1, total - note.size
        return over

    async def _load(self) -> None:
        """Read what is kept, once."""
        async with self._loading:
            if self._is_loaded:
                return
            notes: dict[str, _Note] = {}
            async for page in self._store.list(RECEIPTS):
                for place, entry in enumerate(page.entries, 1):
                    receipt = _read(entry)
                    at_ms = 0 if receipt is None else receipt.at_ms
                    notes[entry.key.removeprefix(RECEIPTS)] = _Note(at_ms, len(entry.value))
                    if place % _SLICE == 0:
                        await asyncio.sleep(0)
            for name, note in sorted(notes.items(), key=lambda item: item[1].at_ms):
                self._add(name, note)
            self._is_loaded = True


def _read(entry: Entry) -> Receipt | None:
    try:
        return codec.load(Receipt, entry.value)
    except Invalid as error:
        _log.error("receipt_unreadable", key=entry.key, reason=str(error))
        return None
