"""The verb ``bounds``: what any run of a workflow may come to at most, before one is started. It needs no server."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from harpoon.cli import documents, output, screens, terminal, workflows
from harpoon.cli.options import Format, Output
from harpoon.cli.run_screens import bounds_of
from harpoon.cli.table import Column
from harpoon.cli.verb import verb
from harpoon.kit.errors import Invalid
from harpoon.kit.yaml import Document

if TYPE_CHECKING:
    from harpoon.core.bounds import Bounds

_OPERATION: Final = (
    Column("OPERATION", lambda row: str(row["op"])),
    Column("VISITS", lambda row: str(row["visits"])),
    Column("ATTEMPTS", lambda row: str(row["attempts"])),
)


@verb("bounds", examples=("harpoon bounds refund.yaml", "harpoon bounds workflows/ -o json"))
def bounds(
    files: Annotated[
        list[str],
        typer.Argument(help="Manifests of workflows: files, directories, or - .", metavar="FILE…", show_default=False),
    ],
    form: Format = Output.TABLE,
) -> None:
    """Say what any run of a workflow comes to at most: attempts, time from start to end, bytes recorded.

    It is what the server says, computed from the manifests alone, with what those that are called come to. A workflow
    that has no bound is refused, with the cycle that has none.
    """
    if form is Output.NAME:
        raise Invalid("bounds have no name; write them as table, wide, json or yaml")
    own, others = workflows.split(documents.read_documents(files))
    if not own:
        raise workflows.missing(files, others)
    known: dict[str, Bounds] = {}
    told = [_bounds_of(document, known) for document in own]
    if form in (Output.JSON, Output.YAML):
        output.write({"items": told}, form)
        return
    for place, one in enumerate(told):
        if place:
            terminal.show("")
        for line in _lines(one):
            terminal.show(line)
    if others:
        terminal.say(f"{len(others)} other documents are no workflows, and have no bounds")


def _bounds_of(document: Document, known: "dict[str, Bounds]") -> dict[str, Any]:
    """Return what any run of the workflow of a document comes to at most, and take note of it.

    Args:
        document: The workflow.
        known: What those come to that stand before it: it may call them.

    Raises:
        Invalid: It has flaws, or no bound; all are told with their places.
    """
    from harpoon.core.bounds import bounds as bounds_of_graph  # noqa: PLC0415 as for the graph
    from harpoon.core.bounds import shown  # noqa: PLC0415
    from harpoon.kit.ordered import check_orders  # noqa: PLC0415

    name, graph = workflows.graph_of(document)
    try:
        known[name] = bounds_of_graph(graph, None, known)
        check_orders(graph.spec)
    except Invalid as error:
        raise documents.placed(error, documents.place_in(document)) from error
    called = {op.call.workflow for op in graph.spec.operations.values() if op.call is not None}
    for missing in sorted(called - known.keys()):
        terminal.say(f"workflow/{name} calls {missing}, which is not among these: what that comes to is not counted")
    told = shown(known[name])
    return {"workflow": name, **told}


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield screens.headline(f"workflow/{told['workflow']}", "bounded", "")
    yield from screens.pairs_of(bounds_of(told))
    yield ""
    rows = [{"op": op, **share} for op, share in told["operations"].items()]
    yield from screens.table(_OPERATION, rows, is_wide=False)
