"""What is shown while something is waited for: at a terminal a line that moves, elsewhere a line for each change."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from harpoon.cli import terminal

#: Part of a shared timeout is as good as used up before the first look; it is not to be shown as a second less.
_ROUNDING: Final = timedelta(milliseconds=500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How far something has come."""

    #: What is waited for: ``job/web``.
    subject: str
    #: In one word: ``progressing``.
    phase: str
    #: In a few: ``2/3 ready``.
    summary: str
    #: What it waits for, the decisive first.
    waiting: Sequence[str]
    elapsed: timedelta
    timeout: timedelta


class Progress(Protocol):
    """Shows reports to a person."""

    def show(self, report: Report) -> None:
        """Show how it stands now."""


class _Lines:
    """A line on stderr whenever something but the time has changed: for logs and pipes."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, report: Report) -> None:
        text = f"{report.subject}: {_told(report)}" + (f"; waits: {_blocker(report)}" if report.waiting else "")
        if text != self._last:
            self._last = text
            terminal.say(f"[{_seconds(report.elapsed)}] {text}")


class _Live:
    """Two lines at the foot of a terminal, rewritten in place: how far, and what for."""

    def __init__(self, live: Any) -> None:
        self._live = live

    def show(self, report: Report) -> None:
        from rich.text import Text  # noqa: PLC0415 only a terminal needs it

        clock = f"{_seconds(report.elapsed)} of {_seconds(report.timeout + _ROUNDING)}"
        text = Text(f"{report.subject}  {_told(report)}  {clock}", no_wrap=True, overflow="ellipsis")
        if report.waiting:
            text.append(f"\n  waits: {_blocker(report)}", style="dim")
        self._live.update(text, refresh=True)


@contextmanager
def progress() -> Iterator[Progress]:
    """Show reports on stderr for as long as the block lasts."""
    if not terminal.is_live(is_error=True):
        yield _Lines()
        return
    from rich.console import Console  # noqa: PLC0415 only a terminal needs it
    from rich.live import Live  # noqa: PLC0415

    console = Console(file=sys.stderr, highlight=False)
    with Live(console=console, transient=True, auto_refresh=False, redirect_stdout=False) as live:
        yield _Live(live)


def _told(report: Report) -> str:
    return f"{report.phase}, {report.summary}" if report.summary else report.phase


def _blocker(report: Report) -> str:
    more = f" (and {len(report.waiting) - 1} more)" if len(report.waiting) > 1 else ""
    return terminal.plain(report.waiting[0]) + more


def _seconds(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds // 60}:{seconds % 60:02}" if seconds >= 60 else f"{seconds}s"
