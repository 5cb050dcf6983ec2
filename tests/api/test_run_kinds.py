"""Watching workflows, runs and attempts at the door of all watches: by kinds, filters and names, resumed and merged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import orjson
import pytest
from aiohttp import ClientPayloadError

from harpoon.api import run_traits
from harpoon.api.limits import Limits
from harpoon.api.run_feed import RUN_FEED
from harpoon.control.ledger_records import RUNS as LEDGER
from harpoon.control.ledger_records import prefix_of, shard_of
from harpoon.kit import codec
from harpoon.model.run_watched import RunsWatchEvent, RunWatchEvent
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Compacted, Delete, Page, Put, Store
from tests.api.rig import Rig
from tests.api.runs_rig import RUNS, WORKFLOWS, Worker, a_runs_rig, declare, start
from tests.api.telling import as_problem
from tests.api.test_run_watch import HANDLERS, NDJSON, SSE, WAITING, Event, events_of, finish, has, kinds, seqs
from tests.workflows import REFUND

MANY = "kinds=workflows,runs,attempts"
EVENTS = ["started", "claimed", "closed", "claimed", "closed", "ended"]


def a_flow(name: str, namespace: str = "default", **tags: str) -> dict[str, Any]:
    """The manifest of a workflow whose runs wait for a signal."""
    return {**WAITING, "metadata": {"name": name, "namespace": namespace, "tags": tags}}


async def put(rig: Rig, name: str, namespace: str = "default", **tags: str) -> None:
    answer = await rig.ask("PUT", f"/v1/namespaces/{namespace}/workflows/{name}", a_flow(name, namespace, **tags))
    assert answer.status == 200, answer.body


async def end(rig: Rig, *runs: str) -> None:
    """Cancel runs, one after the other."""
    for run in runs:
        assert (await rig.ask("POST", f"{RUNS}/{run}/cancel", {})).status == 200


def changes_of(messages: Sequence[Event]) -> list[tuple[str, str]]:
    return [(one["type"], one["key"]) for message in messages for one in message.get("changes", ())]


def items_of(message: Event) -> list[tuple[str, str]]:
    return [(one["kind"], one["key"]) for one in message["items"]]


def is_workflow(type_: str, name: str) -> Any:
    """Whether a message tells that of a workflow."""
    return lambda message: (type_, f"default/{name}") in changes_of([message])


@pytest.mark.parametrize("accept", [NDJSON, SSE])
async def test_workflows_runs_and_attempts_are_told_by_one_revision_each_in_its_order(
    any_store: Store, accept: str
) -> None:
    async with a_runs_rig(store=any_store) as rig:
        await declare(rig)
        await start(rig, "before")
        async with (
            rig.watch(MANY, accept) as reader,
            rig.watch("kinds=runs") as runs,
            rig.watch("kinds=attempts") as attempts,
        ):
            snapshot, synced = await reader.until_type("synced")
            assert items_of(snapshot) == [("run", "default/before"), ("workflow", "default/refund")]
            assert snapshot["items"][1]["object"]["metadata"]["version"] == 1
            assert synced == {"type": "synced", "revision": snapshot["revision"]}
            assert items_of((await runs.until_type("synced"))[0]) == [("run", "default/before")]
            assert (await attempts.until_type("synced"))[0]["items"] == []
            await put(rig, "other", team="a")
            worker = Worker(rig, *HANDLERS)
            await finish(worker)
            await start(rig, "after")
            await finish(worker)
            told = await reader.until(has("ended", "after"))
            assert (await rig.ask("DELETE", f"{WORKFLOWS}/other")).status == 200
            told += await reader.until(is_workflow("delete", "other"))
            of_runs = await runs.until(has("ended", "after"))
            of_attempts = await attempts.until(lambda message: 5 in seqs([message], "after"))
        assert changes_of(told) == [("put", "default/other"), ("delete", "default/other")]
        assert kinds(told, "before") == EVENTS[1:]
        assert kinds(told, "after") == EVENTS
        assert kinds(of_runs, "after") == ["started", "ended"]
        assert kinds(of_attempts, "after") == EVENTS[1:-1]
        # The same events, to the letter, and every revision once.
        both = events_of(of_runs, "after") + events_of(of_attempts, "after")
        assert sorted(both, key=lambda event: event["seq"]) == events_of(told, "after")
        numbers = [int(one["revision"].partition(".")[2]) for one in told if one["type"] == "change"]
        assert numbers == sorted(set(numbers))
        for message in (snapshot, synced, *told):
            codec.decode(RunsWatchEvent, orjson.dumps(message))


async def test_resumed_after_any_revision_the_merged_kinds_miss_nothing_and_repeat_nothing() -> None:
    async with a_runs_rig() as rig:
        async with rig.watch(MANY) as reader:
            log = await reader.until_type("synced")
            await declare(rig)
            worker = Worker(rig, *HANDLERS)
            for run in ("o-1", "o-2"):
                await start(rig, run)
                await finish(worker)
                await put(rig, run)
            log += await reader.until(is_workflow("put", "o-2"))
        changes = [message for message in log if message["type"] == "change"]
        assert len(changes) >= 9
        for place, message in enumerate([log[0], *changes[:-1]]):
            async with rig.watch(f"{MANY}&after={message['revision']}") as again:
                assert await again.until(is_workflow("put", "o-2")) == changes[place:]
        async with rig.watch(MANY, SSE, Last_Event_ID=changes[2]["revision"]) as again:
            assert await again.until(is_workflow("put", "o-2")) == changes[3:]


async def test_runs_are_chosen_by_their_workflow_and_their_tags_whoever_heard_of_them_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where nothing is kept of what is known of runs: each is then looked up."""
    monkeypatch.setattr(run_traits, "KNOWN_MAX", 1)
    async with a_runs_rig() as rig:
        await put(rig, "one")
        await put(rig, "two")
        for run, workflow, team in (("a", "one", "x"), ("b", "two", "x"), ("c", "one", "y")):
            await start(rig, run, workflow=workflow, tags={"team": team})
        begin = rig.view.external(await rig.store.revision())
        queries = {"workflow=one": "ac", "workflow=two": "b", "tag=team=x": "ab", "workflow=one&tag=team=y": "c"}
        async with rig.watch("kinds=runs") as all_:
            await all_.until_type("synced")
            await end(rig, "a", "b", "c")
            await all_.until(has("ended", "c"))
            for query, wanted in queries.items():
                async with rig.watch(f"kinds=runs&{query}&after={begin}") as reader:
                    last = wanted[-1]
                    told = await reader.until(has("ended", last))
                assert {event["run"] for event in events_of(told)} == set(wanted), query
        for query, wanted in queries.items():
            for run in wanted:
                await start(rig, f"{run}-2", workflow="two" if run == "b" else "one", tags={"team": "y"})
            async with rig.watch(f"kinds=runs&{query}") as reader:
                snapshot, _ = await reader.until_type("synced")
                assert all(one["kind"] == "run" for one in snapshot["items"])


