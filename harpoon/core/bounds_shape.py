"""The graph of a workflow in numbers, as bounds are reckoned by: what leads to what, and what one visit may take.

Operations are numbered in the order of the manifest. A *gate* is a trigger seen from the operation that it opens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import heapreplace
from typing import Final, NamedTuple

from harpoon.core.components import components
from harpoon.core.dues import longest_pause_ms
from harpoon.core.expiry import awaited_by
from harpoon.core.fold import SIGNAL_KEPT_MS
from harpoon.core.graph import Each, Graph, Kind, Node, member_of
from harpoon.core.measure import json_bytes
from harpoon.core.signalling import SIGNALS_MAX
from harpoon.core.stepping import ERROR_MAX
from harpoon.kit.expression import Template
from harpoon.model.label import EXHAUSTED
from harpoon.model.lifecycle import Backoff
from harpoon.model.operation import Operation, Wait
from harpoon.model.units import format_duration

#: Bytes of the value of a template: a MiB, and more, for `core.measure` writes some numbers by a fifth longer.
VALUE_MAX: Final = 5 << 18
#: JSON's ``null``, which is written where there is no value.
_NULL: Final = 4
_MILLISECOND: Final = timedelta(milliseconds=1)
_EXPONENT_MAX: Final = 64


#: Which retries, how long an attempt may take and wait to be claimed, and whether who is called may ask for pauses.
_Waits = tuple[int, timedelta | None, timedelta, bool]


class Cost(NamedTuple):
    """What one visit of an operation may take."""

    attempts: int
    #: From when it is opened until it is closed.
    span_ms: int
    #: Of what is kept of it: input, outputs and errors.
    bytes: int
    #: Of a firing beyond its visits.
    beyond_bytes: int


class Gate(NamedTuple):
    """A trigger of several members, or one of one: what opens an operation."""

    #: The trigger's index.
    number: int
    #: Operation, whether the label is ``exhausted``, and how many of its labels are members together with this one.
    members: tuple[tuple[int, bool, int], ...]
    op: int
    #: Labels of its members, in the same order.
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A graph in numbers."""

    names: Sequence[str]
    specs: Sequence[Operation]
    costs: Sequence[Cost]
    #: How often the run begins with each: 0 or 1.
    begins: Sequence[int]
    gates: Sequence[Gate]
    #: Operation → what opens it.
    into: Sequence[Sequence[Gate]]
    #: Operation → label → the gates that it is a member of.
    out: Sequence[Mapping[str, Sequence[Gate]]]
    #: Operation → the workflows that one visit of it calls, and by how many attempts at most.
    calls: Sequence[Sequence[tuple[str, int]]]
    #: Operation → the operations that it leads to, perhaps several times.
    successors: Sequence[Sequence[int]]
    #: Sets of operations that lead to each other, each before those that lead to it; and whether it is a cycle.
    parts: Sequence[tuple[Sequence[int], bool]]

    def is_steady(self, part: Sequence[int]) -> bool:
        """Whether no label in a cycle that leads back into it opens anything else."""
        within = frozenset(part)
        return not any(
            len(through) > 1 and any(gate.op in within for gate in through)
            for op in part
            for through in self.out[op].values()
        )


def shape_of(graph: Graph) -> Shape:
    """Return the shape of a graph, in time that goes by its size."""
    # What items take is a part of what their operation takes.
    nodes = [node for node in graph.nodes.values() if node.home is None]
    names = [node.name for node in nodes]
    numbers = {name: number for number, name in enumerate(names)}
    begins = [0] * len(names)
    for name in graph.starts:
        begins[numbers[name]] = 1
    gates = [_gate(*trigger, numbers) for trigger in graph.triggers]
    into: list[list[Gate]] = [[] for _ in names]
    for gate in gates:
        into[gate.op].append(gate)
    out = [
        {label: [gates[trigger[0]] for trigger in triggers] for label, triggers in node.edges.items()} for node in nodes
    ]
    successors = [[gate.op for through in each.values() for gate in through] for each in out]
    spans: dict[_Waits, int] = {}
    costs = [_cost(node, spans) if node.each is None else _cost_of_all(node, node.each, graph, spans) for node in nodes]
    specs = [node.spec for node in nodes]
    calls = [_calls(graph, node, spans) for node in nodes]
    parts = [(part, len(part) > 1 or part[0] in successors[part[0]]) for part in components(successors)]
    return Shape(names, specs, costs, begins, gates, into, out, calls, successors, parts)


