"""Cron jobs."""

from tests.sim.directed.making import delete, fault, plan
from tests.sim.plan import Plan
from tests.sim.scenarios import cron

#: The child of what is due after a minute.
FIRST_CHILD = "nightly-29453761"


def due(seed: int) -> Plan:
    """It is due twice, and nothing breaks."""
    return plan(seed, (cron(6, "nightly"),), (), chaos_s=128)


def fired_late(seed: int) -> Plan:
    """What the former leader fired comes to pass after another has fired it, and its child is gone."""
    faults = (fault(59.5, "commit_late", "s2", 12, 1), fault(61, "kill_instance", "s2", 40))
    return plan(seed, (cron(6, "nightly"), delete(70, FIRST_CHILD, "s1")), faults, chaos_s=128)


def nobody(seed: int) -> Plan:
    """It is due twice while nobody is there to fire it."""
    faults = tuple(fault(55, "kill_instance", name, 70) for name in ("s1", "s2"))
    return plan(seed, (cron(6, "nightly"),), faults, chaos_s=140)
