"""One object on one screen: what it is, how it stands, and why."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harpoon.cli import columns, terminal
from harpoon.cli.columns import Kind
from harpoon.cli.table import Object, Table


def lines(kind: Kind, value: Object) -> Iterator[str]:
    """Yield the lines that describe a job, a task or an agent."""
    if kind is columns.JOB:
        yield from _job(value)
    else:
        yield from fields({key: inner for key, inner in value.items() if key != "v"})


def fields(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each field, and one for each entry of a list."""
    width = max((len(key) for key in value), default=0)
    for key, inner in value.items():
        title = f"{_word(key).capitalize()}:".ljust(width + 3)
        if isinstance(inner, list) and inner:
            yield title.rstrip()
            for one in inner:
                yield f"  - {_inline(one)}"
        else:
            yield (title + _field(key, inner)).rstrip()


def _job(value: Object) -> Iterator[str]:
    metadata, spec, status = value["metadata"], value["spec"], value["status"]
    task = spec["task"]
    yield from fields(
        {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "state": f"{status['state']}, {status['summary']}",
            "scale": spec["scale"],
            "version": f"{metadata['version']} (generation {metadata['generation']})",
            "tags": metadata.get("tags") or {},
            "created": f"{columns.age(metadata.get('created_ms')) or '-'} ago",
            "changed": f"{columns.age(metadata.get('updated_ms')) or '-'} ago, change {status['change']}",
            "command": " ".join(task["command"]),
            "ports": task.get("ports") or {},
            "resources": task.get("resources") or {},
            "placement": spec.get("placement", {}).get("require") or [],
            "update": spec.get("update") or {},
        }
    )
    yield from _waiting(status)
    tasks = status.get("tasks") or []
    if tasks:
        yield ""
        yield from Table(columns.TASK.columns, is_wide=True).lines(tasks)


def _waiting(status: Object) -> Iterator[str]:
    """Yield what the job waits for, and what each slot without an agent lacks."""
    sentences = status.get("waiting") or []
    if sentences:
        yield "Waits for:"
        yield from (f"  - {terminal.plain(sentence)}" for sentence in sentences)
    pending = status.get("pending") or {}
    if pending:
        slots = ", ".join(map(str, pending.get("slots") or ()))
        yield f"Not placed:   slots {slots}, for {columns.age(pending.get('since_ms')) or 'a moment'}"
        yield from (f"  - {terminal.plain(text)}" for text in _blockers(pending.get("blockers") or ()))


def _blockers(blockers: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for one in blockers:
        agents = ", ".join(one.get("agents") or ())
        more = int(one.get("agents_count") or 0) - len(one.get("agents") or ())
        told = agents + (f" and {more} more" if more > 0 else "")
        yield f"{one['predicate']}: wants {one['wanted']}, finds {one['found']}" + (f" on {told}" if told else "")


def _word(key: str) -> str:
    return key.removesuffix("_ms").replace("_", " ")


def _field(key: str, value: Any) -> str:
    if key.endswith("_ms"):
        return f"{columns.age(value) or '-'} ago"
    return _inline(value)


def _inline(value: Any) -> str:
    """Write a value on one line, without braces and quotes."""
    if isinstance(value, Mapping):
        told = {key: inner for key, inner in value.items() if inner not in (None, "", {}, [])}
        return ", ".join(f"{_word(key)} {_field(key, inner)}" for key, inner in told.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(_inline, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return terminal.plain(str(value)) if value not in (None, "") else "-"
