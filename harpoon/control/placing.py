"""What changes of a job, and where its slots go, as the scheduler asks it of the core.

Slots are placed in the form that each is to have, by the promise that the job was declared with, if by one. Moves that
would come to nothing, and those of a job whose rollout waits, are given up: such tasks stay where they are.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from harpoon.control.bookings import Bookings
from harpoon.control.references import bindings, replacing, unmet
from harpoon.control.running import lingering
from harpoon.control.view import View
from harpoon.core.batch_roll import roll_batch
from harpoon.core.fleet import Fleet, reservation
from harpoon.core.forms import by_form, join, keep_room
from harpoon.core.held import hold_back
from harpoon.core.place import Decision
from harpoon.core.promise import place_promised, promised
from harpoon.core.rebalance import futile, moving, staying
from harpoon.core.rollout import rollout
from harpoon.core.standing import Brake, Standing
from harpoon.model.batch import BatchRecord
from harpoon.model.decision import Rollout, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job, JobType
from harpoon.model.name import TaskId

#: Slots of one form that one decision places: about as many as a stretch holds. Seeing them wakes the job for the rest.
PLACED_AT_ONCE: Final = 200

_NOWHERE: Final = Decision(placements=(), pending=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one pass decides of a job's slots."""

    #: Which of them change.
    rolled: Rollout
    #: Where they go.
    decision: Decision = _NOWHERE
    #: Tasks that were to move, and stay.
    given_up: frozenset[TaskId] = frozenset()


def choose(
    view: View, bookings: Bookings, job: Job, brake: Brake | None, standings: Sequence[Standing], now: Instant
) -> Choice:
    """Decide which slots of a job change, place and book them.

    Args:
        view: What there is.
        bookings: The index that slots are placed by.
        job: As desired now.
        brake: What keeps its rollout from going on by itself.
        standings: All its placements.
        now: When this is decided.
    """
    missing, replaced = unmet(view, job), replacing(job, bindings(view, job))
    given_up = frozenset() if brake is None else moving(standings)
    while True:
        bookings.fleet.release(job)
        rolled = rollout(
            job,
            staying(standings, given_up),
            now,
            evictable=bookings.evictable(now),
            is_held=bool(missing),
            bindings=replaced,
            # Of a system job, what is to leave is of no member any more.
            leaving={} if job.spec.type is JobType.SYSTEM else bookings.fleet.leaving,
            brake=brake,
        )
        decisions = []
        for form, wants in by_form(job, brake, rolled.wants):
            decided = place_slots(view, form, standings, wants, bookings.fleet, now, bindings=bindings(view, form))
            decisions.append(decided)
            keep_room(form, decided, bookings.fleet)
            for placement in decided.placements:
                bookings.book(placement)
        decision = join(job, decisions)
        # Fewer each time: what was given up does not move any more.
        idle = futile(staying(standings, given_up), rolled, decision)
        if not idle:
            break
        given_up |= idle
        for placement in decision.placements:
            bookings.unbook(placement)
    decision = _kept(view, bookings, job, decision)
    if rolled.held:
        decision = replace(decision, pending=hold_back(job, rolled.held, missing, decision.pending, now))
    return Choice(rolled=rolled, decision=decision, given_up=given_up)


def choose_batch(
    view: View, bookings: Bookings, job: Job, record: BatchRecord, standings: Sequence[Standing], now: Instant
) -> Choice:
    """Decide which slots of a batch job run now, place and book them; for the arguments see `choose`.

    What was to move stays: a task runs to its end where it is.
    """
    missing = unmet(view, job)
    bookings.fleet.release(job)
    rolled = roll_batch(
        job,
        record,
        standings,
        now,
        lingering=len(lingering(view, job)),
        evictable=bookings.evictable(now),
        is_held=bool(missing),
        leaving=bookings.fleet.leaving,
    ).rolled
    decision = place_slots(view, job, standings, rolled.wants, bookings.fleet, now, bindings=bindings(view, job))
    for placement in decision.placements:
        bookings.book(placement)
    decision = _kept(view, bookings, job, decision)
    if rolled.held:
        decision = replace(decision, pending=hold_back(job, rolled.held, missing, decision.pending, now))
    return Choice(rolled=rolled, decision=decision, given_up=moving(standings))


def _kept(view: View, bookings: Bookings, job: Job, decision: Decision) -> Decision:
    """Keep the room that tasks of other jobs make, and return what is decided of those that the view shows."""
    if decision.pending is not None and decision.pending.kept:
        bookings.fleet.keep(job.namespace, job.name, decision.pending.kept, reservation(job.spec.task))
    if not job.spec.preempt:
        return decision
    # One of another job may be only being placed: it is asked for again once it is seen.
    return replace(decision, drops=tuple(one for one in decision.drops if view.placement(one.task) is not None))


def place_slots(  # noqa: PLR0913 what it is decided on, all of it
    view: View,
    job: Job,
    standings: Sequence[Standing],
    wants: Sequence[Want],
    fleet: Fleet,
    now: Instant,
    *,
    bindings: Mapping[str, str],
) -> Decision:
    """Choose an agent for each wanted slot; see `core.place` and `core.promise`."""
    agents = promised(job, standings, wants)
    return place_promised(
        job,
        wants,
        agents,
        {agent: _going(view, agent) for agent in frozenset(agents.values())},
        fleet,
        now,
        incarnation=view.incarnation,
        revision=view.revision,
        bindings=bindings,
        most=PLACED_AT_ONCE,
    )


def _going(view: View, agent: str) -> Collection[TaskId]:
    """Return the tasks on an agent that have been told to go."""
    placed = view.placements_on(agent)
    return [task for task in view.tasks_on(agent) if task not in placed or placed[task].value.is_revoked]
