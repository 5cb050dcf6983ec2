"""The REST API, from outside: what the terminal and scripts use.

It is synchronous and stands on the standard library's ``http.client``, because a verb at the terminal makes one or
two requests and must start fast: importing an asynchronous client would take longer than the request. Objects are
the API's JSON as it comes, so that a client shows fields that a newer server adds.

It does not follow redirects, so a token never leaves for another host, and it takes no proxy from the environment.
"""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from harpoon.kit.clock import Random, system_random
from harpoon.kit.errors import (
    Conflict,
    Gone,
    HarpoonError,
    Invalid,
    NotFound,
    PreconditionFailed,
    Problem,
    Unavailable,
)

DEFAULT_URL: Final = "http://127.0.0.1:4450"
#: A server that has not answered for so long is taken for unreachable.
TIMEOUT: Final = timedelta(seconds=30)
#: A watch brings a bookmark every 15 s; three missed, and the connection is taken for dead.
WATCH_SILENCE: Final = timedelta(seconds=45)
#: Bytes of one answer or one watch line: a list of some 100,000 tasks.
ANSWER_BYTES_MAX: Final = 256 << 20
#: Waits before a watch is taken up again: the first, and the longest.
RESUME_AFTER: Final = (timedelta(milliseconds=100), timedelta(seconds=5))

Query = Mapping[str, str | Sequence[str] | None]


class Denied(HarpoonError):
    """The server does not let this caller do that."""


