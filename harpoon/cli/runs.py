"""The verbs of ``run``: start a run of a workflow, and what a person tells one that goes on."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urljoin

import typer

from harpoon.cli import documents, figures, offers, output, run_waiting, run_watching, screens, terminal
from harpoon.cli.options import Format, Output, Remote, span_of
from harpoon.cli.session import Session
from harpoon.cli.subject import id_of
from harpoon.cli.table import Column
from harpoon.cli.values import mapping_of
from harpoon.cli.verb import verb, verbs
from harpoon.client.watch import RunSelection
from harpoon.kit.errors import Invalid
from harpoon.model.name import DEFAULT_NAMESPACE
from harpoon.model.units import format_duration

_EXAMPLES: Final = ("harpoon run start refund --set order=o-17 --set amount=20 --wait", "harpoon run cancel o-17")

#: Types of inputs that are written without quotes.
_PLAIN: Final = ("string", "integer", "number", "boolean")

runs: Final = verbs(
    "run", "Start runs of workflows, watch and signal them; pause, resume, cancel or repair them.", examples=_EXAMPLES
)

Namespace = Annotated[
    str,
    typer.Option("--namespace", "-n", help="Where the run is.", metavar="NS", autocompletion=offers.namespaces),
]
Run = Annotated[
    str,
    typer.Argument(
        help="The run's id.",
        metavar="RUN",
        show_default=False,
        callback=id_of,
        autocompletion=offers.runs,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a run is given."""

    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="The value of an input; may be repeated. Not for secrets.", metavar="NAME=VALUE"),
    ] = None
    inputs: Annotated[
        str | None,
        typer.Option(help="All inputs, as YAML or JSON; - reads standard input.", metavar="FILE"),
    ] = None


@verb(
    "start",
    group=runs,
    examples=(
        "harpoon run start refund --set order=o-17 --set amount=20",
        "harpoon run start refund --id o-17 --inputs order.json --wait",
        "harpoon run start nightly -n shop --tag cause=manual --deadline 2h",
    ),
)
def start(  # noqa: PLR0913 one option each
    *,
    remote: Remote,
    workflow: Annotated[
        str,
        typer.Argument(
            help="The workflow's name.",
            metavar="WORKFLOW",
            show_default=False,
            callback=lambda text: text.removeprefix("workflow/"),
            autocompletion=offers.workflows,
        ),
    ],
    called: Annotated[
        str | None,
        typer.Option("--id", help="What the run is called: the same start again is the same run.", metavar="ID"),
    ] = None,
    given: Given,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="To select it by; may be repeated.", metavar="K=V")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(help="By then it is over.", metavar="DURATION", show_default="the workflow's")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is over.")] = False,
    timeout: Annotated[
        str | None,
        typer.Option(help="How long to wait, such as 30s or 5m.", metavar="DURATION", show_default="until it is over"),
    ] = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Start a run of a workflow.

    With --wait, wait until it is over, and show what came of it (exit code 7: it did not succeed). It goes on without
    whoever waits.
    """
    if timeout is not None and not wait:
        raise Invalid("--timeout is how long --wait waits; give --wait as well")
    patience = None if timeout is None else span_of(timeout)
    client = remote.client()
    order: dict[str, Any] = {"workflow": workflow, "inputs": inputs_of(client, namespace, workflow, given)}
    if called is not None:
        order["id"] = called
    if tag:
        order["tags"] = mapping_of("--tag", tag)
    if deadline is not None:
        order["deadline"] = format_duration(span_of(deadline))
    answer = client.post("namespaces", namespace, "runs", body=order)
    run = answer.body
    if wait:
        run = run_waiting.wait_run(client, namespace, str(run["id"]), patience)
    _tell(run, form, "started" if answer.status == 201 else "was started before", is_over=wait)
    if wait:
        run_waiting.judge(run)


@verb(
    "watch",
    group=runs,
    examples=("harpoon run watch o-17", "harpoon run watch o-17 -o json", "harpoon run watch o-17 --after 12"),
)
def watch(
    *,
    remote: Remote,
    run: Run,
    after: Annotated[
        int | None, typer.Option(help="Only what comes after this event, by its number.", metavar="SEQ", min=0)
    ] = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Show how a run stands, then everything that happens in it, in order, until it is over.

    It goes on over lost connections. Exit code 7: the run did not succeed. With -o json, each line is one message of
    the API: snapshot, change, bookmark or over.
    """
    selection = RunSelection(namespace=namespace, run=run, after=None if after is None else str(after))
    run_watching.follow(remote.client(), selection, form, run=run)


