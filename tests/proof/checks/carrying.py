"""What comes of runs outside of their logs, where real workers carry them out and real clients ask: S5 and S7.

Both are judged at the end, by all that the logs then hold: what is noted of different processes has no exact order.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.proof.history import Answered, Committed, Executed, Invoked
from tests.proof.judge import Check, Terms
from tests.proof.state import State

#: What the engine closes attempts by, that somebody may have claimed.
_BY_ITSELF: Final = frozenset({"timeout", "lost", "cancelled", "exhausted"})
_ORDERS: Final = frozenset({"start", "signal", "pause", "resume", "cancel", "look"})
#: Order → the letter of the event by which it stands in a log.
_LETTERS: Final = {"pause": "p", "resume": "r", "cancel": "a"}

Written = list[Any]


class _OfLogs(Check):
    """Keeps the logs of runs: ``<namespace>/<run>`` → its header, and its events by number."""

    tables = ("runs", "log")

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self.headers: dict[str, Mapping[str, Any]] = {}
        self._events: dict[str, dict[int, Written]] = {}

    def on_committed(self, event: Committed) -> None:
        for change in self.state.changed:
            if change.new is None or change.table not in self.tables:
                continue
            run, value = "/".join(change.key.split("/")[1:3]), change.new.value
            if change.table == "runs":
                self.headers[run] = value
            written = value.get("started", ()) if change.table == "runs" else value
            if isinstance(written, list | tuple):
                self._events.setdefault(run, {}).update((one[1], one) for one in written)

    def log(self, run: str) -> list[Written]:
        """Return the events of a run, in order."""
        events = self._events.get(run, {})
        return [events[seq] for seq in sorted(events)]


class OrdersKept(_OfLogs):
    """S5, and S12. Whoever asks for something of a run asks until it is answered, and pauses and resumes it once at most.

    What is told of a run that is over stays so. Of two starts of one id, the one that the run is of is acknowledged. One
    client asks for all of a run, one after the other: what it has been told of before is not told otherwise later.
    """

    name = "S5"
    says = "What was acknowledged of a run stands in its log, once; and how it was said to have ended, it has."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._asked: dict[str, Invoked] = {}
        self._answers: list[tuple[Invoked, Answered]] = []
        #: Run → what was told of it that cannot be taken back: that it is there, and that it is over.
        self._there: dict[str, Answered] = {}
        self._over: dict[str, Answered] = {}

    def on_invoked(self, event: Invoked) -> None:
        if event.verb in _ORDERS:
            self._asked[event.op] = event

    def on_answered(self, event: Answered) -> None:
        asked = self._asked.pop(event.op, None)
        if asked is None or event.outcome == "unknown":
            return
        self._answers.append((asked, event))
        status = (event.found or {}).get("status", "")
        if asked.verb == "look" and asked.job in self._over and status == "running":
            raise self.refute(f"run {asked.job} was over, and goes on", self._over[asked.job], asked, event)
        if event.code == "not_found" and asked.job in self._there:
            raise self.refute(f"run {asked.job} was there, and is not found", self._there[asked.job], asked, event)
        if event.outcome == "done":
            self._there.setdefault(asked.job, event)
            if asked.verb == "cancel" or status not in ("", "running"):
                self._over.setdefault(asked.job, event)

    def end(self) -> None:
        for run in self.headers:
            for amiss in self._amiss_with_signals(run):
                raise self.refute(f"run {run}: {amiss}")
        for asked, answered in self._answers:
            amiss = self._amiss(asked, answered)
            if amiss:
                raise self.refute(f"run {asked.job}: {amiss}", asked, answered)

    def _amiss_with_signals(self, run: str) -> Iterator[str]:
        sent = Counter(event[3] for event in self.log(run) if event[0] == "g")
        used = Counter(event[12] for event in self.log(run) if event[0] == "x" and len(event) > 12)
        del used[None]
        yield from (f"signal {id_} was taken in {count} times" for id_, count in sent.items() if count > 1)
        yield from (f"signal {id_} was consumed {count} times" for id_, count in used.items() if count > 1)
        yield from (f"signal {id_} was consumed, and never came" for id_ in used if id_ not in sent)

    def _amiss(self, asked: Invoked, answered: Answered) -> str:
        header = self.headers.get(asked.job)
        if answered.outcome == "refused":
            is_its = header is not None and asked.verb == "start" and _is_of(header, asked.args)
            return "the start that it is of was refused" if is_its and answered.code == "invalid" else ""
        if header is None:
            return "it was acknowledged, and is not there"
        if asked.verb == "look":
            return self._amiss_in_look(header, answered.found or {})
        if asked.verb == "start":
            return "" if _is_of(header, asked.args) else "it was started otherwise than was acknowledged"
        if asked.verb == "signal":
            told = [asked.args.get(name) for name in ("id", "name", "label", "payload")]
            found = [[*one[3:5], one[6], *(one[7:8] or [None])] for one in self.log(asked.job) if one[0] == "g"]
            return "" if told in found else f"signal {told[0]} was acknowledged, and is not there"
        return "" if self._has(asked.job, _LETTERS[asked.verb]) else f"its {asked.verb} is acknowledged, and not there"

    def _has(self, run: str, letter: str) -> bool:
        return any(event[0] == letter for event in self.log(run))

    def _amiss_in_look(self, header: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        other = [name for name in ("status", "outputs", "ended_ms") if found.get(name) != header.get(name)]
        is_over = found.get("status") != "running"
        return f"it was told to have ended with another {other[0]}" if is_over and other else ""


def _is_of(header: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Whether a run is one of this start."""
    return header["workflow"] == sent["workflow"] and header.get("inputs", {}) == sent.get("inputs", {})


