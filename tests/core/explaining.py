"""Situations to be explained, and judges of explanations that share no code with what they judge.

A `Scene` is all that a job's placing depends on, as plain values that can be changed. `refused` says anew, from those
values alone, what each agent lacks; `relieve` takes what is said to stand in the way out of the values; `follow` does
what a fix says, reading its sentences as an operator would.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import hypothesis.strategies as st

from harpoon.core.case import Case
from harpoon.core.fleet import Fleet
from harpoon.core.held import Unmet
from harpoon.core.place import place
from harpoon.core.standing import Standing
from harpoon.model.agent import Agent, Capacity, Cordon, LinkState
from harpoon.model.dependency import Dependency
from harpoon.model.instant import Instant
from harpoon.model.job import Job, OnLost, Update
from harpoon.model.lifecycle import RestartPolicy
from harpoon.model.rules import Distinct, PlacementRules, Preference, Requirement, Spread
from harpoon.model.task import Placement, TaskState
from harpoon.model.volumes import HostPath, Volume
from tests.builders import MIB, a_cordon, a_job, a_link, a_placement, a_task, an_agent, at

NOW = at(3600)
PORT = 80
GPU = "gpu"
SHARED = "/srv/db"
#: A value of a tag that no requirement names.
FRESH = "fresh"
RULES = (
    Requirement(tag="zone", equals="b"),
    Requirement(tag="zone", equals="c"),
    Requirement(tag="zone", in_=("c", "d")),
    Requirement(tag="zone", not_in=("b", "c")),
    Requirement(tag="zone", exists=True),
    Requirement(tag="zone", exists=False),
    Requirement(tag="disk", exists=True),
    Requirement(tag="arch", equals="arm64"),
)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that a job's placing depends on."""

    job: Job
    agents: Mapping[str, Agent] = field(default_factory=dict)
    links: Mapping[str, LinkState] = field(default_factory=dict)
    cordons: Mapping[str, Cordon] = field(default_factory=dict)
    #: What counts on agents: of other jobs, and of this one.
    taken: tuple[Placement, ...] = ()
    standings: tuple[Standing, ...] = ()
    evictable: int = 1 << 30
    unmet: tuple[Unmet, ...] = ()
    replacing: Mapping[str, str] = field(default_factory=dict)
    now: Instant = NOW

    def fleet(self, only=None) -> Fleet:
        fleet = Fleet()
        for name, agent in self.agents.items():
            if only in (None, name):
                fleet.set_agent(agent)
                fleet.set_link(a_link(name, self.links[name]))
        for cordon in self.cordons.values():
            fleet.set_cordon(cordon)
        for placement in self.taken:
            fleet.add(placement)
        return fleet

    def case(self) -> Case:
        return Case(
            job=self.job,
            standings=self.standings,
            links={name: a_link(name, state) for name, state in self.links.items()},
            now=self.now,
            evictable=self.evictable,
            leaving={name: one.deadline_ms for name, one in self.cordons.items() if one.is_draining},
            unmet=self.unmet,
            replacing=self.replacing,
        )

    def after(self, wants, decision) -> "Scene":
        """The scene with what was placed, and without what that replaced and has ended."""
        placed = {one.slot for one in decision.placements}
        gone = {task for want in wants if want.slot in placed for task in want.ended}
        kept = tuple(one for one in self.taken if one.task not in gone)
        return replace(self, taken=(*kept, *decision.placements))


def situations():
    """Agents in every state, with others' tasks on them, and a job in the middle of whatever may happen to one."""
    return _situations()


