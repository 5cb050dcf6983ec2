"""Which tasks of other jobs are to go so that a slot can be placed: those of lower priority, if the job asks for that.

It chooses for slots that fit nowhere, and places none of them: they are placed once the room is there (`core.place`).
Same inputs, same bytes out.

Rules.

1. A task goes only for a job with `preempt: true`, and only if its own job's priority is lower; never for one that
   refers to its own job, which would wait for what it has stopped.
2. What has been told to go counts first: where that makes room, nothing else goes, and the slot waits for it.
3. An agent is chosen that is not to be avoided; then one where the most important of the tasks that go is the least
   important; then one where the fewest go, of the lowest priorities in all; then the first by name.
4. There nothing goes that could stay: of those that may go, the most important and then the oldest stay if what
   remains is room enough.
5. At most `SLOTS_AT_ONCE` slots are given room by one decision. As soon as there is some, it is decided again.
"""

import heapq
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from harpoon.core.board import Board
from harpoon.core.candidate import Candidate
from harpoon.core.fleet import Fleet
from harpoon.model.decision import Drop, Room, Want
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement

SLOTS_AT_ONCE: Final = 100
#: Agents that would do, of which the best are taken; further ones, by name, are looked at when these are used up.
AGENTS_MAX: Final = 200


def preempt(job: Job, wants: Sequence[Want], board: Board, fleet: Fleet) -> Iterator[Room]:
    """Yield what is to go for slots that fit nowhere, as far as anything makes room for them.

    Args:
        job: Whose slots they are; it asks for preemption.
        wants: The slots.
        board: As it stood when nothing more could be placed; what goes is given back there, and its room reserved.
        fleet: What there is; not changed.
    """
    served = wants[:SLOTS_AT_ONCE]
    search = _Search(job, board, fleet, frozenset(job.members[want.slot] for want in served) if job.members else None)
    for want in served:
        ended = [one for task in want.ended if (one := fleet.placement(task)) is not None]
        search.give_back(ended)
        option = search.best(want)
        if option is None:
            search.take_back(ended)
        else:
            yield search.carry_out(option, want)


class _Option(NamedTuple):
    """An agent on which there would be room, the best first."""

    #: Of the most important task that goes; below 0: none does that had not been told to.
    priority: int
    tasks: int
    total: int
    agent: str


