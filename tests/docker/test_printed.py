"""What containers print is in the task's logs, each line once: whatever becomes of the agent meanwhile."""

import asyncio
import contextlib

import pytest

from harpoon.agent.drivers.docker_engine import Frame, _frames, tidy
from harpoon.agent.drivers.docker_file import parse
from harpoon.agent.drivers.docker_logs import Keeper, Position
from harpoon.model.lifecycle import Restart, RestartPolicy
from tests.agent.rig import connected, daemon
from tests.docker.rig import agent, start

NEVER = Restart(policy=RestartPolicy.NEVER)
COUNTS = "i=0; while test $$i -lt 4000; do i=$$((i+1)); echo line $$i; echo error $$i >&2; done; echo done; sleep 1000"


async def test_nothing_is_lost_or_doubled_by_killing_the_agent_again_and_again(engine, tmp_path):
    told = {"docker": engine.url}
    task = None
    for _ in range(4):
        async with daemon(tmp_path, **told) as one, connected(one.port) as rig:
            await rig.adopt()
            if task is None:
                task = await start(rig, "sh", "-c", COUNTS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await rig.log_until(task, "done\n")
            await one.kill()
    async with daemon(tmp_path, **told) as last, connected(last.port) as rig:
        await rig.adopt()
        assert await rig.log_until(task, "done\n") == "".join(f"line {n}\n" for n in range(1, 4001)) + "done\n"
        assert await rig.log(task, "stderr") == "".join(f"error {n}\n" for n in range(1, 4001))
        await rig.stop(task)
        await rig.over(task)


async def test_what_a_task_prints_last_is_there_when_it_is_told_as_over(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        script = "i=0; while test $$i -lt 3000; do i=$$((i+1)); echo $$i; done; echo last; exit 3"
        for _ in range(3):
            task = await start(rig, "sh", "-c", script, restart=NEVER)
            await rig.over(task)
            assert (await rig.log(task)).endswith("2999\n3000\nlast\n")


async def test_long_lines_come_whole_and_bytes_that_are_no_text_as_the_engine_has_them(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        script = "head -c 70000 /dev/zero | tr '\\0' x; printf '\\377\\n'; printf end"
        task = await start(rig, "sh", "-c", script, restart=NEVER)
        await rig.over(task)
        printed = (tmp_path / "tasks" / task / "stdout").read_bytes()
        assert printed == b"x" * 70000 + "\ufffd\nend".encode()


async def test_the_logs_of_all_launches_are_one_log(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        task = await start(rig, "sh", "-c", "echo once; exit 1", restart=Restart(attempts=2))
        await rig.over(task)
        assert await rig.log(task) == "once\n" * 3


async def test_logs_are_moved_aside_like_any_others(engine, tmp_path):
    async with agent(tmp_path, engine, log_bytes_max=20_000) as rig:
        script = "i=0; while test $$i -lt 20000; do i=$$((i+1)); echo $$i; done; echo done; sleep 1000"
        task = await start(rig, "sh", "-c", script)
        await rig.log_until(task, "done\n")
        await rig.until_true(lambda: (tmp_path / "tasks" / task / "stdout.1").exists())


class Told:
    """An engine that tells what a test says."""

    def __init__(self, *parts):
        self.parts = list(parts)
        self.asked = []

    async def logs(self, container, since):
        self.asked.append(since)
        for frames in self.parts.pop(0):
            if isinstance(frames, Exception):
                raise frames
            yield frames


def frame(second, text, *, is_stderr=False):
    return Frame(is_stderr, b"2026-01-01T00:00:%02d.5Z" % second, text)


@pytest.mark.parametrize("cut", range(5))
async def test_a_write_that_was_cut_off_is_finished_at_the_byte(tmp_path, cut):
    first = [[frame(1, b"a\n"), frame(2, b"b\n"), frame(2, b"e\n", is_stderr=True)]]
    await Keeper(str(tmp_path), "1").follow(Told(first), "c")
    keeper = Keeper(str(tmp_path), "1")
    keeper._resume()
    # Killed when this much of the next step was there, and the position was that before it.
    keeper._save()
    with (tmp_path / "stdout").open("ab") as log:
        log.write(b"ccc\n"[:cut])
    again = Told([[frame(2, b"b\n"), frame(2, b"e\n", is_stderr=True), frame(2, b"ccc\n"), frame(3, b"d\n")]])
    await Keeper(str(tmp_path), "1").follow(again, "c")
    assert (tmp_path / "stdout").read_bytes() == b"a\nb\nccc\nd\n"
    assert (tmp_path / "stderr").read_bytes() == b"e\n"
    assert again.asked == ["1767225602.500000000"]


async def test_a_log_that_was_emptied_meanwhile_is_gone_on_with(tmp_path):
    await Keeper(str(tmp_path), "1").follow(Told([[frame(1, b"a\n")]]), "c")
    (tmp_path / "stdout").write_bytes(b"")
    await Keeper(str(tmp_path), "1").follow(Told([[frame(1, b"a\n"), frame(2, b"b\n")]]), "c")
    assert (tmp_path / "stdout").read_bytes() == b"b\n"


def test_frames_are_read_however_they_are_cut():
    def packed(kind, text):
        data = b"2026-01-01T00:00:00Z " + text
        return bytes((kind, 0, 0, 0)) + len(data).to_bytes(4, "big") + data

    whole = packed(1, b"a b\n") + packed(2, b"\xff\n") + packed(1, b"")
    for cut in range(len(whole)):
        frames, rest = _frames(whole[:cut])
        more, rest = _frames(rest + whole[cut:])
        assert [(one.is_stderr, one.data) for one in frames + more] == [
            (False, b"a b\n"),
            (True, b"\xff\n"),
            (False, b""),
        ]
        assert rest == b""


def test_a_moment_is_told_to_the_engine_to_the_billionth():
    assert Position(b"2026-01-01T00:00:00.000000012Z", 1).since == "1767225600.000000012"
    assert Position(b"2026-01-01T00:00:00Z", 1).since == "1767225600.000000000"
    assert Position().since == "0"
    assert Position(b"nonsense", 1).since == "0"


@pytest.mark.parametrize(
    "text",
    ["", "\n", "made " + "a" * 64 + "\n", "named x\n", "named ../../x " + "0" * 32 + "\n", "running 1 1\n", "over 3 x"],
)
def test_a_launch_file_that_names_no_container_tells_nothing(text):
    assert parse(text) is None


def test_what_an_engine_says_is_told_in_the_words_that_help():
    long = 'failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "x": not found: unknown'  # fmt: skip
    assert tidy(long) == 'exec: "x": not found'
    assert len(tidy("y" * 1000)) == 300
