"""Stories of the machine: scripts of events, each with the trace it must leave. See ``tests/stories``.

A line is ``<second> <event> <arguments>``; below it, indented, the phase after it and the effects in order. Tasks are
``<slot>:<state>``, where ``running`` is ready and ``unready`` is running but not ready; ``/c2`` marks another cluster's.
"""

import shlex
from pathlib import Path

from harpoon.core import signals
from harpoon.core.machine import advance, begin
from harpoon.core.picture import AgentState
from harpoon.model.agent import LinkState
from harpoon.model.command import CommandResult
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState, parse_task_id
from harpoon.model.token import Token
from tests.builders import CLUSTER, T0, a_change, a_link, a_placement, a_snapshot, a_task, a_task_id, an_agent, at

STORIES = Path(__file__).parents[1] / "stories"


def tell(text: str) -> str:
    """Play a story's events and write it down again, with the trace they leave."""
    state: AgentState | None = None
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("  "):
            continue
        lines.append(line.rstrip())
        if not line.strip() or line.startswith("#"):
            continue
        second, verb, *words = shlex.split(line)
        now = at(float(second))
        if verb == "begin":
            state = _begin(words, float(second))
            lines.append(f"  {state.phase}")
            continue
        assert state is not None, "a story begins with begin"
        state, effects = advance(state, _event(verb, words), now)
        lines.append("  " + "; ".join([str(state.phase), *map(_tell, effects)]))
    return "\n".join(lines) + "\n"


def _begin(words: list[str], second: float) -> AgentState:
    """``begin [incarnation=<n>] [<link>[@<second>]] [task …]``: what the store says; tasks are of the first."""
    link, incarnation = None, 1
    if words and words[0].startswith("incarnation="):
        incarnation = int(words.pop(0).partition("=")[2])
    if words and ":" not in words[0]:
        name, _, since = words.pop(0).partition("@")
        link = a_link(state=LinkState(name), since_ms=T0 + round(1000 * float(since or 0)), reason="as stored")
    return begin(an_agent(), link, map(_task, words), at(second), cluster=CLUSTER, incarnation=incarnation)


def _event(verb: str, words: list[str]) -> signals.Event:
    given = dict(word.split("=") for word in words if "=" in word)
    rest = [word for word in words if "=" not in word]
    seq = int(given.get("seq", 0))
    boot = given.get("boot", "b1")
    match verb:
        case "dial":
            return signals.Dial()
        case "opened":
            return signals.Opened(a_snapshot(*map(_task, rest), seq=seq, boot=boot, uid=given.get("uid")))
        case "adopted":
            return signals.Adopted(a_snapshot(*map(_task, rest), seq=seq, boot=boot))
        case "changed":
            gone = [_id(word[1:]) for word in rest if word.startswith("-")]
            tasks = [_task(word) for word in rest if not word.startswith("-")]
            return signals.Changed(a_change(*tasks, seq=seq, boot=boot, gone=gone))
        case "heard":
            return signals.Heard()
        case "broken":
            return signals.Broken(rest[0])
        case "fenced":
            return signals.FencedOff(Token(incarnation=1, revision=99))
        case "sent":
            return signals.Sent(tuple(map(_id, rest)))
        case "answered":
            results = (word.split(":") for word in rest)
            return signals.Answered(tuple(CommandResult(task=_id(slot), is_ok=said == "ok") for slot, said in results))
        case "claimed":
            return signals.Claimed(frozenset(map(_id, rest)))
        case "ticked":
            return signals.Ticked()
    raise ValueError(verb)


def _id(slot: str) -> TaskId:
    return a_task_id(slot=int(slot))


def _task(word: str) -> Task:
    name, _, cluster = word.partition("/")
    slot, _, state = name.partition(":")
    is_unready = state == "unready"
    known = TaskState.RUNNING if is_unready else TaskState(state)
    ready = False if is_unready else None
    return a_task(a_placement(slot=int(slot)), state=known, ready=ready, cluster=cluster or CLUSTER)


def _tell(effect: signals.Effect) -> str:
    match effect:
        case signals.Connect(after):
            return f"connect in {after.total_seconds():g} s"
        case signals.Adopt():
            return "adopt"
        case signals.Publish(tasks, gone):
            return " ".join(["publish", *map(_word, tasks), *(f"-{_slot(task)}" for task in gone)])
        case signals.Reconcile(None):
            return "reconcile all"
        case signals.Reconcile(tasks):
            assert tasks is not None
            return " ".join(["reconcile", *map(_slot, sorted(tasks))])
        case signals.SetLink(state, reason, since_ms):
            return f'link {state} @{(since_ms - T0) / 1000:g} "{reason}"'
        case signals.Close():
            return "close"


def _slot(task: TaskId) -> str:
    return str(parse_task_id(task).slot)


def _word(task: Task) -> str:
    is_unready = task.state is TaskState.RUNNING and not task.ready
    under = "" if task.reported is None else f"({task.reported})"
    return f"{_slot(task.id)}:{'unready' if is_unready else task.state}{under}"


def stories() -> list[Path]:
    """All stories there are."""
    return sorted(STORIES.glob("*.txt"))
