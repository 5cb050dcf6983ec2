"""Drawing plans: who is there, what is asked for, and what breaks; by itself, and several things at once."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from tests.sim.flows import flowed
from tests.sim.plan import CHAOS_S, Fault, Op, Plan, a_spec
from tests.sim.toil import toiled

#: What can break, and how likely each is; what each means is told in `tests.sim.nemesis`.
FAULTS: Final[Mapping[str, int]] = {
    "kill_instance": 5,
    "stop_instance": 2,
    "pause_instance": 5,
    "kill_leader": 3,
    "pause_leader": 2,
    "cut_leader": 2,
    "kill_owner": 2,
    "stop_owner": 3,
    "pause_owner": 2,
    "cut_from_store": 5,
    "cut_from_agents": 5,
    "cut_peers": 1,
    "slow_to_agent": 5,
    "slow_to_store": 3,
    "lossy": 3,
    "twice": 3,
    "clock_rate": 2,
    "clock_jump": 2,
    "store_away": 4,
    "commit_late": 6,
    "commit_silent": 4,
    "leases_extended": 3,
    "view_behind": 4,
    "watch_rewound": 2,
    "watch_compacted": 3,
    "watch_gap": 1,
    "stale_list": 2,
    "kill_agent": 5,
    "pause_agent": 4,
    "move_agent": 3,
    "reboot_host": 2,
    "power_cut": 3,
    "replace_host": 2,
    "mistake_for_dead": 2,
    "disk_full": 4,
    "refuses": 2,
    "unwell": 4,
    "task_dies": 3,
    "cordon": 1,
    "drain": 2,
    "pause_rollout": 3,
    "promote_rollout": 3,
    "rebalance": 3,
}
#: Those that befall an agent, or its host, or whoever minds it.
OF_AGENTS: Final = frozenset(
    {"kill_agent", "pause_agent", "move_agent", "reboot_host", "power_cut", "replace_host", "mistake_for_dead"}
    | {"disk_full", "refuses", "unwell", "task_dies", "cordon", "drain", "kill_owner", "stop_owner", "pause_owner"}
)


def drawn(seed: int) -> Plan:
    """Draw a plan."""
    rng = random.Random(seed)
    instances = tuple(f"s{number}" for number in range(1, rng.choice((2, 2, 3)) + 1))
    agents = tuple(f"a{number}" for number in range(1, rng.choice((2, 3, 3)) + 1))
    # Apart from the rest, so that most of the plans are what they were without.
    urgency = random.Random(f"urgency of {seed}")
    is_tight = urgency.random() < 0.3
    plan = Plan(
        seed=seed,
        instances=instances,
        agents=agents,
        ops=_ops(rng, instances, agents, urgency if is_tight else None),
        faults=(),
        unlisted=tuple(agent for agent in agents if rng.random() < 0.3),
        cpu=min(rng.choice((8000, 8000, 8000, 1000)), 1000 if is_tight else 8000),
    )
    faults = [_fault(rng, plan) for _ in range(rng.randint(4, 12))]
    if rng.random() < 0.5:
        faults += rng.choice(CHORDS)(rng, plan)
    plan = replace(plan, faults=tuple(sorted(faults, key=lambda fault: fault.at)))
    return flowed(toiled(_break_for_ever(rng, plan) if rng.random() < 0.3 else plan))


# What is asked for.


def _kinds(rng: random.Random, agents: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Draw jobs, as what `a_spec` takes."""
    kinds: dict[str, dict[str, Any]] = {
        "web": {"scale": rng.randint(1, 3), "port": 0},
        "db": {"exclusive": True, "scale": rng.randint(1, 2)},
        "home": {"agent": agents[0], "exclusive": rng.random() < 0.5},
    }
    if rng.random() < 0.4:
        kinds["box"] = {"waits": True, "scale": rng.randint(1, 2), "cpu": 300}
    if rng.random() < 0.3:
        kinds["lock"] = {"exclusive": True, "cpu": 600}
    if rng.random() < 0.2:
        kinds["api"] = {"needs": "web", "scale": rng.randint(1, 2)}
    if rng.random() < 0.15:
        kinds["front"] = {"uses": "web"}
    if rng.random() < 0.2:
        kinds["wide"] = {"scale": 2, rng.choice(("distinct", "spread")): True, "exclusive": rng.random() < 0.4}
    if rng.random() < 0.15:
        kinds["door"] = {"port": 20_900, "exclusive": rng.random() < 0.5}
    for name, kind in kinds.items():
        if name != "front" and rng.random() < 0.25:
            kind |= {"on_fail": rng.choice(("unready", "restart")), "SIM_READY": "0.05..3"}
        if rng.random() < 0.15:
            kind["SIM_STOP"] = rng.choice(("ignore", "0.5..4"))
        if rng.random() < 0.08:
            kind["SIM_FAILS"] = "0.3"
        if rng.random() < 0.1:
            kind["SIM_START"] = "0.1..2"
        if rng.random() < 0.4:
            kind["update"] = _update(rng, is_exclusive=bool(kind.get("exclusive")))
    return kinds


