"""Views and watchers that miss something, or go on elsewhere."""

from tests.sim.directed.making import delete, fault, plan, put
from tests.sim.plan import Fault, Plan


def compacted(seed: int, *more: Fault, span: float = 10) -> Plan:
    """What a view has not been told yet is compacted."""
    faults = (fault(8, "view_behind", "s1", span, 2), fault(9.5, "watch_compacted", "store"), *more)
    ops = (put(6, "web", scale=2), put(6.2, "box"), delete(9, "web"))
    return plan(seed, ops, faults, chaos_s=22)


def list_breaks_off(seed: int) -> Plan:
    """Likewise, and the list of all there is, which is long, breaks off."""
    faults = [fault(8, "view_behind", "s1", 12, 2), fault(9.5, "watch_compacted", "store")]
    faults += [fault(9.6, "slow_to_store", "s1", 5, 0.6)]
    faults += [fault(9.9 + 0.2 * number, "watch_compacted", "store") for number in range(30)]
    ops = [put(6, "web", scale=80, cpu=3), put(9, "box")]
    ops += [put(9.6 + 0.2 * number, "box", version=number + 2) for number in range(30)]
    return plan(seed, tuple(ops), tuple(faults), chaos_s=22)


def missed(seed: int) -> Plan:
    """A view is not told something, and nothing else tells of it."""
    return plan(seed, (put(6, "web", scale=2), delete(9, "web")), (fault(8.9, "watch_gap", "s1", 0, 12),))


def watcher_moves(seed: int) -> Plan:
    """A watcher goes on at another instance."""
    ops = [put(6, "web", scale=2)]
    ops += [
        put(at, "web", "s2" if at < 10 else "s1", scale=number % 2 + 1)
        for number, at in enumerate((8.1, 8.3, 12.1, 12.3))
    ]
    faults = (fault(8, "kill_instance", "s1", 1), fault(12, "kill_instance", "s2", 1))
    return plan(seed, tuple(ops), faults, chaos_s=16)


def watcher_is_behind(seed: int) -> Plan:
    """A watcher goes on at an instance that has begun after what it saw last."""
    faults = (
        fault(7, "kill_instance", "s2", 3),
        fault(8, "cut_from_agents", "s1", 6, 3, "w1"),
        fault(12, "kill_instance", "s1", 3),
    )
    return plan(seed, (put(6, "web", "s1"), put(8.5, "web", "s1", scale=2), put(9, "box", "s1")), faults)


def placement_missed(seed: int) -> Plan:
    """Who leads next has missed what the former leader placed."""
    ops = (put(1, "db", "s1", exclusive=True, scale=2), put(4, "db", "s1", exclusive=True, scale=2, version=2))
    return plan(1, ops, (fault(2, "stop_instance", "s2", 20.0),), chaos_s=10, point=("hide", 5 + seed, "s1"))


def placed_unseen(seed: int) -> Plan:
    """What the only instance placed it has missed itself, and its job goes meanwhile."""
    ops = (put(6, "web", "s1"), delete(9, "web", "s1"))
    return plan(0, ops, (), instances=("s1",), chaos_s=14, point=("hide", 8 + seed, "s1"))
