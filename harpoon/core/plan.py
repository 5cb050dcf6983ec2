"""How placements would go on from here if all goes well: the scheduler's own verbs, run forward on a copy.

It foretells what `core.rollout` and `core.place` would decide, and nothing else: agents do not come or go, tasks do
not fail, jobs that are not planned stand still (but for tasks that are preempted), and endpoints that jobs refer to
stay what they are. Same inputs, same bytes out; nothing that is handed in changes.

Rules.

1. A *wave* is all that is decided without waiting for anything: the jobs decide in the order of their priorities, then
   in their own, again and again, until none of them has anything left to decide.
2. Then all that was placed is taken to be ready, and all that was withdrawn to be gone (where that takes a denial, to
   be denied); its room is free from then on, not before. That begins the next wave. Tasks of batch jobs are taken to
   have finished by then.
3. Where nothing but time is missing, such as the end of a backoff, it is taken to have passed.
4. It ends when nothing happens any more; after `WAVES_MAX` waves; or after `LOOKS_MAX` placements and agents looked at,
   which bounds the work however large the jobs are. What is cut off says so.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from harpoon.core.batch_roll import roll_batch
from harpoon.core.eviction import UNLIMITED
from harpoon.core.exclusive import revoked
from harpoon.core.fleet import Fleet, reservation
from harpoon.core.foretold import Line, Outset
from harpoon.core.forms import by_form, join, keep_room
from harpoon.core.held import Missing, Unmet, hold_back
from harpoon.core.place import Decision
from harpoon.core.promise import place_promised, promised
from harpoon.core.rebalance import futile
from harpoon.core.rollout import rollout
from harpoon.core.standing import Standing
from harpoon.model.batch import BatchRecord
from harpoon.model.decision import Drop, Rollout
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.plan import Course
from harpoon.model.task import TaskState, parse_task_id

WAVES_MAX: Final = 200
LOOKS_MAX: Final = 300_000


def foretell(
    outsets: Sequence[Outset], fleet: Fleet, now: Instant, *, incarnation: int, revision: int, is_halted: bool = False
) -> tuple[Course, ...]:
    """Return how the placements of each job would go on.

    Args:
        outsets: The jobs; those of the same priority compete for room in their order. No job twice.
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


