"""What a run keeps of the visits of its operations. These are nouns only: what becomes of them is `core.visiting`.

A *visit* is one time that an operation is done; while it is open, it is in one *attempt*. A visit of an operation with
``foreach`` has a *group* of items, each of which is a visit itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Ref(NamedTuple):
    """Names an attempt within its run."""

    op: str
    #: From 1.
    visit: int
    #: From 1, within its visit.
    attempt: int


@dataclass(slots=True)
class Claim:
    """A worker's hold on an attempt."""

    token: str
    worker: str
    session: str
    at_ms: int
    #: The attempt times out then.
    due_ms: int
    #: It is lost then, unless its worker is heard of. Not in the log: after a take-over it begins anew.
    beat_due_ms: int


@dataclass(slots=True)
class Attempt:
    """An open visit, in its present attempt."""

    ref: Ref
    input: object
    #: The visit was.
    opened_ms: int
    #: It may be claimed from then on; its clock in the queue runs from then on.
    ready_ms: int
    #: Why its input could not be evaluated.
    error: str | None = None
    #: Of a wait for a signal, the key that it must have; of a worker's operation, that its concurrency counts under.
    key: str | None = None
    #: Of a wait for a time.
    due_ms: int | None = None
    claim: Claim | None = None
    #: What the attempts of this visit before it closed with.
    spent: tuple[str, ...] = ()
    #: When the visit was first claimed.
    claimed_ms: int | None = None
    #: What the attempt before this one failed with.
    last_error: str = ""
    #: When the attempt before this one closed; of the first, when the visit was opened.
    tried_ms: int = 0
    #: Clocks that were warned of; see `core.dues.Clock`.
    warned: tuple[str, ...] = ()
    #: When its clocks are to be looked at next, or earlier; None: it has none.
    wake_ms: int | None = None
    #: What had come together and opened it; see `Run.pending`.
    origin: int = -1
    #: It is a firing beyond the visits of its operation.
    is_beyond: bool = False


class Latest(NamedTuple):
    """How the visit of an operation closed that closed last."""

    visit: int
    attempt: int
    label: str
    output: object
    error: str
    worker: str
    opened_ms: int
    claimed_ms: int | None
    closed_ms: int


@dataclass(slots=True)
class Progress:
    """What an operation has come to."""

    #: Firings, also beyond its visits.
    fired: int = 0
    #: Of its visits; less what a repair has given back, so that so many of them are left.
    used: int = 0
    #: Of its visits; not of firings beyond them.
    attempts: int = 0
    closed: int = 0
    latest: Latest | None = None


class Incident(NamedTuple):
    """A visit that failed, and no edge took that."""

    op: str
    visit: int
    label: str
    error: str
    since_ms: int

    @property
    def told(self) -> str:
        """What is said of it."""
        which = self.op if self.visit == 1 else f"visit {self.visit} of {self.op}"
        return f"{which} closed as {self.label}, which no edge takes{': ' if self.error else ''}{self.error}"


class Cut(NamedTuple):
    """A visit that was open when the run ended."""

    origin: int
    is_beyond: bool


#: An operation and the number of one of its visits.
VisitKey = tuple[str, int]


@dataclass(slots=True)
class Group:
    """The items of an open visit of an operation with ``foreach``; each item is a visit itself."""

    items: Sequence[object]
    #: That many have been opened.
    opened: int = 0
    #: Those that are under way, as they were opened: index → its visit.
    open: dict[int, VisitKey] = field(default_factory=dict)
    failed: int = 0
    #: Why the first failed that did: its index, its label, and what was said.
    failure: tuple[int, str, str] | None = None
    #: What they came to, by index; only as far as that is collected, and is not too much.
    outputs: list[object] = field(default_factory=list)
    #: Of ``outputs``, as a list in JSON.
    bytes: int = 2
    #: 1 for each that came to something, by index.
    done: bytearray = field(default_factory=bytearray)
    #: Those that are to be done, in their order: the others were before; None: all.
    anew: Sequence[int] | None = None

    @property
    def count(self) -> int:
        """How many are to be done."""
        return len(self.items) if self.anew is None else len(self.anew)

    @property
    def following(self) -> int:
        """The item that is opened next."""
        return self.opened if self.anew is None else self.anew[self.opened]
