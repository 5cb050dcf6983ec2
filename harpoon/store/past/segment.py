"""Segments: what is known of each without reading it whole, and reading one, as far as it is what was written."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from harpoon.store.cluster import Cluster
from harpoon.store.past.line import LINE_BYTES_MAX, Damaged, End, Header, Item, Record, Whole, read, unsealed

SUFFIX: Final = ".history"
#: Of the end of a file, as much as holds its last line, if that is the one that ends a segment.
_END_BYTES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What one segment covers; it never changes, so that whoever reads has one and the writer another."""

    #: Its number; segments that go on from one another have numbers that follow one another.
    number: int
    path: Path
    about: Cluster
    #: Of its snapshot, and when that was seen.
    start: int
    start_ms: int
    #: Up to here it tells all, and until then.
    end: int
    end_ms: int
    #: Bytes of good lines.
    size: int
    #: Of these, the header and the snapshot.
    snapshot_size: int
    continues: bool
    #: Why it does not.
    reason: str

    def told(self, record: Record, size: int) -> "Span":
        """Return what it covers once a record was added, which took so many bytes."""
        return replace(self, end=record.revision, end_ms=record.at_ms, size=self.size + size)


def path_of(directory: Path, number: int) -> Path:
    """Return where a segment is."""
    return directory / f"{number:010d}{SUFFIX}"


def numbers(directory: Path) -> list[int]:
    """Return the numbers of the segments in a directory, lowest first."""
    stems = [path.name.removesuffix(SUFFIX) for path in directory.iterdir() if path.name.endswith(SUFFIX)]
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())


def items(file: BinaryIO, size: int | None = None) -> Iterator[tuple[int, Item]]:
    """Yield what the lines of a segment say, each with the place of the line's end.

    Args:
        file: At its beginning.
        size: No further than that; to the end when absent.

    Raises:
        Damaged: A line is torn, or not what was written; all before it was yielded.
    """
    place = 0
    while size is None or place < size:
        line = file.readline(LINE_BYTES_MAX)
        if not line:
            if size is not None:
                raise Damaged("it ends before its time")
            return
        item = read(unsealed(line))
        place += len(line)
        yield place, item


def scan(directory: Path, number: int) -> Span | None:
    """Read a segment whole, and return what it covers, up to its first bad line; None: it holds no whole snapshot.

    Raises:
        OSError: It cannot be read.
    """
    path = path_of(directory, number)
    header: Header | None = None
    span: Span | None = None
    with path.open("rb") as file:
        try:
            for place, item in items(file):
                match item:
                    case Header():
                        header = item
                    case Whole() if header is not None:
                        span = _begun(number, path, header, place)
                    case Record() if span is not None and item.revision >= span.end:
                        span = replace(span, end=item.revision, end_ms=item.at_ms, size=place)
                    case End():
                        break
                    case _:
                        if span is not None:
                            break
        except Damaged:
            return span
    return span


def glance(directory: Path, number: int) -> Span | None:
    """Return what a segment covers that another one goes on from, by its first and its last line; None: it is not such.

    Raises:
        OSError: It cannot be read.
    """
    path = path_of(directory, number)
    with path.open("rb") as file:
        try:
            _, header = next(items(file))
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _END_BYTES))
            last = read(unsealed(file.read().splitlines(keepends=True)[-1]))
        except (Damaged, StopIteration, IndexError):
            return None
    if not isinstance(header, Header) or not isinstance(last, End):
        return None
    span = _begun(number, path, header, size)
    return replace(span, end=last.revision, end_ms=last.at_ms)


def _begun(number: int, path: Path, header: Header, size: int) -> Span:
    return Span(
        number=number,
        path=path,
        about=header.about,
        start=header.revision,
        start_ms=header.at_ms,
        end=header.revision,
        end_ms=header.at_ms,
        size=size,
        snapshot_size=size,
        continues=header.continues,
        reason=header.reason,
    )
