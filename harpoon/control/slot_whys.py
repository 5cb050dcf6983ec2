"""Why slots of a job are not placed, and why not on an agent.

The scheduler's verbs are asked again beside the event loop, on a copy of the index, because that may take a while.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from harpoon.control.batches import record_of
from harpoon.control.bookings import Bookings
from harpoon.control.members import whole
from harpoon.control.planning import bookings_of
from harpoon.control.references import bindings, replacing, unmet
from harpoon.control.rollouts import brake_after
from harpoon.control.running import lingering
from harpoon.control.standings import standings_of
from harpoon.control.view import View
from harpoon.core.case import Case
from harpoon.core.rebalance import heeded
from harpoon.core.why import explain, explain_on
from harpoon.model.agent import Agent
from harpoon.model.instant import Instant
from harpoon.model.job import Job, JobType
from harpoon.model.why import Reason, ReasonCode, SlotsWhy

#: Jobs that are asked why none of their slots is on an agent.
JOBS_MAX: Final = 10
#: Slots that a reason lists; how many there are is told beside.
SLOTS_MAX: Final = 100


def cause_of(slots: SlotsWhy) -> Reason:
    """Return why slots are not placed, without what is told of them beside."""
    return Reason(code=slots.code, sentence=slots.reason, evidence=slots.evidence)


async def whys_of_slot(view: View, job: Job, slot: int, known: Bookings | None, now: Instant) -> tuple[SlotsWhy, ...]:
    """Return why a slot of a job is not placed; empty: it is, or is about to be."""
    return tuple(one for one in await whys_of_job(view, job, known, now) if slot in one.slots)


async def whys_of_job(view: View, job: Job, known: Bookings | None, now: Instant) -> tuple[SlotsWhy, ...]:
    """Return why slots of a job are not placed; ``known`` is the index that they are placed by, if one is kept."""
    index = await bookings_of(view, known)
    case, fleet = _case(view, job, index, now), index.fleet.fork()
    fleet.release(job)
    return await asyncio.to_thread(explain, case, fleet)


def _case(view: View, declared: Job, index: Bookings, now: Instant) -> Case:
    job = whole(view, declared, now)
    standings = standings_of(view, job)
    brake = None if job.run is not None else brake_after(view, job, standings, now)
    return Case(
        job=job,
        standings=heeded(standings, brake),
        links={name: row.value for name, row in view.links.rows.items()},
        now=now,
        evictable=index.evictable(now),
        halted=view.halted,
        leaving={} if job.spec.type is JobType.SYSTEM else dict(index.fleet.leaving),
        unmet=unmet(view, job),
        replacing=replacing(job, bindings(view, job)),
        brake=brake,
        batch=None if job.run is None else record_of(view, job),
        lingering=() if job.run is None else lingering(view, job),
    )


async def whys_of_agent(view: View, agent: Agent, index: Bookings, now: Instant) -> tuple[SlotsWhy, ...]:
    """Return what the agent lacks for jobs that have slots which fit nowhere."""
    jobs = [row.value for key in list(view.pending.rows)[:JOBS_MAX] if (row := view.jobs.rows.get(key)) is not None]
    cases, fleet = [_case(view, job, index, now) for job in jobs], index.fleet.fork()
    # Of each it is told what lacks here as if room were kept for none of them.
    for job in jobs:
        fleet.release(job)

    def ask() -> tuple[SlotsWhy, ...]:
        told = ((case.job, one) for case in cases for one in explain_on(case, fleet, agent.name))
        return tuple(
            SlotsWhy(
                slots=one.slots,
                code=ReasonCode.REFUSES,
                evidence={"job": f"{job.namespace}/{job.name}"},
                reason=f"job {job.namespace}/{job.name} cannot be placed on it: "
                + " and ".join(f"{f.predicate} {f.wanted} (found {f.found})" for f in one.groups[0].failed),
                groups=one.groups,
                fix=one.fix,
            )
            for job, one in told
            if one.groups
        )

    return await asyncio.to_thread(ask)


def named_cause(slots: SlotsWhy, names: Sequence[str]) -> Reason:
    """Return a reason with the slots that it is of; some name their slot themselves."""
    told = tuple(names[slot] if names else str(slot) for slot in slots.slots)
    named, reason = _named(told), cause_of(slots)
    sentence = slots.reason if slots.reason.startswith(f"{named} ") else f"{named}: {slots.reason}"
    return replace(reason, sentence=sentence, evidence={**slots.evidence, "of": told[:SLOTS_MAX]})


def _named(slots: Sequence[str]) -> str:
    more = f" and {len(slots) - 8} more" if len(slots) > 8 else ""
    return f"{'slot' if len(slots) == 1 else 'slots'} {', '.join(slots[:8])}{more}"
