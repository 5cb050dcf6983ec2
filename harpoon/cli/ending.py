"""What a verb has opened is closed when it ends, however it ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Final

_OPENED: Final[ContextVar[ExitStack | None]] = ContextVar("opened", default=None)


@contextmanager
def ending() -> Iterator[None]:
    """Close at the end of the block what `at_end` was told within it, last first."""
    with ExitStack() as opened:
        token = _OPENED.set(opened)
        try:
            yield
        finally:
            _OPENED.reset(token)


def at_end(close: Callable[[], None]) -> None:
    """Have something closed when the verb ends; outside a verb nothing is."""
    opened = _OPENED.get()
    if opened is not None:
        opened.callback(close)
