"""What the store holds, folded from what was committed: the one picture that all checks judge by.

Nothing here is what the system says of itself: it is the store's own word, revision by revision.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from tests.proof.history import Committed, Pair

ROOT: Final = "/h/1/ctl/"
#: Tables whose rows belong to running processes, and come and go with those.
LEASED: Final = frozenset({"holds", "instances"})
#: Holds of agents begin with this.
AGENT_HOLDS: Final = "agents/"
SCHEDULER: Final = "scheduler"

_NOTHING: Final[Mapping[str, Any]] = {}
_SKIP: Final = len(ROOT)


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
        #: The latest revision began the store anew, or was one of those that a registry is copied or restored by.
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
        self._indexes = {
            "meta": self._index_meta,
            "placements": self._index_placement,
            "actual": self._index_report,
            "holds": self._index_hold,
            "jobs": self._index_job,
            "dead": self._index_death,
        }

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

    def is_preempted(self, task: str) -> bool:
        """Return whether a job that waits for room says that a task of another one goes for its sake."""
        return any(task in row.value.get("awaited", ()) for row in self.table("pending").values())

    def fold(self, event: Committed) -> None:
        """Take one revision."""
        self.went_back = event.revision <= self.revision and not event.is_anew
        self.is_anew = event.is_anew or self._is_filling()
        if event.is_anew:
            self._tables, self.slots, self.tasks_on, self.jobs_past = {}, {}, {}, {}
        revision = self.revision = event.revision
        self.t = event.t
        self.count += 1
        changed = []
        for key, value in event.changes.items():
            table, name = key[_SKIP:].split("/", 1)
            rows = self._tables.get(table)
            if rows is None:
                rows = self._tables[table] = {}
            old, new = rows.get(name), None
            if value is not None:
                new = rows[name] = Row(value, revision if old is None else old.create, revision)
            elif old is not None:
                del rows[name]
            change = Change(table, name, old, new)
            changed.append(change)
            index = self._indexes.get(table)
            if index is not None:
                index(change)
        self.changed = tuple(changed)
        self.is_anew = self.is_anew or self._is_filling()

    def _is_filling(self) -> bool:
        return "copying" in self._tables.get("meta", _NOTHING)

    def _index_meta(self, change: Change) -> None:
        if change.key == "cluster" and change.new is not None:
            self.incarnation = change.new.value["incarnation"]

    def _index_placement(self, change: Change) -> None:
        agent, task = change.key.split("/", 1)
        if change.new is None:
            self.slots.get(slot_of(task), {}).pop(task, None)
        elif change.old is None:
            self.slots.setdefault(slot_of(task), {})[task] = agent
            self.placed.setdefault((agent, task), Placed(change.new.value, self.revision, self.count))
            if change.new.value.get("is_exclusive"):
                self.exclusive.add(task)
        self._note(agent, task, change, "actual")

    def _index_report(self, change: Change) -> None:
        self._note(*change.key.split("/", 1), change, "placements")

    def _index_hold(self, change: Change) -> None:
        if change.old is None and change.new is not None:
            what = change.key.removeprefix(AGENT_HOLDS)
            self.holders[what, (self.incarnation, change.new.create)] = change.new.value["instance"]

    def _index_job(self, change: Change) -> None:
        value = None if change.new is None else change.new.value
        self.jobs_past.setdefault(change.key, []).append((self.revision, value))

    def _index_death(self, change: Change) -> None:
        if change.new is not None:
            self.deaths[change.key] = self.count

    def _note(self, agent: str, task: str, change: Change, other: str) -> None:
        """Note whether there is anything of a task on an agent."""
        if change.new is None:
            if change.key not in self._tables.get(other, _NOTHING):
                self.tasks_on.get(agent, set()).discard(task)
        elif change.old is None:
            self.tasks_on.setdefault(agent, set()).add(task)


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
