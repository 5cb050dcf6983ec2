"""The verb ``describe``: one object on one screen, with what happened to it last and what it wrote last."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from harpoon.cli import at as looking
from harpoon.cli import columns, namespaces, offers, output, run_screens, screens, terminal
from harpoon.cli.listing import read_list
from harpoon.cli.options import Format, Namespace, Output, Remote
from harpoon.cli.session import Session
from harpoon.cli.subject import TASK_POINTS, Subject, subject_of
from harpoon.cli.table import Object
from harpoon.cli.verb import verb
from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.model.name import DEFAULT_NAMESPACE

#: Events and log lines that one screen has room for.
LINES: Final = 10
#: What can be described beside jobs, tasks and agents.
_OTHERS: Final = (columns.NAMESPACES, columns.WORKFLOW, columns.RUN, columns.BATCH)
_RUNS: Final = (columns.RUN, columns.BATCH)


@verb(
    "describe",
    examples=(
        "harpoon describe job/web",
        "harpoon describe task/default.web.0.1-42",
        "harpoon describe agent/a1",
        "harpoon describe namespace/shop",
        "harpoon describe job/web --at -1h",
        "harpoon describe workflow/refund",
        "harpoon describe run/o-17 --timeline",
    ),
)
def describe(
    remote: Remote,
    what: Annotated[
        str,
        typer.Argument(
            help="job/NAME, task/ID, agent/NAME, namespace/NAME, workflow/NAME, run/ID or batch/NAME.",
            metavar="KIND/NAME",
            show_default=False,
            autocompletion=offers.subjects(
                "job", "task", "agent", "namespace", "workflow", "run", "batch", is_bare=True
            ),
        ),
    ],
    namespace: Namespace = DEFAULT_NAMESPACE,
    at: looking.At = None,
    timeline: Annotated[  # noqa: FBT002 an option
        bool, typer.Option("--timeline", help="Of a run: its operations along time.")
    ] = False,
    form: Format = Output.TABLE,
) -> None:
    """Show a job, task, agent, workflow or run on a screen: how it stands, why, and what happened to it last.

    Of a namespace: its quota, what its jobs use of it, and what is over. Of a workflow: its operations, its bounds and
    its latest runs. Of a run: what happened in it, visit by visit, with the bounds beside what was.
    With -o wide, also the checks of tasks that are ready, and nothing shortened. With --at, how it stood then, without
    events and logs.
    """
    subject, client = subject_of(what, namespace, others=_OTHERS), remote.client()
    if timeline and subject.kind not in _RUNS:
        raise Invalid("--timeline is of a run: harpoon describe run/ID --timeline")
    if at is not None and subject.kind in (columns.WORKFLOW, *_RUNS):
        raise Invalid(f"of {subject.kind.plural} no history is kept; drop --at")
    first = client.get(*subject.path, query=looking.query(at))
    if at is not None:
        looking.note(first)
        # How long ago something was is another revision by now; all that follows is to be of the same one.
        at = first.revision
    value = first.body
    if subject.kind is columns.JOB:
        value = {**value, "status": client.get(*subject.path, "status", query=looking.query(at)).body}
    if form in (Output.JSON, Output.YAML):
        output.write(value, form)
    elif form is Output.NAME:
        output.write_name(subject.kind, value)
    else:
        is_wide = form is Output.WIDE
        if subject.kind in _RUNS:
            told = run_screens.run(value, is_wide=is_wide, is_timeline=timeline)
        elif subject.kind is columns.WORKFLOW:
            told = _workflow(client, subject, value, is_wide=is_wide)
        else:
            told = _lines(client, subject, value, at, is_wide=is_wide)
        for line in told:
            terminal.show(line)


def _workflow(client: Session, subject: Subject, value: Object, *, is_wide: bool) -> Iterator[str]:
    """Yield the screen of a workflow, with its latest runs if they can be read."""
    query = {"workflow": subject.name, "limit": str(LINES)}
    runs = client.get("namespaces", subject.namespace, "runs", query=query).body["items"]
    yield from run_screens.workflow(value, value.get("bounds"), runs, is_wide=is_wide)


def _lines(client: Session, subject: Subject, value: Object, at: str | None, *, is_wide: bool) -> Iterator[str]:
    logged: Object | None = None
    if subject.kind is columns.AGENT:
        told = read_list(client, ("tasks",), looking.query(at))["items"]
        tasks = [task for task in told if task.get("agent") == subject.name]
        yield from screens.agent(value, tasks, is_wide=is_wide)
    elif subject.kind is columns.NAMESPACES:
        jobs = read_list(client, ("namespaces", subject.name, "jobs"), looking.query(at))["items"]
        yield from namespaces.screen(value, jobs, is_wide=is_wide)
        return
    elif subject.kind is columns.TASK:
        yield from screens.task(value)
        logged = value
    else:
        yield from screens.job(value, is_wide=is_wide)
        logged = most_interesting(value["status"].get("tasks") or ())
    if at is not None:
        return
    yield from _events(client, subject, is_wide=is_wide)
    if logged is not None:
        yield from log_of(client, logged)


def most_interesting(tasks: Iterable[Object]) -> Object | None:
    """Return the task whose log says most: the newest that failed or is not ready, else the newest."""
    started = [task for task in tasks if task.get("state") not in ("pending", "placed")]
    return max(started, key=lambda task: (not task.get("ready"), task.get("since_ms") or 0), default=None)


def _events(client: Session, subject: Subject, *, is_wide: bool) -> Iterator[str]:
    if subject.kind is columns.TASK and subject.name.count(".") < TASK_POINTS:
        return  # a slot without an agent: nothing has happened to a task that there is not
    try:
        answer = client.get(*subject.path, "events", query={"limit": str(LINES)}).body
    except HarpoonError as error:
        yield from ("", f"Events cannot be read: {terminal.plain(str(error))}")
        return
    if events := answer["items"][-LINES:]:
        yield from ("", "Events:")
        yield from screens.indented(screens.table(columns.EVENT, events, is_wide=is_wide))


def log_of(client: Session, task: Object) -> Iterator[str]:
    """Yield the end of what a task wrote: its errors if it is not ready, and whatever there is otherwise."""
    streams = ("stdout", "stderr") if task.get("ready") else ("stderr", "stdout")
    for stream in streams:
        lines = _tail(client, str(task["id"]), stream)
        if lines:
            yield from ("", f"Log of {task['id']}, {stream}:")
            yield from screens.indented(map(terminal.plain, lines))
            return


def _tail(client: Session, task: str, stream: str) -> Sequence[str]:
    """Return the last lines of a log; none if there is none yet, or its agent cannot be asked."""
    query: Mapping[str, Any] = {"stream": stream, "tail": str(LINES)}
    try:
        text = b"".join(client.read_text("tasks", task, "logs", query=query))
    except HarpoonError:
        return ()
    return text.decode("utf-8", "replace").splitlines()[-LINES:]
