"""Work in a task of its own, so that its failing and our being cancelled are told apart."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def apart(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work``, and raise what it raises; when cancelled, cancel it, wait for its end and be cancelled.

    A task group whose tasks fail while it is cancelled tells of the failures only (so CPython before 3.13). Whoever
    caught those in the task that was cancelled, and went on, would never end.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            # What it failed by on its way out is nobody's concern any more.
            task.exception()
        raise
    await task
