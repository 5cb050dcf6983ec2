"""Jobs of which one wants the room that another has."""

from typing import Any

from tests.sim.directed.making import plan, put
from tests.sim.plan import Plan

_HALF = {"agent": "a1", "cpu": 600}


def _pressed(seed: int, low: int, **urgent: Any) -> Plan:
    ops = (put(6, "low", "s1", priority=low, **_HALF), put(12, "urgent", "s1", **urgent, **_HALF))
    return plan(seed, ops, (), cpu=1000, chaos_s=40)


def urgent(seed: int) -> Plan:
    """It may have that."""
    return _pressed(seed, 10, priority=90, preempt=True)


def equal(seed: int) -> Plan:
    """The other is as urgent."""
    return _pressed(seed, 50, priority=50, preempt=True)


def unasked(seed: int) -> Plan:
    """It waits until there is room."""
    return _pressed(seed, 10, priority=90)
