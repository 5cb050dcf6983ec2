"""Named courses of events in which nothing breaks by itself: what every point of them is broken at (`tests.sim.points`).

To add one, say who is there and what is asked for, in a line each::

    "a job moves": a_plan(put(1, "web"), put(4, "web", version=2)),
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tests.sim.flows import RELEASE, WORKFLOWS, flow, work
from tests.sim.plan import Fault, Hand, Op, Plan, a_spec


def put(at: float, job: str, to: str = "s1", **spec: Any) -> Op:
    """Ask for a job, as `tests.sim.plan.a_spec` says it."""
    return Op(at=at, session="c1", verb="put", job=job, to=to, spec=a_spec(**spec))


def delete(at: float, job: str, to: str = "s1") -> Op:
    """Ask for a job no more."""
    return Op(at=at, session="c1", verb="delete", job=job, to=to)


def fault(at: float, what: str, target: str, span: float = 0.0, **more: Any) -> Fault:
    """Break something, as part of the course of events."""
    return Fault(at=at, what=what, target=target, span=span, **more)


def asked(at: float, verb: str, what: str, to: str = "s1", **spec: Any) -> Op:
    """Ask for something about a run or a workflow."""
    return Op(at=at, session="u1", verb=verb, job=what, to=to, spec=spec)


def keyed(at: float, verb: str, what: str, to: str = "s1", **spec: Any) -> Op:
    """Ask for something about a run, by a key."""
    return replace(asked(at, verb, what, to, **spec), key=f"{verb}-{what}")


def a_plan(*events: Op | Fault, instances: int = 2, agents: int = 2, chaos_s: float = 8.0, hands: int = 0) -> Plan:
    """Make a plan of what is asked for and what happens."""
    return Plan(
        seed=1,
        instances=tuple(f"s{number + 1}" for number in range(instances)),
        agents=tuple(f"a{number + 1}" for number in range(agents)),
        ops=tuple(event for event in events if isinstance(event, Op)),
        faults=tuple(event for event in events if isinstance(event, Fault)),
        chaos_s=chaos_s,
        hands=tuple(Hand(name=f"h{number + 1}") for number in range(hands)),
    )


#: Twice within a minute of the first; then not before another year.
TWICE_A_YEAR: Final = "1,2 0 1 1 *"


def cron(
    at: float, job: str, to: str = "s1", *, expression: str = TWICE_A_YEAR, overlap: str = "allow", **spec: Any
) -> Op:
    """Ask for a job of which children are made."""
    told = a_spec(**spec)
    del told["scale"]
    told |= {"type": "batch", "cron": {"at": expression, "overlap": overlap}}
    told["task"]["restart"] |= {"policy": "on_failure"}
    return Op(at=at, session="c1", verb="put", job=job, to=to, spec=told)


#: Fails a second after it has begun, unless somebody knocks; and another form of it.
KNOCKED: Final = flow(a=work(), w={"wait": {"signal": "knock"}, "timeout": "1s"}, b=work(needs=["w"]))
KNOCKED_NOW: Final = {**KNOCKED, "operations": {**KNOCKED["operations"], "c": work("tell", needs=["a", "b"])}}

SCENARIOS: Final[Mapping[str, Plan]] = {
    "a job is scheduled, migrated and unscheduled": a_plan(
        put(1, "web", scale=2), put(3, "web", scale=2, version=2), delete(6, "web")
    ),
    "an exclusive slot moves": a_plan(
        put(1, "db", exclusive=True), put(3, "db", exclusive=True, version=2), fault(5, "drain", "a1", 4.0), chaos_s=10
    ),
    "an instance leaves, and another joins": a_plan(
        put(1, "web", scale=2), put(1.2, "db", exclusive=True), fault(3, "stop_instance", "s1", 1.0), chaos_s=10
    ),
    "a cron job is due, and due again": a_plan(
        cron(57, "nightly"), fault(90, "stop_instance", "s1", 1.0), delete(125, "nightly", "s2"), chaos_s=128
    ),
    "a batch job is tried again, and comes to its end": a_plan(
        put(
            1,
            "sum",
            batch={"completions": 3, "parallel": 2, "attempts": 9},
            SIM_EXIT_AFTER="0.3..1.2",
            SIM_EXIT_CODE="0|0|3",
        ),
        put(1.5, "sums", batch={"completions": 2, "parallel": 1}, exclusive=True, SIM_EXIT_AFTER="0.3..1.2"),
    ),
    "a system job follows its agents": a_plan(
        put(1, "shipper", system=True), put(3, "shipper", system=True, version=2), fault(5, "drain", "a1", 2.0)
    ),
    "runs are worked on, and come to their end": a_plan(
        asked(0.8, "declare", "ship", **WORKFLOWS["ship"]),
        asked(1, "declare", "refund", **WORKFLOWS["refund"]),
        asked(2, "start", "r0", "s2", workflow="ship"),
        asked(2.5, "start", "r1", workflow="refund"),
        asked(3, "pause", "r1", "s2"),
        asked(3.5, "signal", "r1", signal="decision", id="d1", label="approved"),
        asked(5, "resume", "r1"),
        fault(6, "stop_instance", "s1", 1.0),
        agents=1,
        hands=1,
    ),
    "a run has a task run, and a job changed": a_plan(
        put(0.6, "web", scale=2),
        asked(0.8, "declare", "release", **RELEASE),
        asked(1.5, "start", "r0", "s2", workflow="release"),
        asked(2, "start", "r1", workflow="release"),
        asked(3, "cancel", "r1", "s2"),
        fault(3.5, "stop_instance", "s1", 1.0),
        agents=1,
        hands=1,
    ),
    "a run is repaired, moved and forked, and items are done anew": a_plan(
        asked(0.8, "declare", "knocked", **KNOCKED),
        asked(1.5, "start", "r0", "s2", workflow="knocked"),
        asked(2, "batch", "r1", spec={"items": [1, 2], "each": KNOCKED["operations"]["w"], "deadline": "20s"}, tags={}),
        keyed(3, "retry", "r0", **{"from": "w", "reason": "failed"}),
        asked(3.2, "declare", "knocked", **KNOCKED_NOW),
        keyed(3.4, "move", "r0", "s2", reason="changed"),
        keyed(3.6, "skip", "r0", op="w", reason="nobody comes"),
        keyed(3.8, "retry", "r1", **{"from": "each", "items": [], "reason": "again"}),
        fault(5, "stop_instance", "s1", 1.0),
        keyed(6, "fork", "r0", **{"from": "b", "id": "r2", "tags": {"fork": "r0"}, "reason": "anew"}),
        agents=1,
        hands=1,
    ),
    "an agent is lost, and comes back": a_plan(
        put(1, "web", scale=2), put(1.2, "db", exclusive=True), fault(2, "kill_agent", "a1", 16.0), chaos_s=20
    ),
}
