"""Which tasks would be elsewhere if they were placed today: what placing decided before there were other agents.

It decides which tasks are worth a move, and moves none: a task that is to move is one on an agent that it leaves, so
it is replaced before it goes (`core.rollout`, rule 8). Same inputs, same bytes out.

Rules.

1. A task gains by a move if placing would prefer another agent by *spread* (the tags that its job is spread over, then
   tasks of the job) or by *liking*. How full agents are, and their names, are no reasons to move anything.
2. The move with the largest gain comes first, and each next one is found with those before it done. Tasks fewer count
   more than liking. Of equal gains the first by namespace and job.
3. It ends: each move makes the sums of squares of what is counted smaller, in their order, so nothing is moved to and
   fro, and where all moves are done there are no others.
4. A task on an agent that takes none (cordoned, drained, not connected) stays where it is.
5. It ends early after `LOOKS_MAX` agents looked at.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from harpoon.core.board import Board
from harpoon.core.fleet import Fleet
from harpoon.core.place import Decision
from harpoon.core.ranking import Values, liking_of, values_of
from harpoon.core.standing import Brake, Standing
from harpoon.model.agent import Agent
from harpoon.model.decision import Rollout
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.rebalance import Move
from harpoon.model.task import Placement

#: Agents with tasks of a job that are looked at: some seconds of work.
LOOKS_MAX: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A job of which nothing is about to change, and those of its placements that may be moved."""

    job: Job
    placements: tuple[Placement, ...]


class _Gain(NamedTuple):
    """What a move is worth: the lowest first."""

    is_liking: bool
    loss: int


@dataclass(frozen=True, slots=True)
class _Option:
    """The best move of a job."""

    gain: _Gain
    placement: Placement
    move: Move


def rebalance(jobs: Sequence[Settled], fleet: Fleet, *, most: int) -> tuple[tuple[Move, ...], bool]:
    """Return the moves that gain most, best first, and whether that is all there was time to look for.

    Args:
        jobs: Whose tasks may be moved; no job twice.
        fleet: What there is, with these placements; not changed.
        most: Tasks to move.
    """
    turn = _Turn(jobs, fleet.fork())
    moves: dict[TaskId, Move] = {}
    while len(moves) < most and (option := turn.next()) is not None:
        move, task = option.move, option.move.task
        moves[task] = replace(move, agent=moves.pop(task, move).agent)
    # One that was moved on, and back to where it is, was not moved.
    return tuple(one for one in moves.values() if one.agent != one.to), turn.is_within_bounds


def futile(standings: Sequence[Standing], rolled: Rollout, decision: Decision) -> frozenset[TaskId]:
    """Return the moving tasks whose slots come to no other agent now: they are to stay where they are.

    Args:
        standings: Where the placements of a job stand.
        rolled: What is decided for them.
        decision: Where what is wanted goes.
    """
    agents = {one.slot: one.agent for one in decision.placements}
    stuck = {*rolled.held, *(() if decision.pending is None else decision.pending.slots)}
    leaving = (one.placement for one in standings if one.is_moving and not one.placement.is_exclusive)
    return frozenset(one.task for one in leaving if one.slot in stuck or agents.get(one.slot) == one.agent)


