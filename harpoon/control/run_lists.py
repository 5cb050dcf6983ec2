"""Runs in lists: chosen among all that are kept, the latest first."""

import re
from dataclasses import dataclass
from heapq import heappush, heappushpop
from typing import Final

from harpoon.control.run_reader import RunReader
from harpoon.control.run_status import shown_header
from harpoon.kit import codec
from harpoon.model.header import Header

#: Runs that one list holds; of more, the latest.
LISTED_MAX: Final = 20_000
#: How a record of a header begins: by what never changes and no user writes freely.
_BEGINS: Final = re.compile(
    rb'\{(?:"v":\d+,)?"namespace":"[^"]*","run":"[^"]*","workflow":"([^"]*)","generation":"[^"]*","body_hash":"[^"]*",'
    rb'"created_ms":(\d+),'
)
#: Stands in the record of a run that was forked.
_FORKED: Final = b'"forked_ms":'


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChoice:
    """Which runs are wanted."""

    namespace: str | None = None
    workflow: str | None = None
    #: Any of these; empty: all.
    statuses: frozenset[str] = frozenset()
    #: All of these.
    tags: tuple[tuple[str, str], ...] = ()
    #: Only those that wait for somebody to repair them.
    is_parked: bool = False
    #: Begun then or later, and before then; UTC milliseconds.
    since_ms: int | None = None
    until_ms: int | None = None
    #: Only those that this run has started; None: see below.
    parent: str | None = None
    #: Also those that runs have started; else those of users alone.
    has_sub_runs: bool = False

    def takes(self, header: Header) -> bool:
        """Whether a run is among them."""
        return (
            (self.namespace is None or header.namespace == self.namespace)
            and (self.workflow is None or header.workflow == self.workflow)
            and (not self.statuses or header.status.value in self.statuses)
            and (not self.is_parked or header.incidents > 0)
            and self._takes_sub_run(header)
            and (self.since_ms is None or header.begun_ms >= self.since_ms)
            and (self.until_ms is None or header.begun_ms < self.until_ms)
            and all(header.tags.get(name) == value for name, value in self.tags)
        )

    def _takes_sub_run(self, header: Header) -> bool:
        if self.parent is not None:
            return header.caller is not None and header.caller.run == self.parent
        return self.has_sub_runs or header.caller is None

    def may_take(self, record: bytes) -> bool:
        """Whether a run may be among them, by the record of its header: to be found out without taking it apart."""
        begins = _BEGINS.match(record)
        if begins is not None:
            created_ms = int(begins[2])
            if self.workflow is not None and begins[1] != self.workflow.encode():
                return False
            if self.until_ms is not None and created_ms >= self.until_ms:
                return False
            # A fork was created when the run was that it goes back to, and begun later.
            if created_ms < (self.since_ms or 0) and _FORKED not in record:
                return False
        # Wherever else these words stand, of its status they stand so.
        return not self.statuses or any(b'"status":"%b"' % status.encode() in record for status in self.statuses)


async def list_runs(reader: RunReader, choice: RunChoice) -> tuple[list[Header], int]:
    """Return the latest of the runs that are wanted, and how many more there are.

    It looks at the headers of all that are kept, of the namespace if one is named: what that takes goes by their
    number, and by nothing else. Those of other workflows, statuses or times are not taken apart.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    latest: list[tuple[int, str, str, Header]] = []
    count = 0
    async for headers in reader.headers(choice.namespace, choice.may_take):
        for header in headers:
            if not choice.takes(header):
                continue
            count += 1
            entry = (header.begun_ms, header.namespace, header.run, header)
            if count <= LISTED_MAX:
                heappush(latest, entry)
            else:
                heappushpop(latest, entry)
    latest.sort(key=lambda entry: (-entry[0], *entry[1:3]))
    return [header for *_, header in latest], count - len(latest)


def listed_json(header: Header) -> bytes:
    """Return a run as lists tell it."""
    return codec.dump_full(shown_header(header, is_listed=True))
