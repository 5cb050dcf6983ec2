"""The verb ``explain``: what a manifest may hold, field by field. It needs no server."""

from collections.abc import Iterator
from dataclasses import asdict
from textwrap import wrap
from typing import Annotated

import typer

from harpoon.cli import output, terminal
from harpoon.cli.options import Format, Output
from harpoon.cli.verb import verb
from harpoon.kit.errors import Invalid
from harpoon.kit.explain import TOPICS, Explained, ExplainedField, explain

#: Characters of a line of prose.
WIDTH = 100


@verb(
    "explain",
    examples=("harpoon explain job", "harpoon explain job.spec.task", "harpoon explain workflow.spec.operations"),
)
def explain_field(
    what: Annotated[str, typer.Argument(help="A field of a manifest, such as job.spec.task.", metavar="FIELD")] = "job",
    form: Format = Output.TABLE,
) -> None:
    """Explain a field of a manifest: its type, its default and the fields in it. Needs no server.

    Manifests are those of a job, a workflow, a batch and a namespace.
    Lists and maps are passed through: job.spec.task.checks.every is that of each check.
    """
    if form is Output.NAME:
        raise Invalid("an explanation has no name; write it as table, wide, json or yaml")
    topic, _, path = what.partition(".")
    if topic not in TOPICS:
        topic, path = "job", what
    explained = explain(TOPICS[topic], path, root=topic)
    if form in (Output.JSON, Output.YAML):
        output.write(asdict(explained), form)
    else:
        for line in _lines(explained):
            terminal.show(line)


def _lines(explained: Explained) -> Iterator[str]:
    yield f"{terminal.paint(explained.path, 'bold')}   {_kind(explained)}"
    yield from wrap(explained.description, WIDTH, initial_indent="  ", subsequent_indent="  ")
    if explained.fields:
        yield ""
        yield "Fields:"
    for one in explained.fields:
        yield f"  {terminal.paint(one.name, 'bold')}   {_kind(one)}"
        yield from wrap(one.description, WIDTH, initial_indent="      ", subsequent_indent="      ")


def _kind(one: Explained | ExplainedField) -> str:
    """Say a field's type, and what stands when it is not given."""
    if one.is_required:
        return f"{one.type}, required"
    has_default = one.default not in (None, "{}", "[]")  # that it is empty unless given goes without saying
    return f"{one.type}, default {one.default}" if has_default else one.type
