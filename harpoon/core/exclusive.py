"""Which slots of an exclusive job want a placement now, and which placements go: break before make.

A slot of such a job never runs twice, at the price of waiting. Where nothing is said here, `core.rollout` holds.

Rules, slot by slot. A placement is *revoked* to have its task stopped, and *denied* once its agent has confirmed that
it forgot it, and will refuse it whoever asks; only then has it come to an end.

1. A slot wants a placement only when all that it has are denied. Nothing else stands for that: no span of time, not
   that its agent is lost, not that its agent does not report it, for a start may be on its way.
2. What is to go is revoked, once. Of a slot that is not wanted any more that is all.
3. An old placement that is ready is revoked as long as fewer than ``update.unavailable`` slots, or one, are without a
   ready task; one that is not ready, at once. None is, while the job's dependencies do not hold.
4. A failed current placement is revoked when its backoff is over. Its record, denied, is kept for what it counts until
   the successor is placed; all others go when they are denied.
5. One that is old because its agent is being drained goes by rule 3; after the drain's deadline, at once, whatever the
   job depends on.
6. A lost placement stays as it is, or is revoked if it is old: that is then the first that its agent is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from harpoon.core.backoff import backoff, count_failures
from harpoon.core.standing import Aim, Health, Record, Standing, current_of, look, why_dead, why_old
from harpoon.model.decision import Drop, Rollout, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, TaskState


@dataclass(slots=True, kw_only=True)
class _Slot:
    """A wanted slot: what it has."""

    number: int
    aim: Aim
    #: What may run, oldest first: more than one only if records say so that were not decided here.
    live: list[Record] = field(default_factory=list)
    #: Revoked, and not denied.
    awaited: list[Record] = field(default_factory=list)
    denied: list[Record] = field(default_factory=list)

    @property
    def kept(self) -> Record | None:
        """The one that may stay: the current one, else the newest."""
        return current_of(self.live) or next(reversed(self.live), None)

    @property
    def is_served(self) -> bool:
        kept = self.kept
        return kept is not None and (kept.is_healthy if kept.is_present else kept.health is Health.READY)

    @property
    def is_complete(self) -> bool:
        """Whether it has what it should, and nothing else."""
        kept = self.kept
        return kept is not None and kept.is_present and len(self.live) == 1 and not (self.awaited or self.denied)

    @property
    def counting(self) -> Record | None:
        """The denied one that counts failures of the present generation."""
        return next((one for one in reversed(self.denied) if one.is_present and one.placement.failures), None)


def revoked(placement: Placement, drop: Drop, now: Instant) -> Placement:
    """Return the record of an exclusive placement that is dropped."""
    return replace(placement, is_revoked=True, reason=drop.reason, decided_ms=now.wall, failures=drop.failures)


def waits_for_agent(placement: Placement, task: Task | None) -> str:
    """Say that the slot of a placement waits for its agent's word alone; empty: it does not, or not yet.

    Args:
        placement: Of whatever job.
        task: What its agent reports of it.
    """
    agent, waits = placement.agent, ""
    if task is not None and task.state is TaskState.UNCLAIMED and placement.is_exclusive:
        return f"slot {placement.slot} waits for an operator's word on {task.id}: {task.reason}"
    is_lost = task is not None and task.state is TaskState.LOST
    if placement.is_revoked and not placement.version:
        return f"slot {placement.slot} waits: the record of {placement.task} cannot be read by this release"
    if placement.is_revoked:
        if not placement.is_denied and (task is None or is_lost or task.state.is_over):
            waits = f"slot {placement.slot} waits for agent {agent} to acknowledge that it forgot {placement.task}"
    elif placement.is_exclusive and is_lost:
        waits = f"slot {placement.slot} waits for agent {agent}, on which {placement.task} may still run"
    return f"{waits}; if {agent} will never come back: harpoon declare-dead {agent}" if waits else ""


def roll_exclusive(  # noqa: PLR0913 as `core.rollout.rollout`
    job: Job,
    aimed: Sequence[Aim],
    standings: Sequence[Standing],
    now: Instant,
    *,
    evictable: int,  # noqa: ARG001 what is lost waits, whatever may be replaced
    is_held: bool,
    leaving: Mapping[str, int | None],
) -> Rollout:
    """Return what brings the job's placements nearer to its spec; for the arguments see `core.rollout.rollout`.

    What each slot is to become is given, as `core.standing.aims` says.
    """
    scale = len(aimed)
    gone = "the job is unscheduled" if job.is_terminating else f"the job is scaled down to {scale}"
    slots = [_Slot(number=number, aim=aim) for number, aim in enumerate(aimed)]
    drops: list[Drop] = []
    for standing in sorted(standings, key=lambda s: (s.placement.slot, s.placement.number)):
        placement = standing.placement
        if placement.slot >= scale:
            drops += [_drop(placement, gone)] if placement.is_denied or not placement.is_revoked else []
            continue
        slot, leaves = slots[placement.slot], placement.agent in leaving
        record = look(slot.aim.job, standing, slot.aim.bindings, now, is_evictable=False, is_leaving=leaves)
        fate = slot.denied if placement.is_denied else slot.awaited if placement.is_revoked else slot.live
        fate.append(record)
    turn = _Turn(now, is_held=is_held, leaving=leaving)
    turn.allowance = max(1, job.spec.update.unavailable) - sum(not slot.is_served for slot in slots)
    for slot in slots:
        turn.decide(slot)
    is_complete = not drops and all(slot.is_complete for slot in slots)
    live = [record for slot in slots for record in slot.live]
    unproven = () if is_complete else (one.unproven_for for one in live if one.is_present and not one.is_healthy)
    dues = [*turn.dues, *(record.fresh_for for record in live), *unproven]
    return Rollout(
        wants=tuple(turn.wants),
        drops=(*turn.drops, *drops),
        held=tuple(turn.held),
        due=min((due for due in dues if due is not None), default=None),
        is_complete=is_complete,
    )


class _Turn:
    """Goes through the slots, and gathers what is decided."""

    def __init__(self, now: Instant, *, is_held: bool, leaving: Mapping[str, int | None]) -> None:
        self._now = now
        self._is_held = is_held
        self._leaving = leaving
        #: So many more slots may be without a ready task.
        self.allowance = 0
        self.wants: list[Want] = []
        self.drops: list[Drop] = []
        self.held: list[int] = []
        self.dues: list[timedelta] = []

    def decide(self, slot: _Slot) -> None:
        kept, counting = slot.kept, slot.counting
        self._drop((one for one in slot.denied if one is not counting), "its agent has forgotten it")
        self._drop((one for one in slot.live if one is not kept), "a slot of an exclusive job runs once")
        if kept is None:
            if not slot.awaited:
                self._want(slot, counting)
        elif kept.is_present:
            self._mind(kept)
        else:
            self._outdate(slot, kept)

    def _want(self, slot: _Slot, counting: Record | None) -> None:
        if self._is_held and counting is None:
            self.held.append(slot.number)
            return
        last = slot.denied[-1].placement if slot.denied else None
        shunned = {one.placement.agent for one in slot.denied if one is counting or one.is_moving}
        tasks: tuple[TaskId, ...] = () if counting is None else (counting.placement.task,)
        self.wants.append(
            Want(
                slot=slot.number,
                failures=0 if counting is None else counting.placement.failures,
                avoid=tuple(sorted(shunned)),
                replaces=tasks,
                ended=tasks,
                reason=f"slot {slot.number} has no placement" if last is None else last.reason,
                is_held_back=slot.aim.is_held_back,
            )
        )

    def _mind(self, kept: Record) -> None:
        if kept.health is not Health.FAILED:
            return
        wait = backoff(kept, self._now)
        if wait > timedelta(0):
            self.dues.append(wait)
            return
        failures = count_failures(kept, self._now)
        self.drops.append(replace(_drop(kept.placement, why_dead(kept)), failures=failures))

    def _outdate(self, slot: _Slot, kept: Record) -> None:
        must_go = self._must_go(kept)
        if self._is_held and not must_go:
            if kept.health is not Health.HELD:
                self.held.append(slot.number)
            return
        if kept.health is Health.READY and not must_go:
            if self.allowance <= 0:
                return
            self.allowance -= 1
        self._drop((kept,), why_old(slot.aim, kept))

    def _must_go(self, kept: Record) -> bool:
        """Whether its agent is being drained and the deadline of that has passed; if not yet, come back then."""
        deadline_ms = self._leaving.get(kept.placement.agent) if kept.is_leaving else None
        if deadline_ms is None:
            return False
        if deadline_ms > self._now.wall:
            self.dues.append(timedelta(milliseconds=deadline_ms - self._now.wall))
            return False
        return True

    def _drop(self, records: Iterable[Record], reason: str) -> None:
        self.drops += [_drop(record.placement, reason) for record in records]


def _drop(placement: Placement, reason: str) -> Drop:
    return Drop(task=placement.task, agent=placement.agent, reason=reason)
