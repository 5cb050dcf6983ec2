"""From the changes of one revision to what watchers are told of it.

An agent's object is made of three records, and a task is selected by its job's tags, so a change can only be shown
together with the other rows *of the same revision*. A `Scene` has them, also for revisions that have passed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from harpoon.api.objects import agent_json, job_json, task_json
from harpoon.api.selection import Kind, Selection, Traits
from harpoon.control.view import View, job_key, job_key_of
from harpoon.kit import codec
from harpoon.store.table import Row, RowChange, Table

Revisions = Sequence[tuple[int, tuple[RowChange, ...]]]

#: Stands for a row that was there, but of which nothing is known any more.
FORGOTTEN: Final[Row[Any]] = Row(None, 0, 0)


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
        self._base: dict[int, Mapping[str, Row[Any]]] = {id(table): table.snapshot() for table in lasting}
        self._then: dict[tuple[int, str], Row[Any] | None] = {}
        for _, changes in reversed(since):
            for change in reversed(changes):
                self._then[id(change.table), change.key] = change.old
        #: Of tables of tasks that were asked for by job: job → keys that stand apart from the view.
        self._by_job: dict[int, dict[str, set[str]]] = {}

    def play(self, changes: Iterable[RowChange]) -> None:
        """Go on by one revision."""
        for change in changes:
            of = id(change.table)
            self._then[of, change.key] = change.new
            if of in self._by_job:
                self._by_job[of].setdefault(_job_of(change.key), set()).add(change.key)

    def hold(self, changes: Iterable[RowChange]) -> None:
        """Stand where it stands while the view goes on by one revision."""
        for change in changes:
            at = (id(change.table), change.key)
            if at not in self._then and at[0] not in self._base:
                self._then[at] = change.old
                if at[0] in self._by_job:
                    self._by_job[at[0]].setdefault(_job_of(change.key), set()).add(change.key)

    def row(self, table: Table[Any], key: str) -> Row[Any] | None:
        """Return a row as it stood."""
        at = (id(table), key)
        return self._then[at] if at in self._then else self.rows(table).get(key)

    def rows(self, table: Table[Any]) -> Mapping[str, Row[Any]]:
        """Return all rows as they stood when the scene was made, if nothing was rewound or played."""
        return self._base.get(id(table), table.rows)

    def of_job(self, table: Table[Any], job: str) -> Iterator[tuple[str, Row[Any]]]:
        """Yield the placements or tasks of a job as they stood, by their keys; given the job's key."""
        keys = set(self._apart(table).get(job, ()))
        if id(table) not in self._base:
            present = self.view.placements_of(job) if table is self.view.placements else self.view.tasks_of(job)
            keys.update(f"{row.value.agent}/{task}" for task, row in present.items())
        for key in sorted(keys):
            row = self.row(table, key)
            if row is not None:
                yield key, row

    def _apart(self, table: Table[Any]) -> Mapping[str, set[str]]:
        """Return the keys of a table that do not simply stand as in the view, by job; found out once."""
        of = id(table)
        if of not in self._by_job:
            known = self._by_job[of] = {}
            for key in (*self._base.get(of, ()), *(key for at, key in self._then if at == of)):
                known.setdefault(_job_of(key), set()).add(key)
        return self._by_job[of]


def _job_of(key: str) -> str:
    return job_key_of(key.partition("/")[2])


