"""Asking, each kind by itself: real connections and real programs, and what is told of them."""

import asyncio
import contextlib
import errno
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.agent import probes, processes
from harpoon.agent.census import Census
from harpoon.agent.drivers import programs
from harpoon.agent.drivers.handle import Program
from harpoon.agent.drivers.programs import MARK, Programs, last_line
from harpoon.agent.health import Standing
from harpoon.agent.launch import Whereabouts, prepare_check
from harpoon.agent.probes import SystemProber, Target
from harpoon.agent.record import Place, Record
from harpoon.agent.vault import Vault
from harpoon.kit.clock import SystemClock, system_random
from harpoon.model.check import Check, ExecProbe, OnFail, TcpProbe
from harpoon.model.name import TaskId
from harpoon.model.template import TaskTemplate
from tests.agent.programs import sh
from tests.agent.rig import PATIENCE_S, is_alive, zombies
from tests.ports import free_port

HERE = Whereabouts(agent="agent-1", address="127.0.0.1")
TASK = TaskId("default.web.0.1-42")
#: Every failure is told at once.
STRICT = {"fail_after": 1, "start_within": timedelta(0), "on_fail": OnFail.RESTART}


class Beside:
    """A task of which nothing runs, and one who asks its checks."""

    def __init__(self, path: Path, prober: SystemProber, children: set[int]) -> None:
        self.place = Place(str(path / TASK))
        self.prober = prober
        self.children = children
        self.port = free_port()
        self.record = Record(
            id=TASK, generation="g", template=TaskTemplate(command=("true",)), cluster="c", ports={"main": self.port}
        )
        self.place.make(self.record)

    def program(self, command: tuple[str, ...]) -> Program:
        return prepare_check(command, self.record, self.place, HERE, Vault("none"))

    async def ask(self, *, timeout_ms: int = 15_000, **kind: object) -> str | None:
        """Return what the first answer of a check is told as; None: it passed."""
        check = Check(timeout=timedelta(milliseconds=timeout_ms), **STRICT, **kind)  # type: ignore[arg-type]
        standing, answered = Standing(check), asyncio.Event()
        target = Target(address=HERE.address, ports=self.record.ports, program=self.program)
        watch = asyncio.ensure_future(self.prober.watch(standing, target, answered.set))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await answered.wait()
        finally:
            watch.cancel()
            await asyncio.wait([watch])
        assert standing.is_passing is not standing.wants_restart
        return None if standing.is_passing else standing.detail

    async def run(self, script: str, *, timeout_ms: int = 15_000) -> str | None:
        return await self.ask(exec_=ExecProbe(command=sh(script)), timeout_ms=timeout_ms)

    def left(self) -> list[int]:
        """Which processes of its checks run."""
        marked = (pid for pid in processes.pids() if self.place.path in processes.variables_of(pid, MARK))
        return [pid for pid in marked if is_alive(pid)]


@contextlib.asynccontextmanager
async def beside(path: Path) -> AsyncIterator[Beside]:
    children: set[int] = set()
    run = Programs(Census(), children, "512")
    try:
        async with probes.probe_session() as session:
            yield Beside(path, SystemProber(session, run, SystemClock(), system_random()), children)
    finally:
        run.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_port_that_accepts_passes_without_a_word_said(tmp_path):
    async with beside(tmp_path) as task:
        heard: list[bytes] = []

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Raises when the connection is reset: servers would complain of it in their logs.
            heard.append(await reader.read())
            writer.close()

        async with await asyncio.start_server(listen, "127.0.0.1", task.port):
            assert await task.ask(tcp=TcpProbe(port="main")) is None
            await until(lambda: heard)
        assert heard == [b""]


async def test_a_port_that_does_not_accept_fails_and_the_reason_is_told(tmp_path):
    async with beside(tmp_path) as task:
        assert await task.ask(tcp=TcpProbe(port="main")) == "connection refused"
        with socket.create_server(("127.0.0.1", task.port), backlog=0) as server, contextlib.ExitStack() as waiting:
            for _ in range(3):
                # What has no place in the queue is not answered.
                peer = waiting.enter_context(socket.socket())
                peer.setblocking(False)
                peer.connect_ex(server.getsockname())
            assert await task.ask(tcp=TcpProbe(port="main"), timeout_ms=80) == "no answer within 80ms"


