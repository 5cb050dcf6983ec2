"""Waiting until a run is over. It goes on without the one who waits."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from harpoon.cli import cells, figures, terminal
from harpoon.cli.outcome import EndedInFailure
from harpoon.cli.session import Session
from harpoon.cli.waiting import Standing, blocked, wait_until
from harpoon.kit.clock import SystemClock
from harpoon.model.name import DEFAULT_NAMESPACE

#: A run is over by its deadline, and that is to be seen.
_GRACE: Final = timedelta(minutes=1)
SUCCEEDED: Final = "succeeded"


def wait_run(client: Session, namespace: str, run: str, timeout: timedelta | None) -> Mapping[str, Any]:
    """Wait until a run is over, and return it.

    Args:
        client: Asks the server.
        namespace: Of the run.
        run: Its id.
        timeout: How long to wait; None: for as long as it may take.

    Raises:
        NotFound: There is no such run.
        TimedOut: It is not over.
    """
    path = ("namespaces", namespace, "runs", run)
    told: dict[str, Any] = {}

    def look(span: timedelta) -> Standing:
        told.update(blocked(client, path, span))
        waits = [one["waits_for"] for one in told["visits"] if one["state"] != "closed" and one["waits_for"]]
        return Standing(
            is_done=told["ended_ms"] is not None,
            phase=cells.run_status(told),
            summary=_summary(told),
            waiting=[
                *(f"{one['op']} is parked: {one['label']} {one['error']}" for one in told.get("parked", ())),
                *waits,
            ],
        )

    if timeout is None:
        told.update(client.get(*path).body)
        left_ms = told["deadline_ms"] - SystemClock().now().wall
        timeout = max(timedelta(0), timedelta(milliseconds=left_ms)) + _GRACE
    again = f"harpoon wait run/{run}" + ("" if namespace == DEFAULT_NAMESPACE else f" -n {namespace}")
    wait_until(f"run/{run}", look, timeout, again=again)
    return told


def end(run: Mapping[str, Any]) -> None:
    """Say how a run that is over ended, and end well, or not.

    Raises:
        EndedInFailure: The run did not succeed.
    """
    judge(run)
    terminal.say(f"run/{run['id']} {run['status']} after {figures.span(run['created_ms'], run['ended_ms'])}")


def judge(run: Mapping[str, Any]) -> None:
    """End well, or not.

    Raises:
        EndedInFailure: The run did not succeed.
    """
    if run["status"] != SUCCEEDED:
        reason = f": {terminal.plain(str(run['reason']))}" if run.get("reason") else ""
        told = str(run["status"]).replace("_", " ")
        raise EndedInFailure(f"run/{run['id']} {told}{reason}. To see more: harpoon describe run/{run['id']}")


def _summary(run: Mapping[str, Any]) -> str:
    told = _counted(one["state"] for one in run["visits"] if one["state"] != "closed")
    attempts = run["measures"]["attempts"]
    of = "" if attempts["bound"] is None else f" of at most {attempts['bound']}"
    return ", ".join([*told, f"{attempts['actual']}{of} attempts"])


def _counted(states: Iterable[str]) -> list[str]:
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return [f"{count} {state}" for state, count in counts.items()]
