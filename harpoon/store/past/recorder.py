"""Keeping a history: what the mirror is told is written beside, by a thread, and nobody waits for it.

What the mirror's watch tells is queued on the event loop, no more than that, and written by the one thread that has the
directory. Where the thread cannot follow (the disk is full or slow, the process was off, the mirror had to list anew),
the queue is let go of, and the store is asked for what happened after the last record, which it can tell for some time.
Only when it cannot, the history has a gap: a new segment begins, with everything as it stands, and says so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from harpoon.kit.clock import Clock
from harpoon.kit.news import News
from harpoon.store.cluster import Cluster
from harpoon.store.mirror import Mirror
from harpoon.store.past.archive import Archive, Draft
from harpoon.store.past.budget import Budget
from harpoon.store.past.fold import NotKept
from harpoon.store.past.heard import Heard
from harpoon.store.past.line import Header, Record
from harpoon.store.past.segment import Span
from harpoon.store.port import Compacted, Rewound, SlowWatcher, Store, StoreUnavailable, Trouble

#: So often it is written down that nothing happened: a time between is then known to be one of silence.
BEAT_S: Final = 60.0
#: Pause before what failed is tried again, growing from the first to the second.
PAUSE_S: Final = (0.5, 15.0)
#: Revisions that are asked for later are written by so many.
_LATE: Final = 500
#: At the end, what is queued is written within so long, or left to the store.
_FAREWELL_S: Final = 3.0
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Recording(StrEnum):
    """How a history does."""

    #: It follows the store.
    FOLLOWING = "following"
    #: It reads from the store what it has missed.
    CATCHING_UP = "catching-up"
    #: It cannot be written, or the store not be asked; it is tried again.
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a history does at this moment."""

    state: Recording
    #: Why it fails.
    reason: str
    #: UTC milliseconds.
    since_ms: int


class _Broken(Exception):
    """What was queued is not all that happened."""


