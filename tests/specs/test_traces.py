"""Histories that can be are behaviours of the specifications; those that cannot are found, and where."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.proof.history import Adopted, Applied, Booted, Committed, Event, Exited, Started
from tests.specs.checker import TIMEOUT_S
from tests.specs.traces import Step, behave, moves_of, ownership_of

pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)

SLOT = "default.db.0"


class Story:
    """Tells a history, one event after the other."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._revision = 0
        self._processes = 0

    def _commit(self, **changes: Any) -> int:
        self._revision += 1
        named = {f"/h/1/ctl/{key}": value for key, value in changes.items()}
        self.events.append(Committed(t=self._t, node="store", revision=self._revision, changes=named))
        return self._revision

    @property
    def _t(self) -> float:
        return float(len(self.events))

    def held(self, agent: str, instance: str) -> tuple[int, int]:
        """Have an instance take the hold of an agent, and adopt it."""
        token = 1, self._commit(**{f"holds/agents/{agent}": {"instance": instance}})
        self.events.append(Adopted(t=self._t, node=agent, token=token, instance=instance))
        return token

    def released(self, agent: str) -> None:
        """Have an agent's hold end."""
        self._commit(**{f"holds/agents/{agent}": None})

    def placed(self, agent: str) -> str:
        """Place the slot."""
        task = f"{SLOT}.1-{self._revision}"
        self.record(agent, task)
        return task

    def record(self, agent: str, task: str, **told: bool) -> None:
        """Write the record of a placement."""
        self._commit(**{f"placements/{agent}/{task}": {"is_exclusive": True, **told}})

    def applied(self, agent: str, token: tuple[int, int], command: str, task: str, **told: bool) -> None:
        """Have an agent carry out a command."""
        told = {"is_ok": True, **told}
        self.events.append(
            Applied(t=self._t, node=agent, token=token, instance=f"i{token[1]}", command=command, task=task, **told)
        )

    def started(self, agent: str, task: str) -> None:
        """Have a process of a task come to be."""
        self._processes += 1
        self.events.append(Started(t=self._t, node=agent, task=task, run=f"{self._processes}"))

    def exited(self, agent: str, task: str) -> None:
        """Have it end."""
        self.events.append(Exited(t=self._t, node=agent, task=task, run=f"{self._processes}"))

    def booted(self, agent: str) -> None:
        """Have an agent's daemon begin again."""
        self.events.append(Booted(t=self._t, node=agent, uid=agent))


def a_move() -> Story:
    """Move the slot from one agent to another, with a change of holders and a restart on the way."""
    story = Story()
    story.held("a", "i1")
    story.released("a")
    mine, others = story.held("a", "i3"), story.held("b", "i5")
    assert (mine, others) == ((1, 3), (1, 4))
    first = story.placed("a")
    story.applied("a", mine, "start", first)
    story.started("a", first)
    story.booted("a")
    story.exited("a", first)
    story.started("a", first)
    story.record("a", first, is_revoked=True)
    story.applied("a", mine, "stop", first)
    story.exited("a", first)
    story.applied("a", mine, "forget", first, is_denied=True)
    story.record("a", first, is_revoked=True, is_denied=True)
    second = story.placed("b")
    story.started("b", second)
    story.applied("b", others, "start", second)
    story.applied("a", mine, "start", first, is_ok=False, is_denied=True)
    return story


@pytest.fixture(scope="module")
def moves() -> list[Step]:
    return moves_of(a_move().events)[SLOT]


def without(steps: Sequence[Step], number: int) -> list[Step]:
    """Return all steps but one."""
    return [step for at, step in enumerate(steps) if at != number]


def moved(steps: Sequence[Step], number: int, to: int) -> list[Step]:
    """Return the steps with one of them earlier."""
    rest = without(steps, number)
    return [*rest[:to], steps[number], *rest[to:]]


def at(steps: Sequence[Step], kind: str, number: int, agent: str) -> int:
    """Return where something happens first."""
    return next(
        index
        for index, step in enumerate(steps)
        if (step["kind"], step.get("number"), step["agent"]) == (kind, number, agent)
    )


def test_a_move_is_a_behaviour_and_what_leaves_out_or_hastens_a_step_of_it_is_none(
    moves: list[Step], tmp_path: Path
) -> None:
    claim, denial = at(moves, "placed", 2, "b"), at(moves, "denied", 1, "a")
    revoking, answer = at(moves, "revoked", 1, "a"), at(moves, "forgotten", 1, "a")
    start, end = at(moves, "started", 2, "b"), answer - 1
    assert moves[end]["kind"] == "exited"
    histories = {
        "as it was": moves,
        "not denied": without(moves, denial),
        "not revoked": without(moves, revoking),
        "not answered": without(moves, answer),
        "forgotten while it runs": without(moves, end),
        "placed before it is denied": moved(moves, claim, denial),
        "started before it is placed": moved(moves, start, claim),
        "not placed": without(moves, claim),
        "obeyed after it was denied": [*moves, {**moves[at(moves, "obeyed", 1, "a")]}],
        "runs after it was denied": [*moves, {**moves[at(moves, "started", 1, "a")]}],
        "by a token that was overtaken": [
            {**step, "token": 1} if step["kind"] == "forgotten" else step for step in moves
        ],
    }
    found = behave("SlotMove", histories, tmp_path)
    assert found.pop("as it was") is None
    assert found == {
        "not denied": claim - 1,
        "not revoked": answer - 1,
        "not answered": denial - 1,
        "forgotten while it runs": end,
        "placed before it is denied": denial,
        "started before it is placed": claim,
        "not placed": claim,
        "obeyed after it was denied": len(moves),
        "runs after it was denied": len(moves),
        "by a token that was overtaken": answer,
    }


def test_what_was_placed_on_a_dead_agent_may_be_placed_elsewhere(tmp_path: Path) -> None:
    story = Story()
    token = story.held("a", "i1")
    first = story.placed("a")
    story.applied("a", token, "start", first)
    story.started("a", first)
    story._commit(**{f"placements/a/{first}": None})
    other = story.held("b", "i4")
    story.applied("b", other, "start", story.placed("b"))
    steps = moves_of(story.events)[SLOT]
    dead = at(steps, "dead", None, "a")  # type: ignore[arg-type]
    found = behave("SlotMove", {"declared": steps, "not declared": without(steps, dead)}, tmp_path)
    assert found == {"declared": None, "not declared": at(without(steps, dead), "placed", 2, "b")}


def test_a_former_holders_command_is_no_behaviour(tmp_path: Path) -> None:
    story = Story()
    story.held("a", "i1")
    story.applied("a", (1, 1), "stop", f"{SLOT}.1-1")
    story.released("a")
    story.held("a", "i3")
    story.booted("a")
    story.applied("a", (1, 3), "stop", f"{SLOT}.1-1")
    steps = ownership_of(story.events)["a"]
    histories = {
        "as it was": steps,
        "a former holder is obeyed": [*steps, steps[2]],
        "another's token": [*steps, {**steps[-1], "inst": "i1"}],
        "not adopted": [step for step in steps if step["kind"] != "adopted"],
        "not granted": steps[1:],
        "two hold it": without(steps, 3),
    }
    found = behave("Ownership", histories, tmp_path)
    assert found == {
        "as it was": None,
        "a former holder is obeyed": len(steps),
        "another's token": len(steps),
        "not adopted": 1,
        "not granted": 0,
        "two hold it": 3,
    }
