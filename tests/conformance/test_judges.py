"""The judges can fail: each is shown a history with a fault in it, and must find it; without one it is content."""

import copy
from collections.abc import Callable

import pytest

from tests.conformance.events import ENCODINGS, NDJSON, SSE, Event, Parser, Violation, written
from tests.conformance.judge import (
    Acknowledged,
    Selection,
    fold,
    judge_acknowledged,
    judge_deletes,
    judge_equal,
    judge_form,
    judge_groups,
    judge_order,
    judge_selected,
    judge_state,
    judge_tail,
)

SHOP = Selection(tags=(("team", "shop"),))


def a_job(name: str, revision: str, team: str = "shop", count: int = 0) -> dict:
    tags = {"team": team, "count": str(count)}
    metadata = {"namespace": "ns", "name": name, "revision": revision, "tags": tags}
    return {"metadata": metadata, "spec": {}}


def a_put(kind: str, key: str, told: dict) -> dict:
    return {"kind": kind, "key": key, "type": "put", "object": told}


def a_job_put(name: str, revision: str, team: str = "shop", count: int = 0) -> dict:
    return a_put("job", f"ns/{name}", a_job(name, revision, team, count))


def a_task_put(id_: str, state: str) -> dict:
    return a_put("task", f"a1/{id_}", {"id": id_, "agent": "a1", "state": state})


def a_delete(kind: str, key: str) -> dict:
    return {"kind": kind, "key": key, "type": "delete"}


def a_change(revision: str, *changes: dict) -> Event:
    return Event({"type": "change", "revision": revision, "changes": list(changes)})


def a_history() -> list[Event]:
    """Two jobs, written together more than once; a task; an agent; a bookmark."""
    item = {"kind": "job", "key": "ns/web", "object": a_job("web", "1.3")}
    other = {"kind": "job", "key": "ns/api", "object": a_job("api", "1.3")}
    return [
        Event({"type": "snapshot", "revision": "1.5", "items": [item, other]}),
        Event({"type": "synced", "revision": "1.5"}),
        a_change("1.6", a_task_put("ns.web.0.1-5", "starting")),
        a_change("1.7", a_job_put("web", "1.7", count=1), a_job_put("api", "1.7", count=1)),
        a_change("1.9", a_task_put("ns.web.0.1-5", "running")),
        Event({"type": "bookmark", "revision": "1.10"}),
        a_change("1.11", a_put("agent", "a1", {"name": "a1", "tags": {}})),
        a_change("1.12", a_job_put("web", "1.12", "desk", 2), a_job_put("api", "1.12", "shop", 2)),
        a_change("1.14", a_delete("task", "a1/ns.web.0.1-5")),
    ]


ACKNOWLEDGED = [Acknowledged(revision, (("job", "ns/web"), ("job", "ns/api"))) for revision in ("1.7", "1.12")]
GROUP = [[("job", "ns/web"), ("job", "ns/api")]]


def judged(events: list[Event]) -> None:
    """By everything that can be asked of one reader of everything, beside another one."""
    judge_form(events)
    judge_order(events)
    judge_acknowledged(events, ACKNOWLEDGED)
    judge_deletes(events)
    judge_groups(events, GROUP, lambda job: job["metadata"]["tags"]["count"])
    judge_tail(a_history(), events, "1.5", "1.14")


def dropped(events: list[Event], at: int) -> None:
    del events[at]


def repeated(events: list[Event], at: int) -> None:
    events.insert(at, events[at])


def swapped(events: list[Event], at: int) -> None:
    events[at : at + 2] = events[at : at + 2][::-1]


def split(events: list[Event], at: int) -> None:
    events[at : at + 1] = [a_change(events[at].revision, change) for change in events[at].changes]


def merged(events: list[Event], at: int) -> None:
    both = events[at : at + 2]
    events[at : at + 2] = [a_change(both[1].revision, *both[0].changes, *both[1].changes)]


def put_back(events: list[Event], at: int) -> None:
    events.append(events.pop(at))


MUTATIONS: dict[str, Callable[[list[Event]], None]] = {
    **{
        f"{do.__name__} {at}": lambda e, do=do, at=at: do(e, at)
        for do in (dropped, repeated)
        for at in (2, 3, 4, 6, 7, 8)
    },
    "dropped the snapshot": lambda events: dropped(events, 0),
    "dropped the synced": lambda events: dropped(events, 1),
    "a snapshot again": lambda events: events.insert(4, events[0]),
    "swapped": lambda events: swapped(events, 3),
    "swapped with a bookmark": lambda events: swapped(events, 5),
    "split": lambda events: split(events, 3),
    "merged": lambda events: merged(events, 3),
    "put back": lambda events: put_back(events, 2),
    "a change of nothing": lambda events: events.insert(3, a_change("1.6")),
    "half a revision": lambda events: events[3].changes.pop(),
    "a change twice": lambda events: events[3].changes.append(events[3].changes[0]),
    "a wrong first id": lambda events: events[1].body.update(revision="1.6"),
    "a snapshot that lacks one": lambda events: events[0].body["items"].pop(),
    "a snapshot of the future": lambda events: events[0].body["items"][0]["object"]["metadata"].update(revision="1.6"),
    "an old object": lambda events: events[7].changes[0]["object"]["metadata"].update(revision="1.7"),
    "another object": lambda events: events[4].changes[0]["object"].update(state="failed"),
    "another's object": lambda events: events[4].changes[0].update(key="a2/ns.web.0.1-5"),
    "a put without its object": lambda events: events[4].changes[0].pop("object"),
    "a delete with an object": lambda events: events[8].changes[0].update(object={}),
    "a delete of what was not there": lambda events: events[8].changes.append(a_delete("agent", "a9")),
    "a revision of another incarnation": lambda events: events[8].body.update(revision="2.14"),
    "no revision": lambda events: events[8].body.update(revision="14"),
    "a bookmark that is ahead": lambda events: events[5].body.update(revision="1.99"),
    "a bookmark that goes back": lambda events: events[5].body.update(revision="1.8"),
    "a member that nobody knows": lambda events: events[5].body.update(note="x"),
    "an event that nobody knows": lambda events: events[5].body.update(type="note"),
    "a kind that nobody knows": lambda events: events[8].changes[0].update(kind="pod"),
}


