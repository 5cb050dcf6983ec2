"""Orders that come late, or twice, and agents that refuse or forget."""

from tests.sim.directed.making import delete, fault, plan, put
from tests.sim.plan import Fault, Plan


def late_start(seed: int, *more: Fault) -> Plan:
    """The order to start a slot arrives after it was denied."""
    ops = (put(6, "home", exclusive=True, agent="a1"), delete(9, "home"))
    return plan(seed, ops, (fault(5.99, "slow_to_agent", "s1", 0.5, 1.0, "a1"), *more), chaos_s=32)


def late_start_after_restart(seed: int) -> Plan:
    """Likewise, and the agent's daemon has been started anew meanwhile."""
    return late_start(seed, fault(22.0, "kill_agent", "a1", 0.2))


def late_start_after_full_disk(seed: int) -> Plan:
    """Likewise, and when it was denied the agent's disk was full."""
    return late_start(seed, fault(20.0, "disk_full", "a1", 2.0))


def late_order_of_the_former(seed: int, *more: Fault) -> Plan:
    """An order arrives after another instance has taken over, and the agent's daemon was started anew after that."""
    faults = (
        fault(5.99, "slow_to_agent", "s1", 0.5, 1.0, "a1"),
        fault(7, "kill_instance", "s1", 22),
        fault(14.4, "pause_instance", "s2", 10),
        fault(14.5, "kill_agent", "a1", 0.2),
    )
    return plan(seed, (put(6, "home", agent="a1"),), (*faults, *more), chaos_s=32)


def late_order_after_full_disk(seed: int) -> Plan:
    """Likewise, and the agent's disk was full when the other took over."""
    return late_order_of_the_former(seed, fault(8, "disk_full", "a1", 6.4))


def late_order(seed: int) -> Plan:
    """An order arrives after another instance has taken over."""
    faults = (fault(5.99, "slow_to_agent", "s1", 0.5, 1.0, "a1"), fault(7, "kill_instance", "s1", 22))
    return plan(seed, (put(6, "home", agent="a1"), delete(15, "home")), faults, chaos_s=32)


def twice(seed: int) -> Plan:
    """What is asked of an agent arrives twice."""
    faults = tuple(fault(5, "twice", "s1", 8, 1.0, agent) for agent in ("a1", "a2"))
    return plan(seed, (put(6, "web", scale=3), put(9, "web", scale=3, version=2)), faults)


def denial_not_recorded(seed: int) -> Plan:
    """An agent denies, and the store, which has lost its quorum, does not take the record of it."""
    faults = (fault(9.01 + seed % 10 / 50, "store_away", "store", 1.0),)
    return plan(seed, (put(6, "home", exclusive=True, agent="a1"), delete(9, "home")), faults)


def refused_for_a_while(seed: int) -> Plan:
    """An agent refuses to start a task, for its disk is full."""
    return plan(seed, (put(6, "home", agent="a1"),), (fault(5, "disk_full", "a1", 5),))


def refused_and_unscheduled(seed: int) -> Plan:
    """Likewise, and the task is not wanted any more when the disk has room."""
    ops = (put(6, "home", exclusive=True, agent="a1"), delete(8, "home"))
    return plan(seed, ops, (fault(5, "disk_full", "a1", 5),))
