"""Verbs that follow something to an end: wait, logs."""

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from harpoon.cli import offers, run_waiting, terminal, waiting
from harpoon.cli.options import Namespace, Remote, span_of
from harpoon.cli.session import Session
from harpoon.cli.verb import verb
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.name import DEFAULT_NAMESPACE


class Goal(StrEnum):
    """What a job is waited for to be."""

    READY = "ready"
    GONE = "gone"
    #: Of a batch job.
    SUCCEEDED = "succeeded"


class Stream(StrEnum):
    """Which of a task's outputs."""

    STDOUT = "stdout"
    STDERR = "stderr"


@verb(
    "wait",
    examples=(
        "harpoon wait job/web --timeout 2m",
        "harpoon wait job/web --for gone",
        "harpoon wait job/report --for succeeded",
        "harpoon wait change/default.web.1-42",
        "harpoon wait agents --count 2",
        "harpoon wait run/o-17",
        "harpoon wait batch/resize --timeout 1h",
    ),
)
def wait(
    remote: Remote,
    what: Annotated[
        str,
        typer.Argument(
            help="job/NAME, change/ID, run/ID, batch/NAME or agents.",
            metavar="WHAT",
            show_default=False,
            autocompletion=offers.awaited,
        ),
    ],
    goal: Annotated[Goal, typer.Option("--for", help="What a job is to be.")] = Goal.READY,
    count: Annotated[int, typer.Option(help="How many agents are to be connected.", min=1)] = 1,
    timeout: Annotated[str, typer.Option(help="How long to wait, such as 30s or 5m.", metavar="DURATION")] = "5m",
    namespace: Namespace = DEFAULT_NAMESPACE,
) -> None:
    """Wait until a job is ready or gone, a batch job has succeeded, a change is done, or agents are connected.

    Of a run, or a batch: until it is over. Exit code 7: the batch job has failed, and the last lines of the task at
    fault are told; or the run did not succeed.
    """
    client, span = remote.client(), span_of(timeout)
    kind, _, name = what.partition("/")
    if goal is not Goal.READY and kind in ("agents", "change", "changes", "run", "runs", "batch", "batches"):
        raise Invalid(f"--for says what a job is to be, and {what} is none; leave it out")
    match kind:
        case "job" | "jobs" if name and goal is Goal.GONE:
            done = waiting.wait_gone(client, namespace, name, span)
        case "job" | "jobs" if name:
            done = waiting.wait_ready(client, namespace, name, span, is_batch=goal is Goal.SUCCEEDED)
        case "change" | "changes" if name:
            done = waiting.wait_change(client, name, span)
        case "run" | "runs" | "batch" | "batches" if name:
            run_waiting.end(run_waiting.wait_run(client, namespace, name, span))
            return
        case "agents" if not name:
            done = waiting.wait_agents(client, count, span)
        case _:
            raise Invalid(f"write what to wait for as job/NAME, change/ID, run/ID, batch/NAME or agents; got {what!r}")
    terminal.say(f"{what} {done.phase}" + (f": {done.summary}" if done.summary else ""))


@verb(
    "logs",
    examples=("harpoon logs web", "harpoon logs web --slot 1 --stream stderr --tail 20", "harpoon logs web -f"),
)
def logs(  # noqa: PLR0913 one parameter an option
    *,
    remote: Remote,
    name: Annotated[
        str,
        typer.Argument(
            help="A job's name, or a task's id.",
            metavar="JOB|TASK",
            show_default=False,
            autocompletion=offers.jobs_and_tasks,
        ),
    ],
    slot: Annotated[int | None, typer.Option(help="Of which of the job's tasks.", min=0)] = None,
    stream: Annotated[Stream, typer.Option(help="Which output.")] = Stream.STDOUT,
    tail: Annotated[int | None, typer.Option(help="Only so many lines from the end.", min=0)] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
) -> None:
    """Show what a task has written."""
    client = remote.client()
    task = name.removeprefix("task/") if "." in name else _task_of(client, namespace, name, slot)
    query = {"stream": stream, "tail": None if tail is None else str(tail), "follow": "true" if follow else None}
    for chunk in client.read_text("tasks", task, "logs", query=query):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _task_of(client: Session, namespace: str, job: str, slot: int | None) -> str:
    """Return the id of the task in that slot, a ready one rather than another; of the first slot unless told."""
    status = client.get("namespaces", namespace, "jobs", job.removeprefix("job/"), "status").body
    tasks = [task for task in status.get("tasks") or () if slot is None or _slot_of(task) == slot]
    tasks = [task for task in tasks if task.get("state") not in ("pending", "placed")]
    if not tasks:
        where = "" if slot is None else f" in slot {slot}"
        raise NotFound(f"job {job} has no task{where} that has been started: {status['summary']}")
    chosen = min(tasks, key=lambda task: (not task.get("ready"), _slot_of(task), str(task["id"])))
    if slot is None and len(tasks) > 1:
        another = "--slot picks another" if _slot_of(chosen) >= 0 else "name another by its id"
        terminal.say(f"showing {chosen['id']}, one of {len(tasks)} tasks; {another}")
    return str(chosen["id"])


def _slot_of(task: Mapping[str, Any]) -> int:
    """Return the number of a task's slot; -1: it is of a system job, and has none."""
    place = str(task["id"]).split(".")[2]
    return int(place) if place.isdigit() else -1
