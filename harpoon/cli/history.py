"""The verbs of ``history``: what a server keeps of the past, and taking that elsewhere."""

import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from harpoon.cli import figures, output, screens, terminal
from harpoon.cli.at import METAVAR
from harpoon.cli.backup import check_goes_on, replaced, whole_lines
from harpoon.cli.options import Format, Output, Remote, directory_of
from harpoon.cli.table import Column
from harpoon.cli.values import listen_of
from harpoon.cli.verb import verb, verbs
from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.model.units import format_duration, format_size
from harpoon.store.past.line import LINE_BYTES_MAX
from harpoon.store.past.transfer import Reading, bring

_SHOWN: Final = ("harpoon history show", "harpoon history show -o json")
_EXPORTED: Final = (
    "harpoon history export -o history.ndjson",
    "harpoon history export -o - --from -1h --to 2026-01-31T12:00:00Z",
)
_IMPORTED: Final = ("harpoon history import history.ndjson --into past",)
_SERVED: Final = ("harpoon history serve past", "harpoon history serve past --listen 127.0.0.1:4460")
#: Standard output instead of a file.
_STDOUT: Final = "-"
#: Beside where servers listen.
_LISTEN: Final = "127.0.0.1:4452"
_KEPT: Final = (
    Column("FROM", lambda row: str(row["start"])),
    Column("TO", lambda row: str(row["end"])),
    Column("SEEN FROM", lambda row: figures.until(row["start_ms"])),
    Column("SEEN TO", lambda row: figures.until(row["end_ms"])),
    Column("SIZE", lambda row: figures.rounded(str(row["bytes"]))),
)
_GAPS: Final = (
    Column("AFTER", lambda row: str(row["after"])),
    Column("BEFORE", lambda row: str(row["before"])),
    Column("SEEN FROM", lambda row: figures.until(row["after_ms"])),
    Column("SEEN TO", lambda row: figures.until(row["before_ms"])),
    Column("WHY", lambda row: str(row["reason"]), is_sentence=True),
)

histories: Final = verbs(
    "history",
    "See what a server keeps of the past, for get, describe, why and diff with --at; take it elsewhere, and read it.",
    examples=(*_SHOWN[:1], *_EXPORTED[:1], *_IMPORTED, *_SERVED[:1]),
)


@verb("show", group=histories, examples=_SHOWN)
def show(remote: Remote, form: Format = Output.TABLE) -> None:
    """Show what of the past the server keeps: revisions, times and gaps, and how the recording does."""
    if form is Output.NAME:
        raise Invalid("a history has no name; write it as table, wide, json or yaml")
    told = remote.client().get("history").body
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
    else:
        for line in _lines(told, is_wide=form is Output.WIDE):
            terminal.show(line)


@verb("export", group=histories, examples=_EXPORTED)
def export(
    remote: Remote,
    file: Annotated[
        str,
        typer.Option("--output", "-o", help="Where to: a file, replaced when all is there, or - .", metavar="FILE"),
    ],
    since: Annotated[
        str | None,
        typer.Option("--from", help="What happened from then on.", metavar=METAVAR, show_default="the oldest kept"),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="What happened until then.", metavar=METAVAR, show_default="now")
    ] = None,
) -> None:
    """Write the server's history into a file, as lines of JSON; the server goes on meanwhile.

    It begins with everything as it stood at or some time before --from. The file holds environments as they were
    declared, secrets among them; only its owner may read it.
    """
    client = remote.client()
    if file == _STDOUT:
        reading = _write(client.history(since, until), sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        terminal.say(_told(reading, "standard output"))
        return
    with replaced(Path(file)) as write:
        reading = _write(client.history(since, until), write)
    terminal.show(_told(reading, file))


@verb("import", group=histories, examples=_IMPORTED)
def import_history(
    file: Annotated[Path, typer.Argument(help="Of harpoon history export.", metavar="FILE", show_default=False)],
    into: Annotated[Path, typer.Option(help="A directory that holds no history yet.", metavar="DIR")],
) -> None:
    """Make a directory of an exported history, whole or not at all. No server is asked.

    It is read with harpoon history serve; a server of the same registry that is given it goes on with it.
    """
    brought = bring(file, directory_of("--into", into))
    terminal.show(
        f"{brought.records} revisions, {brought.size} bytes, are in {into}, beginning with {brought.start} "
        f"({brought.digest})"
    )
    terminal.say(f"read it: harpoon history serve {into}")


@verb("serve", group=histories, examples=_SERVED)
def serve(
    directory: Annotated[Path, typer.Argument(help="Of a history.", metavar="DIR", show_default=False)],
    listen: Annotated[str, typer.Option(help="Where to listen; on this machine only.", metavar="HOST:PORT")] = _LISTEN,
) -> None:
    """Answer from a history, until Ctrl-C, as its server would: get, describe, why and diff with --at and --server.

    Without --at, what is told is the last that it keeps. Nothing can be changed. The directory may be an imported one,
    or that of a server; it is not written.
    """
    where = listen_of(listen)
    from harpoon.service import process  # noqa: PLC0415 the other verbs do without it

    raise typer.Exit(process.run_history(directory, where))


def _write(pieces: Iterator[bytes], write: Callable[[bytes], object]) -> Reading:
    """Write what comes line by line, and look at it meanwhile.

    Raises:
        Unavailable: The server broke off.
        HarpoonError: It is no whole history.
    """
    reading = Reading()
    try:
        for line in whole_lines(pieces, LINE_BYTES_MAX):
            check_goes_on(line)
            reading.take(line)
            write(line)
        reading.check_whole()
    except Invalid as error:
        if error.problems:
            raise
        raise HarpoonError(f"the server told no whole history: {error}") from error
    return reading


def _told(reading: Reading, place: str) -> str:
    return f"{reading.tally.lines} lines, {reading.tally.size} bytes are in {place} ({reading.tally.last['digest']})"


def _lines(told: Mapping[str, Any], *, is_wide: bool) -> Iterator[str]:
    """Yield how a history does, what it covers, and what is missing in it."""
    yield screens.headline("history", str(told["state"]), str(told["reason"]))
    if told["state"] == "off":
        return
    budget = told["budget"]
    allowed = "" if budget is None else f" of {_budget(budget)}"
    yield f"  {figures.rounded(str(told['bytes']))}{allowed} in {terminal.plain(str(told['directory']))}"
    if told["through"]:
        yield f"  up to revision {told['through']}; the registry is at {told['revision']}"
    for title, shown, rows in (("Kept", _KEPT, told["kept"]), ("Gaps", _GAPS, told["gaps"])):
        if rows:
            yield from ("", f"{title}:", *screens.indented(screens.table(shown, rows, is_wide=is_wide)))


def _budget(budget: Mapping[str, int]) -> str:
    return f"{format_size(budget['bytes'])}, for {format_duration(timedelta(milliseconds=budget['age_ms']))},"
