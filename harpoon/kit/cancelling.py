"""Cancellation that a task group kept to itself."""

import asyncio


def heed_cancelling() -> None:
    """Raise `asyncio.CancelledError` if this task has been cancelled; to be called after errors of a group were caught.

    A group whose tasks fail while it is cancelled tells of the failures only (so CPython before 3.13): whoever goes on
    after having caught those would never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
