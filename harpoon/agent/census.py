"""Finding and killing what ended tasks left behind, for many tasks at one look at the list of processes."""

import asyncio
import os
from collections.abc import Callable, Collection
from typing import Final

import structlog

from harpoon.agent import processes

#: Between two looks at all processes; one takes some 2 ms where there are 3,000.
_GAP_S: Final = 0.02
#: What need not be waited for is looked for so much later, with whatever else comes up meanwhile.
_LATER_S: Final = 0.2
#: Waits for killed processes to be gone: 2 s in all.
_WAITS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

_log = structlog.get_logger(__name__)
Sessions = dict[int, list[int]]


class Census:
    """Knows which processes are in which session."""

    def __init__(self) -> None:
        """Make one, in a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._coming: asyncio.Future[Sessions] | None = None
        self._last = self._loop.time() - _GAP_S
        self._later: set[int] = set()

    async def clear(self, sessions: Collection[int], is_ours: Callable[[int], bool] | None = None) -> bool:
        """Kill all that runs in these sessions, and wait until it is gone.

        Args:
            sessions: Which.
            is_ours: Tells whose process one is, where the session's number may be another's by now.

        Returns:
            Whether all of it is gone; what sleeps in the kernel cannot be killed, and is not waited for long.
        """
        for wait in _WAITS_S:
            try:
                found = await self._take()
            except OSError as error:
                _log.warning("processes_not_counted", reason=str(error))
                await asyncio.sleep(wait)
                continue
            rest = [
                pid
                for session in sessions
                for pid in found.get(session, ())
                if processes.is_running(pid) and (is_ours is None or is_ours(pid))
            ]
            if not rest:
                return True
            processes.kill(rest)
            await asyncio.sleep(wait)
        return False

    def clear_later(self, sessions: Collection[int]) -> None:
        """Kill once, soon, all that runs in these sessions, and do not wait for it."""
        if not self._later:
            self._loop.call_later(_LATER_S, self._clear_now)
        self._later.update(sessions)

    def _clear_now(self) -> None:
        found = _count()
        for session in self._later:
            processes.kill(found.get(session, ()))
        self._later.clear()

    async def _take(self) -> Sessions:
        """Return the next look at all processes; whoever asks until then shares it."""
        if self._coming is None:
            self._coming = self._loop.create_future()
            self._loop.call_at(max(self._loop.time(), self._last + _GAP_S), self._look)
        # One who no longer waits must not take it from the others.
        return await asyncio.shield(self._coming)

    def _look(self) -> None:
        assert self._coming is not None
        coming, self._coming = self._coming, None
        try:
            coming.set_result(_count())
        except OSError as error:
            coming.set_exception(error)
        self._last = self._loop.time()


def _count() -> Sessions:
    found: Sessions = {}
    for pid in processes.pids():
        try:
            found.setdefault(os.getsid(pid), []).append(pid)
        except OSError:
            continue
    return found
