"""A worker: handlers under their names."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, overload

from harpoon.model.name import check_name
from harpoon.worker.handler import Handler, make_handler

F = TypeVar("F", bound=Callable[..., Any])

#: Attempts at once unless told otherwise.
CONCURRENCY: Final = 100


class Worker:
    """What a process offers to do; it does nothing until it is run.

    ::

        app = Worker("payments")

        @app.handler("payments.refund")
        async def refund(ctx: Context, order: str, amount: float) -> dict[str, str]:
            ...
    """

    def __init__(self, name: str, *, concurrency: int = CONCURRENCY) -> None:
        """Begin without handlers.

        Args:
            name: Workers of one name are taken for alike; each process adds to it what sets it apart.
            concurrency: Attempts at once, of handlers without a limit of their own.

        Raises:
            ValueError: The name is none, or there is no concurrency.
        """
        self.name = check_name("a worker's name", name)
        if concurrency < 1:
            raise ValueError(f"concurrency is at least 1; got {concurrency}")
        self.concurrency = concurrency
        self._handlers: dict[str, Handler] = {}

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """Its handlers by their names."""
        return self._handlers

    @overload
    def handler(self, name: F, /) -> F: ...
    @overload
    def handler(self, name: str | None = None, /, *, limit: int | None = None) -> Callable[[F], F]: ...
    def handler(self, name: F | str | None = None, /, *, limit: int | None = None) -> F | Callable[[F], F]:
        """Make the decorated function a handler; it stays as it is.

        Its parameters are the fields of the input, checked by their type hints. The first one may be ``ctx: Context``.

        Args:
            name: As operations call it in ``worker``; else that of the function.
            limit: Of so many attempts at once, in places of their own, apart from the worker's ``concurrency``.

        Raises:
            TypeError: The function cannot be a handler.
            ValueError: There is a handler of that name, or the name or the limit is none.
        """

        def register(function: F) -> F:
            called = name if isinstance(name, str) else function.__name__
            made = make_handler(called, function, limit)
            if called in self._handlers:
                raise ValueError(f"there are two handlers {called}")
            self._handlers[called] = made
            return function

        return register(name) if callable(name) else register

    def schemas(self) -> dict[str, object]:
        """Return the JSON Schemas of what each handler takes and returns."""
        return {name: self._handlers[name].schemas() for name in sorted(self._handlers)}
