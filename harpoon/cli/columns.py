"""The kinds of objects at the terminal: what each is called, and of what its table is made."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from harpoon.cli import cells
from harpoon.cli.figures import age, pairs, span, until
from harpoon.cli.nearest import did_you_mean
from harpoon.cli.table import Column, Object
from harpoon.kit.errors import Invalid


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


#: Comes first when objects of several namespaces are listed.
NAMESPACE: Final = Column("NAMESPACE", cells.namespace_of)

JOB: Final = Kind(
    name="job",
    plural="jobs",
    watched=("jobs", "placements", "tasks"),
    columns=(
        Column("NAME", cells.name_of),
        Column("STATE", cells.text("status", "state"), is_state=True),
        Column("SUMMARY", cells.text("status", "summary")),
        Column("OLD", cells.text("status", "outdated")),
        Column("VERSION", cells.text("metadata", "version")),
        Column("AGE", lambda row: age(cells.at(row, "metadata", "created_ms"))),
        Column("CHANGED", lambda row: age(cells.at(row, "metadata", "updated_ms")), is_wide=True),
        Column("GENERATION", cells.text("metadata", "generation"), is_wide=True),
        Column("TAGS", lambda row: pairs(cells.at(row, "metadata", "tags")), is_wide=True),
        Column("WAITING FOR", cells.first_sentence, is_sentence=True),
    ),
)
TASK: Final = Kind(
    name="task",
    plural="tasks",
    watched=("jobs", "placements", "tasks"),
    columns=(
        Column("TASK", cells.name_of),
        Column("STATE", cells.text("state"), is_state=True),
        Column("READY", lambda row: "yes" if row.get("ready") else "no", is_state=True),
        Column("AGENT", cells.text("agent")),
        Column("ADDRESS", cells.addresses),
        Column("RESTARTS", cells.text("restarts")),
        Column("SINCE", lambda row: age(row.get("since_ms"))),
        Column("VERSION", cells.text("version"), is_wide=True),
        Column("GENERATION", cells.text("generation"), is_wide=True),
        Column("PID", cells.text("pid"), is_wide=True),
        Column("LIMITS", cells.limits, is_wide=True),
        Column("WHY", cells.task_reason, is_sentence=True),
    ),
)
AGENT: Final = Kind(
    name="agent",
    plural="agents",
    watched=("agents", "placements"),
    columns=(
        Column("NAME", cells.name_of),
        Column("LINK", cells.text("link", "state"), is_state=True),
        Column("SCHEDULING", cells.scheduling, is_state=True),
        Column("SINCE", lambda row: age(cells.at(row, "link", "since_ms"))),
        Column("TASKS", cells.text("tasks")),
        Column("CPU", lambda row: cells.used("cpu", row)),
        Column("MEMORY", lambda row: cells.used("memory", row)),
        Column("RESOURCES", cells.resources, is_wide=True),
        Column("ENDPOINT", cells.text("endpoint"), is_wide=True),
        Column("TAGS", lambda row: pairs(row.get("tags"))),
        Column("FACTS", lambda row: pairs(row.get("facts")), is_wide=True),
        Column("REASON", cells.text("link", "reason"), is_sentence=True),
    ),
)
ENDPOINT: Final = Kind(
    name="endpoint",
    plural="endpoints",
    watched=("tasks",),
    columns=(
        Column("TASK", cells.name_of),
        Column("SLOT", cells.text("slot")),
        Column("AGENT", cells.text("agent")),
        Column("ADDRESS", cells.addresses),
    ),
)
WAITING: Final = Kind(
    name="waiting",
    plural="waiting",
    watched=("jobs", "placements", "tasks", "agents"),
    columns=(
        Column("COUNT", cells.text("count")),
        Column("KIND", cells.text("kind")),
        Column("SINCE", lambda row: age(row.get("since_ms"))),
        Column("REASON", cells.text("reason"), is_sentence=True),
        Column("WHO", lambda row: ", ".join(map(str, row.get("subjects") or ())), is_sentence=True),
    ),
)
NAMESPACES: Final = Kind(
    name="namespace",
    plural="namespaces",
    watched=(),
    columns=(
        Column("NAME", cells.name_of),
        Column("QUOTA", cells.standing, is_state=True),
        Column("JOBS", lambda row: cells.quota("jobs", row)),
        Column("TASKS", lambda row: cells.quota("tasks", row)),
        Column("CPU", lambda row: cells.quota("cpu", row)),
        Column("MEMORY", lambda row: cells.quota("memory", row)),
        Column("CHANGED", lambda row: age(cells.at(row, "metadata", "updated_ms"))),
        Column("OVER", lambda row: ", ".join(cells.at(row, "status", "over") or ()), is_sentence=True),
    ),
)
WORKFLOW: Final = Kind(
    name="workflow",
    plural="workflows",
    watched=(),
    columns=(
        Column("NAME", cells.name_of),
        Column("OPERATIONS", lambda row: str(len(cells.at(row, "spec", "operations") or ()))),
        Column("INPUTS", lambda row: ",".join(cells.at(row, "spec", "inputs") or ())),
        Column("DEADLINE", cells.text("spec", "deadline")),
        Column("GENERATION", cells.text("metadata", "generation")),
        Column("AGE", lambda row: age(cells.at(row, "metadata", "created_ms"))),
        Column("CHANGED", lambda row: age(cells.at(row, "metadata", "updated_ms"))),
        Column("TAGS", lambda row: pairs(cells.at(row, "metadata", "tags")), is_wide=True),
    ),
)
RUN: Final = Kind(
    name="run",
    plural="runs",
    watched=(),
    columns=(
        Column("RUN", cells.name_of),
        Column("WORKFLOW", cells.text("workflow")),
        Column("STATUS", cells.run_status, is_state=True),
        Column("AGE", lambda row: age(row.get("created_ms"))),
        Column("TOOK", lambda row: span(row.get("created_ms"), row.get("ended_ms"))),
        Column("DEADLINE", lambda row: until(row.get("deadline_ms")), is_wide=True),
        Column("GENERATION", cells.text("generation"), is_wide=True),
        Column("TAGS", lambda row: pairs(row.get("tags")), is_wide=True),
        Column("REASON", cells.text("reason"), is_sentence=True),
    ),
)
BATCH: Final = Kind(
    name="batch",
    plural="batches",
    watched=(),
    columns=(
        Column("BATCH", cells.name_of),
        *(column for column in RUN.columns if column.title not in ("RUN", "WORKFLOW")),
    ),
)
ITEM: Final = Kind(
    name="item",
    plural="items",
    watched=(),
    columns=(
        Column("OPERATION", cells.text("op")),
        Column("VISIT", cells.text("visit"), is_wide=True),
        Column("INDEX", cells.text("index")),
        Column("STATUS", cells.text("status"), is_state=True),
        Column("ATTEMPTS", cells.text("attempts")),
        Column("WORKER", cells.text("worker")),
        Column("TOOK", lambda row: span(row.get("opened_ms"), row.get("ended_ms"))),
        Column("ITEM", lambda row: json.dumps(row.get("item"), ensure_ascii=False), is_sentence=True),
        Column("OUTPUT OR WHY", cells.came_to, is_sentence=True),
    ),
)
WORKER: Final = Kind(
    name="worker",
    plural="workers",
    watched=(),
    columns=(
        Column("NAME", cells.name_of),
        Column("STATE", cells.worker_state, is_state=True),
        Column("BUSY", cells.text("busy")),
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
    Column("AGENTS", cells.text("agents")),
    Column("REVISION", cells.text("revision")),
    Column("LAG", cells.text("lag")),
    Column("SKEW", lambda row: f"{skew} ms" if (skew := row.get("skew_ms")) is not None else ""),
    Column("SINCE", lambda row: age(row.get("since_ms"))),
    Column("URL", cells.text("url")),
    Column("VERSION", cells.text("version"), is_wide=True),
    Column("NOTE", cells.note, is_sentence=True),
)
#: What happened, as `harpoon events` and `describe` show it.
EVENT: Final = (
    Column("AGE", lambda row: age(row.get("at_ms"))),
    Column("REVISION", cells.text("revision"), is_wide=True),
    Column("WHAT", cells.text("subject")),
    Column("EVENT", cells.text("event"), is_state=True),
    Column("DETAIL", cells.text("detail"), is_sentence=True),
)
#: A job's versions; the present one is marked.
VERSION: Final = (
    Column("VERSION", lambda row: f"{row['version']}{' *' if row.get('is_current') else ''}"),
    Column("AGE", lambda row: age(row.get("at_ms"))),
    Column("GENERATION", cells.text("generation")),
    Column("SCALE", cells.text("spec", "scale")),
    Column("TASKS", cells.text("tasks")),
    Column("REVERTED FROM", cells.text("reverted_from")),
    Column("TAGS", lambda row: pairs(row.get("tags")), is_wide=True),
    Column("COMMAND", lambda row: " ".join(map(str, cells.at(row, "spec", "task", "command") or ())), is_sentence=True),
)
KINDS: Final = (JOB, TASK, AGENT, ENDPOINT, WAITING, NAMESPACES, WORKFLOW, RUN, BATCH, ITEM, WORKER)
_SHORT: Final[Mapping[str, tuple[str, ...]]] = {"endpoint": ("ep",), "namespace": ("ns",), "workflow": ("wf",)}


def of_items(rows: Sequence[Object]) -> Kind:
    """Return how these items are shown: with their visits where there are others than the first, as after a repair."""
    if all(row.get("visit") == 1 for row in rows):
        return ITEM
    return replace(ITEM, columns=tuple(column._replace(is_wide=False) for column in ITEM.columns))
