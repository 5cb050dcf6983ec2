"""What an operation waits for that has a task run, or a job changed: as the job says of itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from harpoon.control.attempt_jobs import job_name
from harpoon.control.status import job_status
from harpoon.control.view import View, job_key
from harpoon.core.run import Run
from harpoon.core.visit import Attempt
from harpoon.model.operation import Operation
from harpoon.model.owner import RunOwner
from harpoon.model.why import Reason, ReasonCode

#: Things that a job waits for that are repeated; `harpoon why job/NAME` tells all.
_WAITING_MAX: Final = 3


def with_job(view: View, run: Run, cause: Reason) -> Reason:
    """Return a cause of a run's, told by the job that it is about, if it is an attempt with one."""
    attempt = run.open.get((str(cause.evidence.get("op")), _number(cause.evidence.get("visit"))))
    if cause.code is not ReasonCode.CLAIMED or attempt is None:
        return cause
    operation = run.graph.nodes[attempt.ref.op].spec
    name = _job_of(run, attempt, operation)
    row = None if name is None else view.jobs.rows.get(job_key(run.namespace, name))
    if name is None or row is None:
        return cause
    status = job_status(view, row)
    what = "its task, " if operation.task is not None else ""
    said = "; ".join((status.summary, *status.waiting[:_WAITING_MAX]))
    evidence = {**cause.evidence, "job": name, "found": status.state.value}
    sentence = f"{attempt.ref.op} (visit {attempt.ref.visit}) waits for {what}job {name}: {said}"
    return replace(cause, code=ReasonCode.JOB, sentence=sentence, evidence=evidence)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _job_of(run: Run, attempt: Attempt, operation: Operation) -> str | None:
    """Return the name of the job that an attempt waits for; None: it is of another kind."""
    ref = attempt.ref
    if operation.task is not None:
        return job_name(RunOwner(run=run.id, op=ref.op, visit=ref.visit, attempt=ref.attempt))
    if operation.job is None or not isinstance(attempt.input, Mapping):
        return None
    name = attempt.input.get(operation.job.verb)
    return name if isinstance(name, str) else None
