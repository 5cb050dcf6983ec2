"""Why slots are not placed: the scheduler's own verbs asked again, and every answer told with both values.

It decides nothing. What it says of a slot follows from `core.rollout` and `core.place` on the same state, so it can
be checked: each blocker it names is real, and the agent of a fix could take the slot but for the blockers it names.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from harpoon.core.backoff import BACKOFF_MAX
from harpoon.core.blockers import NAMED_MAX, Refusal, sentence
from harpoon.core.board import Board
from harpoon.core.eviction import LIMITED, UNLIMITED
from harpoon.core.exclusive import waits_for_agent
from harpoon.core.fix import nearest_fix
from harpoon.core.fleet import Fleet
from harpoon.core.place import Decision, place, staying
from harpoon.core.rollout import rollout
from harpoon.core.standing import Standing
from harpoon.model.agent import Link
from harpoon.model.decision import Rollout, Want
from harpoon.model.instant import Instant
from harpoon.model.job import SCALE_MAX, Job, OnLost, Update
from harpoon.model.name import TaskId
from harpoon.model.rules import Distinct
from harpoon.model.task import TaskState
from harpoon.model.why import AgentGroup, FailedPredicate, Fix, SlotsWhy

#: Groups of agents told for some slots, the nearest ones.
GROUPS_MAX: Final = 100
#: Slots that differ in what stands against them are told apart up to here.
CASES_MAX: Final = 20
#: Tasks named in one sentence.
_NAMED: Final = 3
#: By then every backoff is over.
_LATER_MS: Final = BACKOFF_MAX // timedelta(milliseconds=1)

Refusals = Mapping[str, tuple[Refusal, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One job, with everything that its placing depends on."""

    job: Job
    standings: tuple[Standing, ...]
    links: Mapping[str, Link]
    now: Instant
    #: How many lost tasks may be replaced now.
    evictable: int = UNLIMITED
    #: Why none may be, where that is not for their number.
    halted: str | None = None
    #: Agents that are being drained → the deadline, if there is one.
    leaving: Mapping[str, int | None] = field(default_factory=dict)
    #: A dependency does not hold.
    is_held: bool = False
    #: Endpoints of other jobs whose change replaces tasks.
    replacing: Mapping[str, str]


def explain(case: Case, fleet: Fleet) -> tuple[SlotsWhy, ...]:
    """Return every slot that is to be placed but is not, those that fit nowhere first.

    Args:
        case: The job, and what its placing depends on.
        fleet: What there is; not changed.
    """
    rolled = _rolled(case)
    told = [*_explain_wants(case, rolled.wants, fleet)]
    if rolled.held:
        told.append(SlotsWhy(slots=rolled.held, reason="the jobs that this one depends on are not as it needs them"))
    known = {*rolled.held, *(want.slot for want in rolled.wants)}
    waits = _waits_exclusively if case.job.spec.exclusive else _waits
    return (*told, *waits(case, known, rolled.due))


def explain_on(case: Case, fleet: Fleet, agent: str) -> tuple[SlotsWhy, ...]:
    """Return the slots that fit nowhere, and of all agents only what this one lacks for them."""
    return tuple(_explain_wants(case, _rolled(case).wants, fleet, only=agent))


def _explain_wants(case: Case, wants: Sequence[Want], fleet: Fleet, only: str | None = None) -> Iterator[SlotsWhy]:
    """Tell of the slots that want a placement now why they fit nowhere; nothing if all of them fit."""
    job = case.job
    decision = place(job, wants, fleet, case.now, incarnation=0, revision=0)
    unplaced = frozenset(decision.pending.slots if decision.pending is not None else ())
    if not unplaced:
        return
    board = _board(job, wants, fleet, decision)
    alike = _alike(job, [want for want in wants if want.slot in unplaced], fleet, decision)
    for (ended, awaited, _), slots in alike[:CASES_MAX]:
        given = [placement for task in ended if (placement := fleet.placement(task)) is not None]
        board.give_back(given)
        refusals = board.refusals(slots[0])
        board.take_back(given)
        reason = sentence(len(slots), job.spec.scale, refusals) + staying(job, slots, fleet)
        if awaited:
            reason = f"it waits for {' and '.join(awaited)} to go, which makes room; until then {reason}"
        shown = {name: failed for name, failed in refusals.items() if only in (None, name)}
        groups, left = group(shown)
        fix = nearest_fix(job, shown, fleet, case.links)
        yield SlotsWhy(slots=tuple(slots), reason=reason, groups=groups, agents_left=left, fix=fix)
    rest = [slot for _, slots in alike[CASES_MAX:] for slot in slots]
    if rest:
        yield SlotsWhy(slots=tuple(sorted(rest)), reason="they fit nowhere either; it is not told one by one why")


_Traits = tuple[tuple[TaskId, ...], tuple[TaskId, ...], int | None]


def _alike(job: Job, wants: Sequence[Want], fleet: Fleet, decision: Decision) -> list[tuple[_Traits, list[int]]]:
    """Return slots together that agents refuse for the same reasons, by what sets them apart from others."""
    dropped = {drop.task for drop in decision.drops}
    is_distinct = job.spec.placement.distinct is Distinct.AGENT
    taken = {placement.slot for placement in fleet.placements_of(job)}
    alike: dict[_Traits, list[int]] = {}
    for want in wants:
        awaited = tuple(task for task in want.replaces if task in dropped)
        own = want.slot if is_distinct and want.slot in taken else None
        alike.setdefault((want.ended, awaited, own), []).append(want.slot)
    return list(alike.items())