class Recorder:
    """Keeps the history of one mirror's keyspace; `run` does all of it.

    It is to be made before the mirror follows, and in the same breath in which that was loaded.

    Args:
        store: What the mirror mirrors.
        mirror: Tells what happens.
        about: Whose registry that is.
        directory: This instance's alone.
        budget: What may be kept.
        clock: What revisions are dated by.
    """

    def __init__(
        self, store: Store, mirror: Mirror, *, about: Cluster, directory: Path, budget: Budget, clock: Clock
    ) -> None:
        self.about = about
        self.directory = directory
        self.budget = budget
        #: Of all clusters that the directory has something of; oldest first.
        self.spans: tuple[Span, ...] = ()
        #: Times that something was not recorded, since this process began.
        self.gaps = 0
        self._store = store
        self._mirror = mirror
        self._clock = clock
        self._archive: Archive | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._heard = Heard(mirror, clock)
        self._is_writing = self._was_in_step = False
        self._has_written = asyncio.Event()
        self._news = News()
        self.condition = Condition(state=Recording.CATCHING_UP, reason="", since_ms=clock.now().wall)

    @property
    def through(self) -> int:
        """The revision up to which all is recorded."""
        if self.condition.state is Recording.FOLLOWING and not self._heard and not self._is_writing:
            return self._mirror.revision
        last = self.spans[-1] if self.spans else None
        return 0 if last is None or last.about != self.about else last.end

    @property
    def queued(self) -> int:
        """Revisions that wait to be written."""
        return len(self._heard)

    async def written(self, revision: int) -> None:
        """Wait until everything up to a revision is recorded."""
        while self.through < revision:
            await self._has_written.wait()

    async def run(self) -> None:
        """Record until cancelled.

        Raises:
            StoreUnavailable: The store was closed, or set back.
        """
        pause_s = PAUSE_S[0]
        try:
            while True:
                try:
                    await self._record()
                except (_Broken, SlowWatcher) as error:
                    self._set(Recording.CATCHING_UP, str(error))
                except (OSError, NotKept) as error:
                    self._fail(f"{self.directory}: {getattr(error, 'strerror', None) or error}")
                    await self._let_go()
                except StoreUnavailable as error:
                    if error.trouble in {Trouble.CLOSED, Trouble.ROLLED_BACK}:
                        raise
                    self._fail(str(error))
                await asyncio.sleep(pause_s)
                pause_s = PAUSE_S[0] if self._was_in_step else min(2 * pause_s, PAUSE_S[1])
                self._was_in_step = False
        finally:
            await self._end()

    async def _record(self) -> None:
        """Open the directory, come into step, and stay so until something breaks it."""
        archive = self._archive
        if archive is None:
            archive = await self._apart(self._open)
        self.spans = archive.spans
        self._heard.begin()
        await self._come_into_step(archive)
        self._news.forget()
        self._set(Recording.FOLLOWING)
        self._was_in_step = True
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._heard.is_there.wait()
            if self._heard.broken:
                raise _Broken(self._heard.broken)
            await self._write(archive, self._heard.take() or [self._beat()])
            await self._tidy(archive)

    def _open(self) -> Archive:
        # Noted by the thread, so that also one that nobody waits for any more is closed.
        self._archive = Archive.open(self.directory, self.budget)
        return self._archive

    async def _come_into_step(self, archive: Archive) -> None:
        last = archive.last
        reason = None if last is None else self._why_not(last)
        if last is not None and reason is None:
            try:
                await self._catch_up(archive, last.end)
            except Compacted as error:
                reason = f"the store did not keep what happened between {last.end} and {error.oldest}"
            except Rewound as error:
                reason = f"the store did not tell reliably what happened: {error}"
            else:
                return
        await self._begin(archive, reason)

    def _why_not(self, last: Span) -> str | None:
        """Return why the last segment is not gone on with; None: it is."""
        if last.about.id != self.about.id:
            return f"it is another registry: before, it was that of cluster {last.about.id}"
        if last.about.incarnation != self.about.incarnation:
            return "the registry was restored or copied, and began a new life"
        if last.end > self._mirror.revision:
            return f"the store was set back: it had come to {last.end}, and was at {self._mirror.revision}"
        return self._heard.doubt or None

    async def _catch_up(self, archive: Archive, after: int) -> None:
        """Record what the store tells after a revision, until the queue has what follows."""
        late: list[Record] = []
        if after >= self._heard.floor:
            return
        stream = self._store.watch(self._mirror.prefix, after=after)
        try:
            async for revision, changes in stream:
                kept = self._heard.kept(changes)
                if kept:
                    late.append(Record(revision, self._clock.now().wall, kept, is_late=revision <= self._heard.floor))
                if len(late) >= _LATE:
                    await self._write(archive, late)
                    late = []
                if revision >= self._heard.floor:
                    break
        finally:
            await _close(stream)
        await self._write(archive, late)
        _log.info("history_caught_up", after=after, revision=archive.spans[-1].end)

    async def _begin(self, archive: Archive, reason: str | None) -> None:
        """Begin a new segment with everything as it stands."""
        draft: Draft | None = None
        last = archive.last
        try:
            async for page in self._store.list(self._mirror.prefix):
                if draft is None:
                    header = Header(
                        about=self.about,
                        revision=page.revision,
                        at_ms=max(self._clock.now().wall, 0 if last is None else last.end_ms),
                        continues=False,
                        reason=reason or "",
                    )
                    draft = await self._apart(lambda header=header: archive.begin(header))  # type: ignore[misc]
                entries = [entry for entry in page.entries if not self._heard.is_left_out(entry.key)]
                await self._apart(lambda entries=entries, draft=draft: draft.add(entries))  # type: ignore[misc]
            assert draft is not None, "a list has a page at least"
            await self._do(archive, draft.finish)
        except BaseException:
            if draft is not None and archive.last is last:
                self._thread.submit(draft.drop)
            raise
        self._heard.doubt = ""
        if reason is not None:
            self.gaps += 1
            _log.warning("history_gap", reason=reason, directory=str(self.directory))
        _log.info("history_begun", revision=self.spans[-1].start, directory=str(self.directory))

    async def _tidy(self, archive: Archive) -> None:
        """Go on in another segment, and delete what is over the budget, when it is time."""
        now_ms = self._clock.now().wall
        if archive.is_due(now_ms):
            await self._do(archive, archive.rotate)
        if archive.is_over(now_ms):
            await self._do(archive, lambda: archive.prune(now_ms))

    def _beat(self) -> Record:
        return Record(self._mirror.revision, self._clock.now().wall, ())

    async def _write(self, archive: Archive, records: list[Record]) -> None:
        if records:
            await self._do(archive, lambda: archive.append(records))

    async def _do(self, archive: Archive, work: Callable[[], Any]) -> None:
        """Have the thread do something that changes what is kept."""
        self._is_writing = True
        try:
            await self._apart(work)
        finally:
            self._is_writing = False
        self.spans = archive.spans
        self._has_written.set()
        self._has_written = asyncio.Event()

    async def _apart(self, work: Callable[[], T]) -> T:
        """Have the thread do something, which it does to its end even if nobody waits for that any more."""
        doing = asyncio.get_running_loop().run_in_executor(self._thread, work)
        # Whoever is cancelled would not hear of it.
        doing.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(doing)

    def _fail(self, reason: str) -> None:
        self._set(Recording.FAILING, reason)
        if self._news.is_news(reason, asyncio.get_running_loop().time()):
            _log.warning("history_not_written", reason=reason, directory=str(self.directory))

    def _set(self, state: Recording, reason: str = "") -> None:
        before = self.condition
        if (before.state, before.reason) != (state, reason):
            since_ms = before.since_ms if before.state is state else self._clock.now().wall
            self.condition = Condition(state=state, reason=reason, since_ms=since_ms)
        self._has_written.set()
        self._has_written = asyncio.Event()

    async def _let_go(self) -> None:
        archive, self._archive = self._archive, None
        if archive is not None:
            with suppress(OSError):
                await self._apart(archive.close)

    async def _end(self) -> None:
        """Write what is queued, and let go of the directory; what takes too long is left to the next start."""
        records, beat = self._heard.take(), self._beat()
        is_following = self.condition.state is Recording.FOLLOWING and not self._heard.broken

        def end() -> None:
            archive = self._archive
            if archive is None:
                return
            with suppress(OSError):
                if is_following:
                    archive.append([*records, beat])
            with suppress(OSError):
                archive.close()

        ending = self._thread.submit(end)
        self._thread.shutdown(wait=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await asyncio.wrap_future(ending)


async def _close(stream: AsyncIterator[Any]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
