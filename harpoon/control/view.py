"""The read side of the control keyspace: every table at one revision, with the indexes that loops and doors need.

The view holds no state of its own: all of it can be rebuilt from the store, and is kept in step by one watch.
"""

import sys
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, cast

from harpoon.core.batch import is_over
from harpoon.core.quota import add, use_of
from harpoon.model.agent import Agent, Cordon, Death, Link, LinkState
from harpoon.model.awaited import AwaitedRun
from harpoon.model.batch import BatchRecord
from harpoon.model.cron import CronRecord
from harpoon.model.decision import Pending
from harpoon.model.instance import Holder, Instance
from harpoon.model.job import Job, Version
from harpoon.model.name import TaskId
from harpoon.model.namespace import UNUSED, Namespace, Use
from harpoon.model.owner import OrderRecord
from harpoon.model.rebalance import MoveRecord
from harpoon.model.rollout import RolloutRecord
from harpoon.model.secret import Secret
from harpoon.model.task import Disowned, Occupant, Placement, Task, TaskState
from harpoon.model.template import TaskTemplate
from harpoon.model.workflow import GraphRecord, WorkflowRecord
from harpoon.model.workflow_secrets import secret_names
from harpoon.store.hold import HOLDS, INSTANCES
from harpoon.store.mirror import Mirror
from harpoon.store.port import Store
from harpoon.store.table import Row, RowChange, Table

ROOT: Final = "/h/1/ctl/"
JOBS: Final = ROOT + "jobs/"
VERSIONS: Final = ROOT + "versions/"
PLACEMENTS: Final = ROOT + "placements/"
PENDING: Final = ROOT + "pending/"
ROLLOUTS: Final = ROOT + "rollouts/"
BATCHES: Final = ROOT + "batches/"
CRON: Final = ROOT + "cron/"
AGENTS: Final = ROOT + "agents/"
LINKS: Final = ROOT + "links/"
ACTUAL: Final = ROOT + "actual/"
CORDONS: Final = ROOT + "cordons/"
DEAD: Final = ROOT + "dead/"
DISOWNED: Final = ROOT + "disowned/"
SLOTS: Final = ROOT + "slots/"
QUOTAS: Final = ROOT + "quotas/"
MOVES: Final = ROOT + "moves/"
SECRETS: Final = ROOT + "secrets/"
WORKFLOWS: Final = ROOT + "workflows/"
GRAPHS: Final = ROOT + "graphs/"
AWAITED: Final = ROOT + "awaited/"
ORDERS: Final = ROOT + "orders/"
#: Keys of agents' holds in the view.
AGENT_HOLDS: Final = "agents/"

T = TypeVar("T")
_NOTHING: Final[Mapping[TaskId, Row[Any]]] = MappingProxyType({})
_NO_JOBS: Final[Mapping[str, Row[Job]]] = MappingProxyType({})
_NOBODY: Final[Mapping[str, Row[Occupant]]] = MappingProxyType({})
_NONE: Final[frozenset[TaskId]] = frozenset()


def job_key(namespace: str, name: str) -> str:
    """Return the key of a job in every table that has one row a job."""
    return f"{namespace}/{name}"


def secrets_of(job: Job) -> frozenset[str]:
    """Return the keys of the secrets that a job refers to."""
    return frozenset(job_key(job.namespace, one.partition("/")[0]) for one in job.spec.task.secret_values())


def _secrets_of_workflow(workflow: WorkflowRecord) -> frozenset[str]:
    """Return the keys of the secrets that a workflow refers to."""
    return frozenset(job_key(workflow.namespace, name) for name in secret_names(workflow.spec))


def _note_users(users: dict[str, set[str]], change: RowChange, secrets: Callable[[Any], frozenset[str]]) -> None:
    """Keep in step who refers to which secrets, given what a record refers to."""
    before, after = (frozenset() if row is None else secrets(row.value) for row in (change.old, change.new))
    name = change.key.partition("/")[2]
    for key in before - after:
        users[key].discard(name)
        if not users[key]:
            del users[key]
    for key in after - before:
        users.setdefault(key, set()).add(name)


