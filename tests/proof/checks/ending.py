"""Batch jobs come to their end: L9."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from harpoon.model.units import parse_duration
from tests.proof.history import Calm, Fault, Settled
from tests.proof.judge import Check, Terms
from tests.proof.state import State, is_over
from tests.proof.wanted import busy_tasks, clock_ms, deadline_ms_of, is_batch, record_of

#: What time alone brings about is noticed within so long.
_SOON_MS: Final = 35_000
_DAY: Final = "24h"


class BatchesEnd(Check):
    """L9. What ends by itself has ended when all has settled, for that is news; so what has not, runs for good, or waits.

    Times are judged in simulated runs only, and not once a clock was off: then it is known what clocks say.
    """

    name = "L9"
    says = "When all is calm, a batch job whose tasks can finish has ended: succeeded if all slots are complete, else failed."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._is_whole = False
        self._is_clock_off = not terms.is_exact

    def on_fault(self, event: Fault) -> None:
        self._is_clock_off |= "clock" in event.what

    def on_calm(self, event: Calm) -> None:
        self._is_whole = event.is_whole

    def on_settled(self, event: Settled) -> None:
        for key, row in self.state.table("jobs").items() if self._is_whole else ():
            if is_batch(row.value) and not row.value.get("is_terminating"):
                for amiss in self._amiss_in(key, row.value, clock_ms(event.t) - _SOON_MS):
                    raise self.refute(f"job {key} {amiss}", event)

    def _amiss_in(self, key: str, job: Mapping[str, Any], late_ms: float) -> Iterator[str]:
        record, deadline_ms = record_of(self.state, key, job), deadline_ms_of(job)
        if record.get("outcome"):
            keep = parse_duration(str(job["spec"].get("keep") or _DAY))
            if not self._is_clock_off and record["ended_ms"] + keep // timedelta(milliseconds=1) < late_ms:
                yield "has ended, was kept for long enough, and is still there"
            return
        if not self._is_clock_off and deadline_ms is not None and deadline_ms < late_ms:
            yield "has passed its deadline, and has not ended"
        for slot, found in self.state.slots.items():
            for task, agent in found.items() if slot.startswith(f"{key.replace('/', '.')}.") else ():
                report, placed = self.state.reported(agent, task), self.state.placement(agent, task)
                if report is not None and is_over(report) and not placed.get("is_revoked"):
                    yield f"has {task}, which is {report['state']}, and nobody noted that"
        is_waiting = self.state.value("pending", key) is not None
        if not is_waiting and next(busy_tasks(self.state, key), None) is None:
            yield "has not ended, nothing of it runs, and nothing says what it waits for"
