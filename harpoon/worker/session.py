"""One session of a worker with its servers: requests in their order, each repeated until it is answered.

A request bears a number, and is answered alike however often it comes; the next number says that the answer has
arrived. So whatever is lost on the way is lost only until the same is sent again, perhaps to another server.

A worker has several sessions, one for each part of it that waits for answers by itself. Each goes by a name of its
own, for of two sessions of one name a server takes the later for a successor.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson
import structlog

from harpoon.kit.errors import Conflict
from harpoon.model.units import format_duration
from harpoon.worker.means import Way
from harpoon.worker.wire import WorkAnswer

#: A server has so long to answer, beside what it was asked to wait.
ANSWER_WITHIN: Final = timedelta(seconds=15)
AT_ONCE: Final = timedelta(0)
#: Randomness of a session's id.
_ID_BYTES: Final = 8
#: New sessions begun one after another because a server knew better; then it is another kind of server.
_RENEWALS_MAX: Final = 3

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks."""

    namespace: str
    #: The worker's name, or that of a part of it.
    worker: str
    #: What it carries out.
    handlers: Sequence[str]


class Session:
    """One session; it makes one request at a time."""

    def __init__(self, servers: Way, caller: Caller) -> None:
        self._servers = servers
        self._caller = caller
        self._begin()

    async def exchange(
        self, asked: Mapping[str, object], *, wait: timedelta = AT_ONCE, within: timedelta = ANSWER_WITHIN
    ) -> WorkAnswer:
        """Return what is answered to a request, which a server may keep for ``wait`` until it has work.

        A server that has not answered ``within`` so long after that is given up for the next one.

        Cancelled, it may have been answered: then the next request is this one again, whatever it asks; a server that
        has answered it does so alike, and one that has not answers what is asked last.

        Raises:
            HarpoonError: As by `Way.exchange`.
        """
        renewals = 0
        while True:
            try:
                answer = await self._servers.exchange(self._caller.namespace, self._body(asked, wait), wait + within)
            except Conflict as error:
                renewals += 1
                if renewals > _RENEWALS_MAX:
                    raise
                _log.warning("session_renewed", worker=self._caller.worker, reason=str(error))
                self._begin()
                continue
            self._seq += 1
            return answer

    def _body(self, asked: Mapping[str, object], wait: timedelta) -> bytes:
        caller = self._caller
        body: dict[str, Any] = {
            "worker": caller.worker,
            "session": self._id,
            "seq": self._seq,
            "handlers": list(caller.handlers),
            "want": 0,
            "wait": format_duration(wait),
            **asked,
        }
        return orjson.dumps(body)

    def _begin(self) -> None:
        self._id, self._seq = secrets.token_hex(_ID_BYTES), 1
