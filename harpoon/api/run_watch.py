"""Watching runs: one, or all of a namespace; how they stand first, then everything that happens, once and in order.

The watch of one run is resumed by the number of its last event, for as long as the run is kept: whatever the store
forgets, the run's log has it. The watch of many is resumed by revision, as the watch of all else.
"""

from typing import Final

from aiohttp import web

from harpoon.api.doors import DOORS, Doors
from harpoon.api.frames import Encoding, event_json, frame, frame_head, frame_tail, negotiate
from harpoon.api.history import check_kept, gone
from harpoon.api.holders import status_of
from harpoon.api.operation import FLAG, REVISION, Parameter, whole
from harpoon.api.query import Query, bad_parameter, path_name, path_run
from harpoon.api.revision import bad_header, parse_revision
from harpoon.api.run_events import End, run_change
from harpoon.api.run_feed import RUN_FEED, Follower
from harpoon.api.run_following import PIECE_BYTES, Following
from harpoon.api.stay import STAYS, Stay
from harpoon.api.stream import Stream
from harpoon.control.ledger_records import run_key
from harpoon.control.run_changes import EVERYTHING
from harpoon.control.run_status import RunStatus, shown_header
from harpoon.kit import codec
from harpoon.kit.errors import Gone, Invalid, Problem
from harpoon.model.header import Header
from harpoon.store.port import Compacted, Rewound

#: Events of a log that are told together to one who resumes.
_SLICE: Final = 20
_SEQ_MAX: Final = 10**9

WATCH_RUN: Final = (
    Parameter("watch", FLAG, "Show the run, then all that happens in it, as a stream, until it is over."),
    Parameter("after", whole(0, _SEQ_MAX), "With watch: every event after this one, by its number, and only those."),
)
WATCH_RUNS: Final = Parameter(
    "watch",
    FLAG,
    "Show the runs that are open, then all that happens in any run, as a stream. Goes with `after` only.",
)
AFTER_RUNS: Final = Parameter(
    "after",
    REVISION,
    "With wait: any change after this revision; after the present when absent. With watch: every change after it.",
)
RESUMED_RUN: Final = Parameter(
    "Last-Event-ID", whole(0, _SEQ_MAX), "As `after`, which it overrides: how an SSE client resumes."
)
RESUMED_RUNS: Final = Parameter("Last-Event-ID", REVISION, "As `after`, which it overrides: how an SSE client resumes.")


class RunWatch(Following):
    """The watch of one run."""

    def __init__(self, request: web.Request, stay: Stay, stream: Stream, header: Header) -> None:
        doors = request.app[DOORS]
        self._key = run_key(header.namespace, header.run)
        super().__init__(doors, request.app[RUN_FEED], stay, Follower(stay, stream, doors.limits, None), self._key)
        self._status: RunStatus = status_of(request)
        self._header = header

    async def run(self, after: int | None) -> None:
        """Write events until the run is over; after one of them, or from a snapshot."""
        self.position = "" if after is None else str(after)
        await _begin(self.stream)
        while self.end is None:
            try:
                await self.follow()
            except (Compacted, Rewound):
                continue  # what the store does not tell any more is in the log
        told = {"type": "over", "seq": int(self.position), "status": self.end.status, "reason": self.end.reason}
        await self.write(frame(self.stream.encoding, "over", self.position, codec.dump(told)))

    async def begin(self) -> None:
        """Write how the run stands, or what its log has after where the watch stood."""
        if self.position:
            await self._resume(int(self.position))
            return
        standing = await self._status.standing(self._header.namespace, self._header.run)
        detail, self.cursor, self.position = standing.detail, standing.revision, str(standing.seq)
        if detail.ended_ms is not None:
            self.end = End(detail.status, detail.reason)
        body = b'{"type":"snapshot","seq":%d,"run":%b}' % (standing.seq, codec.dump_full(detail))
        await self.write(frame(self.stream.encoding, "snapshot", self.position, body))

    def bookmark(self, heard: int) -> bytes:  # noqa: ARG002 a run is resumed by its own numbers
        """Return the event that says that nothing is missing so far."""
        body = b'{"type":"bookmark","seq":%d}' % int(self.position)
        return frame(self.stream.encoding, "bookmark", self.position, body)

    async def _resume(self, after: int) -> None:
        self.cursor, events = await self._status.reader.log(self._key, self._header)
        written = bytearray()
        for start in range(after, len(events), _SLICE):
            self.add(written, run_change(self._key, events[start : start + _SLICE]))
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
    """The watch of the runs of a namespace, or of all."""

    def __init__(self, request: web.Request, stay: Stay, stream: Stream, namespace: str | None) -> None:
        doors = request.app[DOORS]
        super().__init__(doors, request.app[RUN_FEED], stay, Follower(stay, stream, doors.limits, namespace), None)
        self._reader = status_of(request).reader
        self._namespace = namespace
        self._after: int | None = None

    async def run(self, after: int | None) -> None:
        """Write events until cancelled; from the revision ``after``, or from a snapshot."""
        self._after = after
        await _begin(self.stream)
        try:
            await self.follow()
        except Compacted as error:
            await self._lose(gone(self.doors.view, error))
        except Rewound as error:
            await self._lose(Gone(str(error), oldest=self._shown(await self.doors.store.revision())))

    async def begin(self) -> None:
        """Write which runs are open, unless there is a revision to go on from."""
        if self._after is not None:
            self.cursor = self._after
            return
        encoding, comma = self.stream.encoding, b""
        async for revision, headers in self._reader.open_headers(self._namespace):
            if not self.cursor:
                self.cursor = revision
                shown = self._shown(revision)
                head = event_json("snapshot", shown)[:-1] + b',"items":['
                await self.stream.write(frame_head(encoding, "snapshot", shown) + head, is_whole=False)
            if headers:
                part = b",".join([codec.dump_full(shown_header(header, is_listed=True)) for header in headers])
                await self.stream.write(comma + part, is_whole=False)
                comma = b","
        await self.stream.write(b"]}" + frame_tail(encoding))
        shown = self._shown(self.cursor)
        await self.write(frame(encoding, "synced", shown, event_json("synced", shown)))

    def bookmark(self, heard: int) -> bytes:
        """Return the event that says that nothing is missing so far."""
        shown = self._shown(heard)
        return frame(self.stream.encoding, "bookmark", shown, event_json("bookmark", shown))

    def _shown(self, revision: int) -> str:
        return self.doors.view.external(revision)

    async def _lose(self, error: Gone) -> None:
        body = b'{"type":"error","code":"gone","oldest":"%s"}' % error.oldest.encode()
        await self.write(frame(self.stream.encoding, "error", "", body))


