"""The client as verbs use it: one call after another, on an event loop of the verb's own.

A verb is a straight line from options to output, so it awaits nothing. The loop runs while a call does, and rests
between two of them; connections stay open meanwhile. Ctrl-C ends the call that is going on, and then the verb.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, Self, TypeVar

from harpoon.client import Client
from harpoon.client.answer import Answer
from harpoon.client.client import TIMEOUT
from harpoon.client.request import Query
from harpoon.client.watch import RunSelection, Selection
from harpoon.kit.errors import HarpoonError

T = TypeVar("T")

_NO_QUERY: Final[Query] = {}


class Session:
    """One server's API for one verb, in one thread; whoever opens it closes it."""

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self._client = Client(url, token=token)
        self._token = token
        self._runner = asyncio.Runner()
        self.url = self._client.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and the loop."""
        self._run(self._client.__aexit__(None, None, None))
        self._runner.close()

    def another(self) -> "Session":
        """Return one more of the same server, for another thread."""
        return Session(self.url, token=self._token)

    def get(self, *path: str, query: Query | None = None, timeout: timedelta = TIMEOUT) -> Answer:
        """Read ``/v1/<path…>``; the errors are those of the client."""
        return self._run(self._client.get(*path, query=query or _NO_QUERY, within=timeout))

    def put(
        self,
        *path: str,
        body: object,
        query: Query | None = None,
        if_match: str | None = None,
        is_new: bool = False,
    ) -> Answer:
        """Write ``/v1/<path…>``; the errors are those of the client."""
        return self._run(self._client.put(*path, body=body, query=query, if_match=if_match, is_new=is_new))

    def post(self, *path: str, body: object, query: Query | None = None, if_match: str | None = None) -> Answer:
        """Do ``/v1/<path…>``; the errors are those of the client."""
        return self._run(self._client.post(*path, body=body, query=query or _NO_QUERY, if_match=if_match))

    def delete(self, *path: str, query: Query | None = None, if_match: str | None = None) -> Answer:
        """Delete ``/v1/<path…>``; the errors are those of the client."""
        return self._run(self._client.delete(*path, query=query or _NO_QUERY, if_match=if_match))

    def read_text(self, *path: str, query: Query | None = None) -> Iterator[bytes]:
        """Yield plain text as it comes; the errors are those of the client."""
        return self._each(self._client.read_text(*path, query=query or _NO_QUERY))

    def backup(self) -> Iterator[bytes]:
        """Yield the lines of a backup as they come; the errors are those of the client."""
        return self._each(self._client.backup())

    def history(self, since: str | None, until: str | None) -> Iterator[bytes]:
        """Yield the lines of an exported history as they come; the errors are those of the client."""
        return self._each(self._client.history(since, until))

    def watch(
        self, selection: Selection | RunSelection, *, lost: Callable[[HarpoonError], None]
    ) -> Iterator[dict[str, Any]]:
        """Yield the watch's messages for ever, or until the run is over; the errors are those of the client."""
        for batch in self._each(self._client.follow(selection, lost=lost)):
            for told in batch:
                yield told.message

    def _each(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """Yield what an asynchronous generator does."""
        try:
            while (item := self._run(_next(items))) is not None:
                yield item
        finally:
            with suppress(RuntimeError):  # the session was closed first, which has ended them
                self._run(_end(items))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return self._runner.run(coroutine)
        except KeyboardInterrupt:
            self._settle()
            raise
        finally:
            coroutine.close()  # when the loop is closed already, it has not been begun

    def _settle(self) -> None:
        """Let the loop end the turn that Ctrl-C broke off: were the call done in it, the next one would be stopped."""
        loop = self._runner.get_loop()
        loop.call_soon(loop.stop)
        loop.run_forever()


async def _next(items: AsyncGenerator[T, None]) -> T | None:
    return await anext(items, None)


async def _end(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()
