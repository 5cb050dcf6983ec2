"""Changes: accepted mutations that can be waited for. They have no record: how far one has come is derived."""

from dataclasses import replace

from harpoon.control.status import WAITING_MAX, change_id, job_status
from harpoon.control.view import View, job_key
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.job import Job
from harpoon.model.status import ChangeState, ChangeStatus, JobState


def change_status(view: View, change: str) -> ChangeStatus:
    """Return how far a change has come.

    Raises:
        Invalid: ``change`` is not the id of one.
        NotFound: It was never made, as far as this store knows.
    """
    namespace, name, revision = _parse(view, change)
    told = ChangeStatus(
        id=change, namespace=namespace, job=name, state=ChangeState.DONE, is_done=True, summary=f"job {name} is gone"
    )
    key = job_key(namespace, name)
    row = view.jobs.rows.get(key)
    if row is None:
        return told
    rollout = view.rollouts.rows.get(key)
    failure = None if rollout is None else rollout.value.failure
    has_failed = failure is not None and failure.revision == revision
    if row.mod_revision < revision:
        raise NotFound(f"there is no change {change}")
    if row.mod_revision > revision:
        latest = change_id(view, namespace, name, row.mod_revision)
        if failure is not None and has_failed:
            summary = f"it failed, and was taken back by {latest}: {failure.reason}"
            return replace(told, state=ChangeState.FAILED, is_done=False, summary=summary)
        return replace(told, state=ChangeState.SUPERSEDED, is_done=False, summary=f"superseded by {latest}")
    status = job_status(view, row)
    has_failed = has_failed or status.state is JobState.FAILED
    state = ChangeState.DONE if status.is_done else ChangeState.FAILED if has_failed else ChangeState.PROGRESSING
    return replace(
        told,
        state=state,
        is_done=status.is_done,
        summary=status.summary if status.batch is None or not status.batch.reason else status.batch.reason,
        waiting=status.waiting,
        unkept=_unkept(view, row.value),
    )


def _unkept(view: View, job: Job) -> tuple[str, ...]:
    """Return what a plan promised of the present version of a job, and is not so."""
    if job.promise is None:
        return ()
    placed = (row.value for row in view.placements_of(job_key(job.namespace, job.name)).values())
    broken = sorted((one for one in placed if one.promised and one.version == job.version), key=lambda one: one.slot)
    told = [
        f"slot {one.slot} is on {one.agent}, not on {one.promised} as the plan promised: {one.reason}" for one in broken
    ]
    if len(told) > WAITING_MAX:
        told[WAITING_MAX - 1 :] = [f"and {len(told) - WAITING_MAX + 1} more"]
    return tuple(told)


def change_revision(view: View, change: str) -> int | None:
    """Return the revision that made a change, which the view may not show yet; None: it is of another incarnation.

    Raises:
        Invalid: ``change`` is not the id of one.
    """
    _, _, incarnation, revision = _split(change)
    return revision if incarnation == view.incarnation else None


#: Of the parts of a number: they fit into 64 bits.
_DIGITS_MAX = 19


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def _parse(view: View, change: str) -> tuple[str, str, int]:
    namespace, name, incarnation, revision = _split(change)
    if incarnation != view.incarnation or revision > view.revision:
        raise NotFound(f"there is no change {change[:200]}")
    return namespace, name, revision


def _split(change: str) -> tuple[str, str, int, int]:
    parts = change.split(".")
    number = parts[-1].split("-")
    if len(parts) != 3 or len(number) != 2 or not all(map(_is_number, number)):
        raise Invalid(f"a change's id is <namespace>.<job>.<incarnation>-<revision>; got {change[:200]!r}")
    return parts[0], parts[1], int(number[0]), int(number[1])
