"""What happened lately, told from the view's recent changes. Nothing is stored for it: it is made when asked for.

How far back it reaches is what the mirror keeps: some thousands of revisions, none of them from before this process
began. It is read in slices, so that the event loop is held by none for more than some milliseconds.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from harpoon.control.cron_status import cron_event
from harpoon.control.view import View, job_key, job_key_of
from harpoon.core.blockers import moment
from harpoon.model.agent import Agent, Cordon
from harpoon.model.batch import BatchRecord, Ending
from harpoon.model.job import Job, Version
from harpoon.model.name import TaskId
from harpoon.model.story import Event, EventList, Happening
from harpoon.model.task import Placement, Task, TaskState
from harpoon.store.table import RowChange

#: Revisions read before others get their turn on the event loop.
_SLICE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose events are told; exactly one is set."""

    #: Key of a job: its own events and those of its tasks.
    job: str | None = None
    task: TaskId | None = None
    #: An agent: its own events and those of the tasks on it.
    agent: str | None = None


async def events_of(view: View, subject: Subject, limit: int) -> EventList:
    """Return the last ``limit`` events of a subject that are still known."""
    oldest, revision = view.mirror.oldest, view.revision
    found: deque[Event] = deque(maxlen=limit)
    reader = _Reader(view, subject)
    for count, (at, changes) in enumerate(view.mirror.since(oldest) or (), 1):
        found.extend(reader.read(at, changes))
        if count % _SLICE == 0:
            await asyncio.sleep(0)
    return EventList(revision=view.external(revision), oldest=view.external(oldest), items=tuple(found))


class _Reader:
    """Reads revisions in order, and remembers how late it was."""

    def __init__(self, view: View, subject: Subject) -> None:
        self._view = view
        self._subject = subject
        self._latest_ms = 0

    def read(self, revision: int, changes: tuple[RowChange, ...]) -> Iterator[Event]:
        """Yield what one revision means to the subject."""
        for change in changes:
            self._note_time(change)
            told = self._told(change, changes) if self._concerns(change) else None
            if told is not None:
                event, at_ms, detail = told
                yield Event(
                    revision=self._view.external(revision),
                    at_ms=self._latest_ms if at_ms is None else at_ms,
                    subject=self._name(change),
                    event=event,
                    detail=detail,
                )

    def _told(self, change: RowChange, changes: tuple[RowChange, ...]) -> "_Told | None":
        view = self._view
        old = None if change.old is None else change.old.value
        new = None if change.new is None else change.new.value
        if change.table is view.jobs:
            return _job_event(old, new, self._origin(changes))
        if change.table is view.pending:
            return None if new is None else (Happening.PENDING, new.since_ms, new.reason)
        if change.table is view.batches:
            return _batch_event(old, new)
        if change.table is view.cron:
            return cron_event(old, new)
        if change.table is view.placements:
            is_noted = new is None and view.is_noted(TaskId(change.key.partition("/")[2]))
            return None if is_noted else _placement_event(old, new, self._preemptor(change, changes))
        if change.table is view.actual:
            return _task_event(old, new)
        if change.table is view.links:
            return None if new is None else (Happening(new.state.value), new.since_ms, new.reason)
        if change.table is view.cordons:
            is_gone = any(one.table is view.agents and one.key == change.key for one in changes)
            return _cordon_event(new, is_gone=is_gone)
        if change.table is view.dead:
            return None if new is None else (Happening.DECLARED_DEAD, new.at_ms, new.reason)
        return _agent_event(new)

    def _note_time(self, change: RowChange) -> None:
        """Follow the clocks of the servers; those of agents may be off."""
        view, row = self._view, change.new
        if row is None:
            return
        if change.table is view.placements:
            self._latest_ms = max(self._latest_ms, row.value.decided_ms)
        elif change.table is view.jobs:
            self._latest_ms = max(self._latest_ms, row.value.updated_ms)
        elif change.table is view.links or change.table is view.cordons:
            self._latest_ms = max(self._latest_ms, row.value.since_ms)
        elif change.table is view.dead:
            self._latest_ms = max(self._latest_ms, row.value.at_ms)

    def _concerns(self, change: RowChange) -> bool:
        view, subject, key = self._view, self._subject, change.key
        if change.table is view.placements or change.table is view.actual:
            agent, _, task = key.partition("/")
            return subject.agent == agent or subject.task == task or subject.job == job_key_of(task)
        if change.table in (view.links, view.agents, view.cordons, view.dead):
            return subject.agent == key
        return subject.job == key and change.table in (view.jobs, view.pending, view.batches, view.cron)

    def _name(self, change: RowChange) -> str:
        view, (first, _, rest) = self._view, change.key.partition("/")
        if change.table in (view.links, view.agents, view.cordons, view.dead):
            return f"agent/{first}"
        is_job = change.table in (view.jobs, view.pending, view.batches, view.cron)
        return f"job/{rest}" if is_job else f"task/{rest}"

    def _origin(self, changes: tuple[RowChange, ...]) -> int | None:
        """Return the version that the job's new one brought back, if it did."""
        for change in changes:
            if change.table is self._view.versions and change.new is not None:
                version: Version = change.new.value
                if job_key(version.namespace, version.name) == self._subject.job:
                    return version.reverted_from
        return None

    def _preemptor(self, change: RowChange, changes: tuple[RowChange, ...]) -> str | None:
        """Return the job that waits for the room of the task whose placement goes, as it was said in that commit."""
        task = change.key.partition("/")[2]
        told = ((one.key, one.new.value) for one in changes if one.table is self._view.pending and one.new is not None)
        return next((key for key, pending in told if task in pending.awaited), None) if change.new is None else None


