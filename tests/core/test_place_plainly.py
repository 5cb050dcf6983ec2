"""Placing by indexes says to the byte what placing by looking at every agent says, however the fleet has changed."""

from dataclasses import replace
from functools import partial

import hypothesis.strategies as st
from hypothesis import given, settings

from harpoon.core.board import Board
from harpoon.core.fleet import Fleet
from harpoon.core.place import place
from harpoon.model.agent import LinkState
from harpoon.model.rules import Distinct, Preference, Requirement
from harpoon.model.template import Driver
from harpoon.model.volumes import HostPath, Volume
from tests.builders import MIB, a_cordon, a_job, a_link, a_placement, a_want, an_agent, at
from tests.core.plainly import Case, as_refusals, place_plainly

VOLUMES = (
    Volume(host="/srv/db", at="/data", read_only=True),
    Volume(host="/srv/db", at="/more", read_only=True),
    Volume(scratch=1, at="cache"),
)
NAMES = [f"a{number}" for number in range(6)]
NOW = at(1)

names = st.sampled_from(NAMES)
tags = st.sampled_from([{}, {"zone": "y"}, {"zone": "z"}, {"zone": "z", "rack": "r1"}, {"zone": "y", "rack": "r2"}])
agents = st.builds(
    an_agent,
    names,
    cpu=st.sampled_from([0, 1000, 1000, 2000]),
    memory=st.sampled_from([0, 8 * MIB, 8 * MIB]),
    tags=tags,
    named=st.sampled_from([{}, {}, {"gpu": 1}, {"gpu": 2, "fpga": 1}]),
    host_paths=st.sampled_from([(), (HostPath(path="/srv", read_only=True),), (HostPath(path="/srv/db"),)]),
    mounts=st.sampled_from([True, True, False]),
    drivers=st.sampled_from([("process",), ("docker", "process"), ("docker", "process"), ("docker",)]),
)
links = st.builds(a_link, names, st.sampled_from([*LinkState, *[LinkState.CONNECTED] * 4]))
cordons = st.builds(a_cordon, names, is_draining=st.booleans(), deadline_ms=st.sampled_from([None, 5]))
placements = st.builds(
    a_placement,
    agent=names,
    job=st.sampled_from(["web", "web", "db"]),
    slot=st.integers(0, 6),
    revision=st.integers(1, 3),
    generation=st.sampled_from(["g0", "g1"]),
    cpu=st.sampled_from([0, 100, 900]),
    memory=st.sampled_from([0, MIB]),
    ports=st.sampled_from([(), (), (80,), (80, 81)]),
    named=st.sampled_from([{}, {}, {"gpu": 1}]),
)


def driven(job, driver):
    if driver is Driver.PROCESS:
        return job
    task = job.spec.task
    volumes = tuple(replace(one, at=f"/{one.at.removeprefix('/')}") for one in task.volumes)
    return replace(job, spec=replace(job.spec, task=replace(task, driver=driver, image="busybox", volumes=volumes)))


changes = st.one_of(
    st.tuples(st.just("set_agent"), agents),
    st.tuples(st.just("set_agent"), agents),
    st.tuples(st.just("set_link"), links),
    st.tuples(st.just("set_cordon"), cordons),
    st.tuples(st.just("lift_cordon"), names),
    st.tuples(st.just("remove_agent"), names),
    st.tuples(st.just("add"), placements),
    st.tuples(st.just("add"), placements),
    st.tuples(st.just("remove"), placements),
)
plain_jobs = st.builds(
    a_job,
    scale=st.just(7),
    cpu=st.sampled_from([0, 100, 500, 900]),
    memory=st.sampled_from([0, 0, MIB]),
    named=st.sampled_from([{}, {}, {"gpu": 1}, {"gpu": 1, "fpga": 1}]),
    volumes=st.sampled_from([(), (), (), (Volume(host="/srv/db", at="/data"),), VOLUMES]),
    ports=st.sampled_from([{}, {}, {}, {"http": 80}, {"http": 80, "admin": 81, "any": 0}]),
    require=st.sampled_from(
        [(), (), (Requirement(tag="zone", exists=True),), (Requirement(tag="name", not_in=("a1",)),)]
    ),
    prefer=st.sampled_from([(), (), (Preference(tag="zone", equals="z"),), (Preference(tag="rack", exists=True),)]),
    spread=st.sampled_from(
        [(), (), ("zone",), ("zone", "rack"), ("name",), ("zone", "name"), ("name", "zone"), ("rack", "zone", "name")]
    ),
    distinct=st.sampled_from([None, None, Distinct.AGENT]),
    unavailable=st.integers(0, 1),
)
jobs = st.builds(driven, plain_jobs, st.sampled_from([*[Driver.PROCESS] * 3, Driver.DOCKER]))