@st.composite
def _situations(draw):
    def one_of(*values):
        return draw(st.sampled_from(values))

    names = [f"a{number}" for number in range(draw(st.integers(0, 4)))]
    agents = {
        name: an_agent(
            name,
            cpu=one_of(0, 1000, 2000, 4000),
            memory=one_of(0, 512, 1536, 4096) * MIB,
            named=one_of({}, {}, {GPU: 1}, {GPU: 3}),
            tags=one_of({}, {"zone": "b"}, {"zone": "c"}, {"zone": "e", "disk": "ssd"}),
            host_paths=one_of((), (HostPath(path=SHARED),), (HostPath(path=SHARED, read_only=True),)),
            mounts=one_of(True, True, False),
        )
        for name in names
    }
    up = LinkState.CONNECTED
    links = {name: one_of(up, up, up, LinkState.INTERRUPTED, LinkState.LOST, LinkState.UNKNOWN) for name in names}
    cordons = {}
    for name in names:
        kind = one_of(None, None, None, "cordon", "drain", "deadline", "past")
        if kind is not None:
            due = {"deadline": NOW.wall + 30_000, "past": NOW.wall - 1}.get(kind)
            cordons[name] = a_cordon(name, is_draining=kind != "cordon", deadline_ms=due)
    job = _job(draw, one_of)
    ports_free = set(names)
    taken, standings = [], []
    for number, name in enumerate(names):
        for slot in range(draw(st.integers(0, 2))):
            has_port = name in ports_free and one_of(False, True)
            ports_free -= {name} if has_port else set()
            taken.append(
                a_placement(
                    job=one_of("other", "more"),
                    slot=10 * number + slot,
                    agent=name,
                    cpu=one_of(0, 600, 1500),
                    memory=one_of(0, 300) * MIB,
                    named=one_of({}, {}, {GPU: 1}),
                    ports=[PORT] if has_port else [],
                )
            )
    for revision, slot in enumerate(draw(st.lists(st.integers(0, 4), max_size=5)) if names else [], 20):
        name = one_of(*names, "gone")
        has_port = name in ports_free and one_of(False, True)
        ports_free -= {name} if has_port else set()
        standing = _standing(draw, one_of, job, slot=slot, revision=revision, agent=name, ports=[PORT] * has_port)
        standings.append(standing)
        if not standing.placement.is_denied:
            taken.append(standing.placement)
    unmet = one_of((), (), (Unmet(dependency=Dependency(job="db"), found="waiting, 0/1 ready"),))
    return Scene(
        job=job,
        agents=agents,
        links=links,
        cordons=cordons,
        taken=tuple(taken),
        standings=tuple(standings),
        evictable=one_of(0, 1, 1 << 30),
        unmet=unmet,
        replacing=one_of({}, {}, {"API": "127.0.0.1:81"}),
    )


def _job(draw, one_of):
    is_exclusive = one_of(False, False, True)
    job = a_job(
        scale=draw(st.integers(1, 4)),
        generation="g2",
        version=2,
        cpu=one_of(0, 500, 1500, 3000),
        memory=one_of(0, 400, 2048) * MIB,
        named=one_of({}, {}, {GPU: 1}, {GPU: 2}),
        ports=one_of({}, {"http": PORT}, {"http": 0}),
        volumes=one_of((), (), (Volume(host=SHARED, at="/data"),), (Volume(host=SHARED, at="/data", read_only=True),)),
        restart=one_of(*RestartPolicy),
        exclusive=is_exclusive,
        on_lost=OnLost.WAIT if is_exclusive else one_of(None, OnLost.WAIT, OnLost.REPLACE),
        # Of the other jobs nothing is known, so that theirs is the usual one.
        priority=one_of(50, 51),
        preempt=one_of(False, False, True),
    )
    surge, unavailable = one_of(*([(1, 0), (1, 2)] if is_exclusive else [(1, 0), (0, 1), (2, 1)]))
    rules = PlacementRules(
        require=tuple(draw(st.lists(st.sampled_from(RULES), max_size=3, unique=True))),
        prefer=one_of((), (Preference(tag="zone", equals="b"),)),
        spread=one_of((), (Spread(tag="zone"),)),
        distinct=one_of(None, None, Distinct.AGENT),
    )
    return replace(job, spec=replace(job.spec, placement=rules, update=Update(surge=surge, unavailable=unavailable)))


def _standing(draw, one_of, job, **fields):
    is_revoked = job.spec.exclusive and one_of(False, False, True)
    placement = a_placement(
        **fields,
        generation=one_of("g1", "g2"),
        cpu=one_of(0, 500, 1000),
        memory=one_of(0, 300) * MIB,
        named=one_of({}, {}, {GPU: 2}),
        failures=draw(st.integers(0, 4)),
        decided_ms=NOW.wall - one_of(500, 3_000, 900_000),
        bindings=one_of(None, {"API": "127.0.0.1:81"}, {"API": ""}),
        is_exclusive=job.spec.exclusive,
        is_revoked=is_revoked,
        is_denied=is_revoked and one_of(False, True),
    )
    state = one_of(None, *TaskState)
    if state in (None, TaskState.PENDING, TaskState.PLACED):
        return Standing(placement, None)
    ready = state is TaskState.RUNNING and one_of(True, True, False)
    since_ms = min(NOW.wall, placement.decided_ms + 400)
    return Standing(placement, a_task(placement, state=state, ready=ready, since_ms=since_ms))


# What agents refuse, told anew.


