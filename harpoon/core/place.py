"""Where a job's slots run: predicates that an agent must pass, then a score. Same inputs, same bytes out.

It decides which agent, never whether a slot should exist (`core.rollout`). It reads the fleet's index and changes
nothing of it: what one call decides is counted within the call, and the caller books it.

Rules.

1. A slot that is for one agent (`core.members`) goes there or nowhere; rule 3 has no say in it.
   Any agent is feasible when its link is connected, it is not cordoned, every requirement holds, and processor, memory
   and fixed ports are free. What is reserved counts until it is given back; only what a want says has ended is free
   for it.
2. Where slots must be on distinct agents, one that has another slot of the job is not feasible, of whatever generation;
   one that has a task of the very slot that is replaced is.
3. Of the feasible agents, those to avoid are taken last; then, for each tag the job is spread over, one whose value has
   the fewest tasks of this job's generation; then one that itself has the fewest; then the one that is preferred
   most; then the one that is fullest afterwards (bin-pack); then the first by name.
4. A slot that fits nowhere is pending, and *every* predicate that *every* agent failed is told.
5. A slot that would fit once what it replaces has made room has that dropped first, and waits for the room. One of a
   job that asks for preemption has then tasks of lower priority dropped (`core.preempt`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harpoon.core.blockers import NAMED_MAX, Refused, blockers, moment, own_sentence, sentence
from harpoon.core.board import Board
from harpoon.core.candidate import Candidate
from harpoon.core.fleet import Fleet
from harpoon.core.members import is_system, named
from harpoon.core.preempt import preempt
from harpoon.model.decision import Drop, Pending, Room, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job, JobType
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Reservation


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where the slots go, and which go nowhere."""

    #: By slot; but one that takes what another's slot gave back comes after that.
    placements: tuple[Placement, ...]
    #: None: all were placed.
    pending: Pending | None
    #: Placements to drop before their successor can be placed: nothing but their room could hold it.
    drops: tuple[Drop, ...] = ()
    #: Slot → tasks that are told to go, or were before, so that there is room for it.
    awaited: Mapping[int, tuple[TaskId, ...]] = field(default_factory=dict)
    #: False: it was left off, and nothing is said of the slots that are not placed. They are to be decided on again.
    is_whole: bool = True


