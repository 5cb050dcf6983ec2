"""How a job's rollout goes as a whole: when it begins, what brakes it, when it is complete, and when it has failed.

What becomes of single slots is `core.rollout`'s. This is what needs memory, and has it in one record a job.

Rules.

1. A rollout begins when a job with tasks of one generation is given another one. What most of its ready tasks run by
   then is *stable*: what is held back stays with it, and a failure goes back to it.
2. It waits while it is paused, and beyond its canaries until it is promoted. What brings an earlier version back, or
   what is still there of a rollout that is not complete, needs no canaries. A pause by an operator outlives the
   rollout, one by a deadline does not.
3. It is complete when it is promoted, every slot has a healthy task of its generation and nothing older is left. What
   happens after that is no matter of the rollout's any more.
4. It has failed when no further slot has become healthy for ``update.deadline``: counted from the last one, or from
   when it began or was last let go on. While it is paused, or waits to be promoted, it cannot fail. Whoever schedules
   counts by a clock of its own, and from when it began to: neither a wall clock that is set, nor a time in which nobody
   could act, is a failure.
5. A failed one is taken back or paused, as ``update.on_failure`` says. What there is nothing to go back from, since it
   goes back itself or since nothing served before, goes on all the same: it is only told.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from harpoon.core.standing import NO_BINDINGS, Brake, Health, Record, Standing, look
from harpoon.model.instant import Instant
from harpoon.model.job import Job, OnFailure, Version
from harpoon.model.rollout import Failure, PausedBy, RolloutPhase, RolloutRecord, Witness

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a rollout has come."""

    phase: RolloutPhase
    #: Slots that have a healthy task of the generation.
    healthy: int
    #: Slots that are to have one before it goes on, or is complete.
    wanted: int
    #: When it last came further, UTC milliseconds; None: it cannot fail now.
    since_ms: int | None = None
    #: Span until a ready task counts as healthy; None: there is none to wait for.
    proven_in: timedelta | None = None


def begin(
    job: Job, known: RolloutRecord | None, standings: Sequence[Standing], now: Instant, *, is_revert: bool
) -> RolloutRecord | None:
    """Return the record of a rollout that begins now; None: none does.

    Args:
        job: As desired now.
        known: Its record, if it has one.
        standings: All its placements.
        now: Only its ``wall`` matters.
        is_revert: The job's version was declared to bring an earlier one back.
    """
    if job.is_terminating or (known is not None and known.generation == job.generation):
        return None
    there = [one for one in standings if not one.placement.is_denied]
    older = [one for one in there if one.placement.generation != job.generation]
    if known is None and not older:
        return None
    stable = _stable(older)
    if known is not None and not known.is_complete and len(older) < len(there):
        # What it goes back to has not even been replaced everywhere.
        is_revert = True
    was_paused = known is not None and known.paused_by is PausedBy.OPERATOR
    return RolloutRecord(
        namespace=job.namespace,
        job=job.name,
        version=job.version,
        generation=job.generation,
        stable=stable,
        since_ms=now.wall,
        paused_by=PausedBy.OPERATOR if was_paused else None,
        is_promoted=is_revert or stable is None or job.spec.update.canary == 0,
        is_revert=is_revert,
        failure=None if known is None else known.failure,
    )


def _stable(older: Iterable[Standing]) -> int | None:
    """Return the version that most ready tasks run, else most tasks; of several the newest."""
    ranked = Counter(one.placement.version for one in older)
    ready = Counter(one.placement.version for one in older if one.task is not None and one.task.ready)
    return max(ranked, key=lambda version: (ready[version], ranked[version], version), default=None)


def brake_of(
    job: Job, record: RolloutRecord | None, stable: Version | None, bindings: Mapping[str, str] = NO_BINDINGS
) -> Brake | None:
    """Return what keeps a job's rollout from going on by itself; None: nothing does.

    Args:
        job: As desired now.
        record: Of its rollout.
        stable: The version that the record names, if it is kept.
        bindings: Variable → value wanted now by that version, of those whose change is to replace tasks.
    """
    if record is None or stable is None or record.generation != job.generation or record.is_complete:
        return None
    is_paused = record.paused_by is not None
    canaries = None if record.is_promoted else min(job.spec.update.canary, job.spec.scale)
    if not is_paused and not canaries:
        return None
    return Brake(form=formerly(job, stable), bindings=bindings, canaries=canaries or None, is_paused=is_paused)


def formerly(job: Job, version: Version) -> Job:
    """Return the job in an earlier form, with its present scale and policies of updating."""
    spec = replace(version.spec, scale=job.spec.scale, update=job.spec.update)
    return replace(job, spec=spec, generation=version.generation, version=version.version, promise=None)


def progress(
    job: Job,
    record: RolloutRecord,
    standings: Sequence[Standing],
    now: Instant,
    *,
    bindings: Mapping[str, str] = NO_BINDINGS,
) -> Progress:
    """Return how far the rollout of a job's present generation has come.

    Args:
        job: As desired now.
        record: Of that rollout.
        standings: All its placements.
        now: Only its ``wall`` matters.
        bindings: As for `core.rollout.rollout`.
    """
    scale, update = job.spec.scale, job.spec.update
    looked = [look(job, one, bindings, now, is_evictable=True) for one in standings]
    proven = {one.placement.slot: one for one in looked if one.is_present and one.is_healthy}
    healthy = sum(slot < scale for slot in proven)
    is_clean = record.is_promoted and len(standings) == len(proven) == healthy == scale
    wanted = scale if record.is_promoted else min(update.canary, scale)
    spans = [one.unproven_for for one in looked if one.is_present and not one.is_healthy]
    proven_in = min((span for span in spans if span is not None), default=None)
    told = Progress(phase=RolloutPhase.COMPLETE, healthy=healthy, wanted=wanted, proven_in=proven_in)
    if record.is_complete or is_clean:
        return replace(told, healthy=min(healthy, scale))
    if record.paused_by is not None:
        return replace(told, phase=RolloutPhase.PAUSED)
    if healthy >= wanted and not record.is_promoted:
        return replace(told, phase=RolloutPhase.AWAITING_PROMOTION)
    if has_failed(record):
        return replace(told, phase=RolloutPhase.FAILED)
    latest = max((_proven_ms(one, update.healthy_for) for one in proven.values()), default=0)
    return replace(told, phase=RolloutPhase.PROGRESSING, since_ms=max(record.since_ms, latest))