class World:
    """The same fleet twice: as the product keeps it, and in plain dictionaries."""

    def __init__(self):
        self.fleet = Fleet()
        self.agents, self.links, self.cordons, self.placed = {}, {}, {}, {}
        for name in NAMES[:4]:
            self.change("set_agent", an_agent(name, cpu=1000, memory=8 * MIB))
            self.change("set_link", a_link(name))

    def change(self, verb, noun):
        getattr(self.fleet, verb)(noun.task if verb == "remove" else noun)
        match verb:
            case "set_agent":
                self.agents[noun.name] = noun
            case "remove_agent":
                self.agents.pop(noun, None)
                self.links.pop(noun, None)
            case "set_link":
                self.links[noun.agent] = noun.state
            case "set_cordon":
                self.cordons[noun.agent] = noun
            case "lift_cordon":
                self.cordons.pop(noun, None)
            case "add":
                self.placed[noun.task] = noun
            case "remove":
                self.placed.pop(noun.task, None)

    def case(self, job):
        case = Case(job, dict(self.agents), self.links, self.cordons, dict(self.placed))
        case.before = case.own()
        return case


@st.composite
def wants_of(draw, world):
    """Slots of the job that are to be placed; they replace some of what is there of them, which may have ended."""
    wants = []
    for slot in draw(st.lists(st.integers(0, 6), unique=True, max_size=7)):
        there = sorted(one.task for one in world.placed.values() if one.job == "web" and one.slot == slot)
        replaces = tuple(task for task in there if draw(st.booleans()))
        ended = tuple(task for task in replaces if draw(st.booleans()))
        avoid = tuple(draw(st.sampled_from([(), (), ("a0",), ("a0", "a1", "a2"), tuple(NAMES)])))
        wants.append(a_want(slot, avoid=avoid, replaces=replaces, ended=ended))
    return wants


def made(job, revision, slot, agent):
    need = job.spec.task
    return a_placement(
        slot=slot,
        agent=agent,
        revision=revision,
        generation=job.generation,
        cpu=need.resources.cpu,
        memory=need.resources.memory,
        named={name: count for name, count in need.resources.named.items() if count},
        ports=sorted(port for port in need.ports.values() if port),
    )


def told(decision):
    placed = [(one.slot, one.agent, one.reason) for one in decision.placements]
    pending = decision.pending
    waits = None if pending is None else (pending.slots, pending.reason, list(pending.blockers))
    return placed, waits, [(one.task, one.agent, one.reason) for one in decision.drops]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_places_tells_and_drops_what_looking_at_every_agent_would(data):
    world = World()
    for revision in range(42, 42 + data.draw(st.integers(1, 3))):
        for verb, noun in data.draw(st.lists(changes, max_size=8)):
            world.change(verb, noun)
        job = data.draw(jobs)
        wants = data.draw(wants_of(world))
        decision = place(job, wants, world.fleet, NOW, incarnation=1, revision=revision)
        assert told(decision) == place_plainly(world.case(job), wants, partial(made, job, revision))
        for placement in decision.placements if data.draw(st.booleans()) else ():
            world.change("add", placement)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_agent_is_told_what_it_fails(data):
    world = World()
    for verb, noun in data.draw(st.lists(changes, max_size=12)):
        world.change(verb, noun)
    job, slot = data.draw(jobs), data.draw(st.integers(0, 6))
    plainly, refusals = world.case(job), Board(job, world.fleet).refusals(slot)
    assert {name: one.failed for one in refusals for name in one.agents} == {
        name: as_refusals(plainly.refusals(name, slot)) for name in world.agents
    }
    assert sum(len(one.agents) for one in refusals) == len(world.agents)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 3))
def test_a_placing_that_is_left_off_and_taken_up_again_comes_to_the_same(data, most):
    world = World()
    for verb, noun in data.draw(st.lists(changes, max_size=12)):
        world.change(verb, noun)
    job = data.draw(jobs)
    wants = [want for want in data.draw(wants_of(world)) if not want.ended]
    whole = place(job, wants, world.fleet, NOW, incarnation=1, revision=42)
    parts, left = [], wants
    while True:
        part = place(job, left, world.fleet, NOW, incarnation=1, revision=42, most=most)
        for placement in part.placements:
            world.change("add", placement)
        parts += part.placements
        placed = {one.slot for one in part.placements}
        left = [want for want in left if want.slot not in placed]
        if part.is_whole:
            break
        assert (len(part.placements), part.pending, part.drops) == (most, None, ())
    assert parts == list(whole.placements)
    assert part.drops == whole.drops
    assert (part.pending is None) == (whole.pending is None)
    assert part.pending is None or part.pending.slots == whole.pending.slots
