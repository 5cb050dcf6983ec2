"""A worker process: from its settings to a clean end, or to a quick one."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import structlog

from harpoon.kit.errors import HarpoonError, leaves
from harpoon.kit.fast import run_fast
from harpoon.kit.logs import configure_logs
from harpoon.worker.app import Worker
from harpoon.worker.serving import serve
from harpoon.worker.settings import Settings

#: What a shell says of a program that a signal has ended.
_ENDED_BY: Final = 128
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger(__name__)


def run(worker: Worker, settings: Settings) -> int:
    """Run a worker until SIGTERM or SIGINT, and return the process's exit code.

    The first signal drains it; a second one ends the process at once, whatever its handlers do.
    """
    lines = configure_logs(sys.stderr.buffer)

    def abandon() -> None:
        lines.flush()
        os._exit(0)

    async def main() -> int:
        stop = asyncio.Event()
        errors: list[BaseException] = []
        with _heeding(asyncio.get_running_loop(), stop):
            try:
                await serve(worker, settings, stop=stop, abandon=abandon)
            except* HarpoonError as group:  # one that stands alone, too
                errors = leaves(group)
        for error in errors:
            _log.error("stopped", reason=str(error))
        return 1 if errors else 0

    try:
        return run_fast(main())
    finally:
        lines.flush()


@contextmanager
def _heeding(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> Iterator[None]:
    """Have signals heeded while the block runs: by the process, for the loop may be blocked."""

    def heed(number: int, _frame: FrameType | None) -> None:
        if is_told:
            os._exit(_ENDED_BY + number)  # whatever may hold a lock, so nothing is waited for, not even the log
        is_told.append(number)
        loop.call_soon_threadsafe(stop.set)

    is_told: list[int] = []
    before = {number: signal.signal(number, heed) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
