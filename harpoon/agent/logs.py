"""Logs: what tasks print, bounded, and readable while it grows.

A task writes to its log itself (``O_APPEND``), whatever becomes of the agent. When a log has grown, the agent copies it
aside (``stdout.1``, the former one to ``stdout.2``) and empties it. What a task prints between the end of the copy and
the emptying is lost, as with any copy and truncate; a reader who follows loses nothing else.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import stat
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

#: Logs moved aside that are kept; with the one being written, thrice the size at which a log is moved aside.
KEPT: Final = 2
_CHUNK: Final = 256 << 10
#: How often one who follows looks for more. The kernel tells of a file's growth only through calls that Python lacks.
_FOLLOW_S: Final = 0.1

_DROPPED: Final = b"\n[harpoon: output was dropped here; it came faster than it was kept or read]\n"
#: How often all logs are looked at, and those that just grew fast. Milliseconds of a second are spent on 1,000 logs.
_LOOK_S: Final = 1.0
_LOOK_HOT_S: Final = 0.1

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader is."""

    #: How many times the log had been moved aside when the byte was written.
    rotation: int
    offset: int


class Log:
    """One stream of one task."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._rotation = 0
        #: Rotation → the bytes at its beginning that were not kept, because it had grown too large.
        self._skipped: dict[int, int] = {}
        #: Held while files change their names, and while one reads.
        self._still = asyncio.Lock()
        self._is_gone = False
        self._readers = 0
        self._is_unread = asyncio.Event()
        self._is_unread.set()

    def leave(self, path: str) -> None:
        """Take note that its task was forgotten; those who read may read to the end, at ``path``."""
        self._path = path
        self._is_gone = True

    async def unread(self) -> None:
        """Wait until nobody reads it."""
        await self._is_unread.wait()

    def size(self) -> int:
        """Return how large it has grown since it was last moved aside, in bytes."""
        try:
            return os.lstat(self._path).st_size
        except OSError:
            return 0

    async def rotate(self, keep: int) -> None:
        """Move what it holds aside, at most the last ``keep`` bytes of it, and empty it."""
        async with self._still:
            if self._is_gone:
                return
            skipped = 0
            try:
                copy = await asyncio.to_thread(self._set_aside, keep)
                if copy is not None:
                    skipped = copy.skipped
                    copy.finish()
            except OSError as error:
                # Whatever it is, and be it a full disk, the log must not grow on.
                _log.warning("log_rotation_failed", path=self._path, reason=str(error))
                with contextlib.suppress(OSError):
                    self._empty()
            self._skipped = {n: size for n, size in self._skipped.items() if n > self._rotation - KEPT}
            self._skipped[self._rotation] = skipped
            self._rotation += 1

    async def read(self, tail: int | None, *, follow: bool) -> AsyncGenerator[bytes, None]:
        """Read it, oldest first.

        Args:
            tail: Only so many last lines; None: all that is kept.
            follow: Go on with what is printed, until the task is forgotten. Whenever there is nothing new, what comes
                is empty, so that the caller can see whether anybody is still interested.
        """
        self._readers += 1
        self._is_unread.clear()
        try:
            async with self._still:
                position = self._oldest() if tail is None else self._before_lines(tail)
            while True:
                is_last = self._is_gone or not follow
                async with self._still:
                    chunk, position = self._read_chunk(position)
                if chunk:
                    yield chunk
                elif is_last:
                    return
                else:
                    yield b""
                    await asyncio.sleep(_FOLLOW_S)
        finally:
            self._readers -= 1
            if not self._readers:
                self._is_unread.set()

    def _file(self, rotation: int) -> str:
        age = self._rotation - rotation
        return self._path if age == 0 else f"{self._path}.{age}"

    def _oldest(self) -> Position:
        rotation = self._rotation
        while rotation > self._rotation - KEPT and os.path.lexists(self._file(rotation - 1)):
            rotation -= 1
        return Position(rotation, self._skipped.get(rotation, 0))

    def _read_chunk(self, position: Position) -> tuple[bytes, Position]:
        """Read on from a position; nothing: there is no more yet."""
        oldest = max(position.rotation, self._rotation - KEPT)
        begin = self._skipped.get(oldest, 0)
        if oldest > position.rotation or position.offset < begin:
            return _DROPPED, Position(oldest, begin)
        while True:
            begin = self._skipped.get(position.rotation, 0)
            with _opened(self._file(position.rotation)) as descriptor:
                chunk = b"" if descriptor is None else os.pread(descriptor, _CHUNK, position.offset - begin)
            if chunk or position.rotation == self._rotation:
                return chunk, Position(position.rotation, position.offset + len(chunk))
            following = position.rotation + 1
            position = Position(following, self._skipped.get(following, 0))

    def _before_lines(self, lines: int) -> Position:
        """Return where the last so many lines begin; what follows the last line's end is a line too."""
        if lines <= 0:
            return Position(self._rotation, self.size())
        oldest = self._oldest()
        # The end of the very last line begins no other.
        wanted = lines + self._ends_a_line()
        for rotation in range(self._rotation, oldest.rotation - 1, -1):
            with _opened(self._file(rotation)) as descriptor:
                offset = 0 if descriptor is None else os.fstat(descriptor).st_size
                while descriptor is not None and offset > 0:
                    begin = max(0, offset - _CHUNK)
                    block = os.pread(descriptor, offset - begin, begin)
                    ends = block.count(b"\n")
                    if ends >= wanted:
                        skipped = self._skipped.get(rotation, 0)
                        return Position(rotation, skipped + begin + _after_end(block, ends - wanted))
                    wanted -= ends
                    offset = begin
        return oldest

    def _ends_a_line(self) -> bool:
        with _opened(self._path) as descriptor:
            size = 0 if descriptor is None else os.fstat(descriptor).st_size
            return descriptor is None or size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"

    def _empty(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def _set_aside(self, keep: int) -> "_Copy | None":
        """Copy most of what it holds; None: there is no log."""
        for age in range(KEPT, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}.{age - 1}").rename(f"{self._path}.{age}")
        try:
            source = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return None
            raise
        try:
            state = os.fstat(source)
            if not stat.S_ISREG(state.st_mode):
                os.close(source)
                return None
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            copy = _Copy(source, os.open(f"{self._path}.1", flags, 0o600), max(0, state.st_size - keep))
        except OSError:
            os.close(source)
            raise
        try:
            copy.go_on(keep)
        except OSError:
            copy.close()
            raise
        return copy


class _Copy:
    """A log being copied before it is emptied."""

    def __init__(self, source: int, target: int, skipped: int) -> None:
        self.skipped = skipped
        self._source = source
        self._target = target
        self._offset = skipped

    def go_on(self, most: int) -> None:
        """Copy on, to the log's end but no more than ``most`` bytes: its task may print as fast as this copies."""
        while most > 0 and (sent := os.sendfile(self._target, self._source, self._offset, min(most, 1 << 20))):
            self._offset += sent
            most -= sent

    def finish(self) -> None:
        """Copy what has come since, and empty the log at once: what comes in between is lost."""
        try:
            self.go_on(1 << 20)
            os.ftruncate(self._source, 0)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of both files."""
        os.close(self._source)
        os.close(self._target)


class Rotator:
    """Keeps the logs of running tasks from growing too large."""

    def __init__(self, running: Callable[[], Iterable[Log]], limit: int, rotated: Callable[[], None]) -> None:
        """Make one.

        Args:
            running: Returns the logs that may be growing.
            limit: Bytes at which a log is moved aside.
            rotated: Called when one was.
        """
        self._running = running
        self._limit = limit
        self._rotated = rotated

    async def run(self) -> None:
        """Look after the logs until cancelled.

        A log may grow for as long as it is not looked at: by what its task prints in a second, or in a tenth of one
        once it has filled a quarter of the limit since the last look.
        """
        sizes: dict[Log, int] = {}
        hot: list[Log] = []
        for turn in itertools.count():
            await asyncio.sleep(_LOOK_HOT_S if hot else _LOOK_S)
            is_whole = not hot or turn % round(_LOOK_S / _LOOK_HOT_S) == 0
            looked = {log: log.size() for log in (self._running() if is_whole else hot)}
            hot = [log for log, size in looked.items() if size - sizes.get(log, size) > self._limit // 4]
            for log, size in looked.items():
                if size > self._limit:
                    await log.rotate(self._limit)
                    self._rotated()
                    hot = hot if log in hot else [*hot, log]
                    looked[log] = 0
            sizes = looked if is_whole else sizes | looked


def _after_end(block: bytes, skip: int) -> int:
    """Return where the line begins that follows line end number ``skip``, counted from 0."""
    at = -1
    for _ in range(skip + 1):
        at = block.index(b"\n", at + 1)
    return at + 1


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int | None]:
    """Open a log for reading; None when there is none. A link or pipe that a task put in its place is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            _log.warning("log_not_readable", path=path, reason=str(error))
        yield None
        return
    try:
        yield descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)
