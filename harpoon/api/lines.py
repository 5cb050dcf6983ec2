"""Lines of a body, as they arrive: bounded in length, in total, and in how long the next bytes may take."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from harpoon.api.doors import DOORS
from harpoon.api.problem import Refused

#: A line that is longer than a line may be; what it said is dropped.
TOO_LONG = None
Line = bytes | None


async def read_lines(request: web.Request, *, most_bytes: int) -> AsyncIterator[list[Line]]:
    """Yield the lines that are not blank, by as many as have arrived; nothing more is read until they are taken.

    Raises:
        Refused: 413 when all are together too large, 408 when nothing comes any more, 400 when the body breaks off.
    """
    limits = request.app[DOORS].limits
    splitter = Splitter(limits.body_bytes)
    total = 0
    while True:
        try:
            async with asyncio.timeout(limits.body_s):
                chunk = await request.content.readany()
        except TimeoutError as error:
            raise Refused(408, f"no more of the body arrived within {limits.body_s:g} s") from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise Refused(400, "the body breaks off, or is not framed as HTTP frames it") from error
        total += len(chunk)
        if total > most_bytes:
            raise Refused(413, f"lines are together at most {most_bytes} bytes; send the rest in another request")
        lines = splitter.feed(chunk) if chunk else splitter.end()
        if lines:
            yield lines
        if not chunk:
            return


class Splitter:
    """Takes a body apart at its line ends.

    Args:
        most_bytes: Of one line.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        #: The beginning of a line whose end has not come.
        self._begun: list[bytes] = []
        self._begun_bytes = 0

    def feed(self, chunk: bytes) -> list[Line]:
        """Return the lines that end in this chunk."""
        first, *others = chunk.split(b"\n")
        self._take(first)
        if not others:
            return []
        lines = [self._line()]
        *whole, last = others
        lines += whole
        self._take(last)
        return [line for line in map(self._checked, lines) if line is TOO_LONG or (not line.isspace() and line)]

    def end(self) -> list[Line]:
        """Return the last line, if it has no end of its own."""
        line = self._checked(self._line())
        return [line] if line is TOO_LONG or line.strip() else []

    def _take(self, part: bytes) -> None:
        self._begun_bytes += len(part)
        # Of a line that is too long already, no more is kept.
        if part and self._begun_bytes <= self._most_bytes:
            self._begun.append(part)

    def _line(self) -> Line:
        is_too_long = self._begun_bytes > self._most_bytes
        line = b"".join(self._begun)
        self._begun, self._begun_bytes = [], 0
        return TOO_LONG if is_too_long else line

    def _checked(self, line: Line) -> Line:
        return TOO_LONG if line is TOO_LONG or len(line) > self._most_bytes else line
