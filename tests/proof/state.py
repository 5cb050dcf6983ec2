"""What the store holds, folded from what was committed: the one picture that all checks judge by.

Nothing here is what the system says of itself: it is the store's own word, revision by revision.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from harpoon.model.task import TaskName, parse_task_id
from tests.proof.history import Committed, Pair

ROOT: Final = "/h/1/ctl/"
#: Tables whose rows belong to running processes, and come and go with those.
LEASED: Final = frozenset({"holds", "instances"})
#: Holds of agents begin with this.
AGENT_HOLDS: Final = "agents/"
SCHEDULER: Final = "scheduler"

_NOTHING: Final[Mapping[str, Any]] = {}


class Row(NamedTuple):
    """A record, when it was made, and when it was written last."""

    value: Any
    create: int
    mod: int


class Change(NamedTuple):
    """What became of one record."""

    table: str
    key: str
    old: Row | None
    new: Row | None


class Placed(NamedTuple):
    """A placement as it was first written."""

    value: Any
    revision: int
    #: How many commits there had been.
    count: int


class State:
    """All tables; keys are those of the store without the table's prefix."""

    def __init__(self) -> None:
        self.revision = 0
        #: Commits seen; unlike revisions it never goes back.
        self.count = 0
        self.incarnation = 1
        self.t = 0.0
        self._tables: dict[str, dict[str, Row]] = {}
        #: What the latest revision changed.
        self.changed: tuple[Change, ...] = ()
        #: The latest revision began the store anew.
        self.is_anew = False
        #: The latest revision is not higher than the one before it, though nothing says that the store began anew.
        self.went_back = False
        #: Slot, as ``<namespace>.<job>.<slot>`` → its placements: task → agent.
        self.slots: dict[str, dict[str, str]] = {}
        #: Agent → task → whatever it has of it: placement, report.
        self.tasks_on: dict[str, set[str]] = {}
        #: Job → how it stood from each revision on: revision, record or None.
        self.jobs_past: dict[str, list[tuple[int, Any]]] = {}
        #: Every placement that ever was, by agent and task.
        self.placed: dict[tuple[str, str], Placed] = {}
        #: What is held, and the token → which instance the store says it was given to.
        self.holders: dict[tuple[str, Pair], str] = {}
        #: Tasks that were placed as exclusive ones.
        self.exclusive: set[str] = set()
        #: Agent → after how many commits it was last declared dead.
        self.deaths: dict[str, int] = {}

    def table(self, name: str) -> Mapping[str, Row]:
        """Return a table's rows."""
        return self._tables.get(name, _NOTHING)

    def row(self, table: str, key: str) -> Row | None:
        """Return a row, if there is one."""
        return self._tables.get(table, _NOTHING).get(key)

    def value(self, table: str, key: str) -> Any:
        """Return a row's value, or None."""
        row = self._tables.get(table, _NOTHING).get(key)
        return None if row is None else row.value

    def placement(self, agent: str, task: str) -> Any:
        """Return the placement of a task on an agent, or None."""
        return self.value("placements", f"{agent}/{task}")

    def reported(self, agent: str, task: str) -> Any:
        """Return what an agent told of a task last, or None."""
        return self.value("actual", f"{agent}/{task}")

    def link(self, agent: str) -> str:
        """Return the state of the link to an agent."""
        value = self.value("links", agent)
        return "unknown" if value is None else str(value["state"])

    def job_at(self, key: str, revision: int) -> Any:
        """Return a job as it stood at a revision, or None."""
        past = self.jobs_past.get(key, ())
        return next((value for since, value in reversed(past) if since <= revision), None)

    def is_dead(self, agent: str) -> bool:
        """Return whether an operator's word that this agent is dead stands."""
        return self.row("dead", agent) is not None

    def hold(self, what: str) -> Row | None:
        """Return the hold of ``scheduler`` or of an agent."""
        return self.row("holds", hold_key(what))

    def token(self, what: str) -> Pair | None:
        """Return the token that a hold has now."""
        row = self.hold(what)
        return None if row is None else (self.incarnation, row.create)

    def placements_of(self, slot: str) -> Iterator[tuple[str, str, Any]]:
        """Yield agent, task and record of each placement of a slot."""
        for task, agent in self.slots.get(slot, _NOTHING).items():
            yield agent, task, self.placement(agent, task)

    def fold(self, event: Committed) -> None:
        """Take one revision."""
        self.went_back = event.revision <= self.revision and not event.is_anew
        self.is_anew = event.is_anew
        if event.is_anew:
            self._tables, self.slots, self.tasks_on, self.jobs_past = {}, {}, {}, {}
        self.revision, self.t = event.revision, event.t
        self.count += 1
        if (record := event.changes.get(ROOT + "meta/cluster")) is not None:
            self.incarnation = record["incarnation"]
        self.changed = tuple(self._write(key, value, event.revision) for key, value in event.changes.items())
        for change in self.changed:
            self._index(change)

    def _write(self, key: str, value: Any, revision: int) -> Change:
        table, _, name = key.removeprefix(ROOT).partition("/")
        rows = self._tables.setdefault(table, {})
        old, new = rows.get(name), None
        if value is None:
            rows.pop(name, None)
        else:
            new = rows[name] = Row(value, revision if old is None else old.create, revision)
        return Change(table, name, old, new)

    def _index(self, change: Change) -> None:
        table, key, new = change.table, change.key, change.new
        if table == "placements":
            agent, _, task = key.partition("/")
            slot = slot_of(task)
            if new is None:
                self.slots.get(slot, {}).pop(task, None)
            else:
                self.slots.setdefault(slot, {})[task] = agent
                self.placed.setdefault((agent, task), Placed(new.value, new.create, self.count))
                if new.value.get("is_exclusive"):
                    self.exclusive.add(task)
            self._note(agent, task)
        elif table == "actual":
            self._note(*key.split("/", 1))
        elif table == "jobs":
            self.jobs_past.setdefault(key, []).append((self.revision, None if new is None else new.value))
        elif table == "holds" and new is not None and new.create == new.mod:
            what = key.removeprefix(AGENT_HOLDS)
            self.holders[what, (self.incarnation, new.create)] = new.value["instance"]
        elif table == "dead" and new is not None:
            self.deaths[key] = self.count

    def _note(self, agent: str, task: str) -> None:
        tasks = self.tasks_on.setdefault(agent, set())
        if self.placement(agent, task) is None and self.reported(agent, task) is None:
            tasks.discard(task)
        else:
            tasks.add(task)


