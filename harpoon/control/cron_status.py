"""How a cron job stands: derived of its record and its children, so that it is the same whenever it is asked for."""

from collections.abc import Iterator

from harpoon.control.crontab import running_children
from harpoon.control.view import View, job_key
from harpoon.core.cron import local_of, next_due
from harpoon.core.cron_due import begin
from harpoon.model.cron import Cron, CronRecord, CronStatus
from harpoon.model.job import Job
from harpoon.model.story import Happening
from harpoon.model.why import Reason, ReasonCode


def cron_status(view: View, job: Job) -> CronStatus | None:
    """Return how a cron job stands; None: it is none."""
    cron = job.spec.cron
    if cron is None:
        return None
    key = job_key(job.namespace, job.name)
    kept = view.cron.rows.get(key)
    record = begin(job, cron, None if kept is None else kept.value)
    is_due = record.paused_ms is None and not job.is_terminating
    return CronStatus(
        next_ms=next_due(cron.at, cron.timezone, record.seen_ms) if is_due else None,
        paused_ms=record.paused_ms,
        running=tuple(sorted(_names_of(view, key)) if job.is_terminating else running_children(view, key)),
        fired=record.fired,
        triggered=record.triggered,
        skipped=record.skipped,
        missed=record.missed,
    )


def _names_of(view: View, key: str) -> Iterator[str]:
    return (row.value.name for row in view.children_of(key).values())


def cron_summary(cron: Cron, status: CronStatus) -> str:
    """Say in a few words when a cron job is due, and what runs of it."""
    if status.paused_ms is not None:
        due = f"paused since {written(cron, status.paused_ms)}"
    elif status.next_ms is None:
        due = "never due again"
    else:
        due = f"next {written(cron, status.next_ms)}"
    return f"{due}, {len(status.running)} running" if status.running else due


def written(cron: Cron, at_ms: int) -> str:
    """Write a moment as clocks of a cron job's zone show it."""
    return f"{local_of(cron.timezone, at_ms):%Y-%m-%d %H:%M %Z}"


def cron_causes(cron: Cron, status: CronStatus) -> list[Reason]:
    """Return when a cron job is due, what runs of it, and why its latest due was not fired."""
    causes = []
    if status.paused_ms is not None:
        said = f"it is paused since {written(cron, status.paused_ms)}, and no due is fired until it is resumed"
        causes.append(Reason(code=ReasonCode.CRON_PAUSED, sentence=said, evidence={"since_ms": status.paused_ms}))
    elif status.next_ms is not None:
        said = f"it runs nothing itself: a child is made of it when it is due, next at {written(cron, status.next_ms)}"
        causes.append(Reason(code=ReasonCode.CRON_DUE, sentence=said, evidence={"due_ms": status.next_ms}))
    causes += [
        Reason(code=ReasonCode.CRON_RUNS, sentence=f"its child {child} is not over", evidence={"job": child})
        for child in status.running
    ]
    skip = status.skipped
    if skip is not None:
        said = f"it was not fired at {written(cron, skip.due_ms)}: {skip.reason}"
        evidence = {"due_ms": skip.due_ms, "at_ms": skip.at_ms, "missed": status.missed}
        causes.append(Reason(code=ReasonCode.CRON_SKIPPED, sentence=said, evidence=evidence))
    return causes


def cron_event(old: CronRecord | None, new: CronRecord | None) -> tuple[Happening, int, str] | None:
    """Return what a change of a cron job's record means, if anything happened."""
    if new is None:
        return None
    before = old or CronRecord(namespace=new.namespace, job=new.job, at="", timezone="", seen_ms=0)
    cron = Cron(at=new.at, timezone=new.timezone)
    if new.fired is not None and new.fired != before.fired:
        return Happening.FIRED, new.fired.at_ms, f"{new.fired.job} for {written(cron, new.fired.due_ms)}"
    if new.triggered is not None and new.triggered != before.triggered:
        return Happening.TRIGGERED, new.triggered.at_ms, new.triggered.job
    if new.skipped is not None and new.skipped != before.skipped:
        return Happening.SKIPPED, new.skipped.at_ms, f"{written(cron, new.skipped.due_ms)}: {new.skipped.reason}"
    if new.paused_ms is not None and before.paused_ms is None:
        return Happening.PAUSED, new.paused_ms, "no due is fired until it is resumed"
    if new.paused_ms is None and before.paused_ms is not None:
        return Happening.RESUMED, new.seen_ms, "dues are fired again; those that passed are not made up for"
    return None
