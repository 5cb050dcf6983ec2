"""From the changes of one revision to what watchers are told of it.

An agent's object is made of two records and a task's of three, so a change can only be shown together with the
other rows *of the same revision*. A `Scene` has them, also for revisions that have passed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from harpoon.api.objects import agent_json, job_json, task_json
from harpoon.api.selection import Kind, Selection, Traits
from harpoon.control.view import View, job_key
from harpoon.kit import codec
from harpoon.model.agent import Agent, Link
from harpoon.model.task import Placement, Task
from harpoon.store.table import Row, RowChange, Table

Revisions = Sequence[tuple[int, tuple[RowChange, ...]]]

#: Stands for a row that was there, but of which nothing is known any more.
FORGOTTEN: Final[Row[Any]] = Row(None, 0, 0, b"")


class Scene:
    """The rows of the view as they stood at a revision: the present ones, but for those that have changed since."""

    def __init__(self, view: View, since: Revisions = (), *, lasting: Iterable[Table[Any]] = ()) -> None:
        """Stand before the first of ``since``.

        Args:
            view: Whose rows.
            since: All revisions from there up to the view's present one.
            lasting: Tables that are to stand when the view goes on; the others are good until the next await only.
        """
        self.view = view
        self._base: dict[int, Mapping[str, Row[Any]]] = {id(table): dict(table.rows) for table in lasting}
        self._then: dict[tuple[int, str], Row[Any] | None] = {}
        for _, changes in reversed(since):
            for change in reversed(changes):
                self._then[id(change.table), change.key] = change.old

    def play(self, changes: Iterable[RowChange]) -> None:
        """Go on by one revision."""
        for change in changes:
            self._then[id(change.table), change.key] = change.new

    def row(self, table: Table[Any], key: str) -> Row[Any] | None:
        """Return a row as it stood."""
        at = (id(table), key)
        return self._then[at] if at in self._then else self.rows(table).get(key)

    def rows(self, table: Table[Any]) -> Mapping[str, Row[Any]]:
        """Return all rows as they stood when the scene was made, if nothing was rewound or played."""
        return self._base.get(id(table), table.rows)


def tables_of(view: View, kinds: Iterable[Kind]) -> set[Table[Any]]:
    """Return the tables that objects of these kinds are made of, and selected by."""
    made_of: dict[Kind, tuple[Table[Any], ...]] = {
        Kind.JOB: (view.jobs,),
        Kind.PLACEMENT: (view.jobs, view.placements),
        Kind.TASK: (view.jobs, view.placements, view.actual),
        Kind.AGENT: (view.agents, view.links),
    }
    return {table for kind in kinds for table in made_of[kind]}


@dataclass(frozen=True, slots=True)
class Item:
    """One object that a revision changed."""

    #: By which it is selected, before (None: it was not there) and after (None: it is gone).
    old: Traits | None
    new: Traits | None
    kind: Kind
    put: bytes
    delete: bytes

    def told(self, selection: Selection) -> bytes | None:
        """Return the JSON of the change for those who select so; what leaves the selection is deleted for them."""
        if self.kind not in selection.kinds:
            return None
        if self.new is not None and selection.takes(self.new):
            return self.put
        return self.delete if self.old is not None and selection.takes(self.old) else None


def items_of(scene: Scene, changes: Sequence[RowChange]) -> list[Item]:
    """Return what one revision changed, in its order; ``scene`` stands at that revision, the changes applied."""
    view = scene.view
    # A revision that writes both records of an agent changes one agent.
    agents = {change.key for change in changes if change.table is view.agents}
    items = []
    for change in changes:
        if change.table is view.jobs:
            items.append(_job_item(scene, change))
        elif change.table is view.placements or change.table is view.actual:
            items.append(_task_item(scene, change))
        elif change.table is view.agents:
            items.append(_agent_item(scene, change.key, change.old))
        elif change.table is view.links and change.key not in agents:
            agent = scene.row(view.agents, change.key)
            if agent is not None:
                items.append(_agent_item(scene, change.key, agent))
    return items


def item_json(kind: Kind, key: str, shown: bytes) -> bytes:
    """Return an object of a snapshot."""
    return b'{"kind":"%s","key":"%s","object":%s}' % (kind.encode(), key.encode(), shown)


def job_traits(key: str, row: Row[Any]) -> Traits:
    """Return what a job is selected by."""
    namespace, _, name = key.partition("/")
    return Traits(namespace, name, None if row.value is None else row.value.tags)


def agent_traits(key: str, row: Row[Any]) -> Traits:
    """Return what an agent is selected by."""
    return Traits(None, key, None if row.value is None else row.value.tags)


def task_traits(scene: Scene, task: str) -> Traits:
    """Return what a task or a placement is selected by: the traits of its job, of unknown tags when that is gone."""
    namespace, _, rest = task.partition(".")
    name = rest.partition(".")[0]
    job = scene.row(scene.view.jobs, job_key(namespace, name))
    return Traits(namespace, name, None if job is None else job.value.tags)


def _job_item(scene: Scene, change: RowChange) -> Item:
    new, old, key = change.new, change.old, change.key
    return _item(
        Kind.JOB,
        key,
        None if old is None else job_traits(key, old),
        None if new is None else job_traits(key, new),
        b"" if new is None else job_json(scene.view, new.value, new.mod_revision),
    )


def _task_item(scene: Scene, change: RowChange) -> Item:
    traits = task_traits(scene, change.key.partition("/")[2])
    is_task = change.table is scene.view.actual
    shown = b""
    if change.new is not None:
        shown = task_object(scene, change.key, change.new.value) if is_task else codec.dump_full(change.new.value)
    # A task may outlive its job's record: that it is gone is told to all who may know it, that it changed to none.
    return _item(
        Kind.TASK if is_task else Kind.PLACEMENT,
        change.key,
        None if change.old is None else traits,
        None if change.new is None else traits._replace(tags=traits.tags or {}),
        shown,
    )


def task_object(scene: Scene, key: str, task: Task) -> bytes:
    """Return the task object with the placement of that revision."""
    placed = scene.row(scene.view.placements, key)
    return task_json(task, None if placed is None else cast("Placement", placed.value))


def agent_object(scene: Scene, key: str, agent: Agent) -> bytes:
    """Return the agent object with its link of that revision, without what follows from placements."""
    link = scene.row(scene.view.links, key)
    return agent_json(agent, None if link is None else cast("Link", link.value))


def _agent_item(scene: Scene, key: str, old: Row[Any] | None) -> Item:
    new = scene.row(scene.view.agents, key)
    return _item(
        Kind.AGENT,
        key,
        None if old is None else agent_traits(key, old),
        None if new is None else agent_traits(key, new),
        b"" if new is None else agent_object(scene, key, new.value),
    )


def _item(kind: Kind, key: str, old: Traits | None, new: Traits | None, shown: bytes) -> Item:
    head = b'{"kind":"%s","key":"%s","type":' % (kind.encode(), key.encode())
    put = b"" if new is None else b'%s"put","object":%s}' % (head, shown)
    return Item(old, new, kind, put, head + b'"delete"}')
