"""Why slots are not placed: the scheduler's own verbs asked again, and every answer told with both values.

It decides nothing. What it says of a slot follows from `core.rollout` and `core.place` on the same state, so it can be
checked: each blocker it names is real, none is left out, an agent that is rid of those named for it takes the slot,
and what is said is what the scheduler has recorded. What slots wait for whose turn it is not is told by `core.waits`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Final

from harpoon.core.batch_waits import batch_waits, batched
from harpoon.core.blockers import NAMED_MAX, Refusal, Refused
from harpoon.core.board import Board
from harpoon.core.case import Case
from harpoon.core.fix import nearest_fix
from harpoon.core.fleet import Fleet
from harpoon.core.forms import by_form
from harpoon.core.place import Decision, fits_nowhere, helped, place, refusals_of
from harpoon.core.waits import CASES_MAX, waits
from harpoon.model.decision import Want
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.rules import Distinct
from harpoon.model.why import AgentGroup, FailedPredicate, ReasonCode, SlotsWhy

#: Groups of agents told for some slots, the nearest ones.
GROUPS_MAX: Final = 100
#: Tasks that are awaited, of one slot.
_AWAITED: Final = 3


def explain(case: Case, fleet: Fleet) -> tuple[SlotsWhy, ...]:
    """Return every slot that is to be placed but is not, those that fit nowhere first.

    Args:
        case: The job, and what its placing depends on.
        fleet: What there is; not changed.
    """
    if case.batch is not None:
        found = batched(case, case.batch)
        return (*_explain_forms(case, found.rolled.wants, fleet), *batch_waits(case, case.batch, found))
    rolled = case.rolled()
    return (*_explain_forms(case, rolled.wants, fleet), *waits(case, rolled))


def explain_on(case: Case, fleet: Fleet, agent: str) -> tuple[SlotsWhy, ...]:
    """Return the slots that fit nowhere, and of all agents only what this one lacks for them."""
    rolled = case.rolled() if case.batch is None else batched(case, case.batch).rolled
    return tuple(_explain_forms(case, rolled.wants, fleet, only=agent))


def _explain_forms(case: Case, wants: Sequence[Want], fleet: Fleet, only: str | None = None) -> Iterator[SlotsWhy]:
    for form, wanted in by_form(case.job, case.brake, wants):
        yield from _explain_wants(replace(case, job=form), wanted, fleet, only)


def _explain_wants(case: Case, wants: Sequence[Want], fleet: Fleet, only: str | None = None) -> Iterator[SlotsWhy]:
    """Tell of the slots that want a placement now why they fit nowhere; nothing if all of them fit."""
    job = case.job
    decision = place(job, wants, fleet, case.now, incarnation=0, revision=0)
    unplaced = frozenset(decision.pending.slots if decision.pending is not None else ())
    if not unplaced:
        return
    board = _board(job, wants, fleet, decision)
    found = _alike(job, [want for want in wants if want.slot in unplaced], fleet, decision)
    for (ended, awaited, _), slots in found[:CASES_MAX]:
        refusals = refusals_of(board, job, Want(slot=slots[0], ended=ended, reason=""), fleet)
        yield _nowhere(case, fleet, slots, awaited, refusals, only)
    rest = [slot for _, slots in found[CASES_MAX:] for slot in slots]
    if rest:
        reason = "they fit nowhere either; it is not told one by one why"
        yield SlotsWhy(slots=tuple(sorted(rest)), code=ReasonCode.FITS_NOWHERE, reason=reason)


def _nowhere(
    case: Case,
    fleet: Fleet,
    slots: Sequence[int],
    awaited: Sequence[TaskId],
    refusals: Sequence[Refused],
    only: str | None,
) -> SlotsWhy:
    """Tell of slots that fit nowhere for the same reasons; of ``only`` one agent, or of all."""
    reason, code = fits_nowhere(case.job, slots, refusals, fleet), ReasonCode.FITS_NOWHERE
    if awaited:
        named = " and ".join(awaited[:_AWAITED])
        reason, code = f"it waits for {named} to go, which makes room; until then {reason}", ReasonCode.MAKES_ROOM
    elif case.job.spec.preempt:
        reason += helped(case.job, len(slots), ())
    shown = refusals if only is None else [one._replace(agents=[only]) for one in refusals if only in one.agents]
    groups, left = group(shown)
    fix = nearest_fix(case.job, shown, fleet, case.links)
    evidence: dict[str, str | int | tuple[str, ...]] = {
        "slots": len(slots),
        "scale": case.job.spec.scale,
        "agents": sum(len(one.agents) for one in refusals),
    }
    if fix.agent is not None:
        evidence["nearest"] = fix.agent
    if awaited:
        evidence["awaited"] = tuple(map(str, awaited[:_AWAITED]))
    return SlotsWhy(
        slots=tuple(slots), code=code, reason=reason, evidence=evidence, groups=groups, agents_left=left, fix=fix
    )


_Traits = tuple[tuple[TaskId, ...], tuple[TaskId, ...], int | None]


def _alike(job: Job, wants: Sequence[Want], fleet: Fleet, decision: Decision) -> list[tuple[_Traits, list[int]]]:
    """Return slots together that agents refuse for the same reasons, by what sets them apart from others."""
    is_distinct = job.spec.placement.distinct is Distinct.AGENT
    taken = {placement.slot for placement in fleet.placements_of(job)}
    found: dict[_Traits, list[int]] = {}
    for want in wants:
        awaited = decision.awaited.get(want.slot, ())
        ended = tuple(task for task in want.ended if fleet.placement(task) is not None)
        own = want.slot if job.members or (is_distinct and want.slot in taken) else None
        found.setdefault((ended, awaited, own), []).append(want.slot)
    return list(found.items())


def group(refusals: Iterable[Refused]) -> tuple[tuple[AgentGroup, ...], int]:
    """Return agents grouped by what they refuse, nearest first, and how many are in groups that are not told."""
    alike: dict[tuple[Refusal, ...], list[Refused]] = {}
    for one in refusals:
        alike.setdefault(one.failed, []).append(one)
    # No agent is in two of them, so that none is like another up to its names.
    ordered = sorted([(_nearness(known), failed) for failed, known in alike.items()], key=itemgetter(0))
    groups = tuple(
        AgentGroup(agents=agents, agents_count=-less, failed=failed_of(failed))
        for (_, less, agents), failed in ordered[:GROUPS_MAX]
    )
    return groups, sum(-less for (_, less, _), _ in ordered[GROUPS_MAX:])


def _nearness(alike: Sequence[Refused]) -> tuple[tuple[int, float], int, tuple[str, ...]]:
    """Return how little agents need that are told together, less their number, and the first of them."""
    first = min(alike, key=lambda one: one.agents[0])
    names = sorted(name for one in alike for name in one.agents[:NAMED_MAX])[:NAMED_MAX]
    return first.distance, -sum(len(one.agents) for one in alike), tuple(names)


def failed_of(refusals: Iterable[Refusal]) -> tuple[FailedPredicate, ...]:
    """Return refusals as they are told."""
    return tuple(FailedPredicate(predicate=one.predicate, wanted=one.wanted, found=one.found) for one in refusals)


def _board(job: Job, wants: Sequence[Want], fleet: Fleet, decision: Decision) -> Board:
    """Return the board as it stood when nothing more could be placed."""
    board = Board(job, fleet)
    ended = {want.slot: want.ended for want in wants}
    for placement in decision.placements:
        board.give_back(one for task in ended[placement.slot] if (one := fleet.placement(task)) is not None)
        board.take_back((placement,))
    return board
