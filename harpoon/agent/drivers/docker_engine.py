"""The engine, asked over its socket: every call bounded in time, every failure one of two.

``Unavailable``: it did not answer, and what was asked may have happened. ``Refused``: it answered that it will not.
Imported when there is an engine to ask, so that an agent without one does without the library.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import aiodocker
import aiohttp
import orjson

from harpoon.kit.errors import HarpoonError, Unavailable

#: Making and starting containers waits for a disk, and for others that are being started.
_WITHIN_S: Final = 60.0
_SOON_S: Final = 10.0
#: Hosts do not matter on a socket.
_BASE: Final = "http://docker"
_EVENTS: Final = ("die", "oom", "destroy")
_HEADER: Final = 8
#: What the library tells for the status of an answer that did not come.
_NO_ANSWER: Final = 900
#: Between two parts of a pull's progress; a registry that says nothing for so long is given up.
_SILENCE_S: Final = 120.0


class Refused(HarpoonError):
    """The engine answered that it will not."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Frame(NamedTuple):
    """A piece of what a container printed."""

    is_stderr: bool
    #: When, as the engine writes it.
    at: bytes
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What became of a program in a container."""

    #: None: it did not end in time.
    code: int | None
    printed: bytes
    #: The host's number of it.
    pid: int | None


class Engine:
    """One engine. To be made in a running event loop, and closed."""

    def __init__(self, socket: str) -> None:
        connector = aiohttp.UnixConnector(socket, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(),
            read_bufsize=1 << 18,
        )
        # The connector knows where; the host is none.
        self._docker = aiodocker.Docker(url="unix://localhost", connector=connector, session=self._session)

    async def close(self) -> None:
        """Let go of it."""
        await self._docker.close()
        await self._session.close()

    async def version(self) -> str:
        """Return the engine's version."""
        async with _asked(_SOON_S):
            return str((await self._docker.version())["Version"])

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Make a container; return its id."""
        async with _asked(_WITHIN_S):
            return (await self._docker.containers.create(dict(config), name=name)).id

    async def start(self, container: str) -> None:
        """Start one that was made."""
        async with _asked(_WITHIN_S):
            await self._docker.containers.container(container).start()

    async def inspect(self, container: str) -> Mapping[str, Any]:
        """Return all that is known of a container, by id or name."""
        async with _asked(_SOON_S):
            return await self._docker.containers.container(container).show()

    async def signal(self, container: str, number: int) -> None:
        """Signal a container's first process; nothing where it has ended."""
        with _unless(404, 409):
            async with _asked(_SOON_S):
                await self._docker.containers.container(container).kill(signal=str(number))

    async def remove(self, container: str) -> None:
        """Remove a container, killed if need be, with the volumes that nobody named; nothing where there is none."""
        with _unless(404, 409):
            async with _asked(_WITHIN_S):
                await self._docker.containers.container(container).delete(force=True, v=True)

    async def listed(self, label: str) -> dict[str, str]:
        """Return all containers with a label, running or not: id → state."""
        query = {"all": "1", "filters": json.dumps({"label": [label]})}
        async with (
            _asked(_SOON_S),
            self._session.get(f"{_BASE}/containers/json", params=query) as response,
        ):
            return {one["Id"]: one["State"] for one in orjson.loads(await _body(response))}

    async def has_image(self, image: str) -> bool:
        """Whether the engine has an image."""
        try:
            async with _asked(_SOON_S):
                await self._docker.images.inspect(image)
        except Refused as error:
            if error.status != 404:
                raise
            return False
        return True

    async def pull(self, image: str, auth: Mapping[str, str] | None) -> AsyncGenerator[Mapping[str, Any], None]:
        """Fetch an image; yield how it goes. To be closed."""
        progress = aiter(self._docker.images.pull(image, auth=None if auth is None else dict(auth), stream=True))
        while True:
            async with _asked(_SILENCE_S):
                try:
                    told = await anext(progress)
                except StopAsyncIteration:
                    return
            yield told

    @contextlib.asynccontextmanager
    async def events(self, label: str) -> AsyncIterator[AsyncIterator[str]]:
        """Follow: from when it is entered on, the ids of containers with this label to which something happens."""
        filters = {"type": ["container"], "event": list(_EVENTS), "label": [label]}
        async with _asked(_SOON_S):
            response = await self._session.get(f"{_BASE}/events", params={"filters": json.dumps(filters)})
        async with response:
            yield _ids(response)

    async def logs(self, container: str, since: str) -> AsyncGenerator[list[Frame], None]:
        """Follow what a container prints, from a moment on, until it has ended. To be closed."""
        query = {"follow": "1", "stdout": "1", "stderr": "1", "timestamps": "1", "since": since}
        async with _asked(None), self._session.get(f"{_BASE}/containers/{container}/logs", params=query) as response:
            if response.status != 200:
                await _body(response)
            rest = b""
            async for chunk in response.content.iter_any():
                frames, rest = _frames(rest + chunk)
                yield frames

    async def run(
        self, container: str, arguments: Sequence[str], environment: Mapping[str, str], within_s: float, keep: int
    ) -> Ran:
        """Run a program in a container until it ends, but no longer than so; the end of what it prints is kept."""
        async with _asked(_SOON_S):
            program = await self._docker.containers.container(container).exec(
                list(arguments), environment=dict(environment)
            )
        printed = b""
        async with _asked(None):
            try:
                async with asyncio.timeout(within_s), program.start(detach=False) as stream:
                    while (message := await stream.read_out()) is not None:
                        printed = (printed + message.data)[-keep:]
            except TimeoutError:
                is_over = False
            else:
                is_over = True
        async with _asked(_SOON_S):
            state = await program.inspect()
        return Ran(code=state["ExitCode"] if is_over else None, printed=printed, pid=state.get("Pid") or None)