async def _begin(stream: Stream) -> None:
    if stream.encoding is Encoding.SSE:
        await stream.write(b"retry: 1000\n\n")


def is_watch(request: web.Request) -> bool:
    """Whether a stream is asked for.

    Raises:
        Invalid: It is neither true nor false, or what stands beside it does not go with it.
    """
    query = Query(request)
    if not query.flag("watch"):
        if "Last-Event-ID" in request.headers:
            raise bad_header("Last-Event-ID", "it goes with watch=true")
        return False
    allowed = ("watch", "after", "min_revision")
    if beside := [name for name in dict.fromkeys(request.query) if name not in allowed]:
        detail = "it does not go with watch"
        raise Invalid(f"{', '.join(beside)}: {detail}", [Problem(pointer=f"?{name}", detail=detail) for name in beside])
    return True


async def watch_run(request: web.Request) -> web.StreamResponse:
    """Tell how a run stands, and what happens in it."""
    namespace, run = path_name(request, "ns"), path_run(request)
    after = _seq(request)
    encoding = Encoding(negotiate(request, among=(Encoding.NDJSON, Encoding.SSE)))
    header = await status_of(request).existing(namespace, run)
    if after:
        events = await status_of(request).reader.events(run_key(namespace, run), header)
        if after > len(events):
            ahead = f"run {run} has {len(events)} events, so {after} is ahead of it; start afresh, with a snapshot"
            raise Gone(ahead, oldest="0")
    with request.app[STAYS].admit(request) as stay:
        stream = Stream(request, stay, encoding)
        one = RunWatch(request, stay, stream, header)
        return await stream.serve(lambda: one.run(after))


async def watch_runs(request: web.Request, namespace: str | None) -> web.StreamResponse:
    """Tell which runs are open, and what happens in any."""
    doors = request.app[DOORS]
    status_of(request)
    encoding = Encoding(negotiate(request, among=(Encoding.NDJSON, Encoding.SSE)))
    after = await _after(request, doors)
    with request.app[STAYS].admit(request) as stay:
        stream = Stream(request, stay, encoding)
        one = RunsWatch(request, stay, stream, namespace)
        return await stream.serve(lambda: one.run(after))


def _seq(request: web.Request) -> int | None:
    text = request.headers.get("Last-Event-ID")
    if text is None:
        return Query(request).count("after")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_SEQ_MAX))):
        raise bad_parameter("after", f"the number of an event, such as 12; got {text[:80]!r}")
    return int(text)


async def _after(request: web.Request, doors: Doors) -> int | None:
    """Return the revision after which the watch begins, if the client named one.

    Raises:
        Invalid: It is no revision.
        Gone: It cannot be resumed from: of another incarnation, ahead of the store, or compacted.
    """
    view = doors.view
    text = request.headers.get("Last-Event-ID") or Query(request).one("after")
    if text is None:
        return None
    try:
        asked = parse_revision(text)
    except ValueError as error:
        raise bad_parameter("after", str(error)) from error
    present = await doors.store.revision()
    if asked.incarnation != view.incarnation:
        other = f"{text} is of incarnation {asked.incarnation} of the store, which is at {view.incarnation}"
        raise Gone(f"{other}; start afresh, with a snapshot", oldest=view.external(present))
    if asked.number > present:
        ahead = f"{text} is ahead of the store, which was perhaps rolled back; start afresh"
        raise Gone(ahead, oldest=view.external(present))
    if asked.number < present:
        await check_kept(doors.store, view, EVERYTHING, asked.number, within_s=doors.limits.history_s)
    return asked.number