def tables_of(view: View, kinds: Iterable[Kind]) -> set[Table[Any]]:
    """Return the tables that objects of these kinds are made of, and selected by."""
    made_of: dict[Kind, tuple[Table[Any], ...]] = {
        Kind.JOB: (view.jobs,),
        Kind.PLACEMENT: (view.jobs, view.placements),
        Kind.TASK: (view.jobs, view.actual),
        Kind.AGENT: (view.agents, view.links, view.cordons),
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
    #: It is as it was, but its job has other tags: only those are told whose selection it enters or leaves.
    is_retagged: bool = False

    def told(self, selection: Selection) -> bytes | None:
        """Return the JSON of the change for those who select so; what leaves the selection is deleted for them."""
        if self.kind not in selection.kinds or (self.is_retagged and not selection.tags):
            return None
        was_taken = self.old is not None and selection.takes(self.old)
        if self.new is not None and selection.takes(self.new):
            # Of tags that are not known any more it may be that they were others.
            is_known = was_taken and self.old is not None and self.old.tags is not None
            return None if self.is_retagged and is_known else self.put
        return self.delete if was_taken else None


def items_of(scene: Scene, revision: int, changes: Sequence[RowChange]) -> list[Item]:
    """Return what one revision changed, in its order; ``scene`` stands at that revision, the changes applied."""
    view = scene.view
    records = records_of(view)
    kinds = {id(table): kind for kind, table in records.items()}
    written = {(id(change.table), change.key) for change in changes}
    before = {change.key: _tags(change.old) for change in changes if change.table is view.jobs}
    items = []
    for change in changes:
        table, key = id(change.table), change.key
        if table in kinds:
            items.append(_item(scene, kinds[table], key, change.old, change.new, before))
        if change.table is view.jobs and before[key] != _tags(change.new):
            items += _retagged(scene, change, written)
        if change.table is view.links or change.table is view.cordons:
            # Both are parts of their agent's object. A revision that writes that too is told where the agent's record
            # is; so is, further on, an agent whose record is of a later revision than this. Once is enough.
            row = scene.row(view.agents, key)
            if row is not None and row.mod_revision <= revision and (id(view.agents), key) not in written:
                written.add((id(view.agents), key))
                items.append(_item(scene, Kind.AGENT, key, row, row, before))
    return items


def records_of(view: View) -> dict[Kind, Table[Any]]:
    """Return the table whose rows are the objects of each kind; others only add to them."""
    return {Kind.JOB: view.jobs, Kind.PLACEMENT: view.placements, Kind.TASK: view.actual, Kind.AGENT: view.agents}


def item_json(kind: Kind, key: str, shown: bytes) -> bytes:
    """Return an object of a snapshot."""
    return b'{"kind":"%s","key":"%s","object":%s}' % (kind.encode(), key.encode(), shown)


def traits_of(scene: Scene, kind: Kind, key: str, row: Row[Any] | None) -> Traits:
    """Return what an object is selected by.

    Args:
        scene: Stands at the object's revision.
        kind: Of the object.
        key: Of the object.
        row: As it is; `FORGOTTEN`, or None for a task whose job is asked in vain: its tags may have been any.
    """
    if kind is Kind.AGENT:
        return Traits(None, key, None if row is None or row.value is None else row.value.tags)
    if kind is Kind.JOB:
        namespace, _, name = key.partition("/")
        return Traits(namespace, name, None if row is None or row.value is None else row.value.tags)
    namespace, _, rest = key.partition("/")[2].partition(".")
    name = rest.partition(".")[0]
    job = scene.row(scene.view.jobs, job_key(namespace, name))
    # A task may outlive its job's record: that it is gone is told to all who may know it, that it changed to none.
    return Traits(namespace, name, job.value.tags if job is not None else None if row is None else {})


def object_of(scene: Scene, kind: Kind, key: str, row: Row[Any]) -> bytes:
    """Return an object as JSON, with what other rows of the same revision add to it."""
    view = scene.view
    match kind:
        case Kind.JOB:
            return job_json(view, row.value, row.mod_revision)
        case Kind.PLACEMENT:
            return codec.dump_full(row.value)
        case Kind.TASK:
            return task_json(row.value)
        case Kind.AGENT:
            link, cordon = scene.row(view.links, key), scene.row(view.cordons, key)
            return agent_json(row.value, *(None if one is None else one.value for one in (link, cordon)))


def _item(
    scene: Scene,
    kind: Kind,
    key: str,
    old: Row[Any] | None,
    new: Row[Any] | None,
    before: Mapping[str, Mapping[str, str] | None],
) -> Item:
    """Return what became of one object; ``before`` has the former tags of jobs that the revision wrote."""
    head = b'{"kind":"%s","key":"%s","type":' % (kind.encode(), key.encode())
    is_own = kind in (Kind.JOB, Kind.AGENT)
    was = None if old is None else traits_of(scene, kind, key, old if is_own else None)
    if was is not None and not is_own and (job := job_key(was.namespace or "", was.name)) in before:
        was = was._replace(tags=before[job])
    if new is None:
        return Item(was, None, kind, b"", head + b'"delete"}')
    put = b'%s"put","object":%s}' % (head, object_of(scene, kind, key, new))
    return Item(was, traits_of(scene, kind, key, new), kind, put, head + b'"delete"}')


def _retagged(scene: Scene, change: RowChange, written: Collection[tuple[int, str]]) -> Iterator[Item]:
    """Yield the placements and tasks of a job with other tags, but for those that the revision itself writes."""
    view = scene.view
    before = {change.key: _tags(change.old)}
    for kind, table in ((Kind.PLACEMENT, view.placements), (Kind.TASK, view.actual)):
        for key, row in scene.of_job(table, change.key):
            # In what was read from the store, some rows are already those of a later revision, which will tell them.
            is_later = change.new is not None and row.mod_revision > change.new.mod_revision
            if (id(table), key) not in written and not is_later:
                yield replace(_item(scene, kind, key, row, row, before), is_retagged=True)


def _tags(row: Row[Any] | None) -> Mapping[str, str] | None:
    """Return the tags of a job: none when there is no job, None when they are not known any more."""
    if row is None:
        return {}
    return None if row.value is None else row.value.tags
