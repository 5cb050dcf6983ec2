"""Mirrors: typed, whole, in step, and told of every change once."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from harpoon.kit import codec
from harpoon.store import recent
from harpoon.store.memory import MemoryStore
from harpoon.store.mirror import Mirror
from harpoon.store.port import Change, Delete, Put, SlowWatcher, Store
from harpoon.store.table import LARGE_BYTES, Row, RowChange, Table
from tests.store.conftest import Opened

Told = list[tuple[int, list[tuple[str, str, object, object]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cat:
    name: str
    lives: int = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Dog:
    name: str


class House:
    """Two tables of a store, and all that their mirror told; revisions count from where the store was found."""

    def __init__(self, store: Store, base: int = 0) -> None:
        self.store = store
        self.base = base
        self.cats = Table("cats", "/h/cats/", Cat)
        self.dogs = Table("dogs", "/h/dogs/", Dog)
        self.mirror = Mirror(store, "/h/", (self.cats, self.dogs))
        self.told: Told = []
        self.mirror.listen(self.hear)

    def hear(self, revision: int, changes: tuple[RowChange, ...]) -> None:
        assert self.mirror.revision == revision
        for change in changes:
            assert change.table.rows.get(change.key) is change.new
        self.told.append((revision - self.base, [brief(change) for change in changes]))

    @property
    def revision(self) -> int:
        return self.mirror.revision - self.base

    async def reached(self, revision: int) -> None:
        await self.mirror.reached(self.base + revision)

    def since(self, after: int) -> list[int] | None:
        found = self.mirror.since(self.base + after)
        return None if found is None else [revision - self.base for revision, _ in found]

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            running = group.create_task(self.mirror.run())
            yield
            running.cancel()


def brief(change: RowChange) -> tuple[str, str, object, object]:
    old, new = (None if row is None else row.value for row in (change.old, change.new))
    return change.table.name, change.key, old, new


def a_cat(name: str, lives: int = 9) -> Put:
    return Put(f"/h/cats/{name}", codec.dump(Cat(name=name, lives=lives)))


def a_dog(name: str) -> Put:
    return Put(f"/h/dogs/{name}", codec.dump(Dog(name=name)))


async def a_house(opened: Opened, *writes: Put) -> House:
    house = House(opened.store, opened.base)
    for write in writes:
        await house.store.commit((), (write,))
    await house.mirror.load()
    return house


async def write(house: House, *writes: Put | Delete) -> int:
    revision = await house.store.commit((), writes)
    assert revision is not None
    return revision - house.base


async def test_loading_reads_everything_and_tells_of_it(opened: Opened) -> None:
    tom, rex = a_cat("tom"), a_dog("rex")
    house = await a_house(opened, tom, rex, Put("/h/other", b""), Put("/i/cats/x", b""))
    assert house.revision == 4
    first, second = house.base + 1, house.base + 2
    assert dict(house.cats.rows) == {"tom": Row(Cat(name="tom"), first, first)}
    assert dict(house.dogs.rows) == {"rex": Row(Dog(name="rex"), second, second)}
    assert house.told == [
        (4, [("cats", "tom", None, Cat(name="tom")), ("dogs", "rex", None, Dog(name="rex"))]),
    ]
    assert house.since(4) == []
    assert house.since(3) is None


async def test_following_applies_whole_revisions_across_tables(opened: Opened) -> None:
    house = await a_house(opened, a_cat("tom"))
    async with house.following():
        await write(house, a_cat("tom", 8), a_dog("rex"), Put("/h/other", b""))
        await write(house, Delete("/h/cats/tom"), a_cat("kit"))
        await house.reached(3)
    assert house.told[1:] == [
        (2, [("cats", "tom", Cat(name="tom"), Cat(name="tom", lives=8)), ("dogs", "rex", None, Dog(name="rex"))]),
        (3, [("cats", "tom", Cat(name="tom", lives=8), None), ("cats", "kit", None, Cat(name="kit"))]),
    ]
    assert house.cats.rows.keys() == {"kit"}
    assert house.since(1) == [2, 3]
    assert house.since(2) == [3]


async def test_revisions_without_effect_are_reached_too(opened: Opened) -> None:
    house = await a_house(opened)
    async with house.following():
        revision = await write(house, Put("/elsewhere", b""))
        if not opened.kind.tells_of_others:
            revision = await write(house, Put("/h/other", b""))
        await house.reached(revision)
        waiters = [asyncio.ensure_future(house.reached(revision + n)) for n in (2, 1, 3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        await write(house, a_cat("tom"))
        await waiters[1]
        assert not waiters[2].done()
        await write(house, Put("/h/other", b""))
        await write(house, Put("/h/other", b""))
        await waiters[2]
    assert [told - revision for told, _ in house.told] == [1]


async def test_a_record_that_cannot_be_read_is_kept_out_and_does_not_stop_the_mirror(opened: Opened) -> None:
    house = await a_house(opened, a_cat("tom"), Put("/h/cats/odd", b"{"), Put("/h/dogs/odd", b'{"name": 1}'))
    assert house.cats.rows.keys() == {"tom"}
    assert dict(house.cats.unreadable) == {"odd": house.base + 2}
    assert dict(house.dogs.unreadable) == {"odd": house.base + 3}
    async with house.following():
        await write(house, Put("/h/cats/tom", b"?"), a_dog("odd"))
        await write(house, Delete("/h/cats/odd"))
        await house.reached(5)
    assert dict(house.cats.unreadable) == {"tom": house.base + 4}
    assert dict(house.dogs.unreadable) == {}
    assert house.told[1:] == [
        (4, [("cats", "tom", Cat(name="tom"), None), ("dogs", "odd", None, Dog(name="odd"))]),
    ]


async def test_after_compaction_only_the_difference_is_told(opened: Opened) -> None:
    house = await a_house(opened, a_cat("tom"), a_cat("kit"), a_dog("rex"), Put("/h/cats/odd", b"?"))
    await write(house, a_cat("kit", 1), Delete("/h/dogs/rex"))
    await write(house, a_dog("ace"), Delete("/h/cats/odd"))
    await house.store.compact(house.base + 5)
    tom = house.cats.rows["tom"]
    async with house.following():
        await house.reached(6)
    assert house.told[1:] == [
        (
            6,
            [
                ("cats", "kit", Cat(name="kit"), Cat(name="kit", lives=1)),
                ("dogs", "ace", None, Dog(name="ace")),
                ("dogs", "rex", Dog(name="rex"), None),
            ],
        )
    ]
    assert house.cats.rows["tom"] is tom
    assert dict(house.cats.unreadable) == {}
    # What is told as one happened in two, so nobody who was at 4 is to be told so.
    assert (house.since(4), house.since(6)) == (None, [])


class SlowOnce(MemoryStore):
    """Cuts its first watcher off after one revision."""

    watches = 0

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        self.watches += 1
        is_first = self.watches == 1
        async for told in super().watch(prefix, after=after):
            yield told
            if is_first:
                raise SlowWatcher


async def test_a_mirror_that_was_too_slow_goes_on_where_it_stopped() -> None:
    store = SlowOnce()
    house = House(store)
    await house.mirror.load()
    for lives in range(1, 6):
        await write(house, a_cat("tom", lives))
    async with house.following():
        await house.reached(5)
    assert store.watches == 2
    assert [revision for revision, _ in house.told] == [1, 2, 3, 4, 5]


async def test_a_mirror_can_be_run_again(opened: Opened) -> None:
    house = await a_house(opened)
    for lives in range(1, 6):
        async with house.following():
            await house.reached(await write(house, a_cat("tom", lives)))
        await write(house, a_dog("rex"))
    assert [revision for revision, _ in house.told] == list(range(1, 10))


async def test_what_is_kept_for_resuming_is_bounded(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "RECENT_REVISIONS_MAX", 3)
    house = await a_house(opened)
    async with house.following():
        for lives in range(1, 8):
            await write(house, a_cat("tom", lives))
        await house.reached(7)
        assert house.mirror.oldest == house.base + 4
        assert house.since(4) == [5, 6, 7]
        assert house.since(3) is None
        monkeypatch.setattr(recent, "RECENT_BYTES_MAX", 10)
        await house.reached(await write(house, a_cat("tom")))
        assert (house.mirror.oldest, house.since(8), house.since(7)) == (house.base + 8, [], None)


async def test_a_mirror_in_step_is_left_alone(opened: Opened) -> None:
    house = await a_house(opened, *(a_cat(f"c{n}") for n in range(50)), Put("/h/dogs/odd", b"?"))
    async with house.following():
        assert await house.mirror.verify(slice_size=7) == 0
    assert len(house.told) == 1


async def test_what_differs_from_the_store_is_repaired_and_told(opened: Opened) -> None:
    house = await a_house(opened, a_cat("tom"), a_cat("kit"), a_dog("rex"))
    rows = house.cats._rows
    tom = rows.pop("tom")
    rows["ghost"] = tom
    rows["kit"] = Row(Cat(name="kit", lives=1), house.base + 2, house.base + 1)
    async with house.following():
        assert await house.mirror.verify(slice_size=1) == 3
        assert {key: row.value for key, row in house.cats.rows.items()} == {
            "tom": Cat(name="tom"),
            "kit": Cat(name="kit"),
        }
        assert house.told[1:] == [
            (
                3,
                [
                    ("cats", "kit", Cat(name="kit", lives=1), Cat(name="kit")),
                    ("cats", "tom", None, Cat(name="tom")),
                    ("cats", "ghost", Cat(name="tom"), None),
                ],
            )
        ]
        assert await house.mirror.verify() == 0


async def test_a_mirror_is_not_thought_wrong_for_what_changes_meanwhile(opened: Opened) -> None:
    house = await a_house(opened, *(a_cat(f"c{n:03d}") for n in range(300)))

    async def write_on() -> None:
        for n in range(400):
            await write(
                house,
                a_cat(f"c{n:03d}", 1),
                Delete(f"/h/cats/c{(n * 7) % 300:03d}"),
                a_dog(f"d{n}"),
                Put("/h/cats/odd", b"%d" % n),
            ) if (n * 7) % 300 != n else None
            await asyncio.sleep(0)

    async with house.following(), asyncio.TaskGroup() as group:
        writing = group.create_task(write_on())
        while not writing.done():
            assert await house.mirror.verify(slice_size=3) == 0
    async with house.following():
        assert await house.mirror.verify() == 0


async def test_a_mirror_is_verified_though_others_write_elsewhere(opened: Opened) -> None:
    house = await a_house(opened, a_cat("tom"))
    async with house.following():
        await write(house, Put("/elsewhere", b""))
        assert await house.mirror.verify() == 0


async def test_large_records_are_decoded_beside_the_loop():
    decoded: list[int] = []

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Whale:
        song: str

        def __post_init__(self) -> None:
            decoded.append(threading.get_ident())

    def a_whale(name: str, length: int) -> Put:
        return Put(f"/h/whales/{name}", b'{"song":"%b"}' % (b"o" * length))

    store, here = MemoryStore(), threading.get_ident()
    table = Table("whales", "/h/whales/", Whale)
    mirror = Mirror(store, "/h/", (table,))
    await store.commit((), [a_whale("first", LARGE_BYTES), Put("/h/whales/none", b'"%b"' % (b"o" * LARGE_BYTES))])
    await mirror.load()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(mirror.run())
        await store.commit((), [a_whale("second", LARGE_BYTES), Put("/h/fish/large", b"o" * LARGE_BYTES * 2)])
        await mirror.reached(2)
        assert here not in decoded and len(decoded) == 2
        assert await mirror.verify() == 0
        assert here not in decoded and len(decoded) == 4
        await store.commit((), [a_whale("second", LARGE_BYTES)])
        await store.commit((), [a_whale("third", 1)])
        await mirror.reached(4)
        assert (decoded[-2] == here, decoded[-1] == here) == (False, True)
        running.cancel()
    assert {key: len(row.value.song) for key, row in table.rows.items()} == {
        "first": LARGE_BYTES, "second": LARGE_BYTES, "third": 1,
    }  # fmt: skip
    assert list(table.unreadable) == ["none"]