def _gate(index: int, op: str, members: Sequence[tuple[str, str]], numbers: Mapping[str, int]) -> Gate:
    if len(members) == 1:
        from_, label = members[0]
        return Gate(index, ((numbers[from_], label == EXHAUSTED, 1),), numbers[op], (label,))
    # Each visit gives one label: so many labels of one operation take as many of its visits.
    together = dict.fromkeys([from_ for from_, _ in members], 0)
    for from_, label in members:
        together[from_] += label != EXHAUSTED
    told = [(numbers[from_], label == EXHAUSTED, together[from_]) for from_, label in members]
    return Gate(index, tuple(told), numbers[op], tuple([label for _, label in members]))


def _cost(node: Node, spans: dict[_Waits, int]) -> Cost:
    """Return what a visit may take; spans that were worked out before are taken from ``spans``."""
    spec, beyond = node.spec, _beyond_bytes(node)
    if node.kind is Kind.CHOOSE:
        can_fail = spec.choose is None or spec.choose[0].else_ is None
        return Cost(1, 0, 2 * _NULL + (ERROR_MAX if can_fail else 0), beyond)
    if spec.wait is not None:
        return Cost(1, _wait_ms(spec, spec.wait), 2 * _NULL + _wait_error(node, spec.wait), beyond)
    key = (id(spec.retry), spec.timeout, spec.queue_timeout, spec.http is not None)
    span_ms = spans.get(key)
    if span_ms is None:
        span_ms = spans[key] = _work_ms(spec)
    retry = spec.retry
    fail, others = retry.fail.attempts - 1, retry.timeout.attempts + retry.lost.attempts - 2
    told = max(spec.output_max, _NULL) + ERROR_MAX
    opened = _size(node.input)
    if node.key is not None or (node.input is not None and not node.input.is_constant):
        # What could not be evaluated is told when it is opened, and again when that closes it.
        opened = max(opened, _NULL + ERROR_MAX)
    closed = (fail + 1) * told + others * (_NULL + ERROR_MAX)
    return Cost(fail + others + 1, span_ms, opened + closed, beyond)


def _cost_of_all(node: Node, each: Each, graph: Graph, spans: dict[_Waits, int]) -> Cost:
    """Return what a visit may take with all its items."""
    if each.is_of_steps:
        every = [_cost(graph.nodes[member_of(node.name, index)], spans) for index in range(each.most)]
    else:
        every = [_cost(graph.nodes[member_of(node.name)], spans)] * each.most
    opened = _size(node.input)
    if node.input is not None and not node.input.is_constant:
        opened = max(opened, _NULL + ERROR_MAX)
    stored = opened + _NULL + ERROR_MAX + sum([one.bytes for one in every])
    attempts = 1 + sum([one.attempts for one in every])
    return Cost(attempts, _span_of_all([one.span_ms for one in every], each.parallel), stored, _beyond_bytes(node))


def _span_of_all(spans_ms: Sequence[int], parallel: int) -> int:
    """Return how long items take, each begun in its order once one of so many places is free.

    No item that takes less time makes another one begin later, so what takes longest is that all take as long as they
    may.
    """
    free_ms = [0] * min(parallel, len(spans_ms))
    for span_ms in spans_ms:
        heapreplace(free_ms, free_ms[0] + span_ms)
    return max(free_ms, default=0)


