"""What holds of every placing, whatever the fleet."""

import hypothesis.strategies as st
from hypothesis import given, settings

from harpoon.core.fleet import Fleet
from harpoon.core.place import place
from harpoon.model.agent import LinkState
from harpoon.model.rules import Requirement
from harpoon.model.units import format_cpu
from tests.builders import a_job, a_link, a_placement, a_want, an_agent, at

NAMES = ["a1", "a2", "a3"]
LINKS = [LinkState.CONNECTED, LinkState.CONNECTED, LinkState.CONNECTED, *LinkState]


@st.composite
def scenes(draw):
    """A job, wants of it, agents with links, and placements; what wants replace is among these, and may have ended."""
    job = a_job(
        scale=5,
        cpu=draw(st.integers(0, 4)),
        ports=draw(st.sampled_from([{}, {}, {"http": 80}])),
        require=[Requirement(tag="zone", equals="z")] if draw(st.booleans()) else [],
    )
    agents = [
        an_agent(name, cpu=draw(st.integers(0, 9)), tags={"zone": draw(st.sampled_from("zzy"))})
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
    ]
    links = [a_link(name, draw(st.sampled_from(LINKS))) for name in NAMES]
    placements, wants = [], []
    for slot in range(5):
        reserve = {"cpu": draw(st.integers(0, 4)), "ports": draw(st.sampled_from([(), (80,)]))}
        agent = draw(st.sampled_from(NAMES))
        old = a_placement(slot=slot, agent=agent, generation=draw(st.sampled_from(["g0", "g1"])), **reserve)
        fate = draw(st.sampled_from(["none", "kept", "running", "ended", "settled"]))
        placements += [] if fate == "none" else [old]
        if fate != "settled":
            replaces = (old.task,) if fate in ("running", "ended") else ()
            ended = replaces if fate == "ended" else ()
            avoid = (agent,) if draw(st.booleans()) else ()
            wants.append(a_want(slot, avoid=avoid, replaces=replaces, ended=ended))
    return job, wants, agents, links, placements


def build(agents, links, placements):
    fleet = Fleet()
    for agent in agents:
        fleet.set_agent(agent)
    for link in links:
        fleet.set_link(link)
    for placement in placements:
        fleet.add(placement)
    return fleet


def decide(job, wants, fleet):
    return place(job, wants, fleet, at(), incarnation=1, revision=9)


def after(scene, decision):
    """The fleet once the decision is carried out; what was replaced but runs still counts until it is gone."""
    _, wants, agents, links, placements = scene
    placed = {placement.slot for placement in decision.placements}
    gone = {task for want in wants if want.slot in placed for task in want.ended}
    return build(agents, links, [p for p in placements if p.task not in gone] + list(decision.placements))


def could(job, agent, host):
    """Whether an agent could take one task of the job: told apart from how `place` finds out."""
    need = job.spec.task.resources.cpu
    return (
        host.link is LinkState.CONNECTED
        and (not job.spec.placement.require or agent.tags["zone"] == "z")
        and (need == 0 or host.cpu + need <= agent.capacity.cpu)
        and (not job.spec.task.ports or 80 not in host.ports)
    )


@settings(max_examples=300)
@given(scenes())
def test_no_agent_is_ever_over_committed(scene):
    job, wants, agents, links, placements = scene
    decision = decide(job, wants, build(agents, links, placements))
    then = after(scene, decision)
    for name in {placement.agent for placement in decision.placements}:
        host = then.host(name)
        assert job.spec.task.resources.cpu == 0 or host.cpu <= host.agent.capacity.cpu
        assert not job.spec.task.ports or len(host.ports[80]) == 1


@settings(max_examples=300)
@given(scenes())
def test_every_want_is_placed_once_or_pending_and_the_fleet_is_as_before(scene):
    job, wants, agents, links, placements = scene
    fleet = build(agents, links, placements)
    decision = decide(job, wants, fleet)
    assert fleet == build(agents, links, placements)
    pending = decision.pending.slots if decision.pending else ()
    assert sorted([p.slot for p in decision.placements] + list(pending)) == [want.slot for want in wants]
    assert len({drop.task for drop in decision.drops}) == len(decision.drops)


@settings(max_examples=200)
@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_is_irrelevant(scene, random):
    job, wants, agents, links, placements = scene
    first = decide(job, wants, build(agents, links, placements))
    for things in (wants, agents, links, placements):
        random.shuffle(things)
    assert decide(job, wants, build(agents, links, placements)) == first


@settings(max_examples=300)
@given(scenes())
def test_what_is_pending_fits_nowhere_and_every_blocker_is_true(scene):
    job, wants, agents, links, placements = scene
    decision = decide(job, wants, build(agents, links, placements))
    if decision.pending is None:
        return
    then = after(scene, decision)
    hosts = {name: (agent, host) for name, agent, host in then.agents()}
    assert not any(could(job, agent, host) for agent, host in hosts.values())
    need = job.spec.task.resources.cpu
    # They are those of the first slot, and what has ended of that stands in nobody's way.
    for task in next(want.ended for want in wants if want.slot == decision.pending.slots[0]):
        then.remove(task)
    assert not any(could(job, agent, host) for agent, host in hosts.values())
    blocked = set()
    for blocker in decision.pending.blockers:
        assert blocker.agents_count == len(blocker.agents)
        blocked.update(blocker.agents)
        for agent, host in (hosts[name] for name in blocker.agents):
            match blocker.predicate:
                case "link":
                    assert host.link is not LinkState.CONNECTED
                    assert blocker.found == host.link
                case "cpu":
                    free = agent.capacity.cpu - host.cpu
                    assert free < need
                    assert blocker.wanted == f"{format_cpu(need)} free"
                    over = f", overdrawn by {format_cpu(-free)}" if free < 0 else ""
                    there = f"{format_cpu(max(0, free))} free of {format_cpu(agent.capacity.cpu)}"
                    assert blocker.found == there + over
                case "tag zone":
                    assert blocker.found == agent.tags["zone"] != blocker.wanted
                case "port 80":
                    assert 80 in host.ports
                case _:
                    raise AssertionError(blocker)
    assert blocked == hosts.keys()


@settings(max_examples=300)
@given(scenes())
def test_what_is_dropped_to_make_room_makes_enough_of_it(scene):
    job, wants, agents, links, placements = scene
    decision = decide(job, wants, build(agents, links, placements))
    then = after(scene, decision)
    known = {placement.task: placement for placement in placements}
    pending = decision.pending.slots if decision.pending else ()
    for drop in decision.drops:
        dropped = known[drop.task]
        assert dropped.slot in pending
        then.remove(dropped.task)
        host = then.host(drop.agent)
        assert could(job, host.agent, host)
        then.add(
            a_placement(
                slot=dropped.slot,
                revision=99,
                agent=drop.agent,
                cpu=job.spec.task.resources.cpu,
                ports=job.spec.task.ports.values(),
            )
        )
