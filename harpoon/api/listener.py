"""One reader of a stream that tells many the same, and the queue of what it has not taken yet."""

import asyncio
from collections import deque

from harpoon.api.limits import Limits
from harpoon.api.stay import Ending, Stay
from harpoon.api.stream import Stream


class Listener:
    """Is told whole events by whoever tells all; one that does not keep up is cut off, and slows nobody else."""

    def __init__(self, stay: Stay, stream: Stream, limits: Limits) -> None:
        self.stream = stream
        self._stay = stay
        self._limits = limits
        self._chunks: deque[bytes] = deque()
        self._size = 0
        #: Whether it is told no more.
        self.is_parted = False
        #: Up to which revision it was told all; None: not for certain.
        self._told: int | None = None
        self._is_filled = asyncio.Event()

    def offer(self, events: bytes, framed: bytes) -> None:
        """Write whole events at once, or queue them while the reader is behind; a queue that is full ends the stream.

        Args:
            events: In the stream's encoding.
            framed: The same as a piece of an answer; see `Form.framed`.
        """
        if self._stay.ending is not None or (not self._chunks and self.stream.push(framed)):
            return
        size = self._size + len(events)
        is_full = len(self._chunks) >= self._limits.queue_events or size > self._limits.queue_bytes
        if is_full and self._chunks:
            self._chunks.clear()
            self._stay.end(Ending.SLOW)
            return
        self._chunks.append(events)
        self._size = size
        self._is_filled.set()

    def part(self, told: int | None) -> None:
        """Have `drain` end; see there."""
        self.is_parted, self._told = True, told
        self._is_filled.set()

    async def drain(self) -> int | None:
        """Write what is queued, whenever something is, in the reader's time, until it is told no more.

        Returns:
            The revision up to which all was told; what follows is to be found elsewhere. None: nothing told is sure.
        """
        while not self.is_parted or self._chunks:
            await self._is_filled.wait()
            self._is_filled.clear()
            taken = b"".join(self._chunks)
            self._chunks.clear()
            self._size = 0
            if taken:
                await self.stream.write(taken)
        self.is_parted = False
        return self._told