def _update(rng: random.Random, *, is_exclusive: bool) -> dict[str, Any]:
    """Draw how rollouts go: some so that they fail, or wait for people."""
    update: dict[str, Any] = {"deadline": rng.choice(("3s", "8s", "5m")), "on_failure": rng.choice(("revert", "pause"))}
    if rng.random() < 0.5:
        update["healthy_for"] = rng.choice(("500ms", "2s"))
    if not is_exclusive:
        update["surge"], update["unavailable"] = rng.choice(((1, 0), (2, 0), (0, 1), (1, 1)))
        update["canary"] = rng.choice((0, 0, 1))
    return update


def _press(rng: random.Random, kinds: Mapping[str, dict[str, Any]]) -> None:
    """Let the jobs want more than there is, and some of them more urgently than others."""
    for kind in kinds.values():
        kind["cpu"] = rng.choice((100, 300, 600))
        kind["priority"] = rng.choice((10, 50, 90))
        kind["preempt"] = rng.random() < 0.5


def _ops(
    rng: random.Random, instances: tuple[str, ...], agents: tuple[str, ...], urgency: random.Random | None
) -> tuple[Op, ...]:
    kinds = _kinds(rng, agents)
    if urgency is not None:
        _press(urgency, kinds)
    ops = [
        Op(at=1.0 + 0.1 * number, session="c1", verb="put", job=job, to=rng.choice(instances), spec=a_spec(**kind))
        for number, (job, kind) in enumerate(kinds.items())
    ]
    # Of a job that is scaled by itself less is known: who asked for which form of it.
    is_scaled = rng.random() < 0.25
    for version in range(2, rng.randint(6, 12)):
        job, at, session = rng.choice(list(kinds)), rng.uniform(3, CHAOS_S - 5), rng.choice(("c1", "c2"))
        verb = rng.choices(("migrate", "grow", "delete", "get"), (5, 3, 1, 3))[0]
        kind, to = kinds[job], rng.choice(instances)
        if verb == "grow":
            kind["scale"] = rng.choice((0, 1, 1, 2, 2, 3, 3))
        if verb == "grow" and is_scaled and job == "web":
            ops.append(Op(at=at, session=session, verb="scale", job=job, to=to, scale=kind["scale"]))
        elif verb in ("migrate", "grow"):
            # Sessions ask in their own order, so which form is the last one is not said here.
            spec = a_spec(**kind, version=version if verb == "migrate" else 1)
            ops += _put(rng, Op(at=at, session=session, verb="put", job=job, to=to, spec=spec), instances, version)
        else:
            ops.append(Op(at=at, session=session, verb=verb, job=job, to=to))
        if verb == "delete" and rng.random() < 0.7:
            ops.append(Op(at=at + rng.uniform(0, 6), session=session, verb="put", job=job, to=to, spec=a_spec(**kind)))
    return tuple(sorted(ops, key=lambda op: op.at))


def _put(rng: random.Random, op: Op, instances: tuple[str, ...], number: int) -> list[Op]:
    """Ask on a condition, or with a key, and perhaps the same once more, of whomever."""
    how = rng.random()
    if how < 0.3:
        return [replace(op, is_conditional=True)]
    if how < 0.55:
        op = replace(op, key=f"key-{number}")
        again = replace(op, at=op.at + rng.uniform(0, 6), session=rng.choice(("c1", "c2")), to=rng.choice(instances))
        return [op, again] if rng.random() < 0.6 else [op]
    return [op]


# What breaks.


def _fault(rng: random.Random, plan: Plan, at: float | None = None) -> Fault:
    what = rng.choices(list(FAULTS), list(FAULTS.values()))[0]
    at = round(rng.uniform(2, plan.chaos_s - 2) if at is None else at, 3)
    return _of_kind(rng, plan, what, at)


def _of_kind(rng: random.Random, plan: Plan, what: str, at: float) -> Fault:
    instance, agent = rng.choice(plan.instances), rng.choice(plan.agents)
    span = round(rng.choice((0.5, 2, 4, 7, 11, 16)) * rng.uniform(0.8, 1.2), 3)
    target, other = (agent, "") if what in OF_AGENTS else (instance, "")
    amount = 0.0
    match what:
        case "cut_from_store" | "cut_leader":
            # To it, from it, both.
            amount = rng.choice((1, 2, 3))
        case "cut_from_agents":
            other, amount = rng.choice((agent, "")), rng.choice((1, 2, 3))
        case "cut_peers":
            other = rng.choice(plan.instances)
        case "slow_to_agent" | "lossy" | "twice":
            other, amount = agent, rng.choice((0.3, 0.6, 1.0))
        case "slow_to_store" | "refuses":
            amount = rng.choice((0.3, 1.0))
        case "clock_rate":
            amount = rng.choice((0.98, 1.02))
        case "clock_jump":
            # By a day, receipts of what clients asked for are over: that is what is said of them.
            amount = rng.choice((-80_000, -30, -1, 1, 30, 80_000))
        case "commit_late" | "commit_silent" | "view_behind" | "watch_gap" | "stale_list":
            amount = rng.choice((1, 2, 5))
        case "store_away" | "leases_extended" | "watch_compacted":
            target = "store"
        case "pause_rollout" | "promote_rollout":
            target = rng.choice(plan.ops).job
        case "move_agent":
            target = rng.choice(plan.unlisted or plan.agents)
        case "mistake_for_dead":
            span += 18
    return Fault(at=at, what=what, target=target, span=span, other=other, amount=amount)


