"""Asking: a request over HTTP, a connection, or a program beside the task.

A `Prober` asks and never judges; what the answers add up to is for `health.Standing`.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import aiohttp
from yarl import URL

from harpoon.agent.drivers import programs
from harpoon.agent.drivers.handle import Program
from harpoon.agent.drivers.programs import Outcome, Programs, Runs
from harpoon.agent.health import DETAIL_MAX, Standing
from harpoon.agent.launch import explain_failure
from harpoon.core.restart import describe_exit
from harpoon.kit.clock import Clock, Random
from harpoon.kit.errors import Invalid
from harpoon.model.check import Check, ExecProbe, HttpProbe, TcpProbe
from harpoon.model.units import format_duration

#: Checks asked over sockets at a time, over all tasks: more would only wait for each other inside their timeouts.
_SOCKETS_MAX: Final = 256
#: Programs of checks that run at a time, likewise; each is a process of its own, and may be a large one.
PROGRAMS_MAX: Final = 32
#: Has closing a connection leave nothing behind (no TIME_WAIT), by RST.
_LINGER_NOT: Final = struct.pack("ii", 1, 0)

#: Asks once, and returns why the answer is no pass; None: it is one.
Ask = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A task, as its checks reach it."""

    address: str
    ports: Mapping[str, int]
    #: Makes a check's command ready to run beside the task; raises `Invalid` when that cannot be.
    program: Callable[[tuple[str, ...]], Program]
    #: Runs it there; None: it is run on this host.
    beside: Runs | None = None


class Prober(Protocol):
    """Asks the checks of all tasks. A simulation hands in its own."""

    async def watch(self, standing: Standing, target: Target, changed: Callable[[], None]) -> None:
        """Ask one check of a process that has just started, until cancelled; call when there is something to tell."""

    def kill_strays(self, places: Collection[str]) -> None:
        """Kill the programs of checks of the tasks with these directories that a killed daemon could not end."""


class SystemProber:
    """Asks them on this machine."""

    def __init__(self, session: aiohttp.ClientSession, run: Programs, clock: Clock, rng: Random) -> None:
        self._session = session
        self._programs = run
        self._clock = clock
        self._rng = rng
        self._sockets = asyncio.Semaphore(_SOCKETS_MAX)
        self._processes = asyncio.Semaphore(PROGRAMS_MAX)

    async def watch(self, standing: Standing, target: Target, changed: Callable[[], None]) -> None:
        """See `Prober.watch`."""
        ask = self._asking(standing.check, target)
        since = self._clock.now().elapsed
        asked = 0
        while True:
            failure = await ask()
            age = self._clock.now().elapsed - since
            asked += 1
            if standing.hear(failure, age):
                changed()
            pause = standing.pause(age, asked).total_seconds()
            await asyncio.sleep(pause * self._rng.uniform(0.95, 1.05))

    def kill_strays(self, places: Collection[str]) -> None:
        """See `Prober.kill_strays`."""
        programs.kill_strays(places)

    def _asking(self, check: Check, target: Target) -> Ask:
        match check.http or check.tcp or check.exec_:
            case HttpProbe() as probe:
                return self._http(probe, check.timeout, target)
            case TcpProbe() as probe:
                return self._tcp(probe, check.timeout, target)
            case ExecProbe() as probe:
                return self._exec(probe, check.timeout, target)
            case None:
                raise AssertionError("a check without a probe cannot be made")

    def _http(self, probe: HttpProbe, within: timedelta, target: Target) -> Ask:
        """One connection a question, no redirects, no body."""
        host, port = target.address, target.ports[probe.port]
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        # Put together as text, because joined as a reference a path such as //elsewhere/ would name another host.
        url = URL(f"http://{authority}{probe.path}", encoded=True)

        async def ask() -> str | None:
            async with self._sockets:
                return await _get(self._session, url, within)

        return ask

    def _tcp(self, probe: TcpProbe, within: timedelta, target: Target) -> Ask:
        """A connection, closed at once the usual way, and nothing sent over it.

        Not by RST: servers tell of each in their logs (``http.server`` with a traceback), and what it would spare is
        little: TIME_WAIT keeps a number from being used again only towards the same port, 30 of them at ``every: 2s``.
        """

        async def ask() -> str | None:
            async with self._sockets:
                return await _connect(target.address, target.ports[probe.port], within)

        return ask

    def _exec(self, probe: ExecProbe, within: timedelta, target: Target) -> Ask:
        """A program; the next one only once the one before is gone, should even KILL not have ended it in time."""
        gone: asyncio.Event | None = None
        run = self._programs.run if target.beside is None else target.beside

        async def ask() -> str | None:
            nonlocal gone
            if gone is not None:
                await gone.wait()
            async with self._processes:
                try:
                    outcome = await run(target.program(probe.command), within)
                except (Invalid, ValueError) as error:
                    # ValueError: text that no program can be given.
                    return str(error)[:DETAIL_MAX]
                except OSError as error:
                    return explain_failure(error)[0][:DETAIL_MAX]
            gone = outcome.gone
            return _explain(outcome, within)

        return ask


def probe_session() -> aiohttp.ClientSession:
    """Make a session for a `SystemProber`: each question is asked anew, so a full queue of the task's shows."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True, use_dns_cache=False)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": "harpoon-agent"}
    )


async def _get(session: aiohttp.ClientSession, url: URL, within: timedelta) -> str | None:
    """Return why the answer is no pass, or None."""
    limit = aiohttp.ClientTimeout(total=within.total_seconds(), ceil_threshold=3600)
    try:
        async with session.get(url, timeout=limit, allow_redirects=False) as response:
            status = response.status
            # What follows the head is not wanted, however long it is.
            response.close()
    except TimeoutError:
        return f"no answer within {format_duration(within)}"
    except aiohttp.ClientConnectorError as error:
        return _words(error.os_error)
    except aiohttp.ServerDisconnectedError:
        return "closed the connection without an answer"
    except aiohttp.ClientResponseError as error:
        return f"no HTTP answer: {error.message.splitlines()[0]}"[:DETAIL_MAX]
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"[:DETAIL_MAX]
    return None if 200 <= status < 400 else f"answered {status}"


async def _connect(host: str, port: int, within: timedelta) -> str | None:
    """Return why no connection was accepted, or None."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within.total_seconds()):
            transport, _ = await loop.create_connection(asyncio.Protocol, host, port)
    except TimeoutError:
        return f"no answer within {format_duration(within)}"
    except OSError as error:
        return _words(error)
    # Where nobody listens, the kernel may have picked the very port for this end, and connected it to itself. Closed
    # the usual way, that would keep the task from listening there for a minute.
    is_self = transport.get_extra_info("sockname") == transport.get_extra_info("peername")
    if is_self:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
    return os.strerror(errno.ECONNREFUSED).lower() if is_self else None


def _words(error: OSError) -> str:
    return (os.strerror(error.errno).lower() if error.errno else str(error))[:DETAIL_MAX]


def _explain(outcome: Outcome, within: timedelta) -> str | None:
    """Return why a program's outcome is no pass, or None."""
    if outcome.code == 0:
        return None
    end = f"did not end within {format_duration(within)}" if outcome.code is None else describe_exit(outcome.code)
    return f"{end}: {outcome.last_line}"[:DETAIL_MAX] if outcome.last_line else end
