"""What a server keeps of the past, as it is shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptInterval:
    """Revisions that are kept without a gap."""

    start: str
    end: str
    #: When these were seen, UTC milliseconds.
    start_ms: int
    end_ms: int
    bytes: int
    segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptGap:
    """What is missing between two intervals."""

    #: Everything up to here is kept, and from there on.
    after: str
    before: str
    after_ms: int
    before_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryBudget:
    """What may be kept: what is older, or more, is deleted by whole segments."""

    age_ms: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryStatus:
    """What this instance keeps of the past, and how it does."""

    revision: str
    #: ``following``, ``catching-up``, ``failing``; ``closed`` for one that is only read; ``off`` where none is kept.
    state: str
    #: Why it is not followed.
    reason: str = ""
    since_ms: int | None = None
    #: Everything up to here is kept.
    through: str | None = None
    directory: str = ""
    bytes: int = 0
    budget: HistoryBudget | None = None
    #: Revisions that wait to be written.
    queued: int = 0
    #: Oldest first.
    kept: tuple[KeptInterval, ...] = ()
    gaps: tuple[KeptGap, ...] = ()
