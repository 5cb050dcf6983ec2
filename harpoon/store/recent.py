"""The last revisions of a mirror, kept so that readers can resume without asking the store."""

from collections import deque
from typing import Final, Generic, TypeVar

RECENT_REVISIONS_MAX: Final = 10_000
RECENT_BYTES_MAX: Final = 32 << 20

T = TypeVar("T")


class Recent(Generic[T]):
    """A ring of (revision, what happened in it), bounded by revisions and by bytes."""

    def __init__(self, revision: int = 0) -> None:
        #: The lowest ``after`` that can be served.
        self.oldest = revision
        self._kept: deque[tuple[int, T, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def append(self, revision: int, happened: T, size: int) -> None:
        """Keep a revision of about ``size`` bytes, and drop the oldest ones beyond the bounds."""
        self._kept.append((revision, happened, size))
        self._bytes += size
        while len(self._kept) > RECENT_REVISIONS_MAX or self._bytes > RECENT_BYTES_MAX:
            self.oldest, _, dropped = self._kept.popleft()
            self._bytes -= dropped

    def since(self, after: int) -> list[tuple[int, T]] | None:
        """Return what happened above ``after``, oldest first, or None when that is no longer kept whole."""
        if after < self.oldest:
            return None
        newest_first = []
        for revision, happened, _ in reversed(self._kept):
            if revision <= after:
                break
            newest_first.append((revision, happened))
        return newest_first[::-1]

    def reset(self, revision: int) -> None:
        """Forget everything up to ``revision``."""
        self._kept.clear()
        self._bytes = 0
        self.oldest = revision
