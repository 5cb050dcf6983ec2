"""What tables show of each kind of object, and what an object is called."""

import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from harpoon.cli.nearest import did_you_mean
from harpoon.cli.table import Column, Object
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Invalid
from harpoon.model.name import BATCH as OF_BATCH
from harpoon.model.units import parse_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of object at the terminal."""

    #: As in ``job/web``.
    name: str
    #: As in the API's paths and the watch's kinds.
    plural: str
    columns: Sequence[Column]
    #: The kinds whose changes can change a row.
    watched: tuple[str, ...]

    def is_called(self, word: str) -> bool:
        """Whether a word names it: its singular, its plural or its first letters."""
        return word.lower() in (self.name, self.plural, *_SHORT.get(self.name, ()))


#: Ages are counted from then; None: from now.
NOW_MS: ContextVar[int | None] = ContextVar("now_ms", default=None)


def age(since_ms: object) -> str:
    """Say how long ago a moment (UTC milliseconds) was, in its largest unit; empty for none."""
    if not isinstance(since_ms, int) or since_ms <= 0:
        return ""
    now_ms = NOW_MS.get()
    seconds = max(0, (SystemClock().now().wall if now_ms is None else now_ms) - since_ms) // 1000
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def until(at_ms: object) -> str:
    """Write a moment (UTC milliseconds) in full; empty for none."""
    if not isinstance(at_ms, int):
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def in_zone(at_ms: object, zone: str) -> str:
    """Write a moment (UTC milliseconds) as clocks of a zone show it, to the minute; empty for none."""
    from harpoon.core.cron import local_of  # noqa: PLC0415 most tables need no calendar

    return f"{local_of(zone, at_ms):%Y-%m-%d %H:%M %Z}" if isinstance(at_ms, int) else ""


def pairs(mapping: object, *, joint: str = "=") -> str:
    """Write a mapping as ``a=1,b=2``."""
    return ",".join(f"{k}{joint}{v}" for k, v in mapping.items()) if isinstance(mapping, Mapping) else ""


def addresses(task: Object) -> str:
    """Write where a task's or endpoint's ports are: ``http=127.0.0.1:8000``."""
    ports, host = task.get("ports"), str(task.get("address") or "")
    if not isinstance(ports, Mapping):
        return ""
    host = f"[{host}]" if ":" in host else host
    return ",".join(f"{name}={host}:{port}" for name, port in ports.items())


def name_of(row: Object) -> str:
    """Return what identifies a row within its kind and namespace."""
    named = _at(row, "metadata", "name") or row.get("name") or row.get("id") or row.get("task") or row.get("reason")
    return str(named or "")


def namespace_of(row: Object) -> str:
    """Return a row's namespace; empty for what has none."""
    return str(_at(row, "metadata", "namespace") or row.get("namespace") or "")


def kind_of(text: str) -> Kind:
    """Return the kind that a word names: its singular, its plural or its first letters.

    Raises:
        Invalid: There is no such kind.
    """
    for kind in KINDS:
        if kind.is_called(text):
            return kind
    if text.lower() in ("secret", "secrets"):
        raise Invalid("secrets have a verb of their own: harpoon secret get, harpoon secret describe NAME")
    kinds = ", ".join(kind.plural for kind in KINDS)
    near = did_you_mean(text.lower(), [word for kind in KINDS for word in (kind.name, kind.plural)])
    hint = near or f"; kinds are {kinds}. Was a job's name meant? write job/{text}"
    raise Invalid(f"there is no kind {text!r}{hint}")


def _at(row: Object, *path: str) -> Any:
    value: Any = row
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(*path: str) -> Any:
    """Return a function that writes the field at ``path``."""

    def cell(row: Object) -> str:
        value = _at(row, *path)
        return "" if value is None else str(value)

    return cell


def _used(resource: str, row: Object) -> str:
    """Write ``reserved/offered`` of one resource of an agent."""
    values = [str(_at(row, which, resource) or "0") for which in ("reserved", "capacity")]
    return "/".join(values if resource == "cpu" else map(rounded, values))


def _quota(field: str, row: Object) -> str:
    """Write ``used/limit`` of one limit of a namespace; only what is used, where there is none."""
    values = (_at(row, "status", "used", field), _at(row, "spec", "quota", field))
    told = [str(value) for value in values if value is not None]
    return "/".join(map(rounded, told) if field == "memory" else told)


