"""Agents that are lost, or that not everybody reaches."""

from tests.sim.directed.making import fault, plan, put
from tests.sim.plan import Op, Plan, a_spec


def not_reached(seed: int) -> Plan:
    """One instance never reaches an agent again; the other does."""
    broken = (fault(0, "cut_from_agents", "s1", 0, 3, "a1"),)
    ops = (put(6, "web", scale=2), put(10, "web", scale=2, version=2))
    faults = (fault(8, "cut_from_agents", "s1", 40, 3, "a1"),)
    return plan(seed, ops, faults, core=("store", "s2", "a1", "a2"), broken=broken, chaos_s=12)


def lost_exclusive(seed: int) -> Plan:
    """An agent is away for longer than it takes to be lost; what it ran runs on."""
    ops = (put(6, "db", exclusive=True), put(6.1, "box", waits=True))
    return plan(seed, ops, (fault(9, "kill_agent", "a1", 24),), chaos_s=36)


def lost_for_good(seed: int) -> Plan:
    """An agent never comes back; there is another."""
    broken = (fault(0, "kill_agent", "a1"),)
    ops = (put(6, "web", scale=2),)
    return plan(
        seed, ops, (fault(9, "kill_agent", "a1", 40),), core=("store", "s1", "s2", "a2"), broken=broken, chaos_s=30
    )


def most_lost(seed: int) -> Plan:
    """More than half of the agents are lost."""
    faults = tuple(fault(9, "kill_agent", agent, 26) for agent in ("a1", "a2"))
    return plan(seed, (put(6, "web", scale=6),), faults, agents=("a1", "a2", "a3"), chaos_s=38)


def many_lost(seed: int) -> Plan:
    """So many tasks are lost at once that replacing them is to take a while."""
    faults = [fault(5, "cordon", agent, 6) for agent in ("a2", "a3")]
    faults += [fault(14, "kill_agent", "a1", 24)]
    return plan(seed, (put(7, "web", scale=340, cpu=10),), tuple(faults), agents=("a1", "a2", "a3"), chaos_s=42)


def alone(seed: int) -> Plan:
    """A link breaks for a moment, and there is one instance only."""
    return plan(seed, (put(6, "web", "s1"),), (fault(9, "kill_agent", "a1", 6),), instances=("s1",))


def adopted_late(seed: int) -> Plan:
    """What an agent answers to being adopted is overtaken by what became of its tasks since."""
    faults = [fault(6.5, "kill_instance", "s1", 60), fault(9.9, "slow_to_agent", "a1", 0.9, 0.5, "s2")]
    faults += [fault(at + 0.15 * number, "task_dies", "a1") for at in (7, 8.2, 9.4) for number in range(4)]
    spec = a_spec(scale=4)
    spec["task"]["restart"] |= {"attempts": 50}
    op = Op(at=6, session="c1", verb="put", job="web", to="s2", spec=spec)
    broken = (fault(0, "kill_instance", "s1"),)
    core = ("store", "s2", "a1")
    return plan(seed, (op,), tuple(faults), agents=("a1",), chaos_s=30, core=core, broken=broken)
