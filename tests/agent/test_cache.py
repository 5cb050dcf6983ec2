"""Fetched files are fetched once, kept as long as there is room, and never taken from under whoever uses them."""

import asyncio
import os
from pathlib import Path

import pytest

from harpoon.agent.artifacts.cache import Cache
from harpoon.kit.errors import Unavailable
from tests.agent.archives import names


class Source:
    """Writes a file, when it is let to."""

    def __init__(self, content=b"content"):
        self.content = content
        self.count = 0
        self.may = asyncio.Event()
        self.began = asyncio.Event()
        self.error = None

    async def __call__(self, path):
        self.count += 1
        self.began.set()
        with Path(path).open("wb") as file:
            file.write(b"half")
            await self.may.wait()
            if self.error is not None:
                raise self.error
            file.seek(0)
            file.write(self.content)


def open_source(content=b"content"):
    source = Source(content)
    source.may.set()
    return source


async def use(cache, digest, source, url="u", while_held=None):
    async with cache.hold(digest, url, source) as path:
        if while_held is not None:
            await while_held()
        return Path(path).read_bytes()


def kept(tmp_path):
    return names(tmp_path / "cache")


async def test_a_file_is_fetched_once_and_kept_also_for_the_next_daemon(tmp_path):
    source = open_source()
    cache = Cache(tmp_path / "cache", 100)
    assert await use(cache, "a", source) == b"content"
    assert await use(cache, "a", source) == b"content"
    (tmp_path / "cache" / "b.part").write_bytes(b"half")
    cache = Cache(tmp_path / "cache", 100)
    assert await use(cache, "a", source) == b"content"
    assert (source.count, kept(tmp_path)) == (1, ["a"])


async def test_many_who_want_it_at_once_have_it_fetched_once(tmp_path):
    source, cache = Source(), Cache(tmp_path / "cache", 100)
    async with asyncio.TaskGroup() as group:
        users = [group.create_task(use(cache, "a", source)) for _ in range(20)]
        await source.began.wait()
        source.may.set()
    assert ([user.result() for user in users], source.count) == ([b"content"] * 20, 1)


async def test_a_failure_is_shared_by_those_who_waited_and_tried_again_by_those_who_come_later(tmp_path):
    source, cache = Source(), Cache(tmp_path / "cache", 100)
    source.error = Unavailable("its server answered 404")
    users = [asyncio.ensure_future(use(cache, "a", source)) for _ in range(5)]
    elsewhere = open_source()
    other = asyncio.ensure_future(use(cache, "a", elsewhere, "another url"))
    await source.began.wait()
    await asyncio.sleep(0.05)
    source.may.set()
    failed = await asyncio.gather(*users, return_exceptions=True)
    assert [str(one) for one in failed] == ["its server answered 404"] * 5
    assert source.count == 1
    assert (await other, elsewhere.count) == (b"content", 1)
    assert kept(tmp_path) == ["a"]
    await cache.drop("a")
    source.error = None
    assert (await use(cache, "a", source), source.count) == (b"content", 2)


async def test_the_next_takes_over_when_the_first_is_stopped(tmp_path):
    source, cache = Source(), Cache(tmp_path / "cache", 100)
    first = asyncio.ensure_future(use(cache, "a", source))
    await source.began.wait()
    second = asyncio.ensure_future(use(cache, "a", source))
    await asyncio.sleep(0.05)
    first.cancel()
    source.may.set()
    assert (await second, source.count) == (b"content", 2)
    with pytest.raises(asyncio.CancelledError):
        await first
    assert kept(tmp_path) == ["a"]


async def test_what_was_not_used_for_the_longest_time_makes_room(tmp_path):
    cache = Cache(tmp_path / "cache", 20)
    for age, name in enumerate("abc"):
        await use(cache, name, open_source(b"12345678"))
        os.utime(tmp_path / "cache" / name, (1000 + age, 1000 + age)) if (tmp_path / "cache" / name).exists() else None
    assert kept(tmp_path) == ["b", "c"]
    await use(cache, "b", open_source())
    await use(cache, "d", open_source(b"12345678"))
    assert kept(tmp_path) == ["b", "d"]


async def test_what_is_used_is_not_removed_even_if_there_is_no_room(tmp_path):
    cache = Cache(tmp_path / "cache", 10)

    async def meanwhile():
        await use(cache, "b", open_source(b"12345678"))
        assert "a" in kept(tmp_path)

    assert await use(cache, "a", open_source(b"123456789012"), while_held=meanwhile) == b"123456789012"
    await use(cache, "c", open_source(b"1"))
    assert "a" not in kept(tmp_path)


async def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    cache = Cache(tmp_path / "cache", 10)

    async def full(path):
        with Path(path).open("wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await use(cache, "a", full)
    assert kept(tmp_path) == []
    assert await use(cache, "a", open_source()) == b"content"
