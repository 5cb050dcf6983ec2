"""The verbs of ``run`` by which a person repairs one that went wrong, whether it goes on or is over."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from harpoon.cli import offers, output, terminal
from harpoon.cli.listing import read_list
from harpoon.cli.options import Format, Output, Remote
from harpoon.cli.runs import Given, Namespace, Run, inputs_of, json_of, runs, tell_done
from harpoon.cli.session import Session
from harpoon.cli.subject import id_of
from harpoon.cli.verb import verb
from harpoon.kit.errors import Conflict, Invalid, NotFound
from harpoon.model.name import DEFAULT_NAMESPACE

_Op = Annotated[str, typer.Argument(help="The operation.", metavar="OP", show_default=False)]
_Visit = Annotated[
    int | None,
    typer.Option(help="Which of its visits, where several are open or have failed.", metavar="N", min=1),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What is kept of a repair beside what it does."""

    reason: Annotated[
        str, typer.Option(help="Why; it is kept in the run's log.", metavar="TEXT", show_default=False)
    ] = ""
    by: Annotated[str, typer.Option(help="Who wants it; it is kept, too.", metavar="WHO", show_default=False)] = ""

    def told(self) -> dict[str, Any]:
        """Return what of it was given."""
        return {name: value for name, value in (("reason", self.reason), ("by", self.by)) if value}


