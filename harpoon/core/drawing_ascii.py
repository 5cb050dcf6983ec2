"""A picture as text, drawn with the characters that there are for boxes, or with ``+ - |`` only."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from harpoon.core.drawing import Box, Picture, State, lines_of
from harpoon.core.drawing_laid import Laid, laid_out
from harpoon.core.layout import Measures, Size
from harpoon.core.printing import printable

_MEASURES: Final = Measures(between=3, beside=2, label=1)
_UP, _RIGHT, _DOWN, _LEFT = 1, 2, 4, 8
#: By the directions in which a line goes on from a place.
_LINES: Final = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"
_LINES_ASCII: Final = " |-+||++-+-+++++"
#: Corners, then across and down: of a box, one in which a run is at work or failed, and one that was never opened.
_LIGHT: Final = "┌┐└┘─│"
_HEAVY: Final = "┏┓┗┛━┃"
_DASHED: Final = "┌┐└┘╌╎"
_DOUBLE: Final = "╔╗╚╝═║"
_ASCII: Final = "++++-|"
_BORDERS: Final[Mapping[State | None, str]] = {
    State.RUNNING: _HEAVY,
    State.RETRYING: _HEAVY,
    State.PARKED: _DOUBLE,
    State.FAILED: _DOUBLE,
    State.CANCELLED: _DASHED,
    State.AHEAD: _DASHED,
    State.SKIPPED: _DASHED,
}
_BORDERS_ASCII: Final[Mapping[State | None, str]] = {
    State.RUNNING: "####=#",
    State.RETRYING: "####=#",
    State.PARKED: "XXXX=X",
    State.FAILED: "XXXX=X",
    State.CANCELLED: "....." + ":",
    State.AHEAD: "....." + ":",
    State.SKIPPED: "....." + ":",
}


def write(told: Picture, *, is_ascii: bool = False) -> str:
    """Return a picture as lines of text, none with blanks at its end.

    Args:
        told: The picture.
        is_ascii: Whether nothing but ASCII may stand in it.
    """
    texts = [_texts(box, is_ascii=is_ascii) for box in told.boxes]
    sizes = [Size(max(map(len, lines)) + 4, len(lines) + 2) for lines in texts]
    laid = laid_out(told, sizes, _MEASURES, 1)
    rows = [[" "] * laid.layout.size.width for _ in range(laid.layout.size.height)]
    _draw_lines(rows, laid, is_ascii=is_ascii)
    for (x, y), size, lines, box in zip(laid.layout.boxes, laid.layout.sizes, texts, told.boxes, strict=True):
        borders = _BORDERS_ASCII if is_ascii else _BORDERS
        border = borders.get(box.state, _ASCII if is_ascii else _LIGHT)
        _draw_box(rows, (x, y), size, lines, border)
    drawn = ["".join(row).rstrip() for row in rows]
    head = [printable(told.title), *([told.folded] if told.folded else ())]
    text = "\n".join([*head, "", *drawn]).rstrip() + "\n"
    return text.encode("ascii", "replace").decode() if is_ascii else text


def _texts(box: Box, *, is_ascii: bool) -> Sequence[str]:
    lines = [printable(line) for line in lines_of(box, has_signs=not is_ascii)]
    if box.is_start:
        lines[0] = f"{'*' if is_ascii else '●'} {lines[0]}"
    return [line.replace("…", "..") for line in lines] if is_ascii else lines


def _draw_lines(rows: Sequence[list[str]], laid: Laid, *, is_ascii: bool) -> None:
    glyphs = _LINES_ASCII if is_ascii else _LINES
    for strand in laid.layout.strands:
        ways: dict[tuple[int, int], int] = {}
        for x1, y1, x2, y2 in strand.pieces:
            forth, back = (_RIGHT, _LEFT) if y1 == y2 and x1 != x2 else (_DOWN, _UP)
            cells = [(x, y) for x in range(x1, x2 + 1) for y in range(y1, y2 + 1)]
            for first, second in pairwise(cells):
                ways[first] = ways.get(first, 0) | forth
                ways[second] = ways.get(second, 0) | back
        for port in strand.feeds:
            ways[laid.layout.ports[port]] = ways.get(laid.layout.ports[port], 0) | _UP
        for head in strand.heads:
            ways[head] = ways.get(head, 0) | _DOWN
        for (x, y), way in ways.items():
            # Where lines cross that have nothing to do with each other, the one across goes on behind.
            rows[y][x] = glyphs[_UP | _DOWN if rows[y][x] != " " and way in (_LEFT | _RIGHT, _UP | _DOWN) else way]
    for strand in laid.layout.strands:
        for x, y in strand.heads:
            rows[y][x] = "v" if is_ascii else "▼"
    for label, (x, y) in zip(laid.labels, laid.layout.ports, strict=True):
        _put(rows, x + 1, y, label)


def _draw_box(rows: Sequence[list[str]], at: tuple[int, int], size: Size, lines: Sequence[str], border: str) -> None:
    (left, top), right, bottom = at, at[0] + size.width - 1, at[1] + size.height - 1
    for x in range(left + 1, right):
        rows[top][x] = rows[bottom][x] = border[4]
    for y in range(top + 1, bottom):
        rows[y][left] = rows[y][right] = border[5]
    for (x, y), corner in zip(((left, top), (right, top), (left, bottom), (right, bottom)), border, strict=False):
        rows[y][x] = corner
    for place, line in enumerate(lines, top + 1):
        _put(rows, left + 2, place, line)


def _put(rows: Sequence[list[str]], x: int, y: int, text: Iterable[str]) -> None:
    for place, one in enumerate(text, x):
        rows[y][place] = one
