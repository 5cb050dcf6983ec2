"""What goes between workers and the work exchange: a request, its answer, and which workers there are."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from harpoon.model.operation import check_handler
from harpoon.model.units import Duration

#: Claims that one request may want.
WANT_MAX: Final = 1_000
#: Closings, and heartbeats, of one request.
ITEMS_MAX: Final = 1_000
HANDLERS_MAX: Final = 1_000
WAIT_MAX: Final = timedelta(seconds=60)
SEQ_MAX: Final = 1 << 53
#: Characters of an error that are kept.
ERROR_MAX: Final = 16_384
#: Bytes of JSON.
PROGRESS_MAX: Final = 4 << 10
#: Attempts that are shown of what a session of a worker has.
SHOWN_MAX: Final = 100
_WORKER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A finished attempt."""

    run: str
    op: str
    visit: int
    attempt: int
    #: Of the claim.
    token: str
    #: One that the operation offers.
    label: str
    output: Any = None
    #: Of a failure: what happened.
    error: str = ""
    #: Of a failure: whether trying again may help.
    retryable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """An attempt that the worker still works on."""

    run: str
    op: str
    visit: int
    attempt: int
    #: Of the claim.
    token: str
    #: How far it is, as its handler says: up to 4 KiB of JSON, shown with the worker; null: as it said last.
    progress: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRequest:
    """What a worker brings back, still works on, and would take."""

    #: Its name: unique in the namespace, and the same after a restart.
    worker: str
    #: Made anew by each life of the worker.
    session: str
    #: Of this request, from 1; one higher than the last that was answered. The same again is answered alike.
    seq: int
    #: What it carries out.
    handlers: tuple[str, ...] = ()
    #: How many attempts it would take, 0 to 1000.
    want: int = 0
    #: With nothing to tell, the answer waits for so long for attempts; at most 60s.
    wait: Duration = timedelta(0)
    #: 1000 at most.
    closings: tuple[Closing, ...] = ()
    #: 1000 at most.
    heartbeats: tuple[Heartbeat, ...] = ()
    #: It is about to stop: it takes nothing more.
    draining: bool = False

    def __post_init__(self) -> None:
        for what, text in (("worker", self.worker), ("session", self.session)):
            if not _WORKER.fullmatch(text):
                raise ValueError(f"{what} is 1 to 128 of A-Z, a-z, 0-9 and '._:@/-'; got {text[:80]!r}")
        if not 1 <= self.seq <= SEQ_MAX:
            raise ValueError(f"seq is 1 to 2**53; got {self.seq}")
        if not 0 <= self.want <= WANT_MAX:
            raise ValueError(f"want is 0 to {WANT_MAX}; got {self.want}")
        _check_wait(self.wait)
        _check_handlers(self.handlers)
        _check_most("closings", len(self.closings), ITEMS_MAX)
        _check_most("heartbeats", len(self.heartbeats), ITEMS_MAX)
        if self.want and not self.handlers:
            raise ValueError("handlers names what is wanted; it is empty, and want is not 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingResult:
    """What became of a closing."""

    run: str
    op: str
    visit: int
    attempt: int
    #: 200: closed, now or by the same closing before. 404: there was no such attempt. 409: it is not the worker's any
    #: more. 422: not so; the attempt stays open. 503: not now; bring it again.
    status: int
    title: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkClaim:
    """An attempt that the worker is to carry out."""

    run: str
    workflow: str
    op: str
    visit: int
    attempt: int
    #: To be shown with heartbeats and the closing.
    token: str
    handler: str
    input: Any
    #: The same for all attempts of a visit.
    key: str
    #: From the claim on.
    timeout_ms: int
    #: Silent for longer than this, the worker loses it.
    heartbeat_ms: int
    #: How long it could be claimed before it was.
    queued_ms: int
    #: What it may be closed with.
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LostAttempt:
    """An attempt that is not the worker's any more."""

    run: str
    op: str
    visit: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkAnswer:
    """What a request of a worker is answered."""

    seq: int
    #: One for each closing, in their order.
    results: tuple[ClosingResult, ...] = ()
    claims: tuple[WorkClaim, ...] = ()
    lost: tuple[LostAttempt, ...] = ()
    #: A later session of this worker is heard: this one gets nothing more.
    superseded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLook:
    """What somebody looks for."""

    handlers: tuple[str, ...]
    #: At most 60s.
    wait: Duration = timedelta(0)

    def __post_init__(self) -> None:
        _check_wait(self.wait)
        _check_handlers(self.handlers)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkShown:
    """Whether there is something to do."""

    #: It may be gone before it is asked for.
    ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAttempt:
    """An attempt that a worker has."""

    run: str
    op: str
    visit: int
    attempt: int
    #: How far it is, as its handler said last.
    progress: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSession:
    """One life of a worker."""

    id: str
    since_ms: int
    heard_ms: int
    #: Nothing was heard of it for so long that nobody counts on it.
    is_quiet: bool
    is_draining: bool
    #: How many more attempts it would take, as it said last.
    want: int
    #: Attempts that it has.
    busy: int
    #: Of these, a hundred at most.
    attempts: tuple[HeldAttempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerObject:
    """A worker, by its name."""

    name: str
    handlers: tuple[str, ...]
    #: Attempts that it has.
    busy: int
    since_ms: int
    #: When it was heard last.
    heard_ms: int
    is_quiet: bool
    #: The youngest last.
    sessions: tuple[WorkerSession, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerList:
    """The workers of a namespace that were heard not long ago, by name."""

    items: tuple[WorkerObject, ...]
    #: Instances that did not say whom they heard.
    unanswered: tuple[str, ...] = field(default=())


def _check_wait(wait: timedelta) -> None:
    if wait > WAIT_MAX:
        raise ValueError(f"wait is at most {WAIT_MAX.seconds}s; ask again to wait longer")


def _check_handlers(handlers: tuple[str, ...]) -> None:
    _check_most("handlers", len(handlers), HANDLERS_MAX)
    for handler in handlers:
        check_handler("a handler", handler)


def _check_most(what: str, count: int, most: int) -> None:
    if count > most:
        raise ValueError(f"{what} holds at most {most}; got {count}: send them in several requests")