# Several things at once: each returns what breaks within two seconds of something that was asked for, or broke.

Chord = Callable[[random.Random, Plan], list[Fault]]


def _moment(rng: random.Random, plan: Plan, *, jobs: tuple[str, ...] = ()) -> float:
    """Return when something is asked for that is to change something."""
    ops = [op for op in plan.ops if op.verb != "get" and (not jobs or op.job in jobs)]
    late = [op for op in ops if op.at > 2.5]
    return (rng.choice(late) if late else rng.choice(ops)).at


def _any_few(rng: random.Random, plan: Plan) -> list[Fault]:
    at = _moment(rng, plan)
    return [_fault(rng, plan, at + rng.uniform(-0.5, 1.5)) for _ in range(rng.randint(3, 5))]


def _rollout_loses_its_leader(rng: random.Random, plan: Plan) -> list[Fault]:
    at = _moment(rng, plan)
    ends = rng.choice(("kill_leader", "pause_leader", "cut_leader"))
    others = rng.sample(("commit_late", "view_behind", "kill_agent", "slow_to_store", "watch_compacted"), 2)
    deeds = [(ends, at + rng.uniform(0, 1)), *((other, at + rng.uniform(-0.3, 1.5)) for other in others)]
    return [_of_kind(rng, plan, what, round(max(0.5, when), 3)) for what, when in deeds]


def _hand_over_past_a_paused_agent(rng: random.Random, plan: Plan) -> list[Fault]:
    at, agent = _moment(rng, plan), rng.choice(plan.agents)
    pause = replace(_of_kind(rng, plan, "pause_agent", at), target=agent)
    away = rng.choice(("stop_owner", "kill_owner", "pause_owner"))
    leaves = replace(_of_kind(rng, plan, away, at + rng.uniform(0.05, 1.0)), target=agent)
    slow = Fault(at=at, what="slow_to_agent", target=rng.choice(plan.instances), other=agent, span=5, amount=0.6)
    return [pause, leaves, slow]


def _denial_without_a_disk(rng: random.Random, plan: Plan) -> list[Fault]:
    """An exclusive slot is to move, and its agents can write nothing down just then; one of them may die of it."""
    at = _moment(rng, plan, jobs=("db", "lock", "home"))
    full = [
        Fault(at=round(at + rng.uniform(0, 0.1), 3), what="disk_full", target=agent, span=round(rng.uniform(0.2, 6), 3))
        for agent in plan.agents
    ]
    then = rng.choice(("kill_agent", "power_cut", "stop_owner", "kill_owner"))
    return [*full, _of_kind(rng, plan, then, round(at + rng.uniform(0.1, 1.5), 3))]


def _power_fails_in_a_start(rng: random.Random, plan: Plan) -> list[Fault]:
    at, agent = _moment(rng, plan), rng.choice(plan.agents)
    cut = replace(_of_kind(rng, plan, "power_cut", round(at + rng.uniform(0.01, 0.6), 3)), target=agent)
    more = rng.choice(("kill_leader", "kill_owner", "leases_extended", "store_away"))
    return [cut, _of_kind(rng, plan, more, round(at + rng.uniform(0, 1.5), 3))]


def _drain_of_what_is_unwell(rng: random.Random, plan: Plan) -> list[Fault]:
    at, agent = _moment(rng, plan), rng.choice(plan.agents)
    drain = replace(_of_kind(rng, plan, "drain", at), target=agent, span=12.0)
    ill = [_of_kind(rng, plan, "unwell", at + rng.uniform(0, 1)), _of_kind(rng, plan, "stop_owner", at + 0.5)]
    return [drain, *ill]


CHORDS: Final[tuple[Chord, ...]] = (
    _any_few,
    _any_few,
    _rollout_loses_its_leader,
    _hand_over_past_a_paused_agent,
    _denial_without_a_disk,
    _power_fails_in_a_start,
    _drain_of_what_is_unwell,
)


def _break_for_ever(rng: random.Random, plan: Plan) -> Plan:
    """Let one instance and one agent be healed, and the rest stay broken."""
    instance, agent = rng.choice(plan.instances), plan.agents[0]
    broken = [
        Fault(at=0, what=what, target=one, amount=3, other="")
        for one in plan.instances
        if one != instance
        for what in rng.sample(("pause_instance", "cut_from_store", "cut_from_agents", "kill_instance"), 1)
    ]
    broken += [
        Fault(at=0, what=rng.choice(("kill_agent", "pause_agent", "disk_full")), target=one) for one in plan.agents[1:]
    ]
    return replace(plan, core=("store", instance, agent), broken=tuple(broken))