class Unreachable(Unavailable):
    """Nothing answers there, or the connection broke before the answer was whole."""


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    body: Any
    etag: str | None
    #: ``<incarnation>.<revision>`` that the answer stands for.
    revision: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a watch is to tell of."""

    #: ``jobs``, ``placements``, ``tasks``, ``agents``.
    kinds: tuple[str, ...]
    namespace: str | None = None
    name: str | None = None
    #: ``key=value``; all must hold.
    tags: tuple[str, ...] = ()
    #: Changes after this revision only; without it a snapshot comes first.
    after: str | None = None


@dataclass(slots=True)
class _Place:
    """How far a watch has come."""

    after: str | None
    failures: int = 0
    rng: Random = field(default_factory=system_random)

    def pause(self) -> float:
        """Return how long to wait before the next try, in seconds: doubling, less up to a half at random."""
        first, longest = (span.total_seconds() for span in RESUME_AFTER)
        self.failures += 1
        return min(longest, first * 2.0 ** min(self.failures - 1, 16)) * (1 - self.rng.random() / 2)


class Client:
    """One server's API. It keeps no connection open between calls and may be used from several threads."""

    def __init__(self, url: str = DEFAULT_URL, *, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise Invalid(f"a server is a URL such as {DEFAULT_URL}; got {url!r}")
        if parts.username is not None or parts.password is not None:
            raise Invalid("a server's URL holds no password; put the token in a file and name it with --token-file")
        try:
            self._address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        except ValueError as error:
            raise Invalid(f"a server's port is 1 to 65535; got {url!r}") from error
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._is_tls = parts.scheme == "https"
        self._token = token

    def get(self, *path: str, query: Query | None = None, timeout: timedelta = TIMEOUT) -> Answer:
        """Read ``/v1/<path…>``.

        Raises:
            HarpoonError: The kind of error the server answered, or `Unreachable`.
        """
        return self._call("GET", path, query=query, timeout=timeout)

    def put(self, *path: str, body: object, if_match: str | None = None, is_new: bool = False) -> Answer:
        """Write ``/v1/<path…>``: over the version with this ETag only, only if nothing is there yet, or in any case.

        Raises:
            PreconditionFailed: It is another version, or is there already.
            HarpoonError: As for `get`.
        """
        headers = {"If-Match": if_match} if if_match is not None else {"If-None-Match": "*"} if is_new else {}
        return self._call("PUT", path, body=body, headers=headers)

    def post(self, *path: str, body: object, if_match: str | None = None) -> Answer:
        """Do ``/v1/<path…>``, to the version with this ETag only if one is given; the errors are those of `put`."""
        return self._call("POST", path, body=body, headers={} if if_match is None else {"If-Match": if_match})

    def delete(self, *path: str) -> Answer:
        """Delete ``/v1/<path…>``; the errors are those of `get`."""
        return self._call("DELETE", path)

    def read_text(self, *path: str, query: Query | None = None) -> Iterator[bytes]:
        """Read plain text as it comes, for as long as it comes: a task's log.

        Raises:
            HarpoonError: As for `get`; `Unreachable` also in the middle, when the connection breaks.
        """
        with self._open("GET", path, query=query, timeout=None, headers={"Accept": "text/plain"}) as response:
            while chunk := response.read1(1 << 16):
                yield chunk

    def watch(self, selection: Selection, *, lost: Callable[[HarpoonError], None]) -> Iterator[dict[str, Any]]:
        """Yield the watch's messages for ever: ``snapshot`` and ``synced`` (unless resumed), ``change``, ``bookmark``.

        When the connection is lost, or the server cuts this reader off for being slow, ``lost`` is told once and
        the watch goes on after the last whole message: nothing is left out, nothing comes twice.

        Raises:
            Gone: The history to resume from is no longer kept; ``oldest`` is.
            HarpoonError: As for `get`; `Unreachable` only if there never was a connection.
        """
        place = _Place(selection.after)
        has_been_open = False
        while True:
            try:
                for message in self._watch_once(selection, place.after):
                    has_been_open, place.failures = True, 0
                    place.after = message.get("revision") or place.after
                    yield message
            except Unavailable as error:
                if not has_been_open:
                    raise
                if place.failures == 0:
                    lost(error)
            time.sleep(place.pause())

    def _watch_once(self, selection: Selection, after: str | None) -> Iterator[dict[str, Any]]:
        """Yield the messages of one connection; it ends by `Unavailable`."""
        query: Query = {
            "kinds": ",".join(selection.kinds),
            "namespace": selection.namespace,
            "name": selection.name,
            "tag": selection.tags,
            "after": after,
        }
        headers = {"Accept": "application/x-ndjson"}
        with self._open("GET", ("watch",), query=query, timeout=WATCH_SILENCE, headers=headers) as response:
            while (line := response.readline(ANSWER_BYTES_MAX)).endswith(b"\n"):
                if not line.strip():
                    continue
                message = _parse(line, self.url)
                if not isinstance(message, dict):
                    raise HarpoonError(f"{self.url} does not speak harpoon's API: a watch line is no object")
                if message.get("type") in ("error", "bye"):
                    raise Unavailable(str(message.get("detail") or message.get("code") or "the server is stopping"))
                yield message
        raise Unreachable(f"the connection to {self.url} was closed")

    def _call(
        self,
        method: str,
        path: Sequence[str],
        *,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = TIMEOUT,
    ) -> Answer:
        with self._open(method, path, query=query, body=body, headers=headers, timeout=timeout) as response:
            data = response.read(ANSWER_BYTES_MAX)
            if response.length:  # reading with a limit does not itself notice that the rest never came
                raise http.client.IncompleteRead(data)
            revision, etag = response.getheader("Harpoon-Revision"), response.getheader("ETag")
            return Answer(response.status, _parse(data, self.url), etag, revision)

    @contextmanager
    def _open(
        self,
        method: str,
        path: Sequence[str],
        *,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | None = TIMEOUT,
    ) -> Iterator[http.client.HTTPResponse]:
        """Open one request; whatever breaks inside is `Unreachable`, and an answer from 300 on is its error."""
        target = f"{self._prefix}/v1/{'/'.join(quote(part, safe='') for part in path)}{_query(query)}"
        sent = {"Accept": "application/json", **(headers or {})}
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        connection = self._connection(TIMEOUT if timeout is None else timeout)
        try:
            connection.request(method, target, body=data, headers=sent)
            response = connection.getresponse()
            if response.status >= 300:
                raise error_of(response.status, response.read(ANSWER_BYTES_MAX), self.url)
            if timeout is None and connection.sock is not None:
                connection.sock.settimeout(None)
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"cannot reach {self.url}: {_reason(error)}") from error
        finally:
            connection.close()

    def _connection(self, timeout: timedelta) -> http.client.HTTPConnection:
        host, port = self._address
        if self._is_tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=timeout.total_seconds(), context=context)
        return http.client.HTTPConnection(host, port, timeout=timeout.total_seconds())


def error_of(status: int, data: bytes, url: str) -> HarpoonError:
    """Make the error that an answer tells of, from its problem+json where it has one."""
    try:
        problem = json.loads(data)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "title" not in problem:
        return HarpoonError(f"{url} answered {status}, and not as harpoon does; is another service listening there?")
    message = str(problem.get("detail") or problem["title"])
    if status in (400, 413, 415, 422):
        errors = problem.get("errors")
        told = [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
        return Invalid(message, [Problem(pointer=str(e.get("pointer")), detail=str(e.get("detail"))) for e in told])
    if status == 410:
        return Gone(message, oldest=str(problem.get("oldest") or ""))
    if status == 412:
        return PreconditionFailed(message, current=problem.get("current"))
    kinds: Mapping[int, type[HarpoonError]] = {
        401: Denied,
        403: Denied,
        404: NotFound,
        409: Conflict,
        429: Unavailable,
        503: Unavailable,
        504: Unavailable,
    }
    return kinds.get(status, HarpoonError)(message)


def _query(query: Query | None) -> str:
    given = {key: value for key, value in (query or {}).items() if value}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def _parse(data: bytes, url: str) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError as error:
        raise HarpoonError(f"{url} answered no JSON; is another service listening there?") from error


def _reason(error: Exception) -> str:
    """Say in a few words why a connection failed."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.HTTPException):
        return "the connection broke in the middle of an answer"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
