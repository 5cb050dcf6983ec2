"""The read side of the control keyspace: every table at one revision, with the indexes that loops and doors need.

The view holds no state of its own: all of it can be rebuilt from the store, and is kept in step by one watch.
"""

import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, cast

from harpoon.model.agent import Agent, Cordon, Death, Link, LinkState
from harpoon.model.decision import Pending
from harpoon.model.instance import Holder, Instance
from harpoon.model.job import Job, Version
from harpoon.model.name import TaskId
from harpoon.model.task import Disowned, Occupant, Placement, Task, TaskState
from harpoon.model.template import TaskTemplate
from harpoon.store.hold import HOLDS, INSTANCES
from harpoon.store.mirror import Mirror
from harpoon.store.port import Store
from harpoon.store.table import Row, RowChange, Table

ROOT: Final = "/h/1/ctl/"
JOBS: Final = ROOT + "jobs/"
VERSIONS: Final = ROOT + "versions/"
PLACEMENTS: Final = ROOT + "placements/"
PENDING: Final = ROOT + "pending/"
AGENTS: Final = ROOT + "agents/"
LINKS: Final = ROOT + "links/"
ACTUAL: Final = ROOT + "actual/"
CORDONS: Final = ROOT + "cordons/"
DEAD: Final = ROOT + "dead/"
DISOWNED: Final = ROOT + "disowned/"
SLOTS: Final = ROOT + "slots/"
#: Keys of agents' holds in the view.
AGENT_HOLDS: Final = "agents/"

T = TypeVar("T")
_NOTHING: Final[Mapping[TaskId, Row[Any]]] = MappingProxyType({})
_NOBODY: Final[Mapping[str, Row[Occupant]]] = MappingProxyType({})


def job_key(namespace: str, name: str) -> str:
    """Return the key of a job in every table that has one row a job."""
    return f"{namespace}/{name}"


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
        self.agents = Table("agents", AGENTS, Agent)
        self.links = Table("links", LINKS, Link)
        self.actual = Table("actual", ACTUAL, Task, is_grouped=True)
        self.instances = Table("instances", INSTANCES, Instance)
        self.holds = Table("holds", HOLDS, Holder)
        self.cordons = Table("cordons", CORDONS, Cordon)
        self.dead = Table("dead", DEAD, Death)
        self.disowned = Table("disowned", DISOWNED, Disowned, is_grouped=True)
        self.occupants = Table("slots", SLOTS, Occupant)
        self.mirror = Mirror(
            store,
            ROOT,
            (
                self.jobs,
                self.versions,
                self.placements,
                self.pending,
                self.agents,
                self.links,
                self.actual,
                self.instances,
                self.holds,
                self.cordons,
                self.dead,
                self.disowned,
                self.occupants,
            ),
        )
        self._placements: _ByJob[Placement] = _ByJob()
        self._actual: _ByJob[Task] = _ByJob()
        self._occupants: dict[str, dict[str, Row[Occupant]]] = {}
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

    def occupants_of(self, key: str) -> Mapping[str, Row[Occupant]]:
        """Return who has the slots of an exclusive job, by slot, given its key."""
        return self._occupants.get(key, _NOBODY)

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

    def task(self, task: TaskId) -> Row[Task] | None:
        """Return a task as its agent reports it."""
        return self._actual.rows(job_key_of(task)).get(task)

    def template(self, placement: Placement) -> TaskTemplate | None:
        """Return the template that a placement runs, or None when its version is gone."""
        row = self.versions.rows.get(f"{placement.namespace}/{placement.job}/{placement.version}")
        return None if row is None else row.value.spec.task

    def external(self, revision: int) -> str:
        """Write a revision the way it is shown outside: ``<incarnation>.<revision>``."""
        return f"{self.incarnation}.{revision}"

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        for change in changes:
            if change.table is self.placements:
                self._placements.apply(change)
            elif change.table is self.actual:
                self._actual.apply(change)
            elif change.table is self.links or change.table is self.agents:
                self._note_loss(change.key)
            elif change.table is self.occupants:
                self._note_occupant(change)

    def _note_occupant(self, change: RowChange) -> None:
        key, _, slot = change.key.rpartition("/")
        slots = self._occupants.setdefault(key, {})
        if change.new is not None:
            slots[slot] = change.new
        else:
            slots.pop(slot, None)
            if not slots:
                del self._occupants[key]

    def _note_loss(self, agent: str) -> None:
        link = self.links.rows.get(agent)
        if agent in self.agents.rows and link is not None and link.value.state is LinkState.LOST:
            self.lost.add(agent)
        else:
            self.lost.discard(agent)
