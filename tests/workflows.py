"""Workflows that tests share."""

from typing import Any, Final


def a_workflow(**operations: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a workflow of these operations."""
    return {
        "apiVersion": "harpoon/v1",
        "kind": "Workflow",
        "metadata": {"name": "flow"},
        "spec": {"operations": operations},
    }


#: A refund: it is tried, a person is asked when it fails, and perhaps it is tried again.
REFUND: Final[dict[str, Any]] = {
    "apiVersion": "harpoon/v1",
    "kind": "Workflow",
    "metadata": {"name": "refund"},
    "spec": {
        "inputs": {"order": {"type": "string", "maxLength": 64}, "amount": {"type": "number"}},
        "deadline": "24h",
        "start": "pay_back",
        "operations": {
            "pay_back": {
                "worker": "payments.refund",
                "input": {"order": "${inputs.order}", "amount": "${inputs.amount}"},
                "timeout": "30s",
                "retry": {
                    "fail": {"attempts": 3},
                    "timeout": {"attempts": 2},
                    "lost": {"attempts": 5},
                    "backoff": {"initial": "1s", "factor": 2, "max": "1m"},
                },
                "visits": 4,
                "next": {"done": "tell", "fail": "ask_human", "timeout": "ask_human"},
            },
            "ask_human": {"worker": "desk.ask", "visits": 4, "next": {"done": "wait_human", "exhausted": "incident"}},
            "wait_human": {
                "wait": {"signal": "decision"},
                "timeout": "4h",
                "visits": 4,
                "labels": ["approved", "rejected"],
                "next": {"approved": "pay_back", "rejected": "tell", "timeout": "ask_human"},
            },
            "incident": {"worker": "desk.report", "timeout": "10s", "end": "failed"},
            "tell": {"worker": "mail.send", "input": {"text": "${ops.pay_back.label}"}},
        },
        "outputs": {"refund": "${has(ops.pay_back.output) ? ops.pay_back.output.id : null}"},
    },
}

#: Adagio's graph of seven: a and b start, and every other waits for those before it.
SEVEN: Final[dict[str, Any]] = a_workflow(
    a={"worker": "adagio.work"},
    b={"worker": "adagio.work"},
    c={"worker": "adagio.work", "needs": ["a"]},
    d={"worker": "adagio.work", "needs": ["a", "b"]},
    e={"worker": "adagio.work", "needs": ["c", "d"]},
    f={"worker": "adagio.work", "needs": ["b"]},
    g={"worker": "adagio.work", "needs": ["e", "f"]},
)


def a_batch(name: str = "resize", **spec: Any) -> dict[str, Any]:
    """Return the manifest of a batch: of three items, unless something else is said."""
    told = (
        spec
        if "steps" in spec
        else {"items": ["a", "b", "c"], "each": {"worker": "img.resize", "input": "${item}"}} | spec
    )
    return {"apiVersion": "harpoon/v1", "kind": "Batch", "metadata": {"name": name}, "spec": told}
