"""A registry as a file: how it is written, and how it is read without believing any of it.

Lines of JSON, each ended by a line feed:

1. what it is of: ``{"format": "harpoon-backup", "v": 1, "cluster", "incarnation", "revision", "at_ms", "version"}``;
2. its records in the order of their keys, all of that one revision: ``{"key", "value"}``. A value is the record's text
   as a JSON string; one that is no UTF-8 (none of ours is) stands as ``{"key", "base64"}`` instead;
3. ``{"records": how many, "digest": "sha256:…"}``, the digest of `store.arrival.Tally`. Without this line it is none.

What is leased is not in it, nor the cluster's record, which the first line stands for.
"""

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.store import cluster
from harpoon.store.arrival import Tally, is_carried
from harpoon.store.cluster import CLUSTER, REGISTRY, Cluster
from harpoon.store.port import COMMIT_BYTES_MAX, Entry, Store

FORMAT: Final = "harpoon-backup"
#: Of the format; a file with a higher one is of a later release.
V: Final = 1
#: Of one line: a record is at most 1 MiB, and twice that when it is written as JSON within JSON.
LINE_BYTES_MAX: Final = (2 << 20) + (64 << 10)
#: Lines are handed on by about so many bytes.
_PIECE_BYTES: Final = 64 << 10
#: More than any revision or clock comes to.
_WHOLE_MAX: Final = 10**18


class Header(NamedTuple):
    """What a backup says of itself."""

    #: Whose registry it is, and in which life it was.
    cluster: Cluster
    revision: int
    #: UTC milliseconds.
    at_ms: int
    #: The release that wrote it.
    version: str


@dataclass(frozen=True, slots=True)
class Whole:
    """A backup that was read to its end, and found whole."""

    header: Header
    records: int
    size: int
    digest: str


async def write(store: Store, about: Cluster, *, at_ms: int, version: str) -> AsyncGenerator[bytes, None]:
    """Yield a store's registry, some lines at a time; of it, little more than a page of a list is in memory.

    Args:
        store: Servers may go on with it: what they change meanwhile is not in the backup.
        about: Whose registry that is.
        at_ms: Now, UTC.
        version: Of this release.

    Raises:
        HarpoonError: It is another registry than ``about``, or has a record that cannot be written.
        StoreUnavailable: The store could not answer, or did not keep the revision for long enough.
    """
    tally, piece, size = Tally(), list[bytes](), 0
    async for page in store.list(REGISTRY):
        if not tally.revision:
            tally.revision = page.revision
            piece.append(_header(Header(about, page.revision, at_ms, version)))
        for entry in page.entries:
            if entry.key == CLUSTER and cluster.read(entry.value) != about:
                raise HarpoonError("the store holds another registry than it did; nothing of it was kept")
            if is_carried(entry.key):
                tally.add(entry)
                piece.append(_line(entry))
                size += len(piece[-1])
            if size >= _PIECE_BYTES:
                yield b"".join(piece)
                piece, size = [], 0
    piece.append(_dump({"records": tally.records, "digest": f"sha256:{tally.digest}"}))
    yield b"".join(piece)


def _header(header: Header) -> bytes:
    about, revision, at_ms, version = header
    return _dump(
        {
            "format": FORMAT,
            "v": V,
            "cluster": about.id,
            "incarnation": about.incarnation,
            "revision": revision,
            "at_ms": at_ms,
            "version": version,
        }
    )


def _line(entry: Entry) -> bytes:
    try:
        line = _dump({"key": entry.key, "value": entry.value.decode()})
    except UnicodeDecodeError:
        line = _base64(entry)
    if len(line) > LINE_BYTES_MAX:
        line = _base64(entry)
    if len(line) > LINE_BYTES_MAX:
        raise HarpoonError(f"{entry.key[:200]} is too large for a backup")
    return line


def _base64(entry: Entry) -> bytes:
    return _dump({"key": entry.key, "base64": base64.b64encode(entry.value).decode()})


def _dump(told: dict[str, Any]) -> bytes:
    return orjson.dumps(told) + b"\n"