def _came_to(item: Object) -> str:
    """Say what an item waits for, why it failed, or what it came to."""
    said = item.get("waits_for") or item.get("error")
    output = item.get("output")
    return str(said) if said or output is None else json.dumps(output, ensure_ascii=False)


def flow_said(name: str) -> str:
    """Say of which workflow a run is, or an operation; of a batch, which has none, that it is one."""
    return f"(batch){name.removeprefix(OF_BATCH)}" if name.startswith(OF_BATCH) else name


def span(began_ms: object, ended_ms: object = None) -> str:
    """Say how long something took, or has taken so far, in two units at most; empty: it has not begun."""
    if not isinstance(began_ms, int):
        return ""
    until_ms = ended_ms if isinstance(ended_ms, int) else NOW_MS.get() or SystemClock().now().wall
    return length(max(0, until_ms - began_ms))


def length(milliseconds: int) -> str:
    """Write a span in two units at most: ``1.25s``, ``4m30s``, ``2d3h``."""
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.3g}s" if milliseconds < 59_950 else "60s"
    seconds = milliseconds // 1000
    for unit, size, lower, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size}{unit}" + (f"{rest}{lower}" if rest else "")
    raise AssertionError


def run_status(row: Object) -> str:
    """Say how a run stands; that it is paused, or a failure is parked, is more than that it runs."""
    if row.get("ended_ms") is None and (row.get("is_paused") or row.get("incidents")):
        return "paused" if row.get("is_paused") else "parked"
    return str(row.get("status") or "")


def _standing(row: Object) -> str:
    """Say how a namespace stands to its quota."""
    if _at(row, "metadata", "created_ms") is None:
        return "none"
    return "over" if _at(row, "status", "over") else "kept"


def resources(agent: Object) -> str:
    """Write what is reserved of an agent's named resources: ``gpu=1/2``."""
    offered, reserved = _at(agent, "capacity", "named") or {}, _at(agent, "reserved", "named") or {}
    return ",".join(f"{name}={reserved.get(name, 0)}/{offered.get(name, 0)}" for name in sorted({*offered, *reserved}))


def rounded(size: str) -> str:
    """Write a size with three digits, which is what fits a column: ``24684084Ki`` is ``23.5Gi``."""
    try:
        amount = float(parse_size(size))
    except ValueError:
        return size
    for unit in ("", "Ki", "Mi", "Gi"):
        if amount < 1000:
            return f"{amount:.3g}{unit}"
        amount /= 1024
    return f"{amount:.3g}Ti"


def _first_sentence(row: Object) -> str:
    waiting = _at(row, "status", "waiting")
    if not isinstance(waiting, list):
        return ""
    return str(waiting[0]) + (f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else "") if waiting else ""


def _task_reason(row: Object) -> str:
    return "" if row.get("ready") else str(row.get("reason") or row.get("placement_reason") or "")


def limits(task: Object) -> str:
    """Write which of a task's limits are enforced: ``memory=yes,pids=no``."""
    told = task.get("limits")
    if not isinstance(told, list):
        return ""
    return ",".join(f"{one.get('name')}={'yes' if one.get('is_enforced') else 'no'}" for one in told)


def scheduling(agent: Object) -> str:
    """Say whether an agent takes new tasks."""
    cordon = agent.get("cordon")
    if not isinstance(cordon, Mapping):
        return "yes"
    return "draining" if cordon.get("is_draining") else "cordoned"


def note(instance: Object) -> str:
    """Say what is wrong with an instance; empty: nothing that is known."""
    unfit = f"takes no holds: {instance['unfit']}" if instance.get("unfit") else ""
    return "; ".join(one for one in (unfit, str(instance.get("reason") or "")) if one)


def _worker_state(worker: Object) -> str:
    """Say whether a worker is heard, and takes more."""
    if worker.get("is_quiet"):
        return "quiet"
    sessions = [one for one in worker.get("sessions") or () if not one.get("is_quiet")]
    return "draining" if sessions and all(one.get("is_draining") for one in sessions) else "connected"


#: Comes first when objects of several namespaces are listed.
NAMESPACE: Final = Column("NAMESPACE", namespace_of)

