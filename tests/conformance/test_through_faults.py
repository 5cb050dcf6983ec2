"""The promises hold for a reader who comes back, whatever lies between it and the server."""

import asyncio

import pytest

from tests.conformance.events import ENCODINGS, Event, place_of
from tests.conformance.following import follow
from tests.conformance.history import History
from tests.conformance.judge import Selection, fold, judge_form, judge_order, judge_selected, judge_tail
from tests.conformance.promises import opened, reaches
from tests.conformance.proxy import FAULTS, Proxy
from tests.conformance.stir import TEAMS, Stir
from tests.conformance.wire import Address

pytestmark = pytest.mark.system

#: A connection that is silent for so long is given up; where nothing is lost, only patience helps.
SILENCE_S = 0.2
SEEDS = {fault: number for number, fault in enumerate(FAULTS, 11)}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_who_comes_back_is_told_what_the_undisturbed_reader_was_told(
    address: Address, history: History, stir: Stir, fault: str, encoding: str
) -> None:
    async with (
        Proxy(address.host, address.port, fault, SEEDS[fault]).run() as proxy,
        opened(address.watch("", after=history.begin)) as stream,
        asyncio.TaskGroup() as group,
    ):
        seen = asyncio.Event()
        until = asyncio.get_running_loop().create_future()

        def is_last(event: Event) -> bool:
            # What happens while it reads begins when it has reached what had happened.
            if event.place >= history_end:
                seen.set()
            return until.done() and reaches(until.result())(event)

        history_end = history.events[-1].place
        reading = group.create_task(
            follow(address.by(proxy.port), "", encoding, is_last, after=history.begin, silence_s=SILENCE_S)
        )
        group.create_task(_stir_on(stir, seen, until))
        reference = await stream.until(lambda event: until.done() and reaches(until.result())(event))
        followed = await reading
    judge_form(followed.events)
    judge_order(followed.events, resumed_after=history.begin)
    judge_tail(reference, followed.events, history.begin, until.result())
    assert proxy.faults >= (1 if fault in ("delay", "drip") else 2), "nothing was done to it"
    assert fault in ("delay", "drip", "any") or followed.torn_within, "no event was ever cut in two"


async def _stir_on(stir: Stir, seen: asyncio.Event, until: "asyncio.Future[str]") -> None:
    await seen.wait()
    await stir.stir(6)
    until.set_result(await stir.put("mark"))
    # Who was told of the former before it was known to be the last is told of this one.
    await stir.put("mark")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("fault", ["cut", "reset", "any"])
async def test_who_begins_with_a_snapshot_in_such_a_place_ends_with_what_there_is(
    address: Address, stir: Stir, fault: str, encoding: str
) -> None:
    selection = Selection(namespace=stir.namespace, tags=(("team", TEAMS[0]),))
    async with opened(address.watch(f"namespace={stir.namespace}")) as stream:
        reference = await stream.begun()
        async with Proxy(address.host, address.port, fault, 7).run() as proxy, asyncio.TaskGroup() as group:
            until = asyncio.get_running_loop().create_future()
            reading = group.create_task(
                follow(
                    address.by(proxy.port),
                    selection.query,
                    encoding,
                    lambda event: until.done() and reaches(until.result())(event),
                    silence_s=SILENCE_S,
                )
            )
            await stir.stir(10)
            until.set_result(await stir.put("mark", team=TEAMS[0]))
            await stir.put("mark", team=TEAMS[0])
            followed = await reading
            # The mark that ends it for the one may be the first, or the one after it.
            reference += await stream.until(reaches(max(until.result(), followed.events[-1].revision, key=place_of)))
    judge_form(followed.events)
    # It may have been cut off between the snapshot and its `synced`; then it goes on without that.
    told = [event for event in followed.events if event.type != "synced"]
    assert [event.type for event in told].count("snapshot") == 1
    judge_order(told[1:], resumed_after=told[0].revision)
    judge_selected(reference, told, selection)
    assert fold(told) == selection.of(fold(event for event in reference if event.place <= told[-1].place))
