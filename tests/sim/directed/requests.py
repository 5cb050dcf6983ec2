"""What users ask for, and are told."""

from tests.sim.directed.making import delete, fault, get, plan, put
from tests.sim.plan import Plan


def reads_elsewhere(seed: int) -> Plan:
    """A session reads at an instance that is behind what it wrote at another."""
    ops = (put(6, "web", "s1"), get(6.2, "web", "s2"), put(6.4, "web", "s1", scale=2), get(6.6, "web", "s2"))
    return plan(seed, ops, (fault(5.5, "view_behind", "s2", 6, 1),), chaos_s=12)


def two_conditional(seed: int) -> Plan:
    """Two sessions change what both have seen, at different instances."""
    ops = (
        put(6, "web"),
        put(8, "web", "s1", "c2", only=True, version=2),
        put(8, "web", "s2", "c3", only=True, version=3, scale=2),
        put(9, "web", "s1", "c2", only=True, version=4),
        put(9, "web", "s2", "c3", only=True, version=5, scale=2),
    )
    return plan(seed, ops, (fault(7.9, "slow_to_store", "s1", 0.05, 1.0),), chaos_s=20)


def never_answered(seed: int) -> Plan:
    """What a user asked for comes to pass long after it was given up."""
    faults = (fault(7.99, "commit_late", "s1", 24, 4),)
    return plan(seed, (put(6, "web", "s1"), put(8, "web", "s1", version=2)), faults, chaos_s=40)


def done_and_not_known(seed: int) -> Plan:
    """What a user asked for came to pass, and nobody can find out."""
    faults = (
        fault(7.99, "commit_silent", "s1", 0, 1),
        fault(8.5, "cut_from_store", "s1", 60, 3),
        fault(8.6, "kill_instance", "s2", 55),
    )
    return plan(seed, (put(6, "web", "s1"), put(8, "web", "s1", version=2)), faults, chaos_s=50)


def overtaken(seed: int) -> Plan:
    """What a user asked for was lost, and another changes the job before that is known."""
    ops = (put(6, "web", "s1"), put(8, "web", "s1", version=2), put(9, "web", "s2", "c2", version=3))
    return plan(seed, ops, (fault(7.99, "commit_late", "s1", 20, 1),))


def there_and_back(seed: int) -> Plan:
    """A session changes a job and changes it back, at an instance that has not seen that it was changed."""
    ops = (put(6, "web", "s1"), put(8, "web", "s1", version=2), put(8.5, "web", "s2"), delete(9.0, "web", "s2"))
    return plan(seed, ops, (fault(7.5, "view_behind", "s2", 8, 2),))


def made_and_gone(seed: int) -> Plan:
    """A session makes a job, and unschedules it at an instance that has not seen it."""
    ops = (put(8, "web", "s1"), delete(8.5, "web", "s2"), get(8.7, "web", "s1"))
    return plan(seed, ops, (fault(7.5, "view_behind", "s2", 8, 2),))
