"""What slots wait for that `core.rollout` does not want placed yet: its answer, turned into sentences.

It decides nothing, and knows no rule of the rollout by itself: each rule that makes slots wait is lifted from what the
rollout is asked (`_LIFTED`), one after the other, and what is wanted then, and was not before, waits for that rule. A
rule that is added to the rollout gets a line there, and a sentence.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple

from harpoon.core.backoff import BACKOFF_MAX
from harpoon.core.case import Case
from harpoon.core.eviction import LIMITED, PER_SECOND, UNLIMITED
from harpoon.core.exclusive import waits_for_agent
from harpoon.core.held import NoSecret, Unmet
from harpoon.core.standing import Standing, look
from harpoon.model.decision import Rollout
from harpoon.model.instant import Instant
from harpoon.model.job import SCALE_MAX, Job, JobType, OnLost, Update
from harpoon.model.name import DEFAULT_NAMESPACE
from harpoon.model.task import Placement, Task, TaskState
from harpoon.model.why import Fix, ReasonCode, SlotsWhy

#: Slots that differ in what stands against them are told apart up to here.
CASES_MAX: Final = 20
#: Tasks named in one sentence.
NAMED: Final = 3
#: Tasks and agents named in one piece of evidence.
LISTED: Final = 20
#: By then every backoff is over, and all endpoints are followed.
_LATER_MS: Final = BACKOFF_MAX // timedelta(milliseconds=1)


def waits(case: Case, rolled: Rollout) -> Iterator[SlotsWhy]:
    """Yield what every slot waits for that has not what it should, and for which nothing is to be placed now.

    Args:
        case: The job, and what its placing depends on.
        rolled: What the rollout said of just that.
    """
    if rolled.held:
        yield held(case, rolled.held)
    told = {*rolled.held, *_moved(case, rolled)}
    if case.job.spec.exclusive:
        for one in waits_for_agents(case, told):
            told.update(one.slots)
            yield one
    for rule in _LIFTED:
        lifted = rule.lift(case)
        slots = sorted(_moved(lifted, lifted.rolled()) - told)
        if slots:
            yield rule.tell(case, tuple(slots))
            told.update(slots)


def _moved(case: Case, rolled: Rollout) -> set[int]:
    """Return the slots of which something is to be placed now; or, where that must go first, ended."""
    wanted = {want.slot for want in rolled.wants}
    if not case.job.spec.exclusive:
        return wanted
    slots = {one.placement.task: one.placement.slot for one in case.standings}
    return wanted | {slots[drop.task] for drop in rolled.drops}


def held(case: Case, slots: tuple[int, ...]) -> SlotsWhy:
    """Tell of slots that they wait for other jobs, for runs, or for secrets."""
    jobs = [one for one in case.unmet if isinstance(one, Unmet)]
    secrets = [one for one in case.unmet if isinstance(one, NoSecret)]
    evidence = {
        "jobs": tuple(one.name for one in jobs),
        "wanted": tuple(one.wanted for one in jobs),
        "found": tuple(one.found for one in jobs),
    }
    told = {"secrets": tuple(one.name for one in secrets), "secrets_found": tuple(one.found for one in secrets)}
    return SlotsWhy(
        slots=slots,
        code=ReasonCode.DEPENDENCY if jobs else ReasonCode.NO_SECRET,
        reason=f"it waits {' and '.join(one.told for one in case.unmet)}",
        evidence=(evidence if jobs else {}) | (told if secrets else {}),
        fix=_fix(case.job, jobs, secrets),
    )


def _fix(job: Job, jobs: Sequence[Unmet], secrets: Sequence[NoSecret]) -> Fix | None:
    """Return how to have all that is waited for; None: for some of it one can but wait."""
    if not all(one.fix for one in jobs):
        return None
    return Fix(agent=None, sentence="it would be placed", steps=(*(one.fix for one in jobs), *_set(job, secrets)))


def _set(job: Job, secrets: Sequence[NoSecret]) -> tuple[str, ...]:
    """Return how to set what is missing."""
    wanted: dict[str, list[str]] = {}
    for one in secrets:
        name, _, key = one.name.partition("/")
        wanted.setdefault(name, []).append(f"{key}=-")
    where = "" if job.namespace == DEFAULT_NAMESPACE else f" -n {job.namespace}"
    return tuple(f"harpoon secret set{where} {name} {' '.join(keys)}" for name, keys in wanted.items())


# Exclusive jobs wait for their agents' word.


def waits_for_agents(case: Case, told: Collection[int]) -> Iterator[SlotsWhy]:
    """Tell of slots of an exclusive job, but for those told already, that their agents' word is awaited."""
    waiting: dict[int, tuple[Standing, str]] = {}
    for one in sorted(case.standings, key=lambda one: (one.placement.slot, one.placement.number)):
        said = waits_for_agent(one.placement, one.task)
        if said and one.placement.slot not in told:
            waiting.setdefault(one.placement.slot, (one, said))
    for count, (slot, (one, said)) in enumerate(waiting.items()):
        if count < CASES_MAX:
            evidence = {"task": str(one.placement.task), "agent": one.placement.agent}
            code = agents_word(one.placement, one.task)
            yield SlotsWhy(slots=(slot,), code=code, reason=said, evidence=evidence)
    rest = tuple(waiting)[CASES_MAX:]
    if rest:
        reason = "they wait for their agents too; it is not told one by one for which"
        yield SlotsWhy(slots=rest, code=ReasonCode.WAITS_FOR_AGENT, reason=reason)
    ending = [
        one.placement
        for one in case.standings
        if one.placement.is_revoked and not one.placement.is_denied and one.placement.slot < case.job.spec.scale
    ]
    slots = {one.slot for one in ending} - waiting.keys() - set(told)
    if slots:
        yield SlotsWhy(
            slots=tuple(sorted(slots)),
            code=ReasonCode.ENDING,
            reason="the task before is ended first, and forgotten by its agent: the job is exclusive",
            evidence={"tasks": _listed(str(one.task) for one in ending if one.slot in slots)},
        )