async def test_an_address_that_is_a_name_is_asked_too(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.agent.test_probes.HERE", Whereabouts(agent="agent-1", address="localhost"))
    async with beside(tmp_path) as task:
        with socket.create_server(("127.0.0.1", task.port)):
            assert await task.ask(tcp=TcpProbe(port="main")) is None
        failure = await task.ask(tcp=TcpProbe(port="main"))
        assert failure is not None
        assert "connect" in failure.lower()


async def test_a_connection_that_met_itself_is_no_pass_and_does_not_block_the_port(tmp_path, monkeypatch):
    async with beside(tmp_path) as task:
        loop = asyncio.get_running_loop()

        async def meet(protocol, _host, port):
            with_itself = socket.socket()
            with_itself.setblocking(False)
            with_itself.bind(("127.0.0.1", port))
            await loop.sock_connect(with_itself, ("127.0.0.1", port))
            return await real(protocol, sock=with_itself)

        real = loop.create_connection
        monkeypatch.setattr(loop, "create_connection", meet)
        assert await task.ask(tcp=TcpProbe(port="main")) == "connection refused"
        await asyncio.sleep(0)
        with socket.socket() as listener:
            # Without SO_REUSEADDR: nothing may be left of it.
            listener.bind(("127.0.0.1", task.port))


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ("exit 0", None),
        ("echo fine; echo really >&2", None),
        ("exit 3", "exited 3"),
        ("echo one; echo two >&2; exit 1", "exited 1: two"),
        ("printf 'no end of line'; exit 1", "exited 1: no end of line"),
        ("printf 'said\\n\\n  \\n'; exit 1", "exited 1: said"),
        (r"printf 'a\tb \033[31mred\033[0m \007\033]0;x\n'; exit 2", "exited 2: a b red ]0;x"),
        ("printf '%0300d' 0; exit 1", f"exited 1: {'0' * 190}"),
        ("kill -KILL $$", "was killed by KILL"),
        ("echo gone; kill -SEGV $$", "was killed by SEGV: gone"),
        # Its input is at its end, and so is not waited for.
        ("cat", None),
        ("[ -t 0 ] || exit 7", "exited 7"),
        # Far more than a pipe holds is taken in, and dropped.
        ("head -c 3000000 /dev/zero; echo; echo end; exit 1", "exited 1: end"),
    ],
)
async def test_a_program_tells_by_its_exit_code_and_its_last_line(tmp_path, script, failure):
    async with beside(tmp_path) as task:
        assert await task.run(script) == failure
        assert not task.children


async def test_a_program_that_does_not_end_is_killed_with_all_it_has_started(tmp_path):
    async with beside(tmp_path) as task:
        # In its group, in a group of its own, ignoring what can be ignored, and holding on to the output.
        script = "trap '' TERM HUP; (trap '' TERM; sleep 1000) & set -m; sleep 1000 & set +m; echo waits; sleep 1000"
        assert await task.run(script, timeout_ms=300) == "did not end within 300ms: waits"
        await until(lambda: not task.left())
        assert not task.children


async def test_a_program_that_passes_leaves_nothing_either(tmp_path):
    async with beside(tmp_path) as task:
        # It is over though its children hold its output open.
        assert await task.run("sleep 1000 & sleep 1000 & exit 0") is None
        await until(lambda: not task.left())


async def test_a_program_that_is_no_longer_wanted_is_killed(tmp_path):
    async with beside(tmp_path) as task:
        asking = asyncio.ensure_future(task.run("sleep 1000 & sleep 1000"))
        await until(lambda: len(task.left()) == 3)
        asking.cancel()
        await asyncio.wait([asking])
        await until(lambda: not task.left())
        assert not task.children


async def test_a_program_that_prints_without_end_costs_little(tmp_path):
    async with beside(tmp_path) as task:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        used = os.times()
        assert await task.run("exec yes", timeout_ms=500) == "did not end within 500ms: y"
        now = os.times()
        assert now.user + now.system - used.user - used.system < 0.7 * (loop.time() - begin)


