"""Logs: bounded however much is printed, and readable while they grow and are moved aside."""

import asyncio
import errno
import os
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from harpoon.agent.logs import Log, Rotator
from harpoon.kit.errors import NotFound
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.name import TaskId
from tests.agent.programs import python, sh
from tests.agent.rig import PATIENCE_S, agent

NEVER = Restart(policy=RestartPolicy.NEVER)


async def text(log: Log, tail: int | None = None) -> str:
    return b"".join([chunk async for chunk in log.read(tail, follow=False)]).decode()


def append(path: Path, what: str) -> None:
    with path.open("a") as file:
        file.write(what)


async def test_a_log_that_is_not_there_is_empty(tmp_path):
    assert await text(Log(str(tmp_path / "stdout"))) == ""
    assert await text(Log(str(tmp_path / "stdout")), 10) == ""
    assert Log(str(tmp_path / "stdout")).size() == 0


@pytest.mark.parametrize(
    ("content", "tail", "shown"),
    [
        ("1\n2\n3\n", 0, ""),
        ("1\n2\n3\n", 1, "3\n"),
        ("1\n2\n3\n", 2, "2\n3\n"),
        ("1\n2\n3\n", 3, "1\n2\n3\n"),
        ("1\n2\n3\n", 99, "1\n2\n3\n"),
        ("1\n2\n3", 1, "3"),
        ("1\n2\n3", 2, "2\n3"),
        ("1\n\n\n", 2, "\n\n"),
        ("1", 1, "1"),
        ("", 5, ""),
        ("x" * 600_000 + "\n2\n", 1, "2\n"),
        ("1\n" * 300_000, 299_999, "1\n" * 299_999),
    ],
)
async def test_the_last_lines_are_found_from_the_end(tmp_path, content, tail, shown):
    path = tmp_path / "stdout"
    path.write_text(content)
    assert await text(Log(str(path)), tail) == shown


async def test_what_was_moved_aside_is_read_first_and_the_oldest_goes(tmp_path):
    path = tmp_path / "stdout"
    log = Log(str(path))
    for number in range(5):
        append(path, f"{number}a\n{number}b\n")
        await log.rotate(1000)
    append(path, "5a\n5b\n")
    assert await text(log) == "3a\n3b\n4a\n4b\n5a\n5b\n"
    assert await text(log, 3) == "4b\n5a\n5b\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["stdout", "stdout.1", "stdout.2"]
    # A later daemon finds the same.
    assert await text(Log(str(path))) == "3a\n3b\n4a\n4b\n5a\n5b\n"
    assert await text(Log(str(path)), 3) == "4b\n5a\n5b\n"


async def test_of_a_log_that_grew_too_large_the_end_is_kept(tmp_path):
    path = tmp_path / "stdout"
    log = Log(str(path))
    append(path, "x" * 5000 + "end\n")
    await log.rotate(1000)
    append(path, "new\n")
    assert (await text(log)).endswith("end\nnew\n")
    assert len(await text(log)) == 1000 + 4


async def test_one_who_follows_across_rotations_gets_every_line_once(tmp_path):
    path = tmp_path / "stdout"
    log = Log(str(path))
    got = b""

    async def follow() -> None:
        nonlocal got
        async for chunk in log.read(None, follow=True):
            got += chunk

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        for number in range(40):
            append(path, f"line {number}\n")
            if number % 5 == 4:
                await log.rotate(1000)
            while number % 10 == 9 and got.count(b"\n") <= number:
                await asyncio.sleep(0.01)
        log.leave(str(path))
        await following
    assert got.decode() == "".join(f"line {number}\n" for number in range(40))


async def test_one_who_reads_too_slowly_is_told_that_something_is_missing(tmp_path):
    path = tmp_path / "stdout"
    log = Log(str(path))
    append(path, "0\n")
    reading = log.read(None, follow=True)
    assert await anext(reading) == b"0\n"
    for number in range(1, 6):
        append(path, f"{number}\n")
        await log.rotate(1000)
    assert b"output was dropped here" in await anext(reading)
    assert [await anext(reading) for _ in range(2)] == [b"4\n", b"5\n"]
    await reading.aclose()


async def test_a_link_or_pipe_in_a_logs_place_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "stdout").symlink_to(secret)
    os.mkfifo(tmp_path / "stderr")
    for name in ("stdout", "stderr"):
        log = Log(str(tmp_path / name))
        assert await text(log) == ""
        assert await text(log, 5) == ""
        await log.rotate(10)
    assert secret.read_text() == "secret"


