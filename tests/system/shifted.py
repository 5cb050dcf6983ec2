"""Run harpoon with a wall clock that is off: ``python -m tests.system.shifted SECONDS server …``."""

import sys
from dataclasses import replace

from harpoon.__main__ import main
from harpoon.kit.clock import SystemClock
from harpoon.model.instant import Instant

_right = SystemClock.now


def _shifted(clock: SystemClock) -> Instant:
    now = _right(clock)
    return replace(now, wall=now.wall + ahead_ms)


if __name__ == "__main__":
    ahead_ms = int(float(sys.argv.pop(1)) * 1000)
    SystemClock.now = _shifted
    sys.exit(main())
