"""Verbs that show how things are: version, get, describe, status."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from harpoon import __version__
from harpoon.cli import columns, describe, output, terminal
from harpoon.cli.columns import Kind
from harpoon.cli.options import Format, Namespace, Output, Remote, Scope
from harpoon.cli.table import Object
from harpoon.cli.verb import verb
from harpoon.cli.wakeup import Wakeups
from harpoon.client import Client, Selection
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.name import DEFAULT_NAMESPACE

KindAndName = Annotated[
    str, typer.Argument(help="job/NAME, task/ID or agent/NAME.", metavar="KIND/NAME", show_default=False)
]


@verb("version", examples=("harpoon version", "harpoon version -o json"))
def version(form: Format = Output.TABLE) -> None:
    """Show the version of this program."""
    if form in (Output.JSON, Output.YAML):
        output.write({"version": __version__}, form)
    else:
        terminal.show(f"harpoon {__version__}")


@verb(
    "get",
    examples=(
        "harpoon get jobs",
        "harpoon get tasks -A -o wide",
        "harpoon get tasks -l team=shop -w",
        "harpoon get job/web -o yaml",
        "harpoon get endpoints web -o json",
    ),
)
def get(
    *,
    remote: Remote,
    kind: Annotated[
        str, typer.Argument(help="jobs, tasks, agents or endpoints; or KIND/NAME.", metavar="KIND", show_default=False)
    ],
    scope: Scope,
    name: Annotated[str | None, typer.Argument(help="One of them.", metavar="NAME", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, with a row for whatever changes.")] = False,
    form: Format = Output.TABLE,
) -> None:
    """List jobs, tasks, agents, or the endpoints of a job; or show one of them."""
    word, _, named = kind.partition("/")
    asked, client = columns.kind_of(word), remote.client()
    if named and name:
        raise Invalid(f"write {kind} or {word} {name}, not both")
    name = name or named or None
    if watch:
        _follow(client, asked, name, scope, form)
        return
    answer, rows = _read(client, asked, name, scope)
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
    else:
        output.write_rows(asked, rows, form, has_namespaces=scope.all_namespaces)


@verb(
    "describe",
    examples=("harpoon describe job/web", "harpoon describe task/default.web.0.1-42", "harpoon describe agent/a1"),
)
def show(
    remote: Remote, what: KindAndName, namespace: Namespace = DEFAULT_NAMESPACE, form: Format = Output.TABLE
) -> None:
    """Show everything about one job, task or agent, and why it is as it is."""
    word, _, name = what.partition("/")
    kind, client = columns.kind_of(word), remote.client()
    if not name or kind is columns.ENDPOINT:
        raise Invalid(f"write what to describe as job/NAME, task/ID or agent/NAME; got {what!r}")
    value = client.get(*_path(kind, name, namespace)).body
    if kind is columns.JOB:
        value = {**value, "status": client.get(*_path(kind, name, namespace), "status").body}
    if form in (Output.JSON, Output.YAML):
        output.write(value, form)
    elif form is Output.NAME:
        output.write_name(kind, value)
    else:
        for line in describe.lines(kind, value):
            terminal.show(line)


@verb("status", examples=("harpoon status", "harpoon status -o json"))
def status(remote: Remote, form: Format = Output.TABLE) -> None:
    """Show how the server stands: its store, who leads, its agents and tasks."""
    told = remote.client().get("status").body
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
    else:
        for line in describe.fields(told):
            terminal.show(line)


def _path(kind: Kind, name: str | None, namespace: str | None) -> tuple[str, ...]:
    """Return the API's path of one object, or of a list; without a namespace, of every one."""
    last = () if name is None else (name,)
    if kind is columns.AGENT or namespace is None:
        return (kind.plural, *last)
    if kind is columns.TASK and name is not None:
        return ("namespaces", name.partition(".")[0], kind.plural, name)
    return ("namespaces", namespace, kind.plural, *last)


def _read(client: Client, kind: Kind, name: str | None, scope: Scope) -> tuple[Any, Sequence[Object]]:
    """Return the API's answer, and its objects."""
    if kind is columns.ENDPOINT:
        if name is None:
            raise Invalid("name the job whose endpoints you want: harpoon get endpoints NAME")
        answer = client.get("namespaces", scope.namespace, "jobs", name, "endpoints").body
        return answer, answer["endpoints"]
    if name is not None:
        answer = client.get(*_path(kind, name, scope.namespace)).body
        return answer, [answer]
    query = {"tag": scope.tags} if kind is not columns.AGENT else {}
    answer = client.get(*_path(kind, None, None if scope.all_namespaces else scope.namespace), query=query).body
    if kind is columns.AGENT and scope.tags:
        answer = {**answer, "items": [agent for agent in answer["items"] if _has_tags(agent, scope.tags)]}
    return answer, answer["items"]


def _has_tags(agent: Mapping[str, Any], tags: Sequence[str]) -> bool:
    held = agent.get("tags") or {}
    return all(held.get(key) == value for key, _, value in (tag.partition("=") for tag in tags))


def _follow(client: Client, kind: Kind, name: str | None, scope: Scope, form: Output) -> None:
    """Show the rows, then each that changes; every change is read anew, so what is shown is never half of one."""
    namespace = None if scope.all_namespaces or kind is columns.AGENT else scope.namespace
    wakeups = Wakeups(client, Selection(kinds=kind.watched, namespace=namespace))
    table = output.table_of(kind, form, has_namespaces=scope.all_namespaces)
    shown: dict[tuple[str, str], str] = {}
    is_first = True
    while True:
        try:
            rows = _read(client, kind, name, scope)[1]
        except NotFound:
            if is_first:
                raise
            rows = []
        now = {(columns.namespace_of(row), columns.name_of(row)): row for row in rows}
        written = {key: json.dumps(row, sort_keys=True) for key, row in now.items()}
        changed = [now[key] for key, text in written.items() if shown.get(key) != text]
        gone = shown.keys() - now.keys()
        if form in (Output.TABLE, Output.WIDE):
            for line in table.lines(changed, has_titles=is_first) if changed or is_first else ():
                terminal.show(line)
            for key in sorted(gone):
                terminal.show(f"{key[1]}   gone")
        else:
            _follow_lines(kind, changed, sorted(gone), form)
        shown, is_first = written, False
        wakeups.wait()


def _follow_lines(kind: Kind, changed: Sequence[Object], gone: Sequence[tuple[str, str]], form: Output) -> None:
    for row in changed:
        if form is Output.NAME:
            output.write_name(kind, row)
        else:
            output.write_line({"type": "put", "kind": kind.name, "object": row})
    if form is Output.NAME:
        return
    for namespace, name in gone:
        output.write_line({"type": "delete", "kind": kind.name, "namespace": namespace, "name": name})
