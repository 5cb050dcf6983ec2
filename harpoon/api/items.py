"""From the changes of one revision to what watchers are told of it.

An agent's object is made of two records and a task's of three, so a change can only be shown together with the
other rows *of the same revision*. A `Scene` has them, also for revisions that have passed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from harpoon.api.objects import agent_json, job_json, task_json
from harpoon.api.selection import Kind, Selection, Traits
from harpoon.control.view import View, job_key
from harpoon.kit import codec
from harpoon.model.agent import Agent, Link
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task
from harpoon.store.table import Row, RowChange, Table

Revisions = Sequence[tuple[int, tuple[RowChange, ...]]]


class Scene:
    """The rows of the view as they stood at a revision: the present ones, but for those that have changed since."""

    def __init__(self, view: View, since: Revisions = ()) -> None:
        """Stand before the first of ``since``, which are all revisions from there to the view's present one."""
        self.view = view
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
        return self._then[at] if at in self._then else table.rows.get(key)


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


def items_of(scene: Scene, changes: Iterable[RowChange]) -> list[Item]:
    """Return what one revision changed, in its order; ``scene`` stands at that revision, the changes applied."""
    view = scene.view
    items = []
    agents: set[str] = set()
    for change in changes:
        if change.table is view.jobs:
            items.append(_job_item(scene, change))
        elif change.table is view.placements or change.table is view.actual:
            items.append(_task_item(scene, change))
        elif change.table is view.agents or change.table is view.links:
            # A revision that writes both records of an agent changes one agent.
            if change.key not in agents and (item := _agent_item(scene, change)) is not None:
                items.append(item)
            agents.add(change.key)
    return items


def item_json(kind: Kind, key: str, shown: bytes) -> bytes:
    """Return an object of a snapshot."""
    return b'{"kind":"%s","key":"%s","object":%s}' % (kind.encode(), key.encode(), shown)


def job_traits(job: Job) -> Traits:
    """Return what a job is selected by."""
    return Traits(job.namespace, job.name, job.tags)


def agent_traits(agent: Agent) -> Traits:
    """Return what an agent is selected by."""
    return Traits(None, agent.name, agent.tags)


def task_traits(scene: Scene, task: str) -> Traits:
    """Return what a task or a placement is selected by: the traits of its job, without tags when that is gone."""
    namespace, _, rest = task.partition(".")
    name = rest.partition(".")[0]
    job = scene.row(scene.view.jobs, job_key(namespace, name))
    return Traits(namespace, name, {} if job is None else job.value.tags)


def _job_item(scene: Scene, change: RowChange) -> Item:
    new, old = change.new, change.old
    return _item(
        Kind.JOB,
        change.key,
        None if old is None else job_traits(old.value),
        None if new is None else job_traits(new.value),
        b"" if new is None else job_json(scene.view, new.value, new.mod_revision),
    )


def _task_item(scene: Scene, change: RowChange) -> Item:
    task = TaskId(change.key.partition("/")[2])
    traits = task_traits(scene, task)
    # A task may outlive its job's record; that it is gone is then told to all who may have been told of it.
    before = traits if traits.tags else traits._replace(tags=None)
    is_task = change.table is scene.view.actual
    shown = b""
    if change.new is not None:
        shown = task_object(scene, change.key, change.new.value) if is_task else codec.dump_full(change.new.value)
    return _item(
        Kind.TASK if is_task else Kind.PLACEMENT,
        change.key,
        None if change.old is None else before,
        None if change.new is None else traits,
        shown,
    )


def task_object(scene: Scene, key: str, task: Task) -> bytes:
    """Return the task object with the placement of that revision."""
    placed = scene.row(scene.view.placements, key)
    return task_json(task, None if placed is None else cast("Placement", placed.value))


def _agent_item(scene: Scene, change: RowChange) -> Item | None:
    view, key = scene.view, change.key
    agent_row, link_row = scene.row(view.agents, key), scene.row(view.links, key)
    old = change.old if change.table is view.agents else agent_row
    if agent_row is None and (old is None or change.table is view.links):
        return None
    agent = None if agent_row is None else cast("Agent", agent_row.value)
    link = None if link_row is None else cast("Link", link_row.value)
    return _item(
        Kind.AGENT,
        key,
        None if old is None else agent_traits(old.value),
        None if agent is None else agent_traits(agent),
        b"" if agent is None else agent_json(agent, link),
    )


def _item(kind: Kind, key: str, old: Traits | None, new: Traits | None, shown: bytes) -> Item:
    write = partial(b'{"kind":"%s","key":"%s","type":"%s"%s}'.__mod__)
    put = write((kind.encode(), key.encode(), b"put", b',"object":' + shown)) if new is not None else b""
    return Item(old, new, kind, put, write((kind.encode(), key.encode(), b"delete", b"")))