class _Search:
    """The agents on which there would be room for one more task; if each slot is for one, of those agents only."""

    def __init__(self, job: Job, board: Board, fleet: Fleet, own: frozenset[str] | None) -> None:
        self._job = job
        self._board = board
        self._fleet = fleet
        #: Jobs of its namespace whose tasks stay: itself, and those that it refers to.
        self._spared = job.spec.others() | {job.name}
        self._gone: set[TaskId] = set()
        agents = [name for name in board.open_agents() if own is None or name in own]
        self._open = frozenset(agents)
        #: Those to be looked at yet, the last first.
        self._agents = [name for name in reversed(agents) if self._may_do(name)]
        self._heap: list[_Option] = []
        #: Agent → what stands for it in the heap; all else there is out of date.
        self._options: dict[str, _Option] = {}

    def give_back(self, ended: Sequence[Placement]) -> None:
        """Count no longer what has ended."""
        self._board.give_back(ended)
        self._look_again(ended)

    def take_back(self, ended: Sequence[Placement]) -> None:
        """Count it again."""
        self._board.take_back(ended)
        self._look_again(ended)

    def best(self, want: Want) -> _Option | None:
        """Return the agent to take for a slot; None: none would have room."""
        unfit: list[_Option] = []
        avoided: _Option | None = None
        found: _Option | None = None
        while found is None and (option := self._pop()) is not None:
            own = self._job.members and self._job.members[want.slot] != option.agent
            if own or not self._board.is_free_for(option.agent, want.slot):
                unfit.append(option)
            elif option.agent in want.avoid:
                avoided = avoided or option
                unfit.append(option)
            else:
                found = option
        for option in unfit:
            heapq.heappush(self._heap, option)
        return found or avoided

    def carry_out(self, option: _Option, want: Want) -> Room:
        """Have go what makes room for a slot, and keep it for that."""
        candidate = self._board.candidate(option.agent)
        chosen = self._fitting(candidate)
        assert chosen is not None, "an option is one where there is room, and is looked at anew when that changes"
        going, victims = chosen
        drops = tuple(Drop(task=one.task, agent=one.agent, reason=self._reason(one, want)) for one in victims)
        gone = [*going, *victims]
        self._gone |= {one.task for one in gone}
        self._board.give_back(gone)
        self._board.reserve(candidate, want.slot)
        self._look(option.agent)
        return Room(slot=want.slot, agent=option.agent, awaited=tuple(sorted(one.task for one in gone)), drops=drops)

    def _pop(self) -> _Option | None:
        """Take the best option out; None: there is none any more."""
        while self._agents and len(self._options) < AGENTS_MAX:
            self._look(self._agents.pop())
        while self._heap:
            option = heapq.heappop(self._heap)
            if self._options.get(option.agent) == option:
                return option
        return None

    def _look_again(self, ended: Sequence[Placement]) -> None:
        for agent in sorted({one.agent for one in ended} & self._open):
            self._look(agent)

    def _look(self, agent: str) -> None:
        """Find out whether there would be room on an agent, and put that into the heap."""
        chosen = self._fitting(self._board.candidate(agent))
        if chosen is None:
            self._options.pop(agent, None)
            return
        priorities = [self._fleet.priority(one) for one in chosen[1]]
        option = _Option(max(priorities, default=-1), len(priorities), sum(priorities), agent)
        self._options[agent] = option
        heapq.heappush(self._heap, option)

    def _reason(self, victim: Placement, want: Want) -> str:
        job = self._job
        return (
            f"it makes room for slot {want.slot} of job {job.namespace}/{job.name}, which fits nowhere else, and whose "
            f"priority is {job.spec.priority} over {self._fleet.priority(victim)}"
        )

    def _may_do(self, name: str) -> bool:
        """Return whether there is room without all that may go, by processor and memory: a quick look."""
        need = self._board.need
        host = self._fleet.host(name)
        assert host is not None, "it is registered"
        assert host.agent is not None, "it is registered"
        capacity = host.agent.capacity
        cpu, memory = capacity.cpu - host.cpu, capacity.memory - host.memory
        for one in self._fleet.tenants(name):
            if one.is_revoked or self._is_lower(one):
                cpu += one.reserve.cpu
                memory += one.reserve.memory
        return (not need.cpu or need.cpu <= cpu) and (not need.memory or need.memory <= memory)

    def _fitting(self, candidate: Candidate) -> tuple[list[Placement], list[Placement]] | None:
        """Return what is going from an agent and what is to go, so that it could take a task; None: it could not."""
        tenants = [one for one in self._fleet.tenants(candidate.name) if one.task not in self._gone]
        going = [one for one in tenants if one.is_revoked]
        victims: list[Placement] = []
        for one in going:
            candidate.change(one, -1)
        fits = candidate.fits(self._board.need)
        if not fits:
            lower = sorted(filter(self._is_lower, tenants), key=self._importance, reverse=True)
            fits, victims = self._fewest(candidate, lower)
        for one in (*going, *victims):
            candidate.change(one, 1)
        return (going, victims) if fits else None

    def _fewest(self, candidate: Candidate, lower: list[Placement]) -> tuple[bool, list[Placement]]:
        """Take from a candidate what is to go of some tasks, the last first; return whether that does, and those."""
        need = self._board.need
        for one in lower:
            candidate.change(one, -1)
        if not candidate.fits(need):
            return False, lower
        victims = []
        for one in lower:
            candidate.change(one, 1)
            if not candidate.fits(need):
                candidate.change(one, -1)
                victims.append(one)
        return True, victims

    def _is_lower(self, placement: Placement) -> bool:
        """Return whether a task may be told to go for this job; what was told to cannot be told again."""
        job = self._job
        if placement.version == 0 or placement.is_revoked or self._fleet.priority(placement) >= job.spec.priority:
            return False
        return placement.namespace != job.namespace or placement.job not in self._spared

    def _importance(self, placement: Placement) -> tuple[int, int, str]:
        """Return by what those are sorted that may go: the last of them goes first."""
        return self._fleet.priority(placement), -placement.decided_ms, placement.task
