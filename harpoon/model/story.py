"""What happened lately to a job, a task or an agent, as it is told."""

from dataclasses import dataclass
from enum import StrEnum


class Happening(StrEnum):
    """What happened, in one word."""

    # Of jobs.
    SCHEDULED = "scheduled"
    #: Its task template changed: a new generation.
    MIGRATED = "migrated"
    SCALED = "scaled"
    #: Something else that was declared changed.
    CHANGED = "changed"
    UNSCHEDULED = "unscheduled"
    #: Nothing is left of it.
    GONE = "gone"
    #: Slots cannot be placed, or may not yet.
    PENDING = "pending"
    #: Every slot of a batch job is complete. One that fails is told as tasks are.
    SUCCEEDED = "succeeded"
    #: Of a cron job: a child was made, because it was due or an operator asked for it.
    FIRED = "fired"
    TRIGGERED = "triggered"
    #: Dues passed for which no child was made.
    SKIPPED = "skipped"
    #: Its dues are not fired, or are again.
    PAUSED = "paused"
    RESUMED = "resumed"
    # Of tasks.
    PLACED = "placed"
    #: Its placement was taken back, so it is to stop.
    WITHDRAWN = "withdrawn"
    #: Its agent has forgotten it, and will never run it: its slot, of an exclusive job, may be placed again.
    DENIED = "denied"
    STARTING = "starting"
    RUNNING = "running"
    READY = "ready"
    UNREADY = "unready"
    STOPPING = "stopping"
    FINISHED = "finished"
    FAILED = "failed"
    LOST = "lost"
    UNCLAIMED = "unclaimed"
    # Of agents.
    REGISTERED = "registered"
    CONNECTED = "connected"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"
    REMOVED = "removed"
    #: It takes no new tasks.
    CORDONED = "cordoned"
    #: It takes none, and those it has are moved elsewhere.
    DRAINING = "draining"
    UNCORDONED = "uncordoned"
    #: An operator said that it will never come back.
    DECLARED_DEAD = "declared_dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened."""

    #: In which it happened; several may have.
    revision: str
    #: When, UTC milliseconds, by the clock of whoever it happened to; of what has no time of its own, not before this.
    at_ms: int
    #: ``job/<name>``, ``task/<id>`` or ``agent/<name>``.
    subject: str
    event: Happening
    #: Why, with the evidence; may be empty.
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventList:
    """What is still known to have happened to something, oldest first."""

    revision: str
    #: Everything after this revision is known; before it, nothing.
    oldest: str
    items: tuple[Event, ...]
