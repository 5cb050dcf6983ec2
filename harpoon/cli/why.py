"""The verb ``why``: what decides that something is as it is, with the values that were compared."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from harpoon.cli import at as looking
from harpoon.cli import columns, figures, output, screens, terminal
from harpoon.cli.describe import log_of
from harpoon.cli.options import Format, Namespace, Output, Remote, What
from harpoon.cli.session import Session
from harpoon.cli.subject import subject_of
from harpoon.cli.verb import verb
from harpoon.kit.errors import Invalid
from harpoon.model.name import DEFAULT_NAMESPACE

#: Codes of what a task is told with beside its state.
_FURTHER: Final = ("exited", "check_failing")


@verb(
    "why",
    examples=(
        "harpoon why web",
        "harpoon why job/web -n shop -o json",
        "harpoon why task/default.web.0.1-42",
        "harpoon why agent/a1",
        "harpoon why web --at 1.42",
        "harpoon why run/o-17",
    ),
)
def why(
    remote: Remote,
    what: What,
    namespace: Namespace = DEFAULT_NAMESPACE,
    at: looking.At = None,
    form: Format = Output.TABLE,
) -> None:
    """Say why a job, a task, an agent or a run is as it is: what decides, what each agent lacks, the nearest fix.

    With --at, it is said of what stood then: the scheduler is asked again, as if it were that time.
    Exit code 0 whether or not all is well: the question was answered.
    """
    if form is Output.NAME:
        raise Invalid("an explanation has no name; write it as table, wide, json or yaml")
    subject, client = subject_of(what, namespace, others=(columns.RUN, columns.BATCH)), remote.client()
    if at is not None and subject.kind in (columns.RUN, columns.BATCH):
        raise Invalid("of runs no history is kept; drop --at")
    path = (*subject.path, "why")
    answer = client.get(*path).body if at is None else looking.read(client, path, at)
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
    else:
        for line in _lines(answer, is_wide=form is Output.WIDE):
            terminal.show(line)
        for line in _last_words(client, answer) if at is None else ():
            terminal.show(line)


def _last_words(client: Session, answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a task that keeps ending wrote last, if its agent can be asked."""
    if str(answer["subject"]).startswith("task/") and any(
        one["code"] == "exited" for one in answer.get("causes") or ()
    ):
        yield from log_of(client, answer["tasks"][0])


def _lines(answer: Mapping[str, Any], *, is_wide: bool) -> Iterator[str]:
    yield screens.headline(str(answer["subject"]), str(answer["state"]), str(answer["summary"]))
    yield from (f"  {terminal.plain(reason)}" for reason in answer.get("reasons") or ())
    for one in answer.get("slots") or ():
        lines = list(_slots(one, answer.get("reasons") or ()))
        # Slots that wait for nothing but what was said already need no heading of their own.
        if len(lines) > 1 or not lines[0].endswith(":"):
            yield from ("", *lines)
    # A task's own reasons are all that there is to say of it.
    is_task = str(answer["subject"]).startswith("task/") and not is_wide
    waiting = [] if is_task else [task for task in answer.get("tasks") or () if is_wide or not task.get("ready")]
    if waiting:
        yield ""
        yield "Tasks:" if is_wide else "Tasks that are not ready:"
        yield from screens.indented(line for task in waiting for line in _task(task))
    if dependencies := answer.get("dependencies") or ():
        yield ""
        yield "Depends on:"
        yield from screens.indented(map(_dependency, dependencies))


def _slots(one: Mapping[str, Any], told: Sequence[str]) -> Iterator[str]:
    """Yield why some slots have no agent: what each group of agents fails, and what would help soonest."""
    slots: Sequence[int] = one.get("slots") or ()
    title = "Slot" if len(slots) == 1 else "Slots"
    is_told = any(str(one["reason"]) in reason for reason in told)
    yield f"{title} {', '.join(map(str, slots))}:" + ("" if is_told else f" {terminal.plain(str(one['reason']))}")
    for group in one.get("groups") or ():
        yield f"  {terminal.plain(screens.agents_of(group))}:"
        for failed in group.get("failed") or ():
            told = f"{failed['predicate']}: wants {failed['wanted']}, finds {failed['found']}"
            yield f"    - {terminal.plain(told)}"
    if left := one.get("agents_left"):
        yield f"  and {left} more agents, each for other reasons"
    if fix := one.get("fix"):
        yield f"  {terminal.paint('Nearest fix', 'bold')}: {terminal.plain(str(fix['sentence']))}"
        steps = fix.get("steps") or ()
        yield from (f"    {number}. {terminal.plain(step)}" for number, step in enumerate(steps, 1))


def _task(task: Mapping[str, Any]) -> Iterator[str]:
    since = figures.age(task.get("since_ms"))
    state = f"{task['state']}{f' for {since}' if since else ''}"
    count = task.get("restarts")
    restarts = f", restarted {'once' if count == 1 else f'{count} times'}" if count else ""
    reason = f": {task['reason']}" if task.get("reason") else ""
    yield terminal.plain(f"{task['id']} on {task['agent'] or 'no agent'}, {state}{restarts}{reason}")
    failing = [cause for cause in task.get("causes") or () if cause["code"] in _FURTHER]
    yield from (f"  - {terminal.plain(str(cause['sentence']))}" for cause in failing)
    told = {cause["evidence"].get("check") for cause in failing}
    yield from (f"  - {screens.check_line(one)}" for one in task.get("checks") or () if one["name"] not in told)


def _dependency(one: Mapping[str, Any]) -> str:
    name = f"run/{one['run']}" if one.get("run") else one["job"]
    told = f"{name}: wants {one['wanted']}, finds {one['found']}"
    return terminal.plain(f"{told}{'' if one['is_met'] else ' (not met)'}")
