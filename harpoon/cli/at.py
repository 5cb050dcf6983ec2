"""Looking back: the option ``--at``, and how an answer of the past is told from one of the present."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from harpoon.cli import figures, terminal
from harpoon.cli.ending import at_end

if TYPE_CHECKING:  # verbs that ask no server start without it
    from harpoon.cli.session import Session
    from harpoon.client.answer import Answer

METAVAR: Final = "REVISION|TIME"

At = Annotated[
    str | None,
    typer.Option(
        "--at",
        help="As it stood at a revision (1.42), a time (2026-01-31T12:00:00Z), or so long ago (-10m).",
        metavar=METAVAR,
        show_default="now",
    ),
]


def query(at: str | None, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the query that asks for a moment."""
    return {**(more or {}), **({} if at is None else {"at": at})}


def read(client: "Session", path: Sequence[str], at: str, more: Mapping[str, Any] | None = None) -> Any:
    """Return what the API told of a moment, and say on stderr which that is; ages are told as they were then."""
    answer = client.get(*path, query=query(at, more))
    note(answer)
    return answer.body


def note(answer: "Answer") -> None:
    """Say of which moment an answer is, and tell ages as they were then."""
    seen = answer.headers.get("harpoon-at", "")
    terminal.say(f"as of revision {answer.revision}, seen {seen}")
    if seen:
        token = figures.NOW_MS.set(round(datetime.fromisoformat(seen).timestamp() * 1000))
        at_end(lambda: figures.NOW_MS.reset(token))