def parent_of(job: Job) -> str:
    """Return the key of the cron job that has made a job; empty: none has."""
    return "" if job.owner is None else job_key(job.namespace, job.owner.job)


def job_key_of(task: str) -> str:
    """Return the key of the job that a task belongs to, given the task's id."""
    return task.rsplit(".", 2)[0].replace(".", "/", 1)


def placement_key(placement: Placement) -> str:
    """Return the store key of a placement's record."""
    return f"{PLACEMENTS}{placement.agent}/{placement.task}"


def slot_key(placement: Placement) -> str:
    """Return the store key of the record that tells who has the slot of an exclusive placement."""
    return f"{SLOTS}{placement.namespace}/{placement.job}/{placement.slot}"


class _ByJob(Generic[T]):
    """Rows of one table of tasks by the job they belong to."""

    def __init__(self) -> None:
        self._jobs: dict[str, dict[TaskId, Row[T]]] = {}

    def apply(self, change: RowChange) -> None:
        task = TaskId(sys.intern(change.key.partition("/")[2]))
        key = job_key_of(task)
        rows = self._jobs.get(key)
        if change.new is not None:
            if rows is None:
                rows = self._jobs[key] = {}
            rows[task] = change.new
        elif rows is not None:
            rows.pop(task, None)
            if not rows:
                del self._jobs[key]

    def jobs(self) -> AbstractSet[str]:
        return self._jobs.keys()

    def rows(self, key: str) -> Mapping[TaskId, Row[T]]:
        return self._jobs.get(key, _NOTHING)


