"""The one thread that writes the SQLite store, and group commit.

Commits that wait at the same time become one transaction. Each is decided before anything is written, against the
keys as the earlier ones of its batch leave them; so a commit that fails a compare touches nothing, needs no
savepoint and fails alone. What SQLite itself refuses (a full disk) fails the whole batch, and nothing of it is kept.
Nobody is told of a commit before the transaction is on disk.

The thread sleeps on its inbox. It wakes by itself only for what is due: history to drop, a checkpoint once it is
idle, leases to renew while there are any.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

import structlog

from harpoon.kit.clock import Clock
from harpoon.store.commit import decide
from harpoon.store.feed import Revision
from harpoon.store.leases import Leases, OwnLease
from harpoon.store.port import Change, Compare, Entry, StoreUnavailable, Trouble, Write
from harpoon.store.retention import KEPT_FOR, Retention
from harpoon.store.sqlite_tables import Tables, Target

#: Bounds of one transaction.
_BATCH_REQUESTS: Final = 512
_BATCH_BYTES: Final = 4 << 20
#: Idle for so long, the write-ahead log is folded into the file.
_CHECKPOINT_AFTER: Final = timedelta(seconds=1)
#: What keeps the file small is tried again so long after it failed.
_TIDY_AGAIN: Final = timedelta(seconds=10)

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Commit:
    """Asks for a commit that is within the limits; its result is the revision, or None."""

    compares: Sequence[Compare]
    writes: Sequence[Write]
    #: Key → lease, of the writes that have one.
    leases: Mapping[str, OwnLease]
    #: Bytes.
    size: int
    done: "asyncio.Future[Any]"


@dataclass(slots=True, eq=False)
class Grant:
    """Lets a lease live, for whatever is asked after this."""

    lease: OwnLease


@dataclass(slots=True, eq=False)
class Revoke:
    """Ends a lease."""

    lease: OwnLease
    done: "asyncio.Future[Any]"


@dataclass(slots=True, eq=False)
class Compaction:
    """Asks that history up to and including ``revision`` be dropped."""

    revision: int
    done: "asyncio.Future[Any]"


@dataclass(slots=True, eq=False)
class Stop:
    """Ends the thread, after everything asked before."""


Request = Commit | Grant | Revoke | Compaction | Stop
Outcome = int | None | Exception


class Report(NamedTuple):
    """What the event loop is told at once, after it has become true on disk."""

    revisions: Sequence[Revision]
    ended: Sequence[OwnLease]
    results: Sequence[tuple["asyncio.Future[Any]", Outcome]]


class Writer:
    """The thread's body and its inbox.

    Args:
        tables: What is written; closed at the end.
        clock: What leases and history are timed by.
        tell: Called in the thread with each report; must hand it over and return.
        kept_for: How long history is kept.
    """

    def __init__(
        self, tables: Tables, clock: Clock, tell: Callable[[Report], None], kept_for: timedelta = KEPT_FOR
    ) -> None:
        self._tables = tables
        self._clock = clock
        self._tell = tell
        self._inbox: SimpleQueue[Request] = SimpleQueue()
        self._leases = Leases()
        self._retention = Retention(tables.revision, clock.now().elapsed, kept_for)
        #: Whether there may be rows of the log to delete, and frames of the write-ahead log to fold.
        self._is_trimming = True
        self._is_dirty = True
        #: Not before this moment.
        self._tidy_from = timedelta.min
        self.ask = self._inbox.put

    def run(self) -> None:
        """Serve until `Stop`; whatever ends the thread, everybody who asked is answered."""
        asked: list[Request] = []
        try:
            while not any(isinstance(request, Stop) for request in asked):
                asked = self._take()
                self._expire()
                for kind, requests in groupby(asked, type):
                    self._serve(kind, list(requests))
                self._tidy(is_idle=not asked)
        finally:
            self._abandon(asked)
            self._tables.close()

    def _take(self) -> list[Request]:
        """Wait for requests; none, when something else is due first."""
        try:
            asked = [self._inbox.get(timeout=self._pause_s())]
        except Empty:
            return []
        size = 0
        with suppress(Empty):
            while len(asked) < _BATCH_REQUESTS and size < _BATCH_BYTES:
                asked.append(self._inbox.get_nowait())
                size += getattr(asked[-1], "size", 0)
        return asked

    def _pause_s(self) -> float | None:
        """Return how long to sleep at most; None: until asked."""
        now = self._clock.now().elapsed
        dues = [self._retention.due(self._tables.compacted)]
        if self._is_trimming:
            dues.append(now)
        if self._is_dirty:
            dues.append(now + _CHECKPOINT_AFTER)
        dues = [max(due, self._tidy_from) for due in dues if due is not None]
        dues.append(self._leases.look_at())
        pauses = [max(0.0, (due - now).total_seconds()) for due in dues if due is not None]
        return min(pauses, default=None)

    def _serve(self, kind: type[Request], requests: list[Any]) -> None:
        if kind is Commit:
            self._commit(requests)
        elif kind is Grant:
            for request in requests:
                self._leases.add(request.lease, self._clock.now().elapsed)
        elif kind is Revoke:
            for request in requests:
                self._end(request.lease, [request.done])
        elif kind is Compaction:
            for request in requests:
                self._compact(request)

    def _commit(self, commits: list[Commit]) -> None:
        """Carry out a batch in one transaction, and tell the outcomes."""
        try:
            revisions, targets, outcomes = self._plan(commits)
            if revisions:
                self._tables.write(revisions, targets)
                self._note(revisions, sum([commit.size for commit in commits]))
        except StoreUnavailable as error:
            self._tell(Report((), (), [(commit.done, _again(error)) for commit in commits]))
        else:
            self._tell(Report(revisions, (), list(zip((commit.done for commit in commits), outcomes, strict=True))))

    def _plan(self, commits: list[Commit]) -> tuple[list[Revision], dict[str, Target], list[Outcome]]:
        """Decide a batch, one commit after the other, each on what those before it leave."""
        keys = {item.key for commit in commits for items in (commit.compares, commit.writes) for item in items}
        entries = self._tables.heads(keys)
        revision = self._tables.revision
        revisions: list[Revision] = []
        targets: dict[str, Target] = {}
        outcomes: list[Outcome] = []
        for commit in commits:
            if commit.leases and any(lease not in self._leases for lease in commit.leases.values()):
                told = "the lease of a key to be written is over"
                outcomes.append(StoreUnavailable(told, maybe_applied=False, trouble=Trouble.LEASE_OVER))
                continue
            changes = decide(entries, commit.compares, commit.writes, revision + 1)
            if changes:
                revision += 1
                revisions.append((revision, changes))
                _overlay(entries, targets, changes, commit.leases)
            outcomes.append(None if changes is None else revision)
        return revisions, targets, outcomes

    def _note(self, revisions: list[Revision], size: int) -> None:
        self._is_dirty = True
        if revisions:
            self._retention.note(revisions[-1][0], size, self._clock.now().elapsed)

    def _expire(self) -> None:
        for lease in self._leases.overdue(self._clock.now().elapsed):
            self._end(lease, [])

    def _end(self, lease: OwnLease, asked: list["asyncio.Future[Any]"]) -> None:
        """Delete what ``lease`` holds; it is over even if that must be tried again."""
        self._leases.end(lease)
        try:
            revisions = self._tables.delete(self._tables.leased(lease.number))
            self._note(revisions, 0)
        except StoreUnavailable as error:
            self._tell(Report((), [lease], [(done, _again(error)) for done in asked]))
        else:
            self._leases.bury(lease)
            self._tell(Report(revisions, [lease], [(done, None) for done in asked]))

    def _compact(self, request: Compaction) -> None:
        outcome: Outcome = None
        if request.revision > self._tables.revision:
            outcome = ValueError(f"revision {request.revision} is yet to come; the store is at {self._tables.revision}")
        elif request.revision > self._tables.compacted:
            try:
                self._tables.compact(request.revision)
            except StoreUnavailable as error:
                outcome = error
            self._is_trimming = self._is_dirty = True
        self._tell(Report((), (), [(request.done, outcome)]))

    def _tidy(self, *, is_idle: bool) -> None:
        """Do a little of what keeps the file small."""
        now = self._clock.now().elapsed
        if now < self._tidy_from:
            return
        try:
            floor = self._retention.floor(now)
            if floor > self._tables.compacted:
                self._tables.compact(floor)
                self._is_trimming = self._is_dirty = True
            if self._is_trimming:
                self._is_trimming = not self._tables.trim()
            elif is_idle and self._is_dirty:
                self._is_dirty = not self._tables.checkpoint()
        except StoreUnavailable as error:
            self._tidy_from = now + _TIDY_AGAIN
            _log.warning("store_untidy", reason=str(error))

    def _abandon(self, asked: list[Request]) -> None:
        """Answer those that nobody will serve, if the thread ends by an error; who was answered hears nothing new."""
        unknown = StoreUnavailable("the store stopped in mid-commit", maybe_applied=True, trouble=Trouble.BROKEN)
        never = StoreUnavailable("the store is closed", maybe_applied=False, trouble=Trouble.CLOSED)
        results = [(request.done, _again(unknown)) for request in asked if not isinstance(request, Grant | Stop)]
        with suppress(Empty):
            while True:
                request = self._inbox.get_nowait()
                if not isinstance(request, Grant | Stop):
                    results.append((request.done, _again(never)))
        self._tell(Report((), (), results))


def _overlay(
    entries: dict[str, Entry],
    targets: dict[str, Target],
    changes: Iterable[Change],
    leases: Mapping[str, OwnLease],
) -> None:
    """Note what a commit makes of its keys, for the commits after it and for the tables."""
    for key, entry in changes:
        if entry is None:
            del entries[key]
            targets[key] = None
        else:
            entries[key] = entry
            targets[key] = (entry, leases[key].number if key in leases else None)


def _again(error: StoreUnavailable) -> StoreUnavailable:
    """Copy an error, for each of several that wait gets one of its own."""
    return StoreUnavailable(str(error), maybe_applied=error.maybe_applied, trouble=error.trouble)
