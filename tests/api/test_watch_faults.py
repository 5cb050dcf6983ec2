"""What a watch tells when the store fails it after the answer has begun, and what a broken request is told."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from harpoon.api import watch
from harpoon.api.limits import Limits
from harpoon.control.view import View
from harpoon.kit import codec
from harpoon.store import mirror
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Change, Compacted, Delete, Put, Rewound, SlowWatcher, StoreUnavailable
from tests.api.rig import PATIENCE_S, Rig, a_rig, key_of
from tests.builders import a_job

LIMITS = Limits(bookmark_s=0.05, history_s=0.01)


class FailingStore(MemoryStore):
    """Ends watches by the errors it is given, one each, before it obeys again."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = []
        self.ahead = 0

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        if self.errors:
            raise self.errors.pop(0)
        async for event in super().watch(prefix, after=after):
            yield event

    async def revision(self) -> int:
        return await super().revision() + self.ahead


class RewindingStore(MemoryStore):
    """Tells the first watcher nothing once it is to hush, and that it went back when it is to rewind."""

    def __init__(self) -> None:
        super().__init__()
        self._is_hushed = asyncio.Event()
        self._is_rewound = asyncio.Event()

    def hush(self) -> None:
        self._is_hushed.set()

    def rewind(self) -> None:
        self._is_rewound.set()

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        async for event in super().watch(prefix, after=after):
            if self._is_hushed.is_set() and not self._is_rewound.is_set():
                await self._is_rewound.wait()
                raise Rewound("it told again what it had told")
            yield event


async def a_quiet_history(rig: Rig) -> str:
    """The query of a watch that waits for the store: nothing came since, but the view does not know that."""
    revision = await rig.write(a_job())
    rig.view.mirror.recent.reset(revision + 1)
    return f"after=1.{revision}"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            StoreUnavailable("the disk is full", maybe_applied=False),
            {"code": "unavailable", "detail": "the disk is full"},
        ),
        (Compacted(9), {"code": "gone", "oldest": "1.9"}),
    ],
)
async def test_a_watch_that_cannot_go_on_says_why(error: Exception, told: dict[str, str]) -> None:
    store = FailingStore()
    async with a_rig(store=store, limits=LIMITS) as rig, rig.watch(await a_quiet_history(rig)) as reader:
        await reader.until_type("bookmark")
        store.errors.append(error)
        events = [event for event in await reader.rest() if event["type"] != "bookmark"]
        assert events == [{"type": "error", **told}]


async def test_a_watch_that_the_store_cut_off_is_asked_for_again_from_where_it_was() -> None:
    store = FailingStore()
    async with a_rig(store=store, limits=LIMITS) as rig, rig.watch(await a_quiet_history(rig)) as reader:
        await reader.until_type("bookmark")
        store.errors.append(SlowWatcher())
        async with asyncio.timeout(PATIENCE_S):
            while store.errors:
                await reader.next()
        revision = await rig.write(a_job(version=2))
        assert [event["revision"] for event in await reader.changes(1)] == [f"1.{revision}"]


async def test_a_watcher_is_told_each_revision_though_the_view_was_told_several_as_one() -> None:
    store = RewindingStore()
    async with a_rig(store=store, limits=LIMITS) as rig, rig.watch() as reader:
        await reader.until_type("synced")
        store.hush()
        jobs = [a_job(version=version) for version in (1, 2, 3)]
        wrote = [f"1.{await store.commit((), [Put(key_of(job), codec.dump(job))])}" for job in jobs]
        store.rewind()
        assert [event["revision"] for event in await reader.changes(3)] == wrote
        last = await rig.write(a_job(version=4))
        assert [event["revision"] for event in await reader.changes(1)] == [f"1.{last}"]


async def test_a_watcher_of_a_view_that_had_missed_something_is_told_to_start_afresh() -> None:
    async with a_rig(limits=LIMITS) as rig, rig.watch() as reader:
        await reader.until_type("synced")
        revision = await rig.write(a_job())
        await reader.changes(1)
        # As `Mirror.verify` does.
        rig.view.mirror._mend(revision, (), None)
        events = [event for event in await reader.rest() if event["type"] != "bookmark"]
        assert [(event["code"], event["oldest"]) for event in events] == [("gone", f"1.{revision}")]