def refused(scene: Scene, slot: int, ended: Collection[str] = ()) -> dict[str, set[tuple[str, str, str]]]:
    """Agent → (predicate, wanted, found) of all that it lacks for a slot, if what has ended were gone."""
    job = scene.job
    found: dict[str, set[tuple[str, str, str]]] = {}
    for name, agent in scene.agents.items():
        here = [one for one in scene.taken if one.agent == name and one.task not in ended]
        lacks = found[name] = set()
        if scene.links[name] is not LinkState.CONNECTED:
            lacks.add(("link", "connected", scene.links[name].value))
        if name in scene.cordons:
            lacks.add(("cordon", "none", "draining" if scene.cordons[name].is_draining else "cordoned"))
        for rule in job.spec.placement.require:
            value = {**agent.tags, **agent.facts}.get(rule.tag)
            if not holds(rule, value):
                lacks.add((f"tag {rule.tag}", wanted_of(rule), "not set" if value is None else value))
        others = sorted({one.slot for one in here if one.job == job.name} - {slot})
        if job.spec.placement.distinct is not None and others:
            lacks.add(("distinct agent", "no other slot of this job", f"slot {others[0]} is there"))
        for what, write in (("cpu", cpu), ("memory", size)):
            need, has = getattr(job.spec.task.resources, what), getattr(agent.capacity, what)
            free = has - sum(getattr(one.reserve, what) for one in here)
            if need and need > free:
                over = f", overdrawn by {write(-free)}" if free < 0 else ""
                lacks.add((what, f"{write(need)} free", f"{write(max(0, free))} free of {write(has)}{over}"))
        need, has = job.spec.task.resources.named.get(GPU, 0), agent.capacity.named.get(GPU, 0)
        free = has - sum(dict(one.reserve.named).get(GPU, 0) for one in here)
        if need and need > free:
            over = f", overdrawn by {-free}" if free < 0 else ""
            there = f"{max(0, free)} free of {has}" if has else "not offered"
            lacks.add((f"resource {GPU}", f"{need} free", there + over))
        holders = sorted(one.task for one in here if PORT in one.reserve.ports)
        if PORT in job.spec.task.ports.values() and holders:
            lacks.add((f"port {PORT}", "free", f"taken by job default/{holders[0].split('.')[1]}"))
        lacks |= _barred(agent, job.spec.task.volumes)
    return found


def _barred(agent, volumes):
    lacks = {("mounts", "possible", "not possible")} if volumes and not agent.mounts else set()
    if volumes and not agent.host_paths:
        lacks.add((f"host path {SHARED}", "allowed", "not allowed"))
    elif volumes and agent.host_paths[0].read_only and not volumes[0].read_only:
        lacks.add((f"host path {SHARED}", "writable", "read-only"))
    return lacks


def holds(rule: Requirement, value: str | None) -> bool:
    if rule.exists is not None:
        return rule.exists == (value is not None)
    if rule.not_in is not None:
        return value not in rule.not_in
    return value in (rule.in_ or (rule.equals,))


def wanted_of(rule: Requirement) -> str:
    if rule.exists is not None:
        return "set" if rule.exists else "not set"
    if rule.not_in is not None:
        return f"none of {', '.join(rule.not_in)}"
    return rule.equals or f"one of {', '.join(rule.in_)}"


def cpu(thousandths: int) -> str:
    return f"{thousandths}m"


def size(count: int) -> str:
    mib, rest = divmod(count, MIB)
    assert rest == 0
    return "0" if mib == 0 else f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"


def amount(text: str) -> int:
    """Read what `cpu` and `size` write."""
    units = {"m": 1, "Mi": MIB, "Gi": 1024 * MIB, "": 1}
    number, unit = re.fullmatch(r"(\d+)(\D*)", text).groups()
    return int(number) * units[unit]


# What is said to stand in the way, taken out of it.


def relieve(scene: Scene, name: str, failed, slot: int) -> Scene:
    """The scene when one agent is rid of these; numbers are taken as they are told."""
    for one in failed:
        scene = _relieve(scene, name, one, slot)
    return scene


