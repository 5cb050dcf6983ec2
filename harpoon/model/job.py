"""A job: what a user wants run, how much of it, and by which policies.

Every ``__post_init__`` checks what one noun can know of itself and raises ``ValueError`` with the fix in the
message; the codec adds the path.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harpoon.model.name import check_name
from harpoon.model.rules import PlacementRules
from harpoon.model.template import TaskTemplate

SCALE_MAX = 10_000
DEPENDENCIES_MAX = 32


class JobType(StrEnum):
    """What becomes of a job's tasks when they end."""

    SERVICE = "service"


class OnLost(StrEnum):
    """What becomes of a task whose agent is lost, and which may run on there unseen."""

    #: It is replaced on another agent; if the lost one comes back, what still runs there is stopped.
    REPLACE = "replace"
    #: Its slot waits for the agent.
    WAIT = "wait"


class Condition(StrEnum):
    """What another job must be."""

    #: Every slot has a ready task of its present generation, and nothing older is left.
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """What another job of the namespace must be before a slot of this one is first placed."""

    job: str
    is_: Condition = Condition.READY

    def __post_init__(self) -> None:
        check_name("job", self.job)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How far a migrate may deviate from ``scale`` while it is under way."""

    #: Tasks above ``scale`` at once.
    surge: int = 1
    #: Ready tasks below ``scale`` at once.
    unavailable: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.surge <= SCALE_MAX and 0 <= self.unavailable <= SCALE_MAX):
            raise ValueError(f"surge and unavailable are 0 to {SCALE_MAX}")
        if self.surge == 0 and self.unavailable == 0:
            raise ValueError("surge and unavailable are not both 0, or nothing could ever be replaced")


#: Shared, as all defaults are: there are many jobs.
_ANYWHERE = PlacementRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """All that a user declares about a job beside its name."""

    task: TaskTemplate
    type: JobType = JobType.SERVICE
    scale: int = 1
    placement: PlacementRules = _ANYWHERE
    update: Update = Update()
    #: Slots of a new generation wait until all of these hold; what runs is left alone when they no longer do.
    depends_on: tuple[Dependency, ...] = ()
    #: Left out: replace, or wait if the job is exclusive.
    on_lost: OnLost | None = None
    #: A slot never runs twice: nothing takes its place before the agent that had it has confirmed that it forgot it.
    exclusive: bool = False

    def __post_init__(self) -> None:
        if self.exclusive and self.on_lost is OnLost.REPLACE:
            raise ValueError("on_lost: replace would run a slot twice, and exclusive: true forbids that; leave one out")
        if self.exclusive and self.update.surge > 1:
            raise ValueError(
                "update.surge has no meaning with exclusive: true, which breaks before it makes; leave it out"
            )
        if not 0 <= self.scale <= SCALE_MAX:
            raise ValueError(f"scale is 0 to {SCALE_MAX}")
        if len(self.depends_on) > DEPENDENCIES_MAX:
            raise ValueError(f"depends_on holds at most {DEPENDENCIES_MAX}")
        names = [dependency.job for dependency in self.depends_on]
        if len(names) != len(set(names)):
            raise ValueError("depends_on names a job twice")

    @property
    def waits_for_lost(self) -> bool:
        """Whether a slot whose agent is lost waits for it."""
        return self.exclusive or self.on_lost is OnLost.WAIT

    def others(self) -> frozenset[str]:
        """Return the names of the other jobs that this one refers to."""
        if not (self.depends_on or self.task.env):
            return frozenset()
        used = (value.job for value in self.task.endpoints().values())
        return frozenset((*(dependency.job for dependency in self.depends_on), *used))


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What identifies a job, and tags to select it by."""

    name: str
    namespace: str = "default"
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_name("namespace", self.namespace)
        if len(self.tags) > 64 or any(len(k) > 63 or len(v) > 255 or not k for k, v in self.tags.items()):
            raise ValueError("tags holds at most 64, keys of 1 to 63 and values of at most 255 characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as accepted: the record in the registry. Its ``mod_revision`` there moves only when a user changes it."""

    namespace: str
    name: str
    spec: Spec
    #: Hash of ``spec.task``; made once, when accepted.
    generation: str
    #: Counts the user's mutations from 1; scaling makes a version too, on the same generation.
    version: int
    created_ms: int
    updated_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Unscheduled, but tasks are still being stopped.
    is_terminating: bool = False
    #: Schema of this record.
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One past or present form of a job, kept so that its tasks' template can be found and shown."""

    namespace: str
    name: str
    version: int
    generation: str
    spec: Spec
    at_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    #: The version that this one brought back.
    reverted_from: int | None = None
    v: int = 1
