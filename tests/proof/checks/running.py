"""What processes there are: S3 and S15."""

from typing import NamedTuple

from tests.proof.history import Calm, Exited, Settled, Started
from tests.proof.judge import Check, Terms
from tests.proof.state import State, slot_of


class _Overlap(NamedTuple):
    earlier: Started
    later: Started


class NoDoubleRun(Check):
    """S3. A real end is noted somewhat late, so that two intervals may seem to overlap by that much, and no more.

    An operator's word that an agent is dead frees what ran there: from then on it does not count. Of tasks that are
    not exclusive only the agent's part is promised: a slot may well run on a lost agent and on another.
    """

    name = "S3"
    says = "No slot of an exclusive job has two processes at once on whatever agents; no task has two on its agent."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: Process → its start.
        self._runs: dict[str, Started] = {}
        #: Slot → its processes.
        self._slots: dict[str, dict[str, Started]] = {}
        self._overlaps: list[_Overlap] = []

    def on_started(self, event: Started) -> None:
        running = self._slots.setdefault(slot_of(event.task), {})
        for other in running.values():
            overlap = _Overlap(other, event)
            if not self.terms.is_exact:
                self._overlaps.append(overlap)
            elif self._is_double(overlap):
                raise self._double(overlap)
        running[event.run] = self._runs[event.run] = event

    def on_exited(self, event: Exited) -> None:
        started = self._runs.pop(event.run, None)
        self._slots.get(slot_of(event.task), {}).pop(event.run, None)
        if started is None or not self._overlaps:
            return
        for overlap in self._overlaps:
            is_late = event.t > overlap.later.t + self.terms.grace_s
            if event.run in (overlap.earlier.run, overlap.later.run) and is_late and self._is_double(overlap):
                raise self._double(overlap, event)
        self._overlaps = [one for one in self._overlaps if event.run not in (one.earlier.run, one.later.run)]

    def end(self) -> None:
        for overlap in self._overlaps:
            if self._is_double(overlap):
                raise self._double(overlap)

    def _is_double(self, overlap: _Overlap) -> bool:
        one, other = overlap
        if one.task == other.task and one.node == other.node:
            return True
        exclusive = self.state.exclusive
        return one.task in exclusive and other.task in exclusive and not self._is_excused(overlap)

    def _is_excused(self, overlap: _Overlap) -> bool:
        """Whether one of them runs on an agent of which an operator said, since it was placed there, that it is dead."""
        deaths, placed = self.state.deaths, self.state.placed
        for one in overlap:
            first = placed.get((one.node, one.task))
            if one.node in deaths and first is not None and deaths[one.node] >= first.count:
                return True
        return False

    def _double(self, overlap: _Overlap, *more: Exited) -> Exception:
        earlier, later = overlap
        text = f"{later.task} starts on {later.node} while {earlier.task} runs on {earlier.node}"
        return self.refute(text, earlier, later, *more)


class NoOrphans(Check):
    """S15. Judged at `Settled`, which is to be two resync periods after all was calm at least.

    On agents outside the core nothing can be ended. A task that no record knows, and which the store shows as
    unclaimed, is an operator's to judge.
    """

    name = "S15"
    says = "When all has settled, each process on an agent belongs to a placement there, or is shown as unclaimed."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._runs: dict[str, Started] = {}
        self._core: tuple[str, ...] = ()

    def on_started(self, event: Started) -> None:
        self._runs[event.run] = event

    def on_exited(self, event: Exited) -> None:
        self._runs.pop(event.run, None)

    def on_calm(self, event: Calm) -> None:
        self._core = event.core

    def on_settled(self, event: Settled) -> None:
        for run in self._runs.values():
            if run.node not in self._core:
                continue
            placed, reported = self.state.placement(run.node, run.task), self.state.reported(run.node, run.task)
            if placed is None and (reported is None or reported["state"] != "unclaimed"):
                raise self.refute(f"{run.task} runs on {run.node}, and nothing places it there", run, event)
