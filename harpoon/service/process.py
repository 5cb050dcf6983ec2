"""The process of a server, of an agent, or of what answers from a history: from settings to a clean end."""

import asyncio
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import structlog

from harpoon.agent import daemon
from harpoon.agent.settings import AgentSettings
from harpoon.api.closed import serve_closed
from harpoon.config import Listen, ServerSettings
from harpoon.kit.clock import SystemClock, system_random
from harpoon.kit.errors import HarpoonError, leaves
from harpoon.kit.fast import run_fast
from harpoon.kit.logs import configure_logs
from harpoon.service.server import serve_server
from harpoon.store.port import StoreUnavailable

#: Open files: a server has a socket for each agent and watcher, an agent some for each task.
OPEN_FILES: Final = 65_536

_log = structlog.get_logger(__name__)


def run_server(settings: ServerSettings) -> int:
    """Run a server until it is told to stop; return the process's exit code."""

    async def serve(stop: asyncio.Event) -> None:
        if settings.is_tied:
            # Nothing is ever written there: it is readable when it ends.
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
        await serve_server(settings, stop=stop, ready=lambda url: _log.info("server_ready", url=url))

    return _run(serve, instance=settings.instance if settings.is_sharing else "")


def run_agent(settings: AgentSettings) -> int:
    """Run an agent until it is told to stop; return the process's exit code. Its tasks run on."""

    async def serve(stop: asyncio.Event) -> None:
        await daemon.serve(settings, clock=SystemClock(), rng=system_random(), stop=stop)

    return _run(serve)


def run_history(directory: Path, listen: Listen) -> int:
    """Answer from a history that nobody writes, until told to stop; return the process's exit code."""

    async def serve(stop: asyncio.Event) -> None:
        await serve_closed(
            directory,
            listen.host,
            listen.port,
            clock=SystemClock(),
            stop=stop,
            ready=lambda port: _log.info("history_ready", url=Listen(listen.host, port).url),
        )

    return _run(serve)


def _run(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, instance: str = "") -> int:
    """Run ``serve`` on the fastest loop there is until SIGTERM or SIGINT."""
    log = configure_logs(sys.stderr.buffer, **({"instance": instance} if instance else {}))
    _raise_limit_of_open_files()

    async def main() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        errors: list[BaseException] = []
        try:
            await serve(stop)
        except* (HarpoonError, StoreUnavailable, OSError) as group:
            errors = leaves(group)
        for error in errors:
            _log.error("stopped", reason=str(error))
        return 1 if errors else 0

    try:
        return run_fast(main())
    finally:
        log.flush()


def _raise_limit_of_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
