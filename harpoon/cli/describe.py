"""The verb ``describe``: one object on one screen, with what happened to it last and what it wrote last."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from harpoon.cli import columns, offers, output, screens, terminal
from harpoon.cli.listing import read_list
from harpoon.cli.options import Format, Namespace, Output, Remote
from harpoon.cli.session import Session
from harpoon.cli.subject import TASK_POINTS, Subject, subject_of
from harpoon.cli.table import Object
from harpoon.cli.verb import verb
from harpoon.kit.errors import HarpoonError
from harpoon.model.name import DEFAULT_NAMESPACE

#: Events and log lines that one screen has room for.
LINES: Final = 10


@verb(
    "describe",
    examples=("harpoon describe job/web", "harpoon describe task/default.web.0.1-42", "harpoon describe agent/a1"),
)
def describe(
    remote: Remote,
    what: Annotated[
        str,
        typer.Argument(
            help="job/NAME, task/ID or agent/NAME.",
            metavar="KIND/NAME",
            show_default=False,
            autocompletion=offers.subjects("job", "task", "agent", is_bare=True),
        ),
    ],
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Show one job, task or agent on a screen: how it stands, why, what happened to it last and what it wrote last.

    With -o wide, also the checks of tasks that are ready, and nothing shortened.
    """
    subject, client = subject_of(what, namespace), remote.client()
    value = client.get(*subject.path).body
    if subject.kind is columns.JOB:
        value = {**value, "status": client.get(*subject.path, "status").body}
    if form in (Output.JSON, Output.YAML):
        output.write(value, form)
    elif form is Output.NAME:
        output.write_name(subject.kind, value)
    else:
        for line in _lines(client, subject, value, is_wide=form is Output.WIDE):
            terminal.show(line)


def _lines(client: Session, subject: Subject, value: Object, *, is_wide: bool) -> Iterator[str]:
    logged: Object | None = None
    if subject.kind is columns.AGENT:
        tasks = [task for task in read_list(client, ("tasks",))["items"] if task.get("agent") == subject.name]
        yield from screens.agent(value, tasks, is_wide=is_wide)
    elif subject.kind is columns.TASK:
        yield from screens.task(value)
        logged = value
    else:
        yield from screens.job(value, is_wide=is_wide)
        logged = most_interesting(value["status"].get("tasks") or ())
    yield from _events(client, subject, is_wide=is_wide)
    if logged is not None:
        yield from _log(client, logged)


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


def _log(client: Session, task: Object) -> Iterator[str]:
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
