"""Which slots of a job want a placement now, and which placements go: make before break.

It knows nothing of agents' room (`core.place`) and remembers nothing: placements and tasks say how far a migrate
has come, so that it may be interrupted, or overtaken by another one, anywhere.

Rules, slot by slot. A placement is *present* when it is of the job's generation and was made with the bindings wanted
now. The *current* placement is the newest live one that is present, else the newest dead one; *dead* is one whose task
has failed or is lost. All others are *old*.

1. A slot without placements wants one at once. A slot that is not wanted any more loses all of them.
2. An old placement that is ready goes once the current one is healthy, which is to have been ready for
   ``update.healthy_for``, never before; one that is not ready, as soon as a current one is placed. Of several old ones
   that are ready the newest is enough.
3. While an old one that is ready waits, its slot has two placements; over all slots, at most ``update.surge`` are
   beyond one. As long as fewer than ``update.unavailable`` slots are without an old one that is ready or a healthy
   current one, an old one goes in the commit that places its successor.
4. A dead current placement is replaced, elsewhere if possible: a lost one at once, a failed one after a backoff, the
   first time at once. Where the job waits for lost agents, and beyond the number that may be replaced now, lost ones
   stay.
5. While a job's dependencies do not brake, slots without a current placement are held back; what is placed stays.
6. Bindings that changed make a placement old, but no sooner than `core.standing.REBIND_MIN` after it was decided:
   what others' endpoints do in the course of a migrate is to be followed in few steps.
7. A task that finished by itself, where its restart policy allows that, is as good as ready. Where the policy is to
   run always, it was ended by somebody else, and is replaced like a failed one.
8. A live placement on an agent that is being drained is old. One that fits nowhere else stays, since it goes with or
   after its successor's coming only (2, 3); but not beyond the drain's deadline: then it is dropped all the same.
   So is one that is to move (`core.rebalance`), of whatever agent; its successor avoids that agent.

An exclusive job has rules of its own: `core.exclusive`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from harpoon.core.backoff import backoff, count_failures
from harpoon.core.eviction import UNLIMITED
from harpoon.core.exclusive import roll_exclusive
from harpoon.core.glance import LIVING, Scan, drop, left, scan
from harpoon.core.standing import (
    DEAD,
    NO_BINDINGS,
    Aim,
    Brake,
    Health,
    Record,
    Slot,
    Standing,
    aims,
    is_evictee,
    look,
    why_dead,
    why_old,
)
from harpoon.model.decision import Drop, Rollout, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId

#: No agent is being drained.
NOBODY: Final[Mapping[str, int | None]] = MappingProxyType({})


def rollout(  # noqa: PLR0913 what it is decided on, all of it
    job: Job,
    standings: Sequence[Standing],
    now: Instant,
    *,
    evictable: int = UNLIMITED,
    is_held: bool = False,
    bindings: Mapping[str, str] = NO_BINDINGS,
    leaving: Mapping[str, int | None] = NOBODY,
    brake: Brake | None = None,
) -> Rollout:
    """Return what brings the job's placements nearer to its spec; nothing once they are there.

    Args:
        job: As desired now.
        standings: All its placements, in any order.
        now: Only its ``wall`` matters, since what it is compared with is stored.
        evictable: How many slots with lost tasks may be placed anew now; 0 also while so many agents are lost at once
            that the fault is likelier here.
        is_held: A dependency of the job does not hold.
        bindings: Variable → value wanted now, of those whose change is to replace tasks.
        leaving: Agents that are being drained → when what is left there goes all the same, UTC milliseconds, if ever.
        brake: Why the rollout does not go on by itself; None: it does.
    """
    if _is_settled(job, standings, bindings, leaving):
        return _NOTHING_TO_DO
    aimed = aims(job, standings, now, bindings=bindings, leaving=leaving, brake=brake)
    roll = roll_exclusive if job.spec.exclusive else _roll
    return roll(job, aimed, standings, now, evictable=evictable, is_held=is_held, leaving=leaving)


def _is_settled(
    job: Job, standings: Sequence[Standing], bindings: Mapping[str, str], leaving: Mapping[str, int | None]
) -> bool:
    """Return whether all is plainly as it should be, which it mostly is: to find that out by `_roll` takes longer."""
    if len(standings) != job.spec.scale or job.is_terminating or bindings:
        return False
    slots = set()
    for placement, task, is_moving in standings:
        if is_moving or placement.generation != job.generation or placement.is_revoked:
            return False
        if task is not None and task.state not in LIVING:
            return False
        if placement.agent in leaving:
            return False
        slots.add(placement.slot)
    return len(slots) == len(standings) == max(slots, default=-1) + 1


def _roll(  # noqa: PLR0913 as above
    job: Job,
    aimed: Sequence[Aim],
    standings: Sequence[Standing],
    now: Instant,
    *,
    evictable: int,
    is_held: bool,
    leaving: Mapping[str, int | None],
) -> Rollout:
    scale = len(aimed)
    lost = sorted({one.placement.slot for one in standings if one.placement.slot < scale and is_evictee(job, one)})
    evictees = frozenset(lost[:evictable])
    found = scan(job, aimed, standings, now, evictees, leaving)
    odd = found.odd.values()
    wants, due = _wants(job, found, aimed, now, is_held=is_held)
    held = [slot.number for slot in odd if slot.current is None and not slot.is_filled]
    is_complete = not (found.drops or found.old or found.empty) and all(
        slot.is_filled and slot.records == [slot.current] for slot in odd
    )
    known = [record for slot in odd for record in slot.records]
    unproven = () if is_complete else (one.unproven_for for one in known if one.is_present and not one.is_healthy)
    dues = [due, *(one.fresh_for for one in known), *unproven, *_deadlines(known, leaving, now)]
    return Rollout(
        wants=wants,
        drops=(*(drop for slot in odd for drop in _drops(slot)), *found.drops),
        held=tuple(sorted((*held, *found.old, *found.empty))) if is_held else (),
        due=min((one for one in dues if one is not None), default=None),
        evictions=frozenset(want.slot for want in wants if want.slot in evictees),
        limited=tuple(lost[evictable:]),
        is_complete=is_complete,
    )


_NOTHING_TO_DO: Final = Rollout(wants=(), drops=(), held=(), due=None, is_complete=True)


def _deadlines(records: Iterable[Record], leaving: Mapping[str, int | None], now: Instant) -> Iterator[timedelta]:
    """Yield the spans until those that still leave their agents go all the same."""
    for agent in {record.placement.agent for record in records if record.is_leaving}:
        if leaving.get(agent) is not None:
            yield left(leaving[agent], now)


def _drops(slot: Slot) -> Iterable[Drop]:
    """Name the old placements that go now (rule 2)."""
    current = slot.current
    olds = [record for record in slot.records if record is not current]
    newest_ready = next((old for old in reversed(olds) if old.health is Health.READY), None)
    for old in olds:
        if current is not None and current.is_healthy and not (slot.aim.is_canary and old.health is Health.READY):
            what = "is ready" if current.health is Health.READY else "has finished"
            yield drop(old.placement, f"replaced by {current.placement.task}, which {what}")
        elif old.health is Health.READY:
            if old is not newest_ready:
                yield drop(old.placement, "a newer one of its slot is ready")
        elif current is not None and current.health is Health.WAITING and old.health is not Health.HELD:
            yield drop(old.placement, f"replaced by {current.placement.task} before it was ready")


def _wants(
    job: Job, found: Scan, aimed: Sequence[Aim], now: Instant, *, is_held: bool
) -> tuple[tuple[Want, ...], timedelta | None]:
    """Choose the slots to place (rules 1, 3, 4); slots that need no allowance come at no cost to it."""
    odd = found.odd.values()
    free = [slot for slot in odd if not (is_held and slot.current is None)]
    update = job.spec.update
    surge = update.surge - sum(max(0, len(slot.records) - 1 - slot.aim.is_canary) for slot in free)
    missing = found.starting + (0 if is_held else len(found.empty)) + sum(not slot.is_served for slot in free)
    turns = _Turns(surge=surge, unavailable=update.unavailable - missing)
    if not is_held:
        turns.wants += [
            Want(slot=n, reason=f"slot {n} has no placement", is_held_back=aimed[n].is_held_back) for n in found.empty
        ]
    old = {} if is_held else found.old
    for number in sorted((*(slot.number for slot in free), *old)):
        if number not in old:
            turns.decide(found.odd[number], now)
        elif turns.are_left:
            records = [look(aimed[number].job, old[number], NO_BINDINGS, now, is_evictable=False)]
            turns.decide(Slot(number=number, aim=aimed[number], records=records, current=None), now)
    turns.wants.sort(key=lambda want: want.slot)
    return tuple(turns.wants), turns.due


@dataclass(slots=True)
class _Turns:
    """Whose turn it is to be placed, and how many more may be."""

    surge: int
    unavailable: int
    wants: list[Want] = field(default_factory=list)
    #: Span until a backoff ends.
    due: timedelta | None = None

    @property
    def are_left(self) -> bool:
        return self.surge > 0 or self.unavailable > 0

    def decide(self, slot: Slot, now: Instant) -> None:
        if slot.is_filled:
            return
        wait = backoff(slot.current, now)
        if wait > timedelta(0):
            self.due = wait if self.due is None else min(self.due, wait)
            return
        useless = [record for record in slot.records if record.health is not Health.READY]
        if useless or not slot.records:
            self.wants.append(_want(slot, useless, now))
        elif slot.aim.is_canary:
            self.wants.append(_want(slot, [], now))
        elif len(slot.records) > 1:
            return  # all are ready: what is too much goes first
        elif self.unavailable > 0:
            self.unavailable -= 1
            self.wants.append(_want(slot, slot.records, now))
        elif self.surge > 0:
            self.surge -= 1
            self.wants.append(_want(slot, [], now))


def _want(slot: Slot, replaced: Sequence[Record], now: Instant) -> Want:
    current = slot.current
    shunned = (
        record.placement for record in slot.records if (record.health in DEAD and record.is_present) or record.is_moving
    )
    return Want(
        slot=slot.number,
        failures=0 if current is None else count_failures(current, now),
        avoid=tuple(sorted({placement.agent for placement in shunned})),
        replaces=_ids(replaced),
        ended=_ids(r for r in replaced if r.task is not None and r.task.state.is_over),
        reason=_reason(slot),
        is_held_back=slot.aim.is_held_back,
    )


def _ids(records: Iterable[Record]) -> tuple[TaskId, ...]:
    return tuple(record.placement.task for record in records)


def _reason(slot: Slot) -> str:
    if not slot.records:
        return f"slot {slot.number} has no placement"
    if slot.current is None:
        return why_old(slot.aim, slot.records[-1])
    return why_dead(slot.current)