class LeapingStore(MemoryStore):
    """Breaks a watch off by an error when it has something to tell; the view lists then, and sees what came as one."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        async for told in super().watch(prefix, after=after):
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            yield told

    async def leap(self, view: View, error: Exception) -> list[int]:
        """Write three revisions that the view is not told one by one; return them."""
        self.error = error
        jobs = [a_job(version=2), a_job(name="fleeting"), a_job(version=3)]
        made = [await self.commit((), (Put(key_of(job), codec.dump(job)),)) for job in jobs]
        made.append(await self.commit((), (Delete(key_of(jobs[1])),)))
        if isinstance(error, Compacted):
            await self.compact(made[-1])
        await view.mirror.reached(made[-1])
        assert self.error is None
        return made


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_RETRY_S", 0.05)


async def test_what_the_view_was_not_told_one_by_one_is_told_to_watchers_one_by_one(soon: None) -> None:
    store = LeapingStore()
    async with a_rig(store=store) as rig:
        first = await rig.write(a_job())
        async with rig.watch("kinds=jobs") as reader:
            await reader.until_type("synced")
            made = await store.leap(rig.view, Rewound("told twice"))
            last = await rig.write(a_job(version=4))
            told = await reader.changes(5)
        assert [event["revision"] for event in told] == [f"1.{revision}" for revision in (*made, last)]
        # Nor does who resumes see several revisions as one.
        async with rig.watch(f"kinds=jobs&after=1.{first}") as reader:
            assert await reader.changes(5) == told


async def test_a_watch_whose_view_was_not_told_what_is_gone_by_now_is_told_so(soon: None) -> None:
    store = LeapingStore()
    async with a_rig(store=store) as rig:
        await rig.write(a_job())
        async with rig.watch("kinds=jobs") as reader:
            await reader.until_type("synced")
            await store.leap(rig.view, Compacted(9))
            [*before, error] = await reader.rest()
        assert (error["type"], error["code"]) == ("error", "gone")
        assert [event for event in before if event["type"] == "change"] == []


async def test_a_watch_that_is_being_told_of_the_past_goes_on_when_the_view_leaps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror, "_RETRY_S", 0)
    # One revision a turn: so the view leaps in between.
    monkeypatch.setattr(watch, "_SLICE", 1)
    store = LeapingStore()
    async with a_rig(store=store) as rig:
        first = await rig.write(a_job())
        past = [await rig.write(a_job(version=version)) for version in range(2, 500)]
        async with rig.watch(f"kinds=jobs&after=1.{first}") as reader:
            told = await reader.changes(1)
            made = await store.leap(rig.view, Rewound("told twice"))
            told += await reader.changes(len(past) + len(made) - 1)
        assert [event["revision"] for event in told] == [f"1.{revision}" for revision in (*past, *made)]


async def test_a_revision_that_the_view_has_not_reached_yet_is_waited_for() -> None:
    store = FailingStore()
    async with a_rig(store=store) as rig:
        revision = await rig.write(a_job())
        store.ahead = 1
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(rig.ask("HEAD", f"/v1/watch?after=1.{revision + 1}"))
            await rig.write(a_job(version=2))
        assert answer.result().status == 200


async def test_a_revision_that_the_view_does_not_reach_in_time_is_told_to_come_later() -> None:
    store = FailingStore()
    async with a_rig(store=store, limits=LIMITS) as rig:
        store.ahead = 5
        answer = await rig.get("/v1/watch?after=1.3")
        assert (answer.status, answer.json["code"]) == (503, "unavailable")
        assert (await rig.get("/v1/watch?after=1.6")).status == 410


@pytest.mark.parametrize("body", [b"zz\r\n{}\r\n0\r\n\r\n", b"5\r\n{}\r\n"])
async def test_a_body_that_is_not_framed_as_http_frames_it_is_refused(body: bytes) -> None:
    async with a_rig(limits=Limits(body_s=0.1, linger_s=0.05)) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        head = "PUT /v1/namespaces/default/jobs/web HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + body)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
        assert int(answer.split()[1]) in (400, 408)
        assert b"application/problem+json" in answer
        writer.close()


async def test_a_client_that_leaves_within_its_body_is_nobodys_fault(capsys: pytest.CaptureFixture[str]) -> None:
    async with a_rig() as rig:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        head = "PUT /v1/namespaces/default/jobs/web HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        await writer.drain()
        assert (await rig.get("/v1/health")).status == 200
        writer.close()
        await writer.wait_closed()
        for _ in range(3):
            assert (await rig.get("/v1/health")).status == 200
    assert "request_failed" not in capsys.readouterr().out
