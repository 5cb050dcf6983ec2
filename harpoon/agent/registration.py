"""Making oneself known to a server, so that it dials: at the start, and whenever no server follows any more."""

import asyncio
from datetime import timedelta
from typing import Final

import aiohttp
import structlog

from harpoon.agent.feed import Feed
from harpoon.kit import codec
from harpoon.kit.clock import Random
from harpoon.model.agent import Agent

#: Waits between tries: the first, and the longest.
_RETRY_FIRST_S: Final = 0.25
_RETRY_MAX_S: Final = 10.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10, connect=3)

_log = structlog.get_logger(__name__)


class Registration:
    """Registers this agent with the first server that takes it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        servers: tuple[str, ...],
        agent: Agent,
        feed: Feed,
        rng: Random,
    ) -> None:
        """Make one; ``session`` shows the token by itself."""
        self._session = session
        self._servers = servers
        self._agent = agent
        #: Set when the agent is another than was registered.
        self._is_other = asyncio.Event()
        self._feed = feed
        self._rng = rng

    async def run(self, alone_for: timedelta) -> None:
        """Register, and again each time that nobody has followed for so long, or it is another, until cancelled."""
        while self._servers:
            self._is_other.clear()
            await self._register()
            async with asyncio.TaskGroup() as group:
                waits = [group.create_task(self._alone(alone_for)), group.create_task(self._is_other.wait())]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()

    def renew(self, agent: Agent) -> None:
        """Take note that the agent has become another."""
        if agent != self._agent:
            self._agent = agent
            self._is_other.set()

    async def _register(self) -> None:
        """Try all servers until one takes it; or, after the first round, until one follows anyway."""
        wait = _RETRY_FIRST_S
        while True:
            for server in self._servers:
                reason = await self._put(server)
                if reason is None:
                    _log.info("agent_registered", server=server, endpoint=self._agent.endpoint)
                    return
                _log.warning("registration_failed", server=server, reason=reason)
            await asyncio.sleep(wait * self._rng.uniform(0.5, 1.0))
            if self._feed.followers:
                return
            wait = min(_RETRY_MAX_S, wait * 2)

    async def _put(self, server: str) -> str | None:
        """Register with one server; return why it did not work, or None."""
        url = f"{server.rstrip('/')}/v1/agents/{self._agent.name}"
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.put(
                url, data=codec.dump(self._agent), headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                if response.status < 300:
                    return None
                return f"answered {response.status}: {(await response.content.read(300)).decode(errors='replace')}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return str(error) or type(error).__name__

    async def _alone(self, span: timedelta) -> None:
        """Wait until nobody has followed for so long."""
        while True:
            await self._feed.idle()
            try:
                async with asyncio.timeout(span.total_seconds()):
                    await self._feed.followed()
            except TimeoutError:
                return