def agents_word(placement: Placement, task: Task | None) -> ReasonCode:
    """Return what `core.exclusive.waits_for_agent` says, which says something, in a word."""
    if task is not None and task.state is TaskState.UNCLAIMED and placement.is_exclusive:
        return ReasonCode.UNCLAIMED
    if placement.is_revoked:
        return ReasonCode.UNDENIED if placement.version else ReasonCode.UNREADABLE
    return ReasonCode.WAITS_FOR_AGENT


# The rules that are lifted.


def _without_bounds(case: Case) -> Case:
    """Let all change at once."""
    update = Update(unavailable=SCALE_MAX) if case.job.spec.exclusive else Update(surge=SCALE_MAX)
    return replace(case, job=replace(case.job, spec=replace(case.job.spec, update=update)))


def _after_backoff(case: Case) -> Case:
    return replace(_after_settling(case), replacing={})


def _after_settling(case: Case) -> Case:
    """Let so much time pass that nothing waits for time alone, but for the deadlines of drains."""
    now = Instant(elapsed=case.now.elapsed + BACKOFF_MAX, wall=case.now.wall + _LATER_MS)
    return replace(_without_bounds(case), now=now, leaving=dict.fromkeys(case.leaving))


def _after_loss(case: Case) -> Case:
    """Let all that is lost be replaced, also what would then wait for other jobs."""
    later = replace(_after_settling(case), unmet=())
    if case.job.spec.exclusive:
        return later
    # A system job waits for its agents by what it is.
    spec = replace(later.job.spec, type=JobType.SERVICE, on_lost=OnLost.REPLACE)
    return replace(later, evictable=UNLIMITED, job=replace(later.job, spec=spec))


def _after_the_word(case: Case) -> Case:
    """Let the rollout go on by itself."""
    return replace(_after_loss(case), brake=None)


def _turn(case: Case, slots: tuple[int, ...]) -> SlotsWhy:
    """Say what keeps slots from being replaced now: how much may change, and what is changing."""
    update, awaited = case.job.spec.update, _awaited(case)
    more = f" (and {len(awaited) - NAMED} more)" if len(awaited) > NAMED else ""
    waits_for = f"; it waits for {' and '.join(awaited[:NAMED])}{more}" if awaited else ""
    bound = f"update.surge {update.surge} and update.unavailable {update.unavailable} let no more change at once"
    step = f"raise update.surge above {update.surge} or update.unavailable above {update.unavailable}"
    if case.job.spec.exclusive:
        bound = f"the job is exclusive, and update.unavailable {update.unavailable} lets no more change at once"
        step = f"raise update.unavailable above {max(1, update.unavailable)}"
    return SlotsWhy(
        slots=slots,
        code=ReasonCode.TURN,
        reason=f"{bound}{waits_for}",
        evidence={"surge": update.surge, "unavailable": update.unavailable, "awaited": tuple(awaited[:LISTED])},
        fix=Fix(agent=None, sentence="more slots could change at once", steps=(step,)),
    )


def _awaited(case: Case) -> list[str]:
    """Name what uses up the bounds: second tasks of slots, and slots without a ready one where those count."""
    counts = case.job.spec.exclusive or case.job.spec.update.unavailable > 0
    known: dict[int, list[Standing]] = {slot: [] for slot in range(case.job.spec.scale)}
    for one in sorted(case.standings, key=lambda one: (one.placement.slot, one.placement.number)):
        known.get(one.placement.slot, []).append(one)
    awaited = []
    for slot, standings in known.items():
        unready = [(one.placement.task, said) for one in standings if (said := _arrival(case, one))]
        if len(standings) > 1 or (counts and len(unready) == len(standings)):
            awaited += [f"{task} to be {said}" for task, said in unready]
        if not standings and counts:
            awaited.append(f"slot {slot} to be placed")
    return awaited


