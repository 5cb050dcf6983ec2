"""Verbs that show how things are: version, get, status."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from harpoon import __version__
from harpoon.cli import at as looking
from harpoon.cli import cells, columns, fields, figures, offers, output, run_lists, terminal
from harpoon.cli.columns import Kind
from harpoon.cli.follow import Changing, follow
from harpoon.cli.listing import read_list
from harpoon.cli.options import Format, Output, Remote, Scope
from harpoon.cli.session import Session
from harpoon.cli.subject import Subject, id_of
from harpoon.cli.table import Object
from harpoon.cli.verb import verb
from harpoon.client.watch import Selection
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.run import Status as RunStatus

#: What may be listed of all namespaces, with a column for them.
_NAMESPACED: Final = (columns.JOB, columns.TASK, columns.WORKFLOW, columns.RUN, columns.BATCH)
#: Of what no history is kept.
_PRESENT: Final = (columns.WORKFLOW, columns.RUN, columns.BATCH, columns.ITEM, columns.WORKER)


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
        "harpoon get waiting -A",
        "harpoon get namespaces",
        "harpoon get tasks --at -10m",
        "harpoon get workflows",
        "harpoon get workers -n shop",
        "harpoon get runs --workflow refund --status failed",
        "harpoon get batches",
        "harpoon get items resize",
        "harpoon get runs --since 2h --limit 20 -l team=shop",
    ),
)
def get(  # noqa: PLR0913 one parameter an option
    *,
    remote: Remote,
    kind: Annotated[
        str,
        typer.Argument(
            help="jobs, tasks, agents, endpoints, waiting, namespaces, workflows, runs, batches, items or workers; or "
            "KIND/NAME.",
            metavar="KIND",
            show_default=False,
            autocompletion=offers.kinds_and_names,
        ),
    ],
    scope: Scope,
    name: Annotated[
        str | None,
        typer.Argument(help="One of them.", metavar="NAME", show_default=False, autocompletion=offers.names_of_kind),
    ] = None,
    status_: Annotated[
        list[RunStatus] | None, typer.Option("--status", help="Only runs that stand so; may be repeated.")
    ] = None,
    workflow: Annotated[
        str | None,
        typer.Option(help="Only runs of this workflow.", metavar="NAME", autocompletion=offers.workflows),
    ] = None,
    parked: Annotated[
        bool, typer.Option("--parked", help="Only runs in which a failure is parked, until somebody repairs it.")
    ] = False,
    span: run_lists.Span,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, with a row for whatever changes.")] = False,
    at: looking.At = None,
    form: Format = Output.TABLE,
) -> None:
    """List jobs, tasks, agents, endpoints, what waits, namespaces, workflows, runs, batches or workers; or show one.

    The endpoints are those of a job; the items those of a run, or of a batch, each with what came of it.

    With -w, go on with what changes: with -o json a line, with -o yaml a document for each. With --at, show what
    stood then, as far as the server keeps a history; of workflows, runs and workers none is kept.
    """
    word, _, named = kind.partition("/")
    asked, client = columns.kind_of(word), remote.client()
    if named and name:
        raise Invalid(f"write {kind} or {word} {name}, not both")
    name = name or named or None
    _check(asked, name, scope, is_watching=watch)
    if watch and at is not None:
        raise Invalid("what was does not change any more; drop -w, or --at")
    has_namespaces = scope.all_namespaces and asked in _NAMESPACED
    chosen = tuple(status_ or ())
    if (chosen or workflow or parked or span.is_given) and (asked is not columns.RUN or name):
        raise Invalid(
            "--status, --parked, --workflow, --parent, --since, --until and --limit "
            "select from a list of runs: harpoon get runs"
        )
    if at is not None and asked in _PRESENT:
        raise Invalid(f"of {asked.plural} no history is kept; drop --at")
    if asked is columns.ITEM and form is Output.NAME:
        raise Invalid("items have no names; write them as table, wide, json or yaml")
    if asked is columns.RUN and name is None:
        if watch and span.limit is not None:
            raise Invalid("what is watched is watched whole; drop -w, or --limit")
        query = {"status": [one.value for one in chosen], "workflow": workflow, "tag": scope.tags, **span.query()}
        query |= {"parked": "true"} if parked else {}
        run_lists.show(client, scope, query, form, is_watching=watch)
        return
    if watch:
        namespace = None if scope.all_namespaces or asked is columns.AGENT else scope.namespace
        changing = Changing(asked, form, has_namespaces=has_namespaces)
        selection = Selection(kinds=asked.watched, namespace=namespace)
        follow(client, selection, lambda: _read(client, asked, name, scope)[1], changing.show)
        return
    answer, rows = _read(client, asked, name, scope, at)
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
    else:
        shown = columns.of_items(rows) if asked is columns.ITEM else asked
        output.write_rows(shown, rows, form, has_namespaces=has_namespaces)


@verb("status", examples=("harpoon status", "harpoon status -o json"))
def status(remote: Remote, form: Format = Output.TABLE) -> None:
    """Show how the server stands: its store, who leads, agents and tasks; and the other instances, if there are any."""
    told = remote.client().get("status").body
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
    else:
        health, instances = told.pop("store_health", None), told.pop("instances", [])
        if health is not None:
            told["store"] = store_line(told["store"], health)
        for line in fields.lines(told):
            terminal.show(line)
        # Of one that is alone and well, all has been said.
        if len(instances) > 1 or form is Output.WIDE or any(cells.note(one) for one in instances):
            terminal.show("")
            output.write_table(columns.INSTANCE, instances, form)


def store_line(kind: str, health: Mapping[str, Any]) -> str:
    """Say in a line what the store is, and how it does."""
    where = f"{kind} at {health['at']}" if health["at"] else kind
    if health["trouble"]:
        since = figures.age(health["since_ms"])
        reason = health["reason"].removeprefix(f"{where}: ")
        return f"{where}: {health['trouble']}{f' for {since}' if since else ''}; {reason}"
    gauges = health["gauges"]
    told = [f"{where} ({health['version']})" if health["version"] else where]
    if "db_bytes" in gauges:
        quota = f" of {_size(gauges['db_quota_bytes'])}" if gauges.get("db_quota_bytes") else ""
        told.append(_size(gauges["db_bytes"]) + quota)
    if "lease_left_seconds" in gauges:
        told.append(f"lease {gauges['lease_left_seconds']:.1f} s left")
    return ", ".join(told) + (f"; {health['reason']}" if health["reason"] else "")


def _size(amount: float) -> str:
    return figures.rounded(str(int(amount)))


def _path(kind: Kind, name: str | None, namespace: str | None) -> tuple[str, ...]:
    """Return the API's path of one object, or of a list; without a namespace, of every one."""
    if name is not None:
        return Subject(kind, name.partition(".")[0] if kind is columns.TASK else namespace or "", name).path
    if kind in (columns.AGENT, columns.NAMESPACES) or namespace is None:
        return (kind.plural,)
    return ("namespaces", namespace, kind.plural)


