"""How a job's rollout stands, as it is shown: its record, and what its placements and tasks make of it."""

from datetime import timedelta

from harpoon.control.members import whole
from harpoon.control.references import bindings, replacing
from harpoon.control.standings import standings_of
from harpoon.control.status import job_status
from harpoon.control.view import View, job_key
from harpoon.core.progress import Progress, progress
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.rollout import RolloutPhase, RolloutRecord, RolloutStatus
from harpoon.model.status import JobStatus
from harpoon.store.table import Row

_MILLISECOND = timedelta(milliseconds=1)
_TOLD = {
    RolloutPhase.PROGRESSING: "is under way",
    RolloutPhase.AWAITING_PROMOTION: "waits to be promoted",
    RolloutPhase.PAUSED: "is paused",
    RolloutPhase.FAILED: "has missed its deadline, and goes on",
    RolloutPhase.COMPLETE: "is complete",
}


def rollout_status(view: View, row: Row[Job], now: Instant) -> RolloutStatus:
    """Return how the rollout of a job's present version stands; one that was only ever scheduled counts as one, too."""
    status, told = job_status(view, row), rollout_progress(view, row, now)
    job = whole(view, row.value, now)
    kept = view.rollouts.rows.get(job_key(job.namespace, job.name))
    last = None if kept is None else kept.value
    record = None if last is None or last.generation != job.generation else last
    healthy = f"{told.healthy} of {told.wanted} {'canaries' if _is_on_trial(record) else 'slots'} healthy"
    return RolloutStatus(
        revision=view.external(view.revision),
        namespace=job.namespace,
        job=job.name,
        phase=told.phase,
        summary=f"version {job.version} {_TOLD[told.phase]}: {healthy}",
        version=job.version,
        generation=job.generation,
        stable=None if record is None else record.stable,
        healthy=told.healthy,
        wanted=told.wanted,
        canary=job.spec.update.canary,
        is_promoted=not _is_on_trial(record),
        paused_by=None if last is None else last.paused_by,
        deadline_ms=None if told.since_ms is None else told.since_ms + job.spec.update.deadline // _MILLISECOND,
        waiting=status.waiting,
        failure=None if last is None else last.failure,
    )


def rollout_progress(view: View, row: Row[Job], now: Instant) -> Progress:
    """Return how far the rollout of a job's present version has come."""
    job, status = whole(view, row.value, now), job_status(view, row)
    kept = view.rollouts.rows.get(job_key(job.namespace, job.name))
    record = None if kept is None or kept.value.generation != job.generation else kept.value
    return _progress(view, job, record, status, now)


def _is_on_trial(record: RolloutRecord | None) -> bool:
    return record is not None and not record.is_promoted


def _progress(view: View, job: Job, record: RolloutRecord | None, status: JobStatus, now: Instant) -> Progress:
    if record is None:
        phase = RolloutPhase.COMPLETE if status.is_done else RolloutPhase.PROGRESSING
        return Progress(phase=phase, healthy=min(status.current, job.spec.scale), wanted=job.spec.scale)
    return progress(job, record, standings_of(view, job), now, bindings=replacing(job, bindings(view, job)))
