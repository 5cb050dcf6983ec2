"""What the typed verbs stand on: one request and its answer; and reading a noun out of an answer."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

from harpoon.client.answer import Answer
from harpoon.client.request import Query
from harpoon.kit import codec
from harpoon.kit.errors import HarpoonError, Invalid

T = TypeVar("T")

#: Items of one page: large enough to be few, small enough to be decoded without a pause anyone notices.
PAGE: str = "500"


class Caller(Protocol):
    """Makes requests; `harpoon.client.Client` is one."""

    async def get(self, *path: str, query: Query = ...) -> Answer:
        """Read ``/v1/<path…>``."""

    async def put(self, *path: str, body: object, if_match: str | None = None, is_new: bool = False) -> Answer:
        """Write ``/v1/<path…>``."""

    async def post(self, *path: str, body: object, if_match: str | None = None) -> Answer:
        """Do ``/v1/<path…>``."""

    async def delete(self, *path: str, if_match: str | None = None) -> Answer:
        """Delete ``/v1/<path…>``."""


def noun(kind: type[T], answer: Answer) -> T:
    """Read what was answered; fields of newer servers are ignored, values of enumerations are not.

    Raises:
        HarpoonError: It is something else.
    """
    read: T = noun_of(kind, answer.data, answer.url)
    return read


def noun_of(kind: Any, data: bytes, url: str) -> Any:
    """Read a noun out of JSON; the errors are those of `noun`."""
    try:
        return codec.load(kind, data)
    except Invalid as error:
        raise HarpoonError(f"{url} answered something else than this release knows: {error}") from error


async def pages(
    caller: Caller, path: tuple[str, ...], query: Query, read: Callable[[Answer], tuple[tuple[T, ...], str | None]]
) -> AsyncIterator[T]:
    """Yield the items of a list, page after page; all pages are of one moment.

    Raises:
        Gone: Reading took longer than the server keeps that moment (minutes); begin again.
        HarpoonError: As for any request.
    """
    items, more = read(await caller.get(*path, query={**query, "limit": PAGE}))
    while True:
        for item in items:
            yield item
        if not more:
            return
        items, more = read(await caller.get(*path, query={**query, "limit": PAGE, "continue": more}))
