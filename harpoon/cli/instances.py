"""Several server instances on one host behind one port: started, started again when they end, and stopped together.

Each is a process of its own, with a name and a port of its own for its peers; the kernel spreads connections over those
that listen at the shared port. This process does nothing but look after them: it holds the port, so that nobody else
takes it while they are started again, and they end when it does, however it ends.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from harpoon.cli.children import ending, harpoon
from harpoon.config import Listen
from harpoon.kit.errors import HarpoonError
from harpoon.kit.logs import configure_logs

if TYPE_CHECKING:  # it imports this module
    from harpoon.cli.server_options import ServerOptions

#: An instance that lives for less than this has failed to start: it waits for its store for 30 s.
SETTLED_S: Final = 40.0
#: When each of them has failed to start so often in a row, it is no use.
FAILURES_MAX: Final = 3
#: Pause before one is started again, growing from the first to the second.
PAUSE_S: Final = (0.5, 10.0)
#: They get so long to end by themselves: requests under way, last words and holds take less.
STOP_WITHIN_S: Final = 15.0

_log = structlog.get_logger(__name__)


def run(options: "ServerOptions", count: int) -> int:
    """Run so many instances until told to stop; return the exit code.

    Raises:
        Invalid: They cannot be started like that.
        HarpoonError: The port is not to be had.
    """
    called = options.called
    all_options = [
        replace(options, instance=f"{called}-{number}", sharing=True, tied=True) for number in range(1, count + 1)
    ]
    # All of it is checked before anything is started; the last name is the longest.
    where = all_options[-1].settings().listen
    with reserve(where) as held:
        listen = _text(where._replace(port=held.getsockname()[1]))
        commands = {
            f"{called}-{number}": harpoon("server", *replace(one, listen=listen).arguments())
            for number, one in enumerate(all_options, 1)
        }
        log = configure_logs(sys.stderr.buffer)
        try:
            return asyncio.run(Instances(commands).run())
        finally:
            log.flush()


def reserve(where: Listen) -> socket.socket:
    """Return a socket that keeps a port for those that share it; nothing arrives at it, for it is not listened at.

    Raises:
        HarpoonError: Somebody has the port, sharing or not.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            where.host or None, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        held = socket.socket(family, kind, protocol)
        # Connections of those who had the port before may linger.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError as error:
        raise HarpoonError(
            f"cannot listen at {_text(where)}: {error.strerror or error}; is another harpoon running there? "
            "choose another address with --listen"
        ) from error
    return held


class Instances:
    """The processes, by the name of their instance.

    Args:
        commands: Name → program and arguments.
    """

    def __init__(self, commands: Mapping[str, Sequence[str]]) -> None:
        self._commands = commands
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        #: Name → failures to start, one after another.
        self._failures = dict.fromkeys(commands, 0)
        self._stop = asyncio.Event()
        self._code = 0

    async def run(self) -> int:
        """Keep all of them running until told to stop; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        async with asyncio.TaskGroup() as group:
            for name in self._commands:
                group.create_task(self._keep(name), name=name)
            await self._stop.wait()
            _log.info("instances_stopping", count=len(self._processes))
            for process in self._processes.values():
                _send(process, signal.SIGTERM)
            killing = loop.call_later(STOP_WITHIN_S, self._kill)
        killing.cancel()
        _log.info("instances_stopped", code=self._code)
        return self._code

    async def _keep(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            begun = loop.time()
            # The pipe is never written to: it ends with this process, and the instance with it.
            process = await asyncio.create_subprocess_exec(
                *self._commands[name], stdin=asyncio.subprocess.PIPE, start_new_session=True
            )
            self._processes[name] = process
            if self._stop.is_set():
                _send(process, signal.SIGTERM)
            _log.info("instance_started", name=name, pid=process.pid)
            await process.wait()
            del self._processes[name]
            if self._stop.is_set():
                self._code = self._code or int(process.returncode != 0)
                return
            self._failures[name] = self._failures[name] + 1 if loop.time() - begun < SETTLED_S else 0
            await self._pause(name, process)

    async def _pause(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Wait before an instance is started again; longer each time, if it does not stay up."""
        failures = self._failures[name]
        pause_s = min(PAUSE_S[0] * 2 ** max(0, failures - 1), PAUSE_S[1])
        _log.warning(
            "instance_ended", name=name, pid=process.pid, how=ending(process.returncode), again_after_s=pause_s
        )
        if min(self._failures.values()) >= FAILURES_MAX:
            _log.error("stopped", reason=f"none of the instances stays up; the last one: {ending(process.returncode)}")
            self._code = 1
            self._stop.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stop.wait()

    def _kill(self) -> None:
        for name, process in self._processes.items():
            _log.warning("instance_killed", name=name, pid=process.pid, reason=f"it did not end in {STOP_WITHIN_S:g} s")
            _send(process, signal.SIGKILL)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)


def _text(where: Listen) -> str:
    return f"[{where.host}]:{where.port}" if ":" in where.host else f"{where.host}:{where.port}"
