"""The clocks of runs: L3 and L4, and that a run that is paused stands still, S27.

Moments of a log are those of whoever wrote it; when its records were committed is the store's word. What is judged by
both is judged only while no clock has gone wrong, and not of real runs, whose events tell no wall clock.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from harpoon.model.units import parse_duration
from tests.proof.checks.reading import (
    LABEL,
    RETRY,
    SIGNAL,
    OfRuns,
    RunKnown,
    Visit,
    Written,
    cancelled_by,
    field_of,
    opened_by,
)
from tests.proof.history import Calm, Committed, Down, Event, Fault, Settled, Up, Worked
from tests.proof.judge import Terms
from tests.proof.state import State
from tests.proof.wanted import clock_ms

_CLOCKS: Final = frozenset({"clock_rate", "clock_jump"})
#: Holds of shards.
_SHARDS: Final = "shards/"
#: Once all is calm, so soon every shard is conducted again.
RECOVERY_S: Final = 16.0
#: What is due is done so soon.
SLACK_S: Final = 2.0
#: Workers that ask are busy for so long at most.
_IN_VAIN_S: Final = 15.0
#: And wait for so long at most until they ask again.
_ASKED_S: Final = 25.0
#: Timers tell milliseconds, and commits take a moment.
_EARLY_MS: Final = 2
_USUAL: Final = {"timeout": "5m", "queue_timeout": "1h", "heartbeat": "30s"}
_WAIT: Final = "24h"


@dataclass(slots=True)
class _Open:
    """A visit that is open, in its present attempt; moments are the log's."""

    opened_ms: int
    ready_ms: int
    claimed_ms: int | None = None
    worker: str = ""
    #: Of a claim: what it has was said when it was made, though the run may be moved since.
    timeout_ms: int = 0


