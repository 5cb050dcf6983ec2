"""What is worth saying: something new, or the same again after a while.

A part that tries again and again fails again and again. Its log is to say so once, and now and then that it still does.
"""

from datetime import timedelta
from typing import Final

#: The same is said again after so long.
AGAIN_AFTER: Final = timedelta(seconds=30)


class News:
    """Remembers what was said last."""

    def __init__(self, again_after: timedelta = AGAIN_AFTER) -> None:
        self._again_after_s = again_after.total_seconds()
        self._said: str | None = None
        self._at_s = 0.0

    def is_news(self, text: str, now_s: float) -> bool:
        """Whether ``text`` is to be said now; then it is taken for said."""
        if text == self._said and now_s - self._at_s < self._again_after_s:
            return False
        self._said, self._at_s = text, now_s
        return True

    def forget(self) -> bool:
        """Say whatever comes next; return whether anything was said since the last time."""
        was_said, self._said = self._said is not None, None
        return was_said
