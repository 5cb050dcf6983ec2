"""The agents ranked for a shape of jobs: kept change by change, it is what it would be if it were made afresh."""

import hypothesis.strategies as st
from hypothesis import given, settings

from harpoon.core import fleet as fleets
from harpoon.core.fleet import Fleet
from harpoon.core.ranking import Shape
from harpoon.model.agent import LinkState
from harpoon.model.rules import PlacementRules, Preference, Requirement, Spread
from harpoon.model.task import Reservation
from tests.builders import MIB, a_cordon, a_job, a_link, a_placement, an_agent
from tests.core.placing import a_fleet, agents_of, put

NAMES = ["a1", "a2", "a3", "a4"]
SHAPES = [
    Shape(Reservation(), PlacementRules()),
    Shape(Reservation(cpu=100, memory=MIB, ports=(80,)), PlacementRules()),
    Shape(
        Reservation(cpu=900),
        PlacementRules(
            require=(Requirement(tag="zone", exists=True),),
            prefer=(Preference(tag="zone", equals="z"),),
            spread=(Spread(tag="zone"),),
        ),
    ),
]
names = st.sampled_from(NAMES)
tags = st.sampled_from([{}, {"zone": "y"}, {"zone": "z"}])
agents = st.builds(an_agent, names, cpu=st.sampled_from([0, 1000, 2000]), memory=st.just(8 * MIB), tags=tags)
placements = st.builds(
    a_placement,
    agent=names,
    slot=st.integers(0, 3),
    cpu=st.sampled_from([0, 100, 900]),
    memory=st.sampled_from([0, MIB]),
    ports=st.sampled_from([(), (80,)]),
)
changes = st.one_of(
    st.tuples(st.just("set_agent"), agents),
    st.tuples(st.just("remove_agent"), names),
    st.tuples(st.just("set_link"), st.builds(a_link, names, st.sampled_from([*LinkState, *[LinkState.CONNECTED] * 4]))),
    st.tuples(st.just("set_cordon"), st.builds(a_cordon, names)),
    st.tuples(st.just("lift_cordon"), names),
    st.tuples(st.just("add"), placements),
    st.tuples(st.just("remove"), st.builds(lambda placement: placement.task, placements)),
    st.tuples(st.just("ranking"), st.sampled_from(SHAPES)),
)


@settings(max_examples=300)
@given(st.lists(changes, max_size=40))
def test_a_ranking_that_is_kept_equals_one_made_afresh(history):
    kept = a_fleet(*map(an_agent, NAMES))
    for verb, noun in history:
        getattr(kept, verb)(noun)
    fresh = kept.fork()
    for shape in SHAPES:
        told, expected = kept.ranking(shape), fresh.ranking(shape)
        assert told.groups == expected.groups
        assert len(told) == len(expected) == sum(map(len, told.groups.values()))
        assert [name in told for name in NAMES] == [name in expected for name in NAMES]
    assert kept.count() == len(kept.agents())


def test_what_is_placed_and_given_back_counts_for_the_next_job_of_the_same_shape():
    fleet = a_fleet(an_agent("a1", cpu=200), an_agent("a2", cpu=300))
    first = put(a_job(cpu=100), fleet).placements[0]
    assert first.agent == "a1"
    fleet.add(first)
    assert agents_of(put(a_job(name="b", cpu=100, scale=2), fleet)) == ["a1", "a2"]
    fleet.set_link(a_link("a1", LinkState.LOST))
    assert agents_of(put(a_job(name="b", cpu=100, scale=2), fleet)) == ["a2", "a2"]
    fleet.set_link(a_link("a1"))
    fleet.remove(first.task)
    assert agents_of(put(a_job(name="b", cpu=200), fleet)) == ["a1"]


def test_only_so_many_shapes_are_kept_and_of_those_the_latest(monkeypatch):
    monkeypatch.setattr(fleets, "SHAPES_MAX", 2)
    fleet = Fleet()
    first, second, third = SHAPES
    of_first, of_second = fleet.ranking(first), fleet.ranking(second)
    assert fleet.ranking(first) is of_first
    fleet.ranking(third)
    assert fleet.ranking(first) is of_first
    assert fleet.ranking(second) is not of_second
