"""Whether a history of a run is a behaviour of the specifications.

A history is taken apart, by agent for Ownership and by slot of an exclusive job for SlotMove, and each part becomes a
list of *steps*, small dicts in the specification's own words. TLC goes through all of them in one run.

Told are histories whose order is exact. What the specifications do not know is left out here: restored registries,
hosts that crash, agents that return though declared dead.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from shutil import copy
from typing import Any

from harpoon.control.view import AGENT_HOLDS, PLACEMENTS
from harpoon.model.name import TaskId
from harpoon.model.task import parse_task_id
from harpoon.store.hold import HOLDS
from tests.proof.history import Adopted, Applied, Booted, Committed, Event, Exited, Pair, Started
from tests.specs.checker import SPECS, check

Step = dict[str, str | int]
_HELD = HOLDS + AGENT_HOLDS


def ownership_of(events: Sequence[Event]) -> dict[str, list[Step]]:
    """Return of each agent what happened to its holds, and what it did by virtue of them."""
    steps: dict[str, list[Step]] = defaultdict(list)
    ranks = _ranked(events)
    for agent, event, step in _held(events):
        if step is not None:
            steps[agent].append(step)
        elif isinstance(event, Applied):
            token = ranks.get((agent, event.token[1]), 0)
            steps[agent].append({"kind": "applied", "agent": agent, "token": token, "inst": event.instance})
    return dict(steps)


def moves_of(events: Sequence[Event]) -> dict[str, list[Step]]:
    """Return of each slot of an exclusive job how it was placed, and what its agents did about it."""
    numbers: dict[str, set[Pair]] = defaultdict(set)
    agents: dict[str, set[str]] = defaultdict(set)
    for _, key, value in _changes(events, PLACEMENTS):
        if value is not None and value.get("is_exclusive"):
            agent, _, task = key.partition("/")
            agents[_slot(task)].add(agent)
    for task in _tasks(events):
        numbers[_slot(task)].add(_number(task))
    return {slot: _Moves(slot, sorted(numbers[slot]), agents[slot]).steps(events) for slot in agents}


class _Moves:
    """Goes through a history for one slot."""

    def __init__(self, slot: str, numbers: Sequence[Pair], agents: set[str]) -> None:
        self._slot = slot
        self._numbers = {number: rank for rank, number in enumerate(numbers, 1)}
        self._agents = agents
        self._states: dict[tuple[str, int], str] = {}
        self._dead: set[str] = set()
        self._ranks: dict[tuple[str, int], int] = {}

    def steps(self, events: Sequence[Event]) -> list[Step]:
        """Return what concerns the slot."""
        steps: list[Step] = []
        self._ranks = _ranked(events)
        for agent, event, step in _held(events):
            if agent in self._agents and agent not in self._dead:
                told = [step] if step is not None else self._did(agent, event)
                steps += [{key: value for key, value in one.items() if key != "inst"} for one in told]
            if not agent:
                assert isinstance(event, Committed)
                for _, key, value in _changes((event,), PLACEMENTS):
                    where, _, task = key.partition("/")
                    if _slot(task) == self._slot:
                        steps += self._committed(where, self._numbers[_number(task)], value)
        return steps

    def _committed(self, agent: str, number: int, value: Mapping[str, Any] | None) -> Iterator[Step]:
        before = self._states.get((agent, number), "none")
        if value is None:
            if before in {"live", "revoked"}:
                self._dead.add(agent)
                self._states |= {key: "gone" for key in self._states if key[0] == agent}
                yield {"kind": "dead", "agent": agent}
            return
        is_revoked, is_denied = value.get("is_revoked"), value.get("is_denied")
        after = "denied" if is_denied else "revoked" if is_revoked else "live"
        self._states[agent, number] = after
        kinds = {"live": "placed", "revoked": "revoked", "denied": "denied"}
        if after != before:
            yield {"kind": kinds[after], "agent": agent, "number": number}

    def _did(self, agent: str, event: Event) -> Iterator[Step]:
        task = getattr(event, "task", "")
        if not task or _slot(task) != self._slot:
            return
        about: Step = {"agent": agent, "number": self._numbers[_number(task)]}
        match event:
            case Started():
                yield {"kind": "started", **about}
            case Exited():
                yield {"kind": "exited", **about}
            case Applied():
                kind = {("start", True): "obeyed", ("start", False): "refused", ("forget", True): "forgotten"}
                if (event.is_ok or event.is_denied) and (event.command, event.is_ok) in kind:
                    told = kind[event.command, event.is_ok]
                    if told != "forgotten" or event.is_denied:
                        yield {"kind": told, **about, "token": self._ranks.get((agent, event.token[1]), 0)}


def _held(events: Sequence[Event]) -> Iterator[tuple[str, Event, Step | None]]:
    """Go through a history; what concerns an agent's holds comes as a step, what is no agent's without a name."""
    ranks, held = _ranked(events), set[str]()
    for event in events:
        match event:
            case Committed():
                for _, agent, value in _changes((event,), _HELD):
                    if value is None and agent in held:
                        held.discard(agent)
                        yield agent, event, {"kind": "released", "agent": agent}
                    elif value is not None and agent not in held:
                        held.add(agent)
                        told = {"agent": agent, "token": ranks[agent, event.revision], "inst": value["instance"]}
                        yield agent, event, {"kind": "granted", **told}
                yield "", event, None
            case Adopted():
                # 0: a token of which nothing is known was never granted.
                token = ranks.get((event.node, event.token[1]), 0)
                told = {"agent": event.node, "token": token, "inst": event.instance}
                yield event.node, event, {"kind": "adopted", **told}
            case Booted():
                yield event.node, event, {"kind": "booted", "agent": event.node}
            case Applied() | Started() | Exited():
                yield event.node, event, None
            case _:
                pass


def _ranked(events: Iterable[Event]) -> dict[tuple[str, int], int]:
    """Return of agents and revisions at which a hold of theirs was made, the how-manyeth it is."""
    ranks: dict[tuple[str, int], int] = {}
    counts: dict[str, int] = defaultdict(int)
    held: set[str] = set()
    for event, agent, value in _changes(events, _HELD):
        if value is None:
            held.discard(agent)
        elif agent not in held:
            held.add(agent)
            counts[agent] += 1
            ranks[agent, event.revision] = counts[agent]
    return ranks


def _changes(events: Iterable[Event], prefix: str) -> Iterator[tuple[Committed, str, Mapping[str, Any] | None]]:
    for event in events:
        if isinstance(event, Committed):
            for key, value in event.changes.items():
                if key.startswith(prefix):
                    yield event, key.removeprefix(prefix), value


def _tasks(events: Sequence[Event]) -> Iterator[str]:
    yield from (key.partition("/")[2] for _, key, _ in _changes(events, PLACEMENTS))
    yield from (event.task for event in events if isinstance(event, Applied | Started | Exited))


def _slot(task: str) -> str:
    return task.rpartition(".")[0]


def _number(task: str) -> Pair:
    return parse_task_id(TaskId(task)).number


# The checker's part.


def behave(module: str, histories: Mapping[str, Sequence[Step]], scratch: Path) -> dict[str, int | None]:
    """Return of each history which of its steps cannot be, counted from 0; None: it is a behaviour of the module."""
    if not histories:
        return {}
    for spec in SPECS.glob("*.tla"):
        copy(spec, scratch)
    (scratch / "Histories.tla").write_text(_written(histories.values()))
    lines = ["SPECIFICATION TraceSpec", f"INVARIANTS Reached {_PROMISED[module]}", "CONSTANTS", '    Wrong = "nothing"']
    lines += [f"    {name} = {value}" for name, value in _constants(module, histories.values()).items()]
    (scratch / "trace.cfg").write_text("\n".join(lines) + "\n")
    verdict = check(scratch / f"{module}Trace.tla", scratch / "trace.cfg", scratch)
    assert verdict.is_complete, verdict.text
    reached: dict[int, int] = defaultdict(int)
    for history, step in re.findall(r'<<"REACHED", (\d+), (\d+)>>', verdict.text):
        reached[int(history)] = max(reached[int(history)], int(step) - 1)
    return {
        name: None if reached[number] == len(steps) else reached[number]
        for number, (name, steps) in enumerate(histories.items(), 1)
    }


_PROMISED = {"Ownership": "S1 S2 PictureHolds AdoptedFirst", "SlotMove": "S3 Claimed OneOpen NumbersRise Ended"}


def _constants(module: str, histories: Iterable[Sequence[Step]]) -> dict[str, str | int]:
    steps = [step for history in histories for step in history]
    highest = {what: max([1, *(int(step.get(what, 0)) for step in steps)]) for what in ("token", "number")}
    agents = _set(step["agent"] for step in steps)
    if module == "Ownership":
        instances = _set(step["inst"] for step in steps if "inst" in step)
        bounds = {"TokensMax": highest["token"], "WritesMax": 0, "SealsMax": 0}
        return {"Agents": agents, "Instances": instances, "Nobody": '"-"', **bounds}
    bounds = {"PlacementsMax": highest["number"], "TokensMax": highest["token"], "GuardsMax": 1, "CrashesMax": 0}
    return {"Agents": agents, "Nowhere": '"-"', **bounds}


def _set(values: Iterable[Any]) -> str:
    return "{" + ", ".join(f'"{value}"' for value in sorted(set(values))) + "}"


def _written(histories: Iterable[Sequence[Step]]) -> str:
    def record(step: Step) -> str:
        fields = (
            f'{key} |-> "{value}"' if isinstance(value, str) else f"{key} |-> {value}" for key, value in step.items()
        )
        return f"[{', '.join(fields)}]"

    told = ",\n".join("  <<" + ",\n    ".join(map(record, steps)) + ">>" for steps in histories)
    return f"---- MODULE Histories ----\nHistories == <<\n{told}\n>>\n====\n"
