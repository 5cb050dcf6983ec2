"""Jobs that are changed while they serve, and nothing breaks."""

from typing import Any

from tests.sim.directed.making import plan, put
from tests.sim.plan import Plan

#: A task is ready a while after it was placed.
_SLOW = {"SIM_START": "1..2"}


def _changed(seed: int, **update: Any) -> Plan:
    both = {"scale": 3, "update": update, **_SLOW}
    return plan(seed, (put(6, "web", "s1", **both), put(26, "web", "s1", version=2, **both)), (), chaos_s=70)


def changed(seed: int) -> Plan:
    """Each slot in its turn."""
    return _changed(seed, surge=1)


def soon(seed: int) -> Plan:
    """A job is changed, and the end is near."""
    both = {"update": {"surge": 1}, "SIM_START": "0.1..0.3"}
    ops = (put(6, "web", "s1", **both), put(8, "web", "s1", version=2, **both))
    return plan(seed, ops, (), chaos_s=9, calm_s=8)


def watched(seed: int) -> Plan:
    """Each new task is watched for a while."""
    return _changed(seed, surge=3, healthy_for="9s")


def tried(seed: int) -> Plan:
    """One is on trial, and nobody decides."""
    return _changed(seed, surge=3, canary=1)
