"""The directory of a history, written by one process: segments begun, added to, gone on with in a next one, deleted.

All of it blocks, so it belongs to a thread; `spans` may be read from any. Once something could not be written nothing
more is: what follows would seem to follow what was before. Opening the directory again finds what is good.
"""

import fcntl
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from harpoon.store.past.budget import Budget
from harpoon.store.past.fold import Revision, fold
from harpoon.store.past.line import End, Header, Record, Whole, pieces, sealed, written
from harpoon.store.past.segment import Span, glance, numbers, path_of, scan
from harpoon.store.port import Entry

_LOCK: Final = "lock"
_UNFINISHED: Final = ".unfinished"

_log = structlog.get_logger(__name__)


class Taken(OSError):
    """Another process keeps its history there."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} is another process's: each instance keeps its history in a directory of its own")


class Archive:
    """An open directory; made by `open`."""

    def __init__(self, directory: Path, budget: Budget, lock: int) -> None:
        self.directory = directory
        self.budget = budget
        #: Oldest first.
        self.spans: tuple[Span, ...] = ()
        self._lock = lock
        #: Of the last segment, at its end.
        self._file: int | None = None
        #: The highest there ever was, readable or not.
        self._number = 0
        self._has_failed = False

    @classmethod
    def open(cls, directory: Path, budget: Budget) -> "Archive":
        """Find what there is, cut off what follows the last good line, and be ready to go on with the last segment.

        Raises:
            OSError: It cannot be used.
            Taken: It is used by another process.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Taken(directory) from error
            archive = cls(directory, budget, lock)
            archive._find()
        except BaseException:
            os.close(lock)
            raise
        return archive

    @property
    def last(self) -> Span | None:
        """The segment that is added to."""
        return self.spans[-1] if self.spans else None

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(span.size for span in self.spans)

    def begin(self, header: Header) -> "Draft":
        """Begin a new segment; it is there once the draft is finished.

        Raises:
            OSError: It cannot be written.
        """
        if self._has_failed:
            raise OSError(f"{self.directory} could not be written before")
        return Draft(self, header, self._number + 1)

    def append(self, records: Sequence[Record]) -> None:
        """Add what happened after the last record; nothing of it is lost by a kill once this has returned.

        Raises:
            OSError: It cannot be written; none of it, or some of it, was.
        """
        span, lines = self.last, list[bytes]()
        assert span is not None, "a history begins with a segment"
        for record in records:
            if record.revision < span.end or (record.revision == span.end and record.changes):
                continue
            told = record._replace(at_ms=max(record.at_ms, span.end_ms))
            lines.append(sealed(written(told)))
            span = span.told(told, len(lines[-1]))
        if self._file is None or self._has_failed:
            raise OSError(f"{self.directory} could not be written before")
        self._has_failed = True
        write_all(self._file, b"".join(lines))
        self._has_failed = False
        self.spans = (*self.spans[:-1], span)

    def is_due(self, now_ms: int) -> bool:
        """Whether the last segment has grown or lasted enough."""
        span = self.last
        if span is None:
            return False
        is_old = span.end > span.start and self.budget.is_old(now_ms - span.start_ms)
        return is_old or self.budget.is_full(span.size - span.snapshot_size, span.snapshot_size)

    def is_over(self, now_ms: int) -> bool:
        """Whether there is more than the budget allows, and something else than the last segment."""
        return len(self.spans) > 1 and (
            self.size > self.budget.size or self.spans[0].end_ms < now_ms - self.budget.age_ms
        )

    def rotate(self) -> None:
        """Go on in a new segment, whose snapshot is what the last one comes to.

        Raises:
            OSError: It cannot be written.
            NotKept: The last one is damaged.
        """
        span = self.last
        assert span is not None, "there is one when it is due"
        state = fold(span, Revision(span.about.incarnation, span.end))
        draft = self.begin(Header(about=span.about, revision=span.end, at_ms=state.at_ms, continues=True))
        try:
            draft.add(state.entries)
            draft.finish()
        except BaseException:
            draft.drop()
            raise

    def prune(self, now_ms: int) -> None:
        """Delete the oldest segments that are over the budget; the last one stays."""
        while self.is_over(now_ms):
            self.spans[0].path.unlink(missing_ok=True)
            self.spans = self.spans[1:]

    def close(self) -> None:
        """Let go of the directory."""
        self._leave()
        os.close(self._lock)

    def take(self, span: Span, file: int) -> None:
        """Go on with a segment whose snapshot is whole. For `Draft`."""
        last, before = self.last, self._file
        self._file, self._number = file, span.number
        if before is not None and last is not None:
            over = sealed(written(End(last.end, last.end_ms)))
            self.spans = (*self.spans[:-1], replace(last, size=last.size + len(over)))
            try:
                write_all(before, over)
                os.fsync(before)
            finally:
                os.close(before)
        self.spans = (*self.spans, span)

    def _leave(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _find(self) -> None:
        for path in self.directory.glob(f"*{_UNFINISHED}"):
            path.unlink()
        there = numbers(self.directory)
        found = [(number, self._look(number, is_last=number == there[-1])) for number in there]
        self.spans = tuple(span for _, span in found if span is not None)
        self._number = there[-1] if there else 0
        for number, span in found:
            if span is None:
                _log.warning("history_unreadable", segment=number, directory=str(self.directory))
        if self.spans and self.spans[-1].number == self._number:
            self._go_on(self.spans[-1])

    def _look(self, number: int, *, is_last: bool) -> Span | None:
        span = None if is_last else glance(self.directory, number)
        return span or scan(self.directory, number)

    def _go_on(self, span: Span) -> None:
        self._file = file = os.open(span.path, os.O_RDWR | os.O_CLOEXEC)
        over = os.lseek(file, 0, os.SEEK_END) - span.size
        if over:
            # Torn by a kill, or the line that says that another one follows, which does not.
            _log.info("history_cut", segment=span.number, bytes=over)
            os.ftruncate(file, span.size)
        os.lseek(file, span.size, os.SEEK_SET)


class Draft:
    """A segment that is being begun."""

    def __init__(self, archive: Archive, header: Header, number: int) -> None:
        self._archive = archive
        self._header = header
        self._number = number
        self._place = path_of(archive.directory, number)
        self._path = self._place.with_name(self._place.name + _UNFINISHED)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._size = self.entries = 0
        self._is_over = False
        try:
            self._write(written(header))
        except OSError:
            self.drop()
            raise

    def add(self, entries: Iterable[Entry]) -> None:
        """Add to the snapshot.

        Raises:
            OSError: It cannot be written.
        """
        for piece in pieces(entries):
            self._write(written(piece))
            self.entries += len(piece)

    def finish(self) -> Span:
        """Have the segment be the last one, whole.

        Raises:
            OSError: It cannot be written.
        """
        self._write(written(Whole(self.entries)))
        os.fsync(self._file)
        self._path.rename(self._place)
        _sync(self._archive.directory)
        header = self._header
        span = Span(
            number=self._number,
            path=self._place,
            about=header.about,
            start=header.revision,
            start_ms=header.at_ms,
            end=header.revision,
            end_ms=header.at_ms,
            size=self._size,
            snapshot_size=self._size,
            continues=header.continues,
            reason=header.reason,
        )
        self._is_over = True
        self._archive.take(span, self._file)
        return span

    def drop(self) -> None:
        """Give it up, unless it is finished."""
        if not self._is_over:
            self._is_over = True
            os.close(self._file)
            self._path.unlink(missing_ok=True)

    def _write(self, told: bytes) -> None:
        line = sealed(told)
        write_all(self._file, line)
        self._size += len(line)


def frozen(directory: Path) -> tuple[Span, ...]:
    """Return the segments of a directory that nobody writes; it is left as it is.

    Raises:
        OSError: It cannot be read.
    """
    there = numbers(directory)
    spans = (glance(directory, number) or scan(directory, number) for number in there)
    return tuple(span for span in spans if span is not None)


def of_registry(spans: Iterable[Span], cluster: str) -> tuple[Span, ...]:
    """Return the segments of one cluster's registry."""
    return tuple(span for span in spans if span.about.id == cluster)


def write_all(file: int, data: bytes) -> None:
    """Write everything, however little of it the system takes at a time.

    Raises:
        OSError: It cannot be written; some of it may have been.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
