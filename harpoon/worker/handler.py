"""A function that carries out attempts, under the name that operations call it by."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from harpoon.worker.parameters import Parameters

#: As in an operation's ``worker``.
_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,126}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One handler."""

    name: str
    function: Callable[..., Any]
    parameters: Parameters
    #: Whether it runs on the event loop, instead of in a thread.
    is_async: bool
    #: How many of its attempts run at once; None: as many as the worker has room for.
    limit: int | None

    def schemas(self) -> dict[str, object]:
        """Return the JSON Schemas of what it takes, and of what it returns where that is told."""
        output = self.parameters.output_schema()
        return {"input": self.parameters.input_schema(), **({} if output is None else {"output": output})}


def make_handler(name: str, function: Callable[..., Any], limit: int | None) -> Handler:
    """Make a function a handler.

    Raises:
        TypeError: It cannot be one, or its parameters have types that nothing can be read as.
        ValueError: The name or the limit is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"a handler's name is 1 to 127 of a-z, 0-9, '_', '-' and '.', starting with a letter; got {name[:80]!r}"
        )
    if limit is not None and limit < 1:
        raise ValueError(f"handler {name}: its limit is at least 1; got {limit}")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"handler {name} yields; a handler returns what it has come to")
    try:
        parameters = Parameters(function)
    except (TypeError, NameError, RuntimeError) as error:  # pydantic tells by the last what it cannot read
        raise TypeError(f"handler {name}: {error}") from error
    return Handler(
        name=name,
        function=function,
        parameters=parameters,
        is_async=inspect.iscoroutinefunction(function),
        limit=limit,
    )
