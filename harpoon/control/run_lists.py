"""Runs in lists: chosen among all that are kept, the latest first."""

from dataclasses import dataclass
from heapq import heappush, heappushpop
from typing import Final

from harpoon.control.run_reader import RunReader
from harpoon.control.run_status import shown_header
from harpoon.model.header import Header
from harpoon.model.run_shown import RunObject

#: Runs that one list holds; of more, the latest.
LISTED_MAX: Final = 20_000


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

    def takes(self, header: Header) -> bool:
        """Whether a run is among them."""
        return (
            (self.namespace is None or header.namespace == self.namespace)
            and (self.workflow is None or header.workflow == self.workflow)
            and (not self.statuses or header.status.value in self.statuses)
            and (not self.is_parked or header.incidents > 0)
            and all(header.tags.get(name) == value for name, value in self.tags)
        )


async def list_runs(reader: RunReader, choice: RunChoice) -> tuple[list[RunObject], int]:
    """Return the latest of the runs that are wanted, and how many more there are.

    It looks at the headers of all that are kept, of the namespace if one is named.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    latest: list[tuple[int, str, str, RunObject]] = []
    count = 0
    async for headers in reader.headers(choice.namespace):
        for header in headers:
            if not choice.takes(header):
                continue
            count += 1
            shown = shown_header(header, is_listed=True)
            entry = (shown.created_ms, header.namespace, header.run, shown)
            if count <= LISTED_MAX:
                heappush(latest, entry)
            else:
                heappushpop(latest, entry)
    latest.sort(key=lambda entry: (-entry[0], *entry[1:3]))
    return [run for *_, run in latest], count - len(latest)
