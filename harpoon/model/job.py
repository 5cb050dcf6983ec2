"""A job: what a user wants run, how much of it, and by which policies.

Every ``__post_init__`` checks what one noun can know of itself and raises ``ValueError`` with the fix in the
message; the codec adds the path.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from harpoon.model.cron import Cron
from harpoon.model.dependency import Dependency
from harpoon.model.lifecycle import DEFAULT_RESTART, Restart, RestartPolicy
from harpoon.model.name import check_name, check_tags
from harpoon.model.owner import RunOwner
from harpoon.model.parameters import Parameter, values_of
from harpoon.model.rules import PlacementRules
from harpoon.model.template import TaskTemplate
from harpoon.model.units import Duration

SCALE_MAX = 10_000
#: Of a batch job: what came of each slot is kept in one record.
COMPLETIONS_MAX = 1_000
ATTEMPTS_MAX = 100
DEPENDENCIES_MAX = 32
DEADLINE_MAX = timedelta(days=7)
#: Of jobs that state none; there is 0 to 100.
PRIORITY = 50
PRIORITY_MAX = 100
#: Of a batch job: how long it may take, and how long it may be kept.
BATCH_SPAN_MAX = timedelta(days=90)


class JobType(StrEnum):
    """What becomes of a job's tasks when they end."""

    #: They run until they are told to stop, and are replaced when they end.
    SERVICE = "service"
    #: Each runs to completion, once: it is over for good when it has finished.
    BATCH = "batch"
    #: One runs on each agent that the job is for, as agents come and go.
    SYSTEM = "system"


class OnLost(StrEnum):
    """What becomes of a task whose agent is lost, and which may run on there unseen."""

    #: It is replaced on another agent; if the lost one comes back, what still runs there is stopped.
    REPLACE = "replace"
    #: Its slot waits for the agent.
    WAIT = "wait"


class OnSpent(StrEnum):
    """What becomes of a batch job when one of its slots has used up its attempts."""

    #: It has failed: nothing more is started, and what runs is stopped.
    STOP = "stop"
    #: It goes on until every other slot is complete, or has used up its own; then it has failed.
    FINISH = "finish"


class OnFailure(StrEnum):
    """What becomes of a rollout that misses its deadline."""

    #: The version that served before is brought back, as a new version.
    REVERT = "revert"
    #: Nothing more is replaced, until an operator has it resumed or undone.
    PAUSE = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How a migrate goes on, how far it may deviate from ``scale`` on the way, and when it has failed."""

    #: Tasks above ``scale`` at once.
    surge: int = 1
    #: Ready tasks below ``scale`` at once.
    unavailable: int = 0
    #: A new task counts as healthy once it has been ready for so long; until then the old one stays.
    healthy_for: Duration = timedelta(0)
    #: It has failed when no further slot has become healthy for so long.
    deadline: Duration = timedelta(minutes=5)
    on_failure: OnFailure = OnFailure.REVERT
    #: So many slots are given a new task beside the old one, and then it waits to be promoted; 0: it does not.
    canary: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.surge <= SCALE_MAX and 0 <= self.unavailable <= SCALE_MAX):
            raise ValueError(f"surge and unavailable are 0 to {SCALE_MAX}")
        if not 0 <= self.canary <= SCALE_MAX:
            raise ValueError(f"canary is 0 to {SCALE_MAX}")
        if not timedelta(seconds=1) <= self.deadline <= DEADLINE_MAX:
            raise ValueError("deadline is 1s to 168h")
        if self.healthy_for >= self.deadline:
            raise ValueError("healthy_for is less than deadline, or no rollout could ever succeed")
        if self.surge == 0 and self.unavailable == 0:
            raise ValueError("surge and unavailable are not both 0, or nothing could ever be replaced")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How a batch job runs, with nothing left out."""

    completions: int
    parallel: int
    attempts: int
    deadline: timedelta | None
    keep: timedelta
    on_failure: OnSpent


