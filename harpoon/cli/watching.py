"""Following what changes: the verb watch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from harpoon.cli import offers, output, run_watching, terminal
from harpoon.cli.options import Format, Output, Remote, Scope
from harpoon.cli.verb import verb
from harpoon.client.watch import Selection
from harpoon.kit.errors import Invalid

#: All that happens in one run is watched, whatever it is.
_ONE_RUN: Final = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which runs."""

    workflow: Annotated[
        str | None,
        typer.Option(help="Only this workflow, or runs of it.", metavar="WORKFLOW", autocompletion=offers.workflows),
    ] = None
    status: Annotated[
        list[str] | None,
        typer.Option(help="Only what leaves a run so: running, failed and so on; may be repeated.", metavar="STATUS"),
    ] = None


@verb(
    "watch",
    examples=(
        "harpoon watch",
        "harpoon watch jobs,tasks -n shop -o json",
        "harpoon watch tasks -A --after 1.42",
        "harpoon watch jobs web",
        "harpoon watch runs,attempts -n shop --workflow refund",
        "harpoon watch runs -A --status failed --status timed_out",
        "harpoon watch run o-17",
    ),
)
def watch(  # noqa: PLR0913 one parameter an option
    *,
    remote: Remote,
    scope: Scope,
    kinds: Annotated[
        str,
        typer.Argument(
            help="Some of jobs, placements, tasks, agents; or some of workflows, runs, attempts; or run.",
            metavar="KINDS",
            autocompletion=offers.watched,
        ),
    ] = ",".join(offers.WATCHED),
    name: Annotated[
        str | None,
        typer.Argument(help="Only this job, agent or workflow; or this one run, until it is over.", metavar="NAME"),
    ] = None,
    choice: Choice,
    after: Annotated[
        str | None,
        typer.Option(help="Only changes after this revision, or event of the run, as shown before.", metavar="ID"),
    ] = None,
    form: Format = Output.TABLE,
) -> None:
    """Show every change once and in order, after a snapshot; go on over lost connections until interrupted.

    With -o json, each line is one message of the API: snapshot, synced, change (one whole revision) or bookmark. Of
    runs, those that are open are shown first, then each thing that happens in any; of one run, all of it until it is
    over. Exit code 7: that run did not succeed.
    """
    if form in (Output.YAML, Output.NAME):
        raise Invalid("a watch is written as table, wide or json")
    asked, name = _named(kinds, name)
    selection = Selection(
        kinds=asked,
        namespace=None if scope.all_namespaces else scope.namespace,
        name=name,
        tags=scope.tags,
        workflow=choice.workflow,
        statuses=tuple(choice.status or ()),
        after=after,
    )
    client = remote.client()
    if not set(asked).isdisjoint(offers.WATCHED_OF_RUNS):
        run_watching.follow(client, selection, form, run=name)
        return
    for message in client.watch(selection, lost=terminal.tell_loss):
        if form is Output.JSON:
            output.write_one(message, form)
        else:
            _show(message)


def _named(text: str, name: str | None) -> tuple[tuple[str, ...], str | None]:
    """Return the kinds and the name that are asked for, which may stand behind a slash.

    Raises:
        Invalid: They are two names, or kinds that are not watched together.
    """
    word, mark, behind = text.partition("/")
    if mark and name is not None:
        raise Invalid(f"{behind!r} and {name!r} are two names; write one")
    name = behind if mark else name
    if word == _ONE_RUN:
        if not name:
            raise Invalid("write which run: harpoon watch run o-17; or harpoon watch runs")
        return ("runs", "attempts"), name
    kinds = tuple(word.split(","))
    of_runs = [kind for kind in kinds if kind in offers.WATCHED_OF_RUNS]
    if of_runs and len(of_runs) < len(kinds):
        alone = ", ".join(offers.WATCHED_OF_RUNS)
        raise Invalid(f"{alone} are watched by themselves, without other kinds; got {word}")
    return kinds, name


def _show(message: Mapping[str, Any]) -> None:
    """Write a line for each object of a message; a bookmark says only that the stream lives."""
    revision = message.get("revision", "")
    match message.get("type"):
        case "snapshot":
            for item in message["items"]:
                terminal.show(_line(revision, "is", item))
        case "synced":
            terminal.say(f"{revision}  that was everything; changes follow")
        case "change":
            for item in message["changes"]:
                terminal.show(_line(revision, str(item["type"]), item))
        case _:
            pass


def _line(revision: object, verb_: str, item: Mapping[str, Any]) -> str:
    told = f"{item['key']}  {_gist(item.get('object') or {})}".rstrip()
    return f"{revision}  {verb_:<6}  {item['kind']:<9}  {terminal.plain(told)}"


def _gist(value: Mapping[str, Any]) -> str:
    """Say in a few words how an object stands."""
    state = value.get("state") or (value.get("status") or {}).get("state") or (value.get("link") or {}).get("state")
    parts = [str(state)] if state else []
    if value.get("ready"):
        parts.append("ready")
    if scale := (value.get("spec") or {}).get("scale"):
        parts.append(f"scale {scale}")
    if reason := value.get("reason"):
        parts.append(str(reason))
    return ", ".join(parts)
