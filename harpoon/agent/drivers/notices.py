"""What starting shims tell through: one pipe for all of them."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable


class Notices:
    """A pipe in which each shim says, by a number it was given, which process its task is.

    The end that shims inherit can be read from as well, so that writing to it never fails, even once the daemon is
    dead. It never fills up either, as long as no more than some hundred shims are starting at a time.
    """

    def __init__(self) -> None:
        """Open the pipe and listen. To be made in a running event loop, and closed."""
        self._loop = asyncio.get_running_loop()
        self._expected: dict[int, Callable[[int], None]] = {}
        self._last = 0
        self._partial = b""
        self._reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        both = os.open(f"/proc/self/fd/{writing}", os.O_RDWR | os.O_CLOEXEC)
        #: What shims inherit; out of the way of the numbers that they know.
        self.telling: int = fcntl.fcntl(both, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(both)
        os.close(writing)
        self._loop.add_reader(self._reading, self._hear)

    def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._reading)
        os.close(self._reading)
        os.close(self.telling)

    def expect(self, heard: Callable[[int], None]) -> int:
        """Return a number to tell by; ``heard`` is called once with what is told."""
        self._last += 1
        self._expected[self._last] = heard
        return self._last

    def forget(self, number: int) -> None:
        """Expect nothing more by this number."""
        self._expected.pop(number, None)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            *lines, self._partial = (self._partial + os.read(self._reading, 1 << 16)).split(b"\n")
            for line in lines:
                number, _, pid = line.partition(b" ")
                heard = self._expected.pop(int(number), None) if number.isdigit() and len(number) < 20 else None
                if heard is not None and pid.isdigit() and len(pid) < 20:
                    heard(int(pid))