def _proven_ms(record: Record, healthy_for: timedelta) -> int:
    """Return when a task came to count as healthy."""
    if record.task is None or record.health is not Health.READY:
        return 0
    return record.task.ready_since_ms + healthy_for // _MILLISECOND


def is_open(job: Job, record: RolloutRecord | None) -> bool:
    """Return whether a rollout of the job has begun, or is about to, that is not complete."""
    return record is not None and (record.generation != job.generation or not record.is_complete)


def is_held_up(job: Job, record: RolloutRecord) -> bool:
    """Return whether the rollout of the job's present generation waits for people, and what served before stays."""
    is_this = record.generation == job.generation and not record.is_complete
    is_on_trial = not record.is_promoted and job.spec.update.canary > 0
    return is_this and (record.paused_by is not None or is_on_trial)


def has_failed(record: RolloutRecord) -> bool:
    """Return whether this very rollout has failed."""
    return record.failure is not None and record.failure.version >= record.version


def witness_of(job: Job, standings: Iterable[Standing], now: Instant) -> Witness | None:
    """Return the task that tells most of why a rollout does not go on; None: there is none that is not healthy."""
    looked = [look(job, one, NO_BINDINGS, now, is_evictable=True) for one in standings]
    guilty = [
        (_GUILT.get(one.health, len(_GUILT)), one.placement.slot, one.task)
        for one in looked
        if one.is_present and one.task is not None and not one.is_healthy
    ]
    if not guilty:
        return None
    task = min(guilty, key=lambda one: one[:2])[2]
    return Witness.of(task)


#: What tells most comes first.
_GUILT = {Health.FAILED: 0, Health.WAITING: 1, Health.READY: 2}


def fails(job: Job, record: RolloutRecord, failure: Failure, now: Instant) -> RolloutRecord:
    """Return the record after a failure that is not taken back: the rollout is paused, or goes on."""
    may_pause = job.spec.update.on_failure is OnFailure.PAUSE
    paused_by = PausedBy.DEADLINE if may_pause else record.paused_by
    return replace(record, failure=failure, paused_by=paused_by, since_ms=now.wall)


def can_revert(job: Job, record: RolloutRecord, stable: Version | None) -> bool:
    """Return whether a failed rollout is to be taken back, and can be."""
    return stable is not None and not record.is_revert and job.spec.update.on_failure is OnFailure.REVERT


def rollout_waits(job: Job, record: RolloutRecord | None) -> tuple[str, ...]:
    """Say what a rollout waits for that only people can do, and how the last one failed, while that matters."""
    if record is None:
        return ()
    said = []
    if record.paused_by is not None:
        by = "an operator" if record.paused_by is PausedBy.OPERATOR else "update.on_failure"
        said.append(f"its rollouts are paused by {by}; to go on: harpoon rollout resume {job.name}")
    if record.generation != job.generation or record.is_complete:
        return tuple(said)
    if not record.is_promoted:
        canaries = min(job.spec.update.canary, job.spec.scale)
        said.append(
            f"version {job.version} is on trial in {canaries} of {job.spec.scale} slots; "
            f"to go on: harpoon rollout promote {job.name}; to go back: harpoon rollout undo {job.name}"
        )
    failure = record.failure
    if failure is not None and failure.version >= record.version:
        said.append(f"the rollout of version {failure.version} failed: {failure.reason}")
    elif failure is not None and failure.reverted_by == record.version:
        said.append(f"version {failure.version} failed and is being taken back: {failure.reason}")
    return tuple(said)


def pause(job: Job, known: RolloutRecord | None, now: Instant) -> RolloutRecord:
    """Return the record of a job whose rollouts are paused by an operator."""
    return replace(known or _unmoved(job, now), paused_by=PausedBy.OPERATOR)


def resume(_job: Job, known: RolloutRecord | None, now: Instant) -> RolloutRecord | None:
    """Return the record of a rollout that goes on; None: there is none, and nothing is paused."""
    if known is None or known.paused_by is None:
        return known
    failure = None if has_failed(known) else known.failure
    return replace(known, paused_by=None, since_ms=now.wall, failure=failure)


def promote(job: Job, known: RolloutRecord | None, now: Instant) -> RolloutRecord:
    """Return the record of a rollout that goes on beyond its canaries.

    Raises:
        ValueError: It does not wait for that.
    """
    if known is None or known.generation != job.generation or known.is_complete:
        raise ValueError(f"job {job.name} has no rollout under way that could be promoted")
    if job.spec.update.canary == 0:
        raise ValueError(f"the rollout of job {job.name} has no canaries (update.canary is 0): it goes on by itself")
    return known if known.is_promoted else replace(known, is_promoted=True, since_ms=now.wall)


def _unmoved(job: Job, now: Instant) -> RolloutRecord:
    """Return the record of a job that has not been rolled out since it was scheduled."""
    return RolloutRecord(
        namespace=job.namespace,
        job=job.name,
        version=job.version,
        generation=job.generation,
        since_ms=now.wall,
        is_promoted=True,
    )
