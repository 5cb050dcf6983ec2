"""A run as it stands: what the fold of its log has made of it.

These are nouns only. Nothing but `core.fold` changes a run, and it decides nothing; `core.step` decides. What is kept
here beside the record itself are indexes, so that no step has to look through the run or its workflow: what may be
claimed, what waits for which signal, which triggers are complete, whose clock is next.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from harpoon.core.graph import Graph
from harpoon.core.visit import Attempt, Cut, Group, Incident, Progress, Ref, VisitKey
from harpoon.model.run import Status
from harpoon.model.workflow import OnFailed


class Kept(NamedTuple):
    """A signal that came and is not consumed."""

    id: str
    name: str
    key: str | None
    label: str
    payload: object
    #: Of its event: signals are consumed in this order.
    seq: int
    at_ms: int
    bytes: int


#: The name of a signal, and its key.
SignalKey = tuple[str, str | None]
#: Operation and visit → where that is to be called back.
Address = Callable[[str, int], str]


def callback_key(op: str, visit: int) -> str:
    """Return the key of the signal that a visit's callback brings."""
    return f"{op}/{visit}"


@dataclass(slots=True, eq=False, kw_only=True)
class Run:
    """One execution of a workflow."""

    namespace: str
    id: str
    workflow: str
    generation: str
    graph: Graph
    inputs: Mapping[str, object]
    tags: Mapping[str, str]
    created_ms: int
    #: By then it is over.
    deadline_ms: int
    #: What expressions see: ``inputs``, ``ops``, ``run``.
    scope: dict[str, dict[str, object]]
    #: Where the callback of a visit of an operation is.
    address: Address

    #: Of the last event, and when that was.
    seq: int = 0
    now_ms: int = 0
    status: Status = Status.RUNNING
    #: It was paused by hand; and the run that called it is paused.
    is_stopped: bool = False
    is_held: bool = False
    cancel_reason: str | None = None
    #: Failures that no edge took and nobody repaired, as they came.
    unhandled: dict[VisitKey, Incident] = field(default_factory=dict)
    #: Visits of operations that have it end as failed.
    reached: dict[VisitKey, None] = field(default_factory=dict)
    ended_ms: int | None = None
    outputs: object = None
    reason: str = ""

    open: dict[VisitKey, Attempt] = field(default_factory=dict)
    #: Those of them that a worker may claim now, or from their ``ready_ms`` on; in the order in which they came.
    ready: dict[VisitKey, Attempt] = field(default_factory=dict)
    #: Of the open visits of operations with ``foreach``.
    groups: dict[VisitKey, Group] = field(default_factory=dict)
    #: Operation with ``foreach`` → the items of that of its visits which was closed last.
    went: dict[str, Group] = field(default_factory=dict)
    #: Operation with ``foreach`` → the items that its next visit does anew, by virtue of a repair; it keeps the others.
    anew: dict[str, Sequence[int]] = field(default_factory=dict)
    #: Those of them of which another item may be opened now, in this order.
    roomy: dict[VisitKey, None] = field(default_factory=dict)
    #: Operations that were ever fired.
    ops: dict[str, Progress] = field(default_factory=dict)
    #: Trigger of several members → which of them have occurred since it was last complete.
    occurred: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    #: Triggers that are complete and have not fired, in this order; ``~i``: the i-th operation that the run starts at,
    #: or one that is opened by a repair (`core.graph.Graph.opens`).
    pending: list[int] = field(default_factory=list)
    #: Claimed attempts that closed → the claim's token, and the label that its worker was answered for.
    past: dict[Ref, tuple[str, str]] = field(default_factory=dict)
    #: Signal and key → the open waits for it, the first opened first; under no key: all for that signal.
    waiting: dict[SignalKey, dict[VisitKey, None]] = field(default_factory=dict)
    #: Signals that wait to be consumed, as they came; and their ids by name and own key.
    kept: dict[str, Kept] = field(default_factory=dict)
    kept_by: dict[SignalKey, dict[str, None]] = field(default_factory=dict)
    #: Ids of signals, as they came → when: one that comes again is not another.
    seen: dict[str, int] = field(default_factory=dict)
    #: Signal → the operations of the workflow that wait for it; None: nobody has asked.
    awaited: Mapping[str, Sequence[str]] | None = None
    #: Operation that waits for callbacks → the visit that `scope` has the address of: the one that was opened last, if
    #: it is open, else the next; none, if there is no next.
    callbacks: dict[str, int] = field(default_factory=dict)
    #: Key of a visit's callback → the id of what it brought: it brings nothing else.
    called: dict[str, str] = field(default_factory=dict)
    attempts_total: int = 0
    #: Of inputs, outputs, errors and payloads.
    bytes_total: int = 0
    #: Most of the time until its deadline has passed, and that was told.
    is_warned: bool = False
    #: What its end has broken off: visits that were open, and what was pending.
    cut: dict[VisitKey, Cut] = field(default_factory=dict)
    left: tuple[int, ...] = ()
    #: How often it was repaired, or moved to another generation; and by which orders, those that had an id.
    repairs: int = 0
    moves: int = 0
    orders: dict[str, None] = field(default_factory=dict)
    #: Since then it has until its deadline.
    since_ms: int = 0
    #: Generation → its graph, of those that it was moved from, or may be moved to.
    graphs: dict[str, Graph] = field(default_factory=dict)
    #: A heap of (when, operation, visit): whose clocks are to be looked at next. Some are outdated.
    wakes: list[tuple[int, str, int]] = field(default_factory=list)

    @property
    def is_paused(self) -> bool:
        """Whether nothing is claimed, fired or consumed."""
        return self.is_stopped or self.is_held

    @property
    def is_broken(self) -> bool:
        """Whether a failure was taken by no edge."""
        return bool(self.unhandled)

    @property
    def failure(self) -> str | None:
        """Why it will end as failed; None: it will not, so far."""
        for incident in self.unhandled.values():
            return incident.told
        for op, _ in self.reached:
            return f"{op} was reached, which ends the run as failed"
        return None

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """Failures that somebody is to do something about; the run goes on until then."""
        is_parked = self.graph.spec.on_failure is OnFailed.PARK and not self.status.is_over
        return tuple(self.unhandled.values()) if is_parked else ()

    def has_visit(self, op: str, visit: int) -> bool:
        """Whether there is, or may still be, such a visit of an operation."""
        progress, most = self.ops.get(op), self.graph.nodes[op].visits
        if progress is None:
            return visit <= most
        return visit <= progress.fired + most - progress.used

    def point(self, op: str, visit: int) -> None:
        """Have expressions see the address of a visit's callback, if the operation has such a visit."""
        seen = cast("dict[str, str]", self.scope["run"].setdefault("callbacks", {}))
        if self.has_visit(op, visit):
            self.callbacks[op], seen[op] = visit, self.address(op, visit)
        else:
            self.callbacks.pop(op, None)
            seen.pop(op, None)

    def point_anew(self) -> None:
        """Have expressions see the addresses of callbacks, after what may be opened has changed."""
        cast("dict[str, str]", self.scope["run"].get("callbacks", {})).clear()
        self.callbacks.clear()
        latest = {name: visit for name, visit in self.open if name in self.graph.callbacks}
        for op in self.graph.callbacks:
            progress = self.ops.get(op)
            self.point(op, latest.get(op, 1 if progress is None else progress.fired + 1))

    def find(self, ref: Ref) -> Attempt | None:
        """Return an attempt, if it is open."""
        attempt = self.open.get((ref.op, ref.visit))
        return attempt if attempt is not None and attempt.ref == ref else None