async def test_what_happened_in_a_run_that_is_not_kept_any_more_is_told_to_whoever_may_have_chosen_it() -> None:
    async with a_runs_rig() as rig:
        await put(rig, "one")
        for run in ("a", "b", "c"):
            await start(rig, run, workflow="one")
        begin = rig.view.external(await rig.store.revision())
        await end(rig, "a", "b", "c")
        await rig.store.commit((), [Delete(prefix_of(LEDGER, shard_of("default/a")) + "default/a")])
        await rig.store.commit((), [Put(prefix_of(LEDGER, shard_of("default/b")) + "default/b", b"nonsense")])
        async with rig.watch(f"kinds=runs&workflow=two&after={begin}") as reader:
            told = await reader.until(has("ended", "b"))
            await start(rig, "d", workflow="one")
            await put(rig, "two")
            await start(rig, "e", workflow="two")
            told += await reader.until(has("started", "e"))
        assert {event["run"] for event in events_of(told)} == {"a", "b", "e"}


async def test_a_channel_that_others_listen_to_already_knows_runs_for_one_who_chooses_by_them() -> None:
    async with a_runs_rig() as rig:
        await put(rig, "one")
        await put(rig, "two")
        await start(rig, "a", workflow="one")
        async with rig.watch("kinds=runs") as all_, rig.watch(f"{RUNS}?watch=true&workflow=one") as some:
            await all_.until_type("synced")
            snapshot, _ = await some.until_type("synced")
            assert items_of(snapshot) == [("run", "default/a")]
            assert len(rig.app[RUN_FEED]) == 1
            await start(rig, "b", workflow="two")
            await start(rig, "c", workflow="one")
            told = await some.until(has("started", "c"))
        assert [event["run"] for event in events_of(told)] == ["c"]


