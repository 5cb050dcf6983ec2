"""One job on the way that is foretold for it: how its placements stand, and what has been decided of them so far.

It decides nothing (`core.plan` asks the scheduler's verbs), and knows of no other job but what is imagined of all.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from harpoon.core.batch import judge, note
from harpoon.core.held import Missing
from harpoon.core.place import Decision
from harpoon.core.standing import Brake, Standing
from harpoon.model.batch import BatchRecord, Ending
from harpoon.model.decision import Drop, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.plan import Course, PlannedDrop, PlannedPending, PlannedPlacement
from harpoon.model.task import Placement, Task, TaskState

_TASK: Final = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+\.\d+\.\d+-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outset:
    """One job as it is to be, with where its placements stand."""

    job: Job
    standings: tuple[Standing, ...] = ()
    #: Tasks of the job that run on without a placement, and are about to go.
    leaving: tuple[TaskId, ...] = ()
    #: Dependencies that do not hold, of those on jobs that are not planned.
    unmet: tuple[Missing, ...] = ()
    #: Values of the variables that are endpoints of other jobs.
    bindings: Mapping[str, str] = field(default_factory=dict)
    #: Those of them whose change replaces tasks.
    replacing: Mapping[str, str] = field(default_factory=dict)
    #: What keeps its rollout from going on by itself.
    brake: Brake | None = None
    #: Values of the variables that are endpoints, in the form that served before.
    braked_bindings: Mapping[str, str] = field(default_factory=dict)
    #: Of a batch job: what came of its tasks.
    batch: BatchRecord | None = None


@dataclass(slots=True)
class Line:
    """One job on its way."""

    outset: Outset
    standings: dict[TaskId, Standing]
    #: Tasks that exist only here, of all jobs: no id of theirs may be told, for they will have others.
    imagined: set[TaskId]
    placements: list[PlannedPlacement] = field(default_factory=list)
    drops: list[PlannedDrop] = field(default_factory=list)
    pending: PlannedPending | None = None
    #: What is to happen by time alone.
    due: timedelta | None = None
    #: The last wave in which something was decided.
    wave: int = 0
    #: Whether there was something to decide when last asked.
    is_moving: bool = False
    #: Of a batch job: what will have come of its tasks.
    batch: BatchRecord | None = None

    def count_ready(self) -> int:
        """Return how many slots have a ready task of the present generation."""
        job = self.outset.job
        ready = (one.placement for one in self.standings.values() if one.task is not None and one.task.ready)
        return len({one.slot for one in ready if one.generation == job.generation and not one.is_denied})

    def is_ready(self, going: Sequence[TaskId]) -> bool:
        """Return whether every slot has a ready task of the present generation, and nothing else is left."""
        job = self.outset.job
        prefix = f"{job.namespace}.{job.name}."
        if self.batch is not None:
            return self.batch.outcome is Ending.SUCCEEDED
        is_clean = len(self.standings) == job.spec.scale and not any(task.startswith(prefix) for task in going)
        return is_clean and self.count_ready() == job.spec.scale

    def is_denied(self, drop: Drop) -> bool:
        """Return whether what is dropped stands for nothing that could still go."""
        standing = self.standings.get(drop.task)
        return standing is not None and standing.placement.is_denied

    def become_ready(self, now: Instant) -> bool:
        """Take every task that may become ready to be so; return whether any was not."""
        waiting = [
            one
            for one in self.standings.values()
            if not one.placement.is_revoked and (one.task is None or _may_become_ready(one.task))
        ]
        for standing in waiting:
            self.standings[standing.placement.task] = standing._replace(task=_ready(standing.placement, now))
        return bool(waiting)

    def become_complete(self, now: Instant) -> list[TaskId]:
        """Take every task of a batch job that may finish to have done so; return them."""
        record = self.batch
        if record is None:
            return []
        ending = [
            one
            for one in self.standings.values()
            if not one.placement.is_revoked and (one.task is None or _may_finish(one.task))
        ]
        finished = [one._replace(task=_finished(one.placement, now)) for one in ending]
        self.batch = judge(self.outset.job, note(self.outset.job, record, finished, now), now)
        for one in ending:
            del self.standings[one.placement.task]
        return [one.placement.task for one in ending]

    def become_denied(self) -> list[TaskId]:
        """Take every revoked placement to be denied, but those on lost agents; return their tasks."""
        awaited = [one for one in self.standings.values() if _is_answered(one)]
        for one in awaited:
            placement = replace(one.placement, is_denied=True)
            self.standings[placement.task] = one._replace(placement=placement, task=None)
        return [one.placement.task for one in awaited]

    def note(self, wave: int, decision: Decision, wants: Mapping[int, Want], drops: Sequence[Drop]) -> None:
        """Write down what was decided."""
        pending = decision.pending
        self.pending = None
        if pending is not None:
            told = self._told(pending.reason)
            self.pending = PlannedPending(slots=pending.slots, reason=told, blockers=pending.blockers)
        self.is_moving = bool(decision.placements or drops)
        if self.is_moving:
            self.wave = wave
        self.placements += [
            PlannedPlacement(
                slot=one.slot,
                agent=one.agent,
                replaces=tuple(task for task in wants[one.slot].replaces if task not in self.imagined),
                wave=wave,
                reason=self._told(one.reason),
            )
            for one in decision.placements
        ]
        self.drops += [
            PlannedDrop(task=one.task, agent=one.agent, wave=wave, reason=self._told(one.reason))
            for one in drops
            if one.task not in self.imagined
        ]
        self.imagined |= {one.task for one in decision.placements}

    def course(self, *, is_whole: bool) -> Course:
        """Return what has come of it."""
        return Course(
            placements=tuple(self.placements),
            drops=tuple(self.drops),
            pending=self.pending,
            waves=self.wave,
            is_whole=is_whole,
        )

    def _told(self, reason: str) -> str:
        """Return a reason that names no task that there will not be."""
        return _TASK.sub(lambda found: "its successor" if found[0] in self.imagined else found[0], reason)


def _is_answered(standing: Standing) -> bool:
    """Return whether a denial is awaited, and will come: that of a lost agent does not."""
    placement, task, _ = standing
    return (
        placement.is_revoked
        and not placement.is_denied
        and (task is None or task.state not in (TaskState.LOST, TaskState.UNCLAIMED))
    )


def _may_become_ready(task: Task) -> bool:
    return not (task.ready or task.state.is_over or task.state is TaskState.LOST)


def _may_finish(task: Task) -> bool:
    return not task.state.is_over and task.state not in (TaskState.LOST, TaskState.UNCLAIMED)


def _finished(placement: Placement, now: Instant) -> Task:
    return replace(_ready(placement, now), state=TaskState.FINISHED, ready=False)


def _ready(placement: Placement, now: Instant) -> Task:
    return Task(
        id=placement.task,
        agent=placement.agent,
        generation=placement.generation,
        state=TaskState.RUNNING,
        ready=True,
        since_ms=now.wall,
    )
