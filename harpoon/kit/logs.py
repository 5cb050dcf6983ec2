"""Logs: one JSON object a line, written together with the other lines of the same turn of the event loop."""

import asyncio
import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, BinaryIO, TextIO

import orjson
import structlog


class Lines:
    """Writes lines in their order: at once where no event loop runs, else before the loop's next turn.

    A line costs a system call when written by itself, which is more than all else about it. What a process that is
    killed loses of its log is what it said within that turn.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._kept: list[bytes] = []
        self._lock = Lock()

    def msg(self, line: bytes) -> None:
        """Write a line."""
        with self._lock:
            self._kept.append(line)
            is_first = len(self._kept) == 1
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # With it what a loop in another thread has kept: that loop may be blocked.
            self.flush()
        else:
            if is_first:
                loop.call_soon(self.flush)

    debug = info = warning = warn = error = err = exception = critical = fatal = failure = log = msg

    def flush(self) -> None:
        """Write what is kept."""
        with self._lock:
            kept, self._kept = self._kept, []
            if kept:
                self._stream.write(b"\n".join(kept) + b"\n")
                self._stream.flush()


def configure_logs(stream: BinaryIO, **always: str) -> Lines:
    """Have everything log to ``stream``, with what every line is to say; flush what this returns before the end."""
    lines = Lines(stream)

    def say_always(_logger: object, _level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**event, **{name: value for name, value in always.items() if name not in event}}

    structlog.configure(
        processors=[
            *((say_always,) if always else ()),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    return lines


@contextmanager
def warnings_only(stream: TextIO) -> Iterator[None]:
    """Have nothing logged but warnings, written for a person, while the block runs."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(stream),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _dumps(event: object, **_: Any) -> bytes:
    return orjson.dumps(event, default=str)
