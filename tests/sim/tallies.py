"""What comes about in a run that no fault tells of: counted, so that it is known to come about often enough."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.proof.state import ROOT

#: Runs have a keyspace of their own.
RUNS: Final = "/h/1/run/"
#: Where a closing tells its label, and the signal that it consumed.
_LABEL, _SIGNAL = 7, 12


def tallies(changes: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a revision brings about of batch jobs, cron jobs, system jobs and runs of workflows."""
    for key, value in changes.items():
        if value is None:
            continue
        if key.startswith(RUNS):
            yield from _of_runs(key, value)
            continue
        table, _, _ = key.removeprefix(ROOT).partition("/")
        if table == "batches" and value.get("outcome"):
            yield f"batch job {value['outcome']}"
        elif table == "batches" and any(not one["is_complete"] for one in value.get("results", ())):
            yield "attempt failed"
        elif table == "placements" and value.get("is_system"):
            yield "placed for its agent"
        elif table == "jobs" and value.get("owner") and not value.get("is_terminating"):
            yield "child made"


def _of_runs(key: str, value: Any) -> Iterator[str]:
    if key.startswith(f"{RUNS}runs/") and value["status"] != "running":
        yield f"run {value['status']}"
    elif key.startswith(f"{RUNS}log/"):
        for event in value:
            if event[0] == "x":
                label = event[_LABEL]
                yield f"attempt {label}" if label in ("lost", "timeout", "exhausted") else "attempt closed"
                if len(event) > _SIGNAL:
                    yield "signal consumed"
