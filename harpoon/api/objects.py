"""Objects as the API shows them: JSON made of a noun and what belongs beside it. Nothing here reads a request.

The nouns are written by the codec; what is added is spliced into its bytes, so that no object is built twice.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Final, NamedTuple

import orjson

from harpoon.control.drain import drain_status
from harpoon.control.status import unreported
from harpoon.control.view import View
from harpoon.kit import codec
from harpoon.model.agent import Agent, Capacity, Cordon, Link, LinkState
from harpoon.model.decision import Pending
from harpoon.model.job import Job
from harpoon.model.name import TaskId, is_name
from harpoon.model.status import JobStatus
from harpoon.model.task import Placement, Task, TaskState, parse_task_id
from harpoon.model.upkeep import CordonStatus, DrainStatus
from harpoon.store.table import Row

#: What is shown of a cordon.
_CORDON: Final = tuple(field.name for field in fields(CordonStatus))
_NO_TASKS = b',"tasks":[]}'


def joined(head: bytes, **members: bytes | str | int | None) -> bytes:
    """Return the JSON object ``head`` with members added at its end; bytes are JSON already."""
    parts = [head[:-1]]
    for name, value in members.items():
        written = value if isinstance(value, bytes) else orjson.dumps(value)
        parts.append(b'"%s":%s' % (name.encode(), written))
    return (b",".join(parts) if len(head) > 2 else b"{" + b",".join(parts[1:])) + b"}"


def status_json(status: JobStatus, tasks: Iterable[bytes] | None = None) -> bytes:
    """Return how a job stands, with its task objects if they are given."""
    # ``tasks`` is the last field of a status, so leaving it out is cutting off its end.
    head = codec.dump_full(replace(status, tasks=()))
    assert head.endswith(_NO_TASKS)
    bare = head.removesuffix(_NO_TASKS) + b"}"
    return bare if tasks is None else joined(bare, tasks=b"[%s]" % b",".join(tasks))


def job_json(view: View, job: Job, revision: int, status: bytes | None = None) -> bytes:
    """Return the job object: the manifest with defaults, what the registry adds, and ``status`` if it is given.

    Args:
        view: Tells the incarnation.
        job: As it stands in the registry.
        revision: At which it was last written.
        status: JSON of its status.
    """
    metadata: dict[str, object] = {
        "name": job.name,
        "namespace": job.namespace,
        "tags": dict(job.tags),
        "generation": job.generation,
        "version": job.version,
        "revision": view.external(revision),
        "created_ms": job.created_ms,
        "updated_ms": job.updated_ms,
    }
    if job.is_terminating:
        metadata["is_terminating"] = True
    if job.owner is not None:
        metadata["owner"] = asdict(job.owner)
    if job.run_owner is not None:
        metadata["run_owner"] = asdict(job.run_owner)
    head = b'{"apiVersion":"harpoon/v1","kind":"Job","metadata":%s,"spec":%s}'
    shown = head % (orjson.dumps(metadata), codec.dump_full(job.spec))
    return shown if status is None else joined(shown, status=status)


def _slot(text: str) -> int | str | None:
    """Return what a task's id says of its slot."""
    if text.isascii() and text.isdigit():
        return int(text)
    return text if is_name(text) else None


def task_json(task: Task) -> bytes:
    """Return the task object: the task with what its id says of it."""
    parts = task.id.split(".")
    slot = parts[2] if len(parts) > 2 else ""
    return joined(
        codec.dump_full(task),
        namespace=parts[0],
        job=parts[1] if len(parts) > 1 else "",
        slot=_slot(slot),
        placement=parts[3] if len(parts) > 3 else None,
    )


def agent_json(agent: Agent, link: Link | None, cordon: Cordon | None) -> bytes:
    """Return the agent object without what follows from placements."""
    shown = {
        "state": LinkState.UNKNOWN.value if link is None else link.state.value,
        "since_ms": 0 if link is None else link.since_ms,
        "reason": "" if link is None else link.reason,
    }
    told = None if cordon is None else {name: getattr(cordon, name) for name in _CORDON}
    return joined(codec.dump_full(agent), link=orjson.dumps(shown), cordon=orjson.dumps(told))


