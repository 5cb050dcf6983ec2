"""Fan-out: what the view hears is encoded once for each selection, and the same bytes go to all who selected so.

A revision costs one pass over the distinct selections, one encoding for each that it concerns, and one queue entry a
watcher. Watchers write in their own time; one that does not keep up overflows its own queue and nobody else's.
"""

import asyncio
from collections import deque

from aiohttp import web
from prometheus_client import Counter

from harpoon.api.frames import Encoding, event_json, frame
from harpoon.api.items import Item, Scene, items_of
from harpoon.api.limits import Limits
from harpoon.api.selection import Selection
from harpoon.api.stay import Ending, Stay
from harpoon.control.view import View
from harpoon.store.table import RowChange


class Watcher:
    """The queue of one watcher that has caught up with the present."""

    def __init__(self, stay: Stay, selection: Selection, encoding: Encoding, limits: Limits) -> None:
        self.selection = selection
        self.encoding = encoding
        self._stay = stay
        self._limits = limits
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._is_filled = asyncio.Event()

    def offer(self, chunk: bytes) -> None:
        """Queue whole events to be written; a queue that is full ends the watch."""
        size = self._size + len(chunk)
        is_full = len(self._chunks) >= self._limits.queue_events or size > self._limits.queue_bytes
        if is_full and self._chunks:
            self._chunks.clear()
            self._size = 0
            self._stay.end(Ending.SLOW)
            return
        self._chunks.append(chunk)
        self._size = size
        self._is_filled.set()

    async def take(self) -> bytes:
        """Wait until something is queued, and return all of it as one piece: what came within one turn of the loop."""
        await self._is_filled.wait()
        self._is_filled.clear()
        taken = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return taken


class Feed:
    """Tells watchers what the view hears."""

    def __init__(self, view: View, limits: Limits, encoded: Counter) -> None:
        self._view = view
        self._limits = limits
        self._encoded = encoded
        self._watchers: dict[Selection, set[Watcher]] = {}
        #: JSON of recent events, oldest first: None where a revision does not concern a selection.
        self._cache: dict[tuple[int, Selection], bytes | None] = {}
        self._cache_size = 0
        view.mirror.listen(self._hear)

    def join(self, watcher: Watcher) -> None:
        """Have ``watcher`` told of every revision after the view's present one."""
        self._watchers.setdefault(watcher.selection, set()).add(watcher)

    def leave(self, watcher: Watcher) -> None:
        """Tell ``watcher`` no more; nothing when it has not joined."""
        told = self._watchers.get(watcher.selection, set())
        told.discard(watcher)
        if not told:
            self._watchers.pop(watcher.selection, None)

    def event(self, scene: Scene, revision: int, changes: tuple[RowChange, ...], selection: Selection) -> bytes | None:
        """Return the JSON of the event that tells one revision, or None when it does not concern the selection.

        Args:
            scene: Stands at that revision, the changes applied.
            revision: Which.
            changes: All of its changes.
            selection: Of the watchers.
        """
        at = (revision, selection)
        if at in self._cache:
            return self._cache[at]
        body = self._encode(revision, items_of(scene, changes), selection)
        self._keep(at, body)
        return body

    def _hear(self, revision: int, changes: tuple[RowChange, ...]) -> None:
        if self._watchers:
            self._tell(revision, items_of(Scene(self._view), changes))

    def _tell(self, revision: int, items: list[Item]) -> None:
        if not items:
            return
        shown = self._view.external(revision)
        for selection, watchers in self._watchers.items():
            body = self._encode(revision, items, selection)
            if body is None:
                continue
            self._keep((revision, selection), body)
            framed: dict[Encoding, bytes] = {}
            for watcher in watchers:
                chunk = framed.get(watcher.encoding)
                if chunk is None:
                    chunk = framed[watcher.encoding] = frame(watcher.encoding, "change", shown, body)
                watcher.offer(chunk)

    def _encode(self, revision: int, items: list[Item], selection: Selection) -> bytes | None:
        told = [change for item in items if (change := item.told(selection)) is not None]
        if not told:
            return None
        self._encoded.inc()
        return event_json("change", self._view.external(revision), changes=b"[%s]" % b",".join(told))

    def _keep(self, at: tuple[int, Selection], body: bytes | None) -> None:
        self._cache[at] = body
        # An entry without a body costs memory too; what a key and its place take is about this.
        self._cache_size += 200 + len(body or b"")
        while self._cache_size > self._limits.cache_bytes:
            dropped = self._cache.pop(next(iter(self._cache)))
            self._cache_size -= 200 + len(dropped or b"")


FEED: web.AppKey[Feed] = web.AppKey("feed", Feed)
