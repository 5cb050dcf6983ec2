"""Fetched files by their digest, as long as there is room for them; a file that somebody uses is never removed.

::

    <digest>          whole, and what its digest says when it was put here
    <digest>.part     being fetched

Several who want the same file have it fetched once. Whoever comes first fetches; the others wait, and share the failure
if they would have asked at the same place. Should the first be stopped meanwhile, the next begins again.
"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harpoon.kit.errors import HarpoonError

_PART: Final = ".part"

#: Writes the file to a path that it is given.
Fetch = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class _Fetching:
    """One digest that somebody wants."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: How often it failed, and how the last time.
    failures: int = 0
    source: str = ""
    error: HarpoonError | None = None


class Cache:
    """The files that one agent keeps."""

    def __init__(self, directory: Path, bytes_max: int) -> None:
        """Make one; what an earlier daemon had not finished is removed. It blocks.

        Raises:
            OSError: The directory cannot be used.
        """
        directory.mkdir(mode=0o700, exist_ok=True)
        for part in directory.glob(f"*{_PART}"):
            part.unlink(missing_ok=True)
        self._directory = directory
        self._bytes_max = bytes_max
        self._used: Counter[str] = Counter()
        self._fetching: dict[str, _Fetching] = {}

    @asynccontextmanager
    async def hold(self, digest: str, source: str, fetch: Fetch) -> AsyncIterator[str]:
        """Give the path of a file, and keep it as long as this lasts.

        Args:
            digest: Of the file.
            source: Where it is fetched from, if it is.
            fetch: Does so.

        Raises:
            HarpoonError: What ``fetch`` raises, here or where somebody else was about it.
            OSError: The disk cannot take it.
        """
        self._used[digest] += 1
        try:
            path = str(self._directory / digest)
            if not await asyncio.to_thread(_touch, path):
                await self._bring(digest, source, fetch, path)
                await asyncio.to_thread(self._make_room)
            yield path
        finally:
            self._used[digest] -= 1
            if not self._used[digest]:
                del self._used[digest]
                self._fetching.pop(digest, None)

    async def drop(self, digest: str) -> None:
        """Remove a file that is not what its digest says any more."""
        await asyncio.to_thread((self._directory / digest).unlink, missing_ok=True)

    async def _bring(self, digest: str, source: str, fetch: Fetch, path: str) -> None:
        fetching = self._fetching.setdefault(digest, _Fetching())
        before = fetching.failures
        async with fetching.lock:
            if fetching.failures > before and fetching.source == source and fetching.error is not None:
                raise type(fetching.error)(str(fetching.error))
            if await asyncio.to_thread(_touch, path):
                return
            part = f"{path}{_PART}"
            try:
                await fetch(part)
                os.rename(part, path)  # noqa: PTH104 paths are text here
            except HarpoonError as error:
                fetching.failures, fetching.source, fetching.error = fetching.failures + 1, source, error
                raise
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part)  # noqa: PTH108

    def _make_room(self) -> None:
        """Remove what was not used for the longest time until the rest is within bounds."""
        found = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                told = entry.stat(follow_symlinks=False)
                found.append((told.st_mtime_ns, told.st_size, entry.name))
        total = sum(size for _, size, _ in found)
        for _, size, name in sorted(found):
            if total <= self._bytes_max:
                return
            if not self._used.get(name.removesuffix(_PART)):
                (self._directory / name).unlink(missing_ok=True)
                total -= size


def _touch(path: str) -> bool:
    """Note that a file is used, and return whether it is there."""
    try:
        os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
