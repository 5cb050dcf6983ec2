"""What is to happen in a run: who is there, what clients ask for, what breaks; all of it drawn from one integer.

A plan is plain data, so that it can be shown, made smaller, and kept as a case of its own.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

#: Clients ask and things break for so long.
CHAOS_S: Final = 45.0

#: What can break, and how likely each is; what each means is told in `tests.sim.nemesis`.
FAULTS: Final[Mapping[str, int]] = {
    "kill_instance": 6,
    "stop_instance": 2,
    "pause_instance": 6,
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
    "kill_agent": 6,
    "pause_agent": 3,
    "reboot_host": 2,
    "replace_host": 2,
    "disk_full": 4,
    "task_dies": 3,
    "cordon": 1,
    "drain": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that breaks."""

    at: float
    what: str
    target: str
    #: For so long; 0: it is over at once.
    span: float = 0.0
    #: The other end, for what lies between two.
    other: str = ""
    amount: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """Something that a client asks for; those of one session follow each other."""

    at: float
    session: str
    verb: str
    job: str
    #: The instance that is asked first.
    to: str
    #: Of ``put``.
    spec: Mapping[str, Any] = field(default_factory=dict)
    #: Only if the job is as the session read it just before.
    is_conditional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole run."""

    seed: int
    instances: tuple[str, ...]
    agents: tuple[str, ...]
    ops: tuple[Op, ...]
    faults: tuple[Fault, ...]
    chaos_s: float = CHAOS_S
    #: Nodes that are healed at the end; empty: all. The others are broken, in some odd way, for ever.
    core: tuple[str, ...] = ()
    broken: tuple[Fault, ...] = ()
    lost_after_s: float = 12.0
    #: What each agent has to give, in thousandths of a processor.
    cpu: int = 8000
    #: Crash after, or hide, the effect of this number; see `tests.sim.points`.
    point: tuple[str, int] | None = None

    @property
    def has_gaps(self) -> bool:
        """Whether some view may miss something, until it is compared with the store."""
        return any(fault.what == "watch_gap" for fault in self.faults) or bool(self.point and self.point[0] == "hide")

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        told = json.loads(text)
        lists = {name: tuple(Fault(**one) for one in told.pop(name)) for name in ("faults", "broken")}
        ops = tuple(Op(**one) for one in told.pop("ops"))
        point = told.pop("point")
        told = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
        return cls(**told, **lists, ops=ops, point=None if point is None else (point[0], point[1]))


def draw(seed: int) -> Plan:
    """Draw a plan."""
    rng = random.Random(seed)
    instances = tuple(f"s{number}" for number in range(1, rng.choice((2, 2, 3)) + 1))
    agents = tuple(f"a{number}" for number in range(1, rng.choice((2, 3, 3)) + 1))
    plan = Plan(seed=seed, instances=instances, agents=agents, ops=_ops(rng, instances, agents), faults=())
    faults = tuple(sorted((_fault(rng, plan) for _ in range(rng.randint(6, 16))), key=lambda fault: fault.at))
    plan = replace(plan, faults=faults)
    return _break_for_ever(rng, plan) if rng.random() < 0.3 else plan


def a_spec(
    *, scale: int = 1, version: int = 1, exclusive: bool = False, agent: str = "", waits: bool = False, cpu: int = 100
) -> dict[str, Any]:
    """Return what is declared of a job whose tasks run until they are stopped."""
    task = {
        "command": ["/bin/sleep", "100000"],
        "env": {"VERSION": str(version)},
        "resources": {"cpu": f"{cpu}m"},
        "stop": {"drain": "0s", "grace": "2s"},
        "restart": {"policy": "always", "attempts": 5, "within": "10m", "backoff": {"initial": "500ms", "max": "4s"}},
    }
    spec: dict[str, Any] = {"scale": scale, "task": task}
    if exclusive:
        spec["exclusive"] = True
    if waits:
        spec["on_lost"] = "wait"
    if agent:
        spec["placement"] = {"require": [{"tag": "name", "equals": agent}]}
    return spec


def _ops(rng: random.Random, instances: tuple[str, ...], agents: tuple[str, ...]) -> tuple[Op, ...]:
    kinds: dict[str, dict[str, Any]] = {
        "web": {"scale": rng.randint(1, 3)},
        "db": {"exclusive": True, "scale": rng.randint(1, 2)},
        "home": {"agent": agents[0], "exclusive": rng.random() < 0.5},
    }
    if rng.random() < 0.5:
        kinds["box"] = {"waits": True, "scale": rng.randint(1, 2), "cpu": 300}
    if rng.random() < 0.3:
        kinds["lock"] = {"exclusive": True, "cpu": 600}
    ops = [
        Op(at=1.0 + 0.1 * number, session="c1", verb="put", job=job, to=rng.choice(instances), spec=a_spec(**kind))
        for number, (job, kind) in enumerate(kinds.items())
    ]
    version = 1
    for _ in range(rng.randint(4, 10)):
        job, at, session = rng.choice(list(kinds)), rng.uniform(3, CHAOS_S - 5), rng.choice(("c1", "c2"))
        verb = rng.choices(("migrate", "scale", "delete", "get"), (5, 3, 1, 3))[0]
        version += 1
        kind = kinds[job]
        if verb == "scale":
            kind["scale"] = rng.randint(0 if job == "web" else 1, 3)
        spec = {} if verb in ("delete", "get") else a_spec(**kind, version=version if verb == "migrate" else 1)
        asked = "put" if spec else verb
        conditional = bool(spec) and rng.random() < 0.3
        to = rng.choice(instances)
        ops.append(Op(at=at, session=session, verb=asked, job=job, to=to, spec=spec, is_conditional=conditional))
        if verb == "delete" and rng.random() < 0.7:
            ops.append(Op(at=at + rng.uniform(0, 6), session=session, verb="put", job=job, to=to, spec=a_spec(**kind)))
    return tuple(sorted(ops, key=lambda op: op.at))


def _fault(rng: random.Random, plan: Plan) -> Fault:
    what = rng.choices(list(FAULTS), list(FAULTS.values()))[0]
    instance, agent = rng.choice(plan.instances), rng.choice(plan.agents)
    at, span = round(rng.uniform(2, plan.chaos_s - 2), 3), round(rng.choice((0.5, 2, 4, 7, 11, 16)) * rng.uniform(0.8, 1.2), 3)
    is_of_agent = what in ("kill_agent", "pause_agent", "reboot_host", "replace_host", "disk_full", "task_dies", "cordon", "drain")
    target, other = (agent, "") if is_of_agent else (instance, "")
    amount = 0.0
    match what:
        case "cut_from_store":
            # To it, from it, both.
            amount = rng.choice((1, 2, 3))
        case "cut_from_agents":
            other, amount = rng.choice((agent, "")), rng.choice((1, 2, 3))
        case "cut_peers":
            other = rng.choice(plan.instances)
        case "slow_to_agent" | "lossy" | "twice":
            other, amount = agent, rng.choice((0.3, 0.6, 1.0))
        case "slow_to_store":
            amount = rng.choice((0.3, 1.0))
        case "clock_rate":
            amount = rng.choice((0.98, 1.02))
        case "clock_jump":
            amount = rng.choice((-86_400, -30, -1, 1, 30, 86_400))
        case "commit_late" | "commit_silent" | "view_behind" | "watch_gap" | "stale_list":
            amount = rng.choice((1, 2, 5))
        case "store_away" | "leases_extended" | "watch_compacted":
            target = "store"
        case _:
            pass
    return Fault(at=at, what=what, target=target, span=span, other=other, amount=amount)


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