@verb(
    "retry",
    group=runs,
    examples=(
        "harpoon run retry o-17 --from pay",
        'harpoon run retry o-17 --from pay --reason "bank was down" --by ann',
        "harpoon run retry resize --from each --failed",
        "harpoon run retry resize --from each --item 3 --item 17",
    ),
)
def retry(  # noqa: PLR0913 one option each
    *,
    remote: Remote,
    run: Run,
    from_: Annotated[str, typer.Option("--from", help="The operation to begin at.", metavar="OP", show_default=False)],
    item: Annotated[
        list[int] | None,
        typer.Option(
            help="Of one with foreach, or of a batch: only this item; the others are kept. May be repeated.",
            metavar="N",
            min=0,
        ),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Likewise: all items that came to nothing.")] = False,
    audit: Audit,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Have an operation done anew, and all that it leads to; a run that is over goes on by it.

    What is open of that part closes as cancelled. What lies outside it stays as it is, and joins know of it. The run
    has its workflow's deadline anew. At most 100 times a run.
    """
    if item and failed:
        raise Invalid("--item names items, and --failed means all that came to nothing; give one of them")
    body = {"from": from_, **audit.told()}
    if item or failed:
        body["items"] = item or []
    told = remote.client().post("namespaces", namespace, "runs", run, "retry", body=body).body
    tell_done(told, form, f"goes on from {from_}; to see it: harpoon describe run/{run}")


@verb(
    "fork",
    group=runs,
    examples=(
        "harpoon run fork o-17 --from pay",
        "harpoon run fork o-17 --from pay --id o-17b --set amount=20 --reason 'the amount was wrong'",
    ),
)
def fork(  # noqa: PLR0913 one option each
    *,
    remote: Remote,
    run: Run,
    from_: Annotated[str, typer.Option("--from", help="The operation to begin at.", metavar="OP", show_default=False)],
    called: Annotated[
        str | None,
        typer.Option("--id", help="What the new run is called: the same fork again is the same run.", metavar="ID"),
    ] = None,
    given: Given,
    audit: Audit,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Begin a run with the log of another one, and go on in it from an operation; both stay.

    What is set goes before the inputs of the other run, in what is done from there on.
    """
    client, body = remote.client(), {"from": from_, **audit.told()}
    if given.set_ or given.inputs is not None:
        workflow = str(client.get("namespaces", namespace, "runs", run).body["workflow"])
        body["inputs"] = inputs_of(client, namespace, workflow, given)
    if called is not None:
        body["id"] = called
    answer = client.post("namespaces", namespace, "runs", run, "fork", body=body)
    done = f"is forked from run/{run}" if answer.status == 201 else f"was forked from run/{run} before"
    tell_done(answer.body, form, done)


@verb(
    "move",
    group=runs,
    examples=(
        "harpoon run move o-17 o-18",
        "harpoon run move --workflow refund --all --dry-run",
        "harpoon run move o-17 --to 4f2ac1d09b7e --reason 'back to the old form'",
    ),
)
def move(  # noqa: PLR0913 one option each
    *,
    remote: Remote,
    chosen: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of runs.", metavar="[RUN]...", show_default=False, autocompletion=offers.runs),
    ] = None,
    workflow: Annotated[
        str | None,
        typer.Option(help="With --all: every open run of this workflow.", metavar="W", autocompletion=offers.workflows),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every open run of --workflow.")] = False,
    to: Annotated[
        str | None,
        typer.Option(help="The generation.", metavar="GENERATION", show_default="what the workflow stands at"),
    ] = None,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Only say which could be moved.")] = False,
    audit: Audit,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Have open runs go by another generation of their workflow: what it stands at now.

    A run stays where it stands on something that is not there in the same way; what that is, is told. Exit code 4:
    some stay.
    """
    if bool(chosen) is (workflow is not None and all_) or all_ is (workflow is None):
        raise Invalid("write harpoon run move RUN…, or harpoon run move --workflow W --all")
    client = remote.client()
    names = [id_of(name) for name in chosen or ()]
    if workflow is not None:
        query = {"workflow": workflow.removeprefix("workflow/"), "status": "running"}
        names = [one["id"] for one in read_list(client, ("namespaces", namespace, "runs"), query)["items"]]
        if not names:
            terminal.say(f"no run of workflow {query['workflow']} is open in namespace {namespace}")
    order = {**audit.told(), **({} if to is None else {"generation": to})}
    told: list[Mapping[str, Any]] = []
    missing: list[NotFound] = []
    for name in names:
        try:
            told.append(_moved(client, namespace, name, order, is_dry=is_dry))
        except NotFound as error:
            # Those that are named after it are looked at all the same.
            missing.append(error)
    if form in (Output.JSON, Output.YAML):
        output.write({"runs": told}, form)
    else:
        for one in told:
            terminal.show(f"run/{one['run']}" + ("" if form is Output.NAME else f" {_fate(one, is_dry=is_dry)}"))
    if missing:
        raise NotFound("; ".join(map(str, missing)))
    staying = [one["run"] for one in told if one["because"]]
    if staying:
        raise Conflict(f"{len(staying)} of {len(told)} {'would stay' if is_dry else 'stay'} as they are")


def _moved(client: Session, namespace: str, name: str, order: Mapping[str, Any], *, is_dry: bool) -> Mapping[str, Any]:
    """Return what became of a run; of one that is refused, why."""
    query = {"dry_run": "true"} if is_dry else None
    try:
        told = client.post("namespaces", namespace, "runs", name, "move", body=order, query=query).body
    except Conflict as error:
        return {"run": name, "is_moved": False, "because": [str(error)]}
    return dict(told)


def _fate(one: Mapping[str, Any], *, is_dry: bool) -> str:
    if one["because"]:
        return terminal.plain(f"{'would stay' if is_dry else 'stays'}: {'; '.join(one['because'])}")
    if one["before"] == one["generation"]:
        return f"is on generation {one['generation']}"
    return f"{'could move' if is_dry else 'moved'} from generation {one['before']} to {one['generation']}"


@verb("skip", group=runs, examples=("harpoon run skip o-17 tell", "harpoon run skip o-17 tell --visit 2"))
def skip(  # noqa: PLR0913 one option each
    *,
    remote: Remote,
    run: Run,
    op: _Op,
    visit: _Visit = None,
    audit: Audit,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Close a visit as done, without an output: one that is open, has failed, or was cut short by the run's end."""
    body = {"op": op, **({} if visit is None else {"visit": visit}), **audit.told()}
    told = remote.client().post("namespaces", namespace, "runs", run, "skip", body=body).body
    tell_done(told, form, f"goes on without {op}")


@verb(
    "set",
    group=runs,
    examples=(
        "harpoon run set o-17 pay --label approved",
        'harpoon run set o-17 pay --value \'{"id": "p-3"}\' --reason "paid by hand"',
    ),
)
def set_(  # noqa: PLR0913 one option each
    *,
    remote: Remote,
    run: Run,
    op: _Op,
    label: Annotated[str | None, typer.Option(help="By which it closes.", metavar="L", show_default="done")] = None,
    value: Annotated[
        str | None, typer.Option(help="What becomes its output; - reads standard input.", metavar="JSON")
    ] = None,
    visit: _Visit = None,
    audit: Audit,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Close a visit by hand: one that is open, has failed, or was cut short by the run's end; what follows, follows.

    The label is one that the operation offers; its output may be as large as those of its workers.
    """
    body: dict[str, Any] = {"op": op, **audit.told()}
    if label is not None:
        body["label"] = label
    if value is not None:
        body["output"] = json_of("--value", sys.stdin.read() if value == "-" else value)
    if visit is not None:
        body["visit"] = visit
    told = remote.client().post("namespaces", namespace, "runs", run, "set", body=body).body
    tell_done(told, form, f"goes on with {op} closed as {label or 'done'}")
