"""Tables of text. Written by hand because importing a library for it would take longer than the rest of the verb."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from harpoon.cli import terminal

#: Characters of a shortened cell; ``-o wide`` shortens nothing.
SENTENCE_MAX: Final = 80

Object = Mapping[str, Any]

#: What a word of state is coloured.
STATE_COLOURS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("ready", "running", "connected", "finished", "done", "yes", "kept", "succeeded", "complete"), "green"
    ),
    **dict.fromkeys(("progressing", "waiting", "pending", "placed", "starting", "stopping"), "yellow"),
    **dict.fromkeys(
        ("terminating", "interrupted", "unknown", "cordoned", "draining", "retrying", "paused", "quiet"), "yellow"
    ),
    **dict.fromkeys(
        (
            "failed",
            "timed_out",
            "cancelled",
            "parked",
            "lost",
            "degraded",
            "unclaimed",
            "over",
            "unfinished",
            "left out",
        ),
        "red",
    ),
}


class Column(NamedTuple):
    """One column: its title and how a row's object fills it."""

    title: str
    cell: Callable[[Object], str]
    #: Shown with ``-o wide`` only.
    is_wide: bool = False
    #: Shortened unless ``-o wide``.
    is_sentence: bool = False
    #: A word of state, which may be coloured.
    is_state: bool = False


class Table:
    """Lays out rows; keeps its widths, so that rows that come later stand under the same titles."""

    def __init__(self, columns: Sequence[Column], *, is_wide: bool = False) -> None:
        self._columns = [column for column in columns if is_wide or not column.is_wide]
        self._is_wide = is_wide
        self._widths = [len(column.title) for column in self._columns]

    def lines(self, rows: Iterable[Object], *, has_titles: bool = True) -> Iterator[str]:
        """Yield a line for each row, after one with the titles."""
        cells = [[self._text(column, row) for column in self._columns] for row in rows]
        for texts in cells:
            self._widths = [max(width, len(text)) for width, text in zip(self._widths, texts, strict=True)]
        if has_titles:
            yield self._line([column.title for column in self._columns])
        for texts in cells:
            yield self._line(texts, is_painted=True)

    def _text(self, column: Column, row: Object) -> str:
        text = terminal.plain(column.cell(row)) or "-"
        if column.is_sentence and not self._is_wide and len(text) > SENTENCE_MAX:
            return text[: SENTENCE_MAX - 1] + "…"
        return text

    def _line(self, texts: Sequence[str], *, is_painted: bool = False) -> str:
        padded = []
        for column, text, width in zip(self._columns, texts, self._widths, strict=True):
            colour = STATE_COLOURS.get(text, "") if is_painted and column.is_state else ""
            padded.append(terminal.paint(text, colour) + " " * (width - len(text)))
        return "   ".join(padded).rstrip()
