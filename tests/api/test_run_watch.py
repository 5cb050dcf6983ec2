"""Watching runs: how they stand, then each event once and in order, whoever conducts them and however often one is cut."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import ClientPayloadError

from harpoon.api import run_channel
from harpoon.api.limits import Limits
from harpoon.api.run_feed import RUN_FEED
from harpoon.control.keyed_records import KEYED
from harpoon.control.ledger_records import LOG, shard_of
from harpoon.control.runs import SHARD_HOLDS, shard_name
from harpoon.core.step import Signal
from harpoon.kit import codec
from harpoon.model.run_watched import RunChange, RunOver, RunsChange, RunSnapshot, RunsSnapshot, RunSynced
from harpoon.store.hold import HOLDS
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Change, Compacted, Delete, Page, Rewound, SlowWatcher, Store, StoreUnavailable
from tests.api.rig import PATIENCE_S, TOKEN, Reader, Rig
from tests.api.runs_rig import RUNS, Worker, a_runs_rig, conducting, declare, start
from tests.api.telling import as_problem
from tests.api.test_run_holders import HIGH, a_name, two
from tests.api.test_slow import a_wire
from tests.workflows import a_workflow

NDJSON, SSE = "application/x-ndjson", "text/event-stream"
HANDLERS = ("payments.refund", "mail.send", "desk.ask")
WATCH = f"{RUNS}/o-1?watch=true"
LISTED = f"{RUNS}?watch=true"
WAITING = a_workflow(wait_paid={"wait": {"signal": "paid"}})
Event = dict[str, Any]


def events_of(messages: list[Event], run: str | None = None) -> list[Event]:
    """All events of these messages."""
    every = [event for message in messages for event in message.get("events", ())]
    return [event for event in every if run is None or event["run"] == run]


def seqs(messages: list[Event], run: str | None = None) -> list[int]:
    return [event["seq"] for event in events_of(messages, run)]


def kinds(messages: list[Event], run: str | None = None) -> list[str]:
    return [event["kind"] for event in events_of(messages, run)]


def has(kind: str, run: str = "o-1") -> Any:
    """Whether a message tells of such an event."""
    return lambda message: kind in kinds([message], run)


async def refund(rig: Rig, *runs: str) -> None:
    """Start refunds, and bring each to its end before the next."""
    worker = Worker(rig, *HANDLERS, name="w2")
    for run in runs or ("o-1",):
        await start(rig, run)
        await finish(worker)


async def finish(worker: Worker) -> None:
    await worker.close(await worker.claim(), output={"id": "r-9"})
    await worker.close(await worker.claim())


async def history(rig: Rig, run: str = "o-1") -> list[Event]:
    """All that happened in a run, told to one who was never there."""
    async with rig.watch(f"{RUNS}/{run}?watch=true&after=0") as reader:
        return await reader.until_type("over")


@pytest.mark.parametrize("accept", [NDJSON, SSE, "*/*"])
async def test_a_run_is_told_as_it_stands_and_then_event_by_event_to_its_end(accept: str) -> None:
    async with a_runs_rig(token=TOKEN) as rig:
        await declare(rig)
        await start(rig)
        worker = Worker(rig, *HANDLERS)
        async with rig.watch(WATCH, accept) as reader:
            snapshot, synced = await reader.until_type("synced")
            assert (snapshot["seq"], snapshot["run"]["status"]) == (1, "running")
            assert synced == {"type": "synced", "seq": 1}
            assert snapshot["run"]["visits"][0]["op"] == "pay_back"
            await finish(worker)
            told = await reader.until_type("over")
            assert reader.response.headers["X-Accel-Buffering"] == "no"
            assert await reader.rest() == []
        assert kinds(told) == ["claimed", "closed", "claimed", "closed", "ended"]
        assert seqs(told) == [2, 3, 4, 5, 6]
        closed, ended = events_of(told)[1], events_of(told)[-1]
        assert (closed["op"], closed["label"], closed["output"]) == ("pay_back", "done", {"id": "r-9"})
        assert closed["opened"] == [{"op": "tell", "visit": 1}]
        assert (ended["status"], ended["output"]) == ("succeeded", {"refund": "r-9"})
        assert told[-1] == {"type": "over", "seq": 6, "status": "succeeded", "reason": ""}
        assert b"token" not in b"".join(reader.raw)
        assert b"session" not in b"".join(reader.raw)
        codec.decode(RunSnapshot, orjson.dumps(snapshot))
        codec.decode(RunSynced, orjson.dumps(synced))
        for one in told[:-1]:
            codec.decode(RunChange, orjson.dumps(one))
        codec.decode(RunOver, orjson.dumps(told[-1]))
        # It is over: whoever comes now is told so, and need not wait.
        async with rig.watch(WATCH, accept) as reader:
            assert [one["type"] for one in await reader.until_type("over")] == ["snapshot", "synced", "over"]


async def test_pause_resume_signal_and_cancel_are_told() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, WAITING)
        await start(rig, workflow="flow")
        async with rig.watch(WATCH) as reader:
            await reader.until_type("snapshot")
            await rig.ask("POST", f"{RUNS}/o-1/pause", {})
            await rig.ask("POST", f"{RUNS}/o-1/signals/paid", {"id": "s-1", "payload": {"amount": 2}})
            await rig.ask("POST", f"{RUNS}/o-1/cancel", {"reason": "ordered twice"})
            told = events_of(await reader.until_type("over"))
        assert [event["kind"] for event in told] == ["paused", "signalled", "cancelled", "ended"]
        assert (told[1]["signal"], told[1]["name"], told[1]["output"]) == ("s-1", "paid", {"amount": 2})
        assert told[3]["reason"] == "ordered twice"


@pytest.mark.parametrize("accept", [NDJSON, SSE])
async def test_a_watch_of_a_run_resumed_after_any_event_misses_nothing_and_repeats_nothing(
    any_store: Store, accept: str
) -> None:
    async with a_runs_rig(store=any_store) as rig:
        await declare(rig)
        await refund(rig)
        whole = events_of(await history(rig))
        assert [event["seq"] for event in whole] == [1, 2, 3, 4, 5, 6]
        for seq in range(7):
            async with rig.watch(f"{WATCH}&after={seq}", accept) as reader:
                told = await reader.until_type("over")
            assert events_of(told) == whole[seq:]
            # A client of server-sent events names the last it had.
            async with rig.watch(f"{WATCH}&after=0", accept, Last_Event_ID=str(seq)) as reader:
                assert events_of(await reader.until_type("over")) == whole[seq:]


async def cut_often(rig: Rig, path: str, is_last: Any) -> list[Event]:
    """Watch, and leave after each message to come back where it was, until it is the last one."""
    told: list[Event] = []
    after = ""
    while True:
        async with rig.watch(f"{path}{after}") as reader:
            message = await reader.next()
            assert message is not None
            told.append(message)
            if is_last(message):
                return told
            after = f"&after={message.get('revision', message.get('seq'))}"


async def test_a_watch_that_is_cut_again_and_again_while_much_happens_is_whole(any_store: Store) -> None:
    async with a_runs_rig(store=any_store) as rig, asyncio.TaskGroup() as group:
        await declare(rig)
        await start(rig)
        one = group.create_task(cut_often(rig, WATCH, lambda message: message["type"] == "over"))
        all_ = group.create_task(cut_often(rig, LISTED, has("ended", "o-9")))
        await asyncio.sleep(0)
        worker = Worker(rig, *HANDLERS)
        await finish(worker)
        for run in ("o-7", "o-8", "o-9"):
            await start(rig, run)
            await finish(worker)
        told = await one
        first = told[0]["seq"] + 1 if told[0]["type"] == "snapshot" else 1
        assert seqs(told) == list(range(first, 7))
        many = await all_
        for run in ("o-7", "o-8", "o-9"):
            assert seqs(many, run) == [1, 2, 3, 4, 5, 6]


async def test_a_run_is_told_on_by_whatever_instance_while_its_shard_changes_hands(any_store: Store) -> None:
    async with two(store=any_store) as (first, second):
        await declare(second)
        await first.view.mirror.reached(second.view.revision)
        run = a_name(HIGH)
        shard = shard_of(f"default/{run}")
        await start(second, run)
        path = f"{RUNS}/{run}?watch=true"
        async with first.watch(path) as far, second.watch(path) as near, first.watch(LISTED) as many:
            for reader in (far, near):
                await reader.until_type("snapshot")
            await many.until_type("synced")
            worker = Worker(second, *HANDLERS)
            claim = await worker.claim()
            runs = second.doors.runs
            assert runs is not None
            # The one that conducts it is gone, and the other goes on with what is in the store.
            old = runs.conductors[shard]
            runs.leave(shard, old)
            await old.ledger.drained()
            async with taken_over(first, shard):
                closing = {name: claim[name] for name in ("run", "op", "visit", "attempt", "token")}
                other = Worker(first, *HANDLERS)
                told = await other.ask({**closing, "label": "done", "output": {"id": "x"}}, want=0)
                assert [one["status"] for one in told["results"]] == [200], told
                await other.close(await other.claim())
                heard = [await reader.until_type("over") for reader in (far, near)]
                listed = await many.until(has("ended", run))
        for messages in (*heard, listed):
            assert seqs(messages, run) == [2, 3, 4, 5, 6]
            assert kinds(messages, run) == ["claimed", "closed", "claimed", "closed", "ended"]


@asynccontextmanager
async def taken_over(rig: Rig, shard: int) -> AsyncIterator[None]:
    """Have an instance conduct a shard that nobody conducts any more, from what is in the store."""
    await rig.store.commit((), [Delete(HOLDS + SHARD_HOLDS + shard_name(shard))])
    async with conducting(rig, [shard], loads=True):
        yield


async def test_the_runs_of_a_namespace_are_told_as_they_start_go_on_and_end() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig, "before", tags={"cause": "test"})
        await refund_of_another_namespace(rig)
        async with rig.watch(LISTED) as reader, rig.watch("/v1/runs?watch=true", SSE) as every:
            snapshot, synced = await reader.until_type("synced")
            codec.decode(RunsSnapshot, orjson.dumps(snapshot))
            assert [(one["object"]["id"], one["object"]["status"]) for one in snapshot["items"]] == [
                ("before", "running")
            ]
            assert synced["revision"] == snapshot["revision"]
            everywhere = (await every.until_type("synced"))[0]["items"]
            assert sorted(one["key"] for one in everywhere) == ["default/before", "shop/theirs"]
            worker = Worker(rig, *HANDLERS)
            await finish(worker)
            await start(rig, "after", tags={"team": "a"})
            assert (await rig.ask("POST", "/v1/namespaces/shop/runs/theirs/cancel", {})).status == 200
            await finish(worker)
            told = await reader.until(has("ended", "after"))
            both = await every.until(has("ended", "after"))
        assert {event["namespace"] for event in events_of(told)} == {"default"}
        assert kinds(both, "theirs") == ["cancelled", "ended"]
        assert seqs(told, "before") == [2, 3, 4, 5, 6]
        assert seqs(told, "after") == [1, 2, 3, 4, 5, 6]
        begun = events_of(told, "after")[0]
        assert (begun["kind"], begun["object"]["workflow"], begun["object"]["tags"]) == (
            "started",
            "refund",
            {"team": "a"},
        )
        for one in told:
            codec.decode(RunsChange, orjson.dumps(one))
        # What is told of one namespace is, event by event, what is told of all.
        assert [event for event in events_of(both) if event["namespace"] == "default"] == events_of(told)


async def refund_of_another_namespace(rig: Rig) -> None:
    manifest = {**WAITING, "metadata": {"name": "flow", "namespace": "shop"}}
    assert (await rig.ask("PUT", "/v1/namespaces/shop/workflows/flow", manifest)).status == 200
    assert (await rig.ask("POST", "/v1/namespaces/shop/runs", {"id": "theirs", "workflow": "flow"})).status == 201


@pytest.mark.parametrize("kept", [2048, 1])
async def test_a_watch_of_runs_resumed_after_any_revision_misses_nothing(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where others watch already, whose channel keeps next to nothing: the rest is read from the store."""
    monkeypatch.setattr(run_channel, "_KEPT_REVISIONS", kept)
    async with a_runs_rig() as rig:
        await declare(rig)
        async with rig.watch(LISTED) as reader:
            log = await reader.until_type("synced")
            await refund(rig, "o-1", "o-2", "o-3")
            log += await reader.until(has("ended", "o-3"))
            changes = [message for message in log if message["type"] == "change"]
            assert len(changes) >= 9
            for place, message in enumerate([log[0], *changes[:-1]]):
                async with rig.watch(f"{LISTED}&after={message['revision']}") as again:
                    assert await again.until(has("ended", "o-3")) == changes[place:]


