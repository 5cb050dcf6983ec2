"""What is reserved on each agent, kept in step with the view, so that placing reads an index and never scans.

A reservation outlives its placement's record: until the agent reports the task over or gone, its processor and
memory are not given to another. That is what makes "never over-committed" true in the middle of a migrate.
"""

from collections.abc import Iterable

from harpoon.control.view import View
from harpoon.core.fleet import Fleet, reservation
from harpoon.model.agent import LinkState
from harpoon.model.job import TaskTemplate
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, parse_task_id
from harpoon.store.table import RowChange


class Bookings:
    """The fleet's index, fed by the view's changes."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.fleet = Fleet()
        #: Tasks without a placement that still hold what it had reserved.
        self._strays: dict[TaskId, Placement] = {}

    def load(self) -> None:
        """Build the index from the view as it stands."""
        self.fleet = Fleet()
        self._strays = {}
        for agent in self._view.agents.rows.values():
            self.fleet.set_agent(agent.value)
        for link in self._view.links.rows.values():
            self.fleet.set_link(link.value)
        for placement in self._view.placements.rows.values():
            self.fleet.add(placement.value)
        strays = [row.value for row in self._view.actual.rows.values() if self._is_stray(row.value)]
        if strays:
            versions = (row.value for row in self._view.versions.rows.values())
            templates = {(v.namespace, v.name, v.generation): v.spec.task for v in versions}
            for task in strays:
                self._book_stray(task, templates)

    def hear(self, changes: Iterable[RowChange]) -> bool:
        """Follow one revision; return whether something may fit now that did not before."""
        view, has_grown = self._view, False
        for change in changes:
            new = None if change.new is None else change.new.value
            old = None if change.old is None else change.old.value
            if change.table is view.actual:
                has_grown |= self._hear_task(change.key, new)
            elif change.table is view.placements:
                has_grown |= self._hear_placement(old, new)
            elif change.table is view.agents:
                if new is None:
                    self.fleet.remove_agent(change.key)
                else:
                    self.fleet.set_agent(new)
                has_grown = True
            elif change.table is view.links and new is not None:
                self.fleet.set_link(new)
                has_grown = True
        return has_grown

    def book(self, placement: Placement) -> None:
        """Count a placement that is being committed."""
        self.fleet.add(placement)

    def unbook(self, placement: Placement) -> None:
        """Give back what a placement took whose commit failed."""
        if self._view.placement(placement.task) is None:
            self.fleet.remove(placement)

    def is_halted(self) -> bool:
        """Whether so many agents are lost at once that nothing is replaced: the fault is likelier here than there."""
        view = self._view
        lost = sum(
            row.value.state is LinkState.LOST for name, row in view.links.rows.items() if name in view.agents.rows
        )
        return lost >= 2 and 2 * lost > len(view.agents.rows)

    def _hear_placement(self, old: Placement | None, new: Placement | None) -> bool:
        if new is not None:
            self.fleet.add(new)
            return False
        assert old is not None
        reported = self._view.task(old.task)
        if reported is not None and not reported.value.state.is_over:
            self._strays[old.task] = old
            return False
        self.fleet.remove(old)
        return True

    def _hear_task(self, key: str, task: Task | None) -> bool:
        stray = self._strays.get(TaskId(key.partition("/")[2]))
        if stray is None or (task is not None and not task.state.is_over):
            return False
        del self._strays[stray.task]
        self.fleet.remove(stray)
        return True

    def _is_stray(self, task: Task) -> bool:
        return not task.state.is_over and self._view.placement(task.id) is None

    def _book_stray(self, task: Task, templates: dict[tuple[str, str, str], TaskTemplate]) -> None:
        name = parse_task_id(task.id)
        template = templates.get((name.namespace, name.job, task.generation))
        if template is None:
            return
        stray = Placement(
            namespace=name.namespace,
            job=name.job,
            slot=name.slot,
            incarnation=name.number.incarnation,
            revision=name.number.revision,
            agent=task.agent,
            generation=task.generation,
            version=0,
            reason="",
            decided_ms=0,
            reserve=reservation(template),
        )
        self._strays[task.id] = stray
        self.fleet.add(stray)
