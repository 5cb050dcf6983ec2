"""Where a job's slots run: predicates that an agent must pass, then a score. Same inputs, same bytes out.

It decides which agent, never whether a slot should exist (`core.rollout`). It reads the fleet's index and changes
nothing of it: what one call decides is counted within the call, and the caller books it.

Rules.

1. An agent is feasible when its link is connected, every requirement holds, and processor, memory and fixed ports
   are free. What is reserved counts until it is given back; only what a want says has ended is free for it.
2. Of the feasible agents, those to avoid are taken last; then the one with the fewest tasks of this job's generation
   (spread); then the one that is fullest afterwards (bin-pack); then the first by name.
3. A slot that fits nowhere is pending, and *every* predicate that *every* agent failed is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harpoon.core.blockers import Refusal, blockers, sentence
from harpoon.core.fleet import Fleet, Host, reservation
from harpoon.model.agent import Agent, LinkState
from harpoon.model.decision import Pending, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job, Requirement
from harpoon.model.task import Placement, Reservation


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where the slots go, and which go nowhere."""

    #: By slot.
    placements: tuple[Placement, ...]
    #: None: all were placed.
    pending: Pending | None


@dataclass(slots=True, kw_only=True)
class _Candidate:
    """An agent that passes what no decision of this call can change, with what is left of it."""

    agent: Agent
    cpu: int
    memory: int
    #: Fixed ports of this job that are taken.
    taken: set[int]
    #: Tasks of this job's generation.
    count: int
    #: Why it takes nothing whatever is free; empty for a candidate proper.
    refusals: tuple[Refusal, ...] = field(default=())

    def lacks(self, need: Reservation) -> tuple[Refusal, ...]:
        """Return every resource that is short."""
        capacity = self.agent.capacity
        found = []
        if self.cpu < need.cpu:
            found.append(Refusal.of_amount("cpu", need.cpu, self.cpu, capacity.cpu))
        if self.memory < need.memory:
            found.append(Refusal.of_amount("memory", need.memory, self.memory, capacity.memory))
        found += [Refusal(predicate=f"port {port}", wanted="free", found="taken") for port in sorted(self.taken)]
        return tuple(found)

    def take(self, need: Reservation) -> None:
        """Count one more task here."""
        self.cpu -= need.cpu
        self.memory -= need.memory
        self.taken.update(need.ports)
        self.count += 1

    def fullness(self, need: Reservation) -> float:
        """Return the larger share, of processor or memory, that is reserved once the task is here."""
        capacity = self.agent.capacity
        return max(
            1 - (self.cpu - need.cpu) / capacity.cpu if capacity.cpu else 1.0,
            1 - (self.memory - need.memory) / capacity.memory if capacity.memory else 1.0,
        )


def place(job: Job, wants: Sequence[Want], fleet: Fleet, now: Instant, *, incarnation: int, revision: int) -> Decision:
    """Choose an agent for each wanted slot.

    Args:
        job: Whose slots they are.
        wants: Slots to place, in any order; at most one want a slot.
        fleet: What there is; not changed.
        now: When this is decided.
        incarnation: Of the store.
        revision: Of the view this is decided on; with the incarnation it numbers the placements.
    """
    if not wants:
        return Decision(placements=(), pending=None)
    need = reservation(job.spec.task)
    candidates = {name: _candidate(job, agent, host, need) for name, agent, host in fleet.agents()}
    placements: list[Placement] = []
    unplaced: list[Want] = []
    for want in sorted(wants, key=lambda want: want.slot):
        _give_back(job, want, fleet, candidates, need)
        chosen, feasible = _choose(candidates.values(), want, need)
        if chosen is None:
            unplaced.append(want)
            continue
        reason = _reason(want, chosen, feasible, len(candidates))
        chosen.take(need)
        placements.append(
            Placement(
                namespace=job.namespace,
                job=job.name,
                slot=want.slot,
                incarnation=incarnation,
                revision=revision,
                agent=chosen.agent.name,
                generation=job.generation,
                version=job.version,
                reason=reason,
                decided_ms=now.wall,
                reserve=need,
                failures=want.failures,
            )
        )
    return Decision(
        placements=tuple(placements), pending=_pending(job, unplaced, len(wants), candidates.values(), need, now)
    )


