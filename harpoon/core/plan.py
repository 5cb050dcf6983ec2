"""How placements would go on from here if all goes well: the scheduler's own verbs, run forward on a copy.

It foretells what `core.rollout` and `core.place` would decide, and nothing else: agents do not come or go, tasks do
not fail, jobs that are not planned stand still, and endpoints that jobs refer to stay what they are. Same inputs, same
bytes out; nothing that is handed in changes.

Rules.

1. A *wave* is all that is decided without waiting for anything: the jobs decide in their order, again and again, until
   none of them has anything left to decide.
2. Then all that was placed is taken to be ready, and all that was withdrawn to be gone (where that takes a denial, to
   be denied); its room is free from then on, not before. That begins the next wave.
3. Where nothing but time is missing, such as the end of a backoff, it is taken to have passed.
4. It ends when nothing happens any more; after `WAVES_MAX` waves; or after `LOOKS_MAX` placements and agents looked at,
   which bounds the work however large the jobs are. What is cut off says so.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from harpoon.core.eviction import UNLIMITED
from harpoon.core.exclusive import revoked
from harpoon.core.fleet import Fleet
from harpoon.core.held import Unmet, hold_back
from harpoon.core.place import Decision, place
from harpoon.core.rollout import rollout
from harpoon.core.standing import Standing
from harpoon.model.decision import Drop, Rollout, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.plan import Course, PlannedDrop, PlannedPending, PlannedPlacement
from harpoon.model.task import Placement, Task, TaskState

WAVES_MAX: Final = 200
LOOKS_MAX: Final = 300_000

_TASK: Final = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+\.\d+\.\d+-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outset:
    """One job as it is to be, with where its placements stand."""

    job: Job
    standings: tuple[Standing, ...] = ()
    #: Tasks of the job that run on without a placement, and are about to go.
    leaving: tuple[TaskId, ...] = ()
    #: Dependencies that do not hold, of those on jobs that are not planned.
    unmet: tuple[Unmet, ...] = ()
    #: Values of the variables that are endpoints of other jobs.
    bindings: Mapping[str, str] = field(default_factory=dict)
    #: Those of them whose change replaces tasks.
    replacing: Mapping[str, str] = field(default_factory=dict)


def foretell(
    outsets: Sequence[Outset], fleet: Fleet, now: Instant, *, incarnation: int, revision: int, is_halted: bool = False
) -> tuple[Course, ...]:
    """Return how the placements of each job would go on.

    Args:
        outsets: The jobs; in their order they compete for room. No job twice.
        fleet: What there is; not changed.
        now: When it begins.
        incarnation: Of the store.
        revision: Of the state that all this is of.
        is_halted: So many agents are lost that nothing lost is replaced.
    """
    world = _World(outsets, fleet.fork(), now, (incarnation, revision), is_halted=is_halted)
    while world.is_within_bounds() and (world.decide() or world.pass_on()):
        pass
    return tuple(line.course(is_whole=world.is_whole(line)) for line in world.lines.values())


@dataclass(slots=True)
class _Line:
    """One job on its way."""

    outset: Outset
    standings: dict[TaskId, Standing]
    placements: list[PlannedPlacement] = field(default_factory=list)
    drops: list[PlannedDrop] = field(default_factory=list)
    pending: PlannedPending | None = None
    #: What is to happen by time alone.
    due: timedelta | None = None
    #: The last wave in which something was decided.
    wave: int = 0
    #: Whether there was something to decide when last asked.
    is_moving: bool = False
    #: Tasks that exist only here: no id of theirs may be told, for they will have others.
    imagined: set[TaskId] = field(default_factory=set)

    def count_ready(self) -> int:
        """Return how many slots have a ready task of the present generation."""
        job = self.outset.job
        present = (one for one in self.standings.values() if one.placement.generation == job.generation)
        return len({one.placement.slot for one in present if one.task is not None and one.task.ready})

    def is_ready(self, going: Sequence[TaskId]) -> bool:
        """Return whether every slot has a ready task of the present generation, and nothing else is left."""
        job = self.outset.job
        prefix = f"{job.namespace}.{job.name}."
        is_clean = len(self.standings) == job.spec.scale and not any(task.startswith(prefix) for task in going)
        return is_clean and self.count_ready() == job.spec.scale

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

    def become_denied(self) -> list[TaskId]:
        """Take every revoked placement to be denied, but those on lost agents; return their tasks."""
        awaited = [one for one in self.standings.values() if _is_answered(one)]
        for one in awaited:
            placement = replace(one.placement, is_denied=True)
            self.standings[placement.task] = Standing(placement=placement, task=None)
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


class _World:
    """What there is at one moment of what is foretold."""

    def __init__(
        self, outsets: Sequence[Outset], fleet: Fleet, now: Instant, at: tuple[int, int], *, is_halted: bool
    ) -> None:
        self.lines = {
            (outset.job.namespace, outset.job.name): _Line(
                outset, {standing.placement.task: standing for standing in outset.standings}
            )
            for outset in outsets
        }
        self._fleet = fleet
        self._now = now
        self._incarnation, self._revision = at
        self._is_halted = is_halted
        #: Tasks without a placement that still take room.
        self._going = [task for outset in outsets for task in outset.leaving]
        self._wave = 1
        self._looks = 0

    def is_within_bounds(self) -> bool:
        """Return whether more may be foretold."""
        return self._wave <= WAVES_MAX and self._looks <= LOOKS_MAX

    def is_whole(self, line: _Line) -> bool:
        """Return whether nothing that is to be told of a job was cut off."""
        # What was decided in the last waves may have consequences, and what is pending may be placed yet.
        return self.is_within_bounds() or (line.wave < self._wave - 1 and line.pending is None)

    def decide(self) -> bool:
        """Let each job decide once; return whether anything was decided."""
        self._revision += 1
        # What runs no more is free once the commit has been heard of, which is after all of them have decided.
        freed = [task for line in self.lines.values() for task in self._decide(line)]
        for task in freed:
            self._fleet.remove(task)
        return any(line.is_moving for line in self.lines.values())

    def pass_on(self) -> bool:
        """Let pass what is awaited; return whether anything was."""
        for task in self._going:
            self._fleet.remove(task)
        is_awaited = bool(self._going)
        self._going = []
        for line in self.lines.values():
            for task in line.become_denied():
                self._fleet.remove(task)
                is_awaited = True
            is_awaited |= line.become_ready(self._now)
        due = min((line.due for line in self.lines.values() if line.due is not None), default=None)
        if not is_awaited and due is not None:
            self._now = Instant(elapsed=self._now.elapsed + due, wall=self._now.wall + _milliseconds(due))
            is_awaited = True
        self._wave += is_awaited
        return is_awaited

    def _decide(self, line: _Line) -> list[TaskId]:
        """Carry out what is decided for a job; return the tasks whose room is free by that."""
        outset, job = line.outset, line.outset.job
        unmet = self._unmet(outset)
        self._looks += len(line.standings) + 1
        rolled = rollout(
            job,
            tuple(line.standings.values()),
            self._now,
            evictable=0 if self._is_halted else UNLIMITED,
            is_held=bool(unmet),
            bindings=outset.replacing,
            # What happens when a drain's deadline passes is no consequence of the jobs.
            leaving=dict.fromkeys(self._fleet.leaving),
        )
        line.due = rolled.due
        decision = self._place(outset, rolled, unmet)
        wants = {want.slot: want for want in rolled.wants}
        # A record that is denied stands for nothing that could still go.
        drops = tuple(d for d in (*rolled.drops, *decision.drops) if not line.standings[d.task].placement.is_denied)
        line.note(self._wave, decision, wants, drops)
        for placement in decision.placements:
            self._fleet.add(placement)
            line.standings[placement.task] = Standing(placement=placement, task=None)
        withdrawn = [task for placement in decision.placements for task in wants[placement.slot].replaces]
        for drop in (*rolled.drops, *decision.drops):
            standing = line.standings[drop.task]
            if standing.placement.is_exclusive and not standing.placement.is_denied:
                # It stays until it is denied, which is awaited.
                line.standings[drop.task] = standing._replace(placement=revoked(standing.placement, drop, self._now))
            else:
                withdrawn.append(drop.task)
        return self._withdraw(line, withdrawn)

    def _place(self, outset: Outset, rolled: Rollout, unmet: Sequence[Unmet]) -> Decision:
        job = outset.job
        if rolled.wants:
            self._looks += len(rolled.wants) + len(self._fleet.agents())
        decision = place(
            job,
            rolled.wants,
            self._fleet,
            self._now,
            incarnation=self._incarnation,
            revision=self._revision,
            bindings=outset.bindings,
        )
        return replace(decision, pending=hold_back(job, rolled.held, unmet, decision.pending, self._now))

    def _withdraw(self, line: _Line, tasks: Sequence[TaskId]) -> list[TaskId]:
        """Take placements back; return the tasks that run no more, or never did."""
        freed = []
        for task in tasks:
            reported = line.standings.pop(task).task
            if reported is None or reported.state.is_over:
                freed.append(task)
            elif reported.state is not TaskState.LOST:
                self._going.append(task)
        return freed

    def _unmet(self, outset: Outset) -> tuple[Unmet, ...]:
        """Return the dependencies that do not hold now."""
        found = list(outset.unmet)
        for dependency in outset.job.spec.depends_on:
            other = self.lines.get((outset.job.namespace, dependency.job))
            if other is not None and not other.is_ready(self._going):
                told = f"{other.count_ready()}/{other.outset.job.spec.scale} ready"
                found.append(Unmet(dependency=dependency, found=told))
        return tuple(found)


def _is_answered(standing: Standing) -> bool:
    """Return whether a denial is awaited, and will come: that of a lost agent does not."""
    placement, task = standing
    return (
        placement.is_revoked
        and not placement.is_denied
        and (task is None or task.state not in (TaskState.LOST, TaskState.UNCLAIMED))
    )


def _may_become_ready(task: Task) -> bool:
    return not (task.ready or task.state.is_over or task.state is TaskState.LOST)


def _ready(placement: Placement, now: Instant) -> Task:
    return Task(
        id=placement.task,
        agent=placement.agent,
        generation=placement.generation,
        state=TaskState.RUNNING,
        ready=True,
        since_ms=now.wall,
    )


def _milliseconds(span: timedelta) -> int:
    """Return how many it has, rounded up."""
    return -(-span // timedelta(milliseconds=1))
