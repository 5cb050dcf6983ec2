"""The read side of the control keyspace: every table at one revision, with the indexes that loops and doors need.

The view holds no state of its own: all of it can be rebuilt from the store, and is kept in step by one watch.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from harpoon.model.agent import Agent, Link
from harpoon.model.decision import Pending
from harpoon.model.job import Job, Version
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task
from harpoon.model.template import TaskTemplate
from harpoon.store.port import Store
from harpoon.store.table import Mirror, Row, RowChange, Table

ROOT: Final = "/h/1/ctl/"
JOBS: Final = ROOT + "jobs/"
VERSIONS: Final = ROOT + "versions/"
PLACEMENTS: Final = ROOT + "placements/"
PENDING: Final = ROOT + "pending/"
AGENTS: Final = ROOT + "agents/"
LINKS: Final = ROOT + "links/"
ACTUAL: Final = ROOT + "actual/"
META: Final = ROOT + "meta/cluster"

T = TypeVar("T")
_NOTHING: Final[Mapping[TaskId, Row[Any]]] = MappingProxyType({})


def job_key(namespace: str, name: str) -> str:
    """Return the key of a job in every table that has one row a job."""
    return f"{namespace}/{name}"


def job_key_of(task: str) -> str:
    """Return the key of the job that a task belongs to, given the task's id."""
    return task.rsplit(".", 2)[0].replace(".", "/", 1)


def placement_key(placement: Placement) -> str:
    """Return the store key of a placement's record."""
    return f"{PLACEMENTS}{placement.agent}/{placement.task}"


class _Index(Generic[T]):
    """Rows of one table of tasks by job and by agent."""

    def __init__(self) -> None:
        self.by_job: dict[str, dict[TaskId, Row[T]]] = {}
        self.by_agent: dict[str, dict[TaskId, Row[T]]] = {}

    def apply(self, change: RowChange) -> None:
        agent, _, task = change.key.partition("/")
        for index, key in ((self.by_job, job_key_of(task)), (self.by_agent, agent)):
            rows = index.get(key)
            if change.new is not None:
                if rows is None:
                    rows = index[key] = {}
                rows[TaskId(task)] = change.new
            elif rows is not None:
                rows.pop(TaskId(task), None)
                if not rows:
                    del index[key]

    def row(self, task: TaskId) -> Row[T] | None:
        return self.by_job.get(job_key_of(task), _NOTHING).get(task)


class View:
    """Everything the control loops read, at one revision."""

    def __init__(self, store: Store, *, incarnation: int, cluster: str) -> None:
        self.incarnation = incarnation
        self.cluster = cluster
        self.jobs = Table("jobs", JOBS, Job)
        self.versions = Table("versions", VERSIONS, Version)
        self.placements = Table("placements", PLACEMENTS, Placement)
        self.pending = Table("pending", PENDING, Pending)
        self.agents = Table("agents", AGENTS, Agent)
        self.links = Table("links", LINKS, Link)
        self.actual = Table("actual", ACTUAL, Task)
        self.mirror = Mirror(
            store,
            ROOT,
            (self.jobs, self.versions, self.placements, self.pending, self.agents, self.links, self.actual),
        )
        self._placements: _Index[Placement] = _Index()
        self._actual: _Index[Task] = _Index()
        self.mirror.listen(self._hear)

    @property
    def revision(self) -> int:
        """The one revision that all tables are at."""
        return self.mirror.revision

    def placements_of(self, key: str) -> Mapping[TaskId, Row[Placement]]:
        """Return the placements of a job, given its key."""
        return self._placements.by_job.get(key, _NOTHING)

    def placements_on(self, agent: str) -> Mapping[TaskId, Row[Placement]]:
        """Return the placements on an agent."""
        return self._placements.by_agent.get(agent, _NOTHING)

    def placement(self, task: TaskId) -> Row[Placement] | None:
        """Return the placement that makes this task."""
        return self._placements.row(task)

    def tasks_of(self, key: str) -> Mapping[TaskId, Row[Task]]:
        """Return what agents report of a job's tasks, given its key."""
        return self._actual.by_job.get(key, _NOTHING)

    def tasks_on(self, agent: str) -> Mapping[TaskId, Row[Task]]:
        """Return the tasks that an agent reports."""
        return self._actual.by_agent.get(agent, _NOTHING)

    def task(self, task: TaskId) -> Row[Task] | None:
        """Return a task as its agent reports it."""
        return self._actual.row(task)

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
