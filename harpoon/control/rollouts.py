"""The records of rollouts: begun, completed and failed by whoever schedules, as `core.progress` says.

A failure is written with its evidence (`control.evidence`); while that is asked for, the rollout goes on as before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import structlog

from harpoon.control.evidence import Evidence
from harpoon.control.metrics import Metrics
from harpoon.control.quotas import Claim, claim_of
from harpoon.control.records import job_record, version_of
from harpoon.control.references import bindings, replacing
from harpoon.control.view import JOBS, ROLLOUTS, VERSIONS, View, job_key
from harpoon.core.progress import Progress, begin, brake_of, can_revert, fails, formerly, progress, witness_of
from harpoon.core.standing import Brake, Standing
from harpoon.kit import codec
from harpoon.model.batch import BatchRecord
from harpoon.model.instant import Instant
from harpoon.model.job import Job, JobType, Version
from harpoon.model.rollout import Failure, PausedBy, RolloutPhase, RolloutRecord, Witness
from harpoon.model.units import format_duration
from harpoon.store.port import Compare, Put, Write
from harpoon.store.table import Row

#: As much of what a task and its check say as the reason repeats.
_QUOTE_MAX: Final = 200

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What the record that a job has beside it, of its rollout or of its run, means for one pass."""

    brake: Brake | None = None
    #: What is to be written of it, together; with ``is_turned``, all there is to write.
    writes: tuple[Write, ...] = ()
    #: Key of a write → what it compares.
    guards: Mapping[str, tuple[Compare, ...]] = field(default_factory=dict)
    #: It failed, and the job or its brake is another from now on: nothing else is decided on what was.
    is_turned: bool = False
    #: Span until something of it changes by time alone.
    due: timedelta | None = None
    #: It is not complete: what its tasks do matters.
    is_open: bool = False
    #: What every commit of this pass compares.
    compares: tuple[Compare, ...] = ()
    #: Of a batch job: what came of its tasks.
    record: BatchRecord | None = None


class Rollouts:
    """What a scheduler knows of rollouts, beside their records."""

    def __init__(self, metrics: Metrics, view: View, evidence: Evidence) -> None:
        self._metrics = metrics
        self._view = view
        self._evidence = evidence
        #: Key of a job → how far its rollout is, and since when (elapsed) as far as is known here.
        self._marks: dict[str, tuple[tuple[int, int], timedelta]] = {}

    def course(self, row: Row[Job], standings: Sequence[Standing], replaced: Mapping[str, str], now: Instant) -> Course:
        """Return what the rollout of a job means for this pass.

        Args:
            row: The job.
            standings: All its placements.
            replaced: As `control.references.replacing` says of it.
            now: When this is decided.
        """
        view, job = self._view, row.value
        key = job_key(job.namespace, job.name)
        kept = view.rollouts.rows.get(key)
        known = None if kept is None else kept.value
        begun = begin(job, known, standings, now, is_revert=self._is_revert(key, job))
        record = begun or known
        if record is None or job.is_terminating or record.generation != job.generation:
            self._forget(key)
            return Course()
        guards: dict[str, tuple[Compare, ...]] = {
            ROLLOUTS + key: (Compare(ROLLOUTS + key, mod=0 if kept is None else kept.mod_revision),)
        }
        brake = brake_in(view, job, record)
        if record.is_complete:
            return Course(brake=brake)
        told = progress(job, record, standings, now, bindings=replaced)
        if told.phase is RolloutPhase.COMPLETE:
            self._forget(key)
            self._end("complete", key, record, "every slot is healthy, and nothing older is left")
            return Course(brake=None, writes=(self._put(key, replace(record, is_complete=True)),), guards=guards)
        left = self._left(key, job, record, told, now, is_awaited=_awaits_lost(self._view, job, standings))
        if left is not None and left <= timedelta(0):
            failed = self._fail(row, record, told, standings, now)
            if failed is not None:
                self._forget(key)
                guards[ROLLOUTS + key] += failed.compares
                return Course(brake=brake, writes=failed.writes, guards=guards, is_turned=True)
        return Course(
            brake=brake,
            writes=() if begun is None else (self._put(key, begun),),
            guards=guards,
            due=min((span for span in (left, told.proven_in) if span and span > timedelta(0)), default=None),
            is_open=True,
        )

    def _left(
        self, key: str, job: Job, record: RolloutRecord, told: Progress, now: Instant, *, is_awaited: bool
    ) -> timedelta | None:
        """Return how long a rollout has until it fails; None: it cannot fail now."""
        if told.since_ms is None or self._view.halted is not None or is_awaited:
            self._marks.pop(key, None)
            return None if told.since_ms is None else job.spec.update.deadline
        mark = (record.version, told.since_ms)
        known, since = self._marks.get(key, (None, now.elapsed))
        if known != mark:
            since = now.elapsed
            self._marks[key] = (mark, since)
        return job.spec.update.deadline - (now.elapsed - since)

    def _forget(self, key: str) -> None:
        self._marks.pop(key, None)
        self._evidence.forget(key)

    def _is_revert(self, key: str, job: Job) -> bool:
        version = self._view.versions.rows.get(f"{key}/{job.version}")
        return version is not None and version.value.reverted_from is not None

    def _fail(
        self, row: Row[Job], record: RolloutRecord, told: Progress, standings: Sequence[Standing], now: Instant
    ) -> Claim | None:
        """Return what is written of a failure, which no quota refuses; None: evidence is still being gathered."""
        job = row.value
        key, stable = job_key(job.namespace, job.name), stable_of(self._view, job, record)
        inquiry = self._evidence.known(key, job.version)
        if inquiry is None:
            inquiry = self._evidence.inquire(key, job.version, witness_of(job, standings, now))
        if not inquiry.is_closed:
            return None
        witness = inquiry.witness
        reason = _reason(job, told, witness)
        failure = Failure(
            version=job.version, revision=row.mod_revision, at_ms=now.wall, reason=reason, witness=witness
        )
        if stable is None or not can_revert(job, record, stable):
            after = fails(job, record, failure, now)
            self._end("paused" if after.paused_by is PausedBy.DEADLINE else "failed", key, record, reason)
            return Claim(writes=(self._put(key, after),))
        is_system = stable.spec.type is JobType.SYSTEM
        back = replace(
            formerly(job, stable),
            spec=stable.spec if is_system else replace(stable.spec, scale=job.spec.scale),
            members=(),
            tags=stable.tags,
            version=job.version + 1,
            updated_ms=now.wall,
        )
        after = RolloutRecord(
            namespace=job.namespace,
            job=job.name,
            version=back.version,
            generation=back.generation,
            since_ms=now.wall,
            is_promoted=True,
            is_revert=True,
            failure=replace(failure, reverted_by=back.version),
        )
        self._end("reverted", key, record, reason)
        spec, kept = codec.dump(back.spec), version_of(back, stable.version)
        writes = (
            Put(JOBS + key, job_record(back, spec)),
            Put(f"{VERSIONS}{key}/{back.version}", codec.dump_around(kept, kept.spec, spec)),
            self._put(key, after),
        )
        claim = claim_of(self._view, [(back, row)], writes)
        return replace(claim, writes=(*writes, *claim.writes))

    def _end(self, outcome: str, key: str, record: RolloutRecord, reason: str) -> None:
        self._metrics.rollouts_ended.labels(outcome).inc()
        tell = _log.info if outcome == "complete" else _log.warning
        tell("rollout_ended", job=key, version=record.version, outcome=outcome, reason=reason)

    def _put(self, key: str, record: RolloutRecord) -> Put:
        raw = codec.dump(record)
        self._view.rollouts.expect(key, record, raw)
        return Put(ROLLOUTS + key, raw)