async def test_a_status_chooses_what_leaves_a_run_so() -> None:
    async with a_runs_rig() as rig:
        await put(rig, "flow")
        await start(rig, "a", workflow="flow")
        async with (
            rig.watch("kinds=runs&status=cancelled&status=failed") as ends,
            rig.watch("kinds=runs&status=running") as goings,
        ):
            assert (await ends.until_type("synced"))[0]["items"] == []
            assert items_of((await goings.until_type("synced"))[0]) == [("run", "default/a")]
            await start(rig, "b", workflow="flow")
            await end(rig, "a", "b")
            await start(rig, "c", workflow="flow")
            over = await ends.until(has("ended", "b"))
            going = await goings.until(has("started", "c"))
        assert kinds(over) == ["ended", "ended"]
        assert kinds(going) == ["started", "cancelled", "cancelled", "started"]


async def test_workflows_enter_and_leave_a_selection_of_tags() -> None:
    async with a_runs_rig() as rig:
        await put(rig, "one", team="x")
        await put(rig, "two", team="y")
        await put(rig, "one", "shop", team="x")
        async with rig.watch("kinds=workflows&tag=team=x&namespace=default") as reader:
            assert items_of((await reader.until_type("synced"))[0]) == [("workflow", "default/one")]
            await put(rig, "three", team="y")
            await put(rig, "two", team="x")
            await put(rig, "one", team="y")
            await put(rig, "last", team="x")
            told = await reader.until(is_workflow("put", "last"))
        assert changes_of(told) == [("put", "default/two"), ("delete", "default/one"), ("put", "default/last")]
        for query in ("name=one", "workflow=one"):
            async with rig.watch(f"kinds=workflows&{query}") as reader:
                snapshot = (await reader.until_type("synced"))[0]
                assert items_of(snapshot) == [("workflow", "default/one"), ("workflow", "shop/one")]


@pytest.mark.parametrize("accept", [NDJSON, SSE])
async def test_one_run_that_is_named_is_told_as_where_it_is_read(accept: str) -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        named = "namespace=default&name=o-1"
        async with (
            rig.watch(f"{RUNS}/o-1?watch=true", accept) as there,
            rig.watch(f"kinds=runs,attempts&{named}", accept) as here,
            rig.watch(f"kinds=attempts&{named}", accept) as attempts,
        ):
            begun = [await reader.until_type("synced") for reader in (there, here, attempts)]
            # Some measures of it go with the time.
            shown = [(one["seq"], one["run"]["visits"], two) for one, two in begun]
            assert shown[0] == shown[1] == shown[2]
            await finish(Worker(rig, *HANDLERS))
            told = [await reader.until_type("over") for reader in (there, here, attempts)]
        assert told[0] == told[1]
        # Also to one whom its end is not told, it is over.
        assert kinds(told[2]) == ["claimed", "closed", "claimed", "closed"]
        assert told[2][-1] == told[0][-1]
        for message in (*begun[0], *told[0]):
            codec.decode(RunWatchEvent, orjson.dumps(message))
        for after in range(6):
            async with rig.watch(f"kinds=runs&{named}&after={after}", accept) as reader:
                resumed = await reader.until_type("over")
            assert kinds(resumed) == [kind for kind in EVENTS[after:] if kind in ("started", "ended")]


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ("kinds=runs,jobs", "kinds"),
        ("kinds=tasks,attempts", "kinds"),
        ("kinds=runs,", "kinds"),
        ("kinds=run", "kinds"),
        ("kinds=runs&name=o-1", "namespace"),
        ("kinds=runs,workflows&namespace=default&name=o-1", "name"),
        ("kinds=workflows&name=a&workflow=a", "name"),
        ("kinds=workflows&status=failed", "status"),
        ("kinds=runs&status=broken", "status"),
        ("kinds=runs&namespace=default&name=o-1&workflow=refund", "workflow"),
        ("kinds=runs&namespace=default&name=o-1&tag=a=b", "tag"),
        ("kinds=runs&namespace=default&name=..", "name"),
        ("kinds=runs&namespace=default&name=o-1&after=1.1", "after"),
        ("kinds=runs&after=1", "after"),
        ("kinds=jobs&workflow=refund", "workflow"),
        ("status=running", "status"),
    ],
)
async def test_what_does_not_go_together_is_refused_by_name(query: str, at: str) -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        told = as_problem(await rig.get(f"/v1/watch?{query}"), 400, "invalid")
        assert [error["pointer"] for error in told["errors"]] == [f"?{at}"]


