"""What the shipped agent runs tasks and asks checks through when its machine is a `Host`."""

import asyncio
import errno
import os
from collections.abc import Callable, Collection
from pathlib import Path
from random import Random

from harpoon.agent.drivers.driver import Handle
from harpoon.agent.drivers.handle import Launch, Program
from harpoon.agent.drivers.shimfile import Exit
from harpoon.agent.probes import Ask, SystemProber, Target
from harpoon.agent.record import Place, Record
from harpoon.agent.volumes import Mount
from harpoon.core.restart import describe_exit
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Invalid
from harpoon.model.check import Check
from harpoon.model.task import Limit
from tests.sim.hosts import Host, Run

#: How often one who waits for what is left of a group looks again, and for how long.
_LOOK_S = 0.005
_LOOKS_MAX = 400
_UNKNOWN = Exit(code=None, detail="ended, and its exit code is not known")


class SimHandle:
    """A launch, as the daemon knows it: a moment after what became of it."""

    def __init__(self, host: Host, run: Run | None, changed: Callable[[], None]) -> None:
        self.note = ""
        self.beside = None
        self.run = run
        self.changed = changed
        self.pid: int | None = None
        self.exit: Exit | None = None
        self.limits: tuple[Limit, ...] = ()
        self._host = host
        self.look()

    def look(self) -> None:
        """Take over what has become of it."""
        run = self.run
        if run is None:
            self.exit = _UNKNOWN
            return
        self.pid = run.pid if run.is_up else None
        if run.code is not None:
            self.exit = Exit(code=run.code, detail=describe_exit(run.code))

    @property
    def began_ms(self) -> int:
        assert self.run is not None
        return self.run.began_ms

    def signal(self, number: int) -> None:
        if self.run is not None:
            self._host.signal(self.run, number)

    def kill(self) -> None:
        self.signal(9)


class SimDriver:
    """The driver of one daemon; what it started lives on in its host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._handles: dict[str, SimHandle] = {}

    def start(self, launch: Launch, changed: Callable[[], None]) -> SimHandle:
        host = self._host
        if host.refuses and host.rng.random() < host.refuses:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        # An empty file may still find room where nothing else does.
        if host.disk.is_full and host.rng.random() < 0.5:
            host.disk.check()
        os.close(os.open(launch.shim_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        run = host.start(launch.shim_file, launch.environment["HARPOON_TASK"], launch.environment)
        handle = self._handles[run.name] = SimHandle(host, run, changed)
        return handle

    def find(self, file: str, changed: Callable[[], None]) -> SimHandle | None:
        if not Path(file).exists():
            return None
        run = self._host.run_of(file)
        handle = SimHandle(self._host, run, changed)
        if run is not None:
            self._handles[run.name] = handle
        return handle

    async def sweep(self, handle: Handle, *, is_thorough: bool) -> None:
        assert isinstance(handle, SimHandle)
        run = handle.run
        if run is None:
            return
        self._handles.pop(run.name, None)
        for _ in range(_LOOKS_MAX):
            if run.is_gone:
                return
            self._host.sweep(run)
            await asyncio.sleep(_LOOK_S)

    def clear_strays(self) -> None:
        """Nothing runs here that its daemon does not find."""

    def hear(self, run: Run) -> None:
        """Tell the task's life that its process has changed."""
        handle = self._handles.get(run.name)
        if handle is not None:
            handle.look()
            handle.changed()


class SimProber(SystemProber):
    """Asks at the pace of the shipped one; what is answered, variables of the task say, and the host.

    ``SIM_READY``: seconds until it passes; ``SIM_FLAPS``: the chance that an answer is no pass though it could be.
    """

    def __init__(self, host: Host, clock: Clock, rng: Random) -> None:
        super().__init__(None, None, clock, rng)  # type: ignore[arg-type]  # it asks nothing real
        self._host = host

    def kill_strays(self, places: Collection[str]) -> None:
        """No program of a check outlives its daemon here."""

    def _asking(self, check: Check, target: Target) -> Ask:
        host, loop = self._host, asyncio.get_running_loop()
        begun = loop.time()
        try:
            variables = target.program(("true",)).environment
        except Invalid as error:
            reason = str(error)

            async def fail() -> str | None:
                return reason

            return fail
        low, _, high = variables.get("SIM_READY", "0.05..0.5").partition("..")
        ready_s = host.rng.uniform(float(low), float(high or low))
        flaps = float(variables.get("SIM_FLAPS", "0"))

        async def ask() -> str | None:
            await asyncio.sleep(host.rng.uniform(0.0005, 0.005))
            if host.unwell and variables["HARPOON_TASK"].startswith(host.unwell):
                return "answered 503"
            if loop.time() - begun < ready_s:
                return "connection refused"
            return "no answer in time" if host.rng.random() < flaps else None

        return ask


class SimSupplier:
    """Provides what tasks need that have neither volumes nor artifacts."""

    async def provide(self, record: Record, place: Place, tell: Callable[[str], None]) -> tuple[Mount, ...]:
        raise AssertionError("no task here needs anything")

    def dress(self, launch: Launch, place: Place, found: tuple[Mount, ...]) -> Launch:
        assert not found
        return launch

    def enter(self, program: Program, record: Record, pid: int | None) -> Program:
        return program

    async def watch(self, record: Record, place: Place) -> str:
        raise AssertionError("no task here has scratch space")
