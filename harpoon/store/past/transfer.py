"""A history as one file: lines of JSON that another directory is made of, none of them believed.

The first tells what it is, the last how many lines there are between and their digest; without that it is not whole.
Between stand the lines of segments as they are, without their checksums. A segment is written from its snapshot on.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

from harpoon.kit.errors import Invalid
from harpoon.store.past.archive import Archive, Draft
from harpoon.store.past.budget import Budget
from harpoon.store.past.fold import NotKept, Point, Revision, external
from harpoon.store.past.line import LINE_BYTES_MAX, Damaged, End, Header, Record, Whole, read, unsealed
from harpoon.store.past.segment import SUFFIX, Span

FORMAT: Final = "harpoon-history-export"
V: Final = 1
#: Nothing is deleted while a history is brought in.
_EVERYTHING: Final = Budget(size=1 << 60)


class Brought(NamedTuple):
    """What was brought in."""

    #: The first revision.
    start: str
    records: int
    size: int
    digest: str


class Tally:
    """Counts lines, and makes the digest of them."""

    def __init__(self) -> None:
        self.lines = 0
        self.size = 0
        self._hash = hashlib.sha256()

    def add(self, line: bytes) -> bytes:
        """Take note of a line with its end, and return it."""
        self.lines += 1
        self.size += len(line)
        self._hash.update(line)
        return line

    @property
    def last(self) -> dict[str, Any]:
        """What the last line says."""
        return {"lines": self.lines, "digest": f"sha256:{self._hash.hexdigest()}"}


def chosen(spans: Sequence[Span], since: Point | None, until: Point | None) -> tuple[Span, ...]:
    """Return the segments that hold something between two points; the first begins with the snapshot before it."""
    return tuple(
        span for span in spans if _ends_after(span, since) and (until is None or not _begins_after(span, until))
    )


def _ends_after(span: Span, since: Point | None) -> bool:
    match since:
        case None:
            return True
        case Revision():
            return (span.about.incarnation, span.end) >= since
        case _:
            return span.end_ms >= since.at_ms


def _begins_after(span: Span, until: Point) -> bool:
    if isinstance(until, Revision):
        return (span.about.incarnation, span.start) > until
    return span.start_ms > until.at_ms


def lines(spans: Iterable[Span], until: Point | None, *, version: str, at_ms: int) -> Iterator[bytes]:
    """Yield the lines of an export; of it, no more than a line is in memory. It blocks.

    Args:
        spans: Of `chosen`.
        until: Records beyond are left out.
        version: Of this release.
        at_ms: Now, UTC.

    Raises:
        NotKept: A segment is gone or damaged.
    """
    tally = Tally()
    yield _dump({"format": FORMAT, "v": V, "version": version, "at_ms": at_ms})
    for span in spans:
        try:
            with span.path.open("rb") as file:
                for told in _told(file, span, until):
                    yield tally.add(told + b"\n")
        except (OSError, Damaged) as error:
            raise NotKept(f"segment {span.number} of the history cannot be read: {error}") from error
    yield _dump(tally.last)


def _told(file: BinaryIO, span: Span, until: Point | None) -> Iterator[bytes]:
    place = 0
    while place < span.size:
        line = file.readline(LINE_BYTES_MAX)
        told = unsealed(line)
        place += len(line)
        if until is not None:
            item = read(told)
            if isinstance(item, Record) and _is_beyond(item, span, until):
                return
        yield told


def _is_beyond(record: Record, span: Span, until: Point) -> bool:
    if isinstance(until, Revision):
        return (span.about.incarnation, record.revision) > until
    return record.at_ms > until.at_ms


def _dump(told: dict[str, Any]) -> bytes:
    return orjson.dumps(told) + b"\n"


class Reading:
    """Reads an export line by line, and tells what is wrong with it by the line's number."""

    def __init__(self) -> None:
        self.tally = Tally()
        #: Of the line that was taken last.
        self.number = 0
        self._is_whole = False

    def take(self, line: bytes) -> bytes | None:
        """Take the next line, with its end; return what it says if it is of a segment.

        Raises:
            Invalid: It is not what belongs there.
        """
        self.number += 1
        if self._is_whole:
            raise self.wrong("something follows the last line")
        if not line.endswith(b"\n"):
            raise self.wrong("it breaks off, so it is not whole: export it again")
        if self.number == 1:
            self._begin(_said(line))
            return None
        if line.startswith(b'{"lines":'):
            if _said(line) != self.tally.last:
                raise self.wrong("it is damaged: it has other lines than those that its last one tells of")
            self._is_whole = True
            return None
        return self.tally.add(line)[:-1]

    def check_whole(self) -> None:
        """Check that all lines were taken.

        Raises:
            Invalid: The last one is missing.
        """
        if not self._is_whole:
            self.number += 1
            raise self.wrong("the last line is missing, so it is not whole: export it again")

    def wrong(self, detail: str) -> Invalid:
        """Make the error that tells what is wrong with the last line."""
        return Invalid(f"line {self.number}: {detail}")

    def _begin(self, said: dict[str, Any]) -> None:
        if said.get("format") != FORMAT:
            raise self.wrong(f"this is no exported history: it does not begin with {{'format': '{FORMAT}'}}")
        if said.get("v") != V:
            raise self.wrong(f"its format is v {said.get('v')!r:.20}, and this release reads v {V}")


