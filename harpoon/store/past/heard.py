"""What a mirror has told that is to be recorded, until somebody writes it: a queue that has an end.

Where it is too long, or something is not in it, it is let go of: `Heard.broken` says why, and nothing more is queued
until it is begun anew. Then what is missing is to be asked for where it is known.
"""

import asyncio
from collections import deque
from typing import Final

from harpoon.kit.clock import Clock
from harpoon.store.commit import size_of
from harpoon.store.mirror import Mirror
from harpoon.store.past.line import Record
from harpoon.store.port import Change

#: Queued for the thread: some seconds of a busy registry. Beyond, the store is asked instead.
QUEUED_REVISIONS_MAX: Final = 20_000
QUEUED_BYTES_MAX: Final = 32 << 20
#: Below what is recorded: answers to requests that were repeated, which nobody reads later, and are many.
_LEFT_OUT: Final = "idem/"


class Heard:
    """The queue of one mirror.

    Args:
        mirror: Tells what happens.
        clock: What revisions are dated by.
    """

    def __init__(self, mirror: Mirror, clock: Clock) -> None:
        self.records: deque[Record] = deque()
        self.bytes = 0
        #: Everything above it is queued, unless ``broken`` says why not.
        self.floor = mirror.revision
        self.broken = ""
        #: Why what was told before is not sure to have been all.
        self.doubt = ""
        #: Set when there is something to take, or it is broken.
        self.is_there = asyncio.Event()
        self._mirror = mirror
        self._clock = clock
        mirror.record(self._hear)
        mirror.listen_breaks(self._hear_break)

    def __len__(self) -> int:
        return len(self.records)

    def begin(self) -> None:
        """Queue what happens from now on."""
        self.take()
        self.floor, self.broken = self._mirror.revision, ""

    def _hear(self, revision: int, changes: tuple[Change, ...]) -> None:
        kept = self.kept(changes)
        if not kept or self.broken:
            return
        self.records.append(Record(revision, self._clock.now().wall, kept))
        self.bytes += size_of(kept)
        if len(self.records) > QUEUED_REVISIONS_MAX or self.bytes > QUEUED_BYTES_MAX:
            self._break(f"the disk is too slow: {len(self.records)} revisions waited to be written")
        self.is_there.set()

    def _hear_break(self, told: int | None) -> None:
        if told is None:
            self.doubt = "the store had left a change out of what it told, so some before may be missing, too"
        self._break("the registry was listed anew")

    def _break(self, reason: str) -> None:
        self.broken = reason
        self.records.clear()
        self.bytes = 0
        self.is_there.set()

    def take(self) -> list[Record]:
        """Return what is queued, and queue it no longer."""
        records = list(self.records)
        self.records.clear()
        self.bytes = 0
        self.is_there.clear()
        return records

    def kept(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        """Return what of a revision is recorded."""
        return tuple([change for change in changes if not self.is_left_out(change.key)])

    def is_left_out(self, key: str) -> bool:
        """Whether a key is of what is not recorded."""
        return key.startswith(_LEFT_OUT, len(self._mirror.prefix))
