"""What happened in a run, as all checks read it: the same events of a simulation and of real processes.

One event is one line of JSON. A simulation writes one file; of a real run each process has a file of its own, and they
are merged by time, which is one clock for all of them (virtual, or the kernel's monotonic one). Where the order of two
events of different nodes matters to a check, it goes by tokens and revisions, not by time: a real event is noted a
moment after it happened.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

#: A fencing token or a placement's number: incarnation and revision.
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at a node: ``store``, an instance, an agent, a client or ``nemesis``."""

    kind: ClassVar[str] = ""
    #: Seconds since the run began.
    t: float
    node: str


# The store.


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(Event):
    """A revision, whole; all revisions are told, in order. Leased keys that lapsed are one, too."""

    kind: ClassVar[str] = "committed"
    revision: int
    #: Key → its value as JSON; None: it was deleted.
    changes: Mapping[str, Any]
    #: The store is another, or was set back: nothing but ``changes`` is in it, and revisions may begin anew.
    is_anew: bool = False


# An agent, and its host.


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted(Event):
    """The agent's daemon serves."""

    kind: ClassVar[str] = "booted"
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted(Event):
    """The agent took a token for the highest, durably, and answered so."""

    kind: ClassVar[str] = "adopted"
    token: Pair
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied(Event):
    """The agent carried out a command, or refused this one of a batch whose token it took."""

    kind: ClassVar[str] = "applied"
    token: Pair
    instance: str
    #: ``start``, ``stop`` or ``forget``.
    command: str
    task: str
    is_ok: bool
    #: It was denied, durably; of a start: it had been.
    is_denied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """A process of a task came to be on the host. An effect: whatever the agent knows of it."""

    kind: ClassVar[str] = "started"
    task: str
    #: Which process: unique within the history.
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited(Event):
    """That process, and all of its group, is gone."""

    kind: ClassVar[str] = "exited"
    task: str
    run: str


# A worker.


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed(Event):
    """A handler began an attempt of a run, or ended it. An effect: whatever came of it."""

    kind: ClassVar[str] = "executed"
    #: ``<namespace>/<run>``.
    run: str
    op: str
    visit: int
    attempt: int
    #: Of the claim that it was given.
    token: str
    #: What it ended with; empty: it began.
    label: str = ""
    output: Any = None


# An instance.


@dataclass(frozen=True, slots=True, kw_only=True)
class Up(Event):
    """The process of an instance, an agent or a worker was started; ``instance`` is the unique name of this life."""

    kind: ClassVar[str] = "up"
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Down(Event):
    """The process of an instance, an agent or a worker is gone, by itself or killed."""

    kind: ClassVar[str] = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Event):
    """An instance says that it has a hold: ``scheduler`` or an agent's name."""

    kind: ClassVar[str] = "held"
    what: str
    token: Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent(Event):
    """An instance sent commands to an agent: kind and task of each."""

    kind: ClassVar[str] = "sent"
    agent: str
    token: Pair
    commands: tuple[tuple[str, str], ...]


# A client.


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoked(Event):
    """A client begins a request: ``put`` (schedule, migrate, scale), ``delete`` (unschedule) or ``get`` of a job.

    Of a run of a workflow: ``start``, ``signal``, ``pause``, ``resume``, ``cancel`` or ``look``.
    """

    kind: ClassVar[str] = "invoked"
    #: Unique within the history.
    op: str
    verb: str
    #: ``<namespace>/<job>``, or ``<namespace>/<run>``.
    job: str
    #: ``spec`` that is put; ``if_match``; ``idempotency_key``; of a run the body that is sent; as far as given.
    args: Mapping[str, Any] = field(default_factory=dict)
    #: Requests of one session follow each other, and may be answered by different instances.
    session: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Event):
    """How it ended; one that was never answered is not told."""

    kind: ClassVar[str] = "answered"
    op: str
    #: ``done``: acknowledged. ``refused``: it did not happen. ``unknown``: it may have happened, or may yet.
    outcome: str
    #: Revision that the answer carries (of the change, or of the view that was read); 0: none.
    revision: int = 0
    #: What a refusal said: ``conflict``, ``not_found``, ``invalid``, …
    code: str = ""
    #: What was read: the job as stored, or the run as it was told; or None: there is none.
    found: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched(Event):
    """A client was told something on a watch of jobs, placements, tasks or agents."""

    kind: ClassVar[str] = "watched"
    #: One stream; another begins with each connection.
    stream: str
    #: ``opened`` (after ``revision``; 0: from a snapshot), ``snapshot``, ``synced``, ``changes``, ``bookmark``, ``gone``
    #: (compacted) or ``cut``.
    what: str
    revision: int = 0
    #: Of ``changes``: keys as ``<kind>/<name>`` (``job/default/web``, ``task/a1/default.web.0.1-7``, …); of ``snapshot``
    #: what is there; of ``opened`` the kinds that are watched (``job``, …), all of each; none: all kinds.
    keys: tuple[str, ...] = ()


