"""What containers print is in the task's logs, each line once: whatever becomes of the agent meanwhile."""

import asyncio
import contextlib
import random

import pytest

from harpoon.agent.drivers.docker_engine import Frame, _frames, tidy
from harpoon.agent.drivers.docker_file import parse
from harpoon.agent.drivers.docker_logs import Keeper, Position
from harpoon.kit.errors import Unavailable
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
    again = Told([[*first[0], frame(2, b"ccc\n"), frame(3, b"d\n")]])
    await Keeper(str(tmp_path), "1").follow(again, "c")
    assert (tmp_path / "stdout").read_bytes() == b"a\nb\nccc\nd\n"
    assert (tmp_path / "stderr").read_bytes() == b"e\n"
    assert again.asked == ["1767225601.500000000"]


async def test_a_log_that_was_emptied_meanwhile_is_gone_on_with(tmp_path):
    await Keeper(str(tmp_path), "1").follow(Told([[frame(1, b"a\n")]]), "c")
    (tmp_path / "stdout").write_bytes(b"")
    await Keeper(str(tmp_path), "1").follow(Told([[frame(1, b"a\n"), frame(2, b"b\n")]]), "c")
    assert (tmp_path / "stdout").read_bytes() == b"b\n"


class Killed(Exception):
    """The agent is no more."""


class Recorded:
    """An engine with a file of pieces, whose moments are not quite in order; it is left in the midst of it."""

    def __init__(self, frames, *, all_behind=False, at_once=3):
        self.frames = frames
        #: As newer engines do: behind the first piece that is late enough, those before it are told, too.
        self.all_behind = all_behind
        self.at_once = at_once
        #: Left when so many pieces of the file were told, with what; then never again.
        self.leave = None

    async def logs(self, container, since):
        second, _, billionth = since.partition(".")
        begin = (int(second), int(billionth or 0))
        late = [number for number, one in enumerate(self.frames) if when(one) >= begin]
        if self.all_behind:
            late = list(range(late[0], len(self.frames))) if late else []
        end, error = self.leave or (len(self.frames), None)
        late = [number for number in late if number < end]
        for first in range(0, len(late), self.at_once):
            yield [self.frames[number] for number in late[first : first + self.at_once]]
        self.leave = None
        if error is not None:
            raise error


def piece(billionths, number, *, is_stderr=False):
    """Make a piece as it is told by an engine that leaves out noughts at the end."""
    second, rest = divmod(billionths, 10**9)
    part = f".{rest:09d}".rstrip("0").rstrip(".")
    return Frame(is_stderr, f"2026-01-01T00:{second // 60:02d}:{second % 60:02d}{part}Z".encode(), b"%d\n" % number)


def when(one):
    _, minute, rest = one.at.removesuffix(b"Z").split(b":")
    second, _, part = rest.partition(b".")
    return (1767225600 + int(minute) * 60 + int(second), int(part.ljust(9, b"0")))


def kept(directory):
    return [(directory / name).read_bytes() if (directory / name).exists() else b"" for name in ("stdout", "stderr")]


def printed(frames):
    return [b"".join(one.data for one in frames if one.is_stderr is is_stderr) for is_stderr in (False, True)]


@pytest.mark.parametrize("error", [Killed(), Unavailable("the engine is away")])
async def test_a_piece_behind_one_with_a_later_moment_is_there_when_it_was_left_between_them(tmp_path, error):
    engine = Recorded([piece(1_000_000_900, 1, is_stderr=True), piece(1_000_000_100, 2), piece(1_000_001, 3)])
    engine.leave = (1, error)
    with contextlib.suppress(Killed):
        await Keeper(str(tmp_path), "1").follow(engine, "c")
    await Keeper(str(tmp_path), "1").follow(engine, "c")
    assert kept(tmp_path) == [b"2\n3\n", b"1\n"]


@pytest.mark.parametrize("all_behind", [False, True])
@pytest.mark.parametrize("seed", range(40))
async def test_each_piece_is_there_once_in_whatever_order_its_moments_are_and_wherever_it_was_left(
    tmp_path, seed, all_behind
):
    rng = random.Random(seed)
    now, frames = 10**9, []
    for number in range(120):
        # Many at the same moment, some a while after.
        now += rng.choice((0, 0, 1, 1000, 50_000_000, 400_000_000, 3_000_000_000))
        back = rng.choice((0, 0, 0, 1, 1000, 50_000_000, rng.randrange(10**9)))
        frames.append(piece(now - back, number, is_stderr=rng.random() < 0.5))
    engine = Recorded(frames, all_behind=all_behind, at_once=rng.randrange(1, 6))
    for end in range(rng.randrange(1, 9), len(frames), rng.randrange(2, 12)):
        engine.leave = (end, Killed())
        with pytest.raises(Killed):
            await Keeper(str(tmp_path), "1").follow(engine, "c")
        assert kept(tmp_path) == printed(frames[:end])
        # Killed when this much of the next step was there.
        for name, data in zip(("stdout", "stderr"), printed(frames[end : end + 2]), strict=True):
            with (tmp_path / name).open("ab") as log:
                log.write(data[: rng.randrange(len(data) + 1)])
        engine.leave = (end, Killed())
        with pytest.raises(Killed):
            await Keeper(str(tmp_path), "1").follow(engine, "c")
        for name, data in zip(("stdout", "stderr"), printed(frames[:end]), strict=True):
            assert (tmp_path / name).read_bytes().startswith(data)
    await Keeper(str(tmp_path), "1").follow(engine, "c")
    assert kept(tmp_path) == printed(frames)


async def test_what_the_engine_has_no_more_hides_nothing_that_came_after_it(tmp_path):
    frames = [piece(10**9 + number * 100_000_000, number) for number in range(8)]
    for begin, end in ((0, 3), (2, 5), (2, 6), (7, 8)):
        await Keeper(str(tmp_path), "1").follow(Recorded(frames[begin:end]), "c")
    assert kept(tmp_path)[0] == b"0\n1\n2\n3\n4\n5\n7\n"


async def test_a_clock_that_was_set_back_hides_nothing(tmp_path):
    before = [piece(second * 10**9, second) for second in range(3600 - 10, 3600)]
    after = [piece(second * 10**9, second) for second in range(100, 105)]
    for frames in (before + after[:2], before + after):
        await Keeper(str(tmp_path), "1").follow(Recorded(frames), "c")
    assert {*kept(tmp_path)[0].split()} == {b"%d" % second for second in (*range(3590, 3600), *range(100, 105))}


async def test_no_more_than_the_last_moments_are_asked_for_again(tmp_path):
    frames = [piece(second * 500_000_000, second) for second in range(2, 100)]
    await Keeper(str(tmp_path), "1").follow(Recorded(frames), "c")
    again = Told([])
    await Keeper(str(tmp_path), "1").follow(again, "c")
    assert float(again.asked[0]) >= 1767225600 + 49.5 - 3


async def test_the_position_of_an_agent_before_this_one_is_gone_on_from(tmp_path):
    (tmp_path / "stdout").write_bytes(b"0\n1\n2\n")
    line = b"%s 2 6 0" % piece(2 * 10**9, 2).at
    (tmp_path / "printed.1").write_bytes(line.ljust(128) + b"\n")
    frames = [piece(moment * 10**9, number) for number, moment in enumerate((1, 2, 2, 2, 3))]
    await Keeper(str(tmp_path), "1").follow(Recorded(frames), "c")
    assert kept(tmp_path)[0] == b"0\n1\n2\n3\n4\n"


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
