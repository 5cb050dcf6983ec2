"""What many runs came to together, and how all work stands now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class By(StrEnum):
    """What a report has a group for each of."""

    WORKFLOW = "workflow"
    OPERATION = "operation"
    #: Of runs that have the tag ``key``, its value.
    TAG = "tag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long something took, milliseconds."""

    count: int
    p50_ms: int
    p95_ms: int
    max_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReason:
    """Why some failed, in the words of the first one; numbers in them may differ."""

    reason: str
    count: int
    #: The id of the latest run of those.
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportGroup:
    """What came of the runs of one workflow or tag, or of the visits of one operation."""

    #: The workflow's name, ``<workflow>/<operation>``, or the tag's value.
    key: str
    #: Runs; by operation those that visited it.
    runs: int
    #: Status → how many runs; by operation label → how many visits, where ``open`` counts those that are not closed.
    counts: Mapping[str, int]
    #: From beginning to end of those that are over; null: none is.
    took: Durations | None
    #: What follows is of runs that were looked into: how long attempts waited to be claimed, and were worked at.
    queue: Durations | None
    work: Durations | None
    visits: int
    attempts: int
    #: Attempts beyond the first of a visit.
    retries: int
    #: The most frequent ones.
    failures: tuple[FailureReason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What many runs came to together."""

    revision: str
    by: By
    #: As it was asked for; null: from the first that is kept, or up to now.
    since_ms: int | None
    until_ms: int | None
    #: Runs that match.
    runs: int
    #: Of these, the latest that are counted; and the latest of those, whose attempts were looked at.
    counted: int
    looked_into: int
    #: When the earliest of those began; null: there is none.
    counted_since_ms: int | None
    looked_into_since_ms: int | None
    #: All that match were counted and looked into.
    is_whole: bool
    #: Sorted by how many runs each has.
    groups: tuple[ReportGroup, ...]
    #: Groups beyond those.
    groups_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerWorkers:
    """Who offers a handler."""

    namespace: str
    handler: str
    #: That are heard.
    workers: int
    #: Attempts of this handler that may be claimed now, and that somebody has.
    ready: int
    claimed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardWorker:
    """A worker that an instance has heard."""

    namespace: str
    name: str
    handlers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkStats:
    """How all runs, their operations and the workers stand now."""

    revision: str = ""
    #: Status → how many runs that are kept.
    runs: Mapping[str, int] = field(default_factory=dict)
    #: ``running``, ``ready``, ``retrying`` or ``waiting`` → how many open visits.
    operations: Mapping[str, int] = field(default_factory=dict)
    #: Workers that are heard.
    workers: int = 0
    #: Sorted by namespace and handler; those of the engine itself begin with a colon.
    handlers: tuple[HandlerWorkers, ...] = ()
    #: Instances that did not say what they know; what they conduct is missing.
    unanswered: tuple[str, ...] = ()
    #: Told between instances only: whom the one that is asked has heard.
    heard: tuple[HeardWorker, ...] = ()