def test_a_history_without_a_fault_is_accepted() -> None:
    judged(a_history())


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_history_with_a_fault_is_not(mutation: str) -> None:
    events = copy.deepcopy(a_history())
    MUTATIONS[mutation](events)
    with pytest.raises(Violation):
        judged(events)


def test_two_readers_that_are_told_differently_are_found() -> None:
    other = copy.deepcopy(a_history())
    judge_equal(a_history(), other)
    other[4].changes[0]["object"]["state"] = "failed"
    for told in (other, a_history()[:-1], [*a_history(), a_history()[-1]]):
        with pytest.raises(Violation):
            judge_equal(a_history(), told)


def selected() -> list[Event]:
    """What the watcher of one team is told of the history: a job leaves it with its task."""
    history = a_history()
    leaves = a_change("1.12", a_delete("job", "ns/web"), history[7].changes[1], a_delete("task", "a1/ns.web.0.1-5"))
    return [*history[:5], leaves]


def test_a_selection_told_as_it_should_be_is_accepted() -> None:
    judge_selected(a_history(), selected(), SHOP)
    by_kind = Selection(kinds=("agent",))
    judge_selected(a_history(), [Event(a_history()[0].body | {"items": []}), a_history()[6]], by_kind)


@pytest.mark.parametrize(
    "mutate",
    [
        lambda told: told[5].changes.pop(0),
        lambda told: told[5].changes.pop(2),
        lambda told: told.pop(5),
        lambda told: told.pop(2),
        lambda told: told.insert(3, a_history()[2]),
        lambda told: told.insert(5, a_change("1.10", a_delete("job", "ns/web"))),
        lambda told: told.append(a_change("1.99", a_delete("job", "ns/api"))),
        lambda told: told.insert(5, a_history()[6]),
    ],
)
def test_a_selection_told_otherwise_is_found(mutate: Callable[[list[Event]], object]) -> None:
    told = copy.deepcopy(selected())
    mutate(told)
    with pytest.raises(Violation):
        judge_order([told[0], a_history()[1], *told[2:]])
        judge_selected(a_history(), told, SHOP)


def test_what_a_selection_of_names_or_kinds_must_not_tell_is_found() -> None:
    for selection in (Selection(kinds=("job",)), Selection(name="web"), Selection(namespace="other")):
        with pytest.raises(Violation):
            judge_selected(a_history(), a_history(), selection)


def test_lists_that_show_something_else_are_found() -> None:
    state = fold(a_history())
    listed = {"job": [one | {"status": {}} for (kind, _), one in state.items() if kind == "job"], "task": []}
    judge_state(state, listed)
    other = copy.deepcopy(listed)
    other["job"][0]["metadata"]["tags"] = {}
    more = {"job": listed["job"], "task": [{"agent": "a1", "id": "ns.web.1.1-5"}]}
    for wrong in (other, more, {"job": listed["job"][1:]}):
        with pytest.raises(Violation):
            judge_state(state, wrong)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("size", [1, 3, 100, 100_000])
def test_events_are_read_from_pieces_of_any_size(encoding: str, size: int) -> None:
    data = b"".join(written(event, encoding) for event in a_history())
    parser = Parser(encoding)
    told = [event for at in range(0, len(data), size) for event in parser.feed(data[at : at + size])]
    assert (told, parser.rest) == (a_history(), b"")


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        (NDJSON, b"{\n"),
        (NDJSON, b"[]\n"),
        (NDJSON, b"\n"),
        (SSE, b'id: 1.2\nevent: change\ndata: {"type":"change","revision":"1.3"}\n\n'),
        (SSE, b'id: 1.3\nevent: bookmark\ndata: {"type":"change","revision":"1.3"}\n\n'),
        (SSE, b'event: change\ndata: {"type":"change","revision":"1.3"}\n\n'),
        (SSE, b'id: 1.3\nid: 1.3\nevent: change\ndata: {"type":"change","revision":"1.3"}\n\n'),
        (SSE, b'id: 1.3\nevent: error\ndata: {"type":"error"}\n\n'),
        (SSE, b"note: x\n\n"),
    ],
)
def test_what_is_written_otherwise_is_no_event(encoding: str, data: bytes) -> None:
    with pytest.raises(Violation):
        Parser(encoding).feed(data)