def group(refusals: Refusals) -> tuple[tuple[AgentGroup, ...], int]:
    """Return agents grouped by what they refuse, nearest first, and how many are in groups that are not told."""
    alike: dict[tuple[Refusal, ...], list[str]] = {}
    for agent in sorted(refusals):
        alike.setdefault(refusals[agent], []).append(agent)
    ordered = sorted(alike.items(), key=lambda one: (len(one[0]), _shortage(one[0]), -len(one[1]), one[1]))
    groups = tuple(
        AgentGroup(agents=tuple(agents[:NAMED_MAX]), agents_count=len(agents), failed=failed_of(failed))
        for failed, agents in ordered[:GROUPS_MAX]
    )
    return groups, sum(len(agents) for _, agents in ordered[GROUPS_MAX:])


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


def _rolled(case: Case) -> Rollout:
    return rollout(
        case.job,
        case.standings,
        case.now,
        evictable=case.evictable,
        is_held=case.is_held,
        bindings=case.replacing,
        leaving=case.leaving,
    )


def _waits(case: Case, known: set[int], due: timedelta | None) -> Iterator[SlotsWhy]:
    """Name the slots whose turn will come: each rule of the rollout is relaxed, and what is wanted then is told."""
    spec = case.job.spec
    # Without bounds on how many change at once, what waits for its turn is wanted too.
    freely = replace(case, job=replace(case.job, spec=replace(spec, update=Update(surge=SCALE_MAX))))
    turns = [want.slot for want in _rolled(freely).wants if want.slot not in known]
    if turns:
        yield SlotsWhy(slots=tuple(turns), reason=_turn(case), fix=_faster(case))
    later = _later(freely)
    delayed = [want.slot for want in _rolled(later).wants if want.slot not in known and want.slot not in turns]
    if delayed and due is not None:
        yield SlotsWhy(slots=tuple(delayed), reason=_in_time(case, due))
    always = replace(later.job, spec=replace(later.job.spec, on_lost=OnLost.REPLACE))
    told = {*known, *turns, *delayed}
    freed = replace(later, evictable=UNLIMITED, job=always)
    kept = [want.slot for want in _rolled(freed).wants if want.slot not in told]
    if kept:
        why = "on_lost is wait" if spec.on_lost is OnLost.WAIT else case.halted or LIMITED
        yield SlotsWhy(slots=tuple(kept), reason=f"their tasks are lost and kept: {why}")


def _waits_exclusively(case: Case, known: set[int], due: timedelta | None) -> Iterator[SlotsWhy]:
    """Name the slots of an exclusive job that wait for their agents, or whose turn to be broken will come."""
    slots = {one.placement.task: one.placement.slot for one in case.standings}
    waits = sorted((one.placement.slot, said) for one in case.standings if (said := waits_for_agent(*one)))
    for slot, said in waits[:CASES_MAX]:
        yield SlotsWhy(slots=(slot,), reason=said)
    rest = tuple(slot for slot, _ in waits[CASES_MAX:])
    if rest:
        yield SlotsWhy(slots=rest, reason="they wait for their agents too; it is not told one by one for which")
    told = {*known, *(slot for slot, _ in waits)}
    ending = {one.placement.slot for one in case.standings if one.placement.is_revoked and not one.placement.is_denied}
    if ending - told:
        reason = "the task before is ended first, and forgotten by its agent: the job is exclusive"
        yield SlotsWhy(slots=tuple(sorted(ending - told)), reason=reason)
    spec = case.job.spec
    freely = replace(case, job=replace(case.job, spec=replace(spec, update=Update(unavailable=SCALE_MAX))))
    now = {drop.task for drop in _rolled(case).drops}
    turns = {drop.task for drop in _rolled(freely).drops} - now
    if turns:
        reason = f"the job is exclusive, and update.unavailable {spec.update.unavailable} lets no more change at once"
        yield SlotsWhy(slots=tuple(sorted(slots[task] for task in turns)), reason=reason)
    delayed = {drop.task for drop in _rolled(_later(freely)).drops} - now - turns
    if delayed and due is not None:
        yield SlotsWhy(slots=tuple(sorted(slots[task] for task in delayed)), reason=_in_time(case, due))


def _later(case: Case) -> Case:
    now = Instant(elapsed=case.now.elapsed + BACKOFF_MAX, wall=case.now.wall + _LATER_MS)
    return replace(case, now=now)


def _in_time(case: Case, due: timedelta) -> str:
    seconds = max(0.1, round(due / timedelta(seconds=1), 1))
    return f"the next one is replaced in {seconds:g} s: {_delay(case)}"


def _turn(case: Case) -> str:
    """Say what keeps slots from being replaced now: what is changing, and how much may."""
    update = case.job.spec.update
    count = Counter(standing.placement.slot for standing in case.standings)
    changing = [
        f"{standing.placement.task} to be ready"
        for standing in case.standings
        if count[standing.placement.slot] > 1 and not (standing.task is not None and standing.task.ready)
    ]
    awaited = f"; it waits for {' and '.join(sorted(changing)[:_NAMED])}" if changing else ""
    return (
        f"update.surge {update.surge} and update.unavailable {update.unavailable} let no more change at once{awaited}"
    )


def _faster(case: Case) -> Fix:
    update = case.job.spec.update
    return Fix(
        agent=None,
        sentence="more slots could change at once",
        steps=(f"raise update.surge above {update.surge} or update.unavailable above {update.unavailable}",),
    )


def _delay(case: Case) -> str:
    has_failed = any(one.task is not None and one.task.state is TaskState.FAILED for one in case.standings)
    return (
        "a task that failed again is replaced later each time" if has_failed else "endpoints are followed in few steps"
    )


def _shortage(failed: Sequence[Refusal]) -> int:
    return max((refusal.shortage or 0 for refusal in failed), default=0)
