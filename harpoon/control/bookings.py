"""What is reserved on each agent, kept in step with the view, so that placing reads an index and never scans.

A reservation outlives its placement's record: until the agent reports the task over or gone, its processor and
memory are not given to another. That is what makes "never over-committed" true in the middle of a migrate. One that is
revoked reserves until its agent has denied it, whatever is reported.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from harpoon.control.view import View, job_key
from harpoon.core.eviction import Bucket
from harpoon.core.fleet import Fleet, reservation
from harpoon.model.agent import Link, LinkState
from harpoon.model.instant import Instant
from harpoon.model.job import PRIORITY
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Reservation, Task, TaskState, parse_task_id, stand_in
from harpoon.model.template import TaskTemplate
from harpoon.store.table import RowChange

#: Versions of a job that are looked through for the template of a task without a placement; more are not kept.
VERSIONS_SEARCHED: Final = 50
#: Records looked at before others get their turn on the event loop.
_SLICE: Final = 200


class Bookings:
    """The fleet's index, fed by the view's changes."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.fleet = Fleet()
        #: Of lost tasks that may be replaced.
        self._bucket = Bucket()

    async def load(self) -> None:
        """Build the index from the view; what changes meanwhile is to be told to `hear`. Others get their turn."""
        view, number = self._view, 0
        for table, see in (
            (view.jobs, self._see_job),
            (view.agents, self._see_agent),
            (view.links, self._see_link),
            (view.cordons, self._see_cordon),
            (view.pending, self.see_pending),
            (view.placements, self._see_task),
            (view.actual, self._see_task),
        ):
            for key in table.snapshot():
                see(key)
                number += 1
                if number % _SLICE == 0:
                    await asyncio.sleep(0)

    def hear(self, changes: Iterable[RowChange]) -> bool:
        """Follow one revision; return whether something may fit now that did not before."""
        view, has_grown = self._view, False
        for change in changes:
            if change.table is view.actual or change.table is view.placements:
                has_grown |= self._see_task(change.key)
            elif change.table is view.jobs:
                has_grown |= self._see_job(change.key)
            elif change.table is view.pending:
                has_grown |= self.see_pending(change.key)
            elif change.table is view.agents:
                self._see_agent(change.key)
                has_grown = True
            elif change.table is view.links:
                self._see_link(change.key)
                has_grown = True
            elif change.table is view.cordons:
                has_grown |= self._see_cordon(change.key)
        return has_grown

    def book(self, placement: Placement) -> None:
        """Count a placement that is being committed."""
        self.fleet.add(placement)

    def unbook(self, placement: Placement) -> None:
        """Give back what a placement took whose commit failed."""
        self._settle(placement.task)

    def evictable(self, now: Instant) -> int:
        """Return how many lost tasks may be replaced now; none while too many agents are lost."""
        return 0 if self._view.halted is not None else self._bucket.available(now)

    def evict(self, count: int, now: Instant) -> None:
        """Take note that so many lost tasks are being replaced."""
        self._bucket = self._bucket.take(count, now)

    def evictable_after(self, count: int, now: Instant) -> timedelta | None:
        """Return the span until so many more may be replaced; None: no time alone brings that about."""
        return None if self._view.halted is not None else self._bucket.due(count, now)

    def _see_job(self, key: str) -> bool:
        """Return whether its tasks are less important now."""
        row = self._view.jobs.rows.get(key)
        namespace, _, name = key.partition("/")
        return self.fleet.set_priority(namespace, name, PRIORITY if row is None else row.value.spec.priority)

    def see_pending(self, key: str) -> bool:
        """Keep the room that is made for a job, as its record says; return whether other was kept before."""
        row, job = self._view.pending.rows.get(key), self._view.jobs.rows.get(key)
        namespace, _, name = key.partition("/")
        if row is None or job is None:
            return self.fleet.keep(namespace, name, {}, Reservation())
        return self.fleet.keep(namespace, name, row.value.kept, reservation(job.value.spec.task))

    def _see_agent(self, name: str) -> None:
        row = self._view.agents.rows.get(name)
        if row is None:
            self.fleet.remove_agent(name)
        else:
            self.fleet.set_agent(row.value)

    def _see_link(self, agent: str) -> None:
        row = self._view.links.rows.get(agent)
        self.fleet.set_link(Link(agent=agent, state=LinkState.UNKNOWN, since_ms=0) if row is None else row.value)

    def _see_cordon(self, agent: str) -> bool:
        """Return whether it was lifted."""
        row = self._view.cordons.rows.get(agent)
        if row is None:
            self.fleet.lift_cordon(agent)
        else:
            self.fleet.set_cordon(row.value)
        return row is None

    def _see_task(self, key: str) -> bool:
        return self._settle(TaskId(key.partition("/")[2]))

    def _settle(self, task: TaskId) -> bool:
        """Count for a task what the view says of it now; return whether that freed anything."""
        placed, booked = self._view.placement(task), self.fleet.placement(task)
        if placed is not None and not placed.value.is_denied:
            if booked is not placed.value:
                self.fleet.add(placed.value)
            return False
        reported = self._view.task(task)
        if reported is not None and not reported.value.is_over:
            stray = self._stray(reported.value, None if booked is None else booked.reserve)
            if stray is not None:
                self.fleet.add(stray)
        elif booked is not None:
            self.fleet.remove(task)
            return True
        return False

    def _stray(self, task: Task, reserve: Reservation | None) -> Placement | None:
        """Return what stands for a task that runs on without a placement."""
        if reserve is None:
            name = parse_task_id(task.id)
            template = self._template(job_key(name.namespace, name.job), task.generation)
            if template is None:
                return None
            reserve = reservation(template)
        goes = task.state is not TaskState.UNCLAIMED
        return replace(stand_in(task.id, task.agent, task.generation), reserve=reserve, is_revoked=goes)

    def _template(self, key: str, generation: str) -> TaskTemplate | None:
        job = self._view.jobs.rows.get(key)
        newest = 0 if job is None else job.value.version
        for number in range(newest, max(0, newest - VERSIONS_SEARCHED), -1):
            row = self._view.versions.rows.get(f"{key}/{number}")
            if row is not None and row.value.generation == generation:
                return row.value.spec.task
        return None
