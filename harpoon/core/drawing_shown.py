"""A picture as data, for those who draw it themselves: where everything is, in the pixels of `core.drawing_svg`."""

from collections import Counter
from typing import Final

from harpoon.core.drawing import Picture
from harpoon.core.drawing_laid import Laid, laid_out, let_go
from harpoon.core.drawing_svg import ACROSS, DOWN, LETTER, MEASURES, sizes_of
from harpoon.core.layout import Strand
from harpoon.model.graph_shown import DrawnBox, DrawnLine, GraphDrawing, LineEnd, LineStart

#: The middle of a unit.
_X: Final = ACROSS // 2
_Y: Final = DOWN // 2


def shown(told: Picture) -> GraphDrawing:
    """Return where everything of a picture is."""
    laid = laid_out(told, sizes_of(told), MEASURES, LETTER)
    states = Counter[str]()
    for box in told.boxes:
        if box.state is not None:
            states[box.state.value] += len(box.ops)
    drawn = GraphDrawing(
        title=told.title,
        description=told.description,
        folded=told.folded,
        width=laid.layout.size.width * ACROSS,
        height=laid.layout.size.height * DOWN,
        boxes=_boxes(told, laid),
        lines=tuple([_line(laid, strand) for strand in laid.layout.strands]),
        states=states,
    )
    strands, arcs = list(laid.layout.strands), list(laid.arcs)
    del laid
    let_go(strands, arcs)
    return drawn


def _boxes(told: Picture, laid: Laid) -> tuple[DrawnBox, ...]:
    return tuple(
        [
            DrawnBox(
                title=box.title,
                kind=box.kind,
                does=box.does,
                state=None if box.state is None else box.state.value,
                note=box.note,
                aside=box.aside,
                ops=box.ops,
                is_start=box.is_start,
                x=x * ACROSS,
                y=y * DOWN,
                width=width * ACROSS,
                height=height * DOWN,
            )
            for box, (x, y), (width, height) in zip(told.boxes, laid.layout.boxes, laid.layout.sizes, strict=True)
        ]
    )


def _line(laid: Laid, strand: Strand) -> DrawnLine:
    starts, is_join = [], False
    for port in strand.feeds:
        # Each of its beginnings leads to each of its ends.
        arc = laid.arcs[port][strand.drops[0]][0]
        is_join = is_join or arc.group >= 0
        x, y = laid.layout.ports[port]
        starts.append(LineStart(box=arc.source, label=arc.label, times=arc.times, x=x * ACROSS + _X, y=y * DOWN))
    return DrawnLine(
        from_=tuple(starts),
        to=tuple(
            [
                LineEnd(box=box, x=x * ACROSS + _X, y=(y + 1) * DOWN)
                for box, (x, y) in zip(strand.drops, strand.heads, strict=True)
            ]
        ),
        is_back=strand.is_back,
        is_join=is_join,
        path=tuple(
            [(x1 * ACROSS + _X, y1 * DOWN + _Y, x2 * ACROSS + _X, y2 * DOWN + _Y) for x1, y1, x2, y2 in strand.pieces]
        ),
    )