@pytest.mark.parametrize(
    ("command", "failure"),
    [
        (("no-such-program",), "command 'no-such-program' is not found in PATH"),
        (("/no/such/program",), "command '/no/such/program': there is no such file"),
        (("./plain",), "scratch/./plain is not executable for the agent"),
        (("./bad",), r"exited 12[67]: .*\./bad: "),
        (("true", "\ud800"), "surrogates not allowed"),
    ],
)
async def test_a_program_that_cannot_be_run_fails_the_check_and_the_reason_is_told(tmp_path, command, failure):
    async with beside(tmp_path) as task:
        (bad := Path(task.place.scratch, "bad")).write_text("#!/no/such/interpreter\n")
        bad.chmod(0o755)
        Path(task.place.scratch, "plain").write_text("")
        told = await task.ask(exec_=ExecProbe(command=command))
        assert told is not None
        assert re.search(failure, told)


async def test_a_host_that_cannot_start_a_process_now_is_told_of_and_keeps_no_open_file(tmp_path, monkeypatch):
    def spawn(*_arguments, **_options):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    async with beside(tmp_path) as task:
        before = open_files()
        monkeypatch.setattr(os, "posix_spawn", spawn)
        assert await task.run("exit 0") == "could not be started: resource temporarily unavailable"
        monkeypatch.undo()
        monkeypatch.setattr(os, "pidfd_open", spawn)
        assert await task.run("sleep 1000") == "could not be started: resource temporarily unavailable"
        await until(lambda: not task.left())
        assert not task.children
        assert open_files() <= before


async def test_many_programs_leave_no_zombie_and_no_open_file(tmp_path):
    async with beside(tmp_path) as task:
        await task.run("exit 0")
        before, left = open_files(), zombies()
        assert await asyncio.gather(*(task.run(f"exit {n % 2}") for n in range(100))) == [None, "exited 1"] * 50
        assert open_files() <= before
        await until(lambda: zombies() <= left)


async def test_waiting_for_a_place_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(probes, "PROGRAMS_MAX", 1)
    async with beside(tmp_path) as task:
        script = "mkdir alone || exit 1; sleep 0.2; rmdir alone"
        assert await asyncio.gather(*(task.run(script, timeout_ms=900) for _ in range(6))) == [None] * 6


async def test_a_program_is_what_the_task_would_be_but_marked(tmp_path):
    async with beside(tmp_path) as task:
        script = 'echo "$1 $HARPOON_TASK $PORT_MAIN $HARPOON_CHECK $(ulimit -n) $(pwd) $PWD" >seen; cut -d" " -f1,5,6 /proc/$$/stat >ids'
        probe = ExecProbe(command=(*sh(script), "$PORT_MAIN-$HARPOON_SLOT-$$"))
        assert await task.ask(exec_=probe) is None
        place, scratch = task.place.path, task.place.scratch
        seen = Path(scratch, "seen").read_text().split()
        assert seen == [f"{task.port}-0-$", TASK, str(task.port), place, "512", scratch, scratch]
        pid, group, session = Path(scratch, "ids").read_text().split()
        assert pid == group == session


async def test_what_a_killed_daemon_left_is_found_by_its_mark(tmp_path):
    async with beside(tmp_path) as task:
        environment = {MARK: task.place.path, "PATH": os.environ["PATH"]}
        ours = await asyncio.create_subprocess_exec(*sh("sleep 1000 & sleep 1000"), env=environment, start_new_session=True)  # fmt: skip
        other = await asyncio.create_subprocess_exec("sleep", "1000", env={MARK: f"{task.place.path}0"})
        await until(lambda: len(task.left()) == 3)
        programs.kill_strays({task.place.path})
        assert not task.left()
        assert other.returncode is None
        other.kill()
        await ours.wait()
        await other.wait()


def test_the_last_line_is_whatever_was_printed():
    assert last_line(b"") == ""
    assert last_line(b"\xff\xfe bytes\r\n") == "\ufffd\ufffd bytes"
    # Progress that overwrites its line, and text that would run from right to left.
    assert last_line(b"10%\r99%\r") == "99%"
    assert last_line("a\u202eb".encode()) == "ab"
