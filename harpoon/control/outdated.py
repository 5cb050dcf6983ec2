"""In which way what would happen now is not what a plan promised, item by item."""

from collections.abc import Iterator, Mapping, Sequence

from harpoon.control.view import View
from harpoon.kit.errors import Problem
from harpoon.model.agent import LinkState
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.plan import JobPlan, PlannedDrop, PlannedPlacement
from harpoon.model.promise import PlanDocument
from harpoon.store.table import Row

#: Items told; the rest is counted.
ITEMS_MAX = 100


def outdated(
    view: View, document: PlanDocument, rows: Sequence[Row[Job] | None], now: Sequence[JobPlan]
) -> list[Problem]:
    """Return what is not as promised: jobs first, then agents, then what would be done otherwise; nothing if all is.

    Compared are how each job stands, how it would be changed, each placement (slot, agent, wave, what it replaces),
    each drop, and which slots would stay without a place. What is told for people, such as reasons, is not.
    """
    found = [*_moved(view, document, rows), *_closed(view, document)]
    for index, (promised, plan) in enumerate(zip(document.jobs, now, strict=True)):
        found += _otherwise(f"/jobs/{index}/plan", promised.plan, plan)
    if len(found) > ITEMS_MAX:
        rest = len(found) - ITEMS_MAX + 1
        found[ITEMS_MAX - 1 :] = [Problem(pointer="", detail=f"and {rest} more")]
    return found


def _moved(view: View, document: PlanDocument, rows: Sequence[Row[Job] | None]) -> Iterator[Problem]:
    """Yield the jobs that do not stand as they did."""
    for index, (promised, row) in enumerate(zip(document.jobs, rows, strict=True)):
        now = None if row is None else view.external(row.mod_revision)
        base = promised.base
        if now == (None if base is None else base.revision):
            continue
        name = f"job {promised.plan.namespace}/{promised.plan.job}"
        if base is None or row is None:
            detail = f"{name} is there now" if base is None else f"{name} is gone"
        else:
            detail = f"{name} has changed: version {base.version} -> {row.value.version}"
        yield Problem(pointer=f"/jobs/{index}/base", detail=detail)


def _closed(view: View, document: PlanDocument) -> Iterator[Problem]:
    """Yield the promised agents that take nothing now."""
    for name in sorted({one.agent for job in document.jobs for one in job.plan.placements}):
        cordon, link = view.cordons.rows.get(name), view.links.rows.get(name)
        if name not in view.agents.rows:
            detail = "is gone"
        elif cordon is not None:
            detail = "is being drained now" if cordon.value.is_draining else "is cordoned now"
        elif link is None or link.value.state is not LinkState.CONNECTED:
            detail = f"is {LinkState.UNKNOWN if link is None else link.value.state} now"
        else:
            continue
        yield Problem(pointer="/agents", detail=f"agent {name} {detail}")


def _otherwise(at: str, promised: JobPlan, now: JobPlan) -> Iterator[Problem]:
    """Yield what would be done otherwise with one job."""
    job = f"{promised.namespace}/{promised.job}"
    if (promised.action, promised.changes) != (now.action, now.changes):
        yield Problem(pointer=f"{at}/changes", detail=f"job {job} would be changed otherwise than the plan shows")
    yield from _placed_otherwise(f"{at}/placements", job, promised, now)
    yield from _dropped_otherwise(f"{at}/drops", _drops(promised), _drops(now))
    before, after = (() if one.pending is None else one.pending.slots for one in (promised, now))
    if before != after:
        told = (
            f"slots {list(after)} of {job} would be without a place"
            if after
            else f"every slot of {job} would be placed"
        )
        why = "" if now.pending is None else f": {now.pending.reason}"
        yield Problem(pointer=f"{at}/pending", detail=told + why)
    if promised.is_whole != now.is_whole:
        yield Problem(pointer=f"{at}/is_whole", detail=f"what is foretold of {job} would end elsewhere")


def _placed_otherwise(at: str, job: str, promised: JobPlan, now: JobPlan) -> Iterator[Problem]:
    then = {one.slot: one for one in now.placements}
    for place, one in enumerate(promised.placements):
        other = then.pop(one.slot, None)
        if other is None:
            yield Problem(pointer=f"{at}/{place}", detail=f"slot {one.slot} of {job} would not be placed")
        elif told := _differing(one, other):
            yield Problem(pointer=f"{at}/{place}", detail=f"slot {one.slot} of {job} would {told}")
    for slot, other in then.items():
        yield Problem(pointer=at, detail=f"slot {slot} of {job} would be placed, too, on {other.agent}")


def _differing(one: PlannedPlacement, other: PlannedPlacement) -> str:
    if one.agent != other.agent:
        return f"go to {other.agent} instead of {one.agent}: {other.reason}"
    if one.wave != other.wave:
        return f"be placed in wave {other.wave} instead of {one.wave}"
    if one.replaces != other.replaces:
        return f"replace {_named(other.replaces)} instead of {_named(one.replaces)}"
    return ""


def _named(tasks: Sequence[TaskId]) -> str:
    return " and ".join(tasks) or "nothing"


def _drops(plan: JobPlan) -> Mapping[TaskId, PlannedDrop]:
    return {drop.task: drop for drop in plan.drops}


def _dropped_otherwise(
    at: str, promised: Mapping[TaskId, PlannedDrop], now: Mapping[TaskId, PlannedDrop]
) -> Iterator[Problem]:
    for task in dict.fromkeys((*promised, *now)):
        one, other = promised.get(task), now.get(task)
        if one is None or other is None:
            told = "would be stopped, too" if one is None else "would not be stopped"
        elif one.wave != other.wave:
            told = f"would be stopped in wave {other.wave} instead of {one.wave}"
        else:
            continue
        yield Problem(pointer=at, detail=f"{task} {told}")
