"""The client: requests that are answered, streams that last, and the typed verbs over them."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from harpoon.client.answer import Answer, error_of
from harpoon.client.connection import Broken, Connection, Head, unreachable
from harpoon.client.origin import DEFAULT_URL, origin_of
from harpoon.client.pool import Pool
from harpoon.client.request import Query, Request, addressed, make_request, visible
from harpoon.client.watch import SILENCE, Lines, Place, RunSelection, Selection, Told, told_of
from harpoon.kit.errors import HarpoonError, Unavailable, Unreachable

if TYPE_CHECKING:  # the nouns and their decoder take longer to import than a request takes; some never need them
    from harpoon.client.agents import Agents
    from harpoon.client.changes import Changes
    from harpoon.client.jobs import Document, Jobs
    from harpoon.client.messages import Message
    from harpoon.client.tasks import Tasks
    from harpoon.model.shown import Applied

#: A request is answered whole within so long, or the server is taken for unreachable.
TIMEOUT: Final = timedelta(seconds=30)
#: Bytes of one answer: a list of some 100,000 tasks.
ANSWER_BYTES_MAX: Final = 256 << 20

_NO_QUERY: Final[Query] = {}
_JSON: Final = "application/json"
Lost = Callable[[HarpoonError], None]


class Client:
    """One server's API. It belongs to one event loop, and many tasks of it may share it.

    ``jobs``, ``tasks``, ``agents``, ``changes``, `apply`, `watch` and `logs` are typed; `get`, `put`, `post`, `delete`,
    `read_text` and `follow` are what they stand on, with the API's JSON as it comes.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, token: str | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        """Open nothing yet.

        Args:
            url: Of the server; what stands after the host is put before ``/v1``.
            token: What the server's token file holds.
            context: For ``https``: whom to trust; the system's authorities unless told otherwise.

        Raises:
            Invalid: It is no URL, or no token.
        """
        self._origin = origin_of(url)
        self.url = self._origin.url
        self._token = None if token is None else visible("a token", token)
        self._pool = Pool(self._origin, context)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
        await asyncio.sleep(0)  # the loop closes the sockets on its next turn; it may be the last

    @cached_property
    def jobs(self) -> "Jobs":
        """What is wanted."""
        from harpoon.client.jobs import Jobs  # noqa: PLC0415 see above

        return Jobs(self)

    @cached_property
    def tasks(self) -> "Tasks":
        """What runs."""
        from harpoon.client.tasks import Tasks  # noqa: PLC0415 see above

        return Tasks(self)

    @cached_property
    def agents(self) -> "Agents":
        """Where it runs."""
        from harpoon.client.agents import Agents  # noqa: PLC0415 see above

        return Agents(self)

    @cached_property
    def changes(self) -> "Changes":
        """What was asked for, and how far it has come."""
        from harpoon.client.changes import Changes  # noqa: PLC0415 see above

        return Changes(self)

    async def apply(self, *manifests: "Document") -> "Applied":
        """Declare up to 40 jobs in one commit: all or none; the errors are those of `get`."""
        from harpoon.client.caller import noun  # noqa: PLC0415 see above
        from harpoon.kit import codec  # noqa: PLC0415
        from harpoon.model.shown import Applied  # noqa: PLC0415

        return noun(Applied, await self.post("apply", body=codec.dump({"documents": list(manifests)})))

    async def get(self, *path: str, query: Query = _NO_QUERY, within: timedelta = TIMEOUT) -> Answer:
        """Read ``/v1/<path…>``, whole within that time.

        Raises:
            HarpoonError: The kind of error the server answered, or `Unreachable`.
        """
        return await self._call(make_request("GET", path, query=query), within)

    async def put(
        self,
        *path: str,
        body: object,
        query: Query | None = None,
        if_match: str | None = None,
        is_new: bool = False,
    ) -> Answer:
        """Write ``/v1/<path…>``: over the version with this ETag only, only if nothing is there yet, or in any case.

        Raises:
            PreconditionFailed: It is another version, or is there already.
            HarpoonError: As for `get`. After `Unreachable` it may be done or not.
        """
        return await self._call(
            make_request("PUT", path, query=query or _NO_QUERY, body=body, if_match=if_match, is_new=is_new)
        )

    async def post(self, *path: str, body: object, query: Query = _NO_QUERY, if_match: str | None = None) -> Answer:
        """Do ``/v1/<path…>``, once however often it has to be sent; the errors are those of `put`."""
        return await self._call(make_request("POST", path, query=query, body=body, if_match=if_match))

    async def delete(self, *path: str, query: Query = _NO_QUERY, if_match: str | None = None) -> Answer:
        """Delete ``/v1/<path…>``; the errors are those of `put`."""
        return await self._call(make_request("DELETE", path, query=query, if_match=if_match))

    async def read_text(self, *path: str, query: Query = _NO_QUERY) -> AsyncGenerator[bytes, None]:
        """Yield plain text as it comes, for as long as it comes: a task's log.

        Raises:
            HarpoonError: As for `get`; `Unreachable` also in the middle, when the connection breaks.
        """
        async with self._stream(make_request("GET", path, query=query), "text/plain") as connection:
            async for data in connection.read():
                yield data

    async def exchange_work(self, namespace: str, body: bytes, *, within: timedelta) -> Answer:
        """Bring and take work, answered whole within that time; the errors are those of `put`."""
        return await self._call(make_request("POST", ("namespaces", namespace, "work"), body=body), within)

    async def backup(self) -> AsyncGenerator[bytes, None]:
        """Yield the whole registry of one revision, as the lines of a backup; the errors are those of `read_text`.

        It is whole only if its last line says so: `harpoon.store.backup.Reading` tells.
        """
        async with self._stream(make_request("GET", ("backup",)), "application/x-ndjson") as connection:
            async for data in connection.read(SILENCE):
                yield data

    async def history(self, since: str | None = None, until: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the server's history, as the lines of an export; the errors are those of `read_text`.

        It is whole only if its last line says so: `harpoon.store.past.transfer.Reading` tells.
        """
        request = make_request("GET", ("history", "export"), query={"from": since, "to": until})
        async with self._stream(request, "application/x-ndjson") as connection:
            async for data in connection.read(SILENCE):
                yield data

    def logs(
        self, task: str, *, stream: str = "stdout", tail: int | None = None, is_followed: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Yield what a task has written, and go on with what it writes if ``is_followed``; as `read_text`."""
        query = {"stream": stream, "tail": None if tail is None else str(tail)}
        return self.read_text("tasks", task, "logs", query={**query, "follow": "true" if is_followed else None})

    async def watch(
        self, selection: Selection | RunSelection, *, lost: Lost | None = None
    ) -> AsyncGenerator["Message", None]:
        """Yield what `follow` tells, typed, message by message; types of message that are not known are left out."""
        from harpoon.client.messages import message_of  # noqa: PLC0415 see above

        async with aclosing(self.follow(selection, lost=lost)) as batches:
            async for batch in batches:
                for told in batch:
                    if message := message_of(told, self.url):
                        yield message

    async def follow(
        self, selection: Selection | RunSelection, *, lost: Lost | None = None
    ) -> AsyncGenerator[list[Told], None]:
        """Yield the watch's messages for ever, or until the run that is watched is over, as many at once as have come.

        They are ``snapshot`` and ``synced`` (unless resumed), ``change`` and ``bookmark``; of one run, ``over`` is the
        last. When the connection is lost, or the server cuts this reader off for being slow, ``lost`` is told once and
        the watch goes on after the last whole message: nothing is left out, nothing comes twice.

        Raises:
            Gone: The history to resume from is no longer kept; ``oldest`` is.
            HarpoonError: As for `get`; `Unreachable` only if there never was a connection.
        """
        place = Place(selection.after)
        while True:
            try:
                async with aclosing(self._follow_once(selection, place.after)) as batches:
                    async for batch in batches:
                        place.note(batch)
                        yield batch
                        if batch[-1].message.get("type") == "over":
                            return
            except Unavailable as error:
                if not place.has_begun:
                    raise
                if place.failures == 0 and lost is not None:
                    lost(error)
            await asyncio.sleep(place.pause())

    async def _follow_once(
        self, selection: Selection | RunSelection, after: str | None
    ) -> AsyncGenerator[list[Told], None]:
        """Yield the messages of one connection; it ends by `Unavailable`."""
        request = make_request("GET", selection.path, query=selection.query(after))
        lines = Lines()
        async with self._stream(request, "application/x-ndjson") as connection:
            async for data in connection.read(SILENCE):
                batch: list[Told] = []
                try:
                    for told in told_of(lines.take(data), self.url):
                        batch.append(told)  # noqa: PERF402 those before an error count
                except HarpoonError:
                    if batch:
                        yield batch
                    raise
                if batch:
                    yield batch
        raise Unreachable(f"the connection to {self.url} was closed")

    async def _call(self, request: Request, within: timedelta = TIMEOUT) -> Answer:
        """Make a request, and return its answer once it is whole."""
        whole = addressed(request, self._origin, self._token, _JSON)
        try:
            async with asyncio.timeout(within.total_seconds()), self._pool.turn():
                head, data = await self._exchange(whole, within)
        except TimeoutError as error:
            raise unreachable(self._origin, "no answer in time") from error
        if head.status >= 300:
            raise error_of(head.status, data, self.url)
        return Answer(url=self.url, status=head.status, headers=head.headers, data=data)

    async def _exchange(self, request: Request, within: timedelta) -> tuple[Head, bytes]:
        """Send a request, and once more over a new connection if the kept one turns out to be closed."""
        is_again = False
        while True:
            async with self._pool.lend(within, is_new=is_again) as connection:
                was_kept = connection.served > 0
                try:
                    head = await connection.send(request)
                    return head, await self._read_all(connection)
                except Broken as error:
                    if is_again or not was_kept or error.is_answered or not request.can_repeat:
                        raise unreachable(self._origin, str(error)) from error
            is_again = True

    async def _read_all(self, connection: Connection) -> bytes:
        parts, size = [], 0
        async for data in connection.read():
            parts.append(data)
            size += len(data)
            if size > ANSWER_BYTES_MAX:
                raise HarpoonError(f"{self.url} answered more than {ANSWER_BYTES_MAX >> 20} MiB")
        return b"".join(parts)

    @asynccontextmanager
    async def _stream(self, request: Request, accept: str) -> AsyncIterator[Connection]:
        """Open a stream on a connection of its own, closed after it; an answer from 300 on is its error."""
        whole = addressed(request, self._origin, self._token, accept)
        async with self._pool.lend(TIMEOUT, is_new=True) as connection:
            try:
                try:
                    async with asyncio.timeout(TIMEOUT.total_seconds()):
                        head = await connection.send(whole)
                        data = b"" if head.status < 300 else await self._read_all(connection)
                except TimeoutError as error:
                    raise unreachable(self._origin, "no answer in time") from error
                if head.status >= 300:
                    raise error_of(head.status, data, self.url)
                yield connection
            except Broken as error:
                raise unreachable(self._origin, str(error)) from error
