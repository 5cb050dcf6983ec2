"""What will be broken, when, and for how long: made of one number, before anything begins."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tests.system.chaos.hosts import AGENTS, ALL, ETCDS, SERVERS, WORKERS
from tests.system.chaos.jobs import ROLLED

#: How long a fault may last, in seconds; "ttl" is that of the lease.
_MOMENT, _WHILE, _LONG = (0.3, 3.0), (2.0, 8.0), (6.0, 14.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One kind of fault."""

    what: str
    #: Whom it may hit.
    whom: Sequence[str]
    span: tuple[float, float] = _WHILE
    #: How often, compared with others.
    weight: int = 2
    #: Whether a host that is hit is of no use meanwhile, so that not too many are hit at once.
    is_outage: bool = True


TROUBLES: tuple[Trouble, ...] = (
    Trouble(what="kill_server", whom=SERVERS, span=_MOMENT, weight=4),
    Trouble(what="stop_server", whom=SERVERS, span=_MOMENT, weight=3),
    Trouble(what="pause_server", whom=SERVERS, span=(0.0, 0.0), weight=3),
    Trouble(what="stall_server", whom=SERVERS, span=(0.1, 1.5), weight=3),
    Trouble(what="cut_server", whom=SERVERS, weight=2),
    Trouble(what="cut_server_from_etcd", whom=SERVERS, weight=2),
    Trouble(what="cut_server_from_agents", whom=SERVERS, span=_LONG, weight=2),
    Trouble(what="jump_clock", whom=(*SERVERS, *AGENTS), span=_WHILE, weight=2, is_outage=False),
    Trouble(what="kill_agent", whom=AGENTS, span=_MOMENT, weight=4),
    Trouble(what="stop_agent", whom=AGENTS, span=_MOMENT),
    Trouble(what="pause_agent", whom=AGENTS, span=(0.0, 0.0), weight=3),
    Trouble(what="cut_agent", whom=AGENTS, span=_LONG, weight=3),
    # An agent may be killed with its disk full.
    Trouble(what="fill_disk", whom=AGENTS, span=_WHILE, weight=3, is_outage=False),
    # An operator's doing, with a deadline or without.
    Trouble(what="drain_agent", whom=AGENTS, span=_LONG, weight=2, is_outage=False),
    # Of a job: whom the clients ask for is not known here, so there may be nothing to decide.
    Trouble(what="pause_rollout", whom=ROLLED, span=_WHILE, weight=2, is_outage=False),
    Trouble(what="promote_rollout", whom=ROLLED, span=(0.0, 0.0), weight=3, is_outage=False),
    Trouble(what="kill_worker", whom=WORKERS, span=_MOMENT, weight=4),
    Trouble(what="stop_worker", whom=WORKERS, span=_MOMENT),
    # Longer than its attempts may be silent, or shorter.
    Trouble(what="pause_worker", whom=WORKERS, span=(0.0, 0.0), weight=3),
    Trouble(what="stall_worker", whom=WORKERS, span=(0.1, 2.5), weight=3),
    Trouble(what="cut_worker", whom=WORKERS, span=_LONG, weight=3),
    Trouble(what="kill_task", whom=("",), span=(0.0, 0.0), weight=4, is_outage=False),
    Trouble(what="kill_shim", whom=("",), span=(0.0, 0.0), weight=3, is_outage=False),
    Trouble(what="kill_etcd", whom=ETCDS, span=_MOMENT, weight=2),
    Trouble(what="kill_etcd_leader", whom=("leader",), span=_MOMENT, weight=2),
    Trouble(what="pause_etcd", whom=ETCDS, span=(0.0, 0.0), weight=2),
    Trouble(what="cut_etcd", whom=ETCDS, weight=2),
    Trouble(what="move_etcd_leader", whom=("leader",), span=(0.0, 0.0), is_outage=False),
    Trouble(what="defragment_etcd", whom=ETCDS, span=(0.0, 0.0), weight=1, is_outage=False),
    Trouble(what="compact", whom=("",), span=(0.0, 0.0), weight=1, is_outage=False),
    Trouble(what="one_way_in", whom=ALL, weight=3),
    Trouble(what="one_way_out", whom=ALL, weight=3),
    Trouble(what="loss", whom=ALL, span=_LONG, weight=3, is_outage=False),
)
KINDS: Mapping[str, Trouble] = {one.what: one for one in TROUBLES}
#: Of each group so many are hit at once at most; rarely, one more.
_AT_ONCE = {ETCDS: 1, SERVERS: 2, AGENTS: 2, WORKERS: 2}
_ONE_MORE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One fault: what is done, to whom, when, and when it is undone."""

    at: float
    what: str
    target: str
    #: Seconds.
    span: float
    #: From 0 to 1: which of those that are found then (a task, say), how far a clock jumps, how much is lost.
    share: float


def plan(seed: int, count: int, every_s: float, ttl_s: float) -> list[Planned]:
    """Return so many faults, one every so often on the average."""
    rng = random.Random(seed)
    made: list[Planned] = []
    at = 1.0
    while len(made) < count:
        at = round(at + rng.uniform(0.2, 1.8) * every_s, 2)
        made.append(_one(rng, at, made, ttl_s, _owed(made, count)))
    return made


def _owed(made: Sequence[Planned], count: int) -> list[Trouble]:
    """Return the kinds that one may be drawn of: all, but those not seen when only so many are left."""
    seen = {one.what for one in made}
    unseen = [one for one in TROUBLES if one.what not in seen]
    return unseen if count - len(made) <= len(unseen) else list(TROUBLES)


def _one(rng: random.Random, at: float, made: Sequence[Planned], ttl_s: float, kinds: Sequence[Trouble]) -> Planned:
    """Draw until one fits what is broken at that time."""
    for attempt in range(200):
        among = kinds if attempt < 100 else TROUBLES
        [kind] = rng.choices(among, [one.weight for one in among])
        target = rng.choice(kind.whom)
        span = 2 * ttl_s if kind.what.startswith("pause_") else round(rng.uniform(*kind.span), 2)
        found = Planned(at=at, what=kind.what, target=target, span=span, share=round(rng.random(), 3))
        if not kind.is_outage or _fits(found, made, rng.random() < _ONE_MORE):
            return found
    raise AssertionError("nothing fits")


def _fits(found: Planned, made: Sequence[Planned], is_one_more: bool) -> bool:
    """Whether so many of its group may be hit at once, and none twice."""
    hit = {one.target for one in made if KINDS[one.what].is_outage and one.at + one.span + 1.0 > found.at}
    host = found.target
    for group, most in _AT_ONCE.items():
        if host in group or (host == "leader" and group is ETCDS):
            others = {other for other in hit if other in group or (other == "leader" and group is ETCDS)}
            return host not in others and len(others) < most + is_one_more
    return True


def to_text(faults: Sequence[Planned]) -> str:
    """Write a plan so that it can be given again."""
    return "\n".join(json.dumps(asdict(one)) for one in faults) + "\n"


def from_text(text: str) -> list[Planned]:
    """Read one back."""
    return [Planned(**json.loads(line)) for line in text.splitlines() if line.strip()]
