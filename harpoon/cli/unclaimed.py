"""``adopt`` and ``stop``: an operator's word on tasks that no record of a restored registry knows."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from harpoon.cli import columns, offers, terminal
from harpoon.cli.listing import read_list
from harpoon.cli.options import Remote
from harpoon.cli.outcome import complain
from harpoon.cli.session import Session
from harpoon.cli.subject import subject_of
from harpoon.cli.verb import verb
from harpoon.kit.errors import HarpoonError, Invalid, Unavailable
from harpoon.model.name import DEFAULT_NAMESPACE

Tasks = Annotated[
    list[str] | None,
    typer.Argument(
        help="Each task/ID, or ID.", metavar="TASK…", show_default=False, autocompletion=offers.subjects("task")
    ),
]
EveryOne = Annotated[bool, typer.Option("--all-unclaimed", help="All unclaimed tasks of the agent --agent.")]
OfAgent = Annotated[
    str | None,
    typer.Option("--agent", help="With --all-unclaimed: of this agent.", metavar="NAME", autocompletion=offers.agents),
]


@verb(
    "adopt",
    examples=("harpoon adopt task/default.web.3.1-42", "harpoon adopt --all-unclaimed --agent a1"),
)
def adopt(remote: Remote, task: Tasks = None, every_one: EveryOne = False, agent: OfAgent = None) -> None:  # noqa: FBT002 an option
    """Make unclaimed tasks the ones of their slots. They run on; what was placed there meanwhile is stopped.

    A task is unclaimed when it was started after the backup that the registry was restored from.
    """
    client = remote.client()
    _each(client, "adopt", _named(client, task, agent, every_one=every_one), _adopted)


@verb(
    "stop",
    examples=("harpoon stop task/default.web.3.1-42", "harpoon stop --all-unclaimed --agent a1"),
)
def stop(remote: Remote, task: Tasks = None, every_one: EveryOne = False, agent: OfAgent = None) -> None:  # noqa: FBT002 an option
    """Stop unclaimed tasks, and have their agents forget them. Others belong to a job: scale or unschedule that."""
    client = remote.client()
    _each(
        client, "stop", _named(client, task, agent, every_one=every_one), lambda one: f"task/{one['task']} is to stop"
    )


def _adopted(told: dict[str, Any]) -> str:
    return f"task/{told['task']} adopted, change/{told['change']}"


def _named(client: Session, tasks: Sequence[str] | None, agent: str | None, *, every_one: bool) -> list[str]:
    """Return the ids of the tasks that a command line names.

    Raises:
        Invalid: It names none, or not clearly.
    """
    if every_one == bool(tasks) or every_one != (agent is not None):
        raise Invalid("name tasks as task/ID, or all those of an agent: --all-unclaimed --agent NAME")
    if not every_one:
        return [_id(one) for one in tasks or ()]
    known = client.get("agents", str(agent).removeprefix("agent/")).body["name"]
    items = read_list(client, ("tasks",))["items"]
    found = [str(one["id"]) for one in items if one["state"] == "unclaimed" and one["agent"] == known]
    if not found:
        terminal.say(f"agent {known} has no unclaimed task")
    return found


def _id(text: str) -> str:
    subject = subject_of(text, DEFAULT_NAMESPACE)
    if subject.kind is not columns.TASK:
        raise Invalid(f"write task/ID; got {text!r}")
    return subject.name


def _each(client: Session, word: str, tasks: Sequence[str], told: Callable[[dict[str, Any]], str]) -> None:
    """Say the word on each task; one that is refused does not keep the others from it.

    Raises:
        HarpoonError: The first refusal, when all are through; or the server cannot be reached.
    """
    refusals: list[HarpoonError] = []
    for task in tasks:
        try:
            done = client.post("namespaces", task.partition(".")[0], "tasks", task, word, body={})
        except Unavailable:
            raise
        except HarpoonError as error:
            refusals.append(error)
        else:
            terminal.show(told(done.body))
    for refusal in refusals[1:]:
        complain(refusal)
    if refusals:
        raise refusals[0]
