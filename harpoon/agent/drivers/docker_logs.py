"""What a container prints, from the engine into the task's own logs, each piece once.

The engine keeps what a container prints with the moment of each piece, and tells what was printed from a moment on.
But it stamps a piece of stdout and one of stderr before it settles which is kept first, so a piece may stand behind
one with a later moment. Hence the moment from which on it is asked again lies a while back, and what is there already
is counted. Beside the logs stands how far they have come: that moment, how many pieces from it on are there, the last
moment of all, and how large both logs were. It is written before each step and after it; so an agent that was killed
in the middle of one goes on at the byte.
"""

import asyncio
import contextlib
import functools
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
#: No piece stands behind one that is later by so much.
_ASTRAY_S: Final = 1
#: Before any moment.
_NEVER: Final = (0, 0)
_MOMENT: Final = re.compile(rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z")
#: Agents before this one did not write the last moment of all: the first was it.
_POSITION: Final = re.compile(rb"(\S+) ([0-9]{1,18})(?: (\S+))? ([0-9]{1,18}) ([0-9]{1,18}) *\n", re.ASCII)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """How far the logs have come. Moments are as the engine writes them."""

    #: From when on the engine is to tell: every piece before the first of this moment is earlier.
    at: bytes = b"-"
    #: How many pieces of this moment and later ones are there.
    count: int = 0
    #: The last moment of all that is there.
    latest: bytes = b"-"
    #: The same as `at` and `count`, for the moment that comes in its place when the last one is far enough past it.
    at_next: bytes = b"-"
    count_next: int = 0

    @property
    def since(self) -> str:
        """From when on the engine is to tell, as it wants to be told: seconds and billionths."""
        moment = _moment(self.at)
        return "0" if moment == _NEVER else f"{moment[0]}.{moment[1]:09d}"

    def past(self, at: bytes) -> "Position":
        """Return the position behind one more piece, of this moment."""
        moment = _moment(at)
        if moment < _moment(self.at):
            # The clock was set back. Asked from then on the engine tells what follows, though some of it twice.
            return Position(at, 1, at, at, 1)
        second, billionth = _moment(self.at_next)
        if moment <= _moment(self.latest):
            counts = moment >= (second, billionth)
            return Position(self.at, self.count + 1, self.latest, self.at_next, self.count_next + counts)
        if moment < (second + _ASTRAY_S, billionth):
            return Position(self.at, self.count + 1, at, self.at_next, self.count_next + 1)
        # Later than all before it: none of them counts from here on.
        return Position(self.at_next, self.count_next + 1, at, at, 1)

    def without(self, count: int) -> "Position":
        """Return the position for an engine that has so many of the pieces no more."""
        left = self.count - count
        return Position(self.at, left, self.latest, self.at, left)


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
        # What is there already comes once more, as far as the engine still has it.
        again = self._position.count
        begin, latest = _moment(self._position.at), _moment(self._position.latest)
        turn = 0
        async with contextlib.aclosing(engine.logs(container, self._position.since)) as told:
            async for frames in told:
                fresh = []
                for frame in frames:
                    if again and (moment := _moment(frame.at)) <= latest:
                        # Some engines tell earlier ones, too, once they have begun.
                        again -= moment >= begin
                        continue
                    if again:
                        self._position = self._position.without(again)
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
            self._position = self._position.past(frame.at)
        self._save()
        return sum(map(len, texts))

    def _save(self) -> None:
        sizes = [_size(path) - ahead for path, ahead in zip(self._paths, self._ahead, strict=True)]
        position = self._position
        line = b"%s %d %s %d %d" % (position.at, position.count, position.latest, max(0, sizes[0]), max(0, sizes[1]))
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
        at, count = match[1], int(match[2])
        self._position = Position(at, count, match[3] or at, at, count)
        # Less than there was: it was moved aside since, and the position was written before.
        self._ahead = [max(0, _size(path) - int(match[4 + index])) for index, path in enumerate(self._paths)]


@functools.lru_cache(64)
def _moment(at: bytes) -> tuple[int, int]:
    """Return a moment as seconds and billionths, by which moments compare however many digits they are written with."""
    match = _MOMENT.fullmatch(at)
    if match is None:
        return _NEVER
    second = datetime.fromisoformat(match[1].decode()).replace(tzinfo=UTC)
    return int(second.timestamp()), int((match[2] or b"").ljust(9, b"0"))


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
