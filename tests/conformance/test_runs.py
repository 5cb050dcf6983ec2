"""What a watch of workflows, runs and attempts promises, asked of a server from outside."""

import secrets
from collections.abc import Iterator

import pytest

from tests.conformance import refusals
from tests.conformance.conftest import in_a_loop
from tests.conformance.events import ENCODINGS, NDJSON, Event, Violation
from tests.conformance.following import follow
from tests.conformance.judge import changes_of, judge_equal, judge_order
from tests.conformance.proxy import FAULTS, Proxy
from tests.conformance.runs import (
    AllEnded,
    RunStir,
    judge_chosen,
    judge_resumed,
    judge_run_form,
    judge_whole,
)
from tests.conformance.wire import Address

pytestmark = pytest.mark.system

#: A connection that is silent for so long is given up.
SILENCE_S = 0.2
BAD = {
    "kinds=runs,jobs": "kinds",
    "kinds=tasks,attempts": "kinds",
    "kinds=runs&name=o-1": "namespace",
    "kinds=runs&status=broken": "status",
    "kinds=jobs&workflow=w": "workflow",
    "kinds=runs&after=5": "after",
}
CHOICES = (
    {"kinds": "runs"},
    {"kinds": "attempts"},
    {"kinds": "runs,attempts", "workflow": "short"},
    {"kinds": "runs", "status": "succeeded"},
)


@pytest.fixture(scope="module")
def stir(address: Address) -> Iterator[RunStir]:
    stir = RunStir(address, f"conformance-{secrets.token_hex(4)}")
    yield stir
    in_a_loop(stir.clean)


@pytest.fixture(scope="module")
def told(address: Address, stir: RunStir) -> list[Event]:
    """What an undisturbed reader was told while much happened."""

    async def read() -> list[Event]:
        async with address.watch(stir.query, NDJSON) as stream:
            told = await stream.begun()
            await stir.stir("a")
            return told + await stream.until(AllEnded(stir.runs))

    return in_a_loop(read)


def test_of_each_run_every_event_is_told_once_in_order_and_whole(told: list[Event], stir: RunStir) -> None:
    judge_run_form(told)
    judge_order(told)
    judge_whole(told, stir.runs)
    puts = [change["key"] for one in told for change in one.changes]
    assert sorted(puts) == [f"{stir.namespace}/{name}" for name in sorted(stir.puts)]


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_resumed_after_any_revision_exactly_the_rest_is_told(
    address: Address, told: list[Event], stir: RunStir, encoding: str
) -> None:
    changes = changes_of(told)
    for one in [told[0], *changes[:-1]][::3]:
        async with address.watch(stir.query, encoding, last_id=one.revision) as stream:
            rest = await stream.until(lambda event: event.revision == changes[-1].revision)
        judge_resumed(told, rest, one.revision, stir.runs)


@pytest.mark.parametrize(("number", "fault"), list(enumerate(FAULTS)))
async def test_who_comes_back_through_whatever_lies_between_is_told_exactly_the_rest(
    address: Address, told: list[Event], stir: RunStir, number: int, fault: str
) -> None:
    last = changes_of(told)[-1].revision
    async with Proxy(address.host, address.port, fault, number).run() as proxy:
        way = address.by(proxy.port), stir.query, ENCODINGS[number % 2], lambda event: event.revision == last
        followed = await follow(*way, after=told[0].revision, silence_s=SILENCE_S)
    judge_resumed(told, followed.events, told[0].revision, stir.runs)


@pytest.mark.parametrize("choice", CHOICES)
async def test_a_choice_tells_exactly_what_is_chosen(
    address: Address, told: list[Event], stir: RunStir, choice: dict[str, str]
) -> None:
    query = "&".join(f"{name}={value}" for name, value in choice.items())
    wanted = _chosen(told, choice, stir)
    async with address.watch(f"{query}&namespace={stir.namespace}", NDJSON, after=told[0].revision) as stream:
        chosen = await stream.until(lambda event: event.revision == wanted[-1].revision)
    judge_chosen(told, chosen, choice, stir.runs)


def _chosen(told: list[Event], choice: dict[str, str], stir: RunStir) -> list[Event]:
    """The changes of which something is chosen."""
    found = []
    for one in changes_of(told):
        try:
            judge_chosen([one], [], choice, stir.runs)
        except Violation:
            found.append(one)
    return found


async def test_two_readers_are_told_the_same_in_either_encoding(address: Address, stir: RunStir) -> None:
    async with address.watch(stir.query, ENCODINGS[0]) as one, address.watch(stir.query, ENCODINGS[1]) as two:
        begun = [await reader.begun() for reader in (one, two)]
        before = set(stir.runs)
        await stir.start("b-1", "b-2", workflow="long")
        both = [await reader.until(AllEnded(stir.runs.keys() - before)) for reader in (one, two)]
    judge_equal(begun[0][1:], begun[1][1:])
    judge_equal(changes_of(both[0]), changes_of(both[1]))


async def test_what_does_not_go_together_is_refused_by_name(address: Address) -> None:
    for query, at in BAD.items():
        answer = await refusals.refusal(address, query)
        assert (answer.status, [error["pointer"] for error in answer.json["errors"]]) == (400, [f"?{at}"]), query


def test_the_judges_find_what_is_wrong() -> None:
    """Each is shown a history with a fault in it."""

    def change(number: int, *seqs: int, kind: str = "claimed") -> Event:
        events = [{"run": "a", "seq": seq, "kind": {1: "started", 3: "ended"}.get(seq, kind)} for seq in seqs]
        return Event({"type": "change", "revision": f"1.{number}", "events": events})

    good = [change(1, 1), change(2, 2), change(3, 3)]
    judge_whole(good, ["a"])
    judge_run_form(good)
    judge_resumed(good, good[1:], "1.1", ["a"])
    for bad in (good[:2], good[1:], [good[0], good[2]], [*good, good[1]], [change(1, 1), change(2, 3), change(3, 2)]):
        with pytest.raises(Violation):
            judge_whole(bad, ["a"])
    for rest in (good[2:], good, [good[1], good[1], good[2]]):
        with pytest.raises(Violation):
            judge_resumed(good, rest, "1.1", ["a"])
    for body in ({}, {"events": []}, {"more": 1}, {"changes": [{"kind": "run", "type": "put", "object": {}}]}):
        with pytest.raises(Violation):
            judge_run_form([Event({"type": "change", "revision": "1.1", **body})])
    with pytest.raises(Violation):
        judge_chosen(good, good, {"kinds": "runs"}, {"a": "w"})
