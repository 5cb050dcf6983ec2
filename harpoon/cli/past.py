"""Verbs that show what was: versions, events."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from harpoon.cli import columns, output, terminal
from harpoon.cli.follow import follow
from harpoon.cli.listing import read_list
from harpoon.cli.options import Format, JobName, Namespace, Output, Remote, What
from harpoon.cli.subject import Subject, subject_of
from harpoon.cli.table import Object, Table
from harpoon.cli.verb import verb
from harpoon.client.watch import Selection
from harpoon.kit.errors import Invalid
from harpoon.model.name import DEFAULT_NAMESPACE

#: Events shown unless told otherwise.
EVENTS: Final = 100


@verb("versions", examples=("harpoon versions web", "harpoon versions web -o wide", "harpoon versions web -o yaml"))
def versions(
    remote: Remote, name: JobName, namespace: Namespace = DEFAULT_NAMESPACE, form: Format = Output.TABLE
) -> None:
    """List the versions of a job that are kept, newest first; the present one is marked with a star.

    What differs between two: harpoon diff web@3 web@5. Back to one: harpoon rollback web --to 3.
    """
    answer = read_list(remote.client(), ("namespaces", namespace, "jobs", name, "versions"))
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
    elif form is Output.NAME:
        for one in answer["items"]:
            terminal.show(f"{name}@{one['version']}")
    else:
        output.write_table(columns.VERSION, answer["items"], form)


@verb("events", examples=("harpoon events web", "harpoon events agent/a1 --limit 20 -o wide", "harpoon events web -w"))
def events(
    *,
    remote: Remote,
    what: What,
    limit: Annotated[int, typer.Option(help="Only so many, the latest.", min=1, max=1000)] = EVENTS,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with what happens.")] = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Show what happened to a job, a task or an agent lately, oldest first, as far as history is kept."""
    if form is Output.NAME:
        raise Invalid("events have no names; write them as table, wide, json or yaml")
    subject, client = subject_of(what, namespace), remote.client()

    def read() -> Mapping[str, Any]:
        told: Mapping[str, Any] = client.get(*subject.path, "events", query={"limit": str(limit)}).body
        return told

    if watch:
        follow(client, _selection(subject), lambda: read()["items"], _Happening(form).show)
    elif form in (Output.JSON, Output.YAML):
        output.write(read(), form)
    elif found := read()["items"]:
        output.write_table(columns.EVENT, found, form)
    else:
        terminal.say("nothing happened lately")


def _selection(subject: Subject) -> Selection:
    """Return what a watch is to tell of, to know of this subject."""
    if subject.kind is columns.AGENT:
        return Selection(kinds=("agents", "placements", "tasks"))
    job = subject.name if subject.kind is columns.JOB else subject.name.split(".")[1]
    return Selection(kinds=("jobs", "placements", "tasks"), namespace=subject.namespace, name=job)


class _Happening:
    """Shows each event once."""

    def __init__(self, form: Output) -> None:
        self._form = form
        self._table = Table(columns.EVENT, is_wide=form is Output.WIDE)
        self._shown: set[tuple[object, ...]] | None = None

    def show(self, events: Sequence[Object]) -> None:
        """Show those that were not there before."""
        keys = [(one["revision"], one["subject"], one["event"]) for one in events]
        fresh = [one for one, key in zip(events, keys, strict=True) if key not in (self._shown or ())]
        if self._form in (Output.JSON, Output.YAML):
            for one in fresh:
                output.write_one(one, self._form)
        elif fresh or self._shown is None:
            for line in self._table.lines(fresh, has_titles=self._shown is None):
                terminal.show(line)
        self._shown = set(keys) if events else self._shown or set()
