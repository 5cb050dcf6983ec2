"""The promises of a watch, each asked of a server from outside; a broken one is a `Violation`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from tests.conformance.events import ENCODINGS, NDJSON, SSE, Event, Violation, place_of
from tests.conformance.history import History
from tests.conformance.judge import (
    Selection,
    changes_of,
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
from tests.conformance.stir import TEAMS, Stir, at_once
from tests.conformance.wire import Address, Refusal, Stream

#: Readers at once; more would only wait for each other.
_AT_ONCE = 16
#: What one reader has been told, the others are told within so much.
_SOON_S = 2.0


def reaches(revision: str) -> Callable[[Event], bool]:
    """Whether an event is of a revision, or of a later one."""
    return lambda event: event.place >= place_of(revision)


async def everything_is_told_once_in_order_and_whole(history: History) -> None:
    """A reader whom nothing disturbs is told what was acknowledged."""
    judge_form(history.events)
    judge_order(history.events)
    judge_acknowledged(history.events, history.acknowledged)
    judge_deletes(history.events)


async def resuming_tells_exactly_the_rest(
    address: Address, history: History, encoding: str, revisions: Iterable[str]
) -> None:
    """After any event, by the parameter as by the header."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def resume(revision: str, by: str) -> None:
        async with gate, opened(address.watch("", encoding, **{by: revision})) as stream:
            told = await stream.until(reaches(history.until))
        judge_order(told, resumed_after=revision)
        judge_tail(history.events, told, revision, history.until)

    await at_once(*(resume(revision, by) for revision in revisions for by in ("after", "last_id")))


async def the_header_wins_over_the_parameter(address: Address, history: History) -> None:
    """A browser that comes back sends both."""
    first, last = history.revisions[0], history.revisions[-1]
    async with opened(address.watch("", SSE, after=first, last_id=last)) as stream:
        told = await stream.until(reaches(history.until))
    judge_tail(history.events, told, last, history.until)


async def both_encodings_tell_the_same(address: Address, stir: Stir) -> None:
    """From the snapshot on, event by event."""
    query = f"namespace={stir.namespace}&kinds=jobs,placements,tasks"
    async with (
        opened(address.watch(query, NDJSON)) as lines,
        opened(address.watch(query, SSE)) as blocks,
        opened(address.watch(query, "*/*")) as any_,
    ):
        streams: tuple[Stream, ...] = (lines, blocks, any_)
        told = [await stream.begun() for stream in streams]
        await stir.stir(8)
        until = await stir.put("mark")
        for one, stream in zip(told, streams, strict=True):
            one += await stream.until(reaches(until))
    begin = max(events[0].place for events in told)
    for events in told:
        judge_form(events)
        judge_order(events)
        judge_equal(*([event for event in changes_of(one) if event.place > begin] for one in (told[0], events)))
        if fold(events) != fold(told[0]):
            raise Violation("the snapshots of two encodings differ")


async def a_snapshot_and_its_changes_are_what_the_lists_show(address: Address, stir: Stir) -> None:
    """At the end, as soon as nothing happens any more; also to someone who begins with a snapshot there."""
    query = f"namespace={stir.namespace}&kinds=jobs,tasks"
    async with opened(address.watch(query)) as stream:
        told = await stream.begun()
        await stir.put("brief")
        await stir.stir(15)
        await stir.delete("brief", wait="15s")
        for _ in range(20):
            listed = await _listed(address, stir.namespace)
            until = await stir.put("mark")
            told += await stream.until(reaches(until))
            # A list is of a moment: when something has happened since, but for the mark, it is read again.
            begun = [event for event in changes_of(told) if event.place < place_of(until)]
            if not begun or begun[-1].place <= place_of(listed[0]):
                break
        else:
            raise Violation("something goes on in a namespace where nothing was asked for")
    state = fold(event for event in told if event.place < place_of(until))
    judge_order(told)
    judge_state(state, listed[1])


async def _listed(address: Address, namespace: str) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    jobs = await address.get(f"/v1/namespaces/{namespace}/jobs")
    tasks = await address.get(f"/v1/namespaces/{namespace}/tasks")
    # A slot without a report is listed as a task, and told as a placement.
    reported = [item for item in tasks["items"] if item["state"] not in ("placed", "pending")]
    revision = min(jobs["revision"], tasks["revision"], key=place_of)
    return revision, {"job": jobs["items"], "task": reported}


def selections(stir: Stir) -> list[Selection]:
    """Ways to select, of all sorts."""
    namespace = stir.namespace
    return [
        Selection(kinds=("job",)),
        Selection(kinds=("placement", "task")),
        Selection(kinds=("agent",)),
        Selection(namespace=namespace),
        Selection(name="web"),
        Selection(kinds=("job", "task"), namespace=namespace, name="api"),
        Selection(namespace=namespace, tags=(("team", TEAMS[0]),)),
        Selection(kinds=("job",), tags=(("team", TEAMS[1]),)),
        Selection(kinds=("task",), namespace=namespace, tags=(("team", TEAMS[0]),)),
    ]


