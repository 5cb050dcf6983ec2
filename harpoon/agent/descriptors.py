"""The open files of this daemon: how many it may have, and that no task inherits one."""

import contextlib
import os
import resource


def raise_limit() -> int:
    """Let this daemon have as many open files as it may, for each task takes one.

    Returns:
        The limit it was started with, which is what tasks are to have.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def keep_from_children() -> None:
    """Have no task inherit what this daemon itself was started with, but for the three that all programs have."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 numbers, no paths
        with contextlib.suppress(OSError):
            if int(name) > 2:
                os.set_inheritable(int(name), False)
