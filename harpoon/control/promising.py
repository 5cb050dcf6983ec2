"""Plans as documents: made with all that they were decided on, and applied just as they are or not at all."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from harpoon.control.bookings import Bookings
from harpoon.control.outdated import outdated
from harpoon.control.planning import Foretold, foretell_documents
from harpoon.control.records import manifest_of
from harpoon.control.registry import TRIES, Accepted, Extra, Registry
from harpoon.control.view import View, job_key_of
from harpoon.core.evidence import agents_seen, brake_seen, tasks_seen
from harpoon.core.fleet import reservation
from harpoon.core.foretold import Outset
from harpoon.core.held import Missing, NoSecret
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.digest import seal
from harpoon.kit.errors import Exceeded, Invalid, Outdated, Problem, Unavailable
from harpoon.model.instant import Instant
from harpoon.model.job import Job, JobType, Promise
from harpoon.model.manifest import Manifest
from harpoon.model.plan import JobPlan
from harpoon.model.promise import SCHEMA, Base, PlanDocument, PromisedJob, UnmetSeen
from harpoon.store.table import Row

_UNSEALED: Final = ""


async def promise_documents(
    view: View, registry: Registry, manifests: Sequence[Manifest], known: Bookings | None, now: Instant
) -> tuple[str, bytes]:
    """Return a plan for declaring jobs together as a document, and the revision it was made from.

    Raises:
        Invalid: They would be refused.
        Exceeded: They would be, by a quota.
    """
    _check_types(manifests)
    foretold = await foretell_documents(view, registry, manifests, known, now)
    if foretold.plan.refusal is not None:
        raise Exceeded(foretold.plan.refusal, registry.quotas.excesses(foretold.drafts))

    preempted = [
        drop.task
        for plan in foretold.plan.plans
        for drop in plan.drops
        if job_key_of(drop.task) != f"{plan.namespace}/{plan.job}"
    ]
    if preempted:
        raise Invalid(
            f"it takes the room of tasks of other jobs ({preempted[0]} first), and what is preempted cannot be "
            "promised; apply without a plan, or leave preempt out"
        )

    def write() -> bytes:
        return seal(codec.dump_full(_document(view, foretold, now)))

    return foretold.plan.revision, await asyncio.to_thread(write)


def _check_types(manifests: Sequence[Manifest]) -> None:
    for index, manifest in enumerate(manifests):
        kind = manifest.spec.type
        if kind is not JobType.SERVICE:
            detail = f"plans that are kept and applied are of services as yet; plan a {kind} job without keeping it"
            raise Invalid(detail, [Problem(pointer=f"/documents/{index}/spec/type", detail=detail)])


async def apply_document(
    view: View,
    registry: Registry,
    document: PlanDocument,
    known: Callable[[], Bookings | None],
    clock: Clock,
    *,
    extra: Extra | None = None,
) -> tuple[Accepted, ...]:
    """Declare the jobs of a plan in one commit, if what comes of it is what the plan says.

    Where they stand as the plan would have them already, nothing is written.

    Raises:
        Invalid: They would be refused.
        Exceeded: They do not fit the quota of their namespace now.
        Outdated: Something else would come of it.
    """
    incarnation = document.revision.partition(".")[0]
    if (document.cluster, incarnation) != (view.cluster, str(view.incarnation)):
        raise Outdated("this plan was made from another registry, or an earlier life of this one; plan anew")
    _check_types(document.documents)
    for _ in range(TRIES):
        foretold = await foretell_documents(view, registry, document.documents, known(), clock.now())
        drafts = foretold.drafts
        if any(row is None or job is not row.value for job, row in drafts):
            changed = outdated(view, document, [row for _, row in drafts], foretold.plan.plans)
            if changed:
                raise Outdated("what this plan promised is not what would happen now; plan anew", changed)
            drafts = [_promised(document, index, draft) for index, draft in enumerate(drafts)]
        accepted = await registry.commit_drafts(drafts, extra=extra)
        if accepted is not None:
            return accepted
    raise Unavailable("others keep changing these jobs; try again")


def _promised(document: PlanDocument, index: int, draft: tuple[Job, Row[Job] | None]) -> tuple[Job, Row[Job] | None]:
    """Return a draft with what the plan promised of it; what does not change is left as it is."""
    job, row = draft
    if row is not None and job is row.value:
        return draft
    agents: dict[str, list[int]] = {}
    for one in document.jobs[index].plan.placements:
        agents.setdefault(one.agent, []).append(one.slot)
    promise = Promise(plan=document.digest, agents={agent: tuple(sorted(slots)) for agent, slots in agents.items()})
    return replace(job, promise=promise), row


def _document(view: View, foretold: Foretold, now: Instant) -> PlanDocument:
    jobs = [job for job, _ in foretold.drafts]
    promised = (
        _job(view, row, outset, plan, foretold, now)
        for (_, row), outset, plan in zip(foretold.drafts, foretold.outsets, foretold.plan.plans, strict=True)
    )
    return PlanDocument(
        kind="Plan",
        v=SCHEMA,
        cluster=view.cluster,
        revision=foretold.plan.revision,
        made_ms=now.wall,
        documents=tuple(manifest_of(job, job.spec) for job in jobs),
        jobs=tuple(promised),
        agents=agents_seen(foretold.outsets, foretold.fleet),
        is_halted=foretold.is_halted,
        digest=_UNSEALED,
    )


def unmet_seen(one: Missing) -> UnmetSeen:
    """Return what a job waits for that is not planned, as a plan tells it."""
    if isinstance(one, NoSecret):
        return UnmetSeen(job="", secret=one.name, found=one.found)
    return UnmetSeen(job=one.dependency.job or "", found=one.found, run=one.dependency.run or "")


def _job(
    view: View, row: Row[Job] | None, outset: Outset, plan: JobPlan, foretold: Foretold, now: Instant
) -> PromisedJob:
    job = outset.job
    return PromisedJob(
        base=None if row is None else Base(revision=view.external(row.mod_revision), version=row.value.version),
        generation=job.generation,
        reserve=reservation(job.spec.task),
        plan=plan,
        tasks=tasks_seen(outset, foretold.fleet, now),
        unmet=tuple(unmet_seen(one) for one in outset.unmet),
        brake=brake_seen(outset),
    )