async def selections_tell_what_they_select(address: Address, stir: Stir, wanted: Iterable[Selection]) -> None:
    """What enters is put, what leaves is deleted, the rest is kept silent; live, and when resumed."""
    wanted = list(wanted)
    async with all_opened([address.watch(), *(address.watch(one.query) for one in wanted)]) as (all_, *streams):
        reference = await all_.begun()
        told = [await stream.begun() for stream in streams]
        await stir.put_elsewhere("web", team=TEAMS[0])
        await stir.stir(25)
        await stir.put_elsewhere("web", team=TEAMS[1])
        until = await stir.put("mark")
        reference += await all_.until(reaches(until))
        end = max(event.place for event in reference)
        for one, stream, events in zip(wanted, streams, told, strict=True):
            events += await _read_selected(stream, one, reference, events, end)
    for one, events in zip(wanted, told, strict=True):
        judge_form(events)
        judge_order(events)
        judge_selected(reference, events, one)


async def _read_selected(
    stream: Stream, one: Selection, reference: list[Event], begun: list[Event], end: tuple[int, int]
) -> list[Event]:
    """Read until what is known is what it must be in the end; what has come by then is judged."""
    told: list[Event] = []
    wanted = one.of(fold(event for event in reference if event.place <= end))
    known = fold(begun)
    last = _last_of(reference, one, begun[0].place)
    while known != wanted or (told or begun)[-1].place < last:
        try:
            event = await stream.next(_SOON_S)
        except TimeoutError as error:
            wrong = sorted(at for at in known.keys() | wanted.keys() if known.get(at) != wanted.get(at))
            raise Violation(f"{one.query} was told {told[-1:]} last, and knows otherwise {wrong}") from error
        if event is None:
            raise Violation(f"{one.query} ended after {told[-1:]}")
        if foreign := [at for at in event.keys if not one.by_key(*at)]:
            raise Violation(f"{one.query} is told of {foreign}")
        told.append(event)
        known = fold([event], known)
    return [event for event in told if event.place <= end]


def _last_of(reference: list[Event], one: Selection, begin: tuple[int, int]) -> tuple[int, int]:
    """The last revision that changes what is selected."""
    there: dict[Any, Any] = {}
    known: dict[Any, Any] = {}
    last = begin
    for event in reference:
        there = fold([event], there)
        if (now := one.of(there)) != known:
            known, last = now, max(last, event.place)
    return last


async def what_is_written_at_once_is_told_at_once(address: Address, stir: Stir) -> None:
    """While several write, each several jobs in one commit: in snapshots and in changes."""
    groups = [[f"set{number}-{job}" for job in range(5)] for number in range(4)]
    keys = [[stir.key(name) for name in group] for group in groups]
    for group in groups:
        await stir.apply(group)
    known = len(stir.acknowledged)

    async def write(group: list[str]) -> None:
        for _ in range(10):
            await stir.apply(group)

    async def begin_again(is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            async with opened(address.watch(f"namespace={stir.namespace}&kinds=jobs")) as stream:
                judge_groups(await stream.begun(), keys, _count_of)

    async def write_all(is_over: asyncio.Event) -> None:
        await at_once(*(write(group) for group in groups))
        is_over.set()

    async with opened(address.watch(f"namespace={stir.namespace}&kinds=jobs")) as stream:
        told = await stream.begun()
        is_over = asyncio.Event()
        await at_once(write_all(is_over), begin_again(is_over))
        told += await stream.until(reaches(await stir.put("mark")))
    judge_order(told)
    judge_groups(told, keys, _count_of)
    judge_acknowledged(told, stir.acknowledged[known:])


def _count_of(job: Any) -> Any:
    return job["metadata"]["tags"]["count"]


async def a_bookmark_can_be_resumed_from(address: Address, stir: Stir, bookmark: str) -> None:
    """Nothing is missing up to it, so exactly what came after it is told."""
    first = await stir.put("mark")
    until = await stir.put("mark")
    query = f"namespace={stir.namespace}&kinds=jobs&name=mark"
    for encoding in ENCODINGS:
        async with opened(address.watch(query, encoding, after=bookmark)) as stream:
            told = await stream.until(reaches(until))
        judge_order(told, resumed_after=bookmark)
        if {first, until} - {event.revision for event in told}:
            raise Violation(f"after the bookmark {bookmark}, {first} and {until} were told as {told}")


@asynccontextmanager
async def opened(watch: AbstractAsyncContextManager[Stream]) -> AsyncIterator[Stream]:
    """A watch, whose refusal is a violation."""
    async with AsyncExitStack() as stack:
        try:
            stream = await stack.enter_async_context(watch)
        except Refusal as refusal:
            raise Violation(f"a watch is refused: {refusal}") from refusal
        yield stream


@asynccontextmanager
async def all_opened(watches: Iterable[AbstractAsyncContextManager[Stream]]) -> AsyncIterator[list[Stream]]:
    """Several watches at once."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(watch)) for watch in watches]
