"""The watch door: a snapshot, then every change once, in order; one event is one whole revision's changes.

How a watch comes to the present without gap or duplicate. Where it stands is one number, the cursor: everything up to
it has been written, nothing after it.

1. Without ``after``, the rows of one moment are the snapshot, and the cursor is their revision.
2. While the cursor is older than what the view keeps, revisions are read from the store.
3. Then the kept revisions after the cursor are written, again and again, until there are none; in that same moment,
   with nothing in between, the watcher joins the feed. From then on the feed's queue has all that follows.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from aiohttp import web

from harpoon.api.doors import DOORS, Doors
from harpoon.api.feed import FEED, Feed, Replay, Watcher
from harpoon.api.frames import Encoding, event_json, frame, frame_head, frame_tail, gone_frame, negotiate
from harpoon.api.history import History, gone
from harpoon.api.items import Scene, item_json, object_of, records_of, tables_of, traits_of
from harpoon.api.operation import NAME, TAG, Answer, Operation, Parameter
from harpoon.api.query import Query
from harpoon.api.resuming import ahead, asked_revision
from harpoon.api.run_selection import RUN_PLURALS, STATUS, WORKFLOW, asks_for_runs
from harpoon.api.run_watch import watch_kinds
from harpoon.api.selection import PLURALS, Selection, read_selection
from harpoon.api.stay import STAYS, Stay
from harpoon.api.stream import Stream
from harpoon.kit.errors import Gone, Unavailable
from harpoon.model.name import NAME_PATTERN
from harpoon.model.run_watched import RunsWatchEvent, RunWatchEvent
from harpoon.model.sub_run import ANY_RUN_PATTERN
from harpoon.model.watched import WatchEvent
from harpoon.store.port import Compacted, SlowWatcher

#: Kinds with commas between them, either of these or of those.
_KINDS: Final = {
    "type": "string",
    "pattern": "^({})$".format("|".join("({0})(,({0}))*".format("|".join(of)) for of in (PLURALS, RUN_PLURALS))),
    "default": ",".join(PLURALS),
}
#: A revision, or the number of an event of the one run that is watched.
_POSITION: Final = {"type": "string", "pattern": r"^\d{1,18}(\.\d{1,18})?$"}
#: A name, or the id of a run.
_NAMED: Final = {"type": "string", "pattern": f"{NAME_PATTERN}|{ANY_RUN_PATTERN}"}
_KINDS_TEXT: Final = (
    "What to tell of, separated by commas: some of jobs, placements, tasks, agents, which is all of them when absent; "
    "or some of workflows, runs, attempts. The two are not told together."
)
_AFTER_TEXT: Final = (
    "Every change after this revision; of one run, every event after this one, by its number. When absent, a snapshot "
    "comes first."
)
#: Objects or changes encoded before others get their turn on the event loop: some 2 ms.
_SLICE = 200
#: As much of the store's history is written together.
_HISTORY_BYTES: Final = 64 << 10


class Watch:
    """One watch, from its first event to its last."""

    def __init__(self, doors: Doors, feed: Feed, stay: Stay, watcher: Watcher) -> None:
        self._doors = doors
        self._feed = feed
        self._stay = stay
        self._watcher = watcher
        self._stream = watcher.stream
        self._selection = watcher.selection
        self._encoding = watcher.stream.encoding
        self._cursor = 0

    async def run(self, after: int | None) -> None:
        """Write events until cancelled; from the revision ``after``, or from a snapshot."""
        await self._stream.begin()
        if after is None:
            await self._snapshot()
        else:
            self._cursor = after
        try:
            while True:
                while not await self._catch_up():
                    await self._read_history()
                    # The store may be ahead of the view: what was read there is not to be heard again.
                    await self._doors.view.mirror.reached(self._cursor)
                self._stay.on_tick = lambda: self._feed.bookmark(self._watcher)
                told = await self._watcher.drain()
                self._stay.on_tick = None
                if told is None:
                    oldest = self._doors.view.external(self._doors.view.revision)
                    await self._lose(Gone("the view had missed something; start afresh", oldest=oldest))
                    return
                self._cursor = told
        except Compacted as error:
            await self._lose(gone(self._doors.view, error))
        finally:
            self._feed.leave(self._watcher)

    async def _snapshot(self) -> None:
        view = self._doors.view
        scene = Scene(view, lasting=tables_of(view, self._selection.kinds))
        self._cursor = view.revision
        shown = view.external(self._cursor)
        head = event_json("snapshot", shown)[:-1] + b',"items":['
        await self._stream.write(frame_head(self._encoding, "snapshot", shown) + head, is_whole=False)
        comma = b""
        for part in _parts(scene, self._selection):
            if part:
                await self._stream.write(comma + b",".join(part), is_whole=False)
                comma = b","
            await asyncio.sleep(0)
        await self._stream.write(b"]}" + frame_tail(self._encoding))
        await self._write("synced", self._cursor, event_json("synced", shown))

    async def _catch_up(self) -> bool:
        """Write what the view keeps, and join the feed when that was all; return whether it was."""
        while (missed := self._doors.view.mirror.since(self._cursor)) is not None:
            if not missed:
                self._feed.join(self._watcher)
                return True
            with self._feed.replay(missed) as replay:
                while replay.ahead:
                    await self._stream.write(self._replay(replay))
                    await asyncio.sleep(0)
        return False

    def _replay(self, replay: Replay) -> bytes:
        """Return the next slice of the missed revisions."""
        chunks, handled = [], 0
        while replay.ahead:
            revision, changes = replay.ahead.popleft()
            replay.scene.play(changes)
            body = self._feed.event(replay.scene, revision, changes, self._selection)
            if body is not None:
                chunks.append(frame(self._encoding, "change", self._doors.view.external(revision), body))
            self._cursor = revision
            handled += len(changes)
            if handled >= _SLICE:
                break
        return b"".join(chunks)

    async def _read_history(self) -> None:
        """Write what the store keeps and the view does not."""
        view, limits = self._doors.view, self._doors.limits
        history = History(self._doors.store, view)
        told = bytearray()
        try:
            async with asyncio.timeout(limits.bookmark_s) as quiet:
                async for revision, changes in history.read(self._cursor):
                    body = self._feed.event(history.scene, revision, changes, self._selection)
                    self._cursor = revision
                    if body is not None:
                        told += frame(self._encoding, "change", view.external(revision), body)
                    if len(told) >= _HISTORY_BYTES:
                        quiet.reschedule(None)
                        await self._stream.write(bytes(told))
                        told.clear()
                        quiet.reschedule(asyncio.get_running_loop().time() + limits.bookmark_s)
        except SlowWatcher:
            # The store would not wait for this reader; it is asked again from the cursor.
            pass
        except TimeoutError:
            shown = view.external(self._cursor)
            told += frame(self._encoding, "bookmark", shown, event_json("bookmark", shown))
        if told:
            await self._stream.write(bytes(told))

    async def _write(self, type_: str, revision: int, body: bytes) -> None:
        await self._stream.write(frame(self._encoding, type_, self._doors.view.external(revision), body))

    async def _lose(self, error: Gone) -> None:
        await self._stream.write(gone_frame(self._encoding, error.oldest))


def _parts(scene: Scene, selection: Selection) -> Iterator[list[bytes]]:
    """Yield the objects of a snapshot, as JSON, by as many as are looked at in one go; perhaps none of them."""
    records = records_of(scene.view)
    for kind in sorted(selection.kinds):
        rows = iter(scene.rows(records[kind]).items())
        while looked_at := list(islice(rows, _SLICE)):
            yield [
                item_json(kind, key, object_of(scene, kind, key, row))
                for key, row in looked_at
                if selection.takes(traits_of(scene, kind, key, row))
            ]


async def watch(request: web.Request) -> web.StreamResponse:
    """Tell what is, and what changes: of jobs, placements, tasks and agents, or of workflows, runs and attempts.

    Both are not watched together. Of runs, those that are open are the snapshot, then each thing that happens in any is
    told; or in one, which ``namespace`` and ``name`` name, until it is over.
    """
    doors, feed = request.app[DOORS], request.app[FEED]
    query = Query(request)
    if asks_for_runs(query):
        return await watch_kinds(request, query)
    selection = read_selection(query)
    encoding = Encoding(negotiate(request, among=(Encoding.NDJSON, Encoding.SSE)))
    after = await _after(request)
    with request.app[STAYS].admit(request) as stay:
        stream = Stream(request, stay, encoding)
        watcher = Watcher(stay, stream, selection, doors.limits)
        one = Watch(doors, feed, stay, watcher)
        return await stream.serve(lambda: one.run(after))


async def _after(request: web.Request) -> int | None:
    """Return the revision after which the watch begins, if the client named one.

    Raises:
        Invalid: It is no revision.
        Gone: It cannot be resumed from: of another incarnation, ahead of the store, or compacted.
    """
    doors = request.app[DOORS]
    view, limits = doors.view, doors.limits
    asked = asked_revision(request, view, view.mirror.oldest)
    if asked is None:
        return None
    if asked > view.revision:
        if asked > await doors.store.revision():
            raise ahead(view, asked, view.mirror.oldest)
        try:
            async with asyncio.timeout(limits.history_s):
                await view.mirror.reached(asked)
        except TimeoutError as error:
            shown = view.external(asked)
            raise Unavailable(f"this instance has not caught up with {shown} yet; try again") from error
    if view.mirror.since(asked) is None:
        await History(doors.store, view).check(asked, within_s=limits.history_s)
    return asked


ROUTES = (
    Operation(
        "GET",
        "/v1/watch",
        watch,
        tag="watch",
        query=(
            Parameter("kinds", _KINDS, _KINDS_TEXT),
            Parameter("namespace", NAME, "Only what is of this namespace, and agents, which are of none."),
            Parameter("name", _NAMED, "Only what belongs to this job, or this agent; or the one run of `namespace`."),
            Parameter("after", _POSITION, _AFTER_TEXT),
            TAG,
            replace(WORKFLOW, description="Of kinds of runs: only this workflow, and runs of it."),
            replace(STATUS, description="Of kinds of runs: only what leaves a run so; any of these."),
        ),
        headers=(Parameter("Last-Event-ID", _POSITION, "As `after`, which it overrides: how an SSE client resumes."),),
        answers={200: Answer(events=WatchEvent | RunsWatchEvent | RunWatchEvent)},
        refuses=(410,),
    ),
)