async def test_what_happens_is_encoded_once_however_many_watch() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        readers = [rig.watch(WATCH, accept) for accept in (NDJSON, SSE) for _ in range(10)]
        opened: list[Reader] = []
        for context in readers:
            opened.append(await context.__aenter__())
            await opened[-1].until_type("snapshot")
        # A bookmark is told to those who have joined.
        await Worker(rig, *HANDLERS).claim()
        told = [await reader.until(has("claimed")) for reader in opened]
        assert all(messages == told[0] for messages in told)
        encoded = rig.doors.metrics.get_sample_value("harpoon_watch_events_encoded_total")
        for context in readers:
            await context.__aexit__(None, None, None)
        assert encoded == 1


async def test_channels_end_with_those_who_listen() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        feed = rig.app[RUN_FEED]
        async with rig.watch(WATCH) as one, rig.watch(WATCH) as other, rig.watch(LISTED) as many:
            for reader in (one, other):
                await reader.until_type("snapshot")
            await many.until_type("synced")
            assert len(feed) == 2
        async with asyncio.timeout(PATIENCE_S):
            while len(feed):
                await asyncio.sleep(0.001)


async def test_a_reader_that_does_not_keep_up_is_cut_off_and_slows_nobody() -> None:
    limits = Limits(queue_events=3, queue_bytes=1 << 30)
    async with a_runs_rig(limits=limits) as rig:
        await declare(rig, WAITING)
        await start(rig, workflow="flow")
        async with a_wire(rig) as wire, rig.watch(LISTED) as reader:
            await wire.send(f"GET {WATCH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert b"snapshot" in await wire.some()
            await reader.until_type("synced")
            payload = "x" * 60_000
            for number in range(100):
                await rig.ask("POST", f"{RUNS}/o-1/pause", {})
                sent = {"id": f"s-{number}", "payload": payload}
                assert (await rig.ask("POST", f"{RUNS}/o-1/signals/paid", sent)).status == 200
            rest = await wire.rest()
            assert b'"code":"slow_reader"' in rest[-400:]
            told = await reader.until(lambda message: 101 in seqs([message]))
        assert seqs(told) == list(range(2, 102))
        assert {event["is_cut"] for event in events_of(told) if event["kind"] == "signalled"} == {True}


async def test_what_was_cut_into_parts_is_told_whole() -> None:
    big = a_workflow(wait_paid={"wait": {"signal": "paid"}, "output_max": "1Mi"})
    async with a_runs_rig() as rig:
        await declare(rig, big)
        await start(rig, workflow="flow")
        async with rig.watch(WATCH) as reader, rig.watch(LISTED) as many:
            await reader.until_type("snapshot")
            await many.until_type("synced")
            payload = "y" * 1_000_000
            assert rig.doors.runs is not None
            conductor = rig.doors.runs.conductor_of("default/o-1")
            assert conductor is not None
            await conductor.signal("default/o-1", Signal("s", "paid", payload=payload))
            told = await reader.until_type("over")
            listed = await many.until(has("ended"))
        assert kinds(told) == kinds(listed) == ["signalled", "closed", "ended"]
        assert events_of(told)[0]["output"] == payload
        assert "output" not in events_of(listed)[0]


async def test_a_quiet_watch_is_kept_alive_by_bookmarks() -> None:
    async with a_runs_rig(limits=Limits(bookmark_s=0.02)) as rig:
        await declare(rig, WAITING)
        await start(rig, workflow="flow")
        async with rig.watch(WATCH) as one, rig.watch(LISTED) as many:
            assert (await one.until_type("bookmark"))[-1] == {"type": "bookmark", "seq": 1}
            first = (await many.until_type("bookmark"))[-1]["revision"]
            # Of runs nothing happens, but the store goes on: the place to resume from does, too.
            await rig.put()
            present = int(rig.view.external(await rig.store.revision()).partition(".")[2])
            await many.until(lambda message: int(message["revision"].partition(".")[2]) >= present)
            await rig.ask("POST", f"{RUNS}/o-1/pause", {})
            assert (await one.until_type("bookmark"))[-1]["seq"] in (1, 2)
            assert (await one.until(lambda message: message["seq"] == 2))[-1]["seq"] == 2
        assert int(first.partition(".")[2]) <= present


async def test_an_instance_that_stops_says_so() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, WAITING)
        await start(rig, workflow="flow")
        async with rig.watch(WATCH) as one, rig.watch(LISTED, SSE) as many:
            await one.until_type("snapshot")
            await many.until_type("synced")
            rig.doors.drain.set()
            assert (await one.rest())[-1] == {"type": "bye"}
            assert (await many.rest())[-1]["comment"] == "bye"


