"""What is drawn of a workflow, or of a run: a box for each operation, an arc for each edge, and what became of them.

How it is written down is the business of `core.drawing_dot`, `core.drawing_mermaid`, `core.drawing_svg` and
`core.drawing_ascii`. Texts in a picture are as users wrote them: each form has its own way to keep them harmless.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from harpoon.core.chronicle import Chronicle, Visit
from harpoon.core.graph import Graph, Node, home_of
from harpoon.core.run_groups import Plot, counted, items_said
from harpoon.model.label import CANCELLED, FAILURES
from harpoon.model.name import BATCH
from harpoon.model.operation import Operation
from harpoon.model.units import format_duration
from harpoon.model.visit_shown import ItemCounts

#: Characters of a line in a box, and of what is told beside it.
LINE_MAX: Final = 40
ASIDE_MAX: Final = 300

#: What may be done with a job, by the fields that say it.
_VERBS: Final = ("schedule", "migrate", "scale", "unschedule", "promote", "undo")
_DIGITS: Final = re.compile(r"(\d+)")


class State(StrEnum):
    """How an operation of a run stands; of several open visits, the one that comes first here."""

    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    READY = "ready"
    #: It failed, and waits for somebody to repair it.
    PARKED = "parked"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DONE = "done"
    #: It was never opened, and may be.
    AHEAD = "not yet"
    #: It was never opened, and nothing can open it any more.
    SKIPPED = "skipped"


#: Of these a visit is open.
OPEN: Final = frozenset({State.RUNNING, State.RETRYING, State.WAITING, State.READY})
#: A sign for each, for those who cannot tell colours apart.
SIGNS: Final[Mapping[State, str]] = {
    State.RUNNING: "▶",
    State.RETRYING: "↻",
    State.WAITING: "◷",
    State.READY: "○",
    State.PARKED: "⚠",
    State.FAILED: "✗",
    State.CANCELLED: "⊘",
    State.DONE: "✓",
    State.AHEAD: "·",
    State.SKIPPED: "◌",
}


class Arc(NamedTuple):
    """An edge: what leads from one box to another."""

    source: int
    label: str
    target: int
    #: Those of one group to one box are needed all together; -1: it needs no other.
    group: int
    #: How often the source was closed so; None: of a workflow, or it was not.
    times: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An operation, or several alike that are drawn as one."""

    title: str
    #: ``worker``, ``wait`` and so on.
    kind: str
    #: What it does, in a few words.
    does: str
    #: None: of a workflow.
    state: State | None
    #: How often it was visited, and whatever else there is to say of it in a few words.
    note: str = ""
    #: What is told where there is room for it, such as an error.
    aside: str = ""
    #: The operations that it stands for.
    ops: tuple[str, ...]
    is_start: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is drawn."""

    title: str
    #: A sentence or two, for those who do not see it.
    description: str
    boxes: tuple[Box, ...]
    arcs: tuple[Arc, ...]
    #: That several operations are drawn as one box; empty: none are.
    folded: str = ""


class Course(NamedTuple):
    """What became of a run."""

    id: str
    status: str
    told: Chronicle
    #: Operations that can never run any more.
    skipped: Collection[str]
    #: Milliseconds, UTC.
    now_ms: int
    #: Operations whose failures are parked.
    parked: Collection[str] = ()


def picture(name: str, graph: Graph, course: Course | None = None) -> Picture:
    """Return what is drawn of a workflow, or of a run of it.

    It does not depend on the order of the manifest, which says nothing.

    Args:
        name: Of the workflow.
        graph: Compiled; of a run, the generation that it is on.
        course: Of a run.
    """
    names = sorted([op for op in graph.nodes if home_of(op) is None], key=natural)
    seen = None if course is None else _seen(graph, course)
    starts = frozenset(graph.starts)
    boxes = [_box(graph, graph.nodes[op], seen, is_start=op in starts) for op in names]
    count = f"{len(boxes):,} operation{'' if len(boxes) == 1 else 's'}"
    if course is None:
        title, description = f"workflow {name}", f"{count}; it begins with {_few(graph.starts)}."
    else:
        what = f"batch {course.id}" if name == BATCH else f"run {course.id} of {name}"
        title, description = f"{what}: {course.status}", f"{count}: {standing(boxes)}."
    return Picture(title=title, description=description, boxes=tuple(boxes), arcs=tuple(_arcs(graph, names, seen)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What became of a run, operation by operation."""

    skipped: Collection[str]
    parked: Collection[str]
    now_ms: int
    #: Operation → its visits.
    visits: Mapping[str, Sequence[Visit]]
    #: Operation → those of its items that are open.
    open_items: Mapping[str, Sequence[Visit]]
    #: Operation and visit → what has become of its items.
    items: Mapping[tuple[str, int], ItemCounts]
    #: Operation and label → how often it was closed so.
    closed: Counter[tuple[str, str]]


