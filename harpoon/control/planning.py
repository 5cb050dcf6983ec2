"""Plans: what would come of declaring jobs, found out on copies of what there is. Nothing is written."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from harpoon.control.batches import noted
from harpoon.control.bookings import Bookings
from harpoon.control.members import whole
from harpoon.control.records import check_documents, check_size, job_record
from harpoon.control.references import bindings, replacing, unmet
from harpoon.control.registry import Registry
from harpoon.control.rollouts import brake_after
from harpoon.control.standings import standings_of
from harpoon.control.versions import form_diff, form_of
from harpoon.control.view import JOBS, View, job_key
from harpoon.core.fleet import Fleet
from harpoon.core.foretold import Outset
from harpoon.core.held import NoSecret
from harpoon.core.plan import foretell
from harpoon.core.rebalance import heeded
from harpoon.kit import codec
from harpoon.kit.errors import Unavailable
from harpoon.model.awaited import AwaitedRun
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.manifest import Manifest
from harpoon.model.plan import Course, JobPlan, Plan, PlanAction
from harpoon.model.task import TaskState
from harpoon.store.port import Put
from harpoon.store.table import Row

#: Tries to make an index while the view stands still.
_TRIES: Final = 5


async def bookings_of(view: View, known: Bookings | None) -> Bookings:
    """Return the index of what the view has, to be read before the next await: that which is kept, or a new one.

    Raises:
        Unavailable: The view changes too fast to make one.
    """
    if known is not None:
        return known
    for _ in range(_TRIES):
        bookings, revision = Bookings(view), view.revision
        await bookings.load()
        if view.revision == revision:
            return bookings
    raise Unavailable("this instance is still reading what there is; try again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """A plan, and what it was told from."""

    plan: Plan
    #: The jobs as they would be, with how they stand: the same where nothing would change.
    drafts: Sequence[tuple[Job, Row[Job] | None]]
    outsets: Sequence[Outset]
    #: A copy of what there was.
    fleet: Fleet
    is_halted: bool


async def plan_documents(
    view: View, registry: Registry, manifests: Sequence[Manifest], known: Bookings | None, now: Instant
) -> Plan:
    """Return what would come of declaring jobs together; see `foretell_documents`."""
    return (await foretell_documents(view, registry, manifests, known, now)).plan


async def foretell_documents(
    view: View, registry: Registry, manifests: Sequence[Manifest], known: Bookings | None, now: Instant
) -> Foretold:
    """Return what would come of declaring jobs together, with what that is told from.

    The work is done beside the event loop.

    Args:
        view: What there is.
        registry: Says what the documents come to.
        manifests: In their order they compete for room.
        known: The index that slots are placed by; None: it is made of the view.
        now: When they would be declared.

    Raises:
        Invalid: They would be refused.
    """
    check_documents(manifests)
    runs = await registry.look_up_runs(manifests)
    index = await bookings_of(view, known)
    drafts = registry.drafts(manifests)
    # Each is stored twice: as it is, and among its versions.
    check_size([Put(JOBS + job.name, job_record(job, codec.dump(job.spec))) for job, _ in drafts] * 2)
    refusal = registry.quotas.refusal(drafts) or None
    outsets = _outsets(view, [job for job, _ in drafts], runs, now)
    fleet, revision, is_halted = index.fleet.fork(), view.revision, view.halted is not None

    for job, _ in drafts:
        fleet.release(job)

    def run() -> tuple[Course, ...]:
        return foretell(outsets, fleet, now, incarnation=view.incarnation, revision=revision, is_halted=is_halted)

    courses = await asyncio.to_thread(run)
    plans = tuple(
        _job_plan(job, None if row is None else row.value, course)
        for (job, row), course in zip(drafts, courses, strict=True)
    )
    plan = Plan(
        revision=view.external(revision),
        has_changes=any(plan.action is not PlanAction.UNCHANGED for plan in plans),
        refusal=refusal,
        plans=plans,
    )
    return Foretold(plan=plan, drafts=drafts, outsets=outsets, fleet=fleet, is_halted=is_halted)


#: Of tasks without a placement that nobody waits for to go: it may be gone already, or it stays as it is.
_STAYING: Final = (TaskState.LOST, TaskState.UNCLAIMED)


def _outsets(view: View, jobs: Sequence[Job], runs: Mapping[str, AwaitedRun], now: Instant) -> tuple[Outset, ...]:
    planned = {(job.namespace, job.name) for job in jobs}
    outsets = []
    for job in jobs:
        job = whole(view, job, now)  # noqa: PLW2901 it is the same job
        key = job_key(job.namespace, job.name)
        placed, bound = view.placements_of(key), bindings(view, job)
        standings = standings_of(view, job)
        brake = None if job.run is not None else brake_after(view, job, standings, now)
        outset = Outset(
            job=job,
            standings=heeded(standings, brake),
            leaving=tuple(
                task
                for task, row in view.tasks_of(key).items()
                if task not in placed and not row.value.is_over and row.value.state not in _STAYING
            ),
            unmet=tuple(
                one
                for one in unmet(view, job, runs)
                if isinstance(one, NoSecret) or (job.namespace, one.dependency.job) not in planned
            ),
            bindings=bound,
            replacing=replacing(job, bound),
            brake=brake,
            braked_bindings={} if brake is None else bindings(view, brake.form),
            batch=None if job.run is None else noted(view, job, standings, now),
        )
        outsets.append(outset)
    return tuple(outsets)


def _job_plan(job: Job, old: Job | None, course: Course) -> JobPlan:
    stands = None if old is None or old.is_terminating else old
    before = {"metadata": {"tags": {}}, "spec": {}} if stands is None else form_of(stands.tags, stands.spec)
    return JobPlan(
        namespace=job.namespace,
        job=job.name,
        action=PlanAction.CREATE if stands is None else PlanAction.UNCHANGED if job is stands else PlanAction.CHANGE,
        is_new_generation=stands is None or stands.generation != job.generation,
        changes=form_diff(before, form_of(job.tags, job.spec)),
        placements=course.placements,
        drops=course.drops,
        pending=course.pending,
        waves=course.waves,
        is_whole=course.is_whole,
    )
