"""The index of the fleet, kept change by change."""

import hypothesis.strategies as st
from hypothesis import given, settings

from harpoon.core.fleet import Fleet, reservation
from harpoon.model.agent import LinkState
from harpoon.model.task import Reservation
from tests.builders import MIB, a_cordon, a_job, a_link, a_placement, a_template, an_agent

names = st.sampled_from(["a1", "a2"])
agents = st.builds(an_agent, names, cpu=st.sampled_from([1000, 2000]))
links = st.builds(a_link, names, st.sampled_from(LinkState))
cordons = st.builds(a_cordon, names, is_draining=st.booleans(), deadline_ms=st.sampled_from([None, 5]))
placements = st.builds(
    a_placement,
    agent=names,
    slot=st.integers(0, 1),
    job=st.sampled_from(["web", "db"]),
    generation=st.sampled_from(["g0", "g1"]),
    cpu=st.sampled_from([0, 100]),
    ports=st.sampled_from([(), (80,), (80, 443)]),
)
changes = st.one_of(
    st.tuples(st.just("set_agent"), agents),
    st.tuples(st.just("remove_agent"), names),
    st.tuples(st.just("set_link"), links),
    st.tuples(st.just("set_cordon"), cordons),
    st.tuples(st.just("lift_cordon"), names),
    st.tuples(st.just("add"), placements),
    st.tuples(st.just("remove"), placements),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(changes, max_size=30))
def test_the_kept_index_equals_one_built_afresh(history):
    kept, agents, links, cordons, placed = Fleet(), {}, {}, {}, {}
    for verb, noun in history:
        getattr(kept, verb)(noun.task if verb == "remove" else noun)
        match verb:
            case "set_agent":
                agents[noun.name] = noun
            case "remove_agent":
                agents.pop(noun, None)
                links.pop(noun, None)
            case "set_link":
                links[noun.agent] = noun
            case "set_cordon":
                cordons[noun.agent] = noun
            case "lift_cordon":
                cordons.pop(noun, None)
            case "add":
                placed[noun.task] = noun
            case "remove":
                placed.pop(noun.task, None)
    fresh = Fleet()
    for placement in placed.values():
        fresh.add(placement)
    for link in links.values():
        fresh.set_link(link)
    for agent in agents.values():
        fresh.set_agent(agent)
    for cordon in cordons.values():
        fresh.set_cordon(cordon)
    assert kept == fresh
    assert kept.leaving == {name: one.deadline_ms for name, one in cordons.items() if one.is_draining}
    assert {name for name, _, _ in kept.agents()} == agents.keys()
    assert all(kept.placement(task) == placement for task, placement in placed.items())


def test_it_tells_what_is_reserved_on_an_agent():
    fleet = Fleet()
    fleet.add(a_placement(agent="a1", slot=0, cpu=100, memory=5, ports=(80,)))
    fleet.add(a_placement(agent="a1", slot=1, cpu=200, memory=6))
    host = fleet.host("a1")
    assert (host.cpu, host.memory, host.ports) == (300, 11, {80: {"default.web.0.1-1"}})
    assert fleet.host("a2") is None


def test_it_tells_the_placements_of_a_job():
    fleet = Fleet()
    fleet.add(a_placement(generation="g0", job="db"))
    fleet.add(mine := a_placement(generation="g1"))
    assert list(fleet.placements_of(a_job())) == [mine]
    assert not fleet.placements_of(a_job(name="other"))


@settings(max_examples=100, deadline=None)
@given(st.lists(changes, max_size=20), st.lists(changes, max_size=20))
def test_a_fork_changes_apart(history, future):
    def play(fleet, changes):
        for verb, noun in changes:
            getattr(fleet, verb)(noun.task if verb == "remove" else noun)
        return fleet

    kept = play(Fleet(), history)
    fork = kept.fork()
    assert fork == kept
    play(fork, future)
    assert kept == play(Fleet(), history)


def test_it_knows_the_priorities_of_jobs_and_says_when_one_falls():
    fleet, task = Fleet(), a_placement()
    assert fleet.priority(task) == 50
    assert [fleet.set_priority("default", "web", priority) for priority in (80, 80, 20, 50, 50)] == [
        False,
        False,
        True,
        False,
        False,
    ]
    assert fleet == Fleet()
    assert not fleet.set_priority("default", "web", 60)
    assert (fleet.priority(task), fleet.fork().priority(task)) == (60, 60)
    assert fleet.priority(a_placement(job="other")) == 50


def test_room_that_is_kept_is_taken_until_it_is_given_up():
    fleet, need = Fleet(), Reservation(cpu=100, ports=(80,))
    fleet.set_agent(an_agent("a1"))
    assert not fleet.keep("default", "web", {"a1": (0, 2), "a2": (1,)}, need)
    assert (fleet.host("a1").cpu, fleet.host("a2").ports) == (200, {80: {"default.web.1.0-0"}})
    assert list(fleet.kept()) == [("default/web", "a1")]
    assert not fleet.placements_of(a_job())
    assert not fleet.keep("default", "web", {"a2": (1,), "a1": (0, 2)}, need)
    fork = fleet.fork()
    assert fork == fleet
    assert fleet.keep("default", "web", {"a1": (0,)}, need)
    assert (fleet.host("a1").cpu, fleet.host("a2")) == (100, None)
    fleet.release(a_job())
    assert (fleet.host("a1").cpu, list(fleet.kept()), fork.host("a1").cpu) == (0, [], 200)


def test_it_is_no_other_thing():
    assert Fleet() != "fleet"


def test_a_task_reserves_its_resources_and_its_fixed_ports():
    template = a_template(cpu=5, memory=MIB, ports={"b": 90, "a": 80, "any": 0})
    assert reservation(template) == Reservation(cpu=5, memory=MIB, ports=(80, 90))
