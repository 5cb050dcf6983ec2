"""The records of batch jobs: what came of their tasks, written before anything follows from it, and how they ended.

Rules.

1. What a pass finds to be noted is all that it writes: what follows is decided once the view shows the record.
2. Whatever is decided of a batch job compares its record. So a slot that the store knows to be complete is not placed,
   whatever a view lacks.
3. A job fails once the agent of the task at fault was asked for its last lines (`control.evidence`).
4. A job that has ended is unscheduled when the time for which it is kept has passed.
5. The record goes when the job is unscheduled, before its tasks do: until then they are kept for their logs.
"""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from harpoon.control.evidence import Evidence
from harpoon.control.metrics import Metrics
from harpoon.control.records import job_record
from harpoon.control.rollouts import Course
from harpoon.control.view import BATCHES, JOBS, View, job_key
from harpoon.core.batch import expires_ms, judge, note, spent_of
from harpoon.core.glance import left
from harpoon.core.standing import Standing
from harpoon.kit import codec
from harpoon.model.batch import BatchRecord, Ending
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.rollout import Witness
from harpoon.model.task import TaskState
from harpoon.store.port import Compare, Delete, Put, Write
from harpoon.store.table import Row

_log = structlog.get_logger(__name__)


class Batches:
    """What a scheduler knows of batch jobs, beside their records."""

    def __init__(self, metrics: Metrics, view: View, evidence: Evidence) -> None:
        self._metrics = metrics
        self._view = view
        self._evidence = evidence

    def course(self, row: Row[Job], standings: Sequence[Standing], now: Instant) -> Course:
        """Return what is to be written of a batch job for this pass, or what the pass rests on.

        Args:
            row: The job.
            standings: All its placements.
            now: When this is decided.
        """
        view, job = self._view, row.value
        key = job_key(job.namespace, job.name)
        kept = view.batches.rows.get(key)
        known = None if kept is None else kept.value
        same = Compare(BATCHES + key, mod=0 if kept is None else kept.mod_revision)
        if job.is_terminating:
            self._evidence.forget(key)
            if known is not None:
                return _turned(same, Delete(BATCHES + key))
            return Course(compares=(same,), record=note(job, None, (), now))
        record = self._judged(key, job, note(job, known, standings, now), standings, now)
        if record != known and (known is not None or record.results or record.outcome):
            if record.outcome is not None and (known is None or known.outcome is not record.outcome):
                self._end(key, record)
            return _turned(same, self._put(key, record))
        expires = expires_ms(job, record)
        if expires is not None and expires <= now.wall:
            _log.info("batch_removed", job=key, outcome=record.outcome)
            gone = replace(job, is_terminating=True, version=job.version + 1, updated_ms=now.wall, members=())
            return _turned(same, Put(JOBS + key, job_record(gone, codec.dump(gone.spec))))
        return Course(compares=(same,), record=record, due=None if expires is None else left(expires, now))

    def _judged(
        self, key: str, job: Job, noted: BatchRecord, standings: Sequence[Standing], now: Instant
    ) -> BatchRecord:
        """Return the record with how the job ended; that it failed, not before the evidence is there."""
        judged = judge(job, noted, now)
        if judged.outcome is not Ending.FAILED or noted.outcome is Ending.FAILED:
            return judged
        inquiry = self._evidence.known(key, noted.version)
        if inquiry is None:
            inquiry = self._evidence.inquire(key, noted.version, _witness(job, noted, standings))
        return replace(judged, witness=inquiry.witness) if inquiry.is_closed else noted

    def _end(self, key: str, record: BatchRecord) -> None:
        assert record.outcome is not None, "what is told is an end"
        self._evidence.forget(key)
        self._metrics.batches_ended.labels(record.outcome.value).inc()
        tell = _log.info if record.outcome is Ending.SUCCEEDED else _log.warning
        tell("batch_ended", job=key, version=record.version, outcome=record.outcome.value, reason=record.reason)

    def _put(self, key: str, record: BatchRecord) -> Put:
        raw = codec.dump(record)
        self._view.batches.expect(key, record, raw)
        return Put(BATCHES + key, raw)


def _turned(same: Compare, write: Write) -> Course:
    return Course(writes=(write,), compares=(same,), is_turned=True)


def _witness(job: Job, record: BatchRecord, standings: Sequence[Standing]) -> Witness | None:
    """Return the task that a job fails by: the last of the slot without attempts, else the first that still runs."""
    spent = spent_of(job, record)
    if spent is not None:
        return Witness(
            task=spent.task,
            agent=spent.agent,
            state=TaskState.FAILED,
            reason=spent.reason,
            exit_code=spent.exit_code,
        )
    known = sorted(standings, key=lambda one: (one.placement.slot, one.placement.number))
    task = next((one.task for one in known if one.task is not None and not one.task.is_over), None)
    return None if task is None else Witness.of(task)


def record_of(view: View, job: Job) -> BatchRecord:
    """Return what came of the present run of a batch job, as far as it is written down."""
    row = view.batches.rows.get(job_key(job.namespace, job.name))
    assert job.run is not None, "a batch job has a run"
    if row is None or row.value.version != job.run.version or job.is_terminating:
        return BatchRecord(namespace=job.namespace, job=job.name, version=job.run.version)
    return row.value


def noted(view: View, job: Job, standings: Sequence[Standing], now: Instant) -> BatchRecord:
    """Return what has come of the present run of a batch job, be it written down yet or not."""
    return judge(job, note(job, record_of(view, job), standings, now), now)
