"""Runs in a list, and what changes of it: ``get runs``, with -w for as long as somebody looks."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from harpoon.cli import columns, offers, output, terminal
from harpoon.cli.follow import RETRY_AFTER, Changing
from harpoon.cli.listing import read_list
from harpoon.cli.options import Output, Scope
from harpoon.cli.session import Session
from harpoon.client.client import TIMEOUT
from harpoon.kit.errors import Unavailable
from harpoon.model.units import format_duration

#: Of one page.
LIMIT_MAX: Final = 1_000
_AGO: Final = re.compile(r"\d{1,12}(ms|s|m|h|d)", re.ASCII)
#: A server answers a wait for a change after so long, changed or not.
LOOK_EVERY: Final = timedelta(seconds=30)
#: So many runs may change at once that reading them anew for each change would be all that is done.
_PAUSE: Final = timedelta(milliseconds=250)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Of which time, started by what, and how many."""

    since: Annotated[
        str | None,
        typer.Option(help="Only runs begun then or later: 2026-01-31T12:00:00Z, or so long ago, 2h.", metavar="WHEN"),
    ] = None
    until: Annotated[str | None, typer.Option(help="Only runs begun before then, written alike.", metavar="WHEN")] = (
        None
    )
    limit: Annotated[
        int | None, typer.Option(help="Only so many runs, the latest ones.", metavar="N", min=1, max=LIMIT_MAX)
    ] = None

    parent: Annotated[
        str | None,
        typer.Option(
            help="Only runs that this run has called; other lists leave such runs out.",
            metavar="RUN",
            autocompletion=offers.runs,
        ),
    ] = None

    @property
    def is_given(self) -> bool:
        """Whether any of it was said."""
        return (self.since or self.until or self.limit or self.parent) is not None

    def query(self) -> dict[str, str | None]:
        """Return what a server is asked."""
        limit = None if self.limit is None else str(self.limit)
        parent = self.parent and self.parent.removeprefix("run/")
        return {"since": moment(self.since), "until": moment(self.until), "limit": limit, "parent": parent}


def moment(text: str | None) -> str | None:
    """Write a moment as the API has it, where so long ago begins with a minus sign."""
    return f"-{text}" if text is not None and _AGO.fullmatch(text) else text


def show(client: Session, scope: Scope, query: Mapping[str, Any], form: Output, *, is_watching: bool) -> None:
    """List the runs that these parameters select, and go on with what changes if somebody watches.

    Raises:
        HarpoonError: They cannot be read.
    """
    path = ("runs",) if scope.all_namespaces else ("namespaces", scope.namespace, "runs")
    chosen = {name: value for name, value in query.items() if value}
    if is_watching:
        _follow(client, path, chosen, Changing(columns.RUN, form, has_namespaces=scope.all_namespaces))
        return
    answer = read_list(client, path, chosen) if "limit" not in chosen else dict(client.get(*path, query=chosen).body)
    left = answer.get("left_out") or 0
    if "limit" in chosen:
        # The next pages are not asked for.
        left += answer.pop("remaining", 0)
        answer.pop("continue", None)
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
        return
    output.write_rows(columns.RUN, answer["items"], form, has_namespaces=scope.all_namespaces)
    if left:
        terminal.say(f"and {left} older ones; choose some with --status, --workflow, --since, --until or -l")


def _follow(client: Session, path: Sequence[str], query: Mapping[str, Any], changing: Changing) -> None:
    """Read and show, and again after each change, for ever; a server that is away is waited for."""
    told = read_list(client, path, query)
    changing.show(told["items"])
    is_away = False
    while True:
        time.sleep((RETRY_AFTER if is_away else _PAUSE).total_seconds())
        wait = {"wait": format_duration(LOOK_EVERY), "after": told["revision"]}
        try:
            told = read_list(client, path, {**query, **wait}, timeout=TIMEOUT + LOOK_EVERY)
        except Unavailable as error:
            if not is_away:
                terminal.say(f"interrupted, resuming: {error}")
            is_away = True
            continue
        is_away = False
        changing.show(told["items"])