# Runs of workflows: those who ask for them, and those who work for them.


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAsked(Event):
    """A user begins a request about a run: ``start``, ``signal``, ``pause``, ``resume``, ``cancel`` or ``look``.

    Or ``declare``: then ``run`` names a workflow.
    """

    kind: ClassVar[str] = "run_asked"
    #: Unique within the history.
    op: str
    verb: str
    #: ``<namespace>/<run>``.
    run: str
    #: What is sent.
    args: Mapping[str, Any] = field(default_factory=dict)
    session: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTold(Event):
    """How it ended; one that was never answered is not told."""

    kind: ClassVar[str] = "run_told"
    op: str
    #: As of `Answered`.
    outcome: str
    #: Of the answer; 0: there was none.
    status: int
    #: The run as it was shown, if it was.
    found: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed(Event):
    """A worker, or a part of it, was told that an attempt is its own."""

    kind: ClassVar[str] = "handed"
    worker: str
    run: str
    op: str
    visit: int
    attempt: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought(Event):
    """A worker was told what became of a closing that it had sent."""

    kind: ClassVar[str] = "brought"
    worker: str
    run: str
    op: str
    visit: int
    attempt: int
    token: str
    label: str
    #: 200: it is closed so, now or by the same closing before.
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked(Event):
    """A worker's request was answered; `Handed` and `Brought` tell what with."""

    kind: ClassVar[str] = "worked"
    worker: str
    session: str
    seq: int
    #: The instance that answered, and this life of it.
    by: str
    #: What the answer is known by: two of the same are the same.
    answer: str
    #: When it was asked; of one that was asked again, for the first time.
    since: float
    #: Tokens of the attempts that it keeps alive, and was not told to have lost.
    beats: tuple[str, ...] = ()


# Who breaks things.


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Event):
    """Something was broken, or done to the system, of a kind, to whom."""

    kind: ClassVar[str] = "fault"
    what: str
    target: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed(Event):
    """It is no longer broken."""

    kind: ClassVar[str] = "healed"
    what: str
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm(Event):
    """From here on nothing more is broken or asked for; what is named stays broken for ever."""

    kind: ClassVar[str] = "calm"
    #: Nodes that are as they should be, and reach each other; with them, what is desired is to come about.
    core: tuple[str, ...]
    #: Nothing at all is broken.
    is_whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Event):
    """The run went on until here after it had been calm for the time that it may take: now all is to be as desired."""

    kind: ClassVar[str] = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """The end of the history; it went on in silence since it had settled."""

    kind: ClassVar[str] = "ended"


KINDS: Mapping[str, type[Event]] = {one.kind: one for one in Event.__subclasses__()}


def to_line(event: Event) -> str:
    """Write an event as a line."""
    told = {"t": round(event.t, 6), "kind": event.kind} | {k: v for k, v in asdict(event).items() if k != "t"}
    return json.dumps(told, separators=(",", ":"), sort_keys=False)


def from_line(line: str) -> Event:
    """Read one back."""
    told = json.loads(line)
    kind = KINDS[told.pop("kind")]
    names = {one.name for one in fields(kind)}
    return kind(**{name: _tuples(value) for name, value in told.items() if name in names})


def read(directory: Path) -> list[Event]:
    """Read what all processes wrote into a directory, in the order of time. ValueError where that is no history."""
    try:
        lines = [line for file in sorted(directory.glob("*.jsonl")) for line in file.read_text().splitlines()]
        events = sorted(map(from_line, lines), key=lambda event: event.t)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{directory} holds no history: {error!r}") from None
    if not events:
        raise ValueError(f"{directory} holds no history: no event is in a file *.jsonl of it")
    return events


def digest(lines: Iterable[str]) -> str:
    """Return what a history is known by: two that share it are the same, byte for byte."""
    found = sha256()
    for line in lines:
        found.update(line.encode() + b"\n")
    return found.hexdigest()


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
