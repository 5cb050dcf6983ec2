"""What a handler may know of its attempt, and tell of it."""

from datetime import timedelta
from typing import Any, Protocol

import structlog

from harpoon.worker.wire import Claim


class Underway(Protocol):
    """The attempt behind a context."""

    @property
    def claim(self) -> Claim:
        """What was claimed."""

    @property
    def remaining(self) -> timedelta:
        """How long until it times out."""

    @property
    def is_cancelled(self) -> bool:
        """Whether its handler is to end."""

    def tell(self, progress: object) -> None:
        """Have progress told."""


class Context:
    """One attempt, as its handler sees it: the first parameter of a handler that has a use for it."""

    __slots__ = ("_attempt", "log")

    def __init__(self, attempt: Underway) -> None:
        self._attempt = attempt
        claim = attempt.claim
        #: Says with each line which attempt it is about.
        self.log: Any = structlog.get_logger("harpoon.handler").bind(
            run=claim.run, workflow=claim.workflow, op=claim.op, visit=claim.visit, attempt=claim.attempt
        )

    @property
    def run(self) -> str:
        """The run's id."""
        return self._attempt.claim.run

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._attempt.claim.workflow

    @property
    def op(self) -> str:
        """The operation's name."""
        return self._attempt.claim.op

    @property
    def visit(self) -> int:
        """Which firing of the operation, from 1 on."""
        return self._attempt.claim.visit

    @property
    def attempt(self) -> int:
        """Which try of the visit, from 1 on."""
        return self._attempt.claim.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of a visit: for whatever is asked to do something once."""
        return self._attempt.claim.key

    @property
    def labels(self) -> tuple[str, ...]:
        """What the operation may be closed with."""
        return self._attempt.claim.labels

    @property
    def remaining(self) -> timedelta:
        """How long until the attempt times out; never below zero."""
        return self._attempt.remaining

    @property
    def is_cancelled(self) -> bool:
        """Whether the handler is to end: the attempt is lost, cancelled, timed out, or the worker stops.

        A handler that is ``async`` is cancelled then. One that is not should look here from time to time.
        """
        return self._attempt.is_cancelled

    def progress(self, value: object) -> None:
        """Tell how far it is: JSON up to 4 KiB, seen in the run within a second or so; only the last value counts.

        Raises:
            ValueError: It is no JSON, or too much.
        """
        self._attempt.tell(value)
