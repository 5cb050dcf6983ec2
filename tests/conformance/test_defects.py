"""The suite can fail: of servers with one planted defect each, it finds every one; without one, it finds nothing."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.conformance import promises, refusals, slow
from tests.conformance.broken import Broken, Defect, Told, shifted
from tests.conformance.events import ENCODINGS, NDJSON, SSE, Event, Violation
from tests.conformance.history import record
from tests.conformance.stir import Stir
from tests.conformance.wire import Address, Torn
from tests.system.cluster import Cluster

pytestmark = pytest.mark.system

#: So few, that each defect is to be found soon.
STEPS = 8


def nth(number: int, do: Callable[[Told, Event], list[Event]]) -> Callable[[Told, Event], list[Event]]:
    """Do something to the n-th change of each stream."""
    return lambda told, event: do(told, event) if event.type == "change" and told.count == number else [event]


def swap(told: Told, event: Event) -> list[Event]:
    if event.type == "change" and told.count == 3:
        told.held = event
        return []
    held, told.held = told.held, None
    return [event] if held is None else [event, held]


def merge(told: Told, event: Event) -> list[Event]:
    if event.type == "change" and told.count == 3:
        told.held = event
        return []
    held, told.held = told.held, None
    return [event] if held is None else [with_changes(event, held.changes + event.changes)]


def with_changes(event: Event, changes: list[dict[str, Any]]) -> Event:
    return Event(event.body | {"changes": changes})


def split(_: Told, event: Event) -> list[Event]:
    if len(event.changes) < 2:
        return [event]
    return [with_changes(event, [change]) for change in event.changes]


def halve(_: Told, event: Event) -> list[Event]:
    return [with_changes(event, event.changes[:1])] if event.type == "change" else [event]


def bare_of_deletes(_: Told, event: Event) -> list[Event]:
    if event.type != "change":
        return [event]
    kept = [change for change in event.changes if change["type"] == "put"]
    return [with_changes(event, kept)] if kept else []


def lacking_an_item(_: Told, event: Event) -> list[Event]:
    return [Event(event.body | {"items": event.body["items"][:-1]})] if event.type == "snapshot" else [event]


def wrong_first_id(_: Told, event: Event) -> list[Event]:
    return [Event(event.body | {"revision": shifted(event.revision, 1)})] if event.type == "synced" else [event]


def old_objects(told: Told, event: Event) -> list[Event]:
    """Every second change tells jobs as they were never."""
    if event.type != "change" or told.count % 2:
        return [event]
    spoilt = [
        {**change, "object": {**change["object"], "spec": {}}}
        if change["kind"] == "job" and change["type"] == "put"
        else change
        for change in event.changes
    ]
    return [with_changes(event, spoilt)]


def other_ids(told: Told, data: bytes) -> bytes:
    return data.replace(b"id: ", b"id: 9", 1) if told.encoding == SSE and b"event: change" in data else data


def without(*names: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda query: {name: value for name, value in query.items() if name not in names}


def resumed_by(number: int) -> Callable[[dict[str, str]], dict[str, str]]:
    def ask(query: dict[str, str]) -> dict[str, str]:
        with suppress(KeyError, Violation):
            return query | {"after": shifted(query["after"], number)}
        return query

    return ask


DEFECTS = {
    "drops an event": Defect(spoil=nth(3, lambda told, event: [])),
    "drops an event of whoever resumes": Defect(
        spoil=lambda told, event: [] if told.is_resumed and told.count == 2 else [event]
    ),
    "repeats an event": Defect(spoil=nth(3, lambda told, event: [event, event])),
    "swaps two events": Defect(spoil=swap),
    "merges two revisions": Defect(spoil=merge),
    "splits a revision": Defect(spoil=split),
    "tells half of a revision": Defect(spoil=halve),
    "tells no deletes": Defect(spoil=bare_of_deletes),
    "leaves an object out of the snapshot": Defect(spoil=lacking_an_item),
    "syncs at a wrong revision": Defect(spoil=wrong_first_id),
    "never syncs, but begins again": Defect(
        spoil=lambda told, event: [Event(event.body | {"type": "bookmark"})] if event.type == "synced" else [event]
    ),
    "tells other objects than the lists": Defect(spoil=old_objects),
    "tells less by one encoding": Defect(
        spoil=lambda told, event: [] if told.encoding == SSE and told.count == 2 else [event]
    ),
    "has ids that are not the revisions": Defect(write=other_ids),
    "writes what is no JSON": Defect(write=lambda told, data: data.replace(b'"changes":[', b'"changes":[,')),
    "resumes one too early": Defect(ask=resumed_by(-1)),
    "resumes one too late": Defect(ask=resumed_by(1)),
    "begins afresh instead of resuming": Defect(ask=without("after")),
}
#: Found by whoever selects.
SELECTING_DEFECTS = {
    "does not heed kinds": Defect(ask=without("kinds")),
    "does not heed names": Defect(ask=without("name")),
    "does not heed namespaces": Defect(ask=without("namespace")),
    "does not heed tags": Defect(ask=without("tag")),
}
#: Found by whoever asks for what must be refused.
REFUSING_DEFECTS = {
    "tells nothing of what cannot be resumed": Defect(refuse_as=200),
    "refuses by a wrong status": Defect(refuse_as=404),
}
SLOW_DEFECTS = {
    "skips for slow readers": Defect(skips_the_slow=True),
    "cuts slow readers off without a word": Defect(is_silent_to_the_slow=True),
}


async def judge_told(address: Address, stir: Stir) -> None:
    """Ask for the promises about what is told, those first that cost little."""
    history = await record(address, stir, is_ours=False, steps=STEPS)
    await promises.everything_is_told_once_in_order_and_whole(history)
    for encoding in ENCODINGS:
        await promises.resuming_tells_exactly_the_rest(address, history, encoding, history.revisions[::3])
    await promises.both_encodings_tell_the_same(address, stir)
    await promises.a_snapshot_and_its_changes_are_what_the_lists_show(address, stir)
    await promises.what_is_written_at_once_is_told_at_once(address, stir)


async def judge_selecting(address: Address, stir: Stir) -> None:
    """Ask for the promises about selections."""
    await promises.selections_tell_what_they_select(address, stir, promises.selections(stir))


async def judge_refusing(address: Address, stir: Stir) -> None:
    """Ask for the promises about refusals."""
    await refusals.bad_parameters_are_named(address)
    await refusals.what_cannot_be_resumed_is_gone(address, stir)


async def judge_slow(address: Address, stir: Stir) -> None:
    """Ask for the promises to slow readers."""
    await slow.a_slow_reader_is_cut_off_with_a_word(address, stir, NDJSON)


ALL = [
    *((name, defect, judge_told) for name, defect in DEFECTS.items()),
    *((name, defect, judge_selecting) for name, defect in SELECTING_DEFECTS.items()),
    *((name, defect, judge_refusing) for name, defect in REFUSING_DEFECTS.items()),
    *((name, defect, judge_slow) for name, defect in SLOW_DEFECTS.items()),
]


@pytest.fixture(autouse=True)
def _ours(cluster: Cluster | None) -> None:
    if cluster is None:
        pytest.skip("the suite itself is judged with a server of its own")


@pytest.mark.parametrize("judge", [judge_told, judge_selecting, judge_refusing])
async def test_a_server_without_a_defect_is_not_accused(
    address: Address, judge: Callable[[Address, Stir], Awaitable[None]]
) -> None:
    stir = Stir(address, seed=4)
    async with Broken(address, Defect()).run() as passed_on:
        await judge(passed_on, stir)
    await stir.clean(wait="0s")


@pytest.mark.parametrize(("defect", "judge"), [case[1:] for case in ALL], ids=[case[0] for case in ALL])
async def test_every_planted_defect_is_found(
    address: Address, defect: Defect, judge: Callable[[Address, Stir], Awaitable[None]]
) -> None:
    stir = Stir(address, seed=4)
    async with Broken(address, defect).run() as broken:
        with pytest.raises((Violation, Torn, TimeoutError)) as found:
            await judge(broken, stir)
    print(f"{found.type.__name__} {str(found.value)[:200]}")
    await stir.clean(wait="0s")