_Told = tuple[Happening, int | None, str]


def _job_event(old: Job | None, new: Job | None, origin: int | None) -> _Told:
    if new is None:
        return Happening.GONE, None, "its last task is gone, and nothing is left of it"
    back = f", as version {origin} was" if origin is not None else ""
    if new.is_terminating:
        return Happening.UNSCHEDULED, new.updated_ms, "its tasks are to stop"
    if old is None or old.is_terminating:
        return Happening.SCHEDULED, new.updated_ms, f"version {new.version}, {_extent(new)}{back}"
    if old.generation != new.generation:
        scale = "" if old.spec.scale == new.spec.scale else f", scale {old.spec.scale} to {new.spec.scale}"
        return Happening.MIGRATED, new.updated_ms, f"version {old.version} to version {new.version}{scale}{back}"
    if old.spec.scale != new.spec.scale:
        return Happening.SCALED, new.updated_ms, f"{old.spec.scale} to {new.spec.scale}{back}"
    return Happening.CHANGED, new.updated_ms, f"version {new.version}; no task is replaced{back}"


def _batch_event(old: BatchRecord | None, new: BatchRecord | None) -> _Told | None:
    if new is None or new.outcome is None or (old is not None and old.outcome is new.outcome):
        return None
    if new.outcome is Ending.FAILED:
        return Happening.FAILED, new.ended_ms, new.reason
    return Happening.SUCCEEDED, new.ended_ms, f"{sum(one.is_complete for one in new.results)} slots are complete"


def _extent(job: Job) -> str:
    return f"scale {job.spec.scale}" if job.spec.cron is None else f"due at {job.spec.cron.at}"


def _placement_event(old: Placement | None, new: Placement | None, preemptor: str | None) -> _Told | None:
    if new is not None and new.is_denied:
        return Happening.DENIED, None, f"agent {new.agent} has forgotten it, and will never run it"
    if new is not None and new.is_revoked:
        return Happening.WITHDRAWN, new.decided_ms, f"it is to stop on {new.agent}: {new.reason}"
    if new is not None:
        return Happening.PLACED, new.decided_ms, f"on {new.agent}: {new.reason}"
    assert old is not None, "a change has a row before or after it"
    if old.is_denied:
        return None
    why = "" if preemptor is None else f": it makes room for job {preemptor}, whose priority is higher"
    return Happening.WITHDRAWN, None, f"it is to stop on {old.agent}{why}"


def _task_event(old: Task | None, new: Task | None) -> _Told | None:
    if new is None:
        is_over = old is not None and old.state.is_over
        return None if is_over else (Happening.GONE, None, "its agent does not have it any more")
    event = _state_event(old, new)
    if old is not None and (event, old.restarts, old.reason) == (_state_event(None, old), new.restarts, new.reason):
        return None
    return event, new.since_ms, new.reason


def _state_event(old: Task | None, new: Task) -> Happening:
    if new.state is not TaskState.RUNNING:
        return Happening(new.state.value)
    if new.ready:
        return Happening.READY
    return Happening.UNREADY if old is not None and old.ready else Happening.RUNNING


def _agent_event(new: Agent | None) -> _Told:
    if new is None:
        return Happening.REMOVED, None, "its registration was taken back"
    return Happening.REGISTERED, None, f"at {new.endpoint}"


def _cordon_event(new: Cordon | None, *, is_gone: bool) -> _Told | None:
    """Tell what was decided of an agent; nothing when its cordon went with it."""
    if new is None:
        return None if is_gone else (Happening.UNCORDONED, None, "it takes new tasks again")
    event = Happening.DRAINING if new.is_draining else Happening.CORDONED
    deadline = "" if new.deadline_ms is None else f"until {moment(new.deadline_ms)} at the latest"
    return event, new.since_ms, ": ".join(filter(None, (deadline, new.reason)))
