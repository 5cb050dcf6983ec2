"""From the log lines of real processes, and of simulated ones, to events of the history."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.proof.history import Adopted, Applied, Booted, Event, Held, Pair, Sent
from tests.proof.state import SCHEDULER

Events = tuple[Event, ...]


def events_of(node: str, t: float, line: Mapping[str, Any]) -> Events:
    """Return what a line of a log tells; nothing if it is none of what histories are made of.

    Args:
        node: Whose log it is: an agent's name, or an instance's node.
        t: When it was written, seconds since the run began.
        line: The line; ``event`` is its name.
    """
    tell = _TELL.get(line.get("event", ""))
    return () if tell is None else tell(node, t, line)


def pair(token: str) -> Pair:
    """Read a token, ``<incarnation>.<revision>``."""
    incarnation, _, revision = token.partition(".")
    return int(incarnation), int(revision)


def _leading(node: str, t: float, line: Mapping[str, Any]) -> Events:
    return (Held(t=t, node=node, what=SCHEDULER, token=pair(line["token"])),)


def _agent_held(node: str, t: float, line: Mapping[str, Any]) -> Events:
    return (Held(t=t, node=node, what=line["agent"], token=pair(line["token"])),)


def _commands_sent(node: str, t: float, line: Mapping[str, Any]) -> Events:
    # Each is "<kind> <task>: <reason>".
    commands = tuple(_command(told)[:2] for told in line["commands"])
    return (Sent(t=t, node=node, agent=line["agent"], token=pair(line["token"]), commands=commands),)


def _agent_ready(node: str, t: float, line: Mapping[str, Any]) -> Events:
    return (Booted(t=t, node=node, uid=line["uid"]),)


def _adopted(node: str, t: float, line: Mapping[str, Any]) -> Events:
    return (Adopted(t=t, node=node, token=pair(line["token"]), instance=line["instance"]),)


def _commands_carried_out(node: str, t: float, line: Mapping[str, Any]) -> Events:
    token, instance = pair(line["token"]), line["instance"]
    applied = []
    for told in line["results"]:
        kind, task, became = _command(told)
        applied.append(
            Applied(
                t=t,
                node=node,
                token=token,
                instance=instance,
                command=kind,
                task=task,
                is_ok=became in ("done", "denied"),
                is_denied=became == "denied" or became.startswith("refused as denied"),
            )
        )
    return tuple(applied)


def _command(told: str) -> tuple[str, str, str]:
    """Take ``<kind> <task>: <what is said of it>`` apart."""
    what, _, said = told.partition(": ")
    kind, _, task = what.partition(" ")
    return kind, task, said


_TELL: Final[Mapping[str, Callable[[str, float, Mapping[str, Any]], Events]]] = {
    "leading": _leading,
    "agent_held": _agent_held,
    "commands_sent": _commands_sent,
    "agent_ready": _agent_ready,
    "adopted": _adopted,
    "commands_carried_out": _commands_carried_out,
}
