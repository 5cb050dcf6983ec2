"""The event loop of a process: the faster one where there is one."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_fast(main: Coroutine[Any, Any, T]) -> T:
    """Run a process's main coroutine as `asyncio.run` does."""
    try:
        import uvloop  # noqa: PLC0415 it may be absent
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)