JOB: Final = Kind(
    name="job",
    plural="jobs",
    watched=("jobs", "placements", "tasks"),
    columns=(
        Column("NAME", name_of),
        Column("STATE", _text("status", "state"), is_state=True),
        Column("SUMMARY", _text("status", "summary")),
        Column("OLD", _text("status", "outdated")),
        Column("VERSION", _text("metadata", "version")),
        Column("AGE", lambda row: age(_at(row, "metadata", "created_ms"))),
        Column("CHANGED", lambda row: age(_at(row, "metadata", "updated_ms")), is_wide=True),
        Column("GENERATION", _text("metadata", "generation"), is_wide=True),
        Column("TAGS", lambda row: pairs(_at(row, "metadata", "tags")), is_wide=True),
        Column("WAITING FOR", _first_sentence, is_sentence=True),
    ),
)
TASK: Final = Kind(
    name="task",
    plural="tasks",
    watched=("jobs", "placements", "tasks"),
    columns=(
        Column("TASK", name_of),
        Column("STATE", _text("state"), is_state=True),
        Column("READY", lambda row: "yes" if row.get("ready") else "no", is_state=True),
        Column("AGENT", _text("agent")),
        Column("ADDRESS", addresses),
        Column("RESTARTS", _text("restarts")),
        Column("SINCE", lambda row: age(row.get("since_ms"))),
        Column("VERSION", _text("version"), is_wide=True),
        Column("GENERATION", _text("generation"), is_wide=True),
        Column("PID", _text("pid"), is_wide=True),
        Column("LIMITS", limits, is_wide=True),
        Column("WHY", _task_reason, is_sentence=True),
    ),
)
AGENT: Final = Kind(
    name="agent",
    plural="agents",
    watched=("agents", "placements"),
    columns=(
        Column("NAME", name_of),
        Column("LINK", _text("link", "state"), is_state=True),
        Column("SCHEDULING", scheduling, is_state=True),
        Column("SINCE", lambda row: age(_at(row, "link", "since_ms"))),
        Column("TASKS", _text("tasks")),
        Column("CPU", lambda row: _used("cpu", row)),
        Column("MEMORY", lambda row: _used("memory", row)),
        Column("RESOURCES", resources, is_wide=True),
        Column("ENDPOINT", _text("endpoint"), is_wide=True),
        Column("TAGS", lambda row: pairs(row.get("tags"))),
        Column("FACTS", lambda row: pairs(row.get("facts")), is_wide=True),
        Column("REASON", _text("link", "reason"), is_sentence=True),
    ),
)
ENDPOINT: Final = Kind(
    name="endpoint",
    plural="endpoints",
    watched=("tasks",),
    columns=(
        Column("TASK", name_of),
        Column("SLOT", _text("slot")),
        Column("AGENT", _text("agent")),
        Column("ADDRESS", addresses),
    ),
)
WAITING: Final = Kind(
    name="waiting",
    plural="waiting",
    watched=("jobs", "placements", "tasks", "agents"),
    columns=(
        Column("COUNT", _text("count")),
        Column("KIND", _text("kind")),
        Column("SINCE", lambda row: age(row.get("since_ms"))),
        Column("REASON", _text("reason"), is_sentence=True),
        Column("WHO", lambda row: ", ".join(map(str, row.get("subjects") or ())), is_sentence=True),
    ),
)
NAMESPACES: Final = Kind(
    name="namespace",
    plural="namespaces",
    watched=(),
    columns=(
        Column("NAME", name_of),
        Column("QUOTA", _standing, is_state=True),
        Column("JOBS", lambda row: _quota("jobs", row)),
        Column("TASKS", lambda row: _quota("tasks", row)),
        Column("CPU", lambda row: _quota("cpu", row)),
        Column("MEMORY", lambda row: _quota("memory", row)),
        Column("CHANGED", lambda row: age(_at(row, "metadata", "updated_ms"))),
        Column("OVER", lambda row: ", ".join(_at(row, "status", "over") or ()), is_sentence=True),
    ),
)
WORKFLOW: Final = Kind(
    name="workflow",
    plural="workflows",
    watched=(),
    columns=(
        Column("NAME", name_of),
        Column("OPERATIONS", lambda row: str(len(_at(row, "spec", "operations") or ()))),
        Column("INPUTS", lambda row: ",".join(_at(row, "spec", "inputs") or ())),
        Column("DEADLINE", _text("spec", "deadline")),
        Column("GENERATION", _text("metadata", "generation")),
        Column("AGE", lambda row: age(_at(row, "metadata", "created_ms"))),
        Column("CHANGED", lambda row: age(_at(row, "metadata", "updated_ms"))),
        Column("TAGS", lambda row: pairs(_at(row, "metadata", "tags")), is_wide=True),
    ),
)
RUN: Final = Kind(
    name="run",
    plural="runs",
    watched=(),
    columns=(
        Column("RUN", name_of),
        Column("WORKFLOW", lambda row: flow_said(str(row.get("workflow") or ""))),
        Column("STATUS", run_status, is_state=True),
        Column("AGE", lambda row: age(row.get("created_ms"))),
        Column("TOOK", lambda row: span(row.get("created_ms"), row.get("ended_ms"))),
        Column("DEADLINE", lambda row: until(row.get("deadline_ms")), is_wide=True),
        Column("GENERATION", _text("generation"), is_wide=True),
        Column("TAGS", lambda row: pairs(row.get("tags")), is_wide=True),
        Column("REASON", _text("reason"), is_sentence=True),
    ),
)
BATCH: Final = Kind(
    name="batch",
    plural="batches",
    watched=(),
    columns=(
        Column("BATCH", name_of),
        *(column for column in RUN.columns if column.title not in ("RUN", "WORKFLOW")),
    ),
)
ITEM: Final = Kind(
    name="item",
    plural="items",
    watched=(),
    columns=(
        Column("OPERATION", _text("op")),
        Column("VISIT", _text("visit"), is_wide=True),
        Column("INDEX", _text("index")),
        Column("STATUS", _text("status"), is_state=True),
        Column("ATTEMPTS", _text("attempts")),
        Column("WORKER", _text("worker")),
        Column("TOOK", lambda row: span(row.get("opened_ms"), row.get("ended_ms"))),
        Column("ITEM", lambda row: json.dumps(row.get("item"), ensure_ascii=False), is_sentence=True),
        Column("OUTPUT OR WHY", _came_to, is_sentence=True),
    ),
)
WORKER: Final = Kind(
    name="worker",
    plural="workers",
    watched=(),
    columns=(
        Column("NAME", name_of),
        Column("STATE", _worker_state, is_state=True),
        Column("BUSY", _text("busy")),
        Column("SESSIONS", lambda row: str(len(row.get("sessions") or ()))),
        Column("HEARD", lambda row: age(row.get("heard_ms"))),
        Column("SINCE", lambda row: age(row.get("since_ms"))),
        Column("HANDLERS", lambda row: ", ".join(map(str, row.get("handlers") or ())), is_sentence=True),
    ),
)
#: Live instances; the one that was asked is marked.
INSTANCE: Final = (
    Column("INSTANCE", lambda row: f"{row['name']}{' *' if row.get('is_self') else ''}"),
    Column("LEADER", lambda row: str(row.get("token") or "yes") if row.get("is_leader") else ""),
    Column("AGENTS", _text("agents")),
    Column("REVISION", _text("revision")),
    Column("LAG", _text("lag")),
    Column("SKEW", lambda row: f"{skew} ms" if (skew := row.get("skew_ms")) is not None else ""),
    Column("SINCE", lambda row: age(row.get("since_ms"))),
    Column("URL", _text("url")),
    Column("VERSION", _text("version"), is_wide=True),
    Column("NOTE", note, is_sentence=True),
)
#: What happened, as `harpoon events` and `describe` show it.
EVENT: Final = (
    Column("AGE", lambda row: age(row.get("at_ms"))),
    Column("REVISION", _text("revision"), is_wide=True),
    Column("WHAT", _text("subject")),
    Column("EVENT", _text("event"), is_state=True),
    Column("DETAIL", _text("detail"), is_sentence=True),
)
#: A job's versions; the present one is marked.
VERSION: Final = (
    Column("VERSION", lambda row: f"{row['version']}{' *' if row.get('is_current') else ''}"),
    Column("AGE", lambda row: age(row.get("at_ms"))),
    Column("GENERATION", _text("generation")),
    Column("SCALE", _text("spec", "scale")),
    Column("TASKS", _text("tasks")),
    Column("REVERTED FROM", _text("reverted_from")),
    Column("TAGS", lambda row: pairs(row.get("tags")), is_wide=True),
    Column("COMMAND", lambda row: " ".join(map(str, _at(row, "spec", "task", "command") or ())), is_sentence=True),
)
KINDS: Final = (JOB, TASK, AGENT, ENDPOINT, WAITING, NAMESPACES, WORKFLOW, RUN, BATCH, ITEM, WORKER)
_SHORT: Final[Mapping[str, tuple[str, ...]]] = {"endpoint": ("ep",), "namespace": ("ns",), "workflow": ("wf",)}
