"""Following runs: how a watch comes to the present, and goes on from there, without a gap and without repeating itself.

Where it stands is one number, the cursor: of all that the store did up to that revision it has told what it had to, of
what came later nothing.

1. It tunes in to a channel, which hears everything from then on.
2. It reads how things stand, or what happened since it was here last, at one revision: that is the cursor.
3. What the channel has kept since then is written, again and again, until there is nothing left; in that same moment
   it joins. If the channel keeps less, because it reads slowly, it asks the store for what lies between.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Final

from harpoon.api.doors import Doors
from harpoon.api.frames import frame
from harpoon.api.run_channel import Channel, Follower, Heard
from harpoon.api.run_events import End, Told
from harpoon.api.run_feed import RunFeed
from harpoon.api.stay import Stay
from harpoon.api.stream import Stream
from harpoon.store.port import SlowWatcher

#: As much is written together.
PIECE_BYTES: Final = 64 << 10


class Following(ABC):
    """One watch of a run, or of many.

    Args:
        doors: Of the instance.
        feed: Whose channels it hears.
        stay: It lasts as long.
        follower: Is told.
        run: ``<namespace>/<run>``; None: many.
    """

    def __init__(self, doors: Doors, feed: RunFeed, stay: Stay, follower: Follower, run: str | None) -> None:
        self.doors = doors
        self.stream: Stream = follower.stream
        self.cursor = 0
        #: What a reader would resume from now.
        self.position = ""
        #: Of the one run that it follows.
        self.end: End | None = None
        self._feed = feed
        self._stay = stay
        self._follower = follower
        self._run = run

    @abstractmethod
    async def begin(self, channel: Channel) -> None:
        """Write what comes first, and set the cursor and the position; the channel hears what comes after."""

    @abstractmethod
    def bookmark(self, heard: int) -> bytes:
        """Return the event that says that nothing is missing so far, up to this revision of the store."""

    async def follow(self) -> None:
        """Write until nothing can be heard any more, or the run that is followed has ended.

        Raises:
            Compacted, Rewound: What there is to hear is to be read anew.
            StoreUnavailable: The store was closed.
            Invalid: A record cannot be read.
        """
        async with self._feed.channel(self._run, self._follower.selection) as channel:
            if self._follower.selection.is_by_traits:
                await channel.know()
            await self.begin(channel)
            try:
                while self.end is None and not await self._catch_up(channel):
                    await self._read_history(channel)
                if self.end is None:
                    await self._hear(channel)
            finally:
                channel.leave(self._follower)
        if self.end is None and channel.failure is not None:
            raise channel.failure

    async def _hear(self, channel: Channel) -> None:
        """Be told by the channel, until it has nothing more to tell."""
        self._stay.on_tick = lambda: self._tick(channel)
        await self._follower.drain()
        self._stay.on_tick = None
        self.position = self._follower.position or self.position
        self.end = self._follower.end

    def _tick(self, channel: Channel) -> None:
        channel.flush()
        if not self._follower.is_parted:
            self.position = self._follower.position or self.position
            event = self.bookmark(max(self.cursor, channel.heard))
            self._follower.offer(event, self.stream.form.framed(event))

    async def _catch_up(self, channel: Channel) -> bool:
        """Write what the channel keeps, and join it when that was all; return whether it was."""
        while channel.covers(self.cursor):
            missed = channel.since(self.cursor)
            if not missed:
                channel.join(self._follower, self.cursor)
                return True
            written = bytearray()
            for heard in missed:
                self._take(written, heard, channel)
                if self.end is not None or len(written) >= PIECE_BYTES:
                    break
            await self.write(bytes(written))
            if self.end is not None:
                return True
        return False

    async def _read_history(self, channel: Channel) -> None:
        """Write what the store keeps and the channel does not, until the channel has the rest."""
        written = bytearray()
        store, bookmark_s = self.doors.store, self.doors.limits.bookmark_s
        prefix = channel.prefix
        try:
            async with asyncio.timeout(bookmark_s) as quiet:
                async for revision, changes in store.watch(prefix, after=self.cursor):
                    self._take(written, await channel.hear(revision, changes), channel)
                    if self.end is not None or channel.covers(self.cursor):
                        break
                    if len(written) >= PIECE_BYTES:
                        quiet.reschedule(None)
                        await self.write(bytes(written))
                        written.clear()
                        quiet.reschedule(asyncio.get_running_loop().time() + bookmark_s)
        except SlowWatcher:
            pass  # the store would not wait for this reader; it is asked again from the cursor
        except TimeoutError:
            written += self.bookmark(self.cursor)
        await self.write(bytes(written))

    def _take(self, written: bytearray, heard: Heard, channel: Channel) -> None:
        """Add how a revision is told, if it is, and go on to it."""
        told = channel.told(heard, self._follower.selection)
        if told is not None:
            self.add(written, told)
        self.cursor = heard.revision

    def add(self, written: bytearray, told: Told) -> None:
        """Add what is told; perhaps nothing of it was selected."""
        if told.body:
            written += frame(self.stream.encoding, "change", told.position, told.body)
        self.position, self.end = told.position, told.end

    async def write(self, data: bytes) -> None:
        """Write whole events, and let others have their turn."""
        if data:
            await self.stream.write(data)
        await asyncio.sleep(0)