async def test_what_cannot_be_resumed_is_gone_and_says_from_where_it_can() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        present = rig.view.external(await rig.store.revision())
        for after in ("7.1", "1.99999"):
            assert as_problem(await rig.get(f"/v1/watch?{MANY}&after={after}"), 410, "gone")["oldest"] == present
        await rig.store.compact(await rig.store.revision())
        assert as_problem(await rig.get(f"/v1/watch?{MANY}&after=1.3"), 410, "gone")["oldest"] == present
        as_problem(await rig.get("/v1/watch?kinds=runs&namespace=default&name=nobody"), 404, "not_found")
        as_problem(await rig.get("/v1/watch?kinds=runs&namespace=default&name=o-1&after=9"), 410, "gone")


async def test_bookmarks_of_merged_kinds_go_on_with_the_store() -> None:
    async with a_runs_rig(limits=Limits(bookmark_s=0.02)) as rig, rig.watch(MANY) as reader:
        await reader.until_type("synced")
        await rig.put()
        present = await rig.store.revision()
        told = await reader.until(lambda one: int(one["revision"].partition(".")[2]) >= present)
        assert {one["type"] for one in told} == {"bookmark"}
        await put(rig, "flow")
        await reader.until(is_workflow("put", "flow"))


class ForgetfulStore(MemoryStore):
    """Forgets a revision at which runs are read, before all of them were."""

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        async for page in super().list(prefix):
            yield page
            if prefix == LEDGER:
                raise Compacted(9)


async def test_a_snapshot_that_cannot_be_told_to_its_end_is_broken_off_and_not_ended_as_if_it_were_whole() -> None:
    async with a_runs_rig(store=ForgetfulStore()) as rig, rig.watch(MANY) as reader:
        with pytest.raises((ClientPayloadError, asyncio.IncompleteReadError)):
            await reader.rest()
        assert not any(b"gone" in line for line in reader.raw)


class BusyStore(MemoryStore):
    """Workflows are declared while runs are read, so many times."""

    def __init__(self) -> None:
        super().__init__()
        self.then: list[Callable[[], Awaitable[object]]] = []
        self._is_busy = False

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        async for page in super().list(prefix):
            if prefix == LEDGER and self.then and not self._is_busy:
                # To declare one is to look at runs, too.
                self._is_busy = True
                await self.then.pop()()
                self._is_busy = False
            yield page


@pytest.mark.parametrize("times", [1, 100])
async def test_a_snapshot_is_of_one_revision_though_workflows_are_declared_meanwhile(times: int) -> None:
    store = BusyStore()
    async with a_runs_rig(store=store) as rig:
        await put(rig, "flow")
        await start(rig, workflow="flow")
        store.then = [partial(put, rig, "flow", count=str(number)) for number in range(times)]
        async with rig.watch(MANY) as reader:
            if times > 1:
                assert [(one["type"], one["code"]) for one in await reader.rest()] == [("error", "unavailable")]
                return
            snapshot = (await reader.until_type("synced"))[0]
            assert [item["object"]["metadata"]["tags"] for item in snapshot["items"][1:]] == [{"count": "0"}]
            await put(rig, "last")
            assert changes_of(await reader.until_type("change")) == [("put", "default/last")]


async def test_whoever_selects_otherwise_is_told_events_that_were_encoded_once() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, {**REFUND, "metadata": {"name": "refund", "tags": {}}})
        async with asyncio.timeout(20), rig.watch("kinds=runs") as one, rig.watch("kinds=runs&workflow=refund") as two:
            for reader in (one, two):
                await reader.until_type("synced")
            await start(rig)
            told = [await reader.until(has("started")) for reader in (one, two)]
            assert told[0] == told[1]
        assert rig.doors.metrics.get_sample_value("harpoon_watch_events_encoded_total") == 1