class CarriedOut(_OfLogs):
    """S7. What workers do is told by themselves, before they do it, and what comes of it before they return it.

    That a claim is durable before it is told is judged by its being in the log at all: what was told too early may
    never get there.
    """

    name = "S7"
    says = "An attempt is carried out by virtue of a claim in the log, once a claim, and closed as its handler said."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._begun: dict[str, Executed] = {}
        self._ended: dict[str, Executed] = {}

    def on_executed(self, event: Executed) -> None:
        known = self._ended if event.label else self._begun
        before = known.setdefault(event.token, event)
        if before is not event:
            raise self.refute(f"{_what(event)} is carried out twice by one claim", before, event)

    def end(self) -> None:
        claims = {one[6]: (run, *one[3:6]) for run in self.headers for one in self.log(run) if one[0] == "c"}
        for token, event in self._begun.items():
            if claims.get(token) != (event.run, event.op, event.visit, event.attempt):
                raise self.refute(f"{_what(event)} is carried out, and nobody has claimed it by that token", event)
        for run in self.headers:
            for written in self.log(run):
                amiss = self._amiss(written) if written[0] == "x" else ""
                if amiss:
                    what = f"attempt {written[5]} of visit {written[4]} of {written[3]} in run {run}"
                    raise self.refute(f"{what} {amiss}", self._ended.get(written[6]))

    def _amiss(self, written: Written) -> str:
        token, label = written[6:8]
        if not token or label in _BY_ITSELF:
            return ""
        ended = self._ended.get(token)
        if ended is None:
            return f"is closed {label}, and no handler has ended so"
        output = written[8] if len(written) > 8 else None
        if (ended.label, ended.output) != (label, output):
            return f"is closed {label}, and its handler has ended {ended.label}, or with another output"
        return ""


def _what(event: Executed) -> str:
    return f"attempt {event.attempt} of visit {event.visit} of {event.op} in run {event.run}"


#: What real runs are judged by, beside what every history is.
OF_REAL_RUNS: Final = (OrdersKept, CarriedOut)