async def _ids(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async with _asked(None):
        if response.status != 200:
            await _body(response)
        while line := await response.content.readline():
            yield str(orjson.loads(line).get("Actor", {}).get("ID", ""))
    raise Unavailable("it ended the stream of its events")


@contextlib.asynccontextmanager
async def _asked(within_s: float | None) -> AsyncIterator[None]:
    """Have what fails within fail in one of two ways."""
    try:
        async with asyncio.timeout(within_s):
            yield
    except aiodocker.DockerError as error:
        if error.status == _NO_ANSWER:
            raise Unavailable(_why(error)) from error
        raise Refused(error.status, tidy(error.message)) from error
    except TimeoutError as error:
        raise Unavailable(f"it did not answer within {within_s:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # ValueError: an answer that is none.
        raise Unavailable(_why(error)) from error


def _why(error: BaseException) -> str:
    """Say in few words why there was no answer."""
    for one in (error, error.__cause__, error.__context__):
        if isinstance(one, aiohttp.ClientConnectorError):
            return (one.os_error.strerror or str(one)).lower()
        if isinstance(one, aiohttp.ServerDisconnectedError):
            return "it closed the connection"
    return str(error)[:200] or type(error).__name__


@contextlib.contextmanager
def _unless(*statuses: int) -> Iterator[None]:
    """Take these answers for none."""
    try:
        yield
    except Refused as error:
        if error.status not in statuses:
            raise


async def _body(response: aiohttp.ClientResponse) -> bytes:
    data = await response.read()
    if response.status != 200:
        with contextlib.suppress(ValueError):
            data = orjson.loads(data)["message"].encode()
        raise aiodocker.DockerError(response.status, data.decode(errors="replace")[:400])
    return data


def _frames(data: bytes) -> tuple[list[Frame], bytes]:
    """Part the engine's stream into what was printed; and what is not whole yet."""
    frames, begin = [], 0
    while len(data) - begin >= _HEADER:
        end = begin + _HEADER + int.from_bytes(data[begin + 4 : begin + _HEADER], "big")
        if len(data) < end:
            break
        at, _, text = data[begin + _HEADER : end].partition(b" ")
        frames.append(Frame(data[begin] == 2, at, text))
        begin = end
    return frames, data[begin:]


def tidy(message: str) -> str:
    """Return what an engine says in the words that help: without the names of the layers it comes through."""
    text = " ".join(message.split()).removesuffix(": unknown")
    for prefix in ("unable to start container process: ", "Error response from daemon: "):
        _, mark, rest = text.rpartition(prefix)
        text = rest if mark else text
    return text[:300]
