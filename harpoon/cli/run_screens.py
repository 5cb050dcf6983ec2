"""What a screen shows of a workflow or a run: operations as a table, visits as a table or along time."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from harpoon.cli import cells, columns, figures, screens, terminal
from harpoon.cli.table import Column, Object
from harpoon.model.at_most import size_at_most, span_at_most

#: Characters from a run's beginning to its end.
BAR: Final = 40
#: Characters of inputs and outputs on one line.
JSON_MAX: Final = 300
#: Whether an input may have keys that are not declared; as a rule it may.
_ANY: Final = "additionalProperties"
#: What a stretch of a bar is drawn with: while it could be claimed, while a worker had it, while it waited.
_STROKES: Final = {"queue": ".", "work": "=", "wait": "-"}
#: Kinds of operations that are never tried again; those with items are, item by item.
_TRIED_ONCE: Final = ("", "wait", "choose", "each")


def _items(visit: Object) -> str:
    """Say what became of the items of a visit; empty: it has none."""
    told = visit.get("items")
    if not told:
        return ""
    more = [f"{told[word]} {word}" for word in ("failed", "cancelled") if told[word]]
    return ", ".join([f"{told['done']} of {told['count']} items done", *more])


VISIT: Final = (
    Column("OPERATION", lambda row: str(row["op"])),
    Column("VISIT", lambda row: str(row["visit"])),
    Column("STATE", lambda row: str(row["state"]), is_state=True),
    Column("ATTEMPTS", lambda row: "" if row["kind"] in _TRIED_ONCE else str(row["attempts"])),
    Column("LABEL", lambda row: str(row["label"] or "")),
    Column("WORKER", lambda row: str(row.get("run") or row["worker"] or "")),
    Column("STARTED", lambda row: figures.age(row["started_ms"])),
    Column("TOOK", lambda row: figures.span(row["opened_ms"], row["ended_ms"])),
    Column("DUE", lambda row: "" if row["ended_ms"] else figures.until(row["due_ms"]), is_wide=True),
    Column("WHY", lambda row: str(row["waits_for"] or row["error"] or _items(row)), is_sentence=True),
)
OPERATION: Final = (
    Column("OPERATION", lambda row: str(row["op"])),
    Column("DOES", lambda row: str(row["does"])),
    Column("VISITS", lambda row: str(row["visits"])),
    Column("ATTEMPTS", lambda row: str(row["attempts"])),
    Column("TIMEOUT", lambda row: str(row["timeout"])),
    Column("NEXT", lambda row: str(row["next"]), is_sentence=True),
)
#: What was beside what may be at most, of each operation that was visited.
_VISITED: Final = (
    Column("OPERATION", lambda row: str(row["op"])),
    Column("VISITS", lambda row: _of(row["visits"], row["visits_max"])),
    Column("ATTEMPTS", lambda row: _of(row["attempts"], row["attempts_max"])),
    Column("QUEUED", lambda row: figures.length(row["queue_ms"])),
    Column("WORKED", lambda row: figures.length(row["work_ms"])),
    Column("WAITED", lambda row: figures.length(row["wait_ms"])),
    Column("LATEST", lambda row: figures.length(row["latest_ms"] or 0)),
    Column("AT MOST", lambda row: "" if row["span_max_ms"] is None else span_at_most(row["span_max_ms"])),
)


def run(value: Object, *, is_wide: bool, is_timeline: bool) -> Iterator[str]:
    """Yield the screen of a run."""
    status = cells.run_status(value)
    yield screens.headline(f"run/{value['id']}", status, str(value["reason"]))
    measures = value["measures"]
    yield from screens.pairs_of(
        [
            ("Namespace", value["namespace"]),
            ("Called by", f"run/{value['parent']}" if value.get("parent") else ""),
            ("Workflow", f"{cells.flow_said(value['workflow'])}, generation {value['generation']}"),
            ("Forked from", str(value.get("forked_from") or "")),
            ("Repaired", _times(value.get("repairs"))),
            ("Tags", figures.pairs(value["tags"])),
            ("Started", f"{figures.age(value['created_ms']) or 'a moment'} ago"),
            ("Took" if value["ended_ms"] else "So far", figures.span(value["created_ms"], value["ended_ms"])),
            ("Deadline", _deadline(value)),
            ("Inputs", _json(value["inputs"], is_wide=is_wide)),
            ("Outputs", _json(value["outputs"], is_wide=is_wide)),
            ("Attempts", _measure(measures["attempts"], str, str)),
            ("Time", _measure(measures["ends_after_ms"], figures.length, span_at_most)),
            ("Data", _measure(measures["bytes"], lambda size: figures.rounded(str(size)), size_at_most)),
        ]
    )
    visits = value["visits"]
    if visits:
        yield ""
        yield from timeline(value, is_wide=is_wide) if is_timeline else screens.table(VISIT, visits, is_wide=is_wide)
    yield from _parked(value)
    if left := value["visits_left"]:
        yield f"and {left} visits before these; all attempts: GET …/runs/{value['id']}/attempts"
    if skipped := [one["op"] for one in value["operations"] if one["is_skipped"]]:
        yield f"Skipped: {', '.join(skipped)}"
    if signals := value["signals"]:
        yield ""
        yield "Signals that nothing has waited for yet:"
        yield from (f"  {terminal.plain(_signal(one))}" for one in signals)


def _times(count: object) -> str:
    return "" if not count else "once" if count == 1 else f"{count} times"


def _parked(value: Object) -> Iterator[str]:
    """Yield the failures that wait for somebody, and what may be done about them."""
    incidents = value.get("parked") or ()
    if incidents:
        yield ""
        yield "Parked, until somebody repairs them:"
    for one in incidents:
        told = f"{one['op']} (visit {one['visit']}) {one['label']}, {figures.age(one['since_ms']) or 'a moment'} ago"
        error = f": {one['error']}" if one["error"] else ""
        yield f"  {terminal.plain(told + error)}"
    if incidents:
        run, op = value["id"], incidents[0]["op"]
        yield f"To go on: harpoon run retry {run} --from {op}, or harpoon run skip {run} {op}"


def timeline(value: Object, *, is_wide: bool) -> Iterator[str]:
    """Yield a line for each visit, along the time that the run has taken; the bound stands beside what was."""
    # What was forked began before it was.
    began = min([value["created_ms"], *(one["opened_ms"] for one in value["visits"])])
    now_ms = _end_of(value)
    span = max(1, now_ms - began)
    rows = [
        {**one, "bar": bar(one, began, span), "after": figures.length(max(0, one["opened_ms"] - began))}
        for one in value["visits"]
    ]
    bound = value["measures"]["ends_after_ms"]["bound"]
    at_most = "" if bound is None else f" of at most {span_at_most(bound)}"
    yield from screens.table(_timeline_columns(figures.length(span) + at_most), rows, is_wide=is_wide)
    yield "  . waits to be claimed   = is worked at   - waits for a signal, a time, its items or the next attempt"
    if visited := [one for one in value["operations"] if one.get("visits") and "queue_ms" in one]:
        yield ""
        yield from screens.table(_VISITED, visited, is_wide=is_wide)


def bar(visit: Mapping[str, Any], began_ms: int, span_ms: int) -> str:
    """Draw one visit within a run's time: where it stood, and what it did there."""
    strokes = [" "] * BAR
    until = began_ms + span_ms
    for one in visit.get("stretches") or ():
        start, end = one["from_ms"], until if one["to_ms"] is None else min(until, one["to_ms"])
        if start <= end:
            first, last = (min(BAR - 1, max(0, (at - began_ms) * BAR // span_ms)) for at in (start, end))
            strokes[first : last + 1] = _STROKES[one["phase"]] * (last + 1 - first)
    return "".join(strokes)


def workflow(value: Object, bounds: Object | None, runs: Sequence[Object], *, is_wide: bool) -> Iterator[str]:
    """Yield the screen of a workflow, of what a run of it may come to, and of its latest runs."""
    metadata, spec = value["metadata"], value["spec"]
    operations = spec["operations"]
    yield screens.headline(f"workflow/{metadata['name']}", _many(len(operations), "operation"), "")
    yield from screens.pairs_of(
        [
            ("Namespace", metadata["namespace"]),
            ("Tags", figures.pairs(metadata["tags"])),
            ("Generation", metadata["generation"]),
            ("Changed", f"{figures.age(metadata['updated_ms']) or '-'} ago"),
            *(("Inputs", f"{name}: {_schema(one)}") for name, one in (spec.get("inputs") or {}).items()),
            ("Deadline", str(spec["deadline"])),
            ("On failure", str(spec.get("on_failure") or "")),
            ("Outputs", ", ".join(spec.get("outputs") or ())),
            *(() if bounds is None else bounds_of(bounds)),
        ]
    )
    yield ""
    yield from screens.table(OPERATION, list(_operations(operations, bounds)), is_wide=is_wide)
    if runs:
        yield ""
        yield "Latest runs:"
        yield from screens.indented(screens.table(columns.RUN.columns, runs, is_wide=is_wide))


def bounds_of(bounds: Object) -> Iterator[tuple[str, str]]:
    """Yield what any run may come to at most, as pairs: each with what it comes from mostly."""
    attempts, ends_after, stored = bounds["attempts"], bounds["ends_after_ms"], bounds["bytes"]
    yield "At most", _because(_many(attempts["most"], "attempt"), attempts)
    yield "At most", _because(f"{span_at_most(ends_after['most'])} from start to end", ends_after)
    yield "At most", _because(f"{size_at_most(stored['most'])} of data", stored)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _because(told: str, bound: Mapping[str, Any]) -> str:
    return f"{told}: {bound['because']}" if bound["because"] else told


def _schema(schema: Mapping[str, Any]) -> str:
    """Write what an input may be, without what is so of every one."""
    told = {name: one for name, one in schema.items() if one not in (None, "", [], {}) and name != _ANY}
    if schema.get(_ANY) is False:
        told[_ANY] = False
    return json.dumps(told, ensure_ascii=False)


def does(operation: Mapping[str, Any]) -> str:
    """Say in a few words what an operation does."""
    if foreach := operation.get("foreach"):
        items = foreach["items"] if isinstance(foreach["items"], str) else f"{len(foreach['items'])} items"
        return f"{does({**operation, 'foreach': None})} for each of {items}"
    return next((say(operation[kind]) for kind, say in _DOES.items() if operation.get(kind) is not None), "")


def _wait(wait: Mapping[str, Any]) -> str:
    if wait.get("signal") is not None:
        return f"wait for signal {wait['signal']}" + (f" with key {wait['key']}" if wait.get("key") else "")
    if wait.get("callback"):
        return "wait for a callback"
    return f"wait for {wait['for']}" if wait.get("for") is not None else f"wait until {wait.get('until')}"


def _job(order: Mapping[str, Any]) -> str:
    verb = next((verb for verb in _VERBS if order.get(verb) is not None), "")
    return f"{verb} job {order.get(verb)}".strip()


#: What may be done with a job, by the fields that say it.
_VERBS: Final = ("schedule", "migrate", "scale", "unschedule", "promote", "undo")
#: By the field that says what an operation does: how that is said.
_DOES: Final[Mapping[str, Callable[[Any], str]]] = {
    "worker": lambda handler: f"worker {handler}",
    "wait": _wait,
    "choose": lambda choices: "choose " + ", ".join(str(one.get("label") or one.get("else")) for one in choices),
    "http": lambda http: f"{http.get('method', 'GET')} {http['url']}",
    "call": lambda call: f"call workflow {call['workflow']}",
    "task": lambda order: f"task {' '.join(map(str, (order.get('task') or {}).get('command') or ()))}".strip(),
    "job": _job,
}


def _operations(operations: Mapping[str, Any], bounds: Object | None) -> Iterator[dict[str, object]]:
    told = {} if bounds is None else bounds["operations"]
    for name, one in operations.items():
        bound = told.get(name, {})
        edges = (
            f"{label}: {', '.join([targets] if isinstance(targets, str) else targets)}"
            for label, targets in (one.get("next") or {}).items()
        )
        yield {
            "op": name,
            "does": does(one),
            "visits": bound.get("visits", one.get("visits", 1)),
            "attempts": bound.get("attempts", ""),
            "timeout": one.get("timeout") or "",
            "next": "; ".join(edges),
        }


def _timeline_columns(title: str) -> Sequence[Column]:
    return (
        Column("OPERATION", lambda row: f"{row['op']} {row['visit']}"),
        Column("AFTER", lambda row: str(row["after"])),
        Column(f"0 … {title}", lambda row: f"|{row['bar']}|"),
        Column("TOOK", lambda row: figures.span(row["opened_ms"], row["ended_ms"])),
        Column("AT MOST", lambda row: "" if row.get("span_max_ms") is None else span_at_most(row["span_max_ms"])),
        Column("LABEL", lambda row: str(row["label"] or row["state"])),
        Column("WAITS FOR", lambda row: str(row["waits_for"]), is_sentence=True),
    )


def _end_of(value: Object) -> int:
    known = [at for one in value["visits"] for at in (one["opened_ms"], one["started_ms"], one["ended_ms"]) if at]
    so_far = value["created_ms"] + value["measures"]["ends_after_ms"]["actual"]
    latest: int = max([value["ended_ms"] or so_far, *known])
    return latest


def _measure(measure: Mapping[str, Any], write: Callable[[int], str], write_bound: Callable[[int], str]) -> str:
    told, bound = write(measure["actual"]), measure["bound"]
    if bound is None:
        return told
    share = f" ({min(100, 100 * measure['actual'] // bound)} %)" if bound else ""
    return f"{told} of at most {write_bound(bound)}{share}"


def _of(count: int, most: int | None) -> str:
    return str(count) if most is None else f"{count} of {most}"


def _deadline(value: Object) -> str:
    """Write when a run is over at the latest; of one that goes on, also how far away that is."""
    told = figures.until(value["deadline_ms"])
    if value["ended_ms"] is not None:
        return told
    left_ms = value["deadline_ms"] - value["created_ms"] - value["measures"]["ends_after_ms"]["actual"]
    return f"{told}, in {figures.length(left_ms)}" if left_ms > 0 else told


def _signal(one: Mapping[str, Any]) -> str:
    key = f" with key {one['key']}" if one["key"] is not None else ""
    return f"{one['name']}{key}, label {one['label']}, sent {figures.age(one['sent_ms'])} ago ({one['id']})"


def _json(value: object, *, is_wide: bool) -> str:
    if value in (None, {}):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return text if is_wide or len(text) <= JSON_MAX else f"{text[:JSON_MAX]}…"
