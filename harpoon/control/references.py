"""What jobs refer to of each other: dependencies and endpoints, as the view has them, and who is to be woken.

References stay within a namespace. One to a job that is not there is no error: it may come later.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from harpoon.control.status import job_status
from harpoon.control.view import View, job_key
from harpoon.core.held import Unmet
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.job import Condition, Job, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.status import JobState
from harpoon.model.task import TaskState
from harpoon.model.template import OnChange
from harpoon.store.table import RowChange

#: What each condition asks of a job's state.
_STATES: Final[Mapping[Condition, JobState]] = {Condition.READY: JobState.READY}


class References:
    """Which jobs refer to which; kept in step by the jobs' changes."""

    def __init__(self) -> None:
        self._others: dict[str, frozenset[str]] = {}
        self._users: dict[str, set[str]] = {}

    def load(self, view: View) -> None:
        """Read the references of all jobs as they stand."""
        self._others, self._users = {}, {}
        for key, row in view.jobs.rows.items():
            self._set(key, row.value)

    def hear(self, change: RowChange) -> None:
        """Follow a change of a job."""
        self._set(change.key, None if change.new is None else change.new.value)

    def users(self, key: str) -> Sequence[str]:
        """Return the jobs (by key) that refer to one; their placing may depend on how it stands."""
        return tuple(self._users.get(key, ()))

    def _set(self, key: str, job: Job | None) -> None:
        others = frozenset() if job is None else _keys(job.namespace, job.spec)
        known = self._others.get(key, frozenset())
        for other in known - others:
            self._users[other].discard(key)
            if not self._users[other]:
                del self._users[other]
        for other in others - known:
            self._users.setdefault(other, set()).add(key)
        if others:
            self._others[key] = others
        else:
            self._others.pop(key, None)


def unmet(view: View, job: Job) -> tuple[Unmet, ...]:
    """Return the dependencies of a job that do not hold now."""
    found = []
    for dependency in job.spec.depends_on:
        row = view.jobs.rows.get(job_key(job.namespace, dependency.job))
        if row is None:
            found.append(Unmet(dependency=dependency, found="there is no such job"))
            continue
        status = job_status(view, row)
        if status.state is not _STATES[dependency.is_]:
            found.append(Unmet(dependency=dependency, found=f"{status.state}, {status.summary}"))
    return tuple(found)


def bindings(view: View, job: Job) -> dict[str, str]:
    """Return the variables of a job's tasks that are endpoints of other jobs, with the values they have now."""
    return {
        name: ",".join(sorted(_addresses(view, job_key(job.namespace, value.job), value.port)))
        for name, value in job.spec.task.endpoints().items()
    }


def replacing(job: Job, values: Mapping[str, str]) -> dict[str, str]:
    """Return those bindings whose change replaces running tasks."""
    wanted = job.spec.task.endpoints()
    return {name: value for name, value in values.items() if wanted[name].on_change is OnChange.RESTART}


def check_references(view: View, manifests: Mapping[str, Manifest]) -> None:
    """Refuse jobs that come to refer to themselves, directly or through others, each waiting for the next.

    Args:
        view: Has the jobs that are there already.
        manifests: What is about to be written, by the pointer that leads to it.

    Raises:
        Invalid: There is a circle; it is told job by job.
    """
    if not any(one.spec.depends_on or one.spec.task.env for one in manifests.values()):
        return
    written = {job_key(one.metadata.namespace, one.metadata.name): one.spec for one in manifests.values()}
    for pointer, (start, spec) in zip(manifests, written.items(), strict=True):
        circle = _circle(view, written, start) if spec.others() else []
        if circle:
            names = [key.partition("/")[2] for key in circle]
            depends = {dependency.job for dependency in spec.depends_on}
            where = "depends_on" if names[1] in depends else "task/env"
            detail = f"jobs that refer to each other in a circle would wait for ever: {' -> '.join(names)}"
            raise Invalid(detail, [Problem(pointer=f"{pointer}/spec/{where}", detail=detail)])


def _circle(view: View, written: Mapping[str, Spec], start: str) -> list[str]:
    """Return the way from a job back to itself, both ends told, or nothing."""
    came_from: dict[str, str] = {}
    ahead = [start]
    while ahead:
        key = ahead.pop()
        others = _references(view, written, key)
        if start in others:
            way = [start]
            while key != start:
                way.append(key)
                key = came_from[key]
            return [start, *reversed(way)]
        fresh = sorted(others - came_from.keys())
        came_from.update(dict.fromkeys(fresh, key))
        ahead += fresh
    return []


def _references(view: View, written: Mapping[str, Spec], key: str) -> frozenset[str]:
    if key in written:
        return _keys(key.partition("/")[0], written[key])
    row = view.jobs.rows.get(key)
    return frozenset() if row is None else _keys(row.value.namespace, row.value.spec)


def _keys(namespace: str, spec: Spec) -> frozenset[str]:
    return frozenset(job_key(namespace, name) for name in spec.others())


def _addresses(view: View, key: str, port: str) -> list[str]:
    placed = view.placements_of(key)
    wanted = {task for task, row in placed.items() if not row.value.is_revoked}
    ready = (row.value for task, row in view.tasks_of(key).items() if task in wanted)
    return [
        f"[{task.address}]:{task.ports[port]}" if ":" in task.address else f"{task.address}:{task.ports[port]}"
        for task in ready
        if task.ready and task.state is TaskState.RUNNING and port in task.ports
    ]
