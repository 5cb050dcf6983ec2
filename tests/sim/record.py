"""What is written down of a run: its history, which is judged as it is told, and if asked for, the log of the code."""

import asyncio
from typing import Any

import structlog

from tests.proof import history
from tests.proof.judge import Judge, Violation
from tests.proof.logs import events_of
from tests.sim.loop import NODE, SimLoop

#: Keys that are written by whoever lives, and not because anything has changed.
LEASED = ("/h/1/ctl/instances/", "/h/1/ctl/holds/")


class Record:
    """Of one run; the first violation ends it."""

    def __init__(self, loop: SimLoop, judge: Judge, *, keep_log: bool) -> None:
        self.judge = judge
        self.lines: list[str] = []
        self.log: list[str] | None = [] if keep_log else None
        self.violation: Violation | None = None
        #: Set when nothing more is to be found out.
        self.over = asyncio.Event()
        #: When something happened last that is not to happen any more once all is calm.
        self.last_news = 0.0
        self._loop = loop

    def tell(self, event: history.Event) -> None:
        """Write something into the history, and have it judged."""
        if self.violation is not None:
            return
        self.lines.append(history.to_line(event))
        if _is_news(event):
            self.last_news = self._loop.now
        try:
            self.judge.see(event)
        except Violation as violation:
            self._end(violation)

    def fail(self, name: str, text: str) -> None:
        """Say that something went wrong that no check sees."""
        if self.violation is None:
            self._end(Violation(name, text))

    def hear_log(self, _logger: object, level: str, line: dict[str, Any]) -> Any:
        """Take what the present node logs: a processor of structlog."""
        node, now = NODE.get().name, self._loop.now
        if self.log is not None:
            told = " ".join(f"{key}={value}" for key, value in line.items() if key != "event")
            self.log.append(f"{now:10.4f} {node:6} {level:7} {line.get('event')} {told}")
        for event in events_of(node, now, line):
            self.tell(event)
        if level == "error" and "exc_info" in line:
            self.fail("crash", f"{node}: {line.get('event')}: {line['exc_info']!r}")
        raise structlog.DropEvent

    def _end(self, violation: Violation) -> None:
        self.violation = violation
        self.over.set()


def _is_news(event: history.Event) -> bool:
    if isinstance(event, history.Committed):
        return not all(key.startswith(LEASED) for key in event.changes)
    return isinstance(event, (history.Sent, history.Started, history.Exited))
