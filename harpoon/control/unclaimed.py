"""What an operator says of tasks that no record knows (`core.drift`): that one is ours, or that it is to go.

*Adopting* makes the placement record that a restored registry lacks, and takes the slot from whatever was placed there
meanwhile, in one commit. The job is written with it, unchanged but for when: whatever was being decided of the job at
that moment compares the job as it was, and is decided anew, with the adopted task in view.

*Stopping* only leaves a word in the store. The agent's minder takes it for a claim; then the task is one like any other
that nothing places: it is stopped and forgotten, and the word goes with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from harpoon.control.occupancy import take
from harpoon.control.records import job_record
from harpoon.control.status import change_id
from harpoon.control.versions import kept_versions
from harpoon.control.view import ACTUAL, DISOWNED, JOBS, LINKS, PLACEMENTS, View, job_key, placement_key
from harpoon.core.fleet import reservation
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, Invalid, NotFound, Unavailable
from harpoon.model.agent import LinkState
from harpoon.model.job import Job, Version
from harpoon.model.name import TaskId
from harpoon.model.task import Disowned, Task, TaskName, TaskState, parse_task_id, stand_in
from harpoon.store import settle
from harpoon.store.port import Compare, Delete, Put, Store, Write
from harpoon.store.table import Row

#: Tries against others that change the same records.
TRIES: Final = 5
#: Versions named when none has the task's generation.
_NAMED_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What became of an unclaimed task, durably."""

    revision: int
    task: TaskId
    #: Of the job that it was adopted into, to be waited for.
    change: str | None = None


#: Given what it comes to at a revision, what else is to be written in its commit; see `control.receipts`.
Extra = Callable[[Callable[[int], tuple[Claimed, ...]]], tuple[Sequence[Compare], Sequence[Write]]]
_Draft = tuple[tuple[Compare, ...], tuple[Write, ...], Job | None]


