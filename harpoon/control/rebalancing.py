"""Rebalancing: moves are decided on a copy of what there is, and written down; the scheduler does the rest.

A move is a record beside the placement, and says no more than that this task is to leave its agent. What follows is
the scheduler's (`core.rollout`, rule 8), which deletes the record with the placement, or when the slot would come to no
other agent any more. So it goes on whoever schedules, and nothing is lost with a server.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from harpoon.control.bookings import Bookings
from harpoon.control.planning import bookings_of
from harpoon.control.references import unmet
from harpoon.control.view import MOVES, PLACEMENTS, View
from harpoon.core.progress import is_open
from harpoon.core.rebalance import Settled, rebalance
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, NotFound, Unavailable
from harpoon.model.job import Job, JobType
from harpoon.model.rebalance import MOVES_MAX, Move, MoveRecord, Rebalance, Rebalancing
from harpoon.store import settle
from harpoon.store.port import Compare, Put, Store, Write

#: Tries against others that change the same placements.
TRIES: Final = 5
#: Jobs looked at before others get their turn on the event loop.
_SLICE: Final = 200

#: Given what it comes to, what else is to be written with it; see `control.receipts`.
Extra = Callable[[Callable[[int], tuple[Rebalance, ...]]], tuple[Sequence[Compare], Sequence[Write]]]


class Rebalancer:
    """The one who asks for moves."""

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock

    async def rebalance(self, order: Rebalancing, known: Bookings | None, *, extra: Extra | None = None) -> Rebalance:
        """Decide moves and have them carried out, or only tell of them; write ``extra`` with them.

        Args:
            order: What is asked for.
            known: The index that slots are placed by; None: it is made of the view.
            extra: To be written with it.

        Raises:
            NotFound: There is no such job.
            Conflict: As many moves as there may be are under way.
            Unavailable: Others keep changing the placements.
        """
        for _ in range(TRIES):
            moves, is_whole = await self._decide(order, known)
            told = await self._write(moves, extra, is_whole=is_whole, is_dry=order.dry_run)
            if told is not None:
                return told
        raise Unavailable("others keep changing what is placed; try again")

    async def _decide(self, order: Rebalancing, known: Bookings | None) -> tuple[tuple[Move, ...], bool]:
        view, left = self._view, MOVES_MAX - len(self._view.moves.rows)
        if order.job is not None and f"{order.namespace}/{order.job}" not in view.jobs.rows:
            raise NotFound(f"there is no job {order.job} in namespace {order.namespace}")
        if left <= 0 and not order.dry_run:
            raise Conflict(f"{MOVES_MAX} moves are under way, and no more may be; wait until some are done")
        index = await bookings_of(view, known)
        fleet, jobs = index.fleet.fork(), self._jobs(order)
        most = order.max_moves if order.dry_run else min(order.max_moves, left)
        return await asyncio.to_thread(rebalance, jobs, fleet, most=most)

    def _jobs(self, order: Rebalancing) -> list[Settled]:
        """Return the jobs asked for of which nothing is about to change."""
        found = []
        for row in self._view.jobs.rows.values():
            job = row.value
            is_asked = order.namespace in (None, job.namespace) and order.job in (None, job.name)
            if is_asked and (order.exclusive or not job.spec.exclusive) and (settled := _settled(self._view, job)):
                found.append(settled)
        return found

    async def _write(
        self, moves: Sequence[Move], extra: Extra | None, *, is_whole: bool, is_dry: bool
    ) -> Rebalance | None:
        """Write the moves down; None: a placement is not what it was."""
        view, now_ms = self._view, self._clock.now().wall
        compares: list[Compare] = []
        writes: list[Write] = []
        for move in () if is_dry else moves:
            key = f"{move.agent}/{move.task}"
            row = view.placements.rows.get(key)
            if row is None:
                return None
            compares.append(Compare(PLACEMENTS + key, mod=row.mod_revision))
            writes.append(Put(MOVES + key, codec.dump(MoveRecord(move=move, at_ms=now_ms))))
        told = tuple(moves)
        if extra is not None:
            conditions, others = extra(lambda at: (self._told(at, told, is_whole=is_whole),))
            compares += conditions
            writes += others
        if not writes:
            return self._told(view.revision, told, is_whole=is_whole)
        revision = await settle.commit(self._store, compares, writes)
        if revision is None:
            await settle.see_others(self._store, view.mirror, compares)
            return None
        await view.mirror.shows(revision)
        return self._told(revision, told, is_whole=is_whole)

    def _told(self, revision: int, moves: tuple[Move, ...], *, is_whole: bool) -> Rebalance:
        return Rebalance(revision=self._view.external(revision), moves=moves, is_whole=is_whole)


def underway(view: View) -> Rebalance:
    """Return the moves that are under way."""
    moves = tuple(row.value.move for _, row in sorted(view.moves.rows.items()))
    return Rebalance(revision=view.external(view.revision), moves=moves, is_whole=True)


def _settled(view: View, job: Job) -> Settled | None:
    """Return a job with its placements if each slot has a ready task, and nothing else is there or awaited."""
    key = f"{job.namespace}/{job.name}"
    placed, tasks = view.placements_of(key), view.tasks_of(key)
    if job.spec.type is not JobType.SERVICE:
        return None
    if job.is_terminating or len(placed) != job.spec.scale or view.moves_of(key) or key in view.pending.rows:
        return None
    placements = tuple(row.value for row in placed.values())
    if any(one.generation != job.generation or one.is_revoked for one in placements) or _is_rolling(view, key, job):
        return None
    if any(task not in tasks or not tasks[task].value.ready for task in placed):
        return None
    is_alone = all(task in placed or row.value.is_over for task, row in tasks.items())
    return Settled(job=job, placements=placements) if is_alone and not unmet(view, job) else None


def _is_rolling(view: View, key: str, job: Job) -> bool:
    """Whether a job's rollout is not complete, which its tasks are watched for where they are."""
    row = view.rollouts.rows.get(key)
    return key in view.rollouts.unreadable or is_open(job, None if row is None else row.value)
