"""What a plan promised, kept: its slots go to the agents it named, and elsewhere only if those could not take them.

It chooses for slots that a promise names, and leaves all others to `core.place`. Same inputs, same bytes out.

Rules.

1. A promise is about the first placement of a slot for the version of the job that it was made with; what comes after
   that, because a task has failed, say, is placed like any other.
2. A slot whose promised agent could take it now goes there. Slots without such a word wait for that commit, and are
   placed in the next one: what they are scored by changes with it.
3. A slot whose promised agent lacks only room that is about to be free waits for it: room of tasks that have been
   told to go, or, while an older task of the slot serves, of older tasks of this job. What is said so is pending.
4. Any other slot is placed as without a promise; its reason, and its placement, name the agent that was promised.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from harpoon.core.blockers import Refusal
from harpoon.core.board import Board
from harpoon.core.fleet import Fleet
from harpoon.core.place import Decision, place
from harpoon.core.standing import Standing
from harpoon.model.decision import Blocker, Pending, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement

#: Slots whose waiting is told one by one.
_TOLD_MAX = 8
_NOBODY: Mapping[int, str] = {}


def promised(job: Job, standings: Sequence[Standing], wants: Sequence[Want]) -> Mapping[int, str]:
    """Return the slots that are now to be placed by a promise, and the agents promised for them."""
    if job.promise is None or not wants:
        return _NOBODY
    placed = {one.placement.slot for one in standings if one.placement.version == job.version}
    wanted = {want.slot for want in wants} - placed
    return {slot: agent for agent, slots in job.promise.agents.items() for slot in slots if slot in wanted}


def place_promised(  # noqa: PLR0913 as `core.place.place`
    job: Job,
    wants: Sequence[Want],
    agents: Mapping[int, str],
    going: Mapping[str, Collection[TaskId]],
    fleet: Fleet,
    now: Instant,
    *,
    incarnation: int,
    revision: int,
    bindings: Mapping[str, str] | None = None,
    most: int | None = None,
) -> Decision:
    """Choose an agent for each wanted slot, the promised one where that can be; see `core.place.place`.

    Args:
        job: Whose slots they are.
        wants: Slots to place.
        agents: Of them, those that have a promise, with the agent; see `promised`.
        going: Agent → tasks that have been told to go from there, and still take room; of the agents just named.
        fleet: What there is; not changed.
        now: When this is decided.
        incarnation: Of the store.
        revision: Of the view this is decided on.
        bindings: As for `place`.
        most: Likewise.
    """
    if not agents:
        return place(job, wants, fleet, now, incarnation=incarnation, revision=revision, bindings=bindings, most=most)
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
    kept: list[Placement] = []
    waiting: dict[int, tuple[str, tuple[Refusal, ...]]] = {}
    rest: list[Want] = []
    for want in sorted(wants, key=lambda want: want.slot):
        if len(kept) == most:
            return Decision(placements=tuple(kept), pending=None, is_whole=False)
        agent = agents.get(want.slot)
        if agent is None:
            rest.append(want)
            continue
        board.give_back(_known(fleet, want.ended))
        lacks = board.refused_by(agent, want.slot)
        if not lacks:
            told = f"{want.reason}; as the plan promised"
            kept.append(replace(pattern, slot=want.slot, agent=agent, failures=want.failures, reason=told))
            board.take_back(kept[-1:])
            continue
        board.take_back(_known(fleet, want.ended))
        if _may_fit(board, job, want, agent, going.get(agent, ()), fleet):
            waiting[want.slot] = agent, lacks
        else:
            found = "; ".join(f"{one.predicate}: wants {one.wanted}, found {one.found}" for one in lacks)
            rest.append(replace(want, reason=f"{want.reason}; the plan promised {agent}, which does not do ({found})"))
    pending = _waits(job, waiting, now) if waiting else None
    if kept or not rest:
        return Decision(placements=tuple(kept), pending=None if rest else pending, is_whole=not rest)
    decision = place(job, rest, fleet, now, incarnation=incarnation, revision=revision, bindings=bindings, most=most)
    placements = tuple(replace(one, promised=agents.get(one.slot, "")) for one in decision.placements)
    pending = _joined(pending, decision.pending) if decision.is_whole else None
    return replace(decision, placements=placements, pending=pending)


def _may_fit(board: Board, job: Job, want: Want, agent: str, going: Collection[TaskId], fleet: Fleet) -> bool:
    """Return whether an agent could take a slot once what is about to go from there is gone."""
    olds = [one.task for one in fleet.placements_of(job) if one.agent == agent and one.version != job.version]
    is_served = not want.replaces and any(one.slot == want.slot for one in fleet.placements_of(job))
    leaving = _known(fleet, dict.fromkeys((*going, *(olds if is_served else ()))))
    board.give_back(leaving)
    fits = not board.refused_by(agent, want.slot)
    board.take_back(leaving)
    return fits


def _known(fleet: Fleet, tasks: Collection[TaskId] | Mapping[TaskId, None]) -> list[Placement]:
    found = (fleet.placement(task) for task in tasks)
    return [placement for placement in found if placement is not None]


def _waits(job: Job, waiting: Mapping[int, tuple[str, tuple[Refusal, ...]]], now: Instant) -> Pending:
    told = [f"slot {slot} for {agent}" for slot, (agent, _) in waiting.items()]
    more = f" and {len(told) - _TOLD_MAX} more" if len(told) > _TOLD_MAX else ""
    blockers = {
        (one.predicate, one.wanted, one.found, agent): Blocker(
            predicate=one.predicate, wanted=one.wanted, found=one.found, agents=(agent,), agents_count=1
        )
        for agent, lacks in waiting.values()
        for one in lacks
    }
    return Pending(
        namespace=job.namespace,
        job=job.name,
        generation=job.generation,
        slots=tuple(waiting),
        reason=f"the plan promised agents on which there is soon room: {', '.join(told[:_TOLD_MAX])}{more}",
        blockers=tuple(blocker for _, blocker in sorted(blockers.items()))[:_TOLD_MAX],
        since_ms=now.wall,
    )


def _joined(first: Pending | None, second: Pending | None) -> Pending | None:
    if first is None or second is None:
        return first or second
    return replace(
        first,
        slots=tuple(sorted((*first.slots, *second.slots))),
        reason=f"{first.reason}; {second.reason}",
        blockers=(*first.blockers, *second.blockers),
        awaited=second.awaited,
        kept=second.kept,
    )