class _Turn:
    """The fleet with the moves done that were found so far."""

    def __init__(self, jobs: Sequence[Settled], fleet: Fleet) -> None:
        ordered = sorted(jobs, key=lambda one: (one.job.namespace, one.job.name))
        self._jobs = [one.job for one in ordered]
        self._placements = [{placement.task: placement for placement in one.placements} for one in ordered]
        self._fleet = fleet
        self._looks = 0
        self._options: list[tuple[_Gain, int]] = []
        #: Whether anything was moved since all jobs were considered.
        self._has_moved = True

    @property
    def is_within_bounds(self) -> bool:
        return self._looks < LOOKS_MAX

    def next(self) -> _Option | None:
        """Do the best move, and return it; None: there is none, or no more time to look."""
        while (self._options or self._has_moved) and self.is_within_bounds:
            if not self._options:
                # What has moved has made room where it was.
                self._has_moved = False
                for number in range(len(self._jobs)):
                    self._consider(number)
                continue
            gain, number = heapq.heappop(self._options)
            # Those before it may have taken its room.
            option = self._best(number)
            if option is not None and option.gain <= gain:
                self._do(number, option)
                return option
            if option is not None:
                heapq.heappush(self._options, (option.gain, number))
        return None

    def _consider(self, number: int) -> None:
        option = self._best(number) if self.is_within_bounds else None
        if option is not None:
            heapq.heappush(self._options, (option.gain, number))

    def _do(self, number: int, option: _Option) -> None:
        moved = replace(option.placement, agent=option.move.to)
        self._placements[number][moved.task] = moved
        self._fleet.add(moved)
        self._has_moved = True
        self._consider(number)

    def _best(self, number: int) -> _Option | None:
        """Return the best move of a job, as things stand."""
        job, placements = self._jobs[number], self._placements[number].values()
        tally = _Tally(job, self._fleet)
        self._looks += 1
        if not tally.is_worth_looking:
            return None
        board = Board(job, self._fleet)
        options: list[_Option] = []
        for agent in sorted({one.agent for one in placements}):
            host = self._fleet.host(agent)
            if host is None or host.agent is None or host.room(host.agent).closed():
                continue
            self._looks += 1
            placement = max((one for one in placements if one.agent == agent), key=lambda one: one.slot)
            board.give_back((placement,))
            chosen = board.best(placement.slot, ())
            board.take_back((placement,))
            if chosen is not None and (found := tally.gain(placement, host.agent, chosen.agent)) is not None:
                options.append(found)
        return min(options, key=lambda one: one.gain, default=None)


class _Tally:
    """How the tasks of a job are spread."""

    def __init__(self, job: Job, fleet: Fleet) -> None:
        self._rules = job.spec.placement
        present = [one for one in fleet.placements_of(job) if one.generation == job.generation]
        self._agents = Counter(one.agent for one in present)
        self._values: tuple[Counter[str], ...] = tuple(Counter() for _ in self._rules.spread)
        if self._rules.spread:
            for name, count in self._agents.items():
                host = fleet.host(name)
                if host is not None and host.agent is not None:
                    for counter, value in zip(self._values, self._values_of(host.agent), strict=True):
                        counter[value] += count

    @property
    def is_worth_looking(self) -> bool:
        """Whether there may be any move: none is for one that is alone on its agent, if agents are all alike."""
        return bool(self._rules.spread or self._rules.prefer) or max(self._agents.values(), default=0) > 1

    def gain(self, placement: Placement, here: Agent, there: Agent) -> _Option | None:
        """Return the move of a task, if it gains by that."""
        if here.name == there.name:
            return None
        rules, said = self._rules, list[tuple[str, str, int, int]]()
        places = zip(rules.spread, self._values, self._values_of(here), self._values_of(there), strict=True)
        for rule, counter, old, new in places:
            after = counter[new] + (old != new)
            said.append((f"{rule.tag} {old or 'not set'}", f"{rule.tag} {new or 'not set'}", counter[old], after))
        said.append((here.name, there.name, self._agents[here.name], self._agents[there.name] + 1))
        for old, new, before, after in said:
            if before != after:
                told = f"{old} has {before} of this job's tasks, {new} would have {after} with it"
                return _option(_Gain(False, after - before), placement, (there.name, before, after), told)
        before, after = (liking_of(rules, {**one.tags, **one.facts}) for one in (here, there))
        told = f"{there.name} is preferred by {after}, {here.name} by {before}"
        return _option(_Gain(True, before - after), placement, (there.name, before, after), told)

    def _values_of(self, agent: Agent) -> Values:
        return values_of(self._rules, {**agent.tags, **agent.facts})


def _option(gain: _Gain, placement: Placement, at: tuple[str, int, int], reason: str) -> _Option | None:
    if gain.loss >= 0:
        return None
    to, before, after = at
    move = Move(task=placement.task, agent=placement.agent, to=to, reason=reason, before=before, after=after)
    return _Option(gain, placement, move)


def moving(standings: Iterable[Standing]) -> frozenset[TaskId]:
    """Return the tasks that are to move."""
    return frozenset(one.placement.task for one in standings if one.is_moving)


def heeded(standings: Sequence[Standing], brake: Brake | None) -> tuple[Standing, ...]:
    """Return where placements stand as far as it matters: while a job's rollout waits, nothing of it is moved."""
    return staying(standings, () if brake is None else moving(standings))


def staying(standings: Sequence[Standing], tasks: Collection[TaskId]) -> tuple[Standing, ...]:
    """Return where placements stand once these are to stay."""
    return tuple(one._replace(is_moving=False) if one.placement.task in tasks else one for one in standings)
