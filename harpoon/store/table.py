"""Typed tables: the decoded records under one prefix of the store. A `harpoon.store.mirror.Mirror` fills them."""

import asyncio
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, TypeVar

import structlog

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.store.grouped import Grouped
from harpoon.store.port import Entry

#: A record beyond that is decoded beside the loop, some milliseconds' work.
LARGE_BYTES: Final = 64 << 10
#: Records that were written here and have not come back yet; beyond, they are decoded like others.
_EXPECTED_MAX: Final = 50_000

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A decoded record."""

    value: T
    create_revision: int
    mod_revision: int


class RowChange(NamedTuple):
    """One row before and after a revision; never both None."""

    table: "Table[Any]"
    #: What follows the table's prefix.
    key: str
    old: Row[Any] | None
    new: Row[Any] | None


class Table(Generic[T]):
    """The typed mirror of one prefix; filled by its `Mirror`.

    Args:
        name: For people.
        prefix: Ends with a slash.
        kind: What the records are.
        is_grouped: Keys are ``<group>/<name>``, and `group` is of use.
    """

    def __init__(self, name: str, prefix: str, kind: type[T], *, is_grouped: bool = False) -> None:
        self.name = name
        self.prefix = prefix
        self.kind = kind
        self._rows: MutableMapping[str, Row[T]] = Grouped() if is_grouped else {}
        #: Key after the prefix → row.
        self.rows: Mapping[str, Row[T]] = MappingProxyType(self._rows)
        self._expected: dict[str, tuple[bytes, T]] = {}
        self._unreadable: dict[str, int] = {}
        #: Records that cannot be decoded → their revision. They are not in ``rows``, which does not mean they do not
        #: exist: whoever takes an absent row for a reason to act must look here too.
        self.unreadable: Mapping[str, int] = MappingProxyType(self._unreadable)

    def groups(self) -> list[str]:
        """Return the names of a grouped table's groups."""
        assert isinstance(self._rows, Grouped)
        return self._rows.groups()

    def snapshot(self) -> Mapping[str, Row[T]]:
        """Return the rows as they stand now; they may change, it does not."""
        return self._rows.copy() if isinstance(self._rows, Grouped) else dict(self._rows)

    def group(self, name: str) -> Mapping[str, Row[T]]:
        """Return the rows whose keys begin with ``<name>/``, by what follows; for reading, until the next await only.

        The table must be a grouped one.
        """
        assert isinstance(self._rows, Grouped)
        return self._rows.group(name)

    def expect(self, key: str, value: T, raw: bytes) -> None:
        """Take ``value`` for what ``raw`` says, when that comes to stand under ``key``; whoever writes it knows."""
        if len(self._expected) >= _EXPECTED_MAX:
            self._expected.clear()
        self._expected[key] = (raw, value)

    def compare(self, key: str, entry: Entry | None) -> RowChange | None:
        """Return what changes if the record under ``key`` is ``entry``, or None if nothing does. For the mirror."""
        old = self._rows.get(key)
        new = None if entry is None else self._decode(key, entry)
        if entry is None:
            self._unreadable.pop(key, None)
        # Whether a large value is another one takes long to see, and mostly its revision tells.
        is_same = old == new if old is None or new is None else old.mod_revision == new.mod_revision and old == new
        return None if is_same else RowChange(self, key, old, new)

    async def read_large(self, key: str, entry: Entry) -> None:
        """Decode a large record, which `compare` is given next, beside the loop: it would be held for too long."""
        if self._expected.get(key, (b"",))[0] != entry.value:
            # What cannot be read is told when it is compared.
            with suppress(Invalid):
                self.expect(key, await asyncio.to_thread(codec.load, self.kind, entry.value), entry.value)

    def adopt(self, change: RowChange) -> None:
        """Make a change come true. For the mirror."""
        if change.new is None:
            del self._rows[change.key]
        else:
            self._rows[change.key] = change.new

    def _decode(self, key: str, entry: Entry) -> Row[T] | None:
        if self._unreadable.get(key) == entry.mod_revision:
            return None
        raw, expected = self._expected.pop(key, (None, None))
        try:
            value = expected if expected is not None and raw == entry.value else codec.load(self.kind, entry.value)
        except Invalid as error:
            self._unreadable[key] = entry.mod_revision
            _log.error("record_unreadable", table=self.name, key=key, revision=entry.mod_revision, reason=str(error))
            return None
        self._unreadable.pop(key, None)
        # Mostly it was never written again; then one number does for both.
        mod = entry.mod_revision
        return Row(value, mod if entry.create_revision == mod else entry.create_revision, mod)