class FaultyStore(MemoryStore):
    """Its watches of runs can be broken off."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = []

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        async for told in super().watch(prefix, after=after):
            if self.errors and "/run/" in prefix and prefix != KEYED:
                raise self.errors.pop()
            yield told


@pytest.mark.parametrize("error", [Compacted(9), Rewound(), SlowWatcher()])
async def test_a_watch_of_a_run_outlasts_what_the_store_forgets(error: Exception) -> None:
    store = FaultyStore()
    async with a_runs_rig(store=store) as rig:
        await declare(rig)
        await start(rig)
        async with rig.watch(WATCH) as reader:
            await reader.until_type("snapshot")
            worker = Worker(rig, *HANDLERS)
            claim = await worker.claim()
            await reader.until(has("claimed"))
            store.errors.append(error)
            await worker.close(claim)
            assert not store.errors
            await worker.close(await worker.claim())
            assert seqs(await reader.until_type("over")) == [3, 4, 5, 6]


class SlowLists(MemoryStore):
    """Something can be had happen right after a log was read."""

    def __init__(self) -> None:
        super().__init__()
        self.then: list[Callable[[], Awaitable[object]]] = []

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        async for page in super().list(prefix):
            yield page
        if prefix.startswith(LOG) and self.then:
            await self.then.pop()()


async def test_what_happens_at_the_end_while_a_watch_is_resumed_is_told() -> None:
    store = SlowLists()
    async with a_runs_rig(store=store) as rig:
        await declare(rig, WAITING)
        await start(rig, workflow="flow")

        async def nothing() -> None:
            """Whether there is such an event is looked up first."""

        async def end() -> None:
            await rig.ask("POST", f"{RUNS}/o-1/cancel", {"reason": "ordered twice"})

        store.then = [end, nothing]
        async with rig.watch(f"{WATCH}&after=1") as reader:
            told = await reader.until_type("over")
        assert not store.then
        assert kinds(told) == ["cancelled", "ended"]
        assert told[-1]["seq"] == 3


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Compacted(9), {"code": "gone", "oldest": "1.9"}),
        (
            StoreUnavailable("the disk is full", maybe_applied=False),
            {"code": "unavailable", "detail": "the disk is full"},
        ),
    ],
)
async def test_a_watch_of_runs_that_cannot_go_on_says_why(error: Exception, told: dict[str, str]) -> None:
    store = FaultyStore()
    async with a_runs_rig(store=store) as rig:
        await declare(rig, WAITING)
        async with rig.watch(LISTED) as reader:
            await reader.until_type("synced")
            store.errors.append(error)
            await start(rig, workflow="flow")
            assert (await reader.rest())[-1] == {"type": "error", **told}
        # Whoever comes again is told all that there is.
        async with rig.watch(LISTED) as reader:
            [snapshot, _] = await reader.until_type("synced")
            assert [one["key"] for one in snapshot["items"]] == ["default/o-1"]


async def test_a_watch_that_cannot_go_on_for_no_reason_known_breaks_off_and_is_not_silent() -> None:
    store = FaultyStore()
    async with a_runs_rig(store=store) as rig:
        await declare(rig, WAITING)
        async with rig.watch(LISTED) as reader:
            await reader.until_type("synced")
            store.errors.append(RuntimeError("as the test wants"))
            with pytest.raises(ClientPayloadError):
                await asyncio.gather(reader.rest(), start(rig, workflow="flow"))
        async with rig.watch(LISTED) as reader:
            [snapshot, _] = await reader.until_type("synced")
            assert [one["key"] for one in snapshot["items"]] == ["default/o-1"]


async def test_what_cannot_be_resumed_from_is_refused() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await refund(rig)
        ahead = as_problem(await rig.get(f"{WATCH}&after=7"), 410, "gone")
        assert "start afresh" in ahead["detail"]
        as_problem(await rig.get(f"{RUNS}/nobody?watch=true"), 404, "not_found")
        as_problem(await rig.get(f"{LISTED}&after=7.1"), 410, "gone")
        as_problem(await rig.get(f"{LISTED}&after=1.99999"), 410, "gone")
        await rig.store.compact(await rig.store.revision())
        told = as_problem(await rig.get(f"{LISTED}&after=1.3"), 410, "gone")
        assert told["oldest"] == rig.view.external(await rig.store.revision())


@pytest.mark.parametrize(
    "query",
    [
        "/o-1?watch=maybe",
        "/o-1?watch=true&after=1.1",
        "/o-1?watch=true&after=-1",
        "/o-1?watch=true&wait=1s",
        "/o-1?after=3",
        "?watch=true&after=3",
        "?watch=true&status=failing",
        "?watch=true&tag=a",
        "?watch=true&parent=o-0",
        "/o-1?watch=true&status=running",
        "?watch=true&limit=3",
        "?watch=true&wait=1s",
        "?after=1.1",
    ],
)
async def test_what_does_not_go_together_is_refused(query: str) -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        as_problem(await rig.get(f"{RUNS}{query}"), 400, "invalid")


async def test_other_forms_and_strangers_are_refused() -> None:
    async with a_runs_rig(token=TOKEN) as rig:
        await declare(rig)
        await start(rig)
        as_problem(await rig.get(WATCH, Accept="text/html"), 406, "not_acceptable")
        as_problem(await rig.get(LISTED, Accept="application/json"), 406, "not_acceptable")
        as_problem(await rig.get(WATCH, Last_Event_ID="1.2"), 400, "invalid")
        as_problem(await rig.get(LISTED, Last_Event_ID="x"), 400, "invalid")
        as_problem(await rig.get(RUNS, Last_Event_ID="1.1"), 400, "invalid")
        stranger = replace(rig, headers={})
        as_problem(await stranger.get(WATCH), 401, "unauthorized")
        as_problem(await stranger.get(LISTED), 401, "unauthorized")
        assert (await rig.ask("HEAD", WATCH)).status == 200
