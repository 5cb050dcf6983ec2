"""The client when things go wrong that etcd does not do by itself: every caller is told, and what can go on does."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from harpoon.store.etcd.store import EtcdStore
from harpoon.store.port import Compacted, Put, StoreUnavailable, Trouble
from harpoon.store.url import EtcdUrl
from tests.etcd.members import Member
from tests.etcd.opening import is_renewed, opened
from tests.store.reading import entries, put, told


@pytest.fixture
async def store(etcd: Member) -> AsyncIterator[EtcdStore]:
    etcd.wipe()
    async with opened(EtcdUrl(endpoints=(etcd.endpoint,))) as store:
        yield store


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Member]:
    """A member of its own, to be paused."""
    with Member(tmp_path / "etcd") as member:
        yield member
        member.resume()


async def outcomes(*calls: asyncio.Task[object]) -> list[object]:
    async with asyncio.timeout(20):
        return list(await asyncio.gather(*calls, return_exceptions=True))


def is_closed(outcome: object) -> bool:
    return isinstance(outcome, StoreUnavailable) and outcome.trouble is Trouble.CLOSED


async def test_a_key_that_is_no_text_is_somebody_elses(store: EtcdStore, etcd: Member) -> None:
    before = await put(store, "/w/a")
    etcd.ask("kv/put", {"key": b64encode(b"/w/\xff").decode(), "value": ""})
    last = await put(store, "/w/b")
    assert [entry.key for entry in await entries(store, "/w/")] == ["/w/a", "/w/b"]
    watched = await told(store, "/w/", after=before - 1, until=last)
    assert [change.key for _, changes in watched for change in changes] == ["/w/a", "/w/b"]


async def test_whoever_waits_when_the_store_is_closed_is_told_so(silent: Member) -> None:
    async with opened(EtcdUrl(endpoints=(silent.endpoint,))) as store:
        lease = await store.lease(10)
        silent.pause()
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(told_of(call))
                for call in (
                    store.get("/a"),
                    store.commit((), (Put("/a", b""),)),
                    store.lease(10),
                    store.revision(),
                    anext(aiter(store.list("/"))),
                    anext(aiter(store.watch("/", after=0))),
                )
            ]
            await asyncio.sleep(0.2)
            await store.close()
        assert all(is_closed(call.result()) for call in calls), [call.result() for call in calls]
        assert lease.lost.is_set()


async def told_of(call: object) -> object:
    try:
        return await call
    except StoreUnavailable as error:
        return error


async def test_a_closing_that_is_broken_off_still_closes(silent: Member) -> None:
    async with opened(EtcdUrl(endpoints=(silent.endpoint,))) as store:
        await store.lease(10)
        silent.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await store.close()
        await store.close()
        assert store._main.done()
        store._keeper._thread.join(5)
        assert not store._keeper._thread.is_alive()


async def test_a_lease_outlives_what_nobody_expected_of_its_thread(
    store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = store._keeper._ask
    failures = iter((RuntimeError("can't start new thread"),))

    def failing(lease: object) -> int:
        for error in failures:
            raise error
        return ask(lease)

    monkeypatch.setattr(store._keeper, "_ask", failing)
    await is_renewed(store, await store.lease(5))


async def test_commits_end_when_sending_breaks_down(store: EtcdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        await asyncio.sleep(0.05)
        raise TypeError("what nobody expected")

    monkeypatch.setattr(store._members, "write", broken)
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(told_of(put(store, f"/{number % 3}"))) for number in range(30)]
    assert all(is_closed(call.result()) for call in calls)
    assert all(call.result().maybe_applied for call in calls[:3])
    assert is_closed(await told_of(put(store, "/later")))


async def test_a_store_that_went_back_is_compacted_anew(store: EtcdStore) -> None:
    for number in range(5):
        last = await put(store, f"/{number}")
    house = store._housekeeping
    await house.compact(last)
    # As if all that had been of a store that was higher before it was restored.
    house._noted = house._compacted = last + 1_000_000
    house._note(last)
    last = await put(store, "/later")
    await house.compact(last)
    with pytest.raises(Compacted):
        async with aclosing(store.watch("/", after=last - 1)) as stream:
            await anext(stream)


async def test_one_login_serves_all_who_need_one(tmp_path: Path) -> None:
    with Member(tmp_path / "etcd") as member:
        member.enable_auth("right")
        password = tmp_path / "password"
        password.write_text("right")
        url = EtcdUrl(endpoints=(member.endpoint,), user="root", password_file=password)
        async with opened(url) as store:
            before = logins(member)
            store._members.token = "worthless"
            async with asyncio.timeout(20):
                assert await asyncio.gather(*(store.get("/a") for _ in range(50))) == [None] * 50
            assert logins(member) - before == 1


def logins(member: Member) -> float:
    return member.metric("grpc_server_handled_total", 'grpc_method="Authenticate"')