def _relieve(scene: Scene, name: str, failed, slot: int) -> Scene:
    agent, job = scene.agents[name], scene.job
    match failed.predicate.split():
        case ["link"]:
            return replace(scene, links={**scene.links, name: LinkState.CONNECTED})
        case ["cordon"]:
            return replace(scene, cordons={key: one for key, one in scene.cordons.items() if key != name})
        case [("cpu" | "memory") as what]:
            words = failed.found.split()
            free = -amount(words[-1]) if "overdrawn" in words else amount(words[0])
            return with_capacity(scene, agent, what, amount(failed.wanted.split()[0]) - free)
        case ["resource", what]:
            words = failed.found.replace("not offered", "0").replace(",", "").split()
            free = -int(words[-1]) if "overdrawn" in words else int(words[0])
            return with_named(scene, agent, what, int(failed.wanted.split()[0]) - free)
        case ["host", "path", _]:
            return _allowing(scene, name)
        case ["mounts"]:
            return with_agent(scene, replace(agent, mounts=True))
        case ["port", number]:
            taken = tuple(_without_port(one, int(number)) if one.agent == name else one for one in scene.taken)
            return replace(scene, taken=taken)
        case ["distinct", "agent"]:
            taken = (one for one in scene.taken if (one.agent, one.job) != (name, job.name) or one.slot == slot)
            return replace(scene, taken=tuple(taken))
        case ["tag", tag]:
            rules = job.spec.placement
            kept = (rule for rule in rules.require if (rule.tag, wanted_of(rule)) != (tag, failed.wanted))
            return with_job(scene, placement=replace(rules, require=tuple(kept)))
    raise AssertionError(failed)


def _without_port(placement: Placement, port: int) -> Placement:
    ports = tuple(one for one in placement.reserve.ports if one != port)
    return replace(placement, reserve=replace(placement.reserve, ports=ports))


def with_agent(scene: Scene, agent: Agent) -> Scene:
    links = {agent.name: LinkState.CONNECTED, **scene.links}
    return replace(scene, agents={**scene.agents, agent.name: agent}, links=links)


def with_capacity(scene: Scene, agent: Agent, what: str, more: int) -> Scene:
    capacity = replace(agent.capacity, **{what: getattr(agent.capacity, what) + more})
    return with_agent(scene, replace(agent, capacity=capacity))


def with_named(scene: Scene, agent: Agent, what: str, more: int) -> Scene:
    named = {**agent.capacity.named, what: agent.capacity.named.get(what, 0) + more}
    return with_agent(scene, replace(agent, capacity=replace(agent.capacity, named=named)))


def with_job(scene: Scene, **changes) -> Scene:
    return replace(scene, job=replace(scene.job, spec=replace(scene.job.spec, **changes)))


def takes(scene: Scene, want, only=None) -> str | None:
    """The agent that placing gives a slot to, of all or of one only."""
    decision = place(scene.job, [want], scene.fleet(only), scene.now, incarnation=1, revision=99)
    return decision.placements[0].agent if decision.placements else None


# What a fix says, done.


def alternatives(step: str) -> list[str]:
    return re.split(r"[,;] or ", step)


def follow(scene: Scene, said: str, name: str | None) -> Scene | None:
    """Do one of a step's alternatives; None: then the slot is not wanted any more."""
    for pattern, act in _ACTS:
        found = re.search(pattern, said)
        if found:
            return act(scene, name, *found.groups())
    raise AssertionError(f"nobody knows how to do this: {said}")


def _agent_like(scene, name, **capacity):
    agent = scene.agents[name]
    fresh = replace(agent, name="fresh", uid="uid-fresh", capacity=replace(agent.capacity, **capacity))
    return with_agent(scene, fresh)


def _first_agent(scene, _):
    return replace(
        scene, agents={"fresh": _as_required(scene, an_agent("fresh"))}, links={"fresh": LinkState.CONNECTED}
    )


def _as_required(scene, agent):
    capacity = Capacity(cpu=1 << 30, memory=1 << 50, named={GPU: 1 << 20})
    allowed = (HostPath(path=SHARED),)
    agent = replace(agent, name="fresh", uid="uid-fresh", capacity=capacity, host_paths=allowed, mounts=True)
    for tag in {rule.tag for rule in scene.job.spec.placement.require}:
        rules = [rule for rule in scene.job.spec.placement.require if rule.tag == tag]
        value = next((one for one in ("b", "c", "d", FRESH, "arm64", None) if all(holds(r, one) for r in rules)), "")
        tags, facts = ({key: one for key, one in known.items() if key != tag} for known in (agent.tags, agent.facts))
        agent = replace(agent, tags=tags, facts=facts if value is None else {**facts, tag: value})
    return agent


def _retagged(scene, name, tag, value):
    agent = scene.agents[name]
    tags = {key: one for key, one in agent.tags.items() if key != tag}
    return with_agent(scene, replace(agent, tags=tags if value is None else {**tags, tag: value}))


def _with_resource(scene, _, what, much):
    template = scene.job.spec.task
    return with_job(scene, task=replace(template, resources=replace(template.resources, **{what: amount(much)})))


