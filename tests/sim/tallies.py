"""What comes about in a run that no fault tells of: counted, so that it is known to come about often enough."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.proof.state import ROOT

#: Runs have a keyspace of their own.
RUNS: Final = "/h/1/run/"
_SHARDS: Final = f"{ROOT}holds/shards/"
#: Where a closing tells its label, and the signal that it consumed; and a retry the items that it does anew.
_LABEL, _SIGNAL, _ITEMS = 7, 12, 10
#: What a repair is, and a move, by the letter of its event.
_REPAIRS: Final = "tu"
_MOVE: Final = "m"


@dataclass(slots=True)
class _Run:
    """How a run stands, and who conducted it when it came to that."""

    is_over: bool = False
    incidents: int = 0
    by: str = ""


class Tallies:
    """Tells what revisions bring about of batch jobs, cron jobs, system jobs and runs of workflows."""

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}
        self._runs: dict[str, _Run] = {}

    def of(self, changes: Mapping[str, Any]) -> Iterator[str]:
        """Yield what a revision brings about, by name."""
        for key, value in changes.items():
            if key.startswith(_SHARDS) and value is not None:
                self._holders[key.removeprefix(_SHARDS)] = value["instance"]
            elif key.startswith(f"{RUNS}log/") and value is not None:
                yield from self._of_log(key.removeprefix(f"{RUNS}log/").rpartition("/")[0], value)
            elif not key.startswith(RUNS) and value is not None:
                yield from _of_jobs(key, value)
        for key, value in changes.items():
            if key.startswith(f"{RUNS}runs/") and value is not None:
                yield from self._of_header(key.removeprefix(f"{RUNS}runs/"), value)

    def _of_header(self, key: str, header: Any) -> Iterator[str]:
        run, incidents = self._runs.setdefault(key, _Run()), header.get("incidents", 0)
        if header["status"] != "running":
            yield f"run {header['status']}"
        if incidents > run.incidents:
            yield "failure parked"
        run.is_over, run.incidents = header["status"] != "running", incidents
        run.by = self._holders.get(key.partition("/")[0], "")

    def _of_log(self, key: str, events: Any) -> Iterator[str]:
        run = self._runs.get(key)
        if run is None and any(event[0] == "t" for event in events):
            yield "run forked in flight" if any(event[0] == "a" for event in events) else "run forked"
        for event in events:
            if event[0] == "x":
                yield from _of_closing(event)
            elif event[0] == _MOVE:
                yield "run moved"
            elif event[0] in _REPAIRS and run is not None:
                yield from self._of_repair(key.partition("/")[0], run, event)

    def _of_repair(self, shard: str, run: _Run, event: Any) -> Iterator[str]:
        was = "over" if run.is_over else "parked" if run.incidents else "open"
        yield f"run repaired that was {was}"
        if was != "open" and run.by != self._holders.get(shard, ""):
            yield f"run repaired by another than it was {was} with"
        if len(event) > _ITEMS and event[0] == "t" and event[_ITEMS] is not None:
            yield "items done anew"


def _of_jobs(key: str, value: Any) -> Iterator[str]:
    table, _, _ = key.removeprefix(ROOT).partition("/")
    if table == "batches" and value.get("outcome"):
        yield f"batch job {value['outcome']}"
    elif table == "batches" and any(not one["is_complete"] for one in value.get("results", ())):
        yield "attempt failed"
    elif table == "placements" and value.get("is_system"):
        yield "placed for its agent"
    elif table == "jobs" and value.get("owner") and not value.get("is_terminating"):
        yield "child made"


def _of_closing(event: Any) -> Iterator[str]:
    label = event[_LABEL]
    yield f"attempt {label}" if label in ("lost", "timeout", "exhausted") else "attempt closed"
    if event[3].endswith("]"):
        yield "item closed"
    if len(event) > _SIGNAL and event[_SIGNAL] is not None:
        yield "signal consumed"
