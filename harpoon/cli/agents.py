"""Verbs for those who look after agents: cordon, uncordon, drain, declare-dead."""

import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from harpoon.cli import offers, output, terminal, waiting
from harpoon.cli.options import Format, Output, Remote, span_of
from harpoon.cli.outcome import ExitCode
from harpoon.cli.session import Session
from harpoon.cli.verb import verb
from harpoon.kit.errors import Invalid

#: A drain is waited for so long, and so much longer than its deadline if it has one.
TIMEOUT: Final = timedelta(minutes=5)
MARGIN: Final = timedelta(minutes=1)


def _bare(name: str) -> str:
    """Take the name out of ``agent/NAME``, as other verbs write it."""
    return name.removeprefix("agent/")


AgentName = Annotated[
    str,
    typer.Argument(
        help="The agent's name.", metavar="AGENT", show_default=False, callback=_bare, autocompletion=offers.agents
    ),
]
Reason = Annotated[
    str | None, typer.Option(help="Why, for whoever comes upon it.", metavar="TEXT", show_default="as before")
]


@verb("cordon", examples=("harpoon cordon a1", 'harpoon cordon a1 --reason "disk errors"'))
def cordon(remote: Remote, name: AgentName, reason: Reason = None, form: Format = Output.TABLE) -> None:
    """Have an agent take no new tasks; those that it has stay.

    One that is being drained keeps what it still has. Back to use: harpoon uncordon AGENT.
    """
    _post(remote.client(), name, "cordon", _given(reason=reason), form, "cordoned")


@verb("uncordon", examples=("harpoon uncordon a1",))
def uncordon(remote: Remote, name: AgentName, form: Format = Output.TABLE) -> None:
    """Let an agent take new tasks again; a drain ends, and what it has moved stays where it is."""
    _post(remote.client(), name, "uncordon", {}, form, "uncordoned")


@verb(
    "drain",
    examples=(
        "harpoon drain a1",
        'harpoon drain a1 --deadline 1h --reason "new kernel"',
        "harpoon drain a1 --no-wait",
    ),
)
def drain(  # noqa: PLR0913 each is an option
    *,
    remote: Remote,
    name: AgentName,
    deadline: Annotated[
        str | None,
        typer.Option(
            help="After so long, tasks that fit nowhere else are stopped all the same.",
            metavar="DURATION",
            show_default="never",
        ),
    ] = None,
    reason: Reason = None,
    wait: Annotated[bool, typer.Option(help="Wait until no task is left on it.")] = True,
    timeout: Annotated[
        str | None,
        typer.Option(help="How long to wait.", metavar="DURATION", show_default="5m, or 1m beyond the deadline"),
    ] = None,
    form: Format = Output.TABLE,
) -> None:
    """Have an agent take no new tasks, and its tasks moved elsewhere: each is replaced before it is stopped.

    How many of a job change at once is as for a migrate: update.surge and update.unavailable. Asked again, it waits on.
    """
    latest = None if deadline is None else span_of(deadline)
    span = span_of(timeout) if timeout is not None else TIMEOUT if latest is None else max(TIMEOUT, latest + MARGIN)
    client = remote.client()
    _post(client, name, "drain", _given(deadline=deadline, reason=reason), form, "draining")
    if wait:
        waiting.wait_drained(client, name, span)


@verb("declare-dead", examples=("harpoon declare-dead a1", 'harpoon declare-dead a1 --yes --reason "burnt down"'))
def declare_dead(
    *,
    remote: Remote,
    name: AgentName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why, for whoever looks into it later.", metavar="TEXT", show_default=False)
    ] = None,
    form: Format = Output.TABLE,
) -> None:
    """Say that an agent will never come back, so that it is forgotten, and what it ran may run elsewhere.

    Only you can know that. Tasks of jobs that wait for it, exclusive ones among them, are started elsewhere at once: if
    it does run on, they run twice. Should it return, its tasks are stopped. Refused while it is connected.
    """
    client = remote.client()
    if not yes:
        _ask(client, name)
    _post(client, name, "declare-dead", _given(reason=reason), form, "declared dead")


def _ask(client: Session, name: str) -> None:
    """Have the person at the terminal say yes.

    Raises:
        Invalid: There is nobody to ask.
        Exit: They said no.
    """
    if not sys.stdin.isatty():
        raise Invalid(
            f"there is nobody to ask whether {name} is dead; if you are sure: harpoon declare-dead {name} --yes"
        )
    agent = client.get("agents", name).body
    terminal.say(
        f"agent/{name} is {agent['link']['state']} and has {agent.get('tasks') or 0} tasks. Declared dead, it is "
        "forgotten, and what it ran is started elsewhere at once, also what waits for it, such as tasks of exclusive "
        "jobs. If it does run on, these run twice: make sure that it is off."
    )
    if not typer.confirm(f"Is {name} dead?", err=True):
        terminal.say("nothing was done")
        raise typer.Exit(ExitCode.FAILED)


def _given(**fields: str | None) -> Mapping[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _post(client: Session, name: str, action: str, body: Mapping[str, Any], form: Output, done: str) -> None:
    answer = client.post("agents", name, action, body=body)
    if form in (Output.JSON, Output.YAML):
        output.write(answer.body, form)
    else:
        terminal.show(f"agent/{name}" if form is Output.NAME else f"agent/{name} {done}")