def place(  # noqa: PLR0913 what a placement is decided on, all of it
    job: Job,
    wants: Sequence[Want],
    fleet: Fleet,
    now: Instant,
    *,
    incarnation: int,
    revision: int,
    bindings: Mapping[str, str] | None = None,
    most: int | None = None,
) -> Decision:
    """Choose an agent for each wanted slot.

    Args:
        job: Whose slots they are.
        wants: Slots to place, in any order; at most one want a slot.
        fleet: What there is; not changed.
        now: When this is decided.
        incarnation: Of the store.
        revision: Of the view this is decided on; with the incarnation it numbers the placements.
        bindings: Variable → value, of those that are endpoints of other jobs; the placements keep them.
        most: Placements after which it is left off, for there are other things to do; None: never.
    """
    if not wants:
        return Decision(placements=(), pending=None)
    board = Board(job, fleet)
    pattern = _Pattern(
        job=job,
        now=now,
        incarnation=incarnation,
        revision=revision,
        reserve=board.need,
        bindings=bindings or None,
        is_system=is_system(job),
    )
    placements, unplaced = _fill(board, pattern, sorted(wants, key=lambda want: want.slot), fleet, most)
    if not unplaced:
        return Decision(placements=placements, pending=None)
    if len(placements) == most:
        return Decision(placements=placements, pending=None, is_whole=False)
    refusals = _refusals(board, job, unplaced, fleet)
    rooms = _make_room(job, board, unplaced, fleet)
    kept: list[Room] = []
    pending = _pending(job, unplaced, refusals, fleet, now)
    if job.spec.preempt:
        served = {room.slot for room in rooms}
        unserved = [want for want in unplaced if want.slot not in served]
        kept += preempt(job, unserved, board, fleet)
        rooms += kept
        pending = _helped(pending, job, len(unserved), kept)
    return Decision(
        placements=placements,
        pending=pending,
        drops=tuple(drop for room in rooms for drop in room.drops),
        awaited={room.slot: room.awaited for room in rooms},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    """What all placements have in common that are made together."""

    job: Job
    now: Instant
    incarnation: int
    revision: int
    reserve: Reservation
    bindings: Mapping[str, str] | None
    is_system: bool

    def placement(self, want: Want, agent: str, reason: str) -> Placement:
        """Make one. Many are made, and to replace the fields of another takes thrice as long."""
        job = self.job
        return Placement(
            namespace=job.namespace,
            job=job.name,
            slot=want.slot,
            incarnation=self.incarnation,
            revision=self.revision,
            agent=agent,
            generation=job.generation,
            version=job.version,
            reason=reason,
            decided_ms=self.now.wall,
            reserve=self.reserve,
            failures=want.failures,
            bindings=self.bindings,
            is_exclusive=job.spec.exclusive,
            is_system=self.is_system,
        )


def _fill(
    board: Board, pattern: _Pattern, wants: Sequence[Want], fleet: Fleet, most: int | None
) -> tuple[tuple[Placement, ...], Sequence[Want]]:
    """Place what can be placed; what one slot gives back may hold a slot that was refused before."""
    placed: list[Placement] = []
    unplaced, is_settled = wants, False
    while unplaced and not is_settled:
        left: list[Want] = []
        for number, want in enumerate(unplaced):
            if len(placed) == most:
                return tuple(placed), [*left, *unplaced[number:]]
            placement = _try(board, pattern, want, fleet)
            if placement is None:
                left.append(want)
            else:
                placed.append(placement)
        is_settled = len(left) == len(unplaced)
        unplaced = left
    return tuple(placed), unplaced


def _try(board: Board, pattern: _Pattern, want: Want, fleet: Fleet) -> Placement | None:
    ended = _known(fleet, want.ended) if want.ended else ()
    board.give_back(ended)
    could = board.feasible(want.slot)
    chosen = _choose(board, pattern.job, want)
    if chosen is None:
        board.take_back(ended)
        return None
    name = chosen.name
    avoided = "; it was to be avoided, but no other could" if name in want.avoid else ""
    found = f"{board.standing(chosen)}; {could} of {board.size} agents could{avoided}"
    if pattern.job.members:
        found = "the job is for each such agent" if pattern.is_system else "the job names this agent for the slot"
    reason = f"{want.reason}; {found}"
    board.reserve(chosen, want.slot)
    return pattern.placement(want, name, reason)


def _choose(board: Board, job: Job, want: Want) -> Candidate | None:
    """Return the agent to take for a slot: if it is for one, that, if it could."""
    if job.members:
        return board.only(job.members[want.slot], want.slot)
    return board.best(want.slot, want.avoid) if board.feasible(want.slot) else None


def _make_room(job: Job, board: Board, unplaced: Iterable[Want], fleet: Fleet) -> list[Room]:
    """Choose what is to go so that its successor can be placed where it was: at most one agent's for each slot."""
    rooms: list[Room] = []
    for want in unplaced:
        running = _known(fleet, [task for task in want.replaces if task not in want.ended])
        board.give_back(running)
        chosen = _choose(board, job, want)
        board.take_back(running)
        if chosen is None:
            continue
        gone = [placement for placement in running if placement.agent == chosen.name]
        reason = f"it makes room for its successor, for which there is none beside it: {want.reason}"
        drops = tuple(Drop(task=placement.task, agent=placement.agent, reason=reason) for placement in gone)
        rooms.append(Room(slot=want.slot, agent=chosen.name, awaited=tuple(drop.task for drop in drops), drops=drops))
        board.give_back(gone)
        board.reserve(chosen, want.slot)
    return rooms


def _known(fleet: Fleet, tasks: Iterable[TaskId]) -> list[Placement]:
    found = (fleet.placement(task) for task in tasks)
    return [placement for placement in found if placement is not None]


def _refusals(board: Board, job: Job, unplaced: Sequence[Want], fleet: Fleet) -> list[Refused]:
    """Return what agents refuse the first of some slots, or where each is for one, what those do."""
    return [one for want in unplaced[: None if job.members else 1] for one in refusals_of(board, job, want, fleet)]


def refusals_of(board: Board, job: Job, want: Want, fleet: Fleet) -> list[Refused]:
    """Return what agents refuse a slot; what has ended of the slot itself stands in nobody's way."""
    ended = _known(fleet, want.ended)
    board.give_back(ended)
    if job.members:
        name = job.members[want.slot]
        refusals = [Refused(board.lacks(name, want.slot), [name])]
    else:
        refusals = board.refusals(want.slot)
    board.take_back(ended)
    return refusals


def _pending(job: Job, unplaced: Sequence[Want], refusals: Sequence[Refused], fleet: Fleet, now: Instant) -> Pending:
    slots = tuple(want.slot for want in unplaced)
    return Pending(
        namespace=job.namespace,
        job=job.name,
        generation=job.generation,
        slots=slots,
        reason=fits_nowhere(job, slots, refusals, fleet),
        blockers=blockers(refusals),
        since_ms=now.wall,
        members=named(job, slots),
    )


def _helped(pending: Pending, job: Job, unserved: int, kept: Sequence[Room]) -> Pending:
    """Return what is recorded with the room that tasks of other jobs make."""
    awaited = tuple(task for room in kept for task in room.awaited)
    slots: dict[str, tuple[int, ...]] = {}
    for room in kept:
        slots[room.agent] = (*slots.get(room.agent, ()), room.slot)
    reason = pending.reason + helped(job, unserved - len(kept), awaited)
    return replace(pending, reason=reason, awaited=awaited, kept=slots)


def fits_nowhere(job: Job, slots: Collection[int], refusals: Sequence[Refused], fleet: Fleet) -> str:
    """Say in one sentence of slots that agents refuse what the nearest lacks, and what older tasks do meanwhile."""
    hint = ""
    has_others = any(one.generation != job.generation for one in fleet.placements_of(job))
    if job.spec.type is not JobType.BATCH and job.spec.update.unavailable == 0 and has_others:
        hint = "; older tasks of this job keep their room until they are replaced, unless update.unavailable is above 0"
    told = own_sentence if job.spec.placement.agents else sentence
    return told(len(slots), job.spec.scale, refusals) + hint + staying(job, slots, fleet) + _kept(fleet)


def _kept(fleet: Fleet) -> str:
    """Say for which other job room is kept."""
    found = next(iter(fleet.kept()), None)
    return "" if found is None else f"; room is kept on {found[1]} for job {found[0]}, and other tasks go for that"


def helped(job: Job, unhelped: int, awaited: Sequence[TaskId]) -> str:
    """Say of slots that fit nowhere, of a job that asks for preemption, what that does for them."""
    more = f" and {len(awaited) - NAMED_MAX} more" if len(awaited) > NAMED_MAX else ""
    told = f"; {', '.join(awaited[:NAMED_MAX])}{more} go to make room" if awaited else ""
    if not unhelped:
        return told
    whom = "they" if unhelped > 1 else "it"
    rest = f"{told}, and {unhelped} more" if awaited else f"; {whom}"
    return f"{rest} would not fit without any tasks of a priority below {job.spec.priority} either"


def staying(job: Job, slots: Collection[int], fleet: Fleet) -> str:
    """Say of slots that fit nowhere, and are to leave an agent that is drained, that they stay there; else nothing."""
    # What is for one agent goes nowhere else in any case.
    wanted = frozenset(() if job.members else slots)
    found = sorted(
        (one.slot, one.task, one.agent)
        for one in fleet.placements_of(job)
        if one.slot in wanted and one.agent in fleet.leaving
    )
    if not found:
        return ""
    _, task, agent = found[0]
    deadline_ms = fleet.leaving[agent]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    until = "" if deadline_ms is None else f", until {moment(deadline_ms)} at the latest"
    return f"; {task}{more} stays on {agent}, which is draining{until}"
