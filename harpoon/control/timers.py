"""When something is due in the runs that this instance conducts: a heap for each shard, and one loop over all.

A run has one entry that counts, at or before its next due. A due that has moved on, as with each heartbeat, is not
looked for in the heap: its entry comes up, and goes in again where the due is now. So what moves often costs nothing.
Entries that count no longer are swept out once they are most of a heap: else each run would leave one behind, until
a clock of it that was long stopped had run down.
"""

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, Protocol, TypeVar

from harpoon.control.turns import Turns
from harpoon.kit.clock import Clock

#: The wall clock may be set: it is looked at again so often, while anything is to come.
LOOK_AGAIN_S: Final = 5.0
#: Nothing is due.
NEVER: Final = 1 << 62
#: Entries that are not worth sweeping.
_FEW: Final = 64


class Timed(Protocol):
    """What has a due; equals itself alone."""

    #: Of its entry that counts, UTC milliseconds; `NEVER`: it has none.
    due_ms: int


T = TypeVar("T", bound=Timed)


class Dues(Generic[T]):
    """The dues of one shard.

    Args:
        fire: Called with what is due and the time; says by `at` when it is due next. Must be quick and must not fail.
    """

    def __init__(self, fire: Callable[[T, int], None]) -> None:
        self._fire = fire
        self._heap: list[tuple[int, int, T]] = []
        self._numbers = count()
        self._idle = 0
        #: Called when something is due earlier than all else.
        self.hurry: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first_ms(self) -> int:
        """When something may be due; `NEVER`: nothing will be."""
        return self._heap[0][0] if self._heap else NEVER

    def at(self, due_ms: int, timed: T) -> None:
        """Have ``fire`` called when it is due, unless it has an earlier due already."""
        if due_ms >= timed.due_ms:
            return
        if timed.due_ms != NEVER:
            self._idle += 1
        timed.due_ms = due_ms
        is_first = due_ms < self.first_ms
        heappush(self._heap, (due_ms, next(self._numbers), timed))
        if is_first:
            self.hurry()

    def forget(self, timed: T) -> None:
        """Have it called no more."""
        if timed.due_ms != NEVER:
            timed.due_ms = NEVER
            self._idle += 1
            if self._idle > _FEW and 2 * self._idle > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[2].due_ms == entry[0]]
                heapify(self._heap)
                self._idle = 0

    def fire_next(self, now_ms: int) -> None:
        """Call back what is due first."""
        due_ms, _, timed = heappop(self._heap)
        # Another entry of it may have come in before this one, or it was forgotten.
        if timed.due_ms == due_ms:
            timed.due_ms = NEVER
            self._fire(timed, now_ms)
        else:
            self._idle = max(0, self._idle - 1)


class Timers(Generic[T]):
    """Calls back what is due; `run` has to be running.

    Args:
        clock: What dues are told by.
        turns: What may be done in one turn.
        is_exact: Timers of the loop go by that very clock, which nobody sets: as in a simulation.
    """

    def __init__(self, clock: Clock, turns: Turns, *, is_exact: bool = False) -> None:
        self._clock = clock
        self._is_exact = is_exact
        self._turns = turns
        self._all: list[Dues[T]] = []
        self._is_sooner = asyncio.Event()

    def enter(self, dues: Dues[T]) -> None:
        """Look after the dues of a shard, too."""
        dues.hurry = self._is_sooner.set
        self._all.append(dues)
        self._is_sooner.set()

    def leave(self, dues: Dues[T]) -> None:
        """Look after them no longer."""
        self._all.remove(dues)

    async def run(self) -> None:
        """Call back what is due until cancelled."""
        while True:
            self._is_sooner.clear()
            now_ms = self._clock.now().wall
            while (first := self._first()) is not None and first.first_ms <= now_ms:
                if self._turns.is_spent:
                    # Meanwhile what was due may be forgotten, or its shard left.
                    await self._turns.wait()
                else:
                    first.fire_next(now_ms)
            await self._rest(NEVER if first is None else first.first_ms, now_ms)

    def _first(self) -> Dues[T] | None:
        return min(self._all, key=lambda dues: dues.first_ms, default=None)

    async def _rest(self, first_ms: int, now_ms: int) -> None:
        """Wait until something may be due."""
        wait_s = None if first_ms == NEVER else (first_ms - now_ms) / 1000
        if wait_s is not None and not self._is_exact:
            # Timers of a loop may fire a little early; a millisecond more makes sure.
            wait_s = min(wait_s + 0.001, LOOK_AGAIN_S)
        try:
            async with asyncio.timeout(wait_s):
                await self._is_sooner.wait()
        except TimeoutError:
            return
