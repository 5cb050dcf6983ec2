"""The verb ``graph``: a workflow or a run as a drawing. Of a file it needs no server."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from harpoon.cli import columns, documents, offers, terminal, workflows
from harpoon.cli.options import Namespace, Remote
from harpoon.cli.subject import Subject, subject_of
from harpoon.cli.verb import verb
from harpoon.kit.errors import Invalid
from harpoon.model.graph_shown import BOXES_MAX
from harpoon.model.name import DEFAULT_NAMESPACE

#: Some of what boxes are drawn with, which a terminal of few characters cannot show.
_PROBE: Final = "┌▼✓…"
_DRAWN: Final = (columns.WORKFLOW, columns.RUN, columns.BATCH)


class Drawing(StrEnum):
    """How a graph is written."""

    #: Text, for a terminal.
    ASCII = "ascii"
    #: For Graphviz.
    DOT = "dot"
    MERMAID = "mermaid"
    SVG = "svg"
    #: Where everything is.
    JSON = "json"


@verb(
    "graph",
    examples=(
        "harpoon graph refund.yaml",
        "harpoon graph workflow/refund -o svg",
        "harpoon graph run/o-17",
        "harpoon graph run/o-17 -o dot",
        "harpoon graph refund.yaml -o mermaid",
    ),
)
def graph(
    *,
    remote: Remote,
    what: Annotated[
        str,
        typer.Argument(
            help="workflow/NAME, run/ID or batch/NAME; or the file of a workflow's manifest, - for standard input.",
            metavar="WHAT",
            show_default=False,
            autocompletion=offers.subjects("workflow", "run", "batch"),
        ),
    ],
    namespace: Namespace = DEFAULT_NAMESPACE,
    boxes: Annotated[
        int | None,
        typer.Option(
            help="Fold it beyond so many boxes.",
            metavar="N",
            min=1,
            max=BOXES_MAX,
            show_default="as many as the form can show",
        ),
    ] = None,
    ascii_only: Annotated[
        bool, typer.Option("--ascii-only", help="Draw text with nothing but + - | and letters.")
    ] = False,
    form: Annotated[Drawing, typer.Option("--output", "-o", help="How to write it.")] = Drawing.ASCII,
) -> None:
    """Draw a workflow, or how a run stands: its operations, and the labels that lead from one to another.

    Of a run: how each operation stands, in a word, a sign and a border of its own; what can never run any more is
    marked as skipped. Large graphs are folded: what is in a row or side by side becomes one box, which is told.
    """
    if ascii_only and form is not Drawing.ASCII:
        raise Invalid(f"--ascii-only is for text; drop it, or -o {form}")
    word, mark, name = what.partition("/")
    is_plain = form is Drawing.ASCII and (ascii_only or not _shows_all())
    if mark and name and any(kind.is_called(word) for kind in _DRAWN) and not Path(what).is_file():
        told = _of_server(remote, subject_of(what, namespace, others=_DRAWN), form, boxes, is_ascii=is_plain)
    else:
        told = _of_file(what, form, boxes, is_ascii=is_plain)
    for line in told.splitlines():
        terminal.show(line)


def _of_server(remote: Remote, subject: Subject, form: Drawing, boxes: int | None, *, is_ascii: bool) -> str:
    query = {"format": form.value, "boxes": None if boxes is None else str(boxes)}
    if is_ascii:
        query["ascii_only"] = "true"
    # A batch is a run, and is drawn as such.
    drawn = subject._replace(kind=columns.RUN) if subject.kind is columns.BATCH else subject
    return b"".join(remote.client().read_text(*drawn.path, "graph", query=query)).decode()


def _of_file(file: str, form: Drawing, boxes: int | None, *, is_ascii: bool) -> str:
    """Draw the only workflow of a file.

    Raises:
        Invalid: There is none, or there are several, or it has flaws; all of them are told with their places.
    """
    # As the expressions of a workflow are compiled, this takes longer than all other verbs.
    from harpoon.control.drawings import Form, Wish, drawn  # noqa: PLC0415
    from harpoon.core.drawing import picture  # noqa: PLC0415

    own, others = workflows.split(documents.read_documents([file]))
    if not own:
        raise workflows.missing([file], others)
    if len(own) != 1:
        raise Invalid(f"{file} holds {len(own)} workflows; apply them, and name one: harpoon graph workflow/NAME")
    told = picture(*workflows.graph_of(own[0]))
    return drawn(told, Wish(Form(form.value), boxes, is_ascii)).decode()


def _shows_all() -> bool:
    """Whether standard output can show what boxes are drawn with."""
    try:
        _PROBE.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