class Importer:
    """Makes a directory of the lines of an export.

    Args:
        directory: Has no history yet.

    Raises:
        Invalid: It has.
        OSError: It cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        if directory.exists() and any(directory.glob(f"*{SUFFIX}")):
            raise Invalid(f"{directory} holds a history already; name another directory")
        self._archive = Archive.open(directory, _EVERYTHING)
        self._draft: Draft | None = None
        self._reading = Reading()
        self._records = 0

    def take(self, line: bytes) -> None:
        """Take the next line, with its end.

        Raises:
            Invalid: It is not what belongs there.
            OSError: It cannot be written.
        """
        told = self._reading.take(line)
        if told is None:
            return
        try:
            self._keep(told)
        except Damaged as error:
            raise self._reading.wrong(str(error)) from error

    def whole(self) -> Brought:
        """Return what was brought in, once all lines were taken.

        Raises:
            Invalid: The last one is missing.
        """
        self._reading.check_whole()
        if self._draft is not None or not self._archive.spans:
            raise self._reading.wrong("it ends within a snapshot")
        tally = self._reading.tally
        first = self._archive.spans[0]
        return Brought(external(first, first.start), self._records, tally.size, str(tally.last["digest"]))

    def close(self, *, is_kept: bool) -> None:
        """Let go of the directory; what is not kept is deleted."""
        if self._draft is not None:
            self._draft.drop()
        spans = self._archive.spans
        self._archive.close()
        if not is_kept:
            for span in spans:
                span.path.unlink(missing_ok=True)

    def _keep(self, told: bytes) -> None:
        draft = self._draft
        match item := read(told):
            case Header() if draft is None:
                self._draft = self._archive.begin(item)
            case Record() if draft is None and self._is_next(item):
                self._archive.append([item])
                self._records += 1
            case End() if draft is None:
                pass
            case Whole() if draft is not None and draft.entries == item.entries:
                draft.finish()
                self._draft = None
            case Header() | Record() | End() | Whole():
                raise Damaged("it does not belong there: a snapshot is whole, and revisions and times rise after it")
            case _ if draft is not None:
                draft.add(item)
            case _:
                raise Damaged("it is of a snapshot that has not begun")

    def _is_next(self, record: Record) -> bool:
        last = self._archive.last
        return last is not None and _is_next(record, last)


def _is_next(record: Record, last: Span) -> bool:
    is_higher = record.revision > last.end or (record.revision == last.end and not record.changes)
    return is_higher and record.at_ms >= last.end_ms


def _said(line: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def bring(path: Path, directory: Path) -> Brought:
    """Make a directory of an exported history, whole or not at all.

    Raises:
        Invalid: It is none, is damaged or not whole; or the directory holds a history, or cannot be written.
    """
    try:
        with path.open("rb") as file:
            importer = Importer(directory)
            is_kept = False
            try:
                while line := file.readline(LINE_BYTES_MAX):
                    importer.take(line)
                brought = importer.whole()
                is_kept = True
            finally:
                importer.close(is_kept=is_kept)
    except Invalid as error:
        raise Invalid(f"{path}, {error}" if str(error).startswith("line ") else str(error)) from error
    except OSError as error:
        raise Invalid(f"{error.filename or directory}: {error.strerror or error}") from error
    return brought