def _seen(graph: Graph, course: Course) -> _Seen:
    visits: dict[str, list[Visit]] = {}
    open_items: dict[str, list[Visit]] = {}
    closed = Counter[tuple[str, str]]()
    for visit in course.told.visits.values():
        home = home_of(visit.op)
        if home is None:
            visits.setdefault(visit.op, []).append(visit)
            closed[visit.op, visit.latest.label or ""] += visit.is_closed
        elif not visit.is_closed:
            open_items.setdefault(home, []).append(visit)
    return _Seen(
        skipped=frozenset(course.skipped),
        parked=frozenset(course.parked),
        now_ms=course.now_ms,
        visits=visits,
        open_items=open_items,
        items=counted(course.told, Plot(operations=graph.operations, most={})),
        closed=closed,
    )


def _arcs(graph: Graph, names: Sequence[str], seen: _Seen | None) -> Iterator[Arc]:
    """Yield the edges of a graph, each once, by where they begin, their labels and where they lead."""
    numbers = {op: number for number, op in enumerate(names)}
    # Sorted box by box: all at once would be one long step of the interpreter, which others have to wait for.
    leading: list[list[tuple[str, int, int]]] = [[] for _ in names]
    for index, op, members in graph.triggers:
        target, group = numbers[op], index if len(members) > 1 else -1
        for member, label in members:
            leading[numbers[member]].append((label, target, group))
    for source, (name, own) in enumerate(zip(names, leading, strict=True)):
        for label, target, group in sorted(set(own)):
            yield Arc(source, label, target, group, None if seen is None else seen.closed[name, label] or None)


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """Return what sorts ``step_2`` before ``step_10``."""
    return tuple([(int(part), "") if part.isdigit() else (-1, part) for part in _DIGITS.split(text) if part])


def standing(boxes: Sequence[Box]) -> str:
    """Say how many operations of a run stand how."""
    counts = Counter[State | None]()
    for box in boxes:
        counts[box.state] += len(box.ops)
    return ", ".join(f"{counts[state]:,} {state}" for state in State if counts[state])


def label_of(arc: Arc) -> str:
    """Write a label as it is drawn: with how often it was given."""
    return arc.label if arc.times is None else f"{arc.label} ({arc.times})"


def lines_of(box: Box, *, has_signs: bool = True) -> list[str]:
    """Return the lines of a box: what it is called, what it does, how it stands."""
    lines = [box.title, box.does]
    if box.state is not None:
        sign = f"{SIGNS[box.state]} " if has_signs else ""
        lines.append(f"{sign}{box.state}" + (f", {box.note}" if box.note else ""))
    elif box.note:
        lines.append(box.note)
    return [line if len(line) <= LINE_MAX else f"{line[: LINE_MAX - 1]}…" for line in lines if line]


