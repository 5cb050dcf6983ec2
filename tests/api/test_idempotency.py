"""Idempotency keys: asked twice, done once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harpoon.control import receipts
from harpoon.control.receipts import KEPT_FOR, RECEIPTS, Receipts
from harpoon.control.registry import Accepted, Registry
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.model.instant import Instant
from harpoon.model.receipt import Receipt
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Entry, Put, Store, StoreUnavailable, Trouble
from harpoon.store.sqlite import SqliteStore
from tests.api.rig import Answer, Rig, a_manifest, a_rig
from tests.api.telling import as_problem

WEB = "/v1/namespaces/default/jobs/web"
SCALE = f"{WEB}/scale"


def is_replay(answer: Answer) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


async def scale(rig: Rig, to: int = 5, key: str = "k1", **headers: str) -> Answer:
    return await rig.ask("POST", SCALE, {"scale": to}, Idempotency_Key=key, **headers)


async def version(rig: Rig) -> int:
    return (await rig.get(WEB)).json["metadata"]["version"]


def alike(first: Answer, second: Answer) -> bool:
    """Whether two answers are the same, but for the request they are to."""
    told = ("Harpoon-Revision", "ETag", "Content-Type")
    return (first.status, first.body) == (second.status, second.body) and all(
        first.headers.get(name) == second.headers.get(name) for name in told
    )


async def test_the_same_request_with_the_same_key_is_done_once_and_answered_alike() -> None:
    async with a_rig() as rig:
        await rig.put()
        first = await scale(rig)
        assert first.status == 202
        assert not is_replay(first)
        await rig.put(scale=7)
        second = await scale(rig)
        assert is_replay(second)
        assert alike(first, second)
        assert second.json["job"]["spec"]["scale"] == 5
        assert (await rig.get(WEB)).json["spec"]["scale"] == 7


async def test_without_a_key_nothing_is_kept() -> None:
    async with a_rig() as rig:
        await rig.put()
        assert not is_replay(await rig.ask("POST", SCALE, {"scale": 5}))
        assert [entry async for page in rig.store.list(RECEIPTS) for entry in page.entries] == []


async def test_apply_and_rollback_are_replayed_too() -> None:
    async with a_rig() as rig:
        documents = {"documents": [a_manifest("a"), a_manifest("b")]}
        applied = [await rig.ask("POST", "/v1/apply", documents, Idempotency_Key="a") for _ in range(2)]
        await rig.put(scale=1)
        await rig.put(scale=2)
        back = [await rig.ask("POST", f"{WEB}/rollback", {"version": 1}, Idempotency_Key="b") for _ in range(2)]
        for first, second in (applied, back):
            assert first.status == 202
            assert alike(first, second)
            assert (is_replay(first), is_replay(second)) == (False, True)
        assert await version(rig) == 3


async def test_what_changed_nothing_is_kept_as_well() -> None:
    async with a_rig() as rig:
        await rig.put(scale=5)
        first = await scale(rig, 5)
        assert first.status == 200
        await rig.put(scale=7)
        second = await scale(rig, 5)
        assert is_replay(second)
        assert alike(first, second)


async def test_a_key_used_for_something_else_is_refused() -> None:
    async with a_rig() as rig:
        await rig.put()
        assert (await scale(rig)).status == 202
        tag = (await rig.get(WEB)).headers["ETag"]
        others = [
            await scale(rig, 6),
            await scale(rig, If_Match=tag),
            await rig.ask("POST", "/v1/apply", {"documents": [a_manifest()]}, Idempotency_Key="k1"),
        ]
        for other in others:
            as_problem(other, 422, "idempotency_key_reused")
        assert await version(rig) == 2


async def test_what_was_refused_is_not_kept_so_the_key_may_be_tried_again() -> None:
    async with a_rig() as rig:
        assert (await scale(rig)).status == 404
        assert (await scale(rig, 99_999)).status == 404
        await rig.put()
        assert (await scale(rig, 99_999)).status == 400
        assert (await scale(rig, If_Match='"1.999"')).status == 412
        answer = await scale(rig)
        assert answer.status == 202
        assert not is_replay(answer)


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256])
async def test_what_is_no_key_is_refused(key: str) -> None:
    async with a_rig() as rig:
        await rig.put()
        told = as_problem(await scale(rig, key=key), 400, "invalid")
        assert told["errors"][0]["pointer"] == "Idempotency-Key"


async def test_a_key_is_for_post_alone() -> None:
    async with a_rig() as rig:
        for method in ("GET", "PUT", "DELETE"):
            body = a_manifest() if method == "PUT" else None
            told = as_problem(await rig.ask(method, WEB, body, Idempotency_Key="k"), 400, "invalid")
            assert told["errors"][0]["pointer"] == "Idempotency-Key"
        assert (await rig.get(WEB)).status == 404


class GatedRegistry(Registry):
    """Scales only once it is let."""

    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        self.begun = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def scale(self, *what: Any, **how: Any) -> Accepted:
        self.begun.set()
        await self.may_go_on.wait()
        return await super().scale(*what, **how)


async def test_while_a_request_is_being_answered_the_same_is_told_to_wait_and_another_that_the_key_is_taken() -> None:
    async with a_rig(registry=lambda store, view: GatedRegistry(store, view, SystemClock())) as rig:
        await rig.put()
        registry = rig.doors.registry
        assert isinstance(registry, GatedRegistry)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(scale(rig))
            await registry.begun.wait()
            same, other = await scale(rig), await scale(rig, 9)
            registry.may_go_on.set()
        as_problem(same, 409, "idempotency_in_progress")
        assert same.headers["Retry-After"] == "1"
        as_problem(other, 422, "idempotency_key_reused")
        assert first.result().status == 202
        assert is_replay(await scale(rig))


@asynccontextmanager
async def a_file(path: Path) -> AsyncIterator[Store]:
    store = await SqliteStore.open(path, clock=SystemClock(), synchronous="NORMAL")
    try:
        yield store
    finally:
        await store.close()


async def test_what_was_answered_is_still_known_after_a_restart(tmp_path: Path) -> None:
    async with a_file(tmp_path / "db") as store, a_rig(store=store) as rig:
        await rig.put()
        first = await scale(rig)
    async with a_file(tmp_path / "db") as store, a_rig(store=store) as rig:
        second = await scale(rig)
        assert is_replay(second)
        assert alike(first, second)
        assert await version(rig) == 2
        as_problem(await scale(rig, 6), 422, "idempotency_key_reused")


class LossyStore(MemoryStore):
    """Commits, and loses the answer, as a store does that is killed right after."""

    is_lossy = False
    is_killed = False

    async def commit(self, compares: Any, writes: Any) -> int | None:
        revision = await super().commit(compares, writes)
        if self.is_lossy:
            self.is_killed = True
            raise StoreUnavailable("killed after the commit", maybe_applied=True)
        return revision

    async def get(self, key: str) -> Entry | None:
        if self.is_killed:
            raise StoreUnavailable("killed", maybe_applied=False, trouble=Trouble.CLOSED)
        return await super().get(key)


async def test_what_was_done_but_never_answered_is_answered_when_asked_again_and_not_done_again() -> None:
    store = LossyStore()
    async with a_rig(store=store) as rig:
        await rig.put()
        store.is_lossy = True
        lost = as_problem(await scale(rig), 503, "store_unavailable")
        assert lost["maybe_applied"] is True
        store.is_lossy = store.is_killed = False
        answer = await scale(rig)
        assert is_replay(answer)
        assert answer.status == 202
        assert await version(rig) == 2


async def test_digits_in_a_job_are_never_taken_for_its_revision() -> None:
    async with a_rig() as rig:
        digits = {"env": {"N": "1.2 1.3 1.4 100000000000000000 999999999999999999"}}
        await rig.ask("PUT", WEB, a_manifest() | {"spec": {"task": {"command": ["a"]} | digits}})
        assert alike(await scale(rig), await scale(rig))


async def test_an_answer_too_large_to_keep_is_refused_before_anything_is_done() -> None:
    async with a_rig() as rig:
        large = {"task": {"command": ["a"], "env": {"A": "x" * 120_000, "B": "y" * 120_000, "C": "z" * 50_000}}}
        assert (await rig.ask("PUT", WEB, a_manifest() | {"spec": large})).status == 202
        told = as_problem(await scale(rig), 400, "invalid")
        assert "without a key" in str(told["detail"])
        assert await version(rig) == 1


class SetClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.wall = 1_767_225_600_000

    def now(self) -> Instant:
        return Instant(elapsed=timedelta(0), wall=self.wall)


async def keep(store: Store, kept: Receipts, clock: SetClock, name: str, body: str = "") -> None:
    _, compare = await kept.find(name)
    writes = kept.writes(name, Receipt(request="r", at_ms=clock.wall, status=202, body=(body,)))
    assert await store.commit((compare,), writes) is not None
    kept.note(writes)


async def names(store: Store) -> set[str]:
    return {entry.key.removeprefix(RECEIPTS) async for page in store.list(RECEIPTS) for entry in page.entries}


async def test_receipts_are_over_after_a_day_and_go_as_new_ones_come() -> None:
    store, clock = MemoryStore(), SetClock()
    kept = Receipts(store, clock)
    for number in range(6):
        await keep(store, kept, clock, f"old{number}")
    clock.wall += int(KEPT_FOR.total_seconds() * 1000) + 1
    assert (await kept.find("old5"))[0] is None
    await keep(store, kept, clock, "new1")
    assert await names(store) == {"old4", "old5", "new1"}
    # One that is over is written anew, under its own condition.
    await keep(store, kept, clock, "old5")
    assert await names(store) == {"old5", "new1"}
    assert (await kept.find("old5"))[0] is not None


@pytest.mark.parametrize("bound", [("KEPT_MAX", 3), ("KEPT_BYTES", 3000)])
async def test_receipts_are_bounded_in_number_and_in_bytes_and_the_oldest_go(
    bound: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, *bound)
    store, clock = MemoryStore(), SetClock()
    for number in range(9):
        # Each by a server that has just started, which knows only what the store tells.
        clock.wall += 1
        await keep(store, Receipts(store, clock), clock, f"r{number}", "x" * 900)
        assert len(await names(store)) <= 3
    assert "r8" in await names(store)
    assert "r0" not in await names(store)


async def test_a_receipt_that_cannot_be_read_is_none_and_is_written_anew() -> None:
    store, clock = MemoryStore(), SetClock()
    await store.commit((), [Put(RECEIPTS + "bad", b"{"), Put(RECEIPTS + "good", codec.dump(a_receipt(clock)))])
    kept = Receipts(store, clock)
    assert (await kept.find("good"))[0] is not None
    assert (await kept.find("bad"))[0] is None
    await keep(store, kept, clock, "bad")
    assert (await kept.find("bad"))[0] is not None


def a_receipt(clock: SetClock) -> Receipt:
    return Receipt(request="r", at_ms=clock.wall, status=202, body=("",))