def hold_key(what: str) -> str:
    """Return the key of a hold, as tokens name what is held."""
    return what if what == SCHEDULER else AGENT_HOLDS + what


def slot_of(task: str) -> str:
    """Return the slot of a task: ``<namespace>.<job>.<slot>``."""
    return task.rpartition(".")[0]


def job_of(task: str) -> str:
    """Return the key of a task's job."""
    return task.rsplit(".", 2)[0].replace(".", "/", 1)


def number_of(task: str) -> Pair:
    """Return the number of a task's placement."""
    incarnation, _, revision = task.rpartition(".")[2].partition("-")
    return int(incarnation), int(revision)


def name_of(task: str) -> TaskName:
    """Take a task's id apart."""
    return parse_task_id(task)


def is_over(report: Mapping[str, Any]) -> bool:
    """Return whether a report says that no process of the task runs any more, or ever will."""
    return (report.get("reported") or report["state"]) in ("finished", "failed")


_NOTHING_RESERVED: Final[Mapping[str, Any]] = {}


def reservation(state: State, agent: str, task: str) -> Mapping[str, Any]:
    """Return what a task takes from its agent: until it is denied, or gone from the store and over at the agent."""
    placed = state.placement(agent, task)
    if placed is not None and not placed.get("is_denied"):
        return placed.get("reserve", _NOTHING_RESERVED)
    report = state.reported(agent, task)
    if report is None or is_over(report):
        return _NOTHING_RESERVED
    known = state.placed.get((agent, task))
    return _NOTHING_RESERVED if known is None else known.value.get("reserve", _NOTHING_RESERVED)