def does(operation: Operation) -> str:
    """Say in a few words what an operation does, for each item if it has some."""
    each = "each: " if operation.foreach is not None else ""
    return each + _DOES[operation.does](operation)


def _http(operation: Operation) -> str:
    http = operation.http
    assert http is not None, "that is what it does"
    # What follows in a URL may be a secret, and is long.
    return f"{http.method} {http.url.partition('?')[0]}"


def _wait(operation: Operation) -> str:
    wait = operation.wait
    assert wait is not None, "that is what it does"
    if wait.for_ is not None:
        return f"wait for {format_duration(wait.for_)}"
    return f"wait until {wait.until}" if wait.until is not None else f"wait for {wait.signal or 'a callback'}"


def _job(operation: Operation) -> str:
    order = operation.job
    verb = next(verb for verb in _VERBS if getattr(order, verb) is not None)
    return f"{verb} {getattr(order, verb)}"


#: What an operation does → how that is said.
_DOES: Final[Mapping[str, Callable[[Operation], str]]] = {
    "worker": lambda operation: operation.worker or "",
    "wait": _wait,
    "choose": lambda _: "choose",
    "http": _http,
    "call": lambda operation: "" if operation.call is None else f"call {operation.call.workflow}",
    "task": lambda _: "a task",
    "job": _job,
}


def _box(graph: Graph, node: Node, seen: _Seen | None, *, is_start: bool) -> Box:
    notes: list[str] = []
    state, aside = None, ""
    if seen is None:
        notes += _needs(node)
        if node.spec.visits > 1:
            notes.append(f"up to {node.spec.visits} visits")
    else:
        own = seen.visits.get(node.name, ())
        state = _state(graph, node, seen)
        notes = list(_notes(node, own, seen))
        aside = next((one.latest.error for one in reversed(own) if one.latest.error), "")
    return Box(
        title=node.name,
        kind=node.kind.value,
        does=f"{node.each.most} steps" if node.each is not None and node.each.is_of_steps else does(node.spec),
        state=state,
        note=", ".join(notes),
        aside=aside[:ASIDE_MAX],
        ops=(node.name,),
        is_start=is_start,
    )


def _needs(node: Node) -> Iterator[str]:
    """Say that an operation needs several others, if it does."""
    needed = max([len(trigger.members) for trigger in node.triggers], default=1)
    if needed > 1:
        yield f"needs all {needed}"


def _notes(node: Node, visits: Sequence[Visit], seen: _Seen) -> Iterator[str]:
    """Say how often an operation was visited and tried, and how far its items are, as far as that says anything."""
    if not visits:
        yield from _needs(node)
        return
    if node.spec.visits > 1:
        yield f"{len(visits)} of {node.spec.visits} visits"
    if len(visits[-1].tries) > 1:
        yield f"attempt {len(visits[-1].tries)}"
    items = seen.items.get((node.name, visits[-1].visit))
    if items is not None:
        yield items_said(items)


def _state(graph: Graph, node: Node, seen: _Seen) -> State:
    visits = seen.visits.get(node.name, ())
    if not visits:
        return State.SKIPPED if node.name in seen.skipped else State.AHEAD
    # Of one that goes through items, these tell whether anybody is at it.
    found = [_open(graph.nodes[visit.op], visit, seen.now_ms) for visit in seen.open_items.get(node.name, ())]
    found = found or [_open(node, visit, seen.now_ms) for visit in visits if not visit.is_closed]
    if found:
        return min(found, key=list(State).index)
    if node.name in seen.parked:
        return State.PARKED
    label = visits[-1].latest.label
    return State.FAILED if label in FAILURES else State.CANCELLED if label == CANCELLED else State.DONE


def _open(node: Node, visit: Visit, now_ms: int) -> State:
    if node.handler is None:
        return State.WAITING
    if visit.latest.claimed_ms is not None:
        return State.RUNNING
    return State.RETRYING if visit.latest.ready_ms > now_ms else State.READY


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
