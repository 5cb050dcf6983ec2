"""The contract of a store: what every implementation promises, and what none does.

Promises. A commit is atomic and durable before it returns. Each commit that writes has one revision; revisions
only rise and are never used twice, not even across a crash. A watch delivers every revision after the one it
was given, whole, once and in order, or raises `Compacted`. All pages of a list are of one revision.

Not promised: an order between two commits in flight at once, *distinct* revisions for them (a batch may share one),
reads of the past, or that a commit whose outcome is unknown did not happen (`StoreUnavailable.maybe_applied`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

COMPARES_MAX = 100
WRITES_MAX = 100
#: Keys and values of one commit together.
COMMIT_BYTES_MAX = 1 << 20


class Entry(NamedTuple):
    """A key as it stands at some revision."""

    key: str
    value: bytes
    #: Revision at which the key came to be (again, when it had been deleted).
    create_revision: int
    #: Revision of its last write.
    mod_revision: int


class Change(NamedTuple):
    """One key written in a revision; ``entry`` is None when it was deleted."""

    key: str
    entry: Entry | None


class Page(NamedTuple):
    """Some entries of a list, in key order, and the one revision that all its pages are of."""

    revision: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition on one key: its ``mod_revision`` (0: the key is absent), or, for a hold, its ``create_revision``."""

    key: str
    mod: int | None = None
    create: int | None = None

    def __post_init__(self) -> None:
        if (self.mod is None) == (self.create is None):
            raise ValueError("a compare sets exactly one of mod and create")


class Renewal(NamedTuple):
    """How a lease is renewed, in seconds; a store in the holder's own process need not be told."""

    #: So often, and at least three times within its ttl; None: just that.
    every_s: float | None = None
    #: Its holder is told so long before it may be over: time to stop acting.
    margin_s: float = 0.0


BY_THIRDS: Final = Renewal()


class Lease(Protocol):
    """Keys written with a lease vanish, as one ordinary revision, when it is not renewed for its ttl."""

    #: Set when the lease has expired or could not be renewed in time.
    lost: asyncio.Event

    async def revoke(self) -> None:
        """End the lease now and delete its keys; nothing when that is done.

        One that is `lost` may still be kept by a store that could not be reached, and is worth ending.
        """


@dataclass(frozen=True, slots=True)
class Put:
    """Write ``value`` under ``key``."""

    key: str
    value: bytes
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete ``key``; nothing when it is absent."""

    key: str


Write = Put | Delete


class Compacted(Exception):
    """The history after the revision asked for is gone; list again. Not an error of the caller."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"compacted: the oldest revision that can be resumed from is {oldest}")
        #: The lowest ``after`` that a watch may still be given.
        self.oldest = oldest


class SlowWatcher(Exception):
    """This watcher fell so far behind that it was cut off; others were not slowed. It may resume where it stopped."""


class Rewound(Exception):
    """A watch told what it had told before: nothing that it told since can be relied on; list again."""


class Trouble(StrEnum):
    """What keeps a store from answering: what operators are told, and metrics are labelled with."""

    #: No server of it can be connected to.
    UNREACHABLE = "unreachable"
    #: It is connected and does not answer in time.
    TIMEOUT = "timeout"
    #: Too few of its members can reach each other.
    NO_LEADER = "no-leader"
    #: It has no space left.
    FULL = "full"
    #: It does not accept who we are, or what we may do.
    DENIED = "denied"
    #: The lease that was to hold the key is over.
    LEASE_OVER = "lease-over"
    #: More waits for it than is good, here or there.
    OVERLOADED = "overloaded"
    #: It was closed by us.
    CLOSED = "closed"
    #: Its version, or how it is set up, cannot be used.
    UNFIT = "unfit"
    #: It is at a lower revision than it was.
    ROLLED_BACK = "rolled-back"
    #: It answers what the protocol does not know.
    BROKEN = "broken"


class StoreUnavailable(Exception):
    """The store could not answer."""

    def __init__(self, message: str, *, maybe_applied: bool, trouble: Trouble = Trouble.UNREACHABLE) -> None:
        super().__init__(message)
        #: Whether the commit may have happened all the same: read back before trying again.
        self.maybe_applied = maybe_applied
        self.trouble = trouble


class RolledBack(StoreUnavailable):
    """The store is at a lower revision than it was, as when it was restored from a backup; start afresh."""

    def __init__(self, before: int, now: int) -> None:
        told = f"the store was at revision {before} and is at {now}: it was restored, or has lost what it acknowledged"
        super().__init__(told, maybe_applied=False, trouble=Trouble.ROLLED_BACK)
        self.before = before
        self.now = now


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreHealth:
    """How a store does, as seen from this process; told without asking it."""

    #: ``memory``, ``sqlite`` or ``etcd``.
    kind: str
    #: What it is kept in: a file, or the server that is asked.
    at: str
    #: Of the store's server, when there is one.
    version: str = ""
    #: What is wrong at this moment.
    trouble: Trouble | None = None
    #: One sentence with what mends it, when there is trouble or something to be warned of.
    reason: str = ""
    #: `Instant.elapsed` at which the trouble began.
    since: timedelta | None = None
    #: Bytes, seconds, revisions: what rises and falls.
    gauges: Mapping[str, float] = field(default_factory=dict)
    #: Since this process began.
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Errors since this process began.
    errors: Mapping[Trouble, int] = field(default_factory=dict)


class Store(Protocol):
    """A revisioned key-value store. Keys are text, ordered by their UTF-8 bytes; values are bytes."""

    async def get(self, key: str) -> Entry | None:
        """Return the key as it is now, or None."""

    def list(self, prefix: str) -> AsyncIterator[Page]:
        """Yield all keys under ``prefix`` in pages of one revision; at least one page, which may be empty."""

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        """Write all of ``writes`` if all of ``compares`` hold, durably; return the revision, or None if one failed.

        Raises:
            ValueError: More than `COMPARES_MAX` compares, `WRITES_MAX` writes or `COMMIT_BYTES_MAX` bytes, no write, a
                key written twice, or an empty key.
            StoreUnavailable: The store could not answer.
        """

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        """Yield (revision, changes under ``prefix``) for every revision above ``after`` that touches it; never ends.

        A revision without a change under the prefix is left out or has none: ``(revision, ())``.

        Raises:
            Compacted: ``after`` lies before the kept history.
            Rewound: What was told cannot be relied on.
            SlowWatcher: The reader fell behind the bounded queue.
            StoreUnavailable: The store was closed. One that is merely away is waited for.
        """

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:
        """Grant a lease that renews itself until it is revoked or lost."""

    async def compact(self, revision: int) -> None:
        """Drop the history up to and including ``revision``; watches may then start after it, not before."""

    async def revision(self) -> int:
        """Return the current revision."""

    def health(self) -> StoreHealth:
        """Tell how the store does; never waits."""

    async def close(self) -> None:
        """Stop; commits in flight are finished or raise `StoreUnavailable`."""
