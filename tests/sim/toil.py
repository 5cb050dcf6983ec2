"""What else is asked for in some of the drawn plans: batch jobs, system jobs and cron jobs, beside their services.

It is drawn apart from all the rest, so that most plans are what they were without, and the others are in all but that.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tests.sim.plan import CHAOS_S, Fault, Op, Plan, a_spec

#: How many plans have each.
_ERRANDS: Final = 0.3
_ROUNDS: Final = 0.2
_DUES: Final = 0.06
#: When what is due twice a year is due, and when nothing is asked for or broken any more.
_DUE_S: Final = (60.0, 120.0)
_CRON_S: Final = 128.0
#: Nothing is left out where this one asks late.
_SESSION: Final = "c3"


def toiled(plan: Plan) -> Plan:
    """Return a plan, with more to do in some."""
    rng = random.Random(f"toil of {plan.seed}")
    chaos_s, ops, faults = plan.chaos_s, list(plan.ops), list(plan.faults)
    if rng.random() < _ERRANDS:
        for number in range(rng.choice((1, 1, 2))):
            ops += _errand(rng, plan, f"sum{number}")
    if rng.random() < _ROUNDS:
        ops += _round(rng, plan)
        faults += _comings_and_goings(rng, plan)
    if rng.random() < _DUES:
        chaos_s = _CRON_S
        ops += _recurring(rng, plan)
        faults += _at_dues(rng, plan)
    return replace(
        plan,
        chaos_s=chaos_s,
        ops=tuple(sorted(ops, key=lambda op: op.at)),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )


def _ends(rng: random.Random) -> dict[str, str]:
    """Draw how tasks end by themselves, some of them by failing."""
    told = {
        "SIM_EXIT_AFTER": rng.choice(("0.2..2", "1..4")),
        "SIM_EXIT_CODE": rng.choice(("0", "0", "0|0|3", "0|2", "1")),
    }
    if rng.random() < 0.2:
        told["SIM_START"] = "0.1..2"
    if rng.random() < 0.2:
        told["SIM_STOP"] = rng.choice(("ignore", "0.5..4"))
    return told


def _work(rng: random.Random) -> dict[str, Any]:
    """Draw a batch job, as what `a_spec` takes."""
    completions = rng.randint(1, 6)
    batch: dict[str, Any] = {"completions": completions, "attempts": rng.randint(1, 3)}
    if rng.random() < 0.7:
        batch["parallel"] = rng.randint(1, completions)
    if rng.random() < 0.3:
        batch["deadline"] = rng.choice(("6s", "15s", "40s"))
    if rng.random() < 0.15:
        batch["keep"] = rng.choice(("0s", "12s"))
    kind: dict[str, Any] = {"batch": batch, "cpu": rng.choice((100, 300)), **_ends(rng)}
    if "deadline" in batch and rng.random() < 0.3:
        # It never ends by itself.
        del kind["SIM_EXIT_AFTER"]
    if rng.random() < 0.4:
        kind["exclusive"] = True
    elif rng.random() < 0.2:
        kind["waits"] = True
    if rng.random() < 0.2:
        kind["retries"] = 2
    if rng.random() < 0.1:
        kind["needs"] = "web"
    return kind


def _errand(rng: random.Random, plan: Plan, job: str) -> Iterator[Op]:
    """Draw a batch job, and what is changed of it."""
    kind, at = _work(rng), rng.uniform(1, 25)
    batch = kind["batch"]
    yield _put(rng, plan, at, job, kind)
    for version in range(2, rng.choice((2, 2, 3, 4))):
        at += rng.uniform(0.5, 8)
        what = rng.choice(("another run", "more", "wider", "anew", "get"))
        if what == "more":
            batch = batch | {"completions": batch["completions"] + 1}
        elif what == "wider":
            batch = {name: value for name, value in batch.items() if name != "parallel"}
        kind |= {"batch": batch} | ({"version": version} if what == "another run" else {})
        if what in ("anew", "get"):
            verb = "delete" if what == "anew" else "get"
            yield Op(at=round(at, 3), session=_SESSION, verb=verb, job=job, to=rng.choice(plan.instances))
        if what != "get":
            at += rng.uniform(0, 4) if what == "anew" else 0
            yield _put(rng, plan, at, job, kind)


def _put(rng: random.Random, plan: Plan, at: float, job: str, kind: dict[str, Any]) -> Op:
    return Op(
        at=round(at, 3), session=_SESSION, verb="put", job=job, to=rng.choice(plan.instances), spec=a_spec(**kind)
    )


def _round(rng: random.Random, plan: Plan) -> Iterator[Op]:
    """Draw a system job, and what is changed of it."""
    kind: dict[str, Any] = {"system": True}
    if rng.random() < 0.3:
        kind["among"] = plan.agents[: rng.randint(1, len(plan.agents))]
    if rng.random() < 0.5:
        surge, unavailable = rng.choice(((1, 0), (2, 0), (0, 1), (1, 1), (0, 2)))
        kind["update"] = {"surge": surge, "unavailable": unavailable, "deadline": rng.choice(("3s", "5m"))}
        kind["update"]["canary"] = rng.choice((0, 0, 1))
    if rng.random() < 0.2:
        kind["SIM_STOP"] = "0.5..4"
    if rng.random() < 0.2:
        kind["SIM_START"] = "0.1..2"
    at = rng.uniform(1, 12)
    yield _put(rng, plan, at, "shipper", kind)
    for version in range(2, rng.choice((2, 3, 3, 4))):
        at += rng.uniform(1, 12)
        if rng.random() < 0.8:
            yield _put(rng, plan, at, "shipper", kind | {"version": version})
        else:
            yield Op(at=at, session=_SESSION, verb="delete", job="shipper", to=rng.choice(plan.instances))
            at += rng.uniform(0, 4)
            yield _put(rng, plan, at, "shipper", kind)


def _comings_and_goings(rng: random.Random, plan: Plan) -> Iterator[Fault]:
    """Draw agents that come late, or leave: what a system job follows."""
    if plan.unlisted and rng.random() < 0.5:
        # It has not registered by then.
        late = rng.choice(plan.unlisted)
        yield Fault(at=0.0, what="kill_agent", target=late, span=round(rng.uniform(6, 25), 3))
    if rng.random() < 0.5:
        what = rng.choice(("cordon", "drain", "replace_host", "mistake_for_dead", "kill_agent"))
        span = rng.uniform(18, 24) if what in ("mistake_for_dead", "kill_agent") else rng.uniform(2, 10)
        agent, at = rng.choice(plan.agents), rng.uniform(4, CHAOS_S - 20)
        yield Fault(at=round(at, 3), what=what, target=agent, span=round(span, 3))


def _recurring(rng: random.Random, plan: Plan) -> Iterator[Op]:
    """Draw a cron job that is due twice, and perhaps goes."""
    cron = {"at": "1,2 0 1 1 *", "overlap": rng.choice(("allow", "forbid", "replace"))}
    if rng.random() < 0.3:
        cron["catch_up"] = rng.choice(("10s", "20s"))
    kind: dict[str, Any] = {"batch": {"cron": cron, "completions": rng.randint(1, 2)}, **_ends(rng)}
    if rng.random() < 0.3:
        # The first is not over when the next is due, nor ever.
        del kind["SIM_EXIT_AFTER"]
    yield _put(rng, plan, rng.uniform(1, 50), "nightly", kind)
    if rng.random() < 0.2:
        yield Op(at=rng.uniform(61, 126), session=_SESSION, verb="delete", job="nightly", to=rng.choice(plan.instances))


def _at_dues(rng: random.Random, plan: Plan) -> Iterator[Fault]:
    """Draw what breaks when something is due."""
    for due in _DUE_S:
        for _ in range(rng.randint(0, 2)):
            what = rng.choice(
                (
                    "kill_leader",
                    "pause_leader",
                    "cut_leader",
                    "commit_late",
                    "commit_silent",
                    "store_away",
                    "view_behind",
                )
            )
            target = "store" if what == "store_away" else rng.choice(plan.instances)
            span = round(rng.choice((0.5, 4, 9)) * rng.uniform(0.8, 1.2), 3)
            at = round(due + rng.uniform(-1.5, 1.0), 3)
            yield Fault(at=at, what=what, target=target, span=min(span, _CRON_S - 1 - at), amount=rng.choice((1, 2, 3)))
