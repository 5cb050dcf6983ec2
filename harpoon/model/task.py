"""A task: one placement of one slot, as decided (`Placement`) and as it is (`Task`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from harpoon.model.name import TaskId, is_name
from harpoon.model.volumes import VolumeStatus

#: Of a slot and of the parts of a placement's number: they fit into 64 bits.
_DIGITS_MAX = 19


class TaskState(StrEnum):
    """Where a task is in its life."""

    #: The slot is not placed: no agent may run it now.
    PENDING = "pending"
    #: Placed; its agent has not reported it yet.
    PLACED = "placed"
    #: The agent is starting it, or waits before it starts it again.
    STARTING = "starting"
    RUNNING = "running"
    #: Left the ready set; being drained, signalled, killed.
    STOPPING = "stopping"
    #: Ended as it should: stopped on command, or by itself where its policy lets it.
    FINISHED = "finished"
    #: Ended, and the agent will not start it again.
    FAILED = "failed"
    #: Its agent has not been reached for so long that it is taken for lost; it may still run.
    LOST = "lost"
    #: An agent runs it, but no registry record knows it.
    UNCLAIMED = "unclaimed"

    @property
    def is_over(self) -> bool:
        """Whether no process of this task runs any more, or ever will."""
        return self in (TaskState.FINISHED, TaskState.FAILED)


class Number(NamedTuple):
    """A placement's number: rises for a slot without a counter, also when its job is deleted and made again."""

    incarnation: int
    #: Revision of the view that the placement was decided on.
    revision: int

    def __str__(self) -> str:
        """``<incarnation>-<revision>``."""
        return f"{self.incarnation}-{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What a placement takes from its agent."""

    cpu: int = 0
    memory: int = 0
    #: Fixed port numbers; ports taken from the agent's range are its own business.
    ports: tuple[int, ...] = ()
    #: Named resources, sorted by name: how many of each, above 0.
    named: tuple[tuple[str, int], ...] = ()
    #: Paths of the host, sorted, with whether they are to be written. They are shared: nothing is used up.
    paths: tuple[tuple[str, bool], ...] = ()
    #: Whether the agent must be able to mount.
    mounts: bool = False
    #: What is to run it there; this is only asked for, and takes nothing from others.
    driver: str = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The decision that a slot runs on an agent. Its record is the command to run it; deleting it, to stop it.

    That of an exclusive job is revoked first, and not deleted before its agent has confirmed that it forgot it, and
    will never run it: it is *denied*.
    """

    namespace: str
    job: str
    slot: int
    incarnation: int
    revision: int
    agent: str
    #: Of the template to run.
    generation: str
    #: The job's version it was decided for, which holds that template.
    version: int
    #: One sentence: why here, why now; once it is revoked, why it goes.
    reason: str
    #: When that was decided, UTC milliseconds.
    decided_ms: int
    reserve: Reservation = Reservation()
    #: How many placements of this slot and generation failed just before this one; once it is revoked, with it.
    failures: int = 0
    #: What the job refers to, as it was then: variable → endpoints of another job, and ``<name>/<key>`` of a secret →
    #: which of its values, never the value itself; None: it refers to nothing.
    bindings: Mapping[str, str] | None = None
    #: Its job is exclusive.
    is_exclusive: bool = False
    #: It is taken back: its agent is to stop the task, forget it, and refuse it from then on.
    is_revoked: bool = False
    #: Its agent has confirmed that. Only revoked ones are denied.
    is_denied: bool = False
    #: Its job is a system job: its slot is its agent's, and ``slot`` only the number by which it was decided.
    is_system: bool = False
    #: The agent that a plan promised for it, which could not take it; empty: it is where it was promised, if it was.
    promised: str = ""
    v: int = 1

    @property
    def number(self) -> Number:
        """The placement's number, comparable within its slot."""
        return Number(self.incarnation, self.revision)

    @property
    def task(self) -> TaskId:
        """The id of the task that this placement makes."""
        slot = self.agent if self.is_system else self.slot
        return TaskId(f"{self.namespace}.{self.job}.{slot}.{self.incarnation}-{self.revision}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """Who has a slot of an exclusive job: written in the very commit that makes its placement.

    It has the slot until it is denied, or its placement is gone.
    """

    task: TaskId
    agent: str
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The latest outcome of one check of a task."""

    name: str
    is_passing: bool
    detail: str = ""
    #: Since when it fails, UTC milliseconds; 0: it passes, or its agent does not tell.
    since_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit of a task: whether its agent holds it to that."""

    #: Of the resource: ``memory``, ``cpu``, ``pids``.
    name: str
    is_enforced: bool
    #: How; or why not, and what is done instead.
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as its agent reports it: complete, not a delta. Stored on transitions only."""

    id: TaskId
    agent: str
    generation: str
    state: TaskState
    #: Serves: running and every check passed (at once when there is none).
    ready: bool = False
    #: Since when it has been ready, UTC milliseconds by the server that heard it; 0: it is not, or nobody noted it.
    ready_since_ms: int = 0
    #: One sentence: why it is in this state, with the evidence.
    reason: str = ""
    #: When it came into this state, UTC milliseconds.
    since_ms: int = 0
    #: Where its ports are reachable.
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    pid: int | None = None
    #: How often the agent started it again.
    restarts: int = 0
    #: Of the last process that ended; negative: the signal that killed it.
    exit_code: int | None = None
    checks: tuple[CheckResult, ...] = ()
    volumes: tuple[VolumeStatus, ...] = ()
    #: Of the last process that was started.
    limits: tuple[Limit, ...] = ()
    #: Of the cluster that started it; tasks of others are never touched.
    cluster: str = ""
    #: Of an unclaimed task: the state that its agent reports.
    reported: TaskState | None = None
    v: int = 1

    @property
    def is_over(self) -> bool:
        """Whether no process of it runs any more, or ever will, also where that is not its state here."""
        return (self.reported or self.state).is_over


@dataclass(frozen=True, slots=True, kw_only=True)
class Disowned:
    """An operator's word that an unclaimed task is to be stopped and forgotten; it goes with the task."""

    task: TaskId
    agent: str
    #: UTC milliseconds.
    at_ms: int
    v: int = 1


class TaskName(NamedTuple):
    """A task id taken apart."""

    namespace: str
    job: str
    #: 0 if it is of a system job.
    slot: int
    number: Number
    #: Of a system job: the agent that its slot is of; else empty.
    agent: str = ""

    @property
    def place(self) -> str:
        """What the id tells the slot by: its number, or its agent's name."""
        return self.agent or str(self.slot)


def task_id(namespace: str, job: str, slot: int, number: Number) -> TaskId:
    """Make a task's id."""
    return TaskId(f"{namespace}.{job}.{slot}.{number}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def parse_task_id(text: str) -> TaskName:
    """Take a task id apart.

    Raises:
        ValueError: It is not one.
    """
    parts = text.split(".")
    number = parts[-1].split("-")
    is_counted = len(parts) == 4 and _is_number(parts[2])
    is_named = len(parts) == 4 and is_name(parts[2])
    if not (is_counted or is_named) or len(number) != 2 or not all(map(_is_number, number)):
        raise ValueError(f"a task id is <namespace>.<job>.<slot>.<placement>; got {text[:200]!r}")
    told = Number(int(number[0]), int(number[1]))
    if is_named:
        return TaskName(parts[0], parts[1], 0, told, parts[2])
    return TaskName(parts[0], parts[1], int(parts[2]), told)


def stand_in(task: TaskId, agent: str, generation: str) -> Placement:
    """Return what stands for the placement of a task that has none, or none that is known: nobody decided it.

    Raises:
        ValueError: ``task`` is no task's id.
    """
    name = parse_task_id(task)
    return Placement(
        namespace=name.namespace,
        job=name.job,
        slot=name.slot,
        incarnation=name.number.incarnation,
        revision=name.number.revision,
        agent=name.agent or agent,
        is_system=bool(name.agent),
        generation=generation,
        version=0,
        reason="",
        decided_ms=0,
    )