class Unclaimed:
    """The one writer of operators' words on unclaimed tasks."""

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock

    async def adopt(self, namespace: str, task: str, *, extra: Extra | None = None) -> Claimed:
        """Make an unclaimed task the one of its slot, and write ``extra`` with it; others of the slot are stopped.

        Raises:
            Invalid: It is no task's id.
            NotFound: There is no such task.
            Conflict: It is not unclaimed, or its job has no place for it.
            Unavailable: Others keep changing what it depends on.
        """
        for _ in range(TRIES):
            row = self._existing(namespace, task)
            claimed = await self._commit(row.value, self._adoption(row), extra)
            if claimed is not None:
                return claimed
        raise Unavailable("others keep changing this task or its job; try again")

    async def stop(self, namespace: str, task: str, *, extra: Extra | None = None) -> Claimed:
        """Have an unclaimed task stopped and forgotten, and write ``extra`` with that; the errors are as of `adopt`."""
        for _ in range(TRIES):
            row = self._existing(namespace, task)
            claimed = await self._commit(row.value, self._farewell(row), extra)
            if claimed is not None:
                return claimed
        raise Unavailable("the agent keeps changing this task; try again")

    def _existing(self, namespace: str, task: str) -> Row[Task]:
        """Return an unclaimed task."""
        try:
            name = parse_task_id(task)
        except ValueError as error:
            raise Invalid(str(error)) from error
        row, placed = self._view.task(TaskId(task)), self._view.placement(TaskId(task))
        if name.namespace != namespace or (row is None and placed is None):
            raise NotFound(f"there is no task {task} in namespace {namespace}")
        if row is not None and f"{row.value.agent}/{task}" in self._view.disowned.rows:
            raise Conflict(f"task {task} is being stopped already: an operator said so")
        if row is None or placed is not None or row.value.state is not TaskState.UNCLAIMED:
            is_placed = row is None or row.value.state is TaskState.UNCLAIMED
            state = TaskState.PLACED if row is None or is_placed else row.value.state
            raise Conflict(
                f"task {task} is {state}, and not unclaimed: it belongs to job {name.job}; to have fewer tasks, scale "
                "that job down or unschedule it"
            )
        return row

    def _farewell(self, row: Row[Task]) -> _Draft:
        task = row.value
        word = Disowned(task=task.id, agent=task.agent, at_ms=self._clock.now().wall)
        key = f"{DISOWNED}{task.agent}/{task.id}"
        # Another operator may adopt it at this moment.
        unplaced = Compare(f"{PLACEMENTS}{task.agent}/{task.id}", mod=0)
        return (_same(row), unplaced, Compare(key, mod=0)), (Put(key, codec.dump(word)),), None

    def _adoption(self, row: Row[Task]) -> _Draft:
        task, view = row.value, self._view
        name = parse_task_id(task.id)
        link = view.links.rows.get(task.agent)
        if link is None or link.value.state is not LinkState.CONNECTED:
            raise Conflict(f"agent {task.agent}, which runs task {task.id}, is not connected: adopt it once it is")
        if task.is_over:
            raise Conflict(f"task {task.id} runs no more; forget it with `harpoon stop task/{task.id}`")
        found = _wanting(view, name)
        job, version = found.value, _version(view, found.value, task)
        now_ms = self._clock.now().wall
        placement = replace(
            stand_in(task.id, task.agent, task.generation),
            version=version.version,
            reason="adopted by an operator",
            decided_ms=now_ms,
            reserve=reservation(version.spec.task),
            is_exclusive=job.spec.exclusive,
        )
        placed = view.placements_of(job_key(name.namespace, name.job)).values()
        place = task.id.rpartition(".")[0]
        others = [other.value for other in placed if other.value.task.rpartition(".")[0] == place]
        if job.spec.exclusive and (live := [other for other in others if not other.is_denied]):
            raise Conflict(
                f"job {name.job} is exclusive, and slot {name.slot} is placed as {live[0].task} on agent "
                f"{live[0].agent}: end one of the two, this one with `harpoon stop task/{task.id}`"
            )
        gone: list[Write] = [Delete(placement_key(other)) for other in others]
        taken: tuple[Compare, ...] = ()
        if job.spec.exclusive:
            slot, taken = take(view, placement)
            gone.append(slot)
        renewed = replace(job, updated_ms=max(now_ms, job.updated_ms))
        key = job_key(job.namespace, job.name)
        compares = (
            _same(row),
            Compare(JOBS + key, mod=found.mod_revision),
            Compare(LINKS + task.agent, mod=link.mod_revision),
            Compare(placement_key(placement), mod=0),
            # A word that another operator gives at this moment.
            Compare(f"{DISOWNED}{task.agent}/{task.id}", mod=0),
            *taken,
        )
        record = Put(JOBS + key, job_record(renewed, codec.dump(renewed.spec)))
        return compares, (Put(placement_key(placement), codec.dump(placement)), *gone, record), renewed

    async def _commit(self, task: Task, draft: _Draft, extra: Extra | None) -> Claimed | None:
        """Commit what was drafted; None when someone else was faster."""
        compares, writes, job = draft

        def outcome(revision: int) -> Claimed:
            change = None if job is None else change_id(self._view, job.namespace, job.name, revision)
            return Claimed(revision=revision, task=task.id, change=change)

        more: Sequence[Write] = ()
        if extra is not None:
            conditions, more = extra(lambda revision: (outcome(revision),))
            compares = (*compares, *conditions)
        revision = await settle.commit(self._store, compares, (*writes, *more))
        if revision is None:
            await settle.see_others(self._store, self._view.mirror, compares)
            return None
        await self._view.mirror.shows(revision)
        return outcome(revision)


def _same(row: Row[Task]) -> Compare:
    return Compare(f"{ACTUAL}{row.value.agent}/{row.value.id}", mod=row.mod_revision)


def _wanting(view: View, name: TaskName) -> Row[Job]:
    """Return the job that wants the slot of a task.

    Raises:
        Conflict: There is none.
    """
    row = view.jobs.rows.get(job_key(name.namespace, name.job))
    task = f"{name.namespace}.{name.job}.{name.place}.{name.number}"
    stop = f"or end the task with `harpoon stop task/{task}`"
    if row is None:
        raise Conflict(f"there is no job {name.job} in namespace {name.namespace}: schedule it first, {stop}")
    if row.value.is_terminating:
        raise Conflict(f"job {name.job} is being unscheduled: schedule it again first, {stop}")
    scale = row.value.spec.scale
    if name.slot >= scale:
        told = f"job {name.job} has scale {scale}, and so no slot {name.slot}"
        raise Conflict(f"{told}: scale it to {name.slot + 1} first, {stop}")
    return row


def _version(view: View, job: Job, task: Task) -> Version:
    """Return the newest kept version of a job whose template a task runs.

    Raises:
        Conflict: There is none.
    """
    kept = kept_versions(view, job)
    for version in kept:
        if version.generation == task.generation:
            return version
    told = ", ".join(f"{version.version} is {version.generation}" for version in kept[:_NAMED_MAX])
    raise Conflict(
        f"task {task.id} is of generation {task.generation}, and no kept version of job {job.name} is: version {told}. "
        f"Migrate the job to what the task runs first, or end it with `harpoon stop task/{task.id}`"
    )
