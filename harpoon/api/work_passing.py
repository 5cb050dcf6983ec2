"""The way of a worker's request to other instances; see `harpoon.control.work_errand`."""

from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from aiohttp import hdrs, web

from harpoon.api.doors import DOORS
from harpoon.api.pages import PASSED_ON
from harpoon.api.problem import request_id
from harpoon.client.peer import PASSED_WITHIN_S, PassedOn, PeerClient
from harpoon.control.ledger_records import SHARDS, shard_of
from harpoon.control.runs import SHARD_HOLDS, shard_name
from harpoon.kit.errors import Conflict, Unavailable

#: Another instance is looked at for so long at a time.
LOOK_S: Final = 25
_NAMES: Final = tuple(SHARD_HOLDS + shard_name(shard) for shard in range(SHARDS))


class Passing:
    """The other instances, as a request of a worker may ask them: by its token, and once.

    Args:
        request: Of the worker.
        peers: Asks instances.
    """

    def __init__(self, request: web.Request, peers: PeerClient) -> None:
        self._request = request
        self._peers = peers
        self._doors = request.app[DOORS]
        self._urls = self._find()

    def __bool__(self) -> bool:
        return bool(self._urls)

    def holder_of(self, key: str) -> str | None:
        """Return the other instance that conducts a run; None: none that can be asked."""
        row = self._doors.view.holds.rows.get(_NAMES[shard_of(key)])
        return row.value.instance if row is not None and row.value.instance in self._urls else None

    def others(self) -> Sequence[str]:
        """Return the other instances that conduct any runs."""
        return tuple(self._urls)

    async def ask(self, instance: str, body: bytes, within_s: float) -> bytes:
        """Pass on a request of a worker, and return its answer.

        Raises:
            Unavailable: There is none.
            Conflict: It is refused, and would be again.
        """
        told = await self._send(instance, "", body, within_s)
        if told.status == 200:
            return told.body
        detail = f"{instance} answered {told.status}"
        raise Conflict(detail) if told.status < 500 and told.status != 429 else Unavailable(detail)

    async def look(self, instance: str, handlers: Sequence[str]) -> bool:
        """Wait until an instance has something for these handlers; False: not now, ask again.

        Raises:
            Unavailable: It does not answer.
        """
        body = orjson.dumps({"handlers": handlers, "wait": f"{LOOK_S}s"})
        told = await self._send(instance, "/look", body, LOOK_S + PASSED_WITHIN_S)
        if told.status != 200:
            raise Unavailable(f"{instance} answered {told.status}")
        return bool(orjson.loads(told.body)["ready"])

    async def _send(self, instance: str, path: str, body: bytes, within_s: float) -> PassedOn:
        url = self._urls.get(instance)
        if url is None:
            raise Unavailable(f"there is no instance {instance} any more")
        sent = {
            PASSED_ON: self._doors.instance,
            "X-Request-Id": request_id.get(),
            str(hdrs.CONTENT_TYPE): "application/json",
        }
        if hdrs.AUTHORIZATION in self._request.headers:
            sent[str(hdrs.AUTHORIZATION)] = self._request.headers[hdrs.AUTHORIZATION]
        where = self._request.rel_url.raw_path + path
        return await self._peers.pass_on("POST", url, where, sent, body=body, within_s=within_s)

    def _find(self) -> Mapping[str, str]:
        """Return the other instances that conduct any runs, and where they are."""
        view = self._doors.view
        rows = [row for name in _NAMES if (row := view.holds.rows.get(name)) is not None]
        found = {}
        for instance in sorted({row.value.instance for row in rows} - {self._doors.instance}):
            known = view.instances.rows.get(instance)
            if known is not None and known.value.url:
                found[instance] = known.value.url
        return found
