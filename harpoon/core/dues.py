"""The clocks of a run: when each is due, when it is to be warned of, and how long a retry waits.

An attempt has at most two clocks at a time. A run keeps one heap of moments at which an attempt's clocks are to be
looked at; a heartbeat moves its clock without touching the heap, so a look may come early and find nothing due.
"""

from enum import StrEnum
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from harpoon.core.graph import Kind, Node
from harpoon.core.pace import WARN
from harpoon.core.run import Run
from harpoon.core.visit import Attempt, Ref
from harpoon.model.lifecycle import Backoff

#: Outdated entries of a heap that are let be.
_SLACK: Final = 64


class Clock(StrEnum):
    """What may run out. All but `TIME` are warned of."""

    #: No worker claimed it.
    QUEUE = "queue"
    #: It was claimed and not closed; or no signal came.
    TIMEOUT = "timeout"
    #: Its worker was not heard of.
    HEARTBEAT = "heartbeat"
    #: It waits for this moment.
    TIME = "time"
    #: The run's own.
    DEADLINE = "deadline"


class Running(NamedTuple):
    """A clock that runs."""

    due_ms: int
    #: From then on it is warned of.
    warned_ms: int
    clock: Clock
    span_ms: int


def is_at_once(node: Node, attempt: Attempt) -> bool:
    """Whether an open visit closes in the very next step, without anybody doing anything."""
    return node.kind is Kind.CHOOSE or attempt.error is not None or attempt.is_beyond


def clocks(node: Node, attempt: Attempt) -> list[Running]:
    """Return the clocks of an attempt that run, in no order; it is none that closes at once.

    One that has items has no clock of its own: theirs run.
    """
    claim, pace = attempt.claim, node.pace
    if claim is not None:
        due_ms, beat_ms = claim.due_ms, claim.beat_due_ms
        return [
            Running(due_ms, due_ms - pace.timeout_ahead_ms, Clock.TIMEOUT, pace.timeout_ms),
            Running(beat_ms, beat_ms - pace.heartbeat_ahead_ms, Clock.HEARTBEAT, pace.heartbeat_ms),
        ]
    if node.handler is not None:
        due_ms = attempt.ready_ms + pace.queue_ms
        return [Running(due_ms, due_ms - pace.queue_ahead_ms, Clock.QUEUE, pace.queue_ms)]
    if node.kind is Kind.EACH:
        return []
    due_ms = attempt.opened_ms + pace.timeout_ms
    if attempt.due_ms is not None and attempt.due_ms <= due_ms:
        return [Running(attempt.due_ms, attempt.due_ms, Clock.TIME, 0)]
    return [Running(due_ms, due_ms - pace.timeout_ahead_ms, Clock.TIMEOUT, pace.timeout_ms)]


def look_again(run: Run, attempt: Attempt) -> None:
    """Take note of when an attempt's clocks are to be looked at next, after they changed."""
    op, visit, _ = attempt.ref
    node, warned, claim = run.graph.nodes[op], attempt.warned, attempt.claim
    if warned:
        wake_ms = min([each.due_ms if each.clock in warned else each.warned_ms for each in clocks(node, attempt)])
    elif claim is not None:  # as most often: the same without a word on what is what
        pace = node.pace
        wake_ms = min(claim.due_ms - pace.timeout_ahead_ms, claim.beat_due_ms - pace.heartbeat_ahead_ms)
    else:
        wake_ms = min([each.warned_ms for each in clocks(node, attempt)])
    if wake_ms == attempt.wake_ms:
        return
    attempt.wake_ms = wake_ms
    heappush(run.wakes, (wake_ms, op, visit))
    if len(run.wakes) > _SLACK + 4 * len(run.open):
        _tidy(run)


def look_due(run: Run, now_ms: int) -> Attempt | None:
    """Take from the heap the attempt that is to be looked at first, if that is by now."""
    while run.wakes and run.wakes[0][0] <= now_ms:
        wake_ms, op, visit = heappop(run.wakes)
        attempt = run.open.get((op, visit))
        if attempt is not None and attempt.wake_ms == wake_ms:
            attempt.wake_ms = None
            return attempt
    return None


def next_due_ms(run: Run) -> int | None:
    """Return when `core.step.tick` may find something due, if nothing else happens before; None: the run is over."""
    if run.status.is_over:
        return None
    first = run.deadline_ms if run.is_warned else min(deadline_warned_from(run), run.deadline_ms)
    while run.wakes:
        wake_ms, op, visit = run.wakes[0]
        attempt = run.open.get((op, visit))
        if attempt is not None and attempt.wake_ms == wake_ms:
            return min(first, wake_ms)
        heappop(run.wakes)
    return first


def deadline_warned_from(run: Run) -> int:
    """Return from when on the deadline of a run is warned of."""
    return run.deadline_ms - (run.deadline_ms - run.since_ms) * (100 - WARN) // 100


def _tidy(run: Run) -> None:
    """Throw out what is outdated. It takes as long as there are entries, and comes once in as many steps."""
    wakes = [(attempt.wake_ms, *key) for key, attempt in run.open.items() if attempt.wake_ms is not None]
    run.wakes = wakes
    heapify(run.wakes)


def longest_pause_ms(backoff: Backoff) -> int:
    """Return how long is waited at most before an attempt."""
    return round(backoff.max.total_seconds() * 1000)


def retry_after_ms(backoff: Backoff, namespace: str, run: str, ref: Ref) -> int:
    """Return how long the attempt after ``ref`` waits.

    Less or more by the jitter, which is the same wherever it is worked out, and never more than ``backoff.max``.
    """
    most = backoff.max.total_seconds()
    span = min(most, backoff.initial.total_seconds() * backoff.factor ** min(ref.attempt - 1, 64))
    seed = blake2b(f"{namespace}/{run}/{ref.op}/{ref.visit}/{ref.attempt}".encode(), digest_size=4).digest()
    spread = int.from_bytes(seed) / 0xFFFFFFFF
    return round(min(most, span * (1 + backoff.jitter * (2 * spread - 1))) * 1000)
