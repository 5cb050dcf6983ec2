"""Events of a run's log as those who watch the run are told them: without tokens of claims, and without the wiring."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from harpoon.core.event import (
    CancelAsked,
    Claimed,
    Closed,
    Ended,
    Event,
    Fired,
    Moved,
    Opened,
    Paused,
    Resumed,
    RetriedFrom,
    SetTo,
    Signalled,
    Started,
    Warned,
)
from harpoon.core.measure import json_bytes
from harpoon.model.run_watched import CancelledAttempt, OpenedVisit, RunEvent


def told(namespace: str, run: str, event: Event, output_max: int | None = None) -> RunEvent:
    """Return what is told of an event.

    Args:
        namespace: Of the run.
        run: Its id.
        event: What happened.
        output_max: Outputs of more bytes are left out; None: none are.
    """
    tell = _KINDS.get(type(event))
    # What is not known here is told by its name, so that the numbers of what is told have no gap.
    kind, fields = (type(event).__name__.lower(), {}) if tell is None else tell(event)
    output = fields.get("output")
    if output is not None and output_max is not None and json_bytes(output) > output_max:
        fields |= {"output": None, "is_cut": True}
    return RunEvent(namespace=namespace, run=run, seq=event.seq, at_ms=event.now_ms, kind=kind, **fields)


_Told = tuple[str, dict[str, Any]]


def _opened(opened: Sequence[Opened]) -> tuple[OpenedVisit, ...]:
    return tuple([OpenedVisit(op=one.op, visit=one.visit, key=one.key, due_ms=one.due_ms) for one in opened])


def _started(event: Started) -> _Told:
    return "started", {"opened": _opened(event.opened)}


def _claimed(event: Claimed) -> _Told:
    fields = {"op": event.op, "visit": event.visit, "attempt": event.attempt, "worker": event.worker}
    return "claimed", fields


def _closed(event: Closed) -> _Told:
    fields: dict[str, Any] = {
        "op": event.op,
        "visit": event.visit,
        "attempt": event.attempt,
        "label": event.label,
        "output": event.output,
        "error": event.error or None,
    }
    if event.retry_ms is not None:
        return "retried", {**fields, "retry_ms": event.retry_ms}
    cancelled = tuple([CancelledAttempt(op=op, visit=visit, attempt=number) for op, visit, number in event.cancelled])
    return "closed", {**fields, "opened": _opened(event.opened), "signal": event.signal, "cancelled": cancelled}


def _fired(event: Fired) -> _Told:
    return "fired", {"opened": _opened(event.opened)}


def _warned(event: Warned) -> _Told:
    if not event.op:
        return "warned", {"clock": event.clock}
    fields = {"op": event.op, "visit": event.visit, "attempt": event.attempt, "clock": event.clock}
    return "warned", fields


def _signalled(event: Signalled) -> _Told:
    fields = {"signal": event.id, "name": event.name, "key": event.key, "label": event.label, "output": event.payload}
    return "signalled", fields


def _paused(event: Paused) -> _Told:
    return "paused", {"by": _by(event)}


def _resumed(event: Resumed) -> _Told:
    return "resumed", {"by": _by(event), "opened": _opened(event.opened)}


def _by(event: Paused | Resumed) -> str | None:
    return "the run that called it" if event.is_callers else event.by or None


def _cancelled(event: CancelAsked) -> _Told:
    return "cancelled", {"reason": event.reason or None}


def _ended(event: Ended) -> _Told:
    return "ended", {"status": event.status.value, "output": event.outputs, "reason": event.reason or None}


def _retried_from(event: RetriedFrom) -> _Told:
    return "retried_from", {"op": event.op, "opened": _opened(event.opened), **_audit(event)}


def _set_to(event: SetTo) -> _Told:
    fields = {"op": event.op, "visit": event.visit, "label": event.label, "output": event.output}
    return "set", {**fields, "opened": _opened(event.opened), **_audit(event)}


def _moved(event: Moved) -> _Told:
    fields = {"generation": event.generation, "by": event.by or None, "reason": event.reason or None}
    return "moved", {**fields, "opened": _opened(event.opened)}


def _audit(event: RetriedFrom | SetTo) -> dict[str, Any]:
    cancelled = tuple([CancelledAttempt(op=op, visit=visit, attempt=number) for op, visit, number in event.cancelled])
    return {
        "by": event.by or None,
        "reason": event.reason or None,
        "deadline_ms": event.deadline_ms,
        "cancelled": cancelled,
    }


_KINDS: Final[dict[type[Event], Callable[[Any], _Told]]] = {
    Started: _started,
    Claimed: _claimed,
    Closed: _closed,
    Fired: _fired,
    Warned: _warned,
    Signalled: _signalled,
    Paused: _paused,
    Resumed: _resumed,
    CancelAsked: _cancelled,
    Ended: _ended,
    RetriedFrom: _retried_from,
    SetTo: _set_to,
    Moved: _moved,
}