def _beyond_bytes(node: Node) -> int:
    """Return how many bytes a firing beyond its visits takes: that is what closes it."""
    return 2 * _NULL + len(node.name) + len(f" was fired more than {node.visits} times")


def _wait_error(node: Node, wait: Wait) -> int:
    """Return how many bytes the errors of a wait may take. What a signal brings is counted when that comes."""
    if node.key is not None or node.until is not None:
        return 2 * ERROR_MAX
    if wait.for_ is not None:
        return 0
    span = format_duration(node.spec.timeout_ms * _MILLISECOND)
    return len(f"{awaited_by(wait)} did not come within {span}")


def _size(template: Template | None) -> int:
    """Return how many bytes the value of a template may take."""
    if template is None:
        return _NULL
    return json_bytes(template.value({})) if template.is_constant else VALUE_MAX


def _wait_ms(spec: Operation, wait: Wait) -> int:
    return spec.timeout_ms if wait.for_ is None else wait.for_ // _MILLISECOND


def _work_ms(spec: Operation) -> int:
    """Return how long a worker's visit may take.

    Every attempt waits for a worker as long as it may, then takes as long as it may: one that is lost ends a
    millisecond earlier, or it would time out. What was lost is not waited after; so that the waits are the longest,
    that comes first.
    """
    retry = spec.retry
    lost = retry.lost.attempts - 1
    attempts = retry.fail.attempts + retry.timeout.attempts - 1 + lost
    # Who is called may ask for the longest of pauses after each failure.
    asked = retry.fail.attempts - 1 if spec.http is not None else 0
    waits = sum(_backoff_ms(retry.backoff, attempt) for attempt in range(lost + 1 + asked, attempts))
    waits += asked * longest_pause_ms(retry.backoff)
    return attempts * (spec.queue_timeout_ms + spec.timeout_ms) - lost + waits


def _backoff_ms(backoff: Backoff, attempt: int) -> int:
    """Return how long is waited after an attempt, at most: see `core.dues.retry_after_ms`."""
    most = backoff.max.total_seconds()
    span = min(most, backoff.initial.total_seconds() * backoff.factor ** min(attempt - 1, _EXPONENT_MAX))
    return round(min(most, span * (1 + backoff.jitter)) * 1000)


def outputs_bytes(graph: Graph) -> int:
    """Return how many bytes the outputs of a run may take."""
    return max(_size(graph.outputs), _NULL)


def signals_bytes(graph: Graph, visits: Sequence[int], life_ms: int) -> int:
    """Return how many bytes the signals and callbacks may take that a run takes in.

    Each signal is consumed by a visit of a wait, or kept; so many are kept at once, and each for so long. Each visit
    that may be has one callback, which may come before it.
    """
    most, consumed, called = 0, 0, 0
    nodes = [node for node in graph.nodes.values() if node.home is None]
    for node, often in zip(nodes, visits, strict=True):
        for one, times in _doing(graph, node):
            wait = one.spec.wait
            if wait is not None and wait.signal is not None:
                most = max(most, one.spec.output_max)
                consumed += often * times
            elif wait is not None and wait.callback:
                called += node.spec.visits * times * one.spec.output_max
    return called + most * (consumed + SIGNALS_MAX * (1 + life_ms // SIGNAL_KEPT_MS))


def _calls(graph: Graph, node: Node, spans: dict[_Waits, int]) -> Sequence[tuple[str, int]]:
    """Return the workflows that one visit of a node calls, and by how many attempts."""
    return [
        (one.spec.call.workflow, times * _cost(one, spans).attempts)
        for one, times in _doing(graph, node)
        if one.spec.call is not None
    ]


def _doing(graph: Graph, node: Node) -> Iterator[tuple[Node, int]]:
    """Yield what one visit of a node does, and how often: it, or its items."""
    if node.each is None:
        yield node, 1
    elif node.each.is_of_steps:
        yield from ((graph.nodes[member_of(node.name, index)], 1) for index in range(node.each.most))
    else:
        yield graph.nodes[member_of(node.name)], node.each.most
