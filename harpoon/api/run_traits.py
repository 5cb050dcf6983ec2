"""Of which workflow runs are, and with which tags: what their events do not say, kept for those who select by it."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import structlog

from harpoon.api.run_selection import RunTraits
from harpoon.control.run_changes import Record
from harpoon.control.run_reader import RunReader
from harpoon.kit.errors import Invalid
from harpoon.model.header import Header
from harpoon.store.port import Store

#: Runs that are known, those heard of last: some 300 bytes each.
KNOWN_MAX: Final = 50_000

_log = structlog.get_logger(__name__)


class KnownRuns:
    """Knows the traits of runs that were heard of; they never change, so what is known stays right."""

    def __init__(self, store: Store) -> None:
        self._reader = RunReader(store)
        self._known: OrderedDict[str, RunTraits] = OrderedDict()

    def note(self, key: str, header: Header) -> None:
        """Take down what a header says, given ``<namespace>/<run>``."""
        self._known[key] = RunTraits(header.workflow, header.tags)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    async def of(self, records: Iterable[Record]) -> dict[str, RunTraits | None]:
        """Return the traits of the runs that records are of, by ``<namespace>/<run>``; None: it is not kept any more.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        found: dict[str, RunTraits | None] = {}
        for key in dict.fromkeys(record.key for record in records):
            if key not in self._known:
                await self._read(key)
            if key in self._known:
                self._known.move_to_end(key)
            found[key] = self._known.get(key)
        return found

    async def _read(self, key: str) -> None:
        try:
            header = await self._reader.header(key)
        except Invalid as error:
            _log.warning("run_unreadable", run=key, reason=str(error))
            return
        if header is not None:
            self.note(key, header)
