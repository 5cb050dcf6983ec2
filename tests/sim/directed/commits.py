"""Commits that come late or are not answered, and views that are behind them."""

from tests.sim.directed.making import delete, fault, plan, put
from tests.sim.plan import Plan


def placed_late_by_the_former(seed: int) -> Plan:
    """What the former leader wrote comes to pass after another leads."""
    faults = tuple(fault(5.999, "commit_late", name, 10, 1) for name in ("s2",))
    return plan(seed, (put(6, "db", "s1", exclusive=True),), (*faults, fault(6.3, "kill_instance", "s2", 16)))


def placed_late(seed: int) -> Plan:
    """What the leader wrote comes to pass after it has given up waiting for that, and revisions have gone on."""
    faults = (fault(5.999, "commit_late", "s2", 6, 1),)
    return plan(seed, (put(6, "db", "s1", exclusive=True), put(7, "web", "s1")), faults)


def placed_in_silence(seed: int) -> Plan:
    """What the leader wrote came to pass, and it learns of that by its view, which is behind."""
    faults = (fault(5.5, "view_behind", "s2", 22, 8), fault(10, "commit_silent", "s2", 0, 1))
    return plan(seed, (put(6, "db", "s1", exclusive=True), put(8.5, "web", "s1")), faults, chaos_s=30)


def view_behind(seed: int) -> Plan:
    """The leader's view is behind what it wrote, when room for a slot comes to be twice."""
    ops = (
        *(put(6, name, "s1", agent=agent, cpu=600) for name, agent in (("one", "a1"), ("two", "a2"))),
        put(8, "db", "s1", exclusive=True, cpu=600),
        delete(10, "one", "s1", "c2"),
        delete(10.9, "two", "s1", "c2"),
    )
    return plan(seed, ops, (fault(9, "view_behind", "s2", 9, 1.5),), cpu=1000)


def leads_again(seed: int) -> Plan:
    """A leader is unfit for a while, cannot give its hold back, and leads again; what it wrote before comes then."""
    leader = ["s1", "s2", "s3"][seed % 3]
    other = ["s1", "s2", "s3"][(seed + 1) % 3]
    faults = (
        fault(5.999, "commit_late", leader, 12 + seed % 5, 1),
        fault(6.2, "clock_jump", leader, 4 + seed % 7 / 10, 30),
        fault(6.21, "commit_silent", leader, 0, 1),
        fault(6.22, "commit_late", leader, 26, 1),
    )
    names = ("s1", "s2", "s3")
    return plan(seed, (put(6, "db", other, exclusive=True),), faults, instances=names, chaos_s=36)


def told_late(seed: int) -> Plan:
    """What a minder wrote of a task comes to pass after the task is gone."""
    return plan(seed, (put(6, "web"), delete(11, "web")), (fault(5.999, "commit_late", "s1", 8, 1),), chaos_s=18)


def told_late_and_changed(seed: int) -> Plan:
    """What a minder wrote fails, and by then it has written something newer."""
    return plan(seed, (put(6, "web"), delete(7, "web")), (fault(5.999, "commit_late", "s1", 8, 1),), chaos_s=18)


def told_late_by_the_former(seed: int) -> Plan:
    """What a minder wrote of a task comes to pass after another minds the agent, and the task is gone."""
    faults = (fault(5.999, "commit_late", "s1", 13, 2), fault(6.4, "kill_instance", "s1", 40))
    broken = (fault(0, "kill_instance", "s1"),)
    ops = (put(6, "web"), delete(15, "web"))
    return plan(seed, ops, faults, chaos_s=24, core=("store", "s2", "a1", "a2"), broken=broken)


def told_of_another(seed: int) -> Plan:
    """What a minder wrote of a task never comes to pass, and then it writes of another."""
    ops = (put(6, "home", agent="a1"), put(10, "box", agent="a1"))
    return plan(seed, ops, (fault(5.999, "commit_late", "s1", 10, 1),), chaos_s=22)


def declared_dead_meanwhile(seed: int) -> Plan:
    """A placement is revoked just when an operator says that its agent is dead."""
    ops = (put(6, "home", exclusive=True, agent="a1"), put(21.0, "home", "s1", exclusive=True, agent="a1", version=2))
    late = fault(20.999, "commit_late", "s2", 0, 1)
    return plan(seed, ops, (fault(8, "replace_host", "a1"), late), chaos_s=30)


def crowded(seed: int) -> Plan:
    """Jobs that are decided together want more room than one agent has."""
    jobs = ("one", "two", "three", "four")
    ops = (put(6, "web", "s1"), *(put(7, job, "s1", f"c-{job}", cpu=600) for job in jobs))
    return plan(seed, ops, (fault(5.999, "commit_late", "s2", 0, 1),), chaos_s=14, cpu=1000)


def crowded_soon(seed: int) -> Plan:
    """A job waits for the room of one that is unscheduled."""
    first, second = (put(at, job, agent="a1", cpu=600) for at, job in ((6, "one"), (8, "two")))
    return plan(seed, (first, second, delete(10, "one", session="c2")), (), chaos_s=14, cpu=1000)


def unscheduled(seed: int) -> Plan:
    """A job is unscheduled."""
    return plan(seed, (put(6, "web", scale=2), delete(9, "web")), (), chaos_s=12)


def fits_nowhere(seed: int) -> Plan:
    """A job is changed into one that fits nowhere, and back."""
    ops = (put(6, "web", cpu=600), put(8, "web", version=2, cpu=1100), put(12, "web", cpu=600))
    return plan(seed, ops, (), chaos_s=16, cpu=1000)