def _read(
    client: Session, kind: Kind, name: str | None, scope: Scope, at: str | None = None
) -> tuple[Any, Sequence[Object]]:
    """Return the API's answer, and its objects."""
    namespace = None if scope.all_namespaces else scope.namespace
    if kind is columns.ENDPOINT:
        if name is None:
            raise Invalid("name the job whose endpoints you want: harpoon get endpoints NAME")
        answer = _one(client, ("namespaces", scope.namespace, "jobs", name, "endpoints"), at)
        return answer, answer["endpoints"]
    if kind is columns.ITEM:
        if name is None:
            raise Invalid("name the run, or the batch, whose items you want: harpoon get items NAME")
        name = id_of(name)
        answer = read_list(client, ("namespaces", scope.namespace, "runs", name, "items"))
        return answer, answer["items"]
    if kind is columns.WORKER:
        return _workers(client, name, scope)
    if kind is columns.WAITING:
        answer = _all(client, ("waiting",), {"namespace": namespace}, at)
    elif name is not None:
        answer = _one(client, _path(kind, name, scope.namespace), at)
        return answer, [answer]
    else:
        answer = _all(client, _path(kind, None, namespace), {"tag": scope.tags} if scope.tags else {}, at)
    return answer, answer["items"]


def _workers(client: Session, name: str | None, scope: Scope) -> tuple[Any, Sequence[Object]]:
    """Return the workers of a namespace, or one of them.

    Raises:
        NotFound: There is none of that name.
    """
    answer = client.get("namespaces", scope.namespace, "workers").body
    if missing := answer.get("unanswered"):
        terminal.say(f"{', '.join(missing)} did not answer: there may be workers that only they have heard")
    if name is None:
        return answer, answer["items"]
    found = [one for one in answer["items"] if one["name"] == name]
    if not found:
        raise NotFound(f"no worker {name} was heard in namespace {scope.namespace} in the last ten minutes")
    return found[0], found


def _one(client: Session, path: Sequence[str], at: str | None) -> Any:
    return client.get(*path).body if at is None else looking.read(client, path, at)


def _all(client: Session, path: Sequence[str], query: Mapping[str, Any], at: str | None) -> Any:
    return read_list(client, path, query) if at is None else looking.read(client, path, at, query)


def _check(kind: Kind, name: str | None, scope: Scope, *, is_watching: bool) -> None:
    """Refuse what would otherwise be ignored.

    Raises:
        Invalid: These do not go together.
    """
    if kind is columns.WAITING and (name or scope.tags):
        raise Invalid("what waits is listed whole, grouped by reason; of one object ask: harpoon why KIND/NAME")
    if kind is columns.WORKER and (scope.tags or scope.all_namespaces):
        raise Invalid("workers have no tags and are of one namespace; drop -l and -A, or see: harpoon report stats")
    if kind in (columns.NAMESPACES, columns.WORKFLOW, columns.BATCH, columns.ITEM, columns.WORKER) and is_watching:
        raise Invalid(f"{kind.plural} are not watched; list them again: harpoon get {kind.plural}")
    if kind is columns.RUN and name and is_watching:
        raise Invalid(f"wait for it to be over: harpoon wait run/{name}")
    if kind is columns.NAMESPACES and scope.tags:
        raise Invalid("namespaces have no tags; drop -l")
    if (name or kind in (columns.ENDPOINT, columns.ITEM)) and scope.tags:
        raise Invalid(f"tags select from a list; drop -l, or the name {name}")
    if name and scope.all_namespaces:
        raise Invalid(f"{name} is in one namespace; name it with -n instead of -A")
