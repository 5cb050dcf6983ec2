"""How much history a store keeps for watchers that resume: bounded by age, by revisions and by bytes.

It only remembers a few marks (when the store stood at which revision), so what it says is coarse by a sixty-fourth.
It reads no clock and deletes nothing.
"""

from collections import deque
from datetime import timedelta
from typing import Final, NamedTuple

KEPT_FOR: Final = timedelta(minutes=10)
KEPT_REVISIONS: Final = 100_000
KEPT_BYTES: Final = 256 << 20
_MARKS: Final = 64


class _Mark(NamedTuple):
    at: timedelta
    revision: int
    #: Written since the store was opened.
    written: int


class Retention:
    """Tells up to which revision history may go."""

    def __init__(self, revision: int, now: timedelta, kept_for: timedelta = KEPT_FOR) -> None:
        self._kept_for = kept_for
        #: Of moments apart; the last one is always that of the last revision.
        self._marks = deque([_Mark(now, revision, 0)])

    def note(self, revision: int, size: int, now: timedelta) -> None:
        """Take note that ``size`` more bytes were written, up to ``revision``."""
        last = _Mark(now, revision, self._marks[-1].written + size)
        if len(self._marks) > 1 and not self._is_apart(self._marks[-2], last):
            self._marks.pop()
        self._marks.append(last)

    def floor(self, now: timedelta) -> int:
        """Return the revision up to which history is too old, or too much; it never falls."""
        last = self._marks[-1]
        while len(self._marks) > 1 and (
            self._marks[1].at <= now - self._kept_for
            or self._marks[1].revision <= last.revision - KEPT_REVISIONS
            or self._marks[1].written <= last.written - KEPT_BYTES
        ):
            self._marks.popleft()
        oldest = self._marks[0]
        is_over = oldest.at <= now - self._kept_for
        is_more = oldest.revision <= last.revision - KEPT_REVISIONS or oldest.written <= last.written - KEPT_BYTES
        return oldest.revision if is_over or is_more else 0

    def due(self, compacted: int) -> timedelta | None:
        """Return when history above ``compacted`` is too old, or None when there is none."""
        return next((mark.at + self._kept_for for mark in self._marks if mark.revision > compacted), None)

    def _is_apart(self, earlier: _Mark, later: _Mark) -> bool:
        return (
            later.at - earlier.at >= self._kept_for / _MARKS
            or later.revision - earlier.revision >= KEPT_REVISIONS // _MARKS
            or later.written - earlier.written >= KEPT_BYTES // _MARKS
        )
