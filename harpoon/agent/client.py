"""The server's way to one agent: its HTTP API as calls and an event stream.

It neither retries nor reconnects, and keeps no state of the agent: that is the minder's part.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final, Literal, Protocol, TypeVar

import aiohttp

from harpoon.agent.stream import blocks_of, event_of
from harpoon.kit import codec
from harpoon.kit.errors import Fenced, Invalid, NotFound, Unavailable
from harpoon.model.agent import Agent
from harpoon.model.name import TaskId
from harpoon.model.token import Token
from harpoon.model.wire import Adopt, Changed, Commands, Results, Snapshot

T = TypeVar("T")
LogStream = Literal["stdout", "stderr"]

#: A snapshot of some 100,000 tasks.
BODY_BYTES_MAX: Final = 64 << 20
#: What is read of an answer that tells an error.
ERROR_BYTES_MAX: Final = 64 << 10
#: An adoption fsyncs, commands start processes: seconds on a slow host, never minutes.
CALL_TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)
#: An agent says something at least each 5 s; one that missed two of them is not there.
SILENCE_S: Final = 12.0
#: What is read of a log of which the last lines are asked for; and kept of each.
_TAIL_BYTES_MAX: Final = 64 << 10
_LINE_MAX: Final = 500
_BY_WEIGHT: Final[tuple[LogStream, ...]] = ("stderr", "stdout")
#: What talking to an agent may end in; ``ValueError``: its endpoint or a header of its cannot be made sense of.
_FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
_STREAM_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=5, sock_read=SILENCE_S)


class AgentTransport(Protocol):
    """The way to one agent. A simulation hands in its own."""

    async def describe(self) -> Agent:
        """Ask the agent who it is, as it would register itself.

        Raises:
            Unavailable: It could not be asked.
        """

    async def adopt(self, order: Adopt) -> Snapshot:
        """Have the agent take a token for the highest, and tell all it has.

        Raises:
            Fenced: It knows a higher one, the error's ``mark``.
            Unavailable: It could not be asked, or could not make the token durable.
        """

    async def command(self, commands: Commands) -> Results:
        """Have commands carried out, in order.

        Raises:
            Fenced: The agent knows a higher token, the error's ``mark``; none or only the first of the commands
                were carried out.
            Unavailable: It could not be asked; whether anything was carried out is not known.
        """

    def stream(self) -> AsyncIterator[Snapshot | Changed | None]:
        """Follow what the agent tells: a snapshot, then changes; None: nothing to say, but there.

        Raises:
            Unavailable: The stream could not be opened, broke, was ended by the agent, or went silent.
        """


class AgentClient:
    """An `AgentTransport` over HTTP, and the way to a task's logs."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, token: str | None) -> None:
        self._session = session
        self._url = endpoint.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}

    async def describe(self) -> Agent:
        """See `AgentTransport.describe`."""
        try:
            async with self._session.get(
                f"{self._url}/v1/agent", headers=self._headers, timeout=CALL_TIMEOUT, allow_redirects=False
            ) as response:
                await _check(response)
                return codec.load(Agent, await _read(response.content, ERROR_BYTES_MAX))
        except (*_FAILURES, Invalid, NotFound) as error:
            raise Unavailable(f"{self._url}: {_describe(error)}") from error

    async def adopt(self, order: Adopt) -> Snapshot:
        """See `AgentTransport.adopt`."""
        return await self._post("/v1/adopt", order, Snapshot)

    async def command(self, commands: Commands) -> Results:
        """See `AgentTransport.command`."""
        return await self._post("/v1/commands", commands, Results)

    async def stream(self) -> AsyncIterator[Snapshot | Changed | None]:
        """See `AgentTransport.stream`."""
        headers = {**self._headers, "Accept": "text/event-stream"}
        try:
            async with self._session.get(
                f"{self._url}/v1/tasks", headers=headers, timeout=_STREAM_TIMEOUT, allow_redirects=False
            ) as response:
                await _check(response)
                async for block in blocks_of(response.content.iter_any()):
                    yield event_of(block)
        except _FAILURES as error:
            raise Unavailable(f"{self._url}: {_describe(error)}") from error
        raise Unavailable(f"{self._url}: the agent ended the stream")

    async def logs(
        self, task: TaskId, stream: LogStream = "stdout", tail: int | None = None, *, follow: bool = False
    ) -> aiohttp.ClientResponse:
        """Open a task's log; the caller reads the answer's ``content`` and must close the answer.

        Args:
            task: The task.
            stream: Which of its two.
            tail: Only so many last lines; None: all that is kept.
            follow: Go on until the answer is closed or the task is forgotten.

        Raises:
            NotFound: The agent does not know the task.
            Unavailable: It could not be asked.
        """
        query = {"stream": stream, "follow": "true" if follow else "false"}
        if tail is not None:
            query["tail"] = str(tail)
        timeout = aiohttp.ClientTimeout(total=None, connect=5)
        try:
            response = await self._session.get(
                f"{self._url}/v1/tasks/{task}/logs",
                params=query,
                headers=self._headers,
                timeout=timeout,
                allow_redirects=False,
            )
            await _check(response)
        except _FAILURES as error:
            raise Unavailable(f"{self._url}: {_describe(error)}") from error
        return response

    async def last_lines(self, task: TaskId, count: int) -> tuple[str, ...]:
        """Return the last lines that a task wrote to stderr, or to stdout if there are none; long ones shortened.

        Raises:
            NotFound: The agent does not know the task.
            Unavailable: It could not be asked.
        """
        for stream in _BY_WEIGHT:
            log = await self.logs(task, stream, count)
            try:
                text = (await _head(log.content)).decode("utf-8", "replace")
            except _FAILURES as error:
                raise Unavailable(f"{self._url}: {_describe(error)}") from error
            finally:
                log.close()
            if lines := text.splitlines()[-count:]:
                return tuple(line[:_LINE_MAX] for line in lines)
        return ()

    async def _post(self, path: str, body: object, kind: type[T]) -> T:
        headers = {**self._headers, "Content-Type": "application/json"}
        try:
            async with self._session.post(
                self._url + path, data=codec.dump(body), headers=headers, timeout=CALL_TIMEOUT, allow_redirects=False
            ) as response:
                await _check(response)
                return codec.load(kind, await _read(response.content, BODY_BYTES_MAX))
        except (*_FAILURES, Invalid, NotFound) as error:
            raise Unavailable(f"{self._url}: {_describe(error)}") from error


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise what a status other than 200 means, and close the answer."""
    if response.status == 200:
        return
    try:
        detail = _detail(await _read(response.content, ERROR_BYTES_MAX))
    finally:
        response.close()
    title = str(detail.get("title") or response.reason)
    match response.status:
        case 409 if detail.get("code") != "other_agent":
            raise Fenced(title, mark=_mark(detail))
        case 404:
            raise NotFound(title)
        case status:
            raise Unavailable(f"{response.url.origin()}: answered {status}: {title}")


def _detail(body: bytes) -> dict[str, object]:
    try:
        detail = json.loads(body)
    except ValueError:
        return {}
    return detail if isinstance(detail, dict) else {}


def _mark(detail: dict[str, object]) -> Token | None:
    try:
        return codec.load(Token, codec.dump(detail.get("mark")))
    except Invalid:
        return None


async def _head(content: aiohttp.StreamReader) -> bytes:
    """Return as much as is read of a log's last lines."""
    body = bytearray()
    while len(body) < _TAIL_BYTES_MAX and (chunk := await content.readany()):
        body += chunk
    return bytes(body[:_TAIL_BYTES_MAX])


async def _read(content: aiohttp.StreamReader, limit: int) -> bytes:
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        if len(body) > limit:
            raise Unavailable(f"the answer is longer than {limit} bytes")
    return bytes(body)


def _describe(error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
