"""Repairing runs, open or over: what is over is read from the store again, and conducted from then on.

Only the conductor of a shard writes its runs, so what it neither conducts nor is about to make durable stands in the
store as it ended, and stays so while one thing at a time is brought back here (`Reopening.lock`) and nothing purges it
(`Purging`): 1. A run is read to be repaired. 2. Retention, which looked before, wants to delete it. 3. Whoever says so
first has it: what is being purged is not brought back, and what was brought back is not purged.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harpoon.control.conducted import Conducted
from harpoon.control.ledger_records import fixed_of_ended, load_header, run_key
from harpoon.control.refolding import GraphOf, graphs_of, moves_of, refolded
from harpoon.control.run_reader import RunReader
from harpoon.core.event import Event
from harpoon.core.run import Run
from harpoon.kit.errors import Conflict, Gone, Invalid, NotFound
from harpoon.model.header import Header

#: Decides about a run, now; raises `harpoon.core.step.Refused`.
Decide = Callable[[Run, int], list[Event]]


class Reopening:
    """What keeps those who bring ended runs of a shard back from those who delete them."""

    def __init__(self) -> None:
        #: One at a time is brought back.
        self.lock = asyncio.Lock()
        self._leaving: set[str] = set()

    @contextmanager
    def purging(self, key: str) -> Iterator[None]:
        """Have a run not brought back while the block runs."""
        self._leaving.add(key)
        try:
            yield
        finally:
            self._leaving.discard(key)

    def check(self, key: str) -> None:
        """Refuse what is being deleted.

        Raises:
            Gone: It is.
        """
        if key in self._leaving:
            raise Gone(f"run {key.partition('/')[2]} is just being deleted, for it ended long ago", oldest="")


async def ended_run(reader: RunReader, graph_of: GraphOf, key: str, base: str) -> Conducted:
    """Return a run that is over, read from the store; ``base`` is as of `refolded`.

    Raises:
        NotFound: It is not kept, or is not over.
        Conflict: The form of the workflow that it is on is not kept, or its log cannot be read.
        StoreUnavailable: The store could not answer.
    """
    record = await reader.record(key)
    header = None if record is None else load_header(record)
    if record is None or header is None or not header.status.is_over:
        raise NotFound(f"run {key.partition('/')[2]} is not over")
    if header.caller is not None:
        # What has called it has gone on by how it ended.
        raise Conflict(f"run {header.run} was called by run {header.caller.run}, and is over; repair that one")
    run, moved = await again(reader, graph_of, header, base)
    fixed = fixed_of_ended(record)
    return Conducted(run, header, fixed, max(0, header.bytes - len(fixed)), moved)


async def again(reader: RunReader, graph_of: GraphOf, header: Header, base: str = "") -> tuple[Run, tuple[str, ...]]:
    """Return a run as the store has it, given its header; and the generations that it was moved to.

    Raises:
        Conflict: The form of the workflow that it is on is not kept, or its log cannot be read.
        StoreUnavailable: The store could not answer.
    """
    with unread(header):
        events = await reader.events(run_key(header.namespace, header.run), header)
        try:
            graphs = await graphs_of(header, events, graph_of)
        except NotFound as error:
            raise Conflict(f"{error}, so run {header.run} cannot go on; start another one") from error
        return await asyncio.to_thread(refolded, header, graphs, events, base), moves_of(events)


@contextmanager
def unread(header: Header) -> Iterator[None]:
    """Have whatever a log does not fit told as a conflict with this release.

    Raises:
        Conflict: It does not.
    """
    try:
        yield
    except (Invalid, AssertionError, LookupError, TypeError, ValueError) as error:
        raise Conflict(f"the log of run {header.run} cannot be read by this release: {error!r}") from error
