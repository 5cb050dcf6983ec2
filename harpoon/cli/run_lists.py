"""Runs in a list, and what changes of it: ``get runs``, with -w for as long as somebody looks."""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from harpoon.cli import columns, output, terminal
from harpoon.cli.follow import RETRY_AFTER, Changing
from harpoon.cli.listing import read_list
from harpoon.cli.options import Output, Scope
from harpoon.cli.session import Session
from harpoon.client.client import TIMEOUT
from harpoon.kit.errors import Unavailable
from harpoon.model.units import format_duration

#: A server answers a wait for a change after so long, changed or not.
LOOK_EVERY: Final = timedelta(seconds=30)
#: So many runs may change at once that reading them anew for each change would be all that is done.
_PAUSE: Final = timedelta(milliseconds=250)


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
    answer = read_list(client, path, chosen)
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
        return
    output.write_rows(columns.RUN, answer["items"], form, has_namespaces=scope.all_namespaces)
    if left := answer.get("left_out"):
        terminal.say(f"and {left} older ones; choose some with --status, --workflow or -l")


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
