"""Fan-out: what the view hears is encoded once for each selection, and the same bytes go to all who selected so.

A revision costs one pass over the distinct selections and one encoding for each that it concerns; a turn of the loop
costs one write a watcher. One that does not keep up fills its own queue, and overflows nobody else's.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web
from prometheus_client import Counter

from harpoon.api.frames import event_json, frame
from harpoon.api.items import Item, Revisions, Scene, items_of
from harpoon.api.limits import Limits
from harpoon.api.listener import Listener
from harpoon.api.selection import Selection
from harpoon.api.stay import Stay
from harpoon.api.stream import Form, Stream
from harpoon.control.view import View
from harpoon.store.recent import RECENT_REVISIONS_MAX
from harpoon.store.table import RowChange


class Watcher(Listener):
    """One watcher that has caught up with the present."""

    def __init__(self, stay: Stay, stream: Stream, selection: Selection, limits: Limits) -> None:
        super().__init__(stay, stream, limits)
        self.selection = selection


class Replay:
    """Revisions to be told again, from one long past to the present one, however far that goes on meanwhile."""

    def __init__(self, view: View, missed: Revisions) -> None:
        self.scene = Scene(view, missed)
        self.ahead = deque(missed)
        self._last = missed[-1][0]

    def hear(self, revision: int, changes: tuple[RowChange, ...]) -> None:
        """Go on to one more revision, unless the reader is so far behind that the view keeps less.

        What is no new revision is a repair of the view, and then nothing ahead is sure.
        """
        if revision <= self._last or len(self.ahead) > RECENT_REVISIONS_MAX:
            self.ahead.clear()
            return
        self.scene.hold(changes)
        self.ahead.append((revision, changes))
        self._last = revision

    def stop(self) -> None:
        """Go no further: what the view hears next is no revision as it happened."""
        self.ahead.clear()
        self._last = sys.maxsize


class Feed:
    """Tells watchers what the view hears."""

    def __init__(self, view: View, limits: Limits, encoded: Counter) -> None:
        self._view = view
        self._limits = limits
        self._encoded = encoded
        #: Selection → form of the stream → those who are told the very same bytes.
        self._watchers: dict[Selection, dict[Form, set[Watcher]]] = {}
        #: Revision and JSON of events of this turn of the loop, to be written at its end.
        self._pending: dict[Selection, list[tuple[str, bytes]]] = {}
        #: JSON of recent events, oldest first: None where a revision does not concern a selection.
        self._cache: dict[tuple[int, Selection], bytes | None] = {}
        self._cache_size = 0
        self._replays: set[Replay] = set()
        view.mirror.listen(self._hear)
        view.mirror.listen_breaks(self._break)

    @contextmanager
    def replay(self, missed: Revisions) -> Iterator[Replay]:
        """Keep a replay of these revisions, the view's last ones, in step with the view while the block runs."""
        replay = Replay(self._view, missed)
        self._replays.add(replay)
        try:
            yield replay
        finally:
            self._replays.discard(replay)

    def join(self, watcher: Watcher) -> None:
        """Have ``watcher`` told of every revision after the view's present one."""
        self._flush()
        forms = self._watchers.setdefault(watcher.selection, {})
        forms.setdefault(watcher.stream.form, set()).add(watcher)

    def leave(self, watcher: Watcher) -> None:
        """Tell ``watcher`` no more; nothing when it has not joined."""
        forms = self._watchers.get(watcher.selection, {})
        told = forms.get(watcher.stream.form, set())
        told.discard(watcher)
        if not told:
            forms.pop(watcher.stream.form, None)
        if not forms:
            self._watchers.pop(watcher.selection, None)

    def bookmark(self, watcher: Watcher) -> None:
        """Tell a watcher who has joined that it has been told everything up to the present revision."""
        if watcher.is_parted:
            return
        self._flush()
        shown = self._view.external(self._view.revision)
        event = frame(watcher.stream.encoding, "bookmark", shown, event_json("bookmark", shown))
        watcher.offer(event, watcher.stream.form.framed(event))

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
        body = self._encode(revision, items_of(scene, revision, changes), selection)
        self._keep(at, body)
        return body

    def _hear(self, revision: int, changes: tuple[RowChange, ...]) -> None:
        for replay in self._replays:
            replay.hear(revision, changes)
        items = items_of(Scene(self._view), revision, changes) if self._watchers else ()
        if not items:
            return
        shown = self._view.external(revision)
        for selection in self._watchers:
            body = self._encode(revision, items, selection)
            if body is not None:
                self._keep((revision, selection), body)
                if not self._pending:
                    asyncio.get_running_loop().call_soon(self._flush)
                self._pending.setdefault(selection, []).append((shown, body))

    def _break(self, told: int | None) -> None:
        """Part from all watchers, for what the view hears next is no revision as it happened."""
        self._flush()
        for replay in self._replays:
            replay.stop()
        parted, self._watchers = self._watchers, {}
        for forms in parted.values():
            for watchers in forms.values():
                for watcher in watchers:
                    watcher.part(told)
        if told is None:
            self._cache.clear()
            self._cache_size = 0

    def _flush(self) -> None:
        """Write what came within this turn of the loop, as one piece to each watcher and the same to all alike."""
        pending, self._pending = self._pending, {}
        for selection, events in pending.items():
            for form, watchers in self._watchers.get(selection, {}).items():
                joined = b"".join([frame(form.encoding, "change", shown, body) for shown, body in events])
                framed = form.framed(joined)
                for watcher in watchers:
                    watcher.offer(joined, framed)

    def _encode(self, revision: int, items: Sequence[Item], selection: Selection) -> bytes | None:
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