#: Shared, as all defaults are: there are many jobs.
_ANYWHERE = PlacementRules()
_UPDATE = Update()
_ONCE = Restart(policy=RestartPolicy.NEVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """All that a user declares about a job beside its name."""

    task: TaskTemplate
    type: JobType = JobType.SERVICE
    #: Of a service. A batch job has as many slots as completions.
    scale: int = 1
    placement: PlacementRules = _ANYWHERE
    update: Update = _UPDATE
    #: Slots of a new generation wait until all of these hold; what runs is left alone when they no longer do.
    depends_on: tuple[Dependency, ...] = ()
    #: Left out: replace, or wait if the job is exclusive.
    on_lost: OnLost | None = None
    #: A slot never runs twice: nothing takes its place before the agent that had it has confirmed that it forgot it.
    exclusive: bool = False
    #: Of jobs that wait for room, those of higher priority are placed first.
    priority: int = PRIORITY
    #: Where nothing else makes room, tasks of jobs of lower priority are stopped for it.
    preempt: bool = False
    #: What its command and environment name as ``${parameters.NAME}``. Not for secrets: values are shown.
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    #: Values of parameters; of those left out, the default.
    arguments: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    #: Batch only: slots, each of which is to finish once; left out: 1.
    completions: int | None = None
    #: Batch only: so many run at once at most; left out: all.
    parallel: int | None = None
    #: Batch only: so many tasks of one slot are tried before the job has failed; left out: 1.
    attempts: int | None = None
    #: Batch only: what becomes of the others when a slot has used up its attempts; left out: they are stopped.
    on_failure: OnSpent | None = None
    #: Batch only: it has failed when it is not complete so long after it was declared; left out: it has all the time.
    deadline: Duration | None = None
    #: Batch only: how long it stays once it has ended, with what came of it; left out: a day.
    keep: Duration | None = None
    #: Batch only: it runs nothing itself; at each due a child is made of it, which does.
    cron: Cron | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= PRIORITY_MAX:
            raise ValueError(f"priority is 0 to {PRIORITY_MAX}")
        self.given()
        if self.type is JobType.SYSTEM:
            _check_system(self)
        if self.type is JobType.BATCH:
            self._settle_batch()
        else:
            _check_service(self)
        if self.exclusive and self.on_lost is OnLost.REPLACE:
            raise ValueError("on_lost: replace would run a slot twice, and exclusive: true forbids that; leave one out")
        if self.exclusive and self.update.surge > 1:
            raise ValueError(
                "update.surge has no meaning with exclusive: true, which breaks before it makes; leave it out"
            )
        if self.exclusive and self.update.canary:
            raise ValueError("update.canary runs a slot twice, and exclusive: true forbids that; leave one out")
        if not 0 <= self.scale <= SCALE_MAX:
            raise ValueError(f"scale is 0 to {SCALE_MAX}")
        if len(self.depends_on) > DEPENDENCIES_MAX:
            raise ValueError(f"depends_on holds at most {DEPENDENCIES_MAX}")
        names = [dependency.label for dependency in self.depends_on]
        if len(names) != len(set(names)):
            raise ValueError("depends_on names a job or a run twice")

    def given(self) -> TaskTemplate:
        """Return the template of its tasks with the values of parameters in their places."""
        values = values_of(self.parameters, self.arguments)
        return self.task.given(values) if values or self.task.names_parameters() else self.task

    def _settle_batch(self) -> None:
        """Check what a batch job may say, and fill in what it means by what it leaves out."""
        _check_batch(self)
        restart = self.task.restart
        if restart is DEFAULT_RESTART:
            object.__setattr__(self, "task", replace(self.task, restart=_ONCE))
        elif restart.policy is RestartPolicy.ALWAYS:
            raise ValueError(
                "task.restart.policy: always would never let a batch job end; write on_failure, or never, the default"
            )
        # Whatever counts slots finds them where those of services are; those of a cron job are its children's.
        object.__setattr__(self, "scale", self.batch.completions if self.cron is None else 0)

    @property
    def batch(self) -> Batch:
        """How a batch job runs."""
        completions = len(self.placement.agents) or self.completions or 1
        return Batch(
            completions=completions,
            parallel=min(self.parallel or completions, completions),
            attempts=self.attempts or 1,
            deadline=self.deadline,
            keep=KEEP if self.keep is None else self.keep,
            on_failure=self.on_failure or OnSpent.STOP,
        )

    @property
    def waits_for_lost(self) -> bool:
        """Whether a slot whose agent is lost waits for it."""
        is_of_agents = self.type is JobType.SYSTEM or bool(self.placement.agents)
        return self.exclusive or self.on_lost is OnLost.WAIT or is_of_agents

    def others(self) -> frozenset[str]:
        """Return the names of the other jobs that this one refers to."""
        if not (self.depends_on or self.task.env):
            return frozenset()
        used = (value.job for value in self.task.endpoints().values())
        return frozenset((*(one.job for one in self.depends_on if one.job is not None), *used))

    def runs(self) -> frozenset[str]:
        """Return the ids of the runs that it waits for."""
        return frozenset(one.run for one in self.depends_on if one.run is not None)


#: How long a batch job stays that has ended, unless it says otherwise.
KEEP = timedelta(hours=24)
_BATCH_ONLY = ("completions", "parallel", "attempts", "on_failure", "deadline", "keep")


def _check_service(spec: Spec) -> None:
    if spec.cron is not None:
        raise ValueError("cron is for type: batch: each of its children runs to completion")
    if told := [name for name in _BATCH_ONLY if getattr(spec, name) is not None]:
        raise ValueError(f"{' and '.join(told)} {'is' if len(told) == 1 else 'are'} for type: batch; leave out")
    if spec.placement.agents:
        raise ValueError("placement.agents is for type: batch, whose slots it gives to agents; write placement.require")


def _check_system(spec: Spec) -> None:
    if spec.on_lost is OnLost.REPLACE:
        raise ValueError("on_lost: replace has no meaning for a system job: a task is for its agent; leave it out")
    if spec.exclusive:
        raise ValueError(
            "exclusive has no meaning for a system job: a task runs on its agent only; with update.surge: 0 and "
            "unavailable: 1 the old one ends before the new one starts"
        )
    if spec.placement.prefer or spec.placement.spread or spec.placement.distinct:
        raise ValueError("of placement only require is for system jobs: they run on each agent that meets it")


def _check_batch(spec: Spec) -> None:
    completions = 1 if spec.completions is None else spec.completions
    if agents := spec.placement.agents:
        completions = _check_agents(spec, len(agents))
    if not 1 <= completions <= COMPLETIONS_MAX:
        raise ValueError(f"completions is 1 to {COMPLETIONS_MAX}")
    if spec.cron is not None and spec.scale not in (0, 1):
        raise ValueError("scale has no meaning with cron, which has no tasks of its own; leave it out")
    if spec.cron is None and spec.scale not in (1, completions):
        raise ValueError("scale is for services: a batch job says completions")
    if spec.parallel is not None and not 1 <= spec.parallel <= COMPLETIONS_MAX:
        raise ValueError(f"parallel is 1 to {COMPLETIONS_MAX}")
    if spec.attempts is not None and not 1 <= spec.attempts <= ATTEMPTS_MAX:
        raise ValueError(f"attempts is 1 to {ATTEMPTS_MAX}")
    if spec.deadline is not None and not timedelta(seconds=1) <= spec.deadline <= BATCH_SPAN_MAX:
        raise ValueError("deadline is 1s to 90d")
    if spec.keep is not None and spec.keep > BATCH_SPAN_MAX:
        raise ValueError("keep is 0s to 90d")
    if spec.update != _UPDATE:
        raise ValueError("update is for services: a batch job whose template changes starts over; leave it out")


def _check_agents(spec: Spec, count: int) -> int:
    """Check what a batch job may say that names its agents; return how many slots that makes."""
    if count > COMPLETIONS_MAX:
        raise ValueError(f"placement.agents names at most {COMPLETIONS_MAX}")
    if spec.completions not in (None, count):
        raise ValueError(f"completions is {count}, one for each of placement.agents; leave it out")
    if spec.on_lost is OnLost.REPLACE:
        raise ValueError("on_lost: replace has no meaning with placement.agents: a slot is for its agent; leave it out")
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What identifies a job, and tags to select it by."""

    name: str
    namespace: str = "default"
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_name("namespace", self.namespace)
        check_tags(self.tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a plan promised of a version of a job: on which agents its slots are first placed."""

    #: Digest of the plan.
    plan: str
    #: Agent → slots, sorted.
    agents: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a batch job: all that is done for one template. Another template is another run."""

    #: The job's version that began it; later versions of the same template go on with it.
    version: int
    #: When that was declared, UTC milliseconds.
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The cron job that a job was made by; it goes with that."""

    #: Its name, in the same namespace.
    job: str
    #: When it was due, UTC milliseconds; if an operator asked for it, when that was.
    due_ms: int
    is_triggered: bool = False


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
    #: Of the plan by which this version was declared, if it was by one.
    promise: Promise | None = None
    #: Of a batch job: the run that it is in.
    run: Run | None = None
    #: Of a child of a cron job.
    owner: Owner | None = None
    #: Of the task of a workflow's operation.
    run_owner: RunOwner | None = None
    #: Of a job as it is decided on (`core.members`), if each of its slots is for one agent: which. Never stored.
    members: tuple[str, ...] = ()
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
