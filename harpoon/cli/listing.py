"""Whole lists: the server may answer in pages, all of one moment."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from harpoon.cli.session import Session
from harpoon.client.client import TIMEOUT
from harpoon.client.request import Query
from harpoon.kit.errors import Gone

#: A moment is kept for some minutes; a list that outlasts it is begun again so often.
TRIES: Final = 3


def read_list(
    client: Session, path: Sequence[str], query: Query | None = None, *, timeout: timedelta = TIMEOUT
) -> dict[str, Any]:
    """Return ``{revision, items}`` with every item there is; each page within that time.

    Raises:
        Gone: The list changed faster than it could be read.
        HarpoonError: As for the client.
    """
    for last in range(1, TRIES + 1):
        try:
            return _read_pages(client, path, query or {}, timeout)
        except Gone:
            if last == TRIES:
                raise
    raise AssertionError


def _read_pages(client: Session, path: Sequence[str], query: Query, timeout: timedelta) -> dict[str, Any]:
    whole: dict[str, Any] = dict(client.get(*path, query=query, timeout=timeout).body)
    items = [*whole["items"]]
    while token := whole.pop("continue", None):
        whole = dict(client.get(*path, query={**query, "continue": token}).body)
        items += whole["items"]
    whole.pop("remaining", None)
    return {**whole, "items": items}
