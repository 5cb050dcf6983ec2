"""What clients ask to be run: small jobs of each sort, each time somewhat another one."""

import itertools
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("task.py")
#: Jobs whose rollouts people decide of.
ROLLED = ("web", "trial")
Make = Callable[[random.Random], dict[str, Any]]


def jobs(census: Path) -> Mapping[str, Make]:
    """Return what makes the spec of each job, never twice the same; each task tells the census that it is there."""
    numbers = itertools.count(1)

    def make(rng: random.Random, scales: tuple[int, ...], lingers: str, **spec: Any) -> dict[str, Any]:
        task = {
            "command": [sys.executable, "-S", "-E", str(PROGRAM)],
            "env": {"CENSUS": str(census), "LINGERS": lingers, "MODE": str(next(numbers))},
            "stop": {"drain": "0s", "grace": "2s"},
            "restart": {"attempts": 50, "within": "10m", "backoff": {"initial": "200ms", "max": "2s"}},
            "resources": {"cpu": "100m", "memory": "64Mi"},
        }
        return {"scale": rng.choice(scales), "task": task, **spec}

    return {
        "web": lambda rng: make(rng, (1, 2, 3, 4), "0", update={"surge": 2, "healthy_for": "1s"}),
        "trial": lambda rng: make(rng, (1, 2, 3), "0.1", update={"canary": 1, "deadline": rng.choice(("4s", "5m"))}),
        "api": lambda rng: make(rng, (0, 1, 2, 3), "0.2"),
        "keep": lambda rng: make(rng, (2, 3), "0.1", on_lost="wait"),
        "heavy": lambda rng: make(rng, (1, 2), "5", update={"surge": 0, "unavailable": 1}),
        "db": lambda rng: make(rng, (1,), "0.3", exclusive=True),
        "queue": lambda rng: make(rng, (1, 2), "0.1", exclusive=True),
        "lock": lambda rng: make(rng, (0, 1, 2, 3), "0", exclusive=True, update={"unavailable": 2}),
    }
