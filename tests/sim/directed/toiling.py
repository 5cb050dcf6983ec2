"""Batch jobs, and system jobs."""

from dataclasses import replace

from tests.sim.directed.making import fault, plan, put
from tests.sim.plan import Plan


def ended(seed: int) -> Plan:
    """Tasks finish, one after the other."""
    batch = {"completions": 3, "attempts": 2}
    return plan(seed, (put(6, "sum", "s1", batch=batch, SIM_EXIT_AFTER="1..9"),), ())


def failing(seed: int) -> Plan:
    """All tasks fail, and a slot may be tried some times."""
    batch = {"completions": 3, "parallel": 1, "attempts": 2}
    return plan(seed, (put(6, "sum", "s1", batch=batch, SIM_EXIT_AFTER="1..2", SIM_EXIT_CODE="1"),), ())


def noted_late(seed: int) -> Plan:
    """What the former leader noted comes to pass after another has noted more."""
    faults = (fault(7, "commit_late", "s2", 12, 1), fault(11, "kill_instance", "s2", 20))
    batch = {"completions": 3, "attempts": 2}
    return plan(seed, (put(6, "sum", "s1", batch=batch, SIM_EXIT_AFTER="1..9"),), faults, chaos_s=36)


def note_missed(seed: int) -> Plan:
    """Who schedules next has not heard what the former one noted last."""
    ops = (put(6, "sum", "s1", batch={"completions": 2}, SIM_EXIT_AFTER="1..9"),)
    return plan(1, ops, (fault(11, "stop_instance", "s2", 20),), chaos_s=30, point=("hide", 12 + seed, "s1"))


def more(seed: int) -> Plan:
    """A job that has come to something is to do more."""
    first, second = (
        put(at, "sum", "s1", batch={"completions": count}, SIM_EXIT_AFTER="1..9") for at, count in ((6, 3), (10, 4))
    )
    return plan(seed, (first, second), ())


def another_run(seed: int) -> Plan:
    """A job starts over while tasks run that take their time to stop."""
    kind = {"batch": {"completions": 4, "parallel": 2}, "SIM_STOP": "ignore"}
    return plan(seed, (put(6, "sum", "s1", **kind), put(12, "sum", "s1", version=2, **kind)), ())


def late(seed: int) -> Plan:
    """A job's deadline passes while nobody schedules."""
    ops = (put(6, "sum", "s1", batch={"completions": 2, "deadline": "6s"}),)
    return plan(seed, ops, (fault(9, "kill_instance", "s2", 20),), chaos_s=32)


def over(seed: int) -> Plan:
    """A job that has ended is kept for a short while."""
    return plan(seed, (put(6, "sum", "s1", batch={"completions": 2, "keep": "2s"}, SIM_EXIT_AFTER="1..2"),), ())


def joined(seed: int) -> Plan:
    """An agent registers that comes first by its name, when a system job has a task on another."""
    faults = (fault(0.0, "kill_agent", "a1", 14),)
    return replace(plan(seed, (put(6, "shipper", "s1", system=True),), faults, chaos_s=30), unlisted=("a1",))
