"""Revisions that the view no longer keeps, read from the store itself, in the form that the view tells them.

The store's history has no "before". What a row was is known only once it occurred in what was read; until then it is
`FORGOTTEN`, so that its leaving a selection is told rather than kept silent. The rows beside it are those of the
oldest revision that the view keeps: exact, unless they too changed further on in the history.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from harpoon.api.items import FORGOTTEN, Scene, tables_of
from harpoon.api.selection import Kind
from harpoon.control.view import ROOT, View
from harpoon.kit import codec
from harpoon.kit.errors import Gone, Invalid
from harpoon.store.port import Change, Compacted, Entry, Store
from harpoon.store.table import Row, RowChange, Table


class History:
    """What happened after a revision, up to what the view keeps."""

    def __init__(self, store: Store, view: View) -> None:
        self._store = store
        self._view = view
        self._tables = tables_of(view, Kind)
        self._seen: dict[tuple[int, str], Row[Any] | None] = {}
        #: Stands where the reader is.
        self.scene = Scene(view, view.mirror.since(view.mirror.oldest) or (), lasting=self._tables)

    async def check(self, after: int, *, within_s: float) -> None:
        """Find out whether the store still has what happened after a revision.

        Raises:
            Gone: It has not.
        """
        await check_kept(self._store, self._view, ROOT, after, within_s=within_s)

    async def read(self, after: int) -> AsyncIterator[tuple[int, tuple[RowChange, ...]]]:
        """Yield every revision after one until the view keeps those that follow; the scene goes along.

        Raises:
            Compacted: The history is gone.
            SlowWatcher: The reader fell behind; it may go on where it stopped.
        """
        stream = self._store.watch(ROOT, after=after)
        try:
            async for revision, changes in stream:
                known = self._rows(changes)
                self.scene.play(known)
                yield revision, known
                if self._view.mirror.oldest <= revision:
                    return
        finally:
            await _close(stream)

    def _rows(self, changes: Sequence[Change]) -> tuple[RowChange, ...]:
        known = []
        for key, entry in changes:
            table = next((table for table in self._tables if key.startswith(table.prefix)), None)
            if table is None:
                continue
            short = key.removeprefix(table.prefix)
            is_created = entry is not None and entry.create_revision == entry.mod_revision
            old = self._seen.get((id(table), short), None if is_created else FORGOTTEN)
            new = None if entry is None else _row(table, entry)
            self._seen[id(table), short] = new
            if old is not None or new is not None:
                known.append(RowChange(table, short, old, new))
        return tuple(known)


async def check_kept(store: Store, view: View, prefix: str, after: int, *, within_s: float) -> None:
    """Find out whether the store still has what happened under a prefix after a revision.

    Raises:
        Gone: It has not.
    """
    stream = store.watch(prefix, after=after)
    try:
        async with asyncio.timeout(within_s):
            await anext(stream)
    except Compacted as error:
        raise gone(view, error) from error
    except TimeoutError:
        # Nothing happened since, so nothing is missing either.
        return
    finally:
        await _close(stream)


def gone(view: View, error: Compacted) -> Gone:
    """Make the error that tells from where a watch can be resumed."""
    oldest = view.external(error.oldest)
    return Gone(f"the history before {oldest} is no longer kept; start afresh, with a snapshot", oldest=oldest)


def _row(table: Table[Any], entry: Entry) -> Row[Any] | None:
    """Return the row that a record makes; none when it cannot be read, as in the view."""
    try:
        value = codec.load(table.kind, entry.value)
    except Invalid:
        return None
    return Row(value, entry.create_revision, entry.mod_revision)


async def _close(stream: AsyncIterator[Any]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
