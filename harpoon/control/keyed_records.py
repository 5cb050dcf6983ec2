"""The records of signals that name no run but a key: how they stand in the store, and as every instance sees them.

=============================================  ======================================================================
key, after ``/h/1/run/keyed/``                 value
=============================================  ======================================================================
``kept/<ns>/<hash>``                           `model.keyed_signal.KeyedSignal`: no run has it yet
``sent/<ns>/<hash>``                           `model.keyed_signal.DeliveredSignal`: which run has it
=============================================  ======================================================================

The hash is of the signal's name, key and id, so one that comes again finds the one before.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from harpoon.control.ledger_records import ROOT
from harpoon.core.measure import json_bytes
from harpoon.core.step import Signal
from harpoon.kit import codec
from harpoon.kit.errors import Conflict
from harpoon.model.keyed_signal import DeliveredSignal, KeyedSignal
from harpoon.store.mirror import Mirror
from harpoon.store.port import Store, StoreUnavailable, Trouble
from harpoon.store.table import RowChange, Table

KEYED: Final = ROOT + "keyed/"
KEPT: Final = KEYED + "kept/"
SENT: Final = KEYED + "sent/"
#: Signals that are kept for one key; in all; and bytes of them: every instance has all of it in memory.
KEPT_FOR_KEY_MAX: Final = 1_000
KEPT_MAX: Final = 10_000
KEPT_BYTES_MAX: Final = 64 << 20
#: Wait before a store that is away is read again.
_RETRY_S: Final = 0.5
_ENDING: Final = frozenset({Trouble.CLOSED, Trouble.ROLLED_BACK})


class Place(NamedTuple):
    """What is waited for."""

    namespace: str
    #: Of the signal.
    name: str
    key: str


@dataclass(slots=True)
class Letter:
    """A signal that no run has yet, as it stands in the store."""

    #: Of its record.
    name: str
    signal: KeyedSignal
    mod: int
    #: Of its payload, in bytes.
    size: int

    @property
    def key(self) -> str:
        """Its key in the store."""
        return KEPT + self.name

    @property
    def about(self) -> tuple[str, str | None, str, int]:
        """What tells whether a run would have it; see `core.signalling.has_taker`."""
        signal = self.signal
        return signal.name, signal.key, signal.label, self.size

    def addressed(self) -> Signal:
        """Return the signal as its run is sent it, by an id that no other signal to that run has."""
        signal = self.signal
        id_ = f"{signal.id}/{self.name.partition('/')[2]}"
        return Signal(id_, signal.name, signal.key, signal.label, signal.payload)


def name_of(namespace: str, signal: Signal) -> str:
    """Return the name of a signal's record."""
    parts = codec.canonical((signal.name, signal.key, signal.id))
    return f"{namespace}/{hashlib.sha256(parts).hexdigest()[:32]}"


class KeyedRecords:
    """The records as this instance sees them.

    Args:
        store: Where they are.
        wake: Called with each place for which something has come, or is no longer as it was.
    """

    def __init__(self, store: Store, wake: Callable[[Place], None]) -> None:
        self._wake = wake
        self._kept = Table("keyed signals", KEPT, KeyedSignal)
        self._sent = Table("delivered signals", SENT, DeliveredSignal)
        self._mirror = Mirror(store, KEYED, [self._kept, self._sent])
        self._mirror.listen(self._hear)
        self._bytes = 0
        #: Place → names of what is kept for it, and the sizes of the payloads.
        self._at: dict[Place, dict[str, int]] = {}
        self._is_changed = asyncio.Event()
        #: They can be relied on.
        self.is_loaded = False

    async def run(self) -> None:
        """Keep in step with the store until cancelled.

        Raises:
            StoreUnavailable: The store was closed, or was rolled back.
        """
        while not self.is_loaded:
            try:
                await self._mirror.load()
                self.is_loaded = True
            except StoreUnavailable as error:
                if error.trouble in _ENDING:
                    raise
                await asyncio.sleep(_RETRY_S)
        await self._mirror.run()

    def places(self) -> list[Place]:
        """Return all for which something is kept."""
        return list(self._at)

    def is_kept_for(self, place: Place) -> bool:
        """Whether anything is kept for a place."""
        return place in self._at

    def letters(self, place: Place) -> list[Letter]:
        """Return what is kept for a place, as it came."""
        sizes = self._at.get(place, {})
        rows = {name: self._kept.rows[name] for name in sizes}
        ordered = sorted(rows.items(), key=lambda one: one[1].create_revision)
        return [Letter(name, row.value, row.mod_revision, sizes[name]) for name, row in ordered]

    def is_known(self, name: str) -> bool:
        """Whether a signal came before, as far as it is known here."""
        return name in self._kept.rows or name in self._sent.rows

    def sent(self) -> list[tuple[str, DeliveredSignal, int]]:
        """Return those that a run has, by the names of their records, the oldest first, each with its revision."""
        rows = [(name, row.value, row.mod_revision) for name, row in self._sent.rows.items()]
        return sorted(rows, key=lambda one: one[1].at_ms)

    async def receiver(self, name: str) -> str:
        """Return which run has a signal, once one has."""
        while (row := self._sent.rows.get(name)) is None:
            await self._is_changed.wait()
        return row.value.run

    def check_room(self, place: Place, size: int) -> None:
        """Check that one more may be kept, with a payload of so many bytes.

        Raises:
            Conflict: It may not.
        """
        if len(self._at.get(place, ())) >= KEPT_FOR_KEY_MAX:
            raise Conflict(f"{KEPT_FOR_KEY_MAX} signals {place.name} are kept for that key, and no run has waited")
        if len(self._kept.rows) >= KEPT_MAX or self._bytes + size > KEPT_BYTES_MAX:
            raise Conflict("too many signals are kept that no run has waited for; name the run")

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        for change in changes:
            if change.table is self._kept:
                if change.old is not None:
                    self._take_out(change.key, change.old.value)
                if change.new is not None:
                    self._put_in(change.key, change.new.value)
        self._is_changed.set()
        self._is_changed = asyncio.Event()

    def _put_in(self, name: str, signal: KeyedSignal) -> None:
        place = Place(signal.namespace, signal.name, signal.key)
        size = self._at.setdefault(place, {})[name] = json_bytes(signal.payload)
        self._bytes += size
        self._wake(place)

    def _take_out(self, name: str, signal: KeyedSignal) -> None:
        place = Place(signal.namespace, signal.name, signal.key)
        names = self._at[place]
        self._bytes -= names.pop(name)
        if not names:
            del self._at[place]
