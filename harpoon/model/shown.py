"""What the API answers, as nouns: the types of its document, and what a typed client reads.

The server writes these answers from records without making the nouns here; that both agree is tested for each route.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from harpoon.model.agent import Agent, Capacity, LinkState
from harpoon.model.job import Owner, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.namespace import Excess, NamespaceObject
from harpoon.model.owner import RunOwner
from harpoon.model.past import KeptGap
from harpoon.model.status import JobStatus, TaskObject
from harpoon.model.upkeep import CordonStatus, DrainStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMetadata:
    """What identifies a job, and what the registry knows of it."""

    name: str
    namespace: str
    tags: Mapping[str, str]
    #: Hash of ``spec.task``: another template, another generation.
    generation: str
    #: Counts the user's mutations from 1.
    version: int
    #: At which it was last declared; quoted, it is the ETag.
    revision: str
    created_ms: int
    updated_ms: int
    #: Unscheduled, but tasks are still being stopped.
    is_terminating: bool = False
    #: Of a child: the cron job that made it.
    owner: Owner | None = None
    #: Of the task of a workflow's operation: which attempt it is of.
    run_owner: RunOwner | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobObject:
    """A job as it is shown: its manifest with defaults, what the registry adds, and how it stands."""

    apiVersion: Literal["harpoon/v1"]  # noqa: N815 the field's name on the wire
    kind: Literal["Job"]
    metadata: JobMetadata
    spec: Spec
    #: Absent in answers to changes and in watches.
    status: JobStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """The link to an agent, as it is shown."""

    state: LinkState
    #: When it came into this state, UTC milliseconds.
    since_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentObject(Agent):
    """An agent as it is shown: its registration, the link to it, and what is reserved on it."""

    link: LinkStatus
    #: That it takes no new tasks; null: it does.
    cordon: CordonStatus | None = None
    #: Not told by a watch.
    reserved: Capacity | None = None
    #: How many of its tasks are not over. Not told by a watch.
    tasks: int | None = None
    #: Null when it is not being drained. Not told by a watch.
    drain: DrainStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList:
    """Jobs, sorted by namespace and name."""

    revision: str
    items: tuple[JobObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskList:
    """Tasks, sorted by job and slot, with the slots that wait for one."""

    revision: str
    items: tuple[TaskObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentList:
    """Agents, sorted by name."""

    revision: str
    items: tuple[AgentObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceList:
    """Namespaces that are declared, or that jobs name, sorted by name."""

    revision: str
    items: tuple[NamespaceObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceDeclared:
    """A namespace is declared; its quota holds for what is declared from now on."""

    #: Of the commit.
    revision: str
    outcome: "Outcome"
    namespace: NamespaceObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How many slots a job is to have."""

    scale: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Documents to apply, at least one: all or nothing."""

    documents: tuple[Manifest, ...]


class Outcome(StrEnum):
    """What became of a document."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revised:
    """What was asked for is committed."""

    #: Of the commit.
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    """An order that has nothing to say beyond where it is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """What an operator said of an unclaimed task is committed."""

    #: Of the commit.
    revision: str
    task: str
    #: Of an adopted task: id of the change of its job, to be waited for at ``/v1/changes/{id}``.
    change: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscheduled:
    """The job is being unscheduled."""

    #: Of the commit.
    revision: str
    #: Id of the change, to be waited for at ``/v1/changes/{id}``.
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The job is declared: committed, and on its way."""

    #: Of the commit.
    revision: str
    #: Id of the change, to be waited for at ``/v1/changes/{id}``.
    change: str
    #: As it stands now.
    job: JobObject


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedDocument:
    """What became of one document of an apply."""

    namespace: str
    job: str
    #: Id of the change, to be waited for at ``/v1/changes/{id}``.
    change: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of the documents of an apply, in their order."""

    #: Of the commit.
    revision: str
    results: tuple[AppliedDocument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one ready task can be reached."""

    task: str
    #: Of a system job: its agent's name.
    slot: int | str
    agent: str
    address: str
    #: Name → port number.
    ports: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointList:
    """Where the ready tasks of a job can be reached, sorted by slot."""

    revision: str
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with what was sent."""

    #: JSON pointer into the body; ``?name`` for a query parameter, a header's name for a header.
    pointer: str
    #: What is wrong, and what would be right.
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemDetails:
    """An error (RFC 9457)."""

    #: ``urn:harpoon:problem:<code>``.
    type: str
    title: str
    status: int
    #: For people: what is wrong, and what would be right.
    detail: str
    #: For programs.
    code: str
    #: As in the log; null when the request could not be read.
    request_id: str | None
    #: Each fault of an input.
    errors: tuple[Fault, ...] = ()
    #: What is not as a plan promised, on 409.
    changed: tuple[Fault, ...] = ()
    #: The job as it stands, on 412 and 409.
    current: JobObject | None = None
    #: The limits that would be passed, on 409 with the code ``quota_exceeded``.
    quota: tuple[Excess, ...] = ()
    #: The oldest revision that can be resumed from, or looked back at, on 410.
    oldest: str | None = None
    #: What is missing after it, on 410 where the past was asked for.
    gaps: tuple[KeptGap, ...] | None = None
    #: Whether it may have been done all the same, on 503.
    maybe_applied: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedLine:
    """What became of one document that is applied for itself: where it stands, and either a change or a problem."""

    #: Which document it was, counted from 0.
    index: int
    namespace: str | None = None
    job: str | None = None
    #: Id of the change, to be waited for at ``/v1/changes/{id}``.
    change: str | None = None
    outcome: Outcome | None = None
    problem: ProblemDetails | None = None
