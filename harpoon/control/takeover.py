"""Taking a shard over: its open runs, read from the store and folded.

It is read after the shard's hold was taken or sealed, so nothing that anybody wrote before can come any more.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from harpoon.control.conducted import Conducted
from harpoon.control.ledger_records import OPEN, Place, fixed_of, is_cut, load_header
from harpoon.control.refolding import GraphOf, graphs_of, moves_of, refolded
from harpoon.control.run_reader import RunReader, events_of
from harpoon.control.turns import Turns
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.run import Status
from harpoon.store.port import Store

#: Shards loaded at a time.
LOADED_AT_ONCE: Final = 2
#: With so many times more runs than open ones, the logs of these are read one by one.
_SPARSE: Final = 16

_log = structlog.get_logger(__name__)


class Loader:
    """Reads the open runs of shards.

    Args:
        store: Where they are.
        reader: Reads the records.
        graph_of: Knows the workflows that they are on.
        turns: What may be done in one turn.
        base: URL that those of callbacks begin with; see `callback_urls`.
    """

    def __init__(self, store: Store, reader: RunReader, graph_of: GraphOf, turns: Turns, base: str = "") -> None:
        self._store = store
        self._reader = reader
        self._graph_of = graph_of
        self._turns = turns
        self._base = base
        self._loading = asyncio.Semaphore(LOADED_AT_ONCE)

    async def load(self, shard: int, enter: Callable[[Conducted], None]) -> int:
        """Have ``enter`` called with each open run of a shard; return how many there are.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        async with self._loading:
            return await self._load(Place.of(shard), enter)

    async def _load(self, place: Place, enter: Callable[[Conducted], None]) -> int:
        total, headers = await self._headers(place)
        if len(headers) * _SPARSE < total:
            logs = {key: await self._records(f"{place.log}{key}/") for key in headers}
        else:
            logs = _by_run(await self._records(place.log), headers)
        loaded = 0
        for key, record in headers.items():
            await self._turns.wait()
            conducted = await self._conducted(key, record, logs.get(key, {}))
            if conducted is not None:
                enter(conducted)
                loaded += 1
        return loaded

    async def _headers(self, place: Place) -> tuple[int, dict[str, bytes]]:
        """Return how many runs are kept, and the records of those that may be open, whole."""
        total, found = 0, {}
        async for page in self._store.list(place.runs):
            total += len(page.entries)
            for entry in page.entries:
                record = await self._reader.record_of(entry) if is_cut(entry.value) else entry.value
                if OPEN in record:
                    found[entry.key.removeprefix(place.runs)] = record
        return total, found

    async def _records(self, prefix: str) -> dict[str, bytes]:
        return {
            entry.key.removeprefix(prefix): entry.value
            async for page in self._store.list(prefix)
            for entry in page.entries
        }

    async def _conducted(self, key: str, record: bytes, log: Mapping[str, bytes]) -> Conducted | None:
        """Return a run as its log has it; None: it is over, or cannot be gone on with."""
        try:
            header = load_header(record)
            if header.status is not Status.RUNNING:
                return None
            events = events_of(header, log)
            graphs = await graphs_of(header, events, self._graph_of)
            run = refolded(header, graphs, events, self._base)
            return Conducted(run, header, fixed_of(record), sum(map(len, log.values())), moves_of(events))
        except (Invalid, NotFound) as error:
            reason = str(error)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            # A log that does not fit its workflow is no reason not to go on with all other runs.
            reason = f"its log does not fit its workflow: {error!r}"
        # It stays as it is: a release that can read it may go on with it.
        _log.error("run_unreadable", run=key, reason=reason)
        return None


def _by_run(records: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Return the records of logs by their runs' keys, of those that are wanted."""
    logs: dict[str, dict[str, bytes]] = {}
    for name, record in records.items():
        key, _, own = name.rpartition("/")
        if key in wanted:
            logs.setdefault(key, {})[own] = record
    return logs
