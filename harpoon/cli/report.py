"""The verbs of ``report``: what many runs came to together, and how all work stands now."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from harpoon.cli import cells, fields, figures, offers, output, screens, terminal
from harpoon.cli.options import Format, Output, Remote, Scope
from harpoon.cli.run_lists import moment
from harpoon.cli.table import Column, Object
from harpoon.cli.verb import verb, verbs
from harpoon.kit.errors import Invalid
from harpoon.model.report_shown import By

reports: Final = verbs(
    "report",
    "Say what many runs came to together, and how all work stands now.",
    examples=("harpoon report runs --since 24h", "harpoon report stats"),
)

#: What a report begins each row with.
_TITLES: Final = {By.WORKFLOW: "WORKFLOW", By.OPERATION: "OPERATION", By.TAG: "TAG"}
_FAILURE: Final = (
    Column("COUNT", lambda row: str(row["count"])),
    Column("OF", lambda row: str(row["key"])),
    Column("LATEST", lambda row: f"run/{row['run']}"),
    Column("REASON", lambda row: str(row["reason"]), is_sentence=True),
)
_HANDLER: Final = (
    Column("NAMESPACE", lambda row: str(row["namespace"])),
    Column("HANDLER", lambda row: str(row["handler"])),
    # What the servers carry out themselves takes no workers.
    Column("WORKERS", lambda row: "" if str(row["handler"]).startswith(":") else str(row["workers"])),
    Column("READY", lambda row: str(row["ready"])),
    Column("CLAIMED", lambda row: str(row["claimed"])),
)


@verb(
    "runs",
    group=reports,
    examples=(
        "harpoon report runs --since 24h",
        "harpoon report runs --workflow refund --by operation",
        "harpoon report runs -A --by tag:team --since 7d --until 1d",
        "harpoon report runs --since 1h -o json",
    ),
)
def runs(  # noqa: PLR0913 one option each
    *,
    remote: Remote,
    scope: Scope,
    workflow: Annotated[
        str | None,
        typer.Option(help="Only runs of this workflow.", metavar="NAME", autocompletion=offers.workflows),
    ] = None,
    by: Annotated[
        str, typer.Option(help="What there is a row for each of: workflow, operation, or tag:KEY.", metavar="WHAT")
    ] = "workflow",
    since: Annotated[
        str | None,
        typer.Option(help="Only runs begun then or later: 2026-01-31T12:00:00Z, or so long ago, 24h.", metavar="WHEN"),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only runs begun before then, written alike.", metavar="WHEN")
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(help="How long attempts are looked at, at most 20s.", metavar="DURATION", show_default="5s"),
    ] = None,
    form: Format = Output.TABLE,
) -> None:
    """Say how runs ended, how long they took, how long their attempts waited, what was tried again, why they failed.

    All runs are counted, up to 20,000, the latest first. Their attempts are looked at for no longer than --within; how
    far that came is told.
    """
    if form is Output.NAME:
        raise Invalid("a report has no name; write it as table, wide, json or yaml")
    word, _, key = by.partition(":")
    if word not in set(By) or bool(key) is not (word == By.TAG):
        raise Invalid(f"--by is workflow, operation or tag:KEY, such as tag:team; got {by!r}")
    query: dict[str, Any] = {"by": word, "key": key or None, "workflow": workflow, "within": within}
    query |= {"since": moment(since), "until": moment(until), "tag": scope.tags or None}
    path = ("reports", "runs") if scope.all_namespaces else ("namespaces", scope.namespace, "reports", "runs")
    told = remote.client().get(*path, query={name: value for name, value in query.items() if value}).body
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
        return
    for line in _lines(told, By(word), is_wide=form is Output.WIDE):
        terminal.show(line)


@verb("stats", group=reports, examples=("harpoon report stats", "harpoon report stats -o json"))
def stats(remote: Remote, form: Format = Output.TABLE) -> None:
    """Count all runs by status, their open operations by state, and the workers by what they offer."""
    if form is Output.NAME:
        raise Invalid("statistics have no name; write them as table, wide, json or yaml")
    told = remote.client().get("stats").body
    told.pop("heard", None)
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
        return
    counts = {"runs": told["runs"], "operations": told["operations"], "workers": told["workers"]}
    for line in fields.lines(counts):
        terminal.show(line)
    if told["handlers"]:
        terminal.show("")
        output.write_table(_HANDLER, told["handlers"], form)
    if missing := told["unanswered"]:
        terminal.say(f"{', '.join(missing)} did not answer: what is conducted there is not counted")


def _lines(told: Object, by: By, *, is_wide: bool) -> Iterator[str]:
    groups = told["groups"]
    if by is not By.TAG:
        groups = [{**group, "key": cells.flow_said(str(group["key"]))} for group in groups]
    if not groups:
        terminal.say("no runs" if not told["runs"] else "nothing to tell of these runs")
        return
    yield from screens.table(_columns(by), groups, is_wide=is_wide)
    failures = [{**one, "key": group["key"]} for group in groups for one in group["failures"]]
    if failures:
        yield ""
        yield from screens.table(_FAILURE, sorted(failures, key=lambda one: -one["count"]), is_wide=is_wide)
    if told["groups_left"]:
        terminal.say(f"and {told['groups_left']} more of fewer runs")
    if not told["is_whole"]:
        terminal.say(_short_of(told))


def _short_of(told: Object) -> str:
    """Say what a report is not of."""
    said = f"counted are the latest {told['counted']} of {told['runs']} runs"
    since = figures.until(told["looked_into_since_ms"])
    looked = f"the attempts of {told['looked_into']} were looked at" + (f", of those since {since}" if since else "")
    return f"{said}; {looked}; more: --within 20s, or a shorter span"


def _columns(by: By) -> Sequence[Column]:
    return (
        Column(_TITLES[by], lambda row: str(row["key"])),
        Column("RUNS", lambda row: str(row["runs"])),
        Column("VISITS" if by is By.OPERATION else "STATUS", lambda row: figures.pairs(row["counts"])),
        Column("TOOK P50", lambda row: _span(row["took"], "p50_ms")),
        Column("P95", lambda row: _span(row["took"], "p95_ms")),
        Column("MAX", lambda row: _span(row["took"], "max_ms")),
        Column("ATTEMPTS", lambda row: str(row["attempts"])),
        Column("RETRIES", lambda row: str(row["retries"])),
        Column("QUEUE P50", lambda row: _span(row["queue"], "p50_ms")),
        Column("P95", lambda row: _span(row["queue"], "p95_ms")),
        Column("WORK P50", lambda row: _span(row["work"], "p50_ms"), is_wide=True),
        Column("P95", lambda row: _span(row["work"], "p95_ms"), is_wide=True),
        Column("MAX", lambda row: _span(row["work"], "max_ms"), is_wide=True),
    )


def _span(told: Mapping[str, Any] | None, which: str) -> str:
    return "" if told is None else figures.length(told[which])