def _candidate(job: Job, agent: Agent, host: Host, need: Reservation) -> _Candidate:
    refusals = []
    if host.link is not LinkState.CONNECTED:
        refusals.append(Refusal(predicate="link", wanted="connected", found=str(host.link)))
    attributes = {**agent.tags, **agent.facts}
    refusals += [refusal for rule in job.spec.placement.require if (refusal := _refusal(rule, attributes))]
    return _Candidate(
        agent=agent,
        cpu=agent.capacity.cpu - host.cpu,
        memory=agent.capacity.memory - host.memory,
        taken={port for port in need.ports if port in host.ports},
        count=host.counts.get((job.namespace, job.name, job.generation), 0),
        refusals=tuple(refusals),
    )


def _refusal(rule: Requirement, attributes: Mapping[str, str]) -> Refusal | None:
    """Return why an agent of these tags and facts fails the rule, or None."""
    value = attributes.get(rule.tag)
    if rule.exists is not None:
        holds, wanted = (value is not None) is rule.exists, "set" if rule.exists else "not set"
    elif rule.equals is not None:
        holds, wanted = value == rule.equals, rule.equals
    elif rule.in_ is not None:
        holds, wanted = value in rule.in_, "one of " + ", ".join(rule.in_)
    else:
        excluded = rule.not_in or ()
        holds, wanted = value not in excluded, "none of " + ", ".join(excluded)
    return (
        None
        if holds
        else Refusal(predicate=f"tag {rule.tag}", wanted=wanted, found="not set" if value is None else value)
    )


def _give_back(job: Job, want: Want, fleet: Fleet, candidates: Mapping[str, _Candidate], need: Reservation) -> None:
    """Free what the tasks that this want replaces no longer use."""
    for task in want.ended:
        placement = fleet.placement(task)
        candidate = None if placement is None else candidates.get(placement.agent)
        if placement is None or candidate is None:
            continue
        host = fleet.host(placement.agent)
        assert host is not None, "a placement that counts is on a known host"
        candidate.cpu += placement.reserve.cpu
        candidate.memory += placement.reserve.memory
        candidate.count -= placement.generation == job.generation
        candidate.taken -= {port for port in need.ports if host.ports.get(port) == {task}}


def _choose(candidates: Iterable[_Candidate], want: Want, need: Reservation) -> tuple[_Candidate | None, int]:
    """Return the best agent for a slot, and how many could take it."""
    best, feasible = None, 0
    best_score: tuple[bool, int, float, str] | None = None
    for candidate in candidates:
        if candidate.refusals or candidate.lacks(need):
            continue
        feasible += 1
        name = candidate.agent.name
        score = (name in want.avoid, candidate.count, -candidate.fullness(need), name)
        if best_score is None or score < best_score:
            best, best_score = candidate, score
    return best, feasible


def _reason(want: Want, chosen: _Candidate, feasible: int, total: int) -> str:
    avoided = "; it was to be avoided, but no other could" if chosen.agent.name in want.avoid else ""
    return (
        f"{want.reason}; of {total} agents {feasible} could, and {chosen.agent.name} had the fewest of this job "
        f"({chosen.count}), then the least room left{avoided}"
    )


def _pending(
    job: Job, unplaced: Sequence[Want], wanted: int, candidates: Iterable[_Candidate], need: Reservation, now: Instant
) -> Pending | None:
    if not unplaced:
        return None
    refusals = {candidate.agent.name: (*candidate.refusals, *candidate.lacks(need)) for candidate in candidates}
    found = blockers(refusals)
    return Pending(
        namespace=job.namespace,
        job=job.name,
        generation=job.generation,
        slots=tuple(want.slot for want in unplaced),
        reason=sentence(len(unplaced), wanted, refusals),
        blockers=found,
        since_ms=now.wall,
    )