class View:
    """Everything the control loops read, at one revision."""

    def __init__(self, store: Store, *, incarnation: int, cluster: str) -> None:
        self.incarnation = incarnation
        self.cluster = cluster
        self.jobs = Table("jobs", JOBS, Job)
        self.versions = Table("versions", VERSIONS, Version)
        self.placements = Table("placements", PLACEMENTS, Placement, is_grouped=True)
        self.pending = Table("pending", PENDING, Pending)
        self.rollouts = Table("rollouts", ROLLOUTS, RolloutRecord)
        self.batches = Table("batches", BATCHES, BatchRecord)
        self.cron = Table("cron", CRON, CronRecord)
        self.agents = Table("agents", AGENTS, Agent)
        self.links = Table("links", LINKS, Link)
        self.actual = Table("actual", ACTUAL, Task, is_grouped=True)
        self.instances = Table("instances", INSTANCES, Instance)
        self.holds = Table("holds", HOLDS, Holder)
        self.cordons = Table("cordons", CORDONS, Cordon)
        self.dead = Table("dead", DEAD, Death)
        self.disowned = Table("disowned", DISOWNED, Disowned, is_grouped=True)
        self.occupants = Table("slots", SLOTS, Occupant)
        self.quotas = Table("quotas", QUOTAS, Namespace)
        self.moves = Table("moves", MOVES, MoveRecord)
        #: Encrypted.
        self.secrets = Table("secrets", SECRETS, Secret)
        self.workflows = Table("workflows", WORKFLOWS, WorkflowRecord)
        #: Generations of workflows: what runs are on.
        self.graphs = Table("graphs", GRAPHS, GraphRecord)
        #: Runs that jobs wait for.
        self.awaited = Table("awaited", AWAITED, AwaitedRun)
        #: Of attempts of operations that have jobs changed.
        self.orders = Table("orders", ORDERS, OrderRecord)
        self.mirror = Mirror(
            store,
            ROOT,
            (
                self.jobs,
                self.versions,
                self.placements,
                self.pending,
                self.rollouts,
                self.batches,
                self.cron,
                self.agents,
                self.links,
                self.actual,
                self.instances,
                self.holds,
                self.cordons,
                self.dead,
                self.disowned,
                self.occupants,
                self.quotas,
                self.moves,
                self.secrets,
                self.workflows,
                self.graphs,
                self.awaited,
                self.orders,
            ),
        )
        self._placements: _ByJob[Placement] = _ByJob()
        self._actual: _ByJob[Task] = _ByJob()
        self._moves: _ByJob[MoveRecord] = _ByJob()
        self._occupants: dict[str, dict[str, Row[Occupant]]] = {}
        self._children: dict[str, dict[str, Row[Job]]] = {}
        self._uses: dict[str, Use] = {}
        self._secret_users: dict[str, set[str]] = {}
        self._secret_workflows: dict[str, set[str]] = {}
        self._batch_uses: dict[str, Use] = {}
        self._ended: dict[str, frozenset[TaskId]] = {}
        #: Registered agents whose link is lost.
        self.lost: set[str] = set()
        self.mirror.listen(self._hear)

    @property
    def revision(self) -> int:
        """The one revision that all tables are at."""
        return self.mirror.revision

    @property
    def halted(self) -> str | None:
        """Why no lost task is replaced now: so many agents are lost that the fault is likelier here. None: they are."""
        lost, agents = len(self.lost), len(self.agents.rows)
        is_halted = lost >= 2 and 2 * lost > agents
        return f"replacing lost tasks is halted: {lost} of {agents} agents are lost" if is_halted else None

    def placements_of(self, key: str) -> Mapping[TaskId, Row[Placement]]:
        """Return the placements of a job, given its key."""
        return self._placements.rows(key)

    def jobs_placed(self) -> AbstractSet[str]:
        """Return the keys of all jobs that have placements, be they there or not."""
        return self._placements.jobs()

    def placements_on(self, agent: str) -> Mapping[TaskId, Row[Placement]]:
        """Return the placements on an agent."""
        return cast("Mapping[TaskId, Row[Placement]]", self.placements.group(agent))

    def placement(self, task: TaskId) -> Row[Placement] | None:
        """Return the placement that makes this task."""
        return self._placements.rows(job_key_of(task)).get(task)

    def tasks_of(self, key: str) -> Mapping[TaskId, Row[Task]]:
        """Return what agents report of a job's tasks, given its key."""
        return self._actual.rows(key)

    def moves_of(self, key: str) -> Mapping[TaskId, Row[MoveRecord]]:
        """Return which tasks of a job are to move, given its key."""
        return self._moves.rows(key)

    def jobs_moving(self) -> AbstractSet[str]:
        """Return the keys of all jobs of which tasks are to move, be they there or not."""
        return self._moves.jobs()

    def occupants_of(self, key: str) -> Mapping[str, Row[Occupant]]:
        """Return who has the slots of an exclusive job, by slot, given its key."""
        return self._occupants.get(key, _NOBODY)

    def children_of(self, key: str) -> Mapping[str, Row[Job]]:
        """Return the jobs that a cron job has made and that are still there, by their keys, given its key."""
        return self._children.get(key, _NO_JOBS)

    def parents(self) -> AbstractSet[str]:
        """Return the keys of all cron jobs that have children, be they there or not."""
        return self._children.keys()

    def used(self, namespace: str) -> Use:
        """Return what the jobs of a namespace reserve at full scale."""
        return self._uses.get(namespace, UNUSED)

    def secret_users(self, key: str) -> list[str]:
        """Return the names of the jobs that refer to a secret, given its key, sorted."""
        return sorted(self._secret_users.get(key, ()))

    def secret_workflows(self, key: str) -> list[str]:
        """Return the names of the workflows that refer to a secret, given its key, sorted."""
        return sorted(self._secret_workflows.get(key, ()))

    def use_of(self, job: Job | None) -> Use:
        """Return what a job reserves at full scale; a batch job that has ended reserves nothing."""
        record = None if job is None or job.run is None else self.batches.rows.get(job_key(job.namespace, job.name))
        return use_of(job, is_over=job is not None and record is not None and is_over(job, record.value))

    def namespaces(self) -> list[str]:
        """Return the names of the namespaces that are declared, or that jobs name, sorted."""
        return sorted(self.quotas.rows.keys() | self._uses.keys())

    def is_recorded(self, agent: str, task: TaskId) -> bool:
        """Whether there is a placement that makes a task on an agent, be it one that this release cannot read."""
        key = f"{agent}/{task}"
        return key in self.placements.rows or key in self.placements.unreadable

    def jobs_reported(self) -> AbstractSet[str]:
        """Return the keys of all jobs of which agents report tasks."""
        return self._actual.jobs()

    def tasks_on(self, agent: str) -> Mapping[TaskId, Row[Task]]:
        """Return the tasks that an agent reports."""
        return cast("Mapping[TaskId, Row[Task]]", self.actual.group(agent))

    def is_left(self, key: str) -> bool:
        """Whether agents report tasks of a job, given its key, that are its own: not only such as nobody claims."""
        return any(row.value.state is not TaskState.UNCLAIMED for row in self._actual.rows(key).values())

    def claims(self, agent: str) -> frozenset[TaskId]:
        """Return the tasks of earlier incarnations on an agent of which there are records beside its own reports."""
        placed = (task for task, row in self.placements_on(agent).items() if row.value.incarnation < self.incarnation)
        return frozenset((*placed, *self.disowned_on(agent)))

    def disowned_on(self, agent: str) -> Mapping[TaskId, Row[Disowned]]:
        """Return an operator's words on tasks of an agent."""
        return cast("Mapping[TaskId, Row[Disowned]]", self.disowned.group(agent))

    def is_noted(self, task: TaskId) -> bool:
        """Whether a task is one that a batch job keeps, though it is over, for what it wrote."""
        return task in self._ended.get(job_key_of(task), _NONE)

    def task(self, task: TaskId) -> Row[Task] | None:
        """Return a task as its agent reports it."""
        return self._actual.rows(job_key_of(task)).get(task)

    def template(self, placement: Placement) -> TaskTemplate | None:
        """Return the template that a placement runs, or None when its version is gone."""
        row = self.versions.rows.get(f"{placement.namespace}/{placement.job}/{placement.version}")
        return None if row is None else row.value.spec.given()

    def external(self, revision: int) -> str:
        """Write a revision the way it is shown outside: ``<incarnation>.<revision>``."""
        return f"{self.incarnation}.{revision}"

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        for change in changes:
            if change.table is self.placements:
                self._placements.apply(change)
            elif change.table is self.actual:
                self._actual.apply(change)
            elif change.table is self.moves:
                self._moves.apply(change)
            elif change.table is self.jobs:
                self._note_use(change.key, None if change.old is None else change.old.value)
                _note_users(self._secret_users, change, secrets_of)
                self._note_child(change)
            elif change.table is self.links or change.table is self.agents:
                self._note_loss(change.key)
            elif change.table is self.batches:
                self._note_results(change)
                self._note_use(change.key, None)
            elif change.table is self.occupants:
                self._note_occupant(change)
            elif change.table is self.workflows:
                _note_users(self._secret_workflows, change, _secrets_of_workflow)

    def _note_results(self, change: RowChange) -> None:
        if change.new is None:
            self._ended.pop(change.key, None)
        else:
            self._ended[change.key] = frozenset(one.task for one in change.new.value.results)

    def _note_occupant(self, change: RowChange) -> None:
        key, _, slot = change.key.rpartition("/")
        slots = self._occupants.setdefault(key, {})
        if change.new is not None:
            slots[slot] = change.new
        else:
            slots.pop(slot, None)
            if not slots:
                del self._occupants[key]

    def _note_child(self, change: RowChange) -> None:
        parents = {parent_of(row.value) for row in (change.old, change.new) if row is not None and row.value.owner}
        for parent in parents:
            children = self._children.setdefault(parent, {})
            if change.new is not None and change.new.value.owner is not None:
                children[change.key] = change.new
            else:
                children.pop(change.key, None)
                if not children:
                    del self._children[parent]

    def _note_use(self, key: str, old: Job | None) -> None:
        namespace, row = key.partition("/")[0], self.jobs.rows.get(key)
        after = self.use_of(None if row is None else row.value)
        # What a batch job uses changes with its record, too.
        before = self._batch_uses.pop(key, None) or use_of(old)
        if row is not None and row.value.run is not None:
            self._batch_uses[key] = after
        used = add(add(self.used(namespace), after), before, -1)
        if used == UNUSED:
            self._uses.pop(namespace, None)
        else:
            self._uses[namespace] = used

    def _note_loss(self, agent: str) -> None:
        link = self.links.rows.get(agent)
        if agent in self.agents.rows and link is not None and link.value.state is LinkState.LOST:
            self.lost.add(agent)
        else:
            self.lost.discard(agent)
