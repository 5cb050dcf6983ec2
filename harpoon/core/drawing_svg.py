"""A picture as SVG: for browsers and documents, in light and dark, and told to those who do not see it.

It holds no script, no style of another place and no link, and every text in it is escaped: pages may embed it so.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Final

from harpoon.core.drawing import Box, Picture, State, lines_of
from harpoon.core.drawing_laid import Laid, laid_out, let_go
from harpoon.core.layout import Measures, Size, Strand
from harpoon.core.printing import printable

#: Pixels of a unit, across and down.
ACROSS: Final = 4
DOWN: Final = 8
#: Pixels of a character, of a line of text, and left free around.
_LETTER: Final = 7.3
_LINE: Final = 16
_INSET: Final = 12
_MARGIN: Final = 16
_HEAD: Final = 28
MEASURES: Final = Measures(between=8, beside=3, label=2)
LETTER: Final = _LETTER / ACROSS
_SPECIAL: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
#: State → its name as a class, what it is filled with, and what it is drawn with: in light, then in dark.
_LOOKS: Final[Mapping[State, tuple[str, str, str, str, str]]] = {
    State.RUNNING: ("running", "#dbeafe", "#1d4ed8", "#1e3a8a", "#93c5fd"),
    State.RETRYING: ("retrying", "#fde68a", "#92400e", "#78350f", "#fcd34d"),
    State.WAITING: ("waiting", "#fef3c7", "#92400e", "#451a03", "#fcd34d"),
    State.READY: ("ready", "#e0f2fe", "#0369a1", "#0c4a6e", "#7dd3fc"),
    State.PARKED: ("parked", "#ffedd5", "#c2410c", "#7c2d12", "#fdba74"),
    State.FAILED: ("failed", "#fee2e2", "#b91c1c", "#7f1d1d", "#fca5a5"),
    State.CANCELLED: ("cancelled", "#e5e7eb", "#4b5563", "#374151", "#d1d5db"),
    State.DONE: ("done", "#dcfce7", "#15803d", "#14532d", "#86efac"),
    State.AHEAD: ("ahead", "#ffffff", "#6b7280", "#111827", "#9ca3af"),
    State.SKIPPED: ("skipped", "#f3f4f6", "#9ca3af", "#1f2937", "#6b7280"),
}
_STYLE: Final = (
    ".hp{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:#fff;color:#111827}"
    ".hp text{fill:currentColor}.hp .t{font-weight:700}.hp .f{fill:#fff;stroke:#374151}"
    ".hp .l{fill:none;stroke:#6b7280}.hp .h{fill:#6b7280}.hp .on{stroke:#111827;stroke-width:2}"
    ".hp .h.on{fill:#111827}.hp .off{stroke:#d1d5db}.hp .h.off{fill:#d1d5db}"
    ".hp .running .f,.hp .retrying .f{stroke-width:3}.hp .failed .f,.hp .parked .f{stroke-width:3}"
    ".hp .cancelled .f,.hp .ahead .f{stroke-dasharray:6 3}.hp .skipped .f{stroke-dasharray:2 3}"
    ".hp .skipped text{opacity:.6}"
)
_DARK: Final = (
    ".hp{background:#0b1220;color:#f3f4f6}.hp .f{fill:#111827;stroke:#9ca3af}.hp .l{stroke:#9ca3af}"
    ".hp .h{fill:#9ca3af}.hp .on{stroke:#f9fafb}.hp .h.on{fill:#f9fafb}.hp .off{stroke:#374151}"
    ".hp .h.off{fill:#374151}"
)


def write(told: Picture) -> str:
    """Return a picture as an SVG document."""
    return "\n".join(_document(told)) + "\n"


def sizes_of(told: Picture) -> list[Size]:
    """Return how large the boxes of a picture are, in units."""
    found = []
    for box in told.boxes:
        lines = lines_of(box)
        width = ceil((max(map(len, lines)) * _LETTER + 2 * _INSET) / ACROSS)
        found.append(Size(width, ceil((len(lines) * _LINE + _INSET) / DOWN)))
    return found


def _document(told: Picture) -> Iterator[str]:
    laid = laid_out(told, sizes_of(told), MEASURES, LETTER)
    size = laid.layout.size
    notes = [told.title, *([told.folded] if told.folded else ())]
    width = max(size.width * ACROSS, max(map(len, notes)) * 8) + 2 * _MARGIN
    height = size.height * DOWN + 2 * _MARGIN + _HEAD * len(notes)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="hp" role="img" aria-labelledby="hp-title hp-desc" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    )
    yield f'<title id="hp-title">{escaped(told.title)}</title><desc id="hp-desc">{escaped(told.description)}</desc>'
    yield f"<style>{_style(told)}</style>"
    for place, note in enumerate(notes):
        look = "t" if not place else "n"
        yield f'<text class="{look}" x="{_MARGIN}" y="{_MARGIN + 12 + place * _HEAD}">{escaped(note)}</text>'
    yield f'<g transform="translate({_MARGIN} {_MARGIN + _HEAD * len(notes)})">'
    for strand in laid.layout.strands:
        yield from _strand(told, laid, strand)
    for label, (x, y) in zip(laid.labels, laid.layout.ports, strict=True):
        yield f'<text x="{_x(x) + 5}" y="{y * DOWN + 12}">{escaped(label)}</text>'
    for number, box in enumerate(told.boxes):
        yield from _box(box, laid.layout.boxes[number], laid.layout.sizes[number])
    yield "</g></svg>"
    strands, arcs = list(laid.layout.strands), list(laid.arcs)
    del laid
    let_go(strands, arcs)


def _style(told: Picture) -> str:
    light, dark = [_STYLE], [_DARK]
    for state in sorted({box.state for box in told.boxes if box.state is not None}, key=list(State).index):
        name, fill, stroke, fill_dark, stroke_dark = _LOOKS[state]
        light.append(f".hp .{name} .f{{fill:{fill};stroke:{stroke}}}")
        dark.append(f".hp .{name} .f{{fill:{fill_dark};stroke:{stroke_dark}}}")
    return "".join([*light, "@media (prefers-color-scheme:dark){", *dark, "}"])


def _strand(told: Picture, laid: Laid, strand: Strand) -> Iterator[str]:
    """Draw a net: thick where the run went along it, pale where it never will."""
    arcs = [arc for port in strand.feeds for box in strand.drops for arc in laid.arcs[port][box]]
    look = ""
    if any(arc.times is not None for arc in arcs):
        look = " on"
    elif all(told.boxes[box].state is State.SKIPPED for box in strand.drops):
        look = " off"
    ways = [f"M{_x(x1)} {_y(y1)}{f'H{_x(x2)}' if y1 == y2 else f'V{_y(y2)}'}" for x1, y1, x2, y2 in strand.pieces]
    # From below the middle of the first place up to the box.
    for port in strand.feeds:
        x, y = laid.layout.ports[port]
        ways.append(f"M{_x(x)} {y * DOWN}V{_y(y)}")
    yield f'<path class="l{look}" d="{"".join(ways)}"/>'
    heads = [f"M{_x(x) - 4} {(y + 1) * DOWN - 8}h8l-4 8z" for x, y in strand.heads]
    yield f'<path class="h{look}" d="{"".join(heads)}"/>'


def _box(box: Box, at: Sequence[int], size: Size) -> Iterator[str]:
    x, y, width, height = at[0] * ACROSS, at[1] * DOWN, size.width * ACROSS, size.height * DOWN
    look = f' class="{_LOOKS[box.state][0]}"' if box.state is not None else ""
    aside = f": {box.aside}" if box.aside else ""
    state = f", {box.state}" if box.state is not None else ""
    yield f"<g{look}><title>{escaped(f'{box.title} ({box.does}){state}{aside}')}</title>"
    yield _outline(box, x, y, width, height)
    if box.is_start:
        yield f'<circle class="h" cx="{x + width - 9}" cy="{y + 9}" r="4"/>'
    for place, line in enumerate(lines_of(box)):
        bold = ' class="t"' if not place else ""
        yield f'<text{bold} x="{x + _INSET}" y="{y + 18 + place * _LINE}">{escaped(line)}</text>'
    yield "</g>"


def _outline(box: Box, x: int, y: int, width: int, height: int) -> str:
    """Draw the border of a box by what its operation is: what waits is round, what chooses has its corners cut."""
    if box.kind == "choose":
        cut = 8
        corners = (
            (x + cut, y), (x + width - cut, y), (x + width, y + cut), (x + width, y + height - cut),
            (x + width - cut, y + height), (x + cut, y + height), (x, y + height - cut), (x, y + cut),
        )  # fmt: skip
        return f'<polygon class="f" points="{" ".join(f"{left},{top}" for left, top in corners)}"/>'
    radius = 18 if box.kind == "wait" else 3
    outline = f'<rect class="f" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>'
    if len(box.ops) > 1:
        # A second border behind it: it stands for several.
        outline = f'<rect class="f" x="{x + 4}" y="{y - 4}" width="{width}" height="{height}" rx="{radius}"/>{outline}'
    return outline


def escaped(text: str) -> str:
    """Return a text that means nothing but itself in XML."""
    return printable(text).translate(_SPECIAL)


def _x(x: int) -> int:
    return x * ACROSS + ACROSS // 2


def _y(y: int) -> int:
    return y * DOWN + DOWN // 2