def begin(  # noqa: PLR0913 all that a run is made of
    *,
    namespace: str,
    id: str,  # noqa: A002 its name everywhere
    workflow: str,
    generation: str,
    graph: Graph,
    inputs: Mapping[str, object],
    created_ms: int,
    deadline_ms: int,
    tags: Mapping[str, str] | None = None,
    graphs: Mapping[str, Graph] | None = None,
    address: Address = callback_key,
) -> Run:
    """Return a run in which nothing has happened: `core.step.start` it, or fold its log into it.

    ``graphs`` are those of the generations that its log moves it to.
    """
    about: dict[str, object] = {
        "id": id,
        "namespace": namespace,
        "workflow": workflow,
        "generation": generation,
        "started_ms": created_ms,
        "deadline_ms": deadline_ms,
    }
    run = Run(
        namespace=namespace,
        id=id,
        workflow=workflow,
        generation=generation,
        graph=graph,
        inputs=inputs,
        tags=tags or {},
        created_ms=created_ms,
        deadline_ms=deadline_ms,
        scope={"inputs": dict(inputs), "ops": {}, "run": about},
        address=address,
        now_ms=created_ms,
        since_ms=created_ms,
        graphs=dict(graphs or {}),
    )
    for op in graph.callbacks:
        run.point(op, 1)
    return run