class _World:
    """What there is at one moment of what is foretold."""

    def __init__(
        self, outsets: Sequence[Outset], fleet: Fleet, now: Instant, at: tuple[int, int], *, is_halted: bool
    ) -> None:
        imagined: set[TaskId] = set()
        self.lines = {
            (outset.job.namespace, outset.job.name): Line(
                outset,
                {standing.placement.task: standing for standing in outset.standings},
                imagined,
                batch=outset.batch,
            )
            for outset in outsets
        }
        #: As they decide: the most urgent first.
        self._order = sorted(self.lines.values(), key=lambda line: -line.outset.job.spec.priority)
        self._fleet = fleet
        for outset in outsets:
            fleet.set_priority(outset.job.namespace, outset.job.name, outset.job.spec.priority)
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

    def is_whole(self, line: Line) -> bool:
        """Return whether nothing that is to be told of a job was cut off."""
        # What was decided in the last waves may have consequences, and what is pending may be placed yet.
        return self.is_within_bounds() or (line.wave < self._wave - 1 and line.pending is None)

    def decide(self) -> bool:
        """Let each job decide once; return whether anything was decided."""
        self._revision += 1
        # What runs no more is free once the commit has been heard of, which is after all of them have decided.
        freed = [task for line in self._order for task in self._decide(line)]
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
            for task in line.become_complete(self._now):
                self._fleet.remove(task)
                is_awaited = True
            is_awaited |= line.become_ready(self._now)
        due = min((line.due for line in self.lines.values() if line.due is not None), default=None)
        if not is_awaited and due is not None:
            self._now = Instant(elapsed=self._now.elapsed + due, wall=self._now.wall + _milliseconds(due))
            is_awaited = True
        self._wave += is_awaited
        return is_awaited

    def _decide(self, line: Line) -> list[TaskId]:
        """Carry out what is decided for a job; return the tasks whose room is free by that."""
        outset, job = line.outset, line.outset.job
        unmet = self._unmet(outset)
        self._looks += len(line.standings) + 1
        rolled, decision = self._choose(line, job, unmet)
        line.due = rolled.due
        wants = {want.slot: want for want in rolled.wants}
        drops = tuple(drop for drop in (*rolled.drops, *decision.drops) if not line.is_denied(drop))
        line.note(self._wave, decision, wants, drops)
        for placement in decision.placements:
            line.standings[placement.task] = Standing(placement=placement, task=None)
        withdrawn = [task for placement in decision.placements for task in wants[placement.slot].replaces]
        freed = self._withdraw(line, withdrawn)
        for drop in (*rolled.drops, *decision.drops):
            freed += self._drop(drop)
        # What goes untold, such as a record that is denied, lets others go on all the same.
        line.is_moving |= bool(withdrawn or rolled.drops)
        return freed

    def _drop(self, drop: Drop) -> list[TaskId]:
        """Withdraw a placement, also one of another job; return the task if it runs no more, or never did."""
        line = self._line_of(drop.task)
        standing = None if line is None else line.standings.get(drop.task)
        if line is None or standing is None:
            # Of a job that is not planned; what becomes of that is not foretold.
            self._see_off(drop.task)
            return []
        if standing.placement.is_exclusive and not standing.placement.is_denied:
            # It stays until it is denied, which is awaited.
            gone = revoked(standing.placement, drop, self._now)
            line.standings[drop.task] = standing._replace(placement=gone)
            self._mark(drop.task)
            return []
        return self._withdraw(line, [drop.task])

    def _line_of(self, task: TaskId) -> Line | None:
        name = parse_task_id(task)
        return self.lines.get((name.namespace, name.job))

    def _see_off(self, task: TaskId) -> None:
        """Take note that a task is told to go, and takes room until it has."""
        self._going.append(task)
        self._mark(task)

    def _mark(self, task: TaskId) -> None:
        placed = self._fleet.placement(task)
        if placed is not None:
            self._fleet.add(replace(placed, is_revoked=True))

    def _choose(self, line: Line, job: Job, unmet: Sequence[Missing]) -> tuple[Rollout, Decision]:
        """Return what changes of a job and where it goes."""
        self._fleet.release(job)
        if line.batch is None:
            rolled, decision = self._choose_slots(line, job, unmet)
        else:
            standings = tuple(line.standings.values())
            rolled = self._roll_batch(line.batch, job, standings, is_held=bool(unmet))
            decision = self._place(line.outset, standings, rolled, unmet)
        kept = {} if decision.pending is None else decision.pending.kept
        self._fleet.keep(job.namespace, job.name, kept, reservation(job.spec.task))
        return rolled, decision

    def _choose_slots(self, line: Line, job: Job, unmet: Sequence[Missing]) -> tuple[Rollout, Decision]:
        """Do so for a job whose tasks run until they are stopped; moves that come to nothing are given up."""
        outset = line.outset
        while True:
            self._fleet.release(job)
            standings = tuple(line.standings.values())
            rolled = rollout(
                job,
                standings,
                self._now,
                evictable=0 if self._is_halted else UNLIMITED,
                is_held=bool(unmet),
                bindings=outset.replacing,
                # What happens when a drain's deadline passes is no consequence of the jobs.
                leaving={} if job.members else dict.fromkeys(self._fleet.leaving),
                brake=outset.brake,
            )
            decision = self._place(outset, standings, rolled, unmet)
            idle = futile(standings, rolled, decision)
            if not idle:
                return rolled, decision
            for task in idle:
                line.standings[task] = line.standings[task]._replace(is_moving=False)
            for placement in decision.placements:
                self._fleet.remove(placement.task)

    def _roll_batch(self, record: BatchRecord, job: Job, standings: Sequence[Standing], *, is_held: bool) -> Rollout:
        prefix = f"{job.namespace}.{job.name}."
        return roll_batch(
            job,
            record,
            standings,
            self._now,
            lingering=sum(task.startswith(prefix) for task in self._going),
            evictable=0 if self._is_halted else UNLIMITED,
            is_held=is_held,
            leaving=dict.fromkeys(self._fleet.leaving),
        ).rolled

    def _place(
        self, outset: Outset, standings: Sequence[Standing], rolled: Rollout, unmet: Sequence[Missing]
    ) -> Decision:
        job = outset.job
        if rolled.wants:
            self._looks += len(rolled.wants) + len(self._fleet.agents())
        decisions = []
        for form, wants in by_form(job, outset.brake, rolled.wants):
            agents = promised(form, standings, wants)
            decision = place_promised(
                form,
                wants,
                agents,
                self._leaving(agents.values()),
                self._fleet,
                self._now,
                incarnation=self._incarnation,
                revision=self._revision,
                bindings=outset.bindings if form is job else outset.braked_bindings,
            )
            decisions.append(decision)
            keep_room(form, decision, self._fleet)
            for placement in decision.placements:
                self._fleet.add(placement)
        decision = join(job, decisions)
        return replace(decision, pending=hold_back(job, rolled.held, unmet, decision.pending, self._now))

    def _leaving(self, agents: Collection[str]) -> dict[str, list[TaskId]]:
        """Return what is about to go from some agents."""
        placed = (self._fleet.placement(task) for task in self._going) if agents else ()
        found: dict[str, list[TaskId]] = {}
        for one in placed:
            if one is not None:
                found.setdefault(one.agent, []).append(one.task)
        return found

    def _withdraw(self, line: Line, tasks: Sequence[TaskId]) -> list[TaskId]:
        """Take placements back; return the tasks that run no more, or never did."""
        freed = []
        for task in tasks:
            reported = line.standings.pop(task).task
            if reported is None or reported.state.is_over:
                freed.append(task)
            elif reported.state is not TaskState.LOST:
                self._see_off(task)
        return freed

    def _unmet(self, outset: Outset) -> tuple[Missing, ...]:
        """Return the dependencies that do not hold now."""
        found = list(outset.unmet)
        for dependency in outset.job.spec.depends_on:
            other = self.lines.get((outset.job.namespace, dependency.label))
            if other is not None and not other.is_ready(self._going):
                told = f"{other.count_ready()}/{other.outset.job.spec.scale} ready"
                found.append(Unmet(dependency=dependency, found=told))
        return tuple(found)


def _milliseconds(span: timedelta) -> int:
    """Return how many it has, rounded up."""
    return -(-span // timedelta(milliseconds=1))
