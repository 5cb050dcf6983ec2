"""Where a job's slots run: predicates that an agent must pass, then a score. Same inputs, same bytes out.

It decides which agent, never whether a slot should exist (`core.rollout`). It reads the fleet's index and changes
nothing of it: what one call decides is counted within the call, and the caller books it.

Rules.

1. An agent is feasible when its link is connected, it is not cordoned, every requirement holds, and processor, memory
   and fixed ports are free. What is reserved counts until it is given back; only what a want says has ended is free
   for it.
2. Where slots must be on distinct agents, one that has another slot of the job is not feasible, of whatever generation;
   one that has a task of the very slot that is replaced is.
3. Of the feasible agents, those to avoid are taken last; then, for each tag the job is spread over, one whose value has
   the fewest tasks of this job's generation; then one that itself has the fewest; then the one that is preferred
   most; then the one that is fullest afterwards (bin-pack); then the first by name.
4. A slot that fits nowhere is pending, and *every* predicate that *every* agent failed is told.
5. A slot that would fit once what it replaces has made room has that dropped first, and waits for the room.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harpoon.core.blockers import Refusal, blockers, moment, sentence
from harpoon.core.board import Board
from harpoon.core.fleet import Fleet
from harpoon.model.decision import Drop, Pending, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where the slots go, and which go nowhere."""

    #: By slot; but one that takes what another's slot gave back comes after that.
    placements: tuple[Placement, ...]
    #: None: all were placed.
    pending: Pending | None
    #: Placements to drop before their successor can be placed: nothing but their room could hold it.
    drops: tuple[Drop, ...] = ()


def place(  # noqa: PLR0913 what a placement is decided on, all of it
    job: Job,
    wants: Sequence[Want],
    fleet: Fleet,
    now: Instant,
    *,
    incarnation: int,
    revision: int,
    bindings: Mapping[str, str] | None = None,
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
    """
    if not wants:
        return Decision(placements=(), pending=None)
    board = Board(job, fleet)
    pattern = Placement(
        namespace=job.namespace,
        job=job.name,
        slot=0,
        incarnation=incarnation,
        revision=revision,
        agent="",
        generation=job.generation,
        version=job.version,
        reason="",
        decided_ms=now.wall,
        reserve=board.need,
        bindings=bindings or None,
        is_exclusive=job.spec.exclusive,
    )
    placements, unplaced = _fill(board, pattern, sorted(wants, key=lambda want: want.slot), fleet)
    pending = _pending(job, unplaced, board.refusals(unplaced[0].slot), fleet, now) if unplaced else None
    return Decision(placements=placements, pending=pending, drops=_make_room(board, unplaced, fleet))


def _fill(
    board: Board, pattern: Placement, wants: Sequence[Want], fleet: Fleet
) -> tuple[tuple[Placement, ...], Sequence[Want]]:
    """Place what can be placed; what one slot gives back may hold a slot that was refused before."""
    placed: list[Placement] = []
    unplaced, is_settled = wants, False
    while unplaced and not is_settled:
        left: list[Want] = []
        for want in unplaced:
            placement = _try(board, pattern, want, fleet)
            if placement is None:
                left.append(want)
            else:
                placed.append(placement)
        is_settled = len(left) == len(unplaced)
        unplaced = left
    return tuple(placed), unplaced


def _try(board: Board, pattern: Placement, want: Want, fleet: Fleet) -> Placement | None:
    ended = _known(fleet, want.ended)
    board.give_back(ended)
    could = board.feasible(want.slot)
    chosen = board.best(want.slot, want.avoid)
    if chosen is None:
        board.take_back(ended)
        return None
    name = chosen.agent.name
    placement = replace(
        pattern,
        slot=want.slot,
        agent=name,
        failures=want.failures,
        reason=f"{want.reason}; {board.standing(chosen)}; {could} of {board.size} agents could"
        + ("; it was to be avoided, but no other could" if name in want.avoid else ""),
    )
    board.take_back((placement,))
    return placement


def _make_room(board: Board, unplaced: Iterable[Want], fleet: Fleet) -> tuple[Drop, ...]:
    """Choose what is to go so that its successor can be placed where it was: at most one agent's for each slot."""
    drops: list[Drop] = []
    for want in unplaced:
        running = _known(fleet, [task for task in want.replaces if task not in want.ended])
        board.give_back(running)
        chosen = board.best(want.slot, want.avoid)
        board.take_back(running)
        if chosen is None:
            continue
        gone = [placement for placement in running if placement.agent == chosen.agent.name]
        reason = f"it makes room for its successor, for which there is none beside it: {want.reason}"
        drops += [Drop(task=placement.task, agent=placement.agent, reason=reason) for placement in gone]
        board.give_back(gone)
        board.reserve(chosen, want.slot)
    return tuple(drops)


def _known(fleet: Fleet, tasks: Iterable[TaskId]) -> list[Placement]:
    found = (fleet.placement(task) for task in tasks)
    return [placement for placement in found if placement is not None]


def _pending(
    job: Job, unplaced: Sequence[Want], refusals: dict[str, tuple[Refusal, ...]], fleet: Fleet, now: Instant
) -> Pending:
    hint = ""
    has_others = any(one.generation != job.generation for one in fleet.placements_of(job))
    if job.spec.update.unavailable == 0 and has_others:
        hint = "; older tasks of this job keep their room until they are replaced, unless update.unavailable is above 0"
    hint += staying(job, [want.slot for want in unplaced], fleet)
    return Pending(
        namespace=job.namespace,
        job=job.name,
        generation=job.generation,
        slots=tuple(want.slot for want in unplaced),
        reason=sentence(len(unplaced), job.spec.scale, refusals) + hint,
        blockers=blockers(refusals),
        since_ms=now.wall,
    )


def staying(job: Job, slots: Collection[int], fleet: Fleet) -> str:
    """Say of slots that fit nowhere, and are to leave an agent that is drained, that they stay there; else nothing."""
    wanted = frozenset(slots)
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
