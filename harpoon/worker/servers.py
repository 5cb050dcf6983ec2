"""Several servers, of which any will do: the one that answered last is asked first, and the next one when it fails."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import structlog

from harpoon.client import Client
from harpoon.client.caller import noun_of
from harpoon.kit.clock import Random, system_random
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, Unavailable
from harpoon.kit.news import News
from harpoon.worker.wire import WorkAnswer

#: Pauses after all servers have failed: the first, and the longest.
PAUSE_S: Final = (0.1, 5.0)

_log = structlog.get_logger(__name__)


class Servers:
    """The servers of one part of a worker, on connections of its own. It belongs to one event loop."""

    def __init__(self, urls: Sequence[str], token: str | None, *, is_known: bool = False) -> None:
        """Open nothing yet.

        Args:
            urls: At least one.
            token: For all of them.
            is_known: Whether it was found out that they take this worker; until then, one that refuses it is heeded.

        Raises:
            Invalid: One is no URL.
        """
        self._clients = [Client(url, token=token) for url in urls]
        self._is_known = is_known
        self._present = 0
        self._failures = 0
        self._rng: Random = system_random()
        self._news = News()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for client in self._clients:
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def exchange(self, namespace: str, body: bytes, within: timedelta) -> WorkAnswer:
        """Send until it is answered in a way that can be read, to one server after the other.

        Each has so long to answer; and when all have failed, they are asked again within so long, too.

        Raises:
            Invalid: What is sent is refused, and would be anywhere.
            Conflict: It contradicts what was sent before.
            HarpoonError: The worker is refused, such as for its token, and no server has taken it so far.
        """
        while True:
            client = self._clients[self._present]
            try:
                answer = await client.exchange_work(namespace, body, within=within)
                told: WorkAnswer = noun_of(WorkAnswer, answer.data, answer.url)
            except (Invalid, Conflict):
                self._heard()
                raise
            except HarpoonError as error:
                if not (self._is_known or isinstance(error, Unavailable)):
                    raise
                self._say(str(error))
                await self._turn(within)
            else:
                self._heard()
                return told

    def _heard(self) -> None:
        self._is_known, self._failures = True, 0
        if self._news.forget():
            _log.info("server_answers_again", server=self._clients[self._present].url)

    def _say(self, reason: str) -> None:
        if self._news.is_news(reason, asyncio.get_running_loop().time()):
            _log.warning("server_failed", reason=reason)

    async def _turn(self, within: timedelta) -> None:
        """Go on to the next server: at once, but for a pause when all have failed."""
        self._present = (self._present + 1) % len(self._clients)
        self._failures += 1
        rounds, rest = divmod(self._failures, len(self._clients))
        if rest == 0:
            await asyncio.sleep(pause_s(rounds, within, self._rng.random()))


def pause_s(rounds: int, within: timedelta, chance: float) -> float:
    """Return how long is waited after all servers have failed so many times.

    Args:
        rounds: From 1.
        within: For no longer than this: what keeps attempts alive is in a hurry.
        chance: From 0 to 1; so that not all workers come back at once.
    """
    first, longest = PAUSE_S
    most = min(longest, within.total_seconds(), first * 2.0 ** min(rounds - 1, 16))
    return most * (1 - chance / 2)
