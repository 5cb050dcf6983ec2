"""The verb ``rebalance``: tasks moved to where placing would put them today, so many at most."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from harpoon.cli import offers, output, terminal, waiting
from harpoon.cli.options import Format, Output, Patience, Remote
from harpoon.cli.outcome import ExitCode
from harpoon.cli.session import Session
from harpoon.cli.table import Column
from harpoon.cli.verb import verb
from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.model.name import DEFAULT_NAMESPACE
from harpoon.model.rebalance import MOVES_MAX

_MOVES: Final = (
    Column("TASK", lambda row: str(row["task"])),
    Column("FROM", lambda row: str(row["agent"])),
    Column("TO", lambda row: str(row["to"])),
    Column("WHY", lambda row: str(row["reason"]), is_sentence=True),
)


@verb(
    "rebalance",
    examples=(
        "harpoon rebalance --plan",
        "harpoon rebalance --max-moves 10",
        "harpoon rebalance --plan --max-moves 5 --job web -n shop",
    ),
)
def rebalance(  # noqa: PLR0913 each is an option
    *,
    remote: Remote,
    plan: Annotated[bool, typer.Option("--plan", help="Only say which tasks would be moved.")] = False,
    max_moves: Annotated[
        int | None,
        typer.Option(help="Move so many tasks at most.", min=1, max=MOVES_MAX, metavar="N", show_default=False),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace", "-n", help="Only of this one.", show_default="all", autocompletion=offers.namespaces
        ),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(help="Only of this job.", metavar="NAME", show_default="all", autocompletion=offers.jobs),
    ] = None,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="Also of exclusive jobs: stopped first, then started elsewhere.")
    ] = False,
    patience: Patience,
    form: Format = Output.TABLE,
) -> None:
    """Move tasks to where they would be placed today, such as to agents that came later; those that gain most first.

    Each is replaced before it is stopped, as when its agent is drained. Jobs that are changing just now are left out.
    Exit code of --plan: 0: none would be moved; 10: some would.
    """
    if not plan and max_moves is None:
        raise Invalid("say how many tasks may be moved, --max-moves N; or only look: --plan")
    client = remote.client()
    order: dict[str, object] = {"max_moves": max_moves or MOVES_MAX, "exclusive": exclusive, "dry_run": plan}
    if job is not None:
        order |= {"job": job.removeprefix("job/"), "namespace": namespace or DEFAULT_NAMESPACE}
    elif namespace is not None:
        order |= {"namespace": namespace}
    answer = client.post("rebalance", body=order).body
    _write(answer, form, is_planned=plan)
    if plan and answer["moves"]:
        raise typer.Exit(ExitCode.DIFFERS)
    if not plan and answer["moves"] and patience.wait:
        _wait(client, [str(move["task"]) for move in answer["moves"]], patience.span)


def _write(answer: Mapping[str, Any], form: Output, *, is_planned: bool) -> None:
    moves = answer["moves"]
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
    elif form is Output.NAME:
        for move in moves:
            terminal.show(f"task/{move['task']}")
    elif moves:
        output.write_table(_MOVES, moves, form)
    count = f"{len(moves)} task{'s' * (len(moves) != 1)}"
    terminal.say(f"{count} {'would be moved' if is_planned else 'to move'}" if moves else "nothing to move")
    if not answer["is_whole"]:
        terminal.say("there are too many jobs to look at all at once; name a namespace with -n")


def _wait(client: Session, tasks: Sequence[str], timeout: timedelta) -> None:
    """Wait until none of these is on the move any more, and tell which stayed.

    Raises:
        HarpoonError: As for `waiting.wait_until`.
    """

    def look(span: timedelta) -> waiting.Standing:
        left = set(tasks).intersection(move["task"] for move in waiting.blocked(client, ("rebalance",), span)["moves"])
        done = f"{len(tasks) - len(left)} of {len(tasks)} moved"
        return waiting.Standing(is_done=not left, phase="moving", summary=done, waiting=sorted(left)[:3])

    waiting.wait_until("rebalancing", look, timeout, again="harpoon rebalance --plan")
    stayed = [task for task in tasks if _stays(client, task)]
    terminal.say(f"{len(tasks) - len(stayed)} of {len(tasks)} moved")
    for task in stayed:
        terminal.say(f"task/{task} stays where it is: there was no better place any more")


def _stays(client: Session, task: str) -> bool:
    """Whether a task was left where it is; one that cannot be asked for is gone."""
    try:
        return bool(client.get("namespaces", task.partition(".")[0], "tasks", task).body.get("ready"))
    except HarpoonError:
        return False