async def test_logs_are_moved_aside_when_they_are_large(tmp_path):
    logs = [Log(str(tmp_path / f"{n}")) for n in range(3)]
    (tmp_path / "0").write_text("x" * 5000)
    (tmp_path / "1").write_text("x" * 3000)
    rotated = 0
    seen = asyncio.Event()

    def count() -> None:
        nonlocal rotated
        rotated += 1
        seen.set()

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        running = group.create_task(Rotator(lambda: logs, 4096, count).run())
        await seen.wait()
        append(tmp_path / "0", "y" * 5000)
        seen.clear()
        await seen.wait()
        running.cancel()
    assert rotated == 2
    assert (tmp_path / "0.1").read_text() == "y" * 4096
    assert not (tmp_path / "1.1").exists()


async def test_both_streams_of_a_task_are_kept_until_it_is_forgotten(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.start(*sh("echo out; echo err >&2; exit 1"), restart=NEVER)
        await rig.over(task)
        assert await rig.log(task) == "out\n"
        assert await rig.log(task, "stderr") == "err\n"
        await rig.forget(task)
        with pytest.raises(NotFound):
            await rig.log(task)


async def test_a_log_goes_on_across_restarts_and_is_followed_until_the_task_is_forgotten(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.start(*sh("echo once; exit 1"), restart=Restart(attempts=1))
        response = await rig.client.logs(task, follow=True)
        await rig.over(task)
        await rig.forget(task)
        async with asyncio.timeout(PATIENCE_S), response:
            assert await response.read() == b"once\nonce\n"


async def test_what_a_task_prints_is_bounded_and_followed_without_a_gap(tmp_path):
    program = """
import sys, time
for n in range(60):
    sys.stdout.write("".join(f"{n * 100 + i:08d}\\n" for i in range(100)))
    sys.stdout.flush()
    time.sleep(0.02)
print("done", flush=True)
time.sleep(1000)
"""
    async with agent(tmp_path, log_bytes_max=8192) as rig:
        task = await rig.start(*python(program))
        seen = await rig.log_until(task, "done\n")
        numbers = [int(line) for line in seen.split("\n")[:-2]]
        # Copy and truncate may lose what is printed in between; nothing is told twice, or out of order.
        assert numbers == sorted(set(numbers))
        assert len(numbers) > 5900
        place = tmp_path / "tasks" / task
        assert sum(file.stat().st_size for file in place.glob("stdout*")) <= 4 * 8192 + 20_000
        assert (await rig.log(task, tail=1)) == "done\n"


async def test_a_reader_that_leaves_does_not_stay_behind(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.start(*sh("echo up; sleep 1000"))
        await rig.log_until(task, "up\n")
        before = len(asyncio.all_tasks())
        for _ in range(5):
            response = await rig.client.logs(task, follow=True)
            await response.content.readany()
            response.close()
        await rig.until_true(lambda: len(asyncio.all_tasks()) <= before)


@pytest.mark.parametrize(
    "query", ["stream=other", "tail=-1", "tail=x", "tail=10000000", "tail=%C2%B2", "follow=1", "stream=../uid"]
)
async def test_a_query_that_means_nothing_is_refused(tmp_path, query):
    async with agent(tmp_path) as rig, aiohttp.ClientSession() as session:
        task = await rig.start("sleep", "1000")
        async with session.get(f"{rig.client._url}/v1/tasks/{task}/logs?{query}") as response:
            assert response.status == 400


@pytest.mark.parametrize("task", ["..%2f..%2fetc", "%2e%2e", "default.none.0.1-1", "x%00y"])
async def test_a_task_that_is_none_has_no_log(tmp_path, task):
    async with agent(tmp_path) as rig, aiohttp.ClientSession() as session:
        async with session.get(URL(f"{rig.client._url}/v1/tasks/{task}/logs", encoded=True)) as response:
            assert response.status == 404
        with pytest.raises(NotFound):
            await rig.client.logs(TaskId("default.none.0.1-1"))


async def test_a_log_that_cannot_be_copied_is_emptied_all_the_same(tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "stdout"
    append(path, "x" * 5000)
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(os, "sendfile", full)
    log = Log(str(path))
    await log.rotate(1000)
    append(path, "new\n")
    assert log.size() == 4
    assert (await text(log)).endswith("new\n")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
