"""The verbs of ``cron``: when an expression or a job is due, and what an operator decides of a cron job."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

import typer

from harpoon.cli import columns, documents, figures, offers, output, terminal, waiting
from harpoon.cli.options import Arguments, Format, JobName, Namespace, Output, Patience, Remote
from harpoon.cli.session import Session
from harpoon.cli.subject import subject_of
from harpoon.cli.table import Column, Table
from harpoon.cli.verb import verb, verbs
from harpoon.core.cron import local_of, next_due, peculiarity
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Invalid
from harpoon.model.cron import check_expression, check_timezone
from harpoon.model.name import DEFAULT_NAMESPACE

#: Dues that one preview shows at most.
COUNT_MAX: Final = 1000
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

#: Without its short form, which is how many here.
_Namespace = Annotated[
    str, typer.Option("--namespace", help="Where the job is.", metavar="NS", autocompletion=offers.namespaces)
]

crons: Final = verbs(
    "cron",
    "See when cron jobs are due, and pause, resume or trigger them.",
    examples=('harpoon cron preview "0 2 * * *" --timezone Europe/Berlin', "harpoon cron trigger nightly"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """One moment at which something is due."""

    local: str
    utc: str
    due_ms: int
    note: str


@verb(
    "preview",
    group=crons,
    examples=(
        "harpoon cron preview nightly.yaml",
        "harpoon cron preview job/nightly -n 10",
        'harpoon cron preview "30 2 * * *" --timezone Europe/Berlin --after 2027-03-27',
    ),
)
def preview(  # noqa: PLR0913 one option each
    *,
    remote: Remote,
    what: Annotated[
        str,
        typer.Argument(
            help='A manifest, a job, or an expression such as "0 2 * * *".',
            metavar="FILE|JOB|EXPRESSION",
            show_default=False,
            autocompletion=offers.jobs,
        ),
    ],
    timezone: Annotated[
        str | None, typer.Option(help="The zone whose clocks it speaks of.", metavar="ZONE", show_default="as it says")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", help="How many.", min=1, max=COUNT_MAX, metavar="N")] = 5,
    after: Annotated[
        str | None,
        typer.Option(help="Dues after this day or time of the zone.", metavar="TIME", show_default="now"),
    ] = None,
    namespace: _Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Show when a cron job, or an expression, is due next: by the clocks of its zone, and in UTC.

    What is odd of a due because clocks are set forward or back is said beside it. Only a job's name asks the server.
    """
    if form is Output.NAME:
        raise Invalid("a due has no name; write it as table, wide, json or yaml")
    at, zone = _schedule_of(remote, what, namespace)
    zone = _checked("--timezone", check_timezone, timezone or zone)
    start_ms = SystemClock().now().wall if after is None else _moment(after, zone)
    dues = list(_dues(at, zone, start_ms, count))
    if form in (Output.JSON, Output.YAML):
        output.write({"at": at, "timezone": zone, "items": [asdict(due) for due in dues]}, form)
        return
    terminal.show(f"{at} in {zone}")
    shown = [Column("LOCAL", lambda due: due["local"]), Column("UTC", lambda due: due["utc"])]
    if any(due.note for due in dues):
        shown.append(Column("NOTE", lambda due: due["note"], is_sentence=True))
    for line in Table(shown, is_wide=form is Output.WIDE).lines([asdict(due) for due in dues]):
        terminal.show(line)


