"""What one cell of a table says of an object; of which cells a table is made is told by `harpoon.cli.columns`."""

import json
from collections.abc import Mapping
from typing import Any

from harpoon.cli.figures import rounded
from harpoon.cli.table import Object
from harpoon.model.name import BATCH


def addresses(task: Object) -> str:
    """Write where a task's or endpoint's ports are: ``http=127.0.0.1:8000``."""
    ports, host = task.get("ports"), str(task.get("address") or "")
    if not isinstance(ports, Mapping):
        return ""
    host = f"[{host}]" if ":" in host else host
    return ",".join(f"{name}={host}:{port}" for name, port in ports.items())


def name_of(row: Object) -> str:
    """Return what identifies a row within its kind and namespace."""
    named = at(row, "metadata", "name") or row.get("name") or row.get("id") or row.get("task") or row.get("reason")
    return str(named or "")


def namespace_of(row: Object) -> str:
    """Return a row's namespace; empty for what has none."""
    return str(at(row, "metadata", "namespace") or row.get("namespace") or "")


def at(row: Object, *path: str) -> Any:
    """Return the field at ``path``; None: there is none."""
    value: Any = row
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def text(*path: str) -> Any:
    """Return a function that writes the field at ``path``."""

    def cell(row: Object) -> str:
        value = at(row, *path)
        return "" if value is None else str(value)

    return cell


def used(resource: str, row: Object) -> str:
    """Write ``reserved/offered`` of one resource of an agent."""
    values = [str(at(row, which, resource) or "0") for which in ("reserved", "capacity")]
    return "/".join(values if resource == "cpu" else map(rounded, values))


def quota(field: str, row: Object) -> str:
    """Write ``used/limit`` of one limit of a namespace; only what is used, where there is none."""
    values = (at(row, "status", "used", field), at(row, "spec", "quota", field))
    told = [str(value) for value in values if value is not None]
    return "/".join(map(rounded, told) if field == "memory" else told)


def came_to(item: Object) -> str:
    """Say what an item waits for, why it failed, or what it came to."""
    said = item.get("waits_for") or item.get("error")
    output = item.get("output")
    return str(said) if said or output is None else json.dumps(output, ensure_ascii=False)


def flow_said(name: str) -> str:
    """Say of which workflow a run is, or an operation; of a batch, which has none, that it is one."""
    return f"(batch){name.removeprefix(BATCH)}" if name.startswith(BATCH) else name


def run_status(row: Object) -> str:
    """Say how a run stands; that it is paused, or a failure is parked, is more than that it runs."""
    if row.get("ended_ms") is None and (row.get("is_paused") or row.get("incidents")):
        return "paused" if row.get("is_paused") else "parked"
    return str(row.get("status") or "")


def standing(row: Object) -> str:
    """Say how a namespace stands to its quota."""
    if at(row, "metadata", "created_ms") is None:
        return "none"
    return "over" if at(row, "status", "over") else "kept"


def resources(agent: Object) -> str:
    """Write what is reserved of an agent's named resources: ``gpu=1/2``."""
    offered, reserved = at(agent, "capacity", "named") or {}, at(agent, "reserved", "named") or {}
    return ",".join(f"{name}={reserved.get(name, 0)}/{offered.get(name, 0)}" for name in sorted({*offered, *reserved}))


def first_sentence(row: Object) -> str:
    """Say what a job waits for first, and for how much more."""
    waiting = at(row, "status", "waiting")
    if not isinstance(waiting, list):
        return ""
    return str(waiting[0]) + (f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else "") if waiting else ""


def task_reason(row: Object) -> str:
    """Say why a task stands as it does; empty of one that is ready."""
    return "" if row.get("ready") else str(row.get("reason") or row.get("placement_reason") or "")


def limits(task: Object) -> str:
    """Write which of a task's limits are enforced: ``memory=yes,pids=no``."""
    told = task.get("limits")
    if not isinstance(told, list):
        return ""
    return ",".join(f"{one.get('name')}={'yes' if one.get('is_enforced') else 'no'}" for one in told)


def scheduling(agent: Object) -> str:
    """Say whether an agent takes new tasks."""
    cordon = agent.get("cordon")
    if not isinstance(cordon, Mapping):
        return "yes"
    return "draining" if cordon.get("is_draining") else "cordoned"


def note(instance: Object) -> str:
    """Say what is wrong with an instance; empty: nothing that is known."""
    unfit = f"takes no holds: {instance['unfit']}" if instance.get("unfit") else ""
    return "; ".join(one for one in (unfit, str(instance.get("reason") or "")) if one)


def worker_state(worker: Object) -> str:
    """Say whether a worker is heard, and takes more."""
    if worker.get("is_quiet"):
        return "quiet"
    sessions = [one for one in worker.get("sessions") or () if not one.get("is_quiet")]
    return "draining" if sessions and all(one.get("is_draining") for one in sessions) else "connected"
