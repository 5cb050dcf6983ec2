"""The verb ``batch``: one command, run once on each of some agents, and what came of it on each.

It declares a batch job that names its agents, and follows that. So the command runs on without whoever asked for it,
its results are kept like any other job's, and nothing here is trusted to have happened that the job's record does not
say.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from harpoon.cli import cells, gathering, offers, output, terminal
from harpoon.cli.gathering import LeftOut, Outcome
from harpoon.cli.listing import read_list
from harpoon.cli.options import Format, Namespace, Output, Remote, span_of
from harpoon.cli.outcome import EndedInFailure
from harpoon.cli.session import Session
from harpoon.cli.table import Object
from harpoon.cli.values import mapping_of
from harpoon.cli.verb import verb
from harpoon.kit.errors import HarpoonError, Invalid, NotFound
from harpoon.model.job import COMPLETIONS_MAX
from harpoon.model.name import DEFAULT_NAMESPACE

#: What was written is still to be read after the last task has ended.
KEEP_MIN: Final = timedelta(minutes=1)
#: Agents named in one sentence.
_NAMED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """On which agents."""

    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--selector", "--tag", "-l", help="On agents with this tag; may be repeated, all must hold.", metavar="K=V"
        ),
    ] = None
    agents: Annotated[
        str | None, typer.Option(help="On these agents.", metavar="NAME,…", autocompletion=offers.agents)
    ] = None
    skip_unavailable: Annotated[
        bool,
        typer.Option("--skip-unavailable", help="Agents that are cordoned or not connected are no failure."),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How the command runs on each."""

    parallel: Annotated[
        int | None, typer.Option(help="On so many agents at once.", min=1, metavar="N", show_default="all")
    ] = None
    timeout: Annotated[
        str, typer.Option(help="What has not ended by then is stopped, and has failed.", metavar="DURATION")
    ] = "10m"
    user: Annotated[
        str | None, typer.Option(help="As whom.", metavar="USER[:GROUP]", show_default="the agent's user")
    ] = None
    image: Annotated[
        str | None, typer.Option(help="In a container of this image.", metavar="IMAGE", show_default="a process")
    ] = None
    env: Annotated[
        list[str] | None, typer.Option(help="With this variable; may be repeated. Not for secrets.", metavar="K=V")
    ] = None
    cpu: Annotated[str | None, typer.Option(help="What it reserves.", show_default="nothing")] = None
    memory: Annotated[str | None, typer.Option(help="What it reserves.", show_default="nothing")] = None

    def spec(self, command: Sequence[str], agents: Sequence[str], keep: str) -> dict[str, Any]:
        """Return the spec of the job that runs a command once on each of some agents, whatever comes of the others."""
        return {
            "type": "batch",
            "placement": {"agents": agents},
            "on_failure": "finish",
            "deadline": self.timeout,
            "keep": keep,
            "task": self._task(command),
            **({} if self.parallel is None else {"parallel": self.parallel}),
        }

    def _task(self, command: Sequence[str]) -> dict[str, Any]:
        # What is typed is what runs: a manifest would put the values of variables in.
        task: dict[str, Any] = {"command": [part.replace("$", "$$") for part in command]}
        if self.image is not None:
            task |= {"driver": "docker", "image": self.image}
        if self.user is not None:
            task["user"] = self.user
        if self.env:
            task["env"] = mapping_of("--env", self.env)
        amounts = {"cpu": self.cpu, "memory": self.memory}
        if resources := {what: amount for what, amount in amounts.items() if amount is not None}:
            task["resources"] = resources
        return task


