"""Server processes and the store, as each of them sees them and the API tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """That an instance answers."""

    status: Literal["ok", "draining"]
    instance: str
    version: str
    revision: str
    #: Its wall clock, UTC milliseconds.
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """How the store does, as this instance sees it; told without asking the store."""

    #: The file, or the server that is asked; empty for memory.
    at: str
    #: Of the store's server, or of the library that keeps the file; empty for memory.
    version: str
    #: What is wrong at this moment, such as ``unreachable``, ``timeout``, ``no-leader``, ``full`` or ``denied``.
    trouble: str | None
    #: What is wrong, or to be warned of, and what mends it.
    reason: str
    #: When the trouble began, UTC milliseconds.
    since_ms: int | None
    #: What can be measured of this kind of store, such as ``revision``, ``db_bytes`` and ``lease_left_seconds``.
    gauges: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveInstance:
    """A running server process, as the one that was asked sees it; asked every two seconds, not for this answer."""

    name: str
    #: Where the other instances reach it; empty: nowhere.
    url: str
    version: str
    #: When its lease began, UTC milliseconds; null: it has none now.
    since_ms: int | None
    #: Whether it is the one that was asked.
    is_self: bool
    #: Whether it decides for all.
    is_leader: bool
    #: What it decides by: of two, the higher one is obeyed; null: it does not lead.
    token: str | None
    #: How many agents it holds.
    agents: int
    #: Of its view; empty: it did not say.
    revision: str
    #: By how many revisions its view was behind the one of the instance that was asked; null: not known.
    lag: int | None
    #: By how many milliseconds its clock is ahead of that of the instance that was asked; null: not known.
    skew_ms: int | None
    #: Why it takes no holds; empty: it does.
    unfit: str
    #: Why it did not answer; empty: it did.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """Who leads, and what there is."""

    instance: str
    version: str
    #: The kind of store.
    store: str
    store_health: StoreStatus
    #: The instance that decides for all; null while none does.
    leader: str | None
    #: All that are live, sorted by name.
    instances: tuple[LiveInstance, ...]
    cluster: str
    revision: str
    jobs: int
    #: Link state → how many.
    agents: Mapping[str, int]
    #: Task state → how many.
    tasks: Mapping[str, int]
