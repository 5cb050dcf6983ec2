"""What comes about in a run that no fault tells of: counted, so that it is known to come about often enough."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.proof.state import ROOT


def tallies(changes: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a revision brings about of batch jobs, cron jobs and system jobs."""
    for key, value in changes.items():
        table, _, _ = key.removeprefix(ROOT).partition("/")
        if value is None:
            continue
        if table == "batches" and value.get("outcome"):
            yield f"batch job {value['outcome']}"
        elif table == "batches" and any(not one["is_complete"] for one in value.get("results", ())):
            yield "attempt failed"
        elif table == "placements" and value.get("is_system"):
            yield "placed for its agent"
        elif table == "jobs" and value.get("owner") and not value.get("is_terminating"):
            yield "child made"
