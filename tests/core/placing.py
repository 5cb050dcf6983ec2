"""Fleets to place on, and placing on them."""

from harpoon.core.fleet import Fleet
from harpoon.core.place import place
from tests.builders import a_link, a_placement, a_want, at


def a_fleet(*agents, placements=(), links=(), cordons=()):
    """Connected agents, unless a link says otherwise."""
    fleet = Fleet()
    for agent in agents:
        fleet.set_agent(agent)
        fleet.set_link(a_link(agent.name))
    for link in links:
        fleet.set_link(link)
    for cordon in cordons:
        fleet.set_cordon(cordon)
    for placement in placements:
        fleet.add(placement)
    return fleet


def put(job, fleet, *wants):
    return place(
        job, wants or [a_want(slot) for slot in range(job.spec.scale)], fleet, at(1), incarnation=3, revision=42
    )


def agents_of(decision):
    return [placement.agent for placement in decision.placements]


def others(agent, count, **fields):
    """Placements of another job."""
    return [a_placement(job="other", slot=slot, agent=agent, **fields) for slot in range(count)]