@verb(
    "signal",
    group=runs,
    examples=(
        "harpoon run signal o-17 decision --label approved",
        'harpoon run signal o-17 decision --label rejected --payload \'{"by": "ann"}\' --id d-1',
        "harpoon run signal paid --key o-17 --payload '{\"amount\": 20}'",
    ),
)
def signal(  # noqa: PLR0913 one option each
    *,
    remote: Remote,
    words: Annotated[
        list[str],
        typer.Argument(
            help="The run's id and the signal's name; with --key the name only.",
            metavar="[RUN] NAME",
            show_default=False,
            autocompletion=offers.runs,
        ),
    ],
    label: Annotated[
        str | None, typer.Option(help="By which the operation that waits closes.", metavar="L", show_default="done")
    ] = None,
    payload: Annotated[
        str | None, typer.Option(help="What becomes its output; - reads standard input.", metavar="JSON")
    ] = None,
    called: Annotated[
        str | None, typer.Option("--id", help="Of two signals of one id, the second changes nothing.", metavar="ID")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="To one run that waits for the signal with this key.", metavar="KEY")
    ] = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Send a signal to a run; it is kept until an operation waits for it, for 7 days.

    With --key, send it to one run that waits for it with this key; it is kept until there is one, for 7 days.
    """
    if len(words) != (2 if key is None else 1):
        raise Invalid("write harpoon run signal RUN NAME, or harpoon run signal NAME --key KEY")
    body: dict[str, Any] = {} if label is None else {"label": label}
    if called is not None:
        body["id"] = called
    if payload is not None:
        body["payload"] = _payload(payload)
    name, client = words[-1], remote.client()
    if key is not None:
        _send_by_key(client, namespace, name, key, body, form)
        return
    run = id_of(words[0])
    told = client.post("namespaces", namespace, "runs", run, "signals", name, body=body).body
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
    else:
        terminal.show(f"run/{run}" if form is Output.NAME else f"run/{run} has signal {name} ({told['id']})")


@verb(
    "cancel",
    group=runs,
    examples=("harpoon run cancel o-17", 'harpoon run cancel o-17 --reason "ordered twice"'),
)
def cancel(
    remote: Remote,
    run: Run,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the run.", metavar="TEXT", show_default=False)] = "",
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """End a run: what is open closes as cancelled, and nothing follows. Workers that are at it are told."""
    path = ("namespaces", namespace, "runs", run, "cancel")
    tell_done(remote.client().post(*path, body={"reason": reason} if reason else {}).body, form, "is cancelled")


_CALLBACK: Final = (
    Column("OPERATION", lambda row: str(row["op"])),
    Column("VISIT", lambda row: str(row["visit"])),
    Column("STATE", lambda row: "used" if row["is_used"] else "open" if row["is_open"] else "next", is_state=True),
    Column("URL", lambda row: str(row["url"])),
)


@verb("callbacks", group=runs, examples=("harpoon run callbacks o-17",))
def callbacks(remote: Remote, run: Run, namespace: Namespace = DEFAULT_NAMESPACE, form: Format = Output.TABLE) -> None:
    """Show by which URLs a run is called back. Each is a credential: who has it can answer, once.

    Without --public-url at the server, it is where this command reaches the server.
    """
    client = remote.client()
    told = client.get("namespaces", namespace, "runs", run, "callbacks").body
    items = [{**one, "url": urljoin(client.url, one["url"])} for one in told["items"]]
    if form in (Output.JSON, Output.YAML):
        output.write({**told, "items": items}, form)
    elif form is Output.NAME:
        for one in items:
            terminal.show(one["url"])
    elif not items:
        terminal.say(f"run/{run} waits for no callback")
    else:
        for line in screens.table(_CALLBACK, items, is_wide=True):
            terminal.show(line)


@verb("pause", group=runs, examples=("harpoon run pause o-17",))
def pause(remote: Remote, run: Run, namespace: Namespace = DEFAULT_NAMESPACE, form: Format = Output.TABLE) -> None:
    """Have nothing of a run claimed, fired or consumed until it is resumed. Its clocks run on."""
    told = remote.client().post("namespaces", namespace, "runs", run, "pause", body={}).body
    tell_done(told, form, f"is paused; to go on: harpoon run resume {run}")


@verb("resume", group=runs, examples=("harpoon run resume o-17",))
def resume(remote: Remote, run: Run, namespace: Namespace = DEFAULT_NAMESPACE, form: Format = Output.TABLE) -> None:
    """Have a run go on that was paused."""
    tell_done(remote.client().post("namespaces", namespace, "runs", run, "resume", body={}).body, form, "goes on")


def tell_done(run: Mapping[str, Any], form: Output, done: str) -> None:
    """Say what was done with a run."""
    if form in (Output.JSON, Output.YAML):
        output.write(run, form)
    else:
        terminal.show(f"run/{run['id']}" if form is Output.NAME else f"run/{run['id']} {done}")


def _send_by_key(client: Session, namespace: str, name: str, key: str, body: Mapping[str, Any], form: Output) -> None:
    told = client.post("namespaces", namespace, "signals", name, body=body, query={"key": key}).body
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
    elif told["run"] is not None:
        run = f"run/{told['run']}"
        terminal.show(run if form is Output.NAME else f"{run} has signal {name} ({told['id']})")
    else:
        terminal.say(f"signal {name} with key {key!r} is kept for 7 days, until a run waits for it ({told['id']})")


def _tell(run: Mapping[str, Any], form: Output, done: str, *, is_over: bool) -> None:
    if form in (Output.JSON, Output.YAML):
        output.write(run, form)
    elif form is Output.NAME or not is_over:
        terminal.show(f"run/{run['id']}" + ("" if form is Output.NAME else f" {done}"))
    else:
        took = figures.span(run["created_ms"], run["ended_ms"])
        terminal.show(f"run/{run['id']} {run['status']} after {took}")
        if run.get("outputs"):
            terminal.show(json.dumps(run["outputs"], indent=2, ensure_ascii=False))


def inputs_of(client: Session, namespace: str, workflow: str, given: Given) -> Mapping[str, Any]:
    """Return the inputs that were given: those of the file, and over them those that were set."""
    told = _of_file(given.inputs) if given.inputs is not None else {}
    if not given.set_:
        return told
    schemas = client.get("namespaces", namespace, "workflows", workflow).body["spec"].get("inputs") or {}
    return {**told, **_typed(given.set_, schemas, workflow)}


def _typed(given: Sequence[str], schemas: Mapping[str, Any], workflow: str) -> dict[str, Any]:
    """Read each ``NAME=VALUE`` as the schema of that input says; what is no text, number or truth value, as JSON."""
    told: dict[str, Any] = {}
    for text in given:
        name, mark, value = text.partition("=")
        if name in told:
            raise Invalid(f"--set {name} stands twice; say which value is meant")
        if mark and name in schemas and _kind(schemas[name]) not in _PLAIN:
            told[name] = json_of(f"--set {name}", value)
        else:
            told |= documents.arguments_of([text], schemas, f"workflow {workflow}", what="an input")
    return told


def _kind(schema: object) -> object:
    return schema.get("type") if isinstance(schema, Mapping) else None


def _of_file(file: str) -> Mapping[str, Any]:
    value = documents.read_one(file).value
    if not isinstance(value, dict):
        raise Invalid(f"{file}: inputs are a mapping of names to values")
    return value


def _payload(text: str) -> Any:
    return json_of("--payload", sys.stdin.read() if text == "-" else text)


def json_of(what: str, text: str) -> Any:
    """Return the value that is written as JSON.

    Raises:
        Invalid: It is none.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise Invalid(f'{what}: write JSON, such as {{"a": 1}} or "text" in its quotes; got {text[:80]!r}') from error


def _no_number(text: str) -> None:
    raise ValueError(text)