def _awaits_lost(view: View, job: Job, standings: Sequence[Standing]) -> bool:
    """Whether a rollout of a system job has come as far as it can until lost agents are back: that is no failure."""
    done = {
        one.placement.agent
        for one in standings
        if one.placement.generation == job.generation and one.task is not None and one.task.ready
    }
    missing = set(job.members) - done
    return bool(missing) and missing <= view.lost


def stable_of(view: View, job: Job, record: RolloutRecord) -> Version | None:
    """Return the version that serves until a rollout is complete, if one does and is kept."""
    row = view.versions.rows.get(f"{job.namespace}/{job.name}/{record.stable}")
    return None if row is None else row.value


def brake_in(view: View, job: Job, record: RolloutRecord) -> Brake | None:
    """Return what keeps a job's rollout from going on now, with the bindings that are wanted now."""
    stable = stable_of(view, job, record)
    if stable is None:
        return None
    form = formerly(job, stable)
    return brake_of(job, record, stable, replacing(form, bindings(view, form)))


def brake_after(view: View, job: Job, standings: Sequence[Standing], now: Instant) -> Brake | None:
    """Return what will keep a job's rollout from going on, if the job is declared to be like that now."""
    row = view.rollouts.rows.get(job_key(job.namespace, job.name))
    known = None if row is None else row.value
    record = begin(job, known, standings, now, is_revert=False) or known
    return None if record is None else brake_in(view, job, record)


def _reason(job: Job, told: Progress, witness: Witness | None) -> str:
    """Say what did not come about, and what stood against it."""
    deadline = format_duration(job.spec.update.deadline)
    missed = f"no further slot became healthy for {deadline}: {told.healthy} of {told.wanted} are"
    if witness is None:
        return missed
    said = f": {witness.reason[:_QUOTE_MAX]}" if witness.reason else ""
    failing = next((one for one in witness.checks if not one.is_passing), None)
    check = "" if failing is None else f"; check {failing.name} fails: {failing.detail[:_QUOTE_MAX]}"
    return f"{missed}; {witness.task} on {witness.agent} is {witness.state}{said}{check}"