def _with_less_named(scene, _, what, much):
    template = scene.job.spec.task
    named = {**template.resources.named, what: int(much)}
    return with_job(scene, task=replace(template, resources=replace(template.resources, named=named)))


def _dropped(scene, _, listed):
    rules = scene.job.spec.placement
    gone = {int(number) for number in re.findall(r"\[(\d+)\]", listed)}
    kept = tuple(rule for index, rule in enumerate(rules.require) if index not in gone)
    # Those that are left keep their numbers, so that a second step means the same ones.
    anything = Requirement(tag="-", exists=False)
    numbered = tuple(anything if index in gone else rule for index, rule in enumerate(rules.require))
    assert len(kept) + len(gone) == len(rules.require)
    return with_job(scene, placement=replace(rules, require=numbered))


def _unscheduled(scene, _, job):
    return replace(scene, taken=tuple(one for one in scene.taken if one.job != job))


def _allowing(scene, name, *_):
    return with_agent(scene, replace(scene.agents[name], host_paths=(HostPath(path=SHARED),)))


def _read_only(scene, _name, *_):
    volumes = (replace(one, read_only=True) for one in scene.job.spec.task.volumes)
    return with_job(scene, task=replace(scene.job.spec.task, volumes=tuple(volumes)))


def _mounting(scene, name):
    return with_agent(scene, replace(scene.agents[name], mounts=True))


def _any_port(scene, _):
    return with_job(scene, task=replace(scene.job.spec.task, ports={"http": 0}))


_ACTS = (
    (r"^start agent \S+ with --allow-host-path (\S+?)(?:,|$)", _allowing),
    (r"^set read_only: true on the volume of", _read_only),
    (r"^start an agent as root", lambda scene, n: _mounting(scene, n)),
    (r"^run agent \S+ as root", _mounting),
    (r"^start an agent: `harpoon agent", _first_agent),
    (
        rf"^free (\d+) of ({GPU}) on \S+",
        lambda scene, n, much, what: with_named(scene, scene.agents[n], what, int(much)),
    ),
    (r"^lower task.resources.named.(\w+) to (\d+)", _with_less_named),
    (
        r"^start an agent with --resource (\w+)=(\d+) or more",
        lambda scene, n, what, much: _agent_like(scene, n, named={what: int(much)}),
    ),
    (
        r"^start agent \S+ with --resource (\w+)=(\d+) or more",
        lambda scene, n, what, much: with_named(
            scene, scene.agents[n], what, int(much) - scene.agents[n].capacity.named.get(what, 0)
        ),
    ),
    (
        r"^free (\S+) of (\w+) on \S+",
        lambda scene, n, much, what: with_capacity(scene, scene.agents[n], what, amount(much)),
    ),
    (r"^lower task.resources.(\w+) to (\S+?)(?:,|$)", _with_resource),
    (
        r"^start an agent with (\w+) of (\S+) or more",
        lambda scene, n, what, much: _agent_like(scene, n, **{what: amount(much)}),
    ),
    (
        r"^start agent \S+ with --(cpu|memory) (\S+) or more",
        lambda scene, n, what, much: with_capacity(
            scene, scene.agents[n], what, amount(much) - getattr(scene.agents[n].capacity, what)
        ),
    ),
    (r"^start agent \S+ with --tag (\w+)=VALUE", lambda scene, n, tag: _retagged(scene, n, tag, FRESH)),
    (r"^start agent \S+ with --tag (\w+)=(\w+)$", _retagged),
    (r"^start agent \S+ without --tag (\w+) or with a value", lambda scene, n, tag: _retagged(scene, n, tag, FRESH)),
    (r"^start agent \S+ without --tag (\w+)$", lambda scene, n, tag: _retagged(scene, n, tag, None)),
    (r"^drop (placement.require[^:]*)", _dropped),
    (r"^start an agent that is as required", lambda scene, n: with_agent(scene, _as_required(scene, scene.agents[n]))),
    (r": see that it runs", lambda scene, n: replace(scene, links={**scene.links, n: LinkState.CONNECTED})),
    (
        r"`harpoon uncordon (\S+)`",
        lambda scene, n, who: replace(scene, cordons={key: c for key, c in scene.cordons.items() if key != who}),
    ),
    (r"start another(?: agent)?$", _agent_like),
    (r"^unschedule job default/(\w+)", _unscheduled),
    (r"write 0 for (?:the port|port 80)", _any_port),
    (r"^lower scale$", lambda *_: None),
    (
        r"^leave placement.distinct out$",
        lambda scene, n: with_job(scene, placement=replace(scene.job.spec.placement, distinct=None)),
    ),
)
