"""Talking to a terminal: data goes to stdout, talk to stderr, and colour only repeats what a word says."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import typer

_COLOURS: Final[Mapping[str, str]] = {"red": "31", "green": "32", "yellow": "33", "grey": "90", "bold": "1"}


def say(text: str) -> None:
    """Tell the person at the terminal something, if there still is one; never data."""
    # What is done does not depend on being watched: a terminal that is closed does not keep `dev` from stopping.
    with suppress(BrokenPipeError):
        typer.echo(text, err=True)


def tell_loss(error: Exception) -> None:
    """Tell that what is followed goes on after a connection was lost."""
    say(f"watch interrupted, resuming: {error}")


def show(text: str) -> None:
    """Write one line of data; whoever reads a pipe has it at once."""
    typer.echo(text)


def is_live(*, is_error: bool = False) -> bool:
    """Whether the stream is a terminal that can rewrite its lines."""
    stream = sys.stderr if is_error else sys.stdout
    return stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


def paint(text: str, colour: str, *, is_error: bool = False) -> str:
    """Colour ``text`` if the stream shows colours and nobody asked for none (``NO_COLOR``)."""
    if not colour or os.environ.get("NO_COLOR") or not is_live(is_error=is_error):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def plain(text: str) -> str:
    """Replace control characters, so that what a task or a user wrote cannot steer the terminal."""
    return "".join(c if c.isprintable() else "\ufffd" if c not in "\n\t" else " " for c in text)
