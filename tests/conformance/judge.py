"""What a watch promises, as judgements over what was read: each passes in silence, or raises `Violation`.

They know no socket and no clock, so that each of them can be shown a history with a fault in it and must find it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.conformance.events import Event, Violation, place_of

Key = tuple[str, str]
State = dict[Key, Any]
KINDS = ("job", "placement", "task", "agent")
TYPES = ("snapshot", "synced", "change", "bookmark")


@dataclass(frozen=True)
class Acknowledged:
    """A mutation that the server has answered: its revision, and what it must have changed there."""

    revision: str
    keys: tuple[Key, ...]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a watcher asked for."""

    kinds: tuple[str, ...] = KINDS
    namespace: str | None = None
    name: str | None = None
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def query(self) -> str:
        parts = [f"kinds={','.join(f'{kind}s' for kind in self.kinds)}"] if self.kinds != KINDS else []
        parts += [f"namespace={self.namespace}"] if self.namespace else []
        parts += [f"name={self.name}"] if self.name else []
        return "&".join([*parts, *(f"tag={key}={value}" for key, value in self.tags)])

    def by_key(self, kind: str, key: str) -> bool:
        """Whether its key is selected; its tags are another question."""
        namespace, name = owner_of(kind, key)
        in_namespace = self.namespace is None or kind == "agent" or namespace == self.namespace
        return kind in self.kinds and in_namespace and (self.name is None or name == self.name)

    def of(self, state: State) -> State:
        """What a watcher who selects so knows, when this is all there is."""
        return {at: one for at, one in state.items() if self.by_key(*at) and self._by_tags(at, one, state)}

    def _by_tags(self, at: Key, one: Any, state: State) -> bool:
        if at[0] == "agent":
            tags = one["tags"]
        else:
            job = state.get(("job", "/".join(owner_of(*at))))
            tags = job["metadata"]["tags"] if job else {}
        return all(tags.get(key) == value for key, value in self.tags)


def owner_of(kind: str, key: str) -> tuple[str, str]:
    """The namespace and name by which something is selected."""
    if kind == "agent":
        return "", key
    if kind == "job":
        namespace, _, name = key.partition("/")
        return namespace, name
    namespace, name = key.partition("/")[2].split(".")[:2]
    return namespace, name


def changes_of(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if event.type == "change"]


def after(events: Iterable[Event], revision: str) -> list[Event]:
    """The changes that come after a revision."""
    return [event for event in changes_of(events) if event.place > place_of(revision)]


def state_after(state: Mapping[Key, Any], event: Event) -> State:
    """What a reader knows after an event."""
    if event.type == "snapshot":
        return {(item["kind"], item["key"]): item["object"] for item in event.body["items"]}
    known = dict(state)
    for change in event.changes:
        if change["type"] == "put":
            known[change["kind"], change["key"]] = change["object"]
        else:
            known.pop((change["kind"], change["key"]), None)
    return known


def fold(events: Iterable[Event], state: Mapping[Key, Any] | None = None) -> State:
    """What a reader knows after events."""
    known = dict(state or {})
    for event in events:
        known = state_after(known, event)
    return known


def judge_form(events: Sequence[Event]) -> None:
    """Every event has the members it must have, and no more; nothing is told twice within one."""
    members = {"snapshot": {"items"}, "synced": set(), "change": {"changes"}, "bookmark": set()}
    for event in events:
        if event.type not in TYPES:
            raise Violation(f"an event of no known type: {event}")
        if set(event.body) != {"type", "revision"} | members[event.type]:
            raise Violation(f"its members are others: {event}")
        place_of(event.revision)
        if event.type == "change" and not event.changes:
            raise Violation(f"a change of nothing: {event}")
        if len(set(event.keys)) != len(event.keys):
            raise Violation(f"one object, told twice in one event: {event}")
        for one in event.changes or event.body.get("items", ()):
            _judge_object(event, one)


def _judge_object(event: Event, one: dict[str, Any]) -> None:
    type_ = one.get("type") if event.type == "change" else "item"
    wanted = {
        "put": {"kind", "key", "type", "object"},
        "delete": {"kind", "key", "type"},
        "item": {"kind", "key", "object"},
    }
    if type_ not in wanted or set(one) != wanted[type_] or one["kind"] not in KINDS:
        raise Violation(f"neither a put nor a delete of something known: {one}")
    if type_ == "delete":
        return
    told, key = one["object"], one["key"]
    match one["kind"]:
        case "job":
            own = f"{told['metadata']['namespace']}/{told['metadata']['name']}"
            written = told["metadata"]["revision"]
            if type_ == "put" and written != event.revision:
                raise Violation(f"a job of revision {written} in the event of {event.revision}: {key}")
            if place_of(written) > event.place:
                raise Violation(f"a job of revision {written} in a snapshot of {event.revision}: {key}")
        case "agent":
            own = told["name"]
        case "task":
            own = f"{told['agent']}/{told['id']}"
        case _:
            own = f"{told['agent']}/{told['task']}" if "task" in told else key
    if own != key:
        raise Violation(f"the key is {key}, the object is {own}")


