"""The watches of runs: of one, and of many; how they stand first, then everything that happens, once and in order.

The watch of one run is resumed by the number of its last event, for as long as the run is kept: whatever the store
forgets, the run's log has it. The watch of many is resumed by revision, as the watch of all else.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from aiohttp import web

from harpoon.api.doors import DOORS
from harpoon.api.frames import event_json, frame, frame_head, frame_tail, gone_frame
from harpoon.api.history import gone
from harpoon.api.holders import status_of
from harpoon.api.run_channel import Channel, Follower
from harpoon.api.run_events import End, declared_in, lines_of, run_told
from harpoon.api.run_feed import RUN_FEED
from harpoon.api.run_following import PIECE_BYTES, Following
from harpoon.api.run_selection import RunKind, RunSelection
from harpoon.api.stay import Stay
from harpoon.api.stream import Stream
from harpoon.control.ledger_records import run_key
from harpoon.control.run_changes import Declaration
from harpoon.control.run_status import RunStatus, shown_header
from harpoon.control.view import WORKFLOWS
from harpoon.kit import codec
from harpoon.kit.errors import Gone, Unavailable
from harpoon.model.header import Header
from harpoon.store.port import Compacted, Rewound

#: Events of a log that are told together to one who resumes.
_SLICE: Final = 20
#: Workflows that are written together: one may have half a megabyte.
_WORKFLOWS: Final = 10
#: Times that what stands is read anew because a workflow was declared meanwhile: it takes milliseconds each.
_TRIES: Final = 20


class RunWatch(Following):
    """The watch of one run.

    Args:
        request: Asks for it.
        stay: It lasts as long.
        stream: Is written.
        header: Of the run.
        selection: Which of its events are told.
    """

    def __init__(
        self, request: web.Request, stay: Stay, stream: Stream, header: Header, selection: RunSelection
    ) -> None:
        doors = request.app[DOORS]
        self._key = run_key(header.namespace, header.run)
        follower = Follower(stay, stream, doors.limits, selection)
        super().__init__(doors, request.app[RUN_FEED], stay, follower, self._key)
        self._status: RunStatus = status_of(request)
        self._header = header
        self._selection = selection

    async def run(self, after: int | None) -> None:
        """Write events until the run is over; after one of them, or from a snapshot."""
        self.position = "" if after is None else str(after)
        await self.stream.begin()
        while self.end is None:
            try:
                await self.follow()
            except (Compacted, Rewound):
                continue  # what the store does not tell any more is in the log
        told = {"type": "over", "seq": int(self.position), "status": self.end.status, "reason": self.end.reason}
        await self.write(frame(self.stream.encoding, "over", self.position, codec.dump(told)))

    async def begin(self, channel: Channel) -> None:  # noqa: ARG002 it needs none of what is kept there
        """Write how the run stands, or what its log has after where the watch stood."""
        if self.position:
            await self._resume(int(self.position))
            return
        standing = await self._status.standing(self._header.namespace, self._header.run)
        detail, self.cursor, self.position = standing.detail, standing.revision, str(standing.seq)
        if detail.ended_ms is not None:
            self.end = End(detail.status, detail.reason)
        body = b'{"type":"snapshot","seq":%d,"run":%b}' % (standing.seq, codec.dump_full(detail))
        await self.write(frame(self.stream.encoding, "snapshot", self.position, body) + self._said("synced"))

    def bookmark(self, heard: int) -> bytes:  # noqa: ARG002 a run is resumed by its own numbers
        """Return the event that says that nothing is missing so far."""
        return self._said("bookmark")

    def _said(self, type_: str) -> bytes:
        body = b'{"type":"%b","seq":%d}' % (type_.encode(), int(self.position))
        return frame(self.stream.encoding, type_, self.position, body)

    async def _resume(self, after: int) -> None:
        self.cursor, events = await self._status.reader.log(self._key, self._header)
        written = bytearray()
        for start in range(after, len(events), _SLICE):
            told = run_told(lines_of(self._key, events[start : start + _SLICE]), self._selection)
            assert told is not None, "a slice has events"
            self.add(written, told)
            if len(written) >= PIECE_BYTES:
                await self.write(bytes(written))
                written.clear()
        await self.write(bytes(written))
        if self.end is None:
            # The header was read before the log. A later one may tell of an end whose events are still to be told.
            self.end = _end_of(self._header, len(events), after)


def _end_of(header: Header, count: int, after: int) -> End | None:
    """Return how a run ended of whose events none is left to be told; None: it goes on."""
    return End(header.status.value, header.reason) if header.status.is_over and count == after else None


class RunsWatch(Following):
    """The watch of many runs, and of workflows.

    Args:
        request: Asks for it.
        stay: It lasts as long.
        stream: Is written.
        selection: What is told.
    """

    def __init__(self, request: web.Request, stay: Stay, stream: Stream, selection: RunSelection) -> None:
        doors = request.app[DOORS]
        super().__init__(doors, request.app[RUN_FEED], stay, Follower(stay, stream, doors.limits, selection), None)
        self._reader = status_of(request).reader
        self._selection = selection
        self._after: int | None = None

    async def run(self, after: int | None) -> None:
        """Write events until cancelled; from the revision ``after``, or from a snapshot."""
        self._after = after
        await self.stream.begin()
        try:
            await self.follow()
        except Compacted as error:
            await self._lose(gone(self.doors.view, error))
        except Rewound as error:
            await self._lose(Gone(str(error), oldest=self._shown(await self.doors.store.revision())))

    async def begin(self, channel: Channel) -> None:
        """Write what there is, unless there is a revision to go on from."""
        if self._after is not None:
            self.cursor = self._after
            return
        comma = b""
        async for revision, items in self._standing(channel):
            if not self.cursor:
                self.cursor = revision
                shown = self._shown(revision)
                head = event_json("snapshot", shown)[:-1] + b',"items":['
                await self.stream.write(frame_head(self.stream.encoding, "snapshot", shown) + head, is_whole=False)
            if items:
                await self.stream.write(comma + b",".join(items), is_whole=False)
                comma = b","
        await self.stream.write(b"]}" + frame_tail(self.stream.encoding))
        await self.write(self._said("synced", self.cursor))

    def bookmark(self, heard: int) -> bytes:
        """Return the event that says that nothing is missing so far."""
        return self._said("bookmark", heard)

    async def _standing(self, channel: Channel) -> AsyncIterator[tuple[int, list[bytes]]]:
        """Yield what there is at one revision, which is told with it, some items at a time; at least once.

        Workflows are read before the runs and again once the revision of these is known. As they stood both times, so
        they stood then.

        Raises:
            StoreUnavailable: The store could not answer.
            Unavailable: Workflows change all the time.
        """
        for _ in range(_TRIES):
            revision, workflows = await self._workflows()
            if RunKind.RUN not in self._selection.kinds:
                async for part in self._shown_workflows(workflows):
                    yield revision, part
                return
            runs = self._open_runs(channel)
            revision, part = await anext(runs)
            if not self._selection.has_workflows or workflows == (await self._workflows())[1]:
                yield revision, part
                async for one in runs:
                    yield one
                async for part in self._shown_workflows(workflows):
                    yield revision, part
                return
            await runs.aclose()
        raise Unavailable("workflows change faster than they can be read; try again")

    async def _open_runs(self, channel: Channel) -> AsyncGenerator[tuple[int, list[bytes]], None]:
        async for revision, headers in self._reader.open_headers(self._selection.namespace):
            if self._selection.is_by_traits:
                known = await channel.know()
                for header in headers:
                    known.note(run_key(header.namespace, header.run), header)
            yield revision, [_item(header) for header in headers if self._selection.takes_open(header)]

    async def _workflows(self) -> tuple[int, list[Declaration]]:
        """Return the workflows that may be wanted, as they stand at one revision; none if they are of no interest."""
        if not self._selection.has_workflows:
            return await self.doors.store.revision(), []
        revision, found = 0, []
        async for page in self.doors.store.list(WORKFLOWS):
            revision = page.revision
            found += [Declaration(entry.key.removeprefix(WORKFLOWS), entry) for entry in page.entries]
        return revision, [one for one in found if self._selection.takes_workflow(one.key, None)]

    async def _shown_workflows(self, workflows: Sequence[Declaration]) -> AsyncIterator[list[bytes]]:
        yield []
        for start in range(0, len(workflows), _WORKFLOWS):
            every = declared_in(self.doors.view, workflows[start : start + _WORKFLOWS])
            yield [one.item for one in every if self._selection.takes_workflow(one.key, one.tags)]
            await asyncio.sleep(0)

    def _said(self, type_: str, revision: int) -> bytes:
        shown = self._shown(revision)
        return frame(self.stream.encoding, type_, shown, event_json(type_, shown))

    def _shown(self, revision: int) -> str:
        return self.doors.view.external(revision)

    async def _lose(self, error: Gone) -> None:
        if self.stream.is_torn:
            raise error  # within a snapshot no other event can be told
        await self.write(gone_frame(self.stream.encoding, error.oldest))


def _item(header: Header) -> bytes:
    key = run_key(header.namespace, header.run)
    shown = codec.dump_full(shown_header(header, is_listed=True))
    return b'{"kind":"run","key":"%b","object":%b}' % (key.encode(), shown)