def _arrival(case: Case, one: Standing) -> str:
    """Say what a task is still to be before it counts; empty: nothing."""
    task = one.task
    if task is None or not (task.ready or task.state is TaskState.FINISHED):
        return "ready"
    record = look(case.job, one, case.replacing, case.now, is_evictable=True)
    return "healthy" if record.is_present and not record.is_healthy and task.ready else ""


def _backoff(case: Case, slots: tuple[int, ...]) -> SlotsWhy:
    failed = [one for one in _of(case, slots) if one.task is not None and one.task.is_over]
    count = max((one.placement.failures + 1 for one in failed), default=1)
    due, span = _due(case, slots)
    reason = f"the next one is replaced in {span}: it has failed {count} times in a row, and waits longer each time"
    return SlotsWhy(
        slots=slots,
        code=ReasonCode.BACKOFF,
        reason=reason,
        evidence={"due_ms": due, "failures": count, "tasks": _listed(str(one.placement.task) for one in failed)},
    )


def _settling(case: Case, slots: tuple[int, ...]) -> SlotsWhy:
    due, span = _due(case, slots)
    reason = f"the next one is replaced in {span}: endpoints are followed in few steps"
    return SlotsWhy(slots=slots, code=ReasonCode.SETTLING, reason=reason, evidence={"due_ms": due})


def _due(case: Case, slots: tuple[int, ...]) -> tuple[int, str]:
    """Return when the first of some slots has waited long enough, and in how long that is."""
    going = {drop.task for drop in case.rolled().drops}
    staying = tuple(one for one in _of(case, slots) if one.placement.task not in going)
    alone = replace(case, standings=staying, leaving=dict.fromkeys(case.leaving))
    due = alone.rolled().due or timedelta(0)
    seconds = max(0.1, round(due / timedelta(seconds=1), 1))
    return case.now.wall + due // timedelta(milliseconds=1), f"{seconds:g} s"


def kept(case: Case, slots: tuple[int, ...]) -> SlotsWhy:
    """Tell of slots that their tasks are lost, and not replaced."""
    lost = [one.placement for one in _of(case, slots) if one.task is not None and one.task.state is TaskState.LOST]
    evidence: dict[str, int | tuple[str, ...]] = {
        "tasks": _listed(str(one.task) for one in lost),
        "agents": _listed(sorted({one.agent for one in lost})),
    }
    if case.job.spec.type is JobType.SYSTEM:
        code, why = ReasonCode.WAITS_FOR_AGENT, "a task of a system job is for its agent"
    elif case.job.spec.placement.agents:
        code, why = ReasonCode.WAITS_FOR_AGENT, "placement.agents says which agent a slot is for"
    elif case.job.spec.on_lost is OnLost.WAIT:
        code, why = ReasonCode.WAITS_FOR_AGENT, "on_lost is wait"
    elif case.halted is not None:
        code, why = ReasonCode.EVICTION_HALTED, case.halted
    else:
        code, why = ReasonCode.EVICTION_LIMITED, LIMITED
        evidence["per_second"] = PER_SECOND
    return SlotsWhy(slots=slots, code=code, reason=f"their tasks are lost and kept: {why}", evidence=evidence)


def _braked(case: Case, slots: tuple[int, ...]) -> SlotsWhy:
    """Say that the rollout waits for a word of people, and for which."""
    name, brake = case.job.name, case.brake
    assert brake is not None, "without it there is nothing to lift"
    before = brake.form.version
    evidence = {"version": case.job.version, "stable": before}
    if brake.is_paused:
        return SlotsWhy(
            slots=slots,
            code=ReasonCode.ROLLOUT_PAUSED,
            reason=f"the rollout of version {case.job.version} is paused, and version {before} stays meanwhile",
            evidence=evidence,
            fix=Fix(agent=None, sentence="it would go on", steps=(f"harpoon rollout resume {name}",)),
        )
    step = f"harpoon rollout promote {name}, or to go back: harpoon rollout undo {name}"
    return SlotsWhy(
        slots=slots,
        code=ReasonCode.ON_TRIAL,
        reason=f"version {case.job.version} is on trial elsewhere, and version {before} stays until it is promoted",
        evidence={**evidence, "canaries": brake.canaries or 0},
        fix=Fix(agent=None, sentence="it would go on", steps=(step,)),
    )


def _of(case: Case, slots: Collection[int]) -> tuple[Standing, ...]:
    wanted = frozenset(slots)
    return tuple(one for one in case.standings if one.placement.slot in wanted)


def _listed(names: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    return tuple(names)[:LISTED]


class _Rule(NamedTuple):
    """A rule that makes slots wait."""

    #: Return the case without it, and without those before.
    lift: Callable[[Case], Case]
    #: Tell what it makes some slots wait for.
    tell: Callable[[Case, tuple[int, ...]], SlotsWhy]


_LIFTED: Final = (
    _Rule(_without_bounds, _turn),
    _Rule(_after_backoff, _backoff),
    _Rule(_after_settling, _settling),
    _Rule(_after_loss, kept),
    _Rule(_after_the_word, _braked),
)
