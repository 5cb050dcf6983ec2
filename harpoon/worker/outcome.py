"""What a handler comes to: a value, a label with a value, or a failure. And how that is told.

A value is told as JSON, made and checked here: what no server takes is to fail its own attempt, not the request that
it is returned in with many others.
"""

import json
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic_core import to_jsonable_python

from harpoon.kit import strict

DONE: Final = "done"
FAIL: Final = "fail"
#: Characters of an error that are told; the worker's own log has the rest.
ERROR_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class Label:
    """What a handler returns to close its operation with another label than ``done``."""

    #: One that the operation offers: it stands in its ``labels`` or its ``next``.
    name: str
    output: Any = None


class Fail(Exception):
    """What a handler raises to close its attempt with ``fail``: for good, unless it is ``retryable``."""

    def __init__(self, why: str, *, retryable: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.retryable = retryable


class Retry(Fail):
    """What a handler raises to be tried again, as the operation's ``retry`` says; so any other exception."""

    def __init__(self, why: str) -> None:
        super().__init__(why, retryable=True)


class Result(NamedTuple):
    """What an attempt is closed with."""

    label: str
    #: JSON; empty: none.
    output: bytes = b""
    error: str = ""
    retryable: bool = False


def result_of(value: object, offered: tuple[str, ...]) -> Result:
    """Return what a handler's return value means; ``offered``: the labels its operation takes, empty if not known."""
    label, output = (value.name, value.output) if isinstance(value, Label) else (DONE, value)
    if offered and label not in offered:
        return failed(
            f"the handler returned the label {strict.quote(label)}; the operation offers {', '.join(offered)}"
        )
    if output is None:
        return Result(label)
    try:
        return Result(label, output_of(output))
    except ValueError as error:
        return failed(f"the handler's output cannot be written as JSON: {error}")


def failure_of(error: BaseException) -> Result:
    """Return what an exception means: its type and message, nothing of its traceback."""
    if isinstance(error, Fail):
        return failed(error.why, retryable=error.retryable)
    message = str(error)
    return failed(f"{type(error).__name__}: {message}" if message else type(error).__name__, retryable=True)


def failed(error: str, *, retryable: bool = False) -> Result:
    """Return the result of a failure, with as much of the error as is told."""
    told = error.encode(errors="replace").decode().replace("\0", "\ufffd")
    return Result(FAIL, error=told if len(told) <= ERROR_MAX else f"{told[: ERROR_MAX - 1]}…", retryable=retryable)


def output_of(value: object) -> bytes:
    """Write a value as JSON: dataclasses, models, enumerations and dates too.

    Raises:
        ValueError: It cannot be written, or not so that every server takes it.
    """
    try:
        data = json.dumps(to_jsonable_python(value), ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise ValueError(strict.TOO_DEEP) from error
    _, faults = strict.read(data)
    if faults:
        raise ValueError("; ".join(f"{strict.pointer(one.location)}: {one.detail}" for one in faults[:3]))
    return data