class UsedAgent(NamedTuple):
    """All that an agent's object is made of, as it stood at one revision."""

    row: Row[Agent]
    link: Row[Link] | None
    placements: tuple[Row[Placement], ...]
    tasks: tuple[Row[Task], ...]
    cordon: Row[Cordon] | None
    drain: DrainStatus | None

    def json(self) -> bytes:
        """Return the agent object with what is reserved on it and how many of its tasks are not over."""
        reserved = [row.value.reserve for row in self.placements]
        named: Counter[str] = Counter()
        for one in reserved:
            named.update(dict(one.named))
        use = Capacity(cpu=sum(one.cpu for one in reserved), memory=sum(one.memory for one in reserved), named=named)
        running = sum(not row.value.is_over for row in self.tasks)
        link = None if self.link is None else self.link.value
        head = agent_json(self.row.value, link, None if self.cordon is None else self.cordon.value)
        drain = None if self.drain is None else codec.dump_full(self.drain)
        return joined(head, reserved=codec.dump_full(use), tasks=running, drain=drain)


def used_agent(view: View, row: Row[Agent]) -> UsedAgent:
    """Take note of what an agent's object is made of; the view may then go on."""
    name = row.value.name
    placed, tasks = view.placements_on(name).values(), view.tasks_on(name).values()
    cordon = view.cordons.rows.get(name)
    drain = drain_status(view, name) if cordon is not None and cordon.value.is_draining else None
    return UsedAgent(row, view.links.rows.get(name), tuple(placed), tuple(tasks), cordon, drain)


@dataclass(frozen=True, slots=True)
class ShownTask:
    """A task, or a slot that has none yet, told in the same form."""

    task: Task
    placement: Placement | None
    #: At which what is shown was last written.
    revision: int

    def json(self) -> bytes:
        """Return the task object, with what its placement says of it."""
        placement = self.placement
        return joined(
            task_json(self.task),
            version=None if placement is None else placement.version,
            placement_reason=None if placement is None else _placement_reason(placement),
        )


def _placement_reason(placement: Placement) -> str:
    return f"it is revoked: {placement.reason}" if placement.is_revoked else placement.reason


def tasks_of_job(view: View, key: str) -> list[ShownTask]:
    """Return every task of a job in the order of their slots, with slots that wait for one, given the job's key."""
    return shown_tasks(view.tasks_of(key), view.placements_of(key), view.pending.rows.get(key))


def shown_tasks(
    tasks: Mapping[TaskId, Row[Task]], placements: Mapping[TaskId, Row[Placement]], pending: Row[Pending] | None
) -> list[ShownTask]:
    """Return every task of a job in the order of their slots, given what they are made of."""
    shown = [*_tasks(tasks, placements), *([] if pending is None else _pending(pending))]
    return sorted(shown, key=_by_slot)


def jobs_with_tasks(view: View, namespace: str | None) -> list[str]:
    """Return the sorted keys of all jobs of a namespace, or of all, and of jobs that are gone but for their tasks."""
    keys = view.jobs.rows.keys() | view.jobs_reported()
    return sorted(key for key in keys if namespace is None or key.startswith(f"{namespace}/"))


def _tasks(tasks: Mapping[TaskId, Row[Task]], placements: Mapping[TaskId, Row[Placement]]) -> Iterator[ShownTask]:
    for task_id, row in tasks.items():
        placed = placements.get(task_id)
        yield ShownTask(row.value, None if placed is None else placed.value, row.mod_revision)
    for task_id, decided in placements.items():
        if task_id not in tasks and not decided.value.is_denied:
            yield ShownTask(unreported(decided.value), decided.value, decided.mod_revision)


def _pending(row: Row[Pending]) -> Iterator[ShownTask]:
    pending = row.value
    for number, slot in enumerate(pending.slots):
        place = pending.members[number] if pending.members else slot
        task = Task(
            id=TaskId(f"{pending.namespace}.{pending.job}.{place}"),
            agent="",
            generation=pending.generation,
            state=TaskState.PENDING,
            reason=pending.reason,
            since_ms=pending.since_ms,
        )
        yield ShownTask(task, None, row.mod_revision)


def _by_slot(shown: ShownTask) -> tuple[int, str, int, int]:
    parts = shown.task.id.split(".")
    if len(parts) == 3:
        return (int(parts[2]), "", 0, 0) if parts[2].isdigit() else (0, parts[2], 0, 0)
    name = parse_task_id(shown.task.id)
    return (name.slot, name.agent, *name.number)
