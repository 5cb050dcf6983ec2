"""What a container prints, from the engine into the task's own logs, each piece once.

The engine keeps what a container prints with the moment of each piece. Beside the logs stands how far they have come:
the last moment, how many pieces of that very moment, and how large both logs were. It is written before each step and
after it; so an agent that was killed in the middle of one goes on at the byte.
"""

import asyncio
import contextlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from harpoon.agent.drivers.docker_engine import Engine, Frame, Refused
from harpoon.kit.errors import Unavailable

_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_SIZE: Final = 128
_END: Final = 1024
#: After so many bytes in a row others get their turn.
_TURN: Final = 256 << 10
_REST_S: Final = 0.005
_AGAIN_FIRST_S: Final = 0.2
_AGAIN_MAX_S: Final = 5.0
_MOMENT: Final = re.compile(rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z")
_POSITION: Final = re.compile(rb"(\S+) ([0-9]{1,18}) ([0-9]{1,18}) ([0-9]{1,18}) *\n", re.ASCII)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """How far the logs have come."""

    #: Of the last piece, as the engine writes it.
    at: bytes = b"-"
    #: How many pieces of that moment are there.
    count: int = 0

    @property
    def since(self) -> str:
        """From when on the engine is to tell, as it wants to be told: seconds and billionths."""
        match = _MOMENT.fullmatch(self.at)
        if match is None:
            return "0"
        moment = datetime.fromisoformat(match[1].decode()).replace(tzinfo=UTC)
        return f"{int(moment.timestamp())}.{(match[2] or b'').decode().ljust(9, '0')}"


class Keeper:
    """Keeps the logs of one launch."""

    def __init__(self, directory: str, launch: str) -> None:
        """Make one.

        Args:
            directory: The task's, in which its logs are.
            launch: What tells this launch from the task's others.
        """
        self._paths = (f"{directory}/stdout", f"{directory}/stderr")
        self._path = f"{directory}/printed.{launch}"
        self._position = Position()
        #: Bytes of each log that are there already though the position does not tell.
        self._ahead = [0, 0]

    async def follow(self, engine: Engine, container: str) -> None:
        """Take over all that a container prints, until it has ended and all is there, or it is removed."""
        self._resume()
        wait = _AGAIN_FIRST_S
        while True:
            try:
                await self._follow(engine, container)
            except Refused as error:
                if error.status != 404:
                    _log.warning("container_not_read", container=container[:12], reason=str(error))
                return
            except Unavailable:
                await asyncio.sleep(wait)
                wait = min(_AGAIN_MAX_S, wait * 2)
                self._resume()
            else:
                return

    def end_of(self, *, is_stderr: bool) -> bytes:
        """Return the end of what is kept of a stream."""
        try:
            with open(self._paths[is_stderr], "rb") as file:  # noqa: PTH123 paths are text here
                file.seek(max(0, _size(self._paths[is_stderr]) - _END))
                return file.read(_END)
        except OSError:
            return b""

    async def _follow(self, engine: Engine, container: str) -> None:
        # What has the moment of the last piece comes once more.
        again = self._position.count
        turn = 0
        async with contextlib.aclosing(engine.logs(container, self._position.since)) as told:
            async for frames in told:
                fresh = []
                for frame in frames:
                    if again and frame.at == self._position.at:
                        again -= 1
                    else:
                        again = 0
                        fresh.append(frame)
                turn += self._take(fresh)
                if turn > _TURN:
                    turn = 0
                    await asyncio.sleep(_REST_S)

    def _take(self, frames: list[Frame]) -> int:
        """Append what was printed; return how much it was."""
        if not frames:
            return 0
        self._save()
        texts = [b"".join([one.data for one in frames if one.is_stderr is is_stderr]) for is_stderr in (False, True)]
        for index, text in enumerate(texts):
            ahead = min(self._ahead[index], len(text))
            self._ahead[index] -= ahead
            _append(self._paths[index], text[ahead:])
        for frame in frames:
            self._position = Position(frame.at, self._position.count + 1 if frame.at == self._position.at else 1)
        self._save()
        return sum(map(len, texts))

    def _save(self) -> None:
        sizes = [_size(path) - ahead for path, ahead in zip(self._paths, self._ahead, strict=True)]
        line = b"%s %d %d %d" % (self._position.at, self._position.count, max(0, sizes[0]), max(0, sizes[1]))
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, line.ljust(_SIZE) + b"\n", 0)
            finally:
                os.close(descriptor)

    def _resume(self) -> None:
        """Go on where the position says, with what the logs hold beyond it left out."""
        try:
            with open(self._path, "rb") as file:  # noqa: PTH123 paths are text here
                match = _POSITION.fullmatch(file.read(_SIZE + 1))
        except OSError:
            match = None
        if match is None:
            return
        self._position = Position(match[1], int(match[2]))
        # Less than there was: it was moved aside since, and the position was written before.
        self._ahead = [max(0, _size(path) - int(match[3 + index])) for index, path in enumerate(self._paths)]


def _append(path: str, data: bytes) -> None:
    """Append to a log; what a full disk does not take is lost, as it is for any program that prints."""
    if not data:
        return
    try:
        descriptor = os.open(path, _APPEND, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as error:
        _log.warning("output_not_kept", path=path, reason=str(error))


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
