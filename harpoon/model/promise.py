"""A plan as a document that can be approved, checked and applied: what is to come, and all that it was decided on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from harpoon.model.agent import Capacity, LinkState
from harpoon.model.job import Spec
from harpoon.model.manifest import Manifest
from harpoon.model.name import TaskId
from harpoon.model.plan import JobPlan
from harpoon.model.task import Reservation, TaskState

#: Schema of the document that this release writes, and the only one that it reads.
SCHEMA: Final = 1

_NOTHING = Reservation()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsSeen:
    """Agents as they were looked at; those that are alike in all this are told together."""

    #: Sorted.
    names: tuple[str, ...]
    capacity: Capacity
    #: In all, by whatever job.
    reserved: Capacity
    link: LinkState
    #: ``cordoned`` or ``draining``; null: it takes new tasks.
    cordon: str | None = None
    #: Those of its tags and facts that the rules of the planned jobs name.
    attributes: Mapping[str, str] = field(default_factory=dict)
    #: Of the fixed ports that the planned jobs need, those that are taken → by which tasks.
    ports: Mapping[str, tuple[TaskId, ...]] = field(default_factory=dict)
    #: Of the host paths that the planned jobs need, those that its operator allows → whether they may be written.
    host_paths: Mapping[str, bool] = field(default_factory=dict)
    #: Whether it can mount volumes.
    mounts: bool = False
    #: What they can run tasks with.
    drivers: tuple[str, ...] = ("process",)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSeen:
    """A task of a planned job as it was looked at."""

    id: TaskId
    agent: str
    slot: int
    generation: str
    reserve: Reservation = _NOTHING
    #: Null: its agent has not reported it yet.
    state: TaskState | None = None
    ready: bool = False
    #: False: it runs on without a placement, and is about to go.
    is_placed: bool = True
    #: Whether what it reserves is in its agent's sum.
    is_counted: bool = True
    #: Endpoints of other jobs that it was started with have changed, and it is to be replaced for that.
    is_outdated: bool = False
    #: It is ready, but not for as long yet as ``update.healthy_for`` wants.
    is_unproven: bool = False
    #: It was to be replaced elsewhere, for tasks were being rebalanced; what fits nowhere better stays.
    is_moving: bool = False
    #: Of an exclusive job: see the placement.
    is_revoked: bool = False
    is_denied: bool = False
    #: How many of its slot and generation failed just before, once it is revoked, with it.
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmetSeen:
    """A dependency that did not hold, on a job that is not planned, or on a run; or a secret that was not set."""

    job: str
    #: How that stood, such as ``1/3 ready``.
    found: str
    #: Instead of a job: ``<name>/<key>`` of a secret.
    secret: str = ""
    #: Instead of a job: the id of a run.
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrakeSeen:
    """Why the rollout of a planned job would not go on by itself, and what its other slots stay with."""

    #: The version that served before.
    version: int
    generation: str
    #: Of that version, but with the scale and the policy of updating that are planned.
    spec: Spec
    #: What each task of it takes from its agent.
    reserve: Reservation
    #: So many slots get the new generation, beside the task of before; null: it is no matter of canaries.
    canaries: int | None = None
    #: No slot gets the new generation that does not have it.
    is_paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A job as it stood when it was planned."""

    #: At which it was last declared: without quotes, its ETag.
    revision: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisedJob:
    """What is promised of one document, and the tasks that were there."""

    #: Null: there was no such job.
    base: Base | None
    #: Of all its placements.
    generation: str
    #: What each of them takes from its agent.
    reserve: Reservation
    plan: JobPlan
    #: By slot, then by age.
    tasks: tuple[TaskSeen, ...]
    unmet: tuple[UnmetSeen, ...] = ()
    #: Null: its rollout goes on by itself.
    brake: BrakeSeen | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument:
    """A plan that can be applied as it is, or not at all."""

    kind: Literal["Plan"]
    #: Schema of this document.
    v: int
    #: Of the registry that it was made of.
    cluster: str
    #: Of the state that it was made from.
    revision: str
    #: UTC milliseconds.
    made_ms: int
    #: As accepted, with defaults filled in.
    documents: tuple[Manifest, ...]
    #: Of each document, in their order.
    jobs: tuple[PromisedJob, ...]
    #: All that were registered.
    agents: tuple[AgentsSeen, ...]
    #: So many agents were lost that nothing lost was replaced.
    is_halted: bool
    #: SHA-256 of the rest of the document as canonical JSON. It tells that the document was changed, not who made it.
    digest: str
