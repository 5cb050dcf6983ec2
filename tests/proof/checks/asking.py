"""What users and workers of runs are told: S5, S6 and S12 of runs, by the logs and headers that the store has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from tests.proof.checks.reading import (
    LABEL,
    ORDER,
    REASON,
    SIGNAL,
    OfRuns,
    RunKnown,
    Written,
    cancelled_by,
    field_of,
)
from tests.proof.history import Brought, Committed, Fault, Handed, RunAsked, RunTold, Worked
from tests.proof.judge import Terms
from tests.proof.state import State

#: What makes stores say what is no longer so.
_STALE: Final = frozenset({"stale_list", "watch_gap"})
_TAKEN: Final = "done"
#: Where a visit that is closed by hand tells its output.
_OUTPUT: Final = 8
_BEGIN: Final = frozenset({"start", "batch", "fork"})
#: What is shown then is not, or not yet, the run that was asked for.
_OF_OTHERS: Final = frozenset({"start", "batch", "fork", "move"})
#: Order → the kind of event that it becomes.
_REPAIRS: Final = {"retry": "t", "skip": "u", "set": "u", "move": "m"}

T = TypeVar("T")
#: Operation, visit, attempt and token.
Claim = tuple[str, int, int, str]


@dataclass(slots=True)
class _Kept:
    """What the store has of a run."""

    header: Mapping[str, Any]
    claims: set[Claim] = field(default_factory=set)
    #: Those that are not closed.
    held: set[Claim] = field(default_factory=set)
    #: With their labels.
    closings: set[tuple[Claim, str]] = field(default_factory=set)
    #: Id → label.
    signals: dict[str, str] = field(default_factory=dict)
    consumed: set[str] = field(default_factory=set)
    #: From which commit on it stood so: status, and whether it is paused.
    stood: list[tuple[int, tuple[str, bool]]] = field(default_factory=list)
    #: Why it was repaired or moved, as whoever asked for that said, by what kind of event → that; and by which orders.
    repairs: dict[tuple[str, str], Written] = field(default_factory=dict)
    orders: set[str] = field(default_factory=set)
    #: From which commit on it went by which generation.
    went: list[tuple[int, str]] = field(default_factory=list)

    def since(self, count: int) -> list[tuple[str, bool]]:
        """Return how it stood after so many commits, and since then."""
        return _since(self.stood, count)


def _since(told: list[tuple[int, T]], count: int) -> list[T]:
    # One commit may tell of several, in which order its parts do not say.
    first = max((at for at, _ in told if at <= count), default=0)
    return [how for at, how in told if at >= first]


class _OfKept(OfRuns):
    """Knows what the store has of each run, by ``<namespace>/<run>``."""

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._kept: dict[str, _Kept] = {}
        #: Request → it, and how many commits there had been.
        self._asked: dict[str, tuple[RunAsked, int]] = {}

    def on_committed(self, event: Committed) -> None:
        if self.state.is_anew:
            self._kept.clear()
        for change in self.state.changed:
            if change.table == "runs" and change.new is not None:
                header, name = change.new.value, _name(change.key)
                kept = self._kept.setdefault(name, _Kept(header, went=[(self.state.count, header["generation"])]))
                kept.header = header
                kept.stood.append((self.state.count, (header["status"], bool(header.get("is_paused")))))
        super().on_committed(event)

    def on_run_asked(self, event: RunAsked) -> None:
        self._asked[event.op] = event, self.state.count

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        kept = self._kept[_name(key)]
        match written[0]:
            case "c":
                claim = _claim(written)
                kept.claims.add(claim)
                kept.held.add(claim)
            case "x":
                claim = _claim(written)
                kept.held.discard(claim)
                kept.closings.add((claim, written[LABEL]))
                signal = field_of(written, SIGNAL)
                if signal is not None:
                    self._take(kept, signal, key, event)
            case "g":
                self._send(kept, written, key, event)
            case "p" | "r":
                # Perhaps both in one commit, of which the header shows the last.
                kept.stood.append((self.state.count, ("running", written[0] == "p")))
            case "e":
                kept.held.clear()
                # It may have been begun again in the same commit.
                kept.stood.append((self.state.count, (written[3], False)))
            case "m":
                kept.went.append((self.state.count, written[3]))
        if written[0] in REASON:
            self._repair(kept, run, written, key, event)
        for op, visit, attempt in cancelled_by(written):
            _release(kept, op, visit, attempt)
        if written[0] == "u":
            _release(kept, *written[3:6])

    def _repair(self, kept: _Kept, run: RunKnown, written: Written, key: str, event: Committed) -> None:
        kept.repairs[written[0], field_of(written, REASON[written[0]]) or ""] = written
        if not run.is_copied:
            kept.orders.add(field_of(written, ORDER[written[0]]) or "")

    def _take(self, kept: _Kept, signal: str, key: str, event: Committed) -> None:
        kept.consumed.add(signal)

    def _send(self, kept: _Kept, written: Written, key: str, event: Committed) -> None:
        kept.signals.setdefault(written[3], written[6])


class RunsKept(_OfKept):
    """S5 of runs, and S12: what is told of a run is how it stood at some moment since it was asked."""

    name = "S5"
    says = "A start, signal, order, claim or closing that was acknowledged is in the store; what is refused, is not so."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._is_stale = False

    def on_fault(self, event: Fault) -> None:
        self._is_stale |= event.what in _STALE

    def on_handed(self, event: Handed) -> None:
        kept = self._kept.get(event.run)
        if kept is None or _of(event) not in kept.claims:
            raise self.refute(f"worker {event.worker} was given what nothing tells of in the log of {event.run}", event)

    def on_brought(self, event: Brought) -> None:
        kept = self._kept.get(event.run)
        claim = _of(event)
        is_taken = kept is not None and (claim, event.label) in kept.closings
        if event.status == 200 and not is_taken:
            raise self.refute(f"a closing of {event.op} in run {event.run} was taken, and is not in its log", event)
        if event.status in (404, 409) and kept is not None and (claim in kept.held or is_taken):
            which = "was taken" if is_taken else "is the worker's to close"
            raise self.refute(f"a closing of {event.op} in run {event.run} was refused, and {which}", event)

    def on_run_told(self, event: RunTold) -> None:
        asked, count = self._asked[event.op]
        if event.outcome != _TAKEN or asked.verb == "declare":
            return
        kept = self._kept.get(asked.run)
        if kept is None:
            raise self.refute(f"{asked.verb} of run {asked.run} was done, and there is no such run", asked, event)
        amiss = self._amiss(asked, kept, count, event.found)
        if amiss:
            raise self.refute(f"{asked.verb} of run {asked.run} was done, and {amiss}", asked, event)
        shown = event.found
        if shown is None or asked.verb in _OF_OTHERS or self._is_stale:
            return
        if (shown["status"], shown["is_paused"]) not in kept.since(count):
            raise self.refute(f"run {asked.run} is shown as it has not stood since it was asked for", asked, event)

    def _amiss(self, asked: RunAsked, kept: _Kept, count: int, found: Mapping[str, Any] | None) -> str:
        stood = kept.since(count)
        match asked.verb:
            case "signal":
                return "" if asked.args["id"] in kept.signals else "the signal is not in its log"
            case "pause":
                return "" if any(is_paused for _, is_paused in stood) else "it was not paused since"
            case "resume":
                return "" if not all(is_paused for _, is_paused in stood) else "it was paused all the time since"
            case "cancel":
                is_so = any(status == "cancelled" for status, _ in stood)
                return "" if is_so else f"it is {kept.header['status']}"
            case "move":
                shown = (found or {}).get("generation")
                return "" if shown in _since(kept.went, count) else "it did not go by that generation since"
            case "retry" | "skip" | "set":
                told = kept.repairs.get((_REPAIRS[asked.verb], asked.args["reason"]))
                return "" if told is not None and _is_as_asked(told, asked.args) else "that repair is not in its log"
            case "fork":
                made = self._kept.get(_beside(asked))
                return "" if made is not None and made.header.get("origin") else "there is no such fork"
            case _:
                return ""


class RunsOnce(_OfKept):
    """S6 of runs."""

    name = "S6"
    says = (
        "A run is begun once by its id, by one body; a signal is taken once by its id, and consumed once; an order with a "
        "key repairs or moves it once; the same request of a worker is answered alike."
    )

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: Run → what its start was answered 201 by.
        self._begun: dict[str, RunTold] = {}
        #: Who answered which request of which session of a worker → how.
        self._answers: dict[tuple[str, str, str, int], Worked] = {}

    def on_worked(self, event: Worked) -> None:
        request = event.by, event.worker, event.session, event.seq
        first = self._answers.setdefault(request, event)
        if first.answer != event.answer:
            raise self.refute(
                f"a request of worker {event.worker} came again, and was answered otherwise", first, event
            )

    def on_run_told(self, event: RunTold) -> None:
        asked, _ = self._asked[event.op]
        if asked.verb not in _BEGIN:
            return
        run = _beside(asked) if asked.verb == "fork" else asked.run
        kept = self._kept.get(run)
        if kept is None:
            return
        is_same = _body(kept.header) == _body(asked.args, asked.verb)
        if event.outcome == _TAKEN and not is_same:
            raise self.refute(f"run {asked.run} was begun by another body, and this one was taken", asked, event)
        if event.status == 422 and is_same:
            raise self.refute(f"run {asked.run} was begun by this very body, which was refused", asked, event)
        if event.status == 201:
            first = self._begun.setdefault(run, event)
            if first is not event:
                raise self.refute(f"run {run} was begun twice", first, event)

    def _repair(self, kept: _Kept, run: RunKnown, written: Written, key: str, event: Committed) -> None:
        order = field_of(written, ORDER[written[0]])
        if order and order in kept.orders:
            raise self.refute(f"run {key} is repaired twice by one order", event)
        super()._repair(kept, run, written, key, event)

    def _take(self, kept: _Kept, signal: str, key: str, event: Committed) -> None:
        if signal in kept.consumed or signal not in kept.signals:
            raise self.refute(f"signal {signal} of run {key} is consumed, and there is none", event)
        super()._take(kept, signal, key, event)

    def _send(self, kept: _Kept, written: Written, key: str, event: Committed) -> None:
        if written[3] in kept.signals:
            raise self.refute(f"signal {written[3]} of run {key} is taken twice", event)
        super()._send(kept, written, key, event)


def _body(told: Mapping[str, Any], verb: str = "start") -> tuple[str, Mapping[str, Any]]:
    """Return what starts are told apart by here."""
    is_fork = verb == "fork" or bool(told.get("origin"))
    workflow = ":batch" if verb == "batch" else "fork" if is_fork else told["workflow"]
    return workflow, told.get("tags") or {}


def _is_as_asked(written: Written, args: Mapping[str, Any]) -> bool:
    """Whether a repair is that which was asked for: of what, and what a visit was closed with by hand."""
    if written[0] == "t":
        return bool(written[3] == args["from"])
    told = args["op"], args.get("label", "done"), args.get("output")
    return (written[3], written[6], field_of(written, _OUTPUT)) == told


def _beside(asked: RunAsked) -> str:
    """Return the run that a fork of another one is."""
    return f"{asked.run.partition('/')[0]}/{asked.args['id']}"


def _release(kept: _Kept, op: str, visit: int, attempt: int) -> None:
    """Take note that nobody has an attempt any more."""
    kept.held = {claim for claim in kept.held if claim[:3] != (op, visit, attempt)}


def _name(key: str) -> str:
    """Return ``<namespace>/<run>``, given the key of a record, which begins with its shard."""
    return key.partition("/")[2]


def _claim(written: Written) -> Claim:
    op, visit, attempt, token = written[3:7]
    return op, visit, attempt, token


def _of(event: Handed | Brought) -> Claim:
    return event.op, event.visit, event.attempt, event.token
