"""Workflows and runs as a server tells them."""

from typing import Any

WORKFLOWS = "/v1/namespaces/default/workflows"
RUNS = "/v1/namespaces/default/runs"
BEGAN_MS = 1_790_000_000_000


def a_workflow(name: str = "refund", **spec: Any) -> dict[str, Any]:
    """A workflow as it is shown."""
    operations = {
        "pay_back": {"worker": "payments.refund", "timeout": "30s", "visits": 4, "next": {"done": "tell"}},
        "ask": {
            "wait": {"signal": "decision", "key": "${inputs.order}"},
            "next": {"approved": ["pay_back", "tell"], "timeout": "ask"},
        },
        "until": {"wait": {"until": "${inputs.at}"}},
        "pause": {"wait": {"for": "10m"}},
        "size": {"choose": [{"when": "${inputs.amount > 100.0}", "label": "big"}, {"else": "small"}]},
        "tell": {"worker": "mail.send"},
    }
    inputs = {
        "order": {"type": "string", "maxLength": 64},
        "amount": {"type": "number"},
        "lines": {"type": "array"},
    }
    metadata = {"name": name, "namespace": "default", "tags": {"team": "shop"}, "generation": "abc123"}
    metadata |= {"revision": "1.7", "version": 2, "created_ms": BEGAN_MS, "updated_ms": BEGAN_MS}
    told = {"inputs": inputs, "deadline": "1d", "operations": operations, "outputs": {"refund": "${1}"}}
    bounds = {
        "attempts": {"most": 12, "because": "pay_back has up to 4 visits of 2 attempts"},
        "ends_after_ms": {"most": 86_400_000, "because": "the deadline ends it"},
        "bytes": {"most": 2 << 20, "because": ""},
        "operations": {"pay_back": {"visits": 4, "attempts": 8}},
    }
    head = {"apiVersion": "harpoon/v1", "kind": "Workflow", "metadata": metadata}
    return {**head, "spec": {**told, "on_failure": "cancel", **spec}, "bounds": bounds}


def a_run(name: str = "o-17", **more: Any) -> dict[str, Any]:
    """A run as lists show it."""
    told = {
        "namespace": "default",
        "id": name,
        "workflow": "refund",
        "generation": "abc123",
        "status": "running",
        "is_paused": False,
        "reason": "",
        "tags": {},
        "inputs": {"order": "o-17"},
        "outputs": None,
        "created_ms": BEGAN_MS,
        "deadline_ms": BEGAN_MS + 86_400_000,
        "ended_ms": None,
    }
    return {**told, **more}


def a_visit(op: str = "pay_back", **more: Any) -> dict[str, Any]:
    """A visit of an operation."""
    told = {"op": op, "kind": "worker", "visit": 1, "state": "ready", "attempts": 1, "label": None, "worker": None}
    told |= {"opened_ms": BEGAN_MS, "started_ms": None, "ended_ms": None, "due_ms": BEGAN_MS + 60_000}
    return {**told, "span_max_ms": 90_000, "error": "", "waits_for": "", **more}


def a_detail(*visits: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A run with what happened in it."""
    measures = {
        "attempts": {"bound": 12, "actual": 3},
        "ends_after_ms": {"bound": 86_400_000, "actual": 40_000},
        "bytes": {"bound": 2 << 20, "actual": 1536},
    }
    told = {**a_run(), "measures": measures, "operations": [], "visits": list(visits), "visits_left": 0, "signals": []}
    return {**told, **more}


def ended(status: str = "succeeded", **more: Any) -> dict[str, Any]:
    """A run that is over."""
    return a_detail(status=status, ended_ms=BEGAN_MS + 2_500, **more)