def judge_order(events: Sequence[Event], *, resumed_after: str | None = None) -> None:
    """A snapshot and its ``synced`` first, unless resumed; then rising revisions of one incarnation."""
    told = list(events)
    if resumed_after is None:
        if [event.type for event in told[:2]] != ["snapshot", "synced"] or told[0].revision != told[1].revision:
            raise Violation(f"it does not begin with a snapshot and its synced: {told[:2]}")
        at, told = told[0].place, told[2:]
    else:
        at = place_of(resumed_after)
    judge_rising(told, at)


def judge_rising(told: Iterable[Event], at: tuple[int, int]) -> None:
    """Changes of rising revisions of one incarnation, and bookmarks that are not behind them."""
    for event in told:
        if event.type not in ("change", "bookmark"):
            raise Violation(f"no place for this one: {event}")
        if event.place[0] != at[0]:
            raise Violation(f"another incarnation: {event}")
        if event.place < at or (event.type == "change" and event.place == at):
            raise Violation(f"{event.revision} is told after {at[0]}.{at[1]}")
        at = event.place


def judge_equal(reference: Sequence[Event], told: Sequence[Event]) -> None:
    """Event by event the same; the first difference is told."""
    for one, other in zip(reference, told, strict=False):
        if one.body != other.body:
            raise Violation(f"told {other}\nnot {one}")
    if len(reference) != len(told):
        missing, more = reference[len(told) :], told[len(reference) :]
        raise Violation(f"{len(missing)} events are missing: {missing[:1]}; {len(more)} are too many: {more[:1]}")


def judge_tail(reference: Sequence[Event], told: Sequence[Event], revision: str, until: str) -> None:
    """Resumed after a revision, exactly what came after it was told, up to another."""
    wanted = [event for event in after(reference, revision) if event.place <= place_of(until)]
    judge_equal(wanted, [event for event in changes_of(told) if event.place <= place_of(until)])


def judge_acknowledged(events: Sequence[Event], acknowledged: Iterable[Acknowledged]) -> None:
    """What the server has acknowledged at a revision is told in the one event of that revision, all of it."""
    changed = {event.revision: set(event.keys) for event in changes_of(events)}
    for one in acknowledged:
        missing = set(one.keys) - changed.get(one.revision, set())
        if missing:
            raise Violation(f"{sorted(missing)} changed at {one.revision}, which tells {changed.get(one.revision)}")


def judge_deletes(events: Sequence[Event]) -> None:
    """Nothing is deleted that was not there; only for whoever selects everything."""
    known: State = {}
    for event in events:
        for change in event.changes:
            if change["type"] == "delete" and (change["kind"], change["key"]) not in known:
                raise Violation(f"a delete of what was not there: {event}")
        known = state_after(known, event)


def judge_groups(events: Sequence[Event], groups: Iterable[Iterable[Key]], mark: Callable[[Any], Any]) -> None:
    """What is only ever written together never stands in different rounds, in no snapshot and after no event."""
    known: State = {}
    for event in events:
        known = state_after(known, event)
        for group in groups:
            rounds = {mark(known[key]) if key in known else None for key in group}
            if len(rounds) > 1:
                raise Violation(f"after {event.revision}, what was written at once stands at {rounds}")


def judge_selected(reference: Sequence[Event], told: Sequence[Event], selection: Selection) -> None:
    """At every revision, the watcher of a selection knows exactly what there is of it; told by the same objects.

    Args:
        reference: Of everything, from a snapshot on, which is not younger than where ``told`` begins.
        told: From a snapshot on.
        selection: What was asked for.
    """
    for event in told:
        for kind, key in event.keys:
            if not selection.by_key(kind, key):
                raise Violation(f"{kind} {key} is not of {selection.query}: {event}")
    rest = list(told)
    known = fold(one for one in rest if one.type == "snapshot")
    rest = changes_of(rest)
    there: State = {}
    for event in reference:
        there = state_after(there, event)
        if event.place < told[0].place:
            continue
        while rest and rest[0].place <= event.place:
            if rest[0].place != event.place:
                raise Violation(f"a revision of which nobody else was told: {rest[0]}")
            known = state_after(known, rest.pop(0))
        wanted = selection.of(there)
        if known != wanted:
            wrong = sorted(at for at in known.keys() | wanted.keys() if known.get(at) != wanted.get(at))
            raise Violation(f"at {event.revision}, {selection.query} is not as it should be: {wrong}")
    if rest:
        raise Violation(f"a revision of which nobody else was told: {rest[0]}")


def judge_state(state: State, listed: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """What was followed is what the lists show, which add to it what is derived from many.

    Args:
        state: As followed.
        listed: Items of the lists of jobs, tasks and agents that have a record, by their kind.
    """
    keys: dict[str, Callable[[dict[str, Any]], str]] = {
        "job": lambda item: f"{item['metadata']['namespace']}/{item['metadata']['name']}",
        "task": lambda item: f"{item['agent']}/{item['id']}",
        "agent": lambda item: item["name"],
    }
    for kind, items in listed.items():
        shown = {keys[kind](item): item for item in items}
        known = {key: one for (of, key), one in state.items() if of == kind}
        if shown.keys() != known.keys():
            raise Violation(f"{kind}s listed and followed differ by {sorted(shown.keys() ^ known.keys())}")
        for key, one in known.items():
            other = {name: value for name, value in one.items() if shown[key].get(name) != value}
            if other:
                raise Violation(f"{kind} {key} is listed with other values of {sorted(other)}")
