"""Three members of etcd, three servers, four agents and three workers, each on a host of its own; who ends by himself is started again."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.etcd.cluster import Cluster as EtcdCluster
from tests.etcd.members import Member
from tests.etcd.network import settle
from tests.network import Network, run
from tests.proof.history import Down, Up
from tests.system.chaos.part import BEGAN, HISTORY, set_ahead
from tests.system.chaos.recorder import Recorder

ETCDS = ("m1", "m2", "m3")
SERVERS = ("s1", "s2", "s3")
AGENTS = ("a1", "a2", "a3", "a4")
WORKERS = ("w1", "w2", "w3")
ALL = (*ETCDS, *SERVERS, *AGENTS, *WORKERS)
SERVER_PORT, AGENT_PORT = 4450, 4451
#: Room of an agent's state directory.
DISK = "24m"
#: Told to stop, a worker lets its attempts run on for so long.
WORKER_GRACE = "2s"
#: Who ended by himself is started again after so long, as an init system would.
RESTART_S = 1.0
#: With a neighbour on the machine a member may be late by some hundred milliseconds.
_ETCD_FLAGS = ("--heartbeat-interval=100", "--election-timeout=1000")


class Hosts:
    """The fleet: started, ended, paused and looked after."""

    def __init__(self, directory: Path, recorder: Recorder, token: str, options: Sequence[str] = ()) -> None:
        self.directory = directory
        self.recorder = recorder
        self.options = tuple(options)
        self.network = Network(ALL)
        self.etcds = EtcdCluster(directory / "etcd", _ETCD_FLAGS)
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        #: Who is to be down; paused ones are not.
        self.held_down: set[str] = set()
        #: Who ended by himself, and was started again.
        self.restarts: list[str] = []
        self._readers: set[asyncio.Task[None]] = set()
        self._mounts: list[Path] = []
        self._minder: asyncio.Task[None] | None = None
        self._token_file = directory / "token"
        self._token_file.parent.mkdir(parents=True, exist_ok=True)
        self._token_file.write_text(token + "\n")
        self._token_file.chmod(0o600)

    def url(self, server: str) -> str:
        return f"http://{self.network.address(server)}:{SERVER_PORT}"

    def member(self, name: str) -> Member:
        return self.etcds.members[ETCDS.index(name)]

    async def start(self) -> None:
        """Make the network, the disks and all processes; wait for etcd alone."""
        remove_mounts_left_behind()
        await asyncio.to_thread(self.network.make)
        for agent in AGENTS:
            self._mount(self.state(agent))
        for member in self.etcds.members:
            settle(member, self.network)
        await asyncio.to_thread(self.etcds.start)
        for name in ETCDS:
            self.recorder.note(Up(t=self.recorder.now(), node=name, instance=f"{name}/{self.member(name).process.pid}"))
        for name in (*SERVERS, *AGENTS, *WORKERS):
            self.clock(name).write_bytes(bytes(8))
            await self.launch(name)
        self._minder = asyncio.create_task(self._look_after())

    async def close(self) -> None:
        """End and remove everything."""
        if self._minder is not None:
            self._minder.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._minder
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for process in self.processes.values():
            await process.wait()
        await asyncio.gather(*self._readers)
        await asyncio.to_thread(self.etcds.kill)

    def remove(self) -> None:
        """Remove network and disks, once nothing runs there any more."""
        self.network.remove()
        for path in self._mounts:
            with contextlib.suppress(RuntimeError):
                run("umount", "-l", str(path))

    # One host.

    def state(self, agent: str) -> Path:
        return self.directory / agent

    def clock(self, name: str) -> Path:
        return self.directory / f"{name}.clock"

    def pid(self, name: str) -> int:
        process = self.member(name).process if name in ETCDS else self.processes[name]
        return process.pid

    def is_running(self, name: str) -> bool:
        if name in ETCDS:
            return self.member(name).is_running
        return (process := self.processes.get(name)) is not None and process.returncode is None

    async def launch(self, name: str) -> None:
        """Start a process, and wait for nothing."""
        self.held_down.discard(name)
        if self.is_running(name):
            return
        if name in ETCDS:
            await asyncio.to_thread(self.member(name).launch)
        else:
            self.processes[name] = process = await asyncio.create_subprocess_exec(
                *self.network.enter(name),
                *_tied(),
                *self._command(name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=1 << 22,
                start_new_session=True,
                env=self._environment(name),
            )
            reader = asyncio.create_task(self._read(name, process))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        self.recorder.note(Up(t=self.recorder.now(), node=name, instance=f"{name}/{self.pid(name)}"))

    async def kill(self, name: str) -> None:
        """Kill -9, paused or not; it stays down until it is launched."""
        self.held_down.add(name)
        if name in ETCDS:
            await asyncio.to_thread(self.member(name).kill)
            self.recorder.note(Down(t=self.recorder.now(), node=name))
        elif self.is_running(name):
            self.processes[name].kill()
            await self.processes[name].wait()

    async def stop(self, name: str, within_s: float = 20.0) -> None:
        """End it as an operator would; it stays down until it is launched."""
        self.held_down.add(name)
        if self.is_running(name):
            self.processes[name].terminate()
            try:
                async with asyncio.timeout(within_s):
                    await self.processes[name].wait()
            except TimeoutError:
                await self.kill(name)

    def pause(self, name: str) -> None:
        if self.is_running(name):
            os.kill(self.pid(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        if self.is_running(name):
            os.kill(self.pid(name), signal.SIGCONT)

    def jump(self, name: str, seconds: float) -> None:
        """Set the wall clock of a server or an agent, seconds ahead of ours."""
        set_ahead(self.clock(name), seconds)

    def fill(self, agent: str) -> None:
        """Leave no room on an agent's disk."""
        with contextlib.suppress(OSError), (self.state(agent) / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with contextlib.suppress(OSError), (self.state(agent) / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self, agent: str) -> None:
        (self.state(agent) / "filler").unlink(missing_ok=True)

    # Within.

    def _command(self, name: str) -> list[str]:
        host = self.network.address(name)
        servers = [f"--server={self.url(server)}" for server in SERVERS]
        if name in AGENTS:
            size = ["--cpu", "8", "--memory", "8Gi", "--state-dir", str(self.state(name)), *servers]
            told = ["agent", "--name", name, "--listen", f"{host}:{AGENT_PORT}", *size]
        elif name in WORKERS:
            # The first bears one name in all its lives.
            called = ["--name", name] if name == WORKERS[0] else []
            told = ["worker", "tests.system.chaos.handlers", *called, *servers, "--grace", WORKER_GRACE]
        else:
            where = ["--listen", f"{host}:{SERVER_PORT}", "--store", self.etcds.url, "--instance", name]
            told = ["server", *where, *self.options]
        part = (sys.executable, "-m", "tests.system.chaos.part", str(self.clock(name)))
        return [*part, *told, "--token-file", str(self._token_file)]

    def _environment(self, name: str) -> dict[str, str] | None:
        """Return what a process finds in its environment; None: what we do."""
        if name not in WORKERS:
            return None
        return {**os.environ, HISTORY: str(self.recorder.directory), BEGAN: str(self.recorder.began)}

    async def _read(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.recorder.hear(name, line)
        code = await process.wait()
        self.recorder.hear(name, f"(ended with {code})".encode())
        self.recorder.note(Down(t=self.recorder.now(), node=name))

    async def _look_after(self) -> None:
        """Start again who ended though nobody ended him."""
        gone: dict[str, float] = {}
        while True:
            await asyncio.sleep(0.2)
            for name in ALL:
                if self.is_running(name) or name in self.held_down:
                    gone.pop(name, None)
                elif time.monotonic() - gone.setdefault(name, time.monotonic()) > RESTART_S:
                    self.restarts.append(name)
                    await self.launch(name)

    def _mount(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True)
        run("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", f"{self.network.id}-disk", str(path))
        self._mounts.append(path)


def remove_mounts_left_behind() -> None:
    """Unmount the disks of runs that were killed."""
    for line in Path("/proc/mounts").read_text().splitlines():
        source, path = line.split()[:2]
        if source.startswith("harpoon-") and source.endswith("-disk"):
            owner = source.split("-")[1]
            if owner.isdigit() and not Path("/proc", owner).exists():
                with contextlib.suppress(RuntimeError):
                    run("umount", "-l", path)


def _tied() -> list[str]:
    """Return what lets a process end with us."""
    return [found, "--pdeathsig", "KILL"] if (found := shutil.which("setpriv")) else []
