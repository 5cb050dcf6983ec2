"""What workers are told, as JSON."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson

from harpoon.control.orders import MOVED, OVER, Refusal
from harpoon.core.offers import AttemptId, Offer
from harpoon.core.run import Run
from harpoon.core.visit import Attempt
from harpoon.model.work import Closing

#: Code of a refusal → the status of the closing; any other is a conflict.
_STATUSES: Final[Mapping[str, int]] = {
    "unknown": 404,
    "late": 409,
    "foreign": 409,
    OVER: 409,
    "label": 422,
    "output": 422,
    MOVED: 503,
}
_TITLES: Final[Mapping[int, str]] = {
    404: "Not Found",
    409: "Conflict",
    422: "Unprocessable Content",
    503: "Service Unavailable",
}


class Subject(NamedTuple):
    """What is offered."""

    run: Run
    attempt: Attempt


class Told(NamedTuple):
    """The parts of an answer; those from other instances are JSON already."""

    results: Sequence[object]
    claims: Sequence[object]
    lost: Sequence[object]
    is_superseded: bool


def answer_json(seq: int, told: Told) -> bytes:
    """Return an answer; what is empty is left out of it."""
    answer: dict[str, object] = {"seq": seq}
    if told.results:
        answer["results"] = told.results
    if told.claims:
        answer["claims"] = told.claims
    if told.lost:
        answer["lost"] = told.lost
    if told.is_superseded:
        answer["superseded"] = True
    return orjson.dumps(answer)


def claim_told(offer: Offer, token: str, now_ms: int) -> dict[str, object]:
    """Return a claim as its worker is told of it."""
    subject, id_ = offer.subject, offer.id
    assert isinstance(subject, Subject), "what is offered here has a subject"
    run, attempt = subject
    node = run.graph.nodes[id_.op]
    pace = node.pace
    return {
        "run": id_.run,
        "workflow": offer.workflow,
        "op": id_.op,
        "visit": id_.visit,
        "attempt": id_.attempt,
        "token": token,
        "handler": offer.handler,
        "input": attempt.input,
        "key": f"{id_.namespace}/{id_.run}/{id_.op}/{id_.visit}",
        "timeout_ms": pace.timeout_ms,
        "heartbeat_ms": pace.heartbeat_ms,
        "queued_ms": max(0, now_ms - offer.ready_ms),
        "labels": sorted(node.offered),
    }


def status_of(refusal: Refusal | None) -> int:
    """Return the status of a closing."""
    return 200 if refusal is None else _STATUSES.get(refusal.code, 409)


def result_told(closing: Closing, refusal: Refusal | None) -> dict[str, object]:
    """Return what became of a closing."""
    told: dict[str, object] = {
        "run": closing.run,
        "op": closing.op,
        "visit": closing.visit,
        "attempt": closing.attempt,
        "status": (status := status_of(refusal)),
    }
    if refusal is not None:
        told["title"], told["detail"] = _TITLES[status], refusal.message
    return told


def lost_told(id_: AttemptId, reason: str) -> dict[str, object]:
    """Return an attempt that a worker has lost."""
    return {"run": id_.run, "op": id_.op, "visit": id_.visit, "attempt": id_.attempt, "reason": reason}
