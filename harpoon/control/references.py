"""What jobs refer to: other jobs, their endpoints, runs, and secrets, as the view has them, and who is to be woken.

References stay within a namespace. One to what is not there is no error: it may come later.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from harpoon.control.status import job_status
from harpoon.control.view import View, job_key, secrets_of
from harpoon.core.held import Missing, NoSecret, Unmet
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.awaited import AwaitedRun
from harpoon.model.dependency import Dependency
from harpoon.model.given import OnChange
from harpoon.model.job import Job, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.name import DEFAULT_NAMESPACE
from harpoon.model.secret import Sealed
from harpoon.model.status import JobState
from harpoon.model.task import TaskState
from harpoon.store.table import RowChange

#: How a job stands that others waited for: a batch job, once it has succeeded.
_STANDING: Final = (JobState.READY, JobState.SUCCEEDED)
_RUNS: Final = "runs/"


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
        """Return the jobs (by key) that refer to one, or to what `secret_mark` or `run_mark` says of something else."""
        return tuple(self._users.get(key, ()))

    def runs(self) -> list[str]:
        """Return the keys of all runs that jobs wait for."""
        return [mark.removeprefix(_RUNS) for mark in self._users if mark.startswith(_RUNS)]

    def _set(self, key: str, job: Job | None) -> None:
        others = frozenset() if job is None else _keys(job.namespace, job.spec) | _secrets(job) | _runs(job)
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


def secret_mark(key: str) -> str:
    """Return what stands for a secret among the keys of jobs, given its own key."""
    return f"secrets/{key}"


def run_mark(key: str) -> str:
    """Return what stands for a run among the keys of jobs, given ``<namespace>/<run>``."""
    return f"{_RUNS}{key}"


def unmet(view: View, job: Job, runs: Mapping[str, AwaitedRun] | None = None) -> tuple[Missing, ...]:
    """Return the dependencies of a job that do not hold now, and the secrets it refers to that are not there.

    Args:
        view: What there is.
        job: Whose dependencies they are.
        runs: Those that nothing has waited for yet, by their keys, if they were looked up.
    """
    found: list[Missing] = []
    for dependency in job.spec.depends_on:
        one = _lacks_run(view, job, dependency, runs or {}) if dependency.run else _lacks_job(view, job, dependency)
        if one is not None:
            found.append(one)
    variables = {one.secret for one in job.spec.task.secret_variables().values()}
    for name in job.spec.task.secret_values():
        sealed, lacks = _look_up(view, job, name)
        if sealed is not None and name in variables and not sealed.is_text:
            lacks = "it is no text, and cannot be a variable; have it as a file"
        if lacks:
            found.append(NoSecret(name=name, found=lacks))
    return tuple(found)


def bindings(view: View, job: Job) -> dict[str, str]:
    """Return what a job's tasks refer to, as it is now.

    That is each variable that is endpoints of another job, with its value; and each value of a secret, as
    ``<name>/<key>``, with which one it is: nothing that would tell the value. What there is not is empty.
    """
    found = {
        name: ",".join(sorted(_addresses(view, job_key(job.namespace, value.job), value.port)))
        for name, value in job.spec.task.endpoints().items()
    }
    for name in job.spec.task.secret_values():
        sealed, _ = _look_up(view, job, name)
        found[name] = "" if sealed is None else sealed.binding
    return found


def replacing(job: Job, values: Mapping[str, str]) -> dict[str, str]:
    """Return those bindings whose change replaces running tasks; and secrets that are gone.

    Without one of those no task could be started in the place of another, so that all that is there is to stay.
    """
    endpoints, secrets = job.spec.task.endpoints(), job.spec.task.secret_values()
    return {
        name: value
        for name, value in values.items()
        if (secrets[name] if name in secrets else endpoints[name].on_change) is OnChange.RESTART
        or (name in secrets and not value)
    }


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


def _lacks_job(view: View, job: Job, dependency: Dependency) -> Unmet | None:
    """Say how a job stands that is not as another wants it; None: it is."""
    row = view.jobs.rows.get(job_key(job.namespace, dependency.name))
    if row is None:
        return Unmet(dependency=dependency, found="there is no such job")
    status = job_status(view, row)
    if status.state in _STANDING:
        return None
    return Unmet(dependency=dependency, found=f"{status.state}, {status.summary}")


def _lacks_run(view: View, job: Job, dependency: Dependency, runs: Mapping[str, AwaitedRun]) -> Unmet | None:
    """Say how a run stands that has not succeeded; None: it has."""
    key = job_key(job.namespace, dependency.name)
    row = view.awaited.rows.get(key)
    known = runs.get(key) if row is None else row.value
    if known is None:
        return Unmet(dependency=dependency, found="it is being looked up")
    if known.has_succeeded:
        return None
    return Unmet(dependency=dependency, found=known.found, fix=_fix_of(known))


def _fix_of(known: AwaitedRun) -> str:
    """Return what to do for a run that will not succeed by itself; empty: it may."""
    where = "" if known.namespace == DEFAULT_NAMESPACE else f" -n {known.namespace}"
    if known.status is None:
        return f"harpoon run start{where} WORKFLOW --id {known.run}"
    if known.status.is_over:
        anew = f"harpoon run start{where} {known.workflow or 'WORKFLOW'} --id ANOTHER-ID, and name that in depends_on"
        # What is not kept any more cannot be tried again.
        return f"harpoon run retry{where} {known.run} --from OPERATION; or {anew}" if known.workflow else anew
    return ""


def _look_up(view: View, job: Job, reference: str) -> tuple[Sealed | None, str]:
    """Return a value of a secret that a job refers to, still encrypted; or why there is none."""
    name, _, key = reference.partition("/")
    where = job_key(job.namespace, name)
    row = view.secrets.rows.get(where)
    if row is None:
        is_there = where in view.secrets.unreadable
        return None, "its record cannot be read by this release" if is_there else "there is no such secret"
    sealed = row.value.keys.get(key)
    return sealed, "" if sealed is not None else f"secret {name} has no key {key}"


def _secrets(job: Job) -> frozenset[str]:
    return frozenset(map(secret_mark, secrets_of(job)))


def _runs(job: Job) -> frozenset[str]:
    return frozenset(run_mark(job_key(job.namespace, run)) for run in job.spec.runs())


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
