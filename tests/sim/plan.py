"""What is to happen in a run: who is there, what clients ask for, what breaks; all of it drawn from one integer.

A plan is plain data, so that it can be shown, made smaller, and kept as a case of its own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from harpoon.model.units import parse_duration

#: Clients ask and things break for so long.
CHAOS_S: Final = 45.0
#: After the calm everything is as desired within so long; the longest that leases, losses and backoffs can take.
CALM_S: Final = 150.0


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
    #: Or a run, or a workflow: see `tests.sim.users`.
    job: str
    #: The instance that is asked first.
    to: str
    #: Of ``put``; and whatever else is asked of workflows and runs.
    spec: Mapping[str, Any] = field(default_factory=dict)
    #: Of ``scale``: how many slots it is to have.
    scale: int = 0
    #: Only if the job is as the session read it just before.
    is_conditional: bool = False
    #: An idempotency key: whoever asks with it again is answered the same, or has it done once.
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """A worker of runs."""

    name: str
    #: It does whatever a worker should not (`tests.sim.workmen.Odd`); else it is the shipped one.
    is_odd: bool = False
    #: Attempts at once.
    places: int = 3
    #: Of the shipped one: so long it takes for each, which is then done; 0: that is drawn.
    takes_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole run."""

    seed: int
    instances: tuple[str, ...]
    agents: tuple[str, ...]
    ops: tuple[Op, ...]
    faults: tuple[Fault, ...]
    chaos_s: float = CHAOS_S
    #: Less where nothing breaks, and what is amiss would go on for as long.
    calm_s: float = CALM_S
    #: Nodes that are healed at the end; empty: all. The others are broken, in some odd way, for ever.
    core: tuple[str, ...] = ()
    broken: tuple[Fault, ...] = ()
    lost_after_s: float = 12.0
    #: Agents that no instance has in a list: they register themselves, and may come to have another endpoint.
    unlisted: tuple[str, ...] = ()
    #: What each agent has to give, in thousandths of a processor.
    cpu: int = 8000
    #: What goes wrong at one point, which, and whose; see `tests.sim.points`.
    point: tuple[str, int, str] | None = None
    #: Who works for runs of workflows; nobody: no instance conducts any.
    hands: tuple[Hand, ...] = ()

    @property
    def has_gaps(self) -> bool:
        """Whether some view may miss something, until it is compared with the store."""
        return any(fault.what == "watch_gap" for fault in self.faults) or bool(self.point and self.point[0] == "hide")

    @property
    def runs_s(self) -> float:
        """The longest that a run may take."""
        declared = [op.spec for op in self.ops if op.verb == "declare"]
        declared += [op.spec["spec"] for op in self.ops if op.verb == "batch"]
        deadlines = [spec["deadline"] for spec in declared]
        return max((parse_duration(one).total_seconds() for one in deadlines), default=0.0)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        told = json.loads(text)
        lists = {name: tuple(Fault(**one) for one in told.pop(name)) for name in ("faults", "broken")}
        ops = tuple(Op(**one) for one in told.pop("ops"))
        hands = tuple(Hand(**one) for one in told.pop("hands", ()))
        point = told.pop("point")
        told = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
        return cls(**told, **lists, ops=ops, hands=hands, point=None if point is None else tuple(point))


def draw(seed: int) -> Plan:
    """Draw a plan, as `tests.sim.drawing` does."""
    from tests.sim.drawing import drawn

    return drawn(seed)


def a_spec(
    *,
    scale: int = 1,
    version: int = 1,
    exclusive: bool = False,
    agent: str = "",
    waits: bool = False,
    cpu: int = 100,
    port: int | None = None,
    needs: str = "",
    uses: str = "",
    distinct: bool = False,
    spread: bool = False,
    on_fail: str = "",
    update: Mapping[str, Any] | None = None,
    priority: int | None = None,
    preempt: bool = False,
    batch: Mapping[str, Any] | None = None,
    retries: int = 0,
    system: bool = False,
    among: Sequence[str] = (),
    **behaves: str,
) -> dict[str, Any]:
    """Return what is declared of a job: its tasks run until they are stopped, unless they are said to end by themselves.

    Args:
        scale: How many slots.
        version: Tells generations apart.
        exclusive: No slot ever runs twice.
        agent: The only one that it may run on.
        waits: A slot waits for a lost agent.
        cpu: Thousandths of a processor that a task reserves.
        port: One that it listens at; 0: any.
        needs: A job that is to be ready first.
        uses: A job whose endpoints it is told.
        distinct: No two slots on one agent.
        spread: Slots are spread over agents.
        on_fail: What its check does that fails; empty: it has none.
        update: How its rollouts go.
        priority: Of those that wait for room it is placed by that.
        preempt: Tasks of lower priority make room for it.
        batch: It is a batch job: ``completions``, ``parallel``, ``attempts``, ``deadline``, ``keep``, ``cron``.
        retries: Of a batch job: how often an agent starts a task again that fails.
        system: It has a slot on each agent.
        among: Only these agents may have it; none: all.
        behaves: Variables that say what its processes do (`tests.sim.hosts.Behaviour`, `tests.sim.drivers.SimProber`).
    """
    env: dict[str, Any] = {"VERSION": str(version), **behaves}
    task: dict[str, Any] = {
        "command": ["/bin/sleep", "100000"],
        "env": env,
        "resources": {"cpu": f"{cpu}m"},
        "stop": {"drain": "0s", "grace": "2s"},
        "restart": {"policy": "always", "attempts": 5, "within": "10m", "backoff": {"initial": "500ms", "max": "4s"}},
    }
    spec: dict[str, Any] = {"task": task} if batch is not None or system else {"scale": scale, "task": task}
    if batch is not None:
        spec |= {"type": "batch", **batch}
        task["restart"] |= {"policy": "on_failure" if retries else "never", "attempts": max(1, retries)}
    spec |= {"type": "system"} if system else {}
    if uses:
        env["PEERS"] = {"endpoints": f"{uses}/http"}
    if port is not None:
        task["ports"] = {"http": port}
    if on_fail:
        task["checks"] = [{"exec": {"command": ["/bin/true"]}, "every": "1s", "on_fail": on_fail}]
    if exclusive:
        spec["exclusive"] = True
    if update:
        spec["update"] = dict(update)
    if priority is not None:
        spec["priority"] = priority
    spec |= {"preempt": True} if preempt else {}
    spec |= {"on_lost": "wait"} if waits else {}
    spec |= {"depends_on": [{"job": needs}]} if needs else {}
    placement = _rules((agent,) if agent else among, distinct=distinct, spread=spread)
    return spec | ({"placement": placement} if placement else {})


def _rules(among: Sequence[str], *, distinct: bool, spread: bool) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    if among:
        one = {"equals": among[0]} if len(among) == 1 else {"in": list(among)}
        rules["require"] = [{"tag": "name", **one}]
    if distinct:
        rules["distinct"] = "agent"
    if spread:
        rules["spread"] = [{"tag": "name"}]
    return rules
