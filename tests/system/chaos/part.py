"""Run harpoon with a wall clock that somebody else can set: ``python -m tests.system.chaos.part FILE server …``.

The file holds how far it is ahead, in seconds, as eight bytes; it is read each time that the clock is. With
``HARPOON_WEAKENED`` a guard is taken out (`tests.system.chaos.weakened`).
"""

import mmap
import os
import struct
import sys
from dataclasses import replace
from pathlib import Path

from harpoon.__main__ import main
from harpoon.kit.clock import SystemClock
from harpoon.model.instant import Instant

#: Tell a worker where the history is, and what the monotonic clock was at its beginning.
HISTORY, BEGAN = "CHAOS_HISTORY", "CHAOS_BEGAN"
AHEAD = struct.Struct("<d")
_right = SystemClock.now


def set_ahead(file: Path, seconds: float) -> None:
    """Set the clock of whoever runs with this file."""
    with file.open("r+b") as opened:
        opened.write(AHEAD.pack(seconds))


def _shifted(clock: SystemClock) -> Instant:
    now = _right(clock)
    return replace(now, wall=now.wall + int(AHEAD.unpack_from(_told)[0] * 1000))


if __name__ == "__main__":
    with Path(sys.argv.pop(1)).open("rb") as _file:
        _told = mmap.mmap(_file.fileno(), AHEAD.size, access=mmap.ACCESS_READ)
    SystemClock.now = _shifted
    if guard := os.environ.get("HARPOON_WEAKENED"):
        from tests.system.chaos.weakened import WEAKENED

        WEAKENED[guard]()
    sys.exit(main())
