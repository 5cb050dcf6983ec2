"""Lists: everything at once, or page by page from one snapshot.

A snapshot is made with the first page and holds references to immutable records, all of one revision; each page is
encoded when it is asked for. So what a client reads page by page is what stood at one moment, however long it takes,
and costs little memory beyond what the view has anyway. A snapshot goes when it is old, or when there are too many; its
tokens are then answered 410.

A snapshot lives in the memory of the instance that made it, which its tokens name. Any other one asks that one for the
page, once and not for long; if it is gone or slow, so is the snapshot, as far as the client is concerned.
"""

import asyncio
import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import structlog
from aiohttp import hdrs, web

from harpoon.api.answer import answer
from harpoon.api.doors import DOORS
from harpoon.api.limits import Limits
from harpoon.api.operation import MIN_REVISION, Parameter, whole
from harpoon.api.problem import Refused, request_id
from harpoon.api.query import Query, bad_parameter
from harpoon.api.sight import view_of
from harpoon.kit.errors import Unavailable

PAGE_MAX: Final = 1000
PAGING: Final = (
    Parameter("limit", whole(1, PAGE_MAX), "Answer so many items at most, and a token for the next page."),
    Parameter("continue", {"type": "string"}, "The token of the page before: go on, from the same snapshot."),
)
#: A page is cut short before it grows beyond this: an item may be half a megabyte.
_PAGE_BYTES: Final = 4 << 20
#: Items encoded before others get their turn on the event loop.
_SLICE: Final = 50
_TOKEN: Final = re.compile(r"([a-z0-9-]{1,80})\.([A-Za-z0-9_-]{16})\.(\d{1,9})", re.ASCII)
#: Says that a request comes from an instance that was asked for it: it is not passed on again.
PASSED_ON: Final = "Harpoon-Passed-On"
#: What of a request goes with it, and what of the answer comes back.
_SENT: Final = (hdrs.AUTHORIZATION, hdrs.ACCEPT)
_TOLD: Final = ("Harpoon-Revision", hdrs.CONTENT_TYPE)
#: Answers that are the client's to have; anything else is the other instance's own trouble.
_PASSED_BACK: Final = frozenset({200, 400, 410})
#: Parameters that do not choose what is listed.
_NO_FILTERS: Final = frozenset({"limit", "continue", "min_revision"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a list shows: things that never change, all as they stood at one revision."""

    revision: int
    items: Sequence[Any]
    #: Makes the JSON of one item, perhaps minutes later, so of nothing but the item and what never changes.
    encode: Callable[[Any], bytes]
    #: Whether an item is so large that this is done beside the loop.
    is_large: Callable[[Any], bool] = lambda _: False
    #: Members of the answer beside the usual ones: name → JSON.
    more: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Snapshot:
    listed: Listed
    #: What it is a list of: path and filters.
    subject: tuple[Any, ...]
    limit: int
    #: Loop time.
    until: float
    is_read: bool = False


class Snapshots:
    """The snapshots of an application, oldest first, bounded in age, number and items."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: OrderedDict[str, _Snapshot] = OrderedDict()
        self._items = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, listed: Listed, subject: tuple[Any, ...], limit: int) -> tuple[str, _Snapshot]:
        """Keep a snapshot; return its id."""
        until = asyncio.get_running_loop().time() + self._limits.snapshot_s
        name, snapshot = secrets.token_urlsafe(12), _Snapshot(listed, subject, limit, until)
        self._kept[name] = snapshot
        self._items += len(listed.items)
        while len(self._kept) > self._limits.snapshots or self._items > self._limits.snapshot_items:
            # Those that were read to their end are missed least.
            self._drop(next((key for key, kept in self._kept.items() if kept.is_read), next(iter(self._kept))))
        self._look_later()
        return name, snapshot

    def find(self, name: str) -> _Snapshot | None:
        """Return a snapshot that is still kept."""
        return self._kept.get(name)

    def _drop(self, name: str) -> None:
        self._items -= len(self._kept.pop(name).listed.items)

    def _look_later(self) -> None:
        if self._kept and self._timer is None:
            oldest = next(iter(self._kept.values()))
            self._timer = asyncio.get_running_loop().call_at(oldest.until, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for name in [name for name, snapshot in self._kept.items() if snapshot.until <= now]:
            self._drop(name)
        self._look_later()


_log = structlog.get_logger(__name__)

SNAPSHOTS: web.AppKey[Snapshots] = web.AppKey("snapshots", Snapshots)


async def answer_pages(
    request: web.Request, gather: Callable[[], Awaitable[Listed]], most: int | None = None
) -> web.Response:
    """Answer a list whose operation takes `PAGING`: all of it, or the page that is asked for.

    Args:
        request: What is answered.
        gather: Takes note of what is listed, in one go; called unless a page of an older snapshot is asked for.
        most: Items of a page where the request does not say how many; None: all of them.

    Raises:
        Invalid: The token is none, or of another list.
        Refused: 410 when the snapshot is no longer kept, or cannot be had from the instance that keeps it.
    """
    query = Query(request)
    limit, token = query.count("limit"), query.one("continue")
    if token is not None:
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise bad_parameter("continue", "give back the token of the page before, as it was")
        if match[1] != request.app[DOORS].instance:
            return await _from_another(request, match[1])
        name, snapshot, start = _resume(request, match[2], int(match[3]))
        return await _answer_page(request, snapshot, name, start, limit or snapshot.limit)
    listed = await gather()
    limit = limit or most
    if limit is None:
        return _answer(request, listed, await _encoded(listed, 0, len(listed.items)), {})
    if len(listed.items) <= limit and request.method != hdrs.METH_HEAD:
        encoded = await _encoded(listed, 0, limit, most_bytes=_PAGE_BYTES)
        if len(encoded) == len(listed.items):
            return _answer(request, listed, encoded, {})
    name, snapshot = request.app[SNAPSHOTS].add(listed, _subject(request), limit)
    return await _answer_page(request, snapshot, name, 0, limit)


def _resume(request: web.Request, name: str, start: int) -> tuple[str, _Snapshot, int]:
    snapshot = request.app[SNAPSHOTS].find(name)
    if snapshot is None:
        raise _expired("the snapshot that this token goes on from is no longer kept")
    if snapshot.subject != _subject(request) or start > len(snapshot.listed.items):
        raise bad_parameter("continue", "this token is of another list; ask the same as for the page before")
    return name, snapshot, start


async def _from_another(request: web.Request, instance: str) -> web.Response:
    """Answer with the page of the instance that keeps the snapshot."""
    doors = request.app[DOORS]
    row = doors.view.instances.rows.get(instance)
    if row is None or not row.value.url or doors.peer_client is None or PASSED_ON in request.headers:
        raise _expired(f"this token goes on from a snapshot of instance {instance}, which cannot be asked")
    sent = {PASSED_ON: "1", "X-Request-Id": request_id.get()}
    sent |= {str(name): request.headers[name] for name in _SENT if name in request.headers}
    # What it must have seen, this instance has seen; a snapshot does not change by it.
    path = request.rel_url.without_query_params(MIN_REVISION.name).raw_path_qs
    try:
        told = await doors.peer_client.pass_on(request.method, row.value.url, path, sent)
    except Unavailable as error:
        _log.warning("page_not_passed_on", instance=instance, reason=str(error))
        raise _expired(f"this token goes on from a snapshot of instance {instance}, which does not answer") from error
    if told.status not in _PASSED_BACK:
        _log.warning("page_not_passed_on", instance=instance, reason=f"it answered {told.status}")
        raise _expired(f"this token goes on from a snapshot of instance {instance}, which answered {told.status}")
    headers = {str(name): told.headers[name] for name in _TOLD if name in told.headers}
    return web.Response(status=told.status, body=told.body, headers=headers)


def _expired(what: str) -> Refused:
    return Refused(410, f"{what}; start the list again", code="continue_expired")


def _subject(request: web.Request) -> tuple[Any, ...]:
    filters = sorted((name, value) for name, value in request.query.items() if name not in _NO_FILTERS)
    return (request.path, *filters)


async def _answer_page(request: web.Request, snapshot: _Snapshot, name: str, start: int, limit: int) -> web.Response:
    listed = snapshot.listed
    encoded = await _encoded(listed, start, limit, most_bytes=_PAGE_BYTES)
    end = start + len(encoded)
    remaining = len(listed.items) - end
    more: dict[str, bytes] = {}
    if remaining:
        instance = request.app[DOORS].instance
        more = {"continue": f'"{instance}.{name}.{end}"'.encode(), "remaining": b"%d" % remaining}
    else:
        snapshot.is_read = True
    return _answer(request, listed, encoded, more)


async def _encoded(listed: Listed, start: int, limit: int, *, most_bytes: int | None = None) -> list[bytes]:
    encoded: list[bytes] = []
    total = 0
    for place, item in zip(count(1), _from(listed.items, start, limit), strict=False):
        one = await asyncio.to_thread(listed.encode, item) if listed.is_large(item) else listed.encode(item)
        total += len(one)
        if most_bytes is not None and encoded and total > most_bytes:
            break
        encoded.append(one)
        if place % _SLICE == 0:
            await asyncio.sleep(0)
    return encoded


def _from(items: Sequence[Any], start: int, limit: int) -> Iterator[Any]:
    return (items[place] for place in range(start, min(start + limit, len(items))))


def _answer(request: web.Request, listed: Listed, encoded: Sequence[bytes], more: dict[str, bytes]) -> web.Response:
    shown = view_of(request).external(listed.revision).encode()
    members = b"".join(b',"%s":%s' % (name.encode(), value) for name, value in (listed.more | more).items())
    body = b'{"revision":"%s","items":[%s]%s}' % (shown, b",".join(encoded), members)
    return answer(request, body, revision=listed.revision)
