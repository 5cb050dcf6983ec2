"""The moment that a wait is for, as it may be written."""

from datetime import datetime
from typing import Final

from harpoon.kit.expression import Failed

_MS_MAX: Final = 253_402_300_799_999


def moment(value: object) -> int:
    """Return a moment as UTC milliseconds, written as that or as a text with its offset.

    Raises:
        Failed: It is neither; the message says what would be right.
    """
    if isinstance(value, str):
        try:
            told = datetime.fromisoformat(value)
        except ValueError as error:
            raise Failed("until came to a text that is no moment; write it like 2026-01-31T12:00:00Z") from error
        if told.tzinfo is None:
            raise Failed("until came to a moment without an offset from UTC; write it like 2026-01-31T12:00:00Z")
        value = round(told.timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MS_MAX:
        raise Failed("until came to no moment; write UTC milliseconds, or a text like 2026-01-31T12:00:00Z")
    return value