class Reading:
    """Reads a backup line by line; what is wrong is told with the line's number."""

    def __init__(self) -> None:
        self.number = 0
        self.tally = Tally()
        self._header: Header | None = None
        self._last_key = ""
        self._is_whole = False

    def take(self, line: bytes) -> Entry | None:
        """Take the next line, with its end; return the record that it holds, if it holds one.

        Raises:
            Invalid: It is not what belongs there.
        """
        self.number += 1
        if len(line) > LINE_BYTES_MAX:
            raise self._wrong(f"it is longer than {LINE_BYTES_MAX} bytes, which no record is")
        if not line.endswith(b"\n"):
            raise self._wrong("it breaks off, so the backup is not whole: take another copy of the file")
        if self._is_whole:
            raise self._wrong("something follows the last line of the backup")
        told = self._object(line)
        if self._header is None:
            self._header = self._begin(told)
            return None
        if told.keys() == {"records", "digest"}:
            self._end(told)
            return None
        entry = self._record(told)
        self.tally.add(entry)
        return entry

    def whole(self) -> Whole:
        """Return what was read, once all lines were taken.

        Raises:
            Invalid: The last one is missing.
        """
        if self._header is None or not self._is_whole:
            self.number += 1
            raise self._wrong("the last line is missing, so the backup is not whole: take another copy of the file")
        return Whole(self._header, self.tally.records, self.tally.size, self.tally.digest)

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict):
            foreign = "this is no harpoon backup" if self._header is None else "it is damaged"
            raise self._wrong(f"{foreign}: the line holds no JSON object")
        return told

    def _begin(self, told: dict[str, Any]) -> Header:
        if told.get("format") != FORMAT:
            raise self._wrong(f"this is no harpoon backup: it does not begin with {{'format': '{FORMAT}'}}")
        version = told.get("version")
        if told.get("v") != V:
            said = f"; harpoon {version:.40} wrote it" if isinstance(version, str) else ""
            raise self._wrong(f"its format is v {told.get('v')!r:.20}, and this release reads v {V}{said}")
        identity = told.get("cluster")
        incarnation, revision, at_ms = (_number(told.get(name)) for name in ("incarnation", "revision", "at_ms"))
        is_told = isinstance(identity, str) and isinstance(version, str)
        if not is_told or not incarnation or not revision or not at_ms:
            raise self._wrong("it is damaged: it names no cluster, incarnation, revision, at_ms and version")
        return Header(Cluster(str(identity), incarnation), revision, at_ms, str(version))

    def _record(self, told: dict[str, Any]) -> Entry:
        key, value = told.get("key"), _value(told)
        if not isinstance(key, str) or value is None:
            raise self._wrong("it is damaged: it is neither a record nor the last line")
        if not key.startswith(REGISTRY) or not is_carried(key):
            raise self._wrong(f"{key[:200]!r} belongs into no backup")
        if key <= self._last_key:
            raise self._wrong(f"{key[:200]!r} is out of order")
        if len(key.encode()) + len(value) > COMMIT_BYTES_MAX:
            raise self._wrong(f"{key[:200]!r} is larger than a record can be")
        self._last_key = key
        return Entry(key, value, 0, 0)

    def _end(self, told: dict[str, Any]) -> None:
        records, digest = self.tally.records, f"sha256:{self.tally.digest}"
        if told != {"records": records, "digest": digest}:
            raise self._wrong(
                f"it is damaged: the backup is said to have {told['records']!r:.20} records of {told['digest']!r:.80}, "
                f"and has {records} of {digest}"
            )
        self._is_whole = True

    def _wrong(self, detail: str) -> Invalid:
        return Invalid(f"line {self.number}: {detail}")


def _number(told: object) -> int:
    """Return a whole number above 0 as it is told, or 0."""
    return told if type(told) is int and 0 < told < _WHOLE_MAX else 0


def _value(told: dict[str, Any]) -> bytes | None:
    """Return a record's value, or None when it has none."""
    match told:
        case {"key": _, "value": str(text), **more} if not more:
            return text.encode()
        case {"key": _, "base64": str(text), **more} if not more:
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                return None
        case _:
            return None


def inspect(path: Path) -> Whole:
    """Read a backup to its end.

    Raises:
        Invalid: It is none, is damaged or not whole, or cannot be read.
    """
    reading = Reading()
    try:
        with path.open("rb") as file:
            for line in _lines(file):
                reading.take(line)
        return reading.whole()
    except Invalid as error:
        raise Invalid(f"{path}, {error}") from error
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}") from error


async def entries(path: Path, reading: Reading) -> AsyncIterator[Entry]:
    """Yield the records of a backup, by way of a new ``reading``, which is complete afterwards.

    Raises:
        Invalid: It is none, is damaged or not whole, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            for line in _lines(file):
                entry = reading.take(line)
                if entry is not None:
                    yield entry
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}") from error
    reading.whole()


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines with their ends; of one that is too long, no more than tells so."""
    while line := file.readline(LINE_BYTES_MAX + 1):
        yield line