class _OfClocks(OfRuns):
    """Knows of each open visit since when its clocks run."""

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._open: dict[str, dict[Visit, _Open]] = {}
        self._calm_t: float | None = None
        self._is_skewed = False

    def on_fault(self, event: Fault) -> None:
        self._is_skewed |= event.what in _CLOCKS

    def on_calm(self, event: Calm) -> None:
        self._calm_t = event.t

    def on_committed(self, event: Committed) -> None:
        if self.state.is_anew:
            self._open.clear()
        super().on_committed(event)

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        open_ = self._open.setdefault(key, {})
        # What was copied from another run happened there, long ago perhaps.
        if not run.is_copied:
            self._judge_clocks(key, run, written, event)
        match written[0]:
            case "c":
                one = open_.get((written[3], written[4]))
                if one is not None:
                    one.claimed_ms, one.worker = written[2], field_of(written, 7) or ""
                    one.timeout_ms = span_ms(self.op_of(run, written[3]), "timeout")
            case "u":
                open_.pop((written[3], written[4]), None)
            case "x":
                one = open_.pop((written[3], written[4]), None)
                retry_ms = field_of(written, RETRY)
                if one is not None and retry_ms is not None:
                    open_[written[3], written[4]] = _Open(one.opened_ms, retry_ms)
            case "e":
                open_.clear()
        for op, visit, _ in cancelled_by(written):
            open_.pop((op, visit), None)
        for op, visit, *_ in opened_by(written):
            open_[op, visit] = _Open(written[2], written[2])

    def _judge_clocks(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        """Judge the next event of a run; what is open has not seen it yet."""

    def _dues(self, run: RunKnown, op: str, one: _Open) -> Iterator[tuple[str, int]]:
        """Yield by which label a visit is closed when which of its clocks has run down, and when that is at the least."""
        told = self.op_of(run, op)
        if one.claimed_ms is not None:
            yield "timeout", one.claimed_ms + one.timeout_ms
            yield "lost", one.claimed_ms + span_ms(told, "heartbeat")
        elif told.get("worker"):
            yield "timeout", one.ready_ms + span_ms(told, "queue_timeout")
        elif (told.get("wait") or {}).get("for"):
            yield "done", one.opened_ms + _ms(told["wait"]["for"])
        elif told.get("wait"):
            yield "timeout", one.opened_ms + _ms(told.get("timeout") or _WAIT)

    def _is_late(self, due_ms: int, t: float) -> bool:
        """Whether something should have been done by now, which was due at some time."""
        if self._calm_t is None or self._is_skewed or not self.terms.is_exact:
            return False
        return clock_ms(t - SLACK_S) > max(float(due_ms), clock_ms(self._calm_t + RECOVERY_S))

    def _open_runs(self) -> Iterator[tuple[str, RunKnown]]:
        for key, run in self._runs.items():
            if not run.is_over:
                yield key, run


class RunsEnd(_OfClocks):
    """L3. A claim is an orphan from the moment on at which its worker has died without a successor that knows of it."""

    name = "L3"
    says = "Every run is over by its deadline; what an orphan had is given to another within its heartbeat."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: Worker → its present life, and lives that ended: when.
        self._lives: dict[str, str] = {}
        self._down: dict[str, float] = {}

    def on_up(self, event: Up) -> None:
        if self._lives.get(event.node) == event.instance:
            # It goes on with what it knew.
            self._down.pop(event.node, None)
        self._lives[event.node] = event.instance

    def on_down(self, event: Down) -> None:
        self._down.setdefault(event.node, event.t)

    def on_settled(self, event: Settled) -> None:
        for key, run in self._open_runs():
            if run.deadline_ms is not None and self._is_late(run.deadline_ms, event.t):
                raise self.refute(f"run {key} is not over, and its deadline has passed", event)
            for (op, _), one in self._open.get(key, {}).items():
                self._judge_orphan(key, run, op, one, event)

    def _judge_clocks(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        if written[0] == "e" and run.deadline_ms is not None and self._is_late(run.deadline_ms, event.t):
            raise self.refute(f"run {key} ends late after its deadline", event)
        one = self._open[key].get((written[3], written[4])) if written[0] == "x" else None
        if one is not None:
            self._judge_orphan(key, run, written[3], one, event)

    def _judge_orphan(self, key: str, run: RunKnown, op: str, one: _Open, event: Event) -> None:
        down = self._down.get(one.worker)
        if down is None or one.claimed_ms is None or one.claimed_ms > clock_ms(down):
            return
        beat_ms = span_ms(self.op_of(run, op), "heartbeat")
        base_ms = max(clock_ms(down), clock_ms((self._calm_t or 0.0) + RECOVERY_S))
        if self._is_late(round(base_ms + beat_ms), event.t):
            raise self.refute(f"worker {one.worker} is dead, and still had {op} of run {key}", event)


class RunTimers(_OfClocks):
    """L4 of runs. Of heartbeats those count that the conductor's own instance took: a former one may take some in vain."""

    name = "L4"
    says = (
        "No clock of a run runs out before its time, and each does soon after; a new conductor gives a heartbeat more."
    )
    tables = ("runs", "log", "holds")

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: Shard → when somebody took its hold.
        self._held: dict[str, float] = {}
        #: Token → when a heartbeat was sent that was taken last, and by which instance.
        self._beats: dict[str, tuple[float, str]] = {}

    def on_worked(self, event: Worked) -> None:
        self._beats |= dict.fromkeys(event.beats, (event.since, event.by.rpartition(".")[0]))

    def on_committed(self, event: Committed) -> None:
        for change in self.state.changed:
            new, old = change.new, change.old
            is_taken = new is not None and (old is None or old.create != new.create)
            if is_taken and change.table == "holds" and change.key.startswith(_SHARDS):
                self._held[change.key.removeprefix(_SHARDS)] = event.t
        super().on_committed(event)

    def on_settled(self, event: Settled) -> None:
        for key, run in self._open_runs():
            for (op, visit), one in self._open.get(key, {}).items():
                for label, due_ms in self._dues(run, op, one):
                    if label != "lost" and self._is_late(due_ms, event.t):
                        raise self.refute(f"visit {visit} of {op} in run {key} is open, and was due for {label}", event)

    def _judge_clocks(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        now_ms = written[2]
        if not self._is_skewed and self.terms.is_exact and now_ms > clock_ms(event.t) + _EARLY_MS:
            raise self.refute(f"event {written[1]} of run {key} is of a moment that has not come", event)
        if written[0] == "e":
            if written[3] == "timed_out" and now_ms < (run.deadline_ms or 0):
                raise self.refute(f"run {key} has timed out before its deadline", event)
            return
        one = self._open[key].get((written[3], written[4])) if written[0] in "cx" else None
        if one is None:
            return
        what = f"visit {written[4]} of {written[3]} in run {key}"
        if written[0] == "c":
            if now_ms < one.ready_ms:
                raise self.refute(f"{what} is claimed before it may be tried again", event)
            return
        self._judge_closing(what, key, self._dues(run, written[3], one), written, event)

    def _judge_closing(
        self, what: str, key: str, dues: Iterator[tuple[str, int]], written: Written, event: Committed
    ) -> None:
        if field_of(written, SIGNAL) is not None:
            return
        closed = written[LABEL]
        for label, due_ms in dues:
            if label == "lost" and closed == "lost":
                self._judge_lost(what, key, due_ms, written, event)
            elif label == closed and written[2] < due_ms:
                raise self.refute(f"{what} is closed as {label} before that was due", event)
            elif label == closed and self._is_late(due_ms, event.t):
                raise self.refute(f"{what} is closed as {label} long after that was due", event)

    def _judge_lost(self, what: str, key: str, due_ms: int, written: Written, event: Committed) -> None:
        if written[2] < due_ms:
            raise self.refute(f"{what} is lost before a heartbeat was missed", event)
        if self._is_skewed or not self.terms.is_exact:
            return
        shard = key.partition("/")[0]
        held, beat_ms = self._held.get(shard), span_ms(self.op_of(self._runs[key], written[3]), "heartbeat")
        if held is not None and written[2] < clock_ms(held) + beat_ms - _EARLY_MS:
            raise self.refute(f"{what} is lost less than a heartbeat after its shard was taken over", event)
        since, by = self._beats.get(written[6], (0.0, ""))
        holder = self.state.value("holds", _SHARDS + shard)
        if holder is not None and holder["instance"] == by and written[2] < clock_ms(since) + beat_ms - _EARLY_MS:
            raise self.refute(f"{what} is lost less than a heartbeat after one was sent, which was taken", event)


class IsClaimed(_OfClocks):
    """L6 of runs. A worker is known to ask when it was answered not long ago; the workers of a history can do all."""

    name = "L6"
    says = "What may be claimed does not wait in vain while workers ask."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._asked_t = 0.0

    def on_worked(self, event: Worked) -> None:
        self._asked_t = event.t

    def _judge_clocks(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        if written[0] != "x" or written[LABEL] != "timeout" or self._calm_t is None or self._is_skewed:
            return
        one = self._open[key].get((written[3], written[4]))
        if one is None or one.claimed_ms is not None or not self.op_of(run, written[3]).get("worker"):
            return
        ready = max(float(one.ready_ms), clock_ms(self._calm_t + RECOVERY_S))
        if clock_ms(event.t - _IN_VAIN_S) > ready and self._asked_t > event.t - _ASKED_S:
            raise self.refute(f"{written[3]} of run {key} waited for a worker in vain", event)


class StandsStill(_OfClocks):
    """S27."""

    name = "S27"
    says = "While a run is paused, nothing of it is claimed, fired or consumed."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._paused: set[str] = set()

    def _judge_clocks(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        if written[0] in "pre":
            (self._paused.add if written[0] == "p" else self._paused.discard)(key)
        elif key in self._paused:
            signal = field_of(written, SIGNAL) if written[0] == "x" else None
            if written[0] == "c" or opened_by(written) or signal is not None:
                raise self.refute(f"run {key} is paused, and event {written[1]} goes on with it", event)


def span_ms(told: Mapping[str, Any], name: str) -> int:
    """Return a clock of an operation, in milliseconds."""
    return _ms(told.get(name) or _USUAL[name])


def _ms(told: Any) -> int:
    return parse_duration(str(told)) // timedelta(milliseconds=1)
