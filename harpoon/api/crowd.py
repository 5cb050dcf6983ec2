"""How many requests may be answered at once; who comes when there are too many is told to come again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from harpoon.api.problem import Refused

#: What keeps requests waiting is over within seconds.
_SOON: Final = {"Retry-After": "1"}


class Crowd:
    """Requests of one kind that are being answered.

    Args:
        most: At once.
        what: They are, for those who are refused.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._count = 0

    @contextmanager
    def admit(self, *, apart: int = 0) -> Iterator[None]:
        """Count a request among them while the block runs; so many of them do ``apart`` not count.

        Raises:
            Refused: There are too many already.
        """
        if self._count - apart >= self._most:
            raise Refused(429, f"{self._most} {self._what} are being answered; try again soon", headers=_SOON)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


#: All requests but those that stay open.
REQUESTS: web.AppKey[Crowd] = web.AppKey("requests", Crowd)
#: Those that send many documents.
BULKS: web.AppKey[Crowd] = web.AppKey("bulks", Crowd)