@verb("pause", group=crons, examples=("harpoon cron pause nightly",))
def pause(remote: Remote, name: JobName, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
    """Have no due fired until it is resumed. Children that run go on."""
    _order(remote.client(), namespace, name, "pause")
    terminal.show(f"job/{name} paused; to go on: harpoon cron resume {name}")


@verb("resume", group=crons, examples=("harpoon cron resume nightly",))
def resume(remote: Remote, name: JobName, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
    """Have dues fired again. Those that passed meanwhile are not made up for."""
    client = remote.client()
    _order(client, namespace, name, "resume")
    told = client.get("namespaces", namespace, "jobs", name).body["status"]["summary"]
    terminal.show(f"job/{name} resumed: {terminal.plain(told)}")


@verb(
    "trigger",
    group=crons,
    examples=("harpoon cron trigger nightly --no-wait", "harpoon cron trigger nightly --set day=2026-01-31"),
)
def trigger(
    remote: Remote,
    name: JobName,
    patience: Patience,
    given: Arguments = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
) -> None:
    """Make a child now, whether it is due or not, also while it is paused; dues stay as they are.

    Values of parameters are for this child alone.
    """
    client = remote.client()
    body = {"arguments": _arguments(client, namespace, name, given)} if given else {}
    answer = _order(client, namespace, name, "trigger", body)
    child = terminal.plain(str(answer["job"]["metadata"]["name"]))
    terminal.show(f"job/{child} created")
    if patience.wait:
        waiting.wait_changes(client, [str(answer["change"])], patience.span)


def _order(
    client: Session, namespace: str, name: str, order: str, body: Mapping[str, Any] = _NOTHING
) -> Mapping[str, Any]:
    answer: Mapping[str, Any] = client.post("namespaces", namespace, "jobs", name, "cron", order, body=dict(body)).body
    return answer


def _arguments(client: Session, namespace: str, name: str, given: Sequence[str]) -> Mapping[str, Any]:
    """Read values of parameters as the job's own types say."""
    parameters = client.get("namespaces", namespace, "jobs", name).body["spec"].get("parameters")
    return documents.arguments_of(given, parameters or {}, f"job {name}")


def _schedule_of(remote: Remote, what: str, namespace: str) -> tuple[str, str]:
    """Return the expression that is meant, and its zone."""
    if len(what.split()) > 1 and not Path(what).exists():
        return _checked("the expression", check_expression, what), "UTC"
    if what == "-" or what.endswith((".yaml", ".yml", ".json")) or Path(what).is_file():
        document = documents.read_one(what)
        cron = _cron_of(documents.manifest_of(document, None))
        place, pointer = documents.place_in(document), "/spec/cron"
        if cron is None:
            raise Invalid(f"{place('/spec')}: there is no cron in it, so it is never due")
        at = _checked(place(f"{pointer}/at"), check_expression, cron.get("at"))
        return at, _checked(place(f"{pointer}/timezone"), check_timezone, cron.get("timezone", "UTC"))
    subject = subject_of(what, namespace)
    if subject.kind is not columns.JOB:
        raise Invalid(f'name a manifest, a job or an expression such as "0 2 * * *"; got {what!r}')
    cron = _cron_of(remote.client().get(*subject.path).body)
    if cron is None:
        raise Invalid(f"{subject} is no cron job, so it is never due")
    return str(cron["at"]), str(cron["timezone"])


def _cron_of(job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    spec = job.get("spec")
    cron = spec.get("cron") if isinstance(spec, Mapping) else None
    return cron if isinstance(cron, Mapping) else None


def _checked(where: str, check: Any, value: object) -> str:
    try:
        return str(check(value))
    except ValueError as error:
        raise Invalid(f"{where}: {error}") from error


def _moment(text: str, zone: str) -> int:
    """Read a day or time by the clocks of a zone, or with an offset of its own."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"--after {text!r}: write a day or a time: 2027-03-28, or 2027-03-28T01:30") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=local_of(zone, 0).tzinfo)
    # What begins just then is to be shown.
    return int(moment.timestamp() * 1000) - 1


def _dues(at: str, zone: str, after_ms: int, count: int) -> Iterator[_Due]:
    due_ms = next_due(at, zone, after_ms)
    while due_ms is not None and count > 0:
        local = local_of(zone, due_ms)
        utc = figures.until(due_ms)
        shown = f"{local:%a %Y-%m-%d %H:%M} {_offset(local)}"
        yield _Due(local=shown, utc=utc, due_ms=due_ms, note=peculiarity(at, zone, due_ms))
        due_ms, count = next_due(at, zone, due_ms), count - 1


def _offset(local: datetime) -> str:
    """Write the zone's abbreviation, or how far it is from UTC where it has none."""
    name = local.tzname() or ""
    if name.isalpha():
        return name
    minutes = (local.utcoffset() or timedelta(0)) // timedelta(minutes=1)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
