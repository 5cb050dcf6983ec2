"""What a run waits for, and what can never happen in it any more: told as data, for people to be shown.

This reads a run and decides nothing, and it may look through the whole workflow. Whether there are workers at all for
what waits for one, or room under its limit, the exchange knows.
"""

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from harpoon.core.dues import Clock, clocks
from harpoon.core.graph import Kind, Node
from harpoon.core.run import Run
from harpoon.core.visit import Attempt, Ref
from harpoon.model.label import Member


class State(StrEnum):
    """How an open visit stands. What waits is never called running."""

    #: A worker may claim it.
    READY = "ready"
    #: A worker has claimed it.
    RUNNING = "running"
    #: An attempt failed, and the next one may be claimed later.
    RETRYING = "retrying"
    #: For a signal.
    SIGNAL = "signal"
    #: For a moment.
    TIME = "time"
    #: For its items.
    ITEMS = "items"


class Stand(NamedTuple):
    """How one open visit stands, and what it waits for."""

    ref: Ref
    state: State
    #: Since then.
    since_ms: int
    #: What ends it if nothing else does, and when.
    clock: Clock
    due_ms: int
    #: The handler that it is for; empty: it is for none.
    handler: str = ""
    #: Who has claimed it.
    worker: str = ""
    #: The signal that it waits for.
    signal: str = ""
    #: That the signal must have; or, of a worker's operation, that its concurrency counts under.
    key: str | None = None
    #: What the attempt before failed with.
    last_error: str = ""
    #: Nothing claims it, and nothing is consumed by it, until the run is resumed.
    is_paused: bool = False


class Join(NamedTuple):
    """A trigger some members of which have occurred."""

    #: That it opens.
    op: str
    occurred: tuple[Member, ...]
    #: That may still occur.
    missing: tuple[Member, ...]
    #: That cannot: while there are any, it never fires.
    impossible: tuple[Member, ...]


class Outlook(NamedTuple):
    """What a run waits for; empty when it is over."""

    #: In the order in which they were opened.
    stands: tuple[Stand, ...]
    joins: tuple[Join, ...]
    #: Operations that will be opened once the run is resumed.
    held: tuple[str, ...]
    #: By then it is over, whatever happens.
    deadline_ms: int


def outlook(run: Run, now_ms: int) -> Outlook:
    """Return what a run waits for."""
    stands = tuple([_stand(run, attempt, now_ms) for attempt in run.open.values()])
    joins = () if run.status.is_over else tuple(_joins(run, _prospects(run)))
    held = tuple(run.graph.opens(pending) for pending in run.pending)
    return Outlook(stands, joins, held, run.deadline_ms)


def skipped(run: Run) -> tuple[str, ...]:
    """Return the operations that were never opened, and that nothing can open any more; in their order."""
    prospects = frozenset[str]() if run.status.is_over else _prospects(run)
    nodes = run.graph.nodes.values()
    return tuple(
        [node.name for node in nodes if node.home is None and node.name not in run.ops and node.name not in prospects]
    )


def _stand(run: Run, attempt: Attempt, now_ms: int) -> Stand:
    node = run.graph.nodes[attempt.ref.op]
    running = [(each.due_ms, each.clock) for each in clocks(node, attempt)]
    due_ms, clock = min(running, default=(run.deadline_ms, Clock.DEADLINE))
    claim = attempt.claim
    if claim is not None:
        state, since_ms = State.RUNNING, claim.at_ms
    elif attempt.ready_ms > now_ms:
        state, since_ms = State.RETRYING, attempt.tried_ms
    else:
        state, since_ms = _waiting(node), attempt.ready_ms
    return Stand(
        attempt.ref,
        state,
        since_ms,
        clock,
        due_ms,
        handler=node.handler or "",
        worker="" if claim is None else claim.worker,
        signal="" if node.spec.wait is None or node.each is not None else node.spec.wait.awaited or "",
        key=attempt.key,
        last_error=attempt.last_error,
        is_paused=run.is_paused and claim is None and state not in (State.TIME, State.ITEMS),
    )


def _waiting(node: Node) -> State:
    if node.handler is not None:
        return State.READY
    if node.kind is Kind.EACH:
        return State.ITEMS
    is_for_signal = node.spec.wait is not None and node.spec.wait.awaited is not None
    return State.SIGNAL if is_for_signal else State.TIME


def _joins(run: Run, prospects: frozenset[str]) -> Iterator[Join]:
    """Return the triggers that lack members, and of these, which may still come."""
    for index in sorted(run.occurred):
        trigger, occurred = run.graph.triggers[index], run.occurred[index]
        missing = [member for member in trigger.members if member not in occurred]
        yield Join(
            trigger.op,
            tuple(member for member in trigger.members if member in occurred),
            tuple(member for member in missing if member.op in prospects),
            tuple(member for member in missing if member.op not in prospects),
        )


def _prospects(run: Run) -> frozenset[str]:
    """Return the operations of which a visit is open, or may still be opened."""
    found = {op for op, _ in run.open}
    found.update(run.graph.opens(pending) for pending in run.pending)
    # They may be repaired.
    found.update(incident.op for incident in run.incidents)
    lacking = {index: set(run.graph.triggers[index].members) - occurred for index, occurred in run.occurred.items()}
    queue = deque(found)
    while queue:
        op = queue.popleft()
        for label, triggers in run.graph.nodes[op].edges.items():
            for trigger in triggers:
                lack = lacking.setdefault(trigger.index, set(trigger.members))
                lack.discard(Member(op, label))
                if not lack and trigger.op not in found:
                    found.add(trigger.op)
                    queue.append(trigger.op)
    return frozenset(found)