@verb(
    "batch",
    examples=(
        "harpoon batch -- uptime",
        "harpoon batch -l zone=a --parallel 2 -- sh -c 'apt-get update && apt-get -y upgrade'",
        "harpoon batch --agents a1,a2 --skip-unavailable -o json -- df -h /",
        "harpoon batch --image alpine:3 --timeout 1m -- cat /etc/os-release",
    ),
)
def batch(  # noqa: PLR0913 one parameter an option
    *,
    remote: Remote,
    command: Annotated[
        list[str],
        typer.Argument(help="The command, after --. What is for a shell, such as |, goes to sh -c.", metavar="CMD"),
    ],
    where: Where,
    how: How,
    name: Annotated[
        str | None, typer.Option(help="What the job is called.", show_default="batch- and six digits")
    ] = None,
    keep: Annotated[
        str, typer.Option(help="So long the job stays, with its results and logs.", metavar="DURATION")
    ] = "1h",
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Run a command once on each agent, or on those named, and show what came of it on each.

    It is tried on all of them, whatever becomes of it on some. Exit code 7: on one it failed, or one was left out, as
    it is cordoned or not connected. Ctrl-C unschedules the job, which stops what runs.
    """
    if form is Output.NAME:
        raise Invalid("what came of a command has no name; write it as table, wide, json or yaml")
    if span_of(keep) < KEEP_MIN:
        raise Invalid("--keep is 1m or more: what the command writes is read from what is kept")
    client, timeout = remote.client(), span_of(how.timeout)
    chosen, left_out = choose(client, where)
    for one in left_out:
        terminal.say(f"{one.agent} is left out: {one.reason}")
    if not chosen:
        raise EndedInFailure("no agent is left to run it on")
    called = name or f"batch-{secrets.token_hex(3)}"
    spec = how.spec(command, chosen, keep)
    is_data = form in (Output.JSON, Output.YAML)
    try:
        _declare(client, namespace, called, spec)
        terminal.say(f"job/{called} runs on {len(chosen)} agent{'s' * (len(chosen) > 1)}")
        outcome = gathering.follow(client, namespace, called, chosen, timeout, None if is_data else gathering.tell)
    except KeyboardInterrupt:
        _take_back(client, namespace, called)
        raise
    if is_data:
        output.write(gathering.document(outcome, left_out), form)
    else:
        output.write_table(gathering.RESULT, gathering.rows(outcome, left_out), form)
        where_kept = "" if namespace == DEFAULT_NAMESPACE else f" -n {namespace}"
        terminal.say(f"kept for {keep}: harpoon describe job/{called}{where_kept}")
    _judge(outcome, () if where.skip_unavailable else left_out)


def choose(client: Session, where: Where) -> tuple[list[str], list[LeftOut]]:
    """Return the agents that are to run it, sorted, and those that match and cannot.

    Raises:
        Invalid: They are too many, or a tag is none.
        NotFound: One that is named is not there, or none matches.
    """
    for tag in where.tag or ():
        if not all(tag.partition("=")[:2]):
            raise Invalid(f"write a tag as key=value; got {tag!r}")
    found = {one["name"]: one for one in read_list(client, ("agents",), {"tag": tuple(where.tag or ())})["items"]}
    if where.agents is not None:
        named = [one.strip().removeprefix("agent/") for one in where.agents.split(",") if one.strip()]
        if unknown := sorted(set(named) - found.keys()):
            tagged = f" with {' and '.join(where.tag)}" if where.tag else ""
            raise NotFound(f"there is no agent {', '.join(unknown[:_NAMED])}{tagged}; see: harpoon get agents")
        found = {name: found[name] for name in named}
    if not found:
        raise NotFound("no agent has these tags" if where.tag else "there is no agent; start one: harpoon agent --help")
    left_out = [LeftOut(name, reason) for name, one in sorted(found.items()) if (reason := _why_not(one))]
    chosen = sorted(found.keys() - {one.agent for one in left_out})
    if len(chosen) > COMPLETIONS_MAX:
        raise Invalid(f"at most {COMPLETIONS_MAX} agents are taken at once, and {len(chosen)} match; choose by tags")
    return chosen, left_out


def _why_not(agent: Object) -> str:
    """Say why an agent cannot run anything new; empty: it can."""
    if agent["link"]["state"] != "connected":
        reason = agent["link"].get("reason")
        return f"it is not connected ({agent['link']['state']}{f': {reason}' if reason else ''})"
    if (state := cells.scheduling(agent)) == "yes":
        return ""
    reason = agent["cordon"].get("reason")
    return f"it is {state}" + (f": {reason}" if reason else "")


def _declare(client: Session, namespace: str, name: str, spec: Mapping[str, Any]) -> None:
    metadata = {"name": name, "namespace": namespace}
    manifest = {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    client.put("namespaces", namespace, "jobs", name, body=manifest, is_new=True)


def _take_back(client: Session, namespace: str, name: str) -> None:
    """Unschedule what was declared; in a session of its own, since the other one was broken off."""
    try:
        with client.another() as other:
            other.delete("namespaces", namespace, "jobs", name)
    except NotFound:
        terminal.say(f"interrupted; there is no job/{name}")
    except HarpoonError as error:
        terminal.say(f"interrupted, and job/{name} could not be unscheduled, so it goes on: {error}")
    else:
        terminal.say(f"interrupted; job/{name} is unscheduled, and what runs of it is being stopped")


def _judge(outcome: Outcome, left_out: Sequence[LeftOut]) -> None:
    """End well, or not.

    Raises:
        EndedInFailure: On some agent it did not finish, or one was left out.
    """
    told: list[str] = []
    failed: Mapping[str, Sequence[str]] = {
        "it failed on": [one.agent for one in outcome.results if one.state == gathering.FAILED],
        "it did not end on": [one.agent for one in outcome.results if one.state == gathering.UNFINISHED],
        "left out, unless --skip-unavailable, are": [one.agent for one in left_out],
    }
    for what, agents in failed.items():
        if agents:
            more = f" and {len(agents) - _NAMED} more" if len(agents) > _NAMED else ""
            told.append(f"{what} {', '.join(agents[:_NAMED])}{more}")
    if told:
        raise EndedInFailure("; ".join(told))
