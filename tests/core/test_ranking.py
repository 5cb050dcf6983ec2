"""Agents by kind, and kinds in order: kept change by change, they are what they would be if they were made afresh."""

import hypothesis.strategies as st
from hypothesis import given, settings

from harpoon.core import fleet as fleets
from harpoon.core import ranking as rankings
from harpoon.core.fleet import Fleet
from harpoon.model.agent import LinkState
from harpoon.model.rules import PlacementRules, Preference, Requirement, Spread
from harpoon.model.task import Reservation
from tests.builders import MIB, a_cordon, a_job, a_link, a_placement, an_agent
from tests.core.placing import a_fleet, agents_of, put

NAMES = ["a1", "a2", "a3", "a4"]
SHAPES = [
    (Reservation(), PlacementRules()),
    (Reservation(cpu=100, memory=MIB, ports=(80,)), PlacementRules()),
    (Reservation(named=(("gpu", 1),)), PlacementRules()),
    (
        Reservation(cpu=900),
        PlacementRules(
            require=(Requirement(tag="zone", exists=True),),
            prefer=(Preference(tag="zone", equals="z"),),
            spread=(Spread(tag="zone"),),
        ),
    ),
]
names = st.sampled_from(NAMES)
amounts = st.sampled_from([{}, {"gpu": 1}])
tags = st.sampled_from([{}, {"zone": "y"}, {"zone": "z"}])
agents = st.builds(
    an_agent, names, cpu=st.sampled_from([0, 1000, 2000]), memory=st.just(8 * MIB), tags=tags, named=amounts
)
placements = st.builds(
    a_placement,
    agent=names,
    slot=st.integers(0, 3),
    cpu=st.sampled_from([0, 100, 900]),
    memory=st.sampled_from([0, MIB]),
    ports=st.sampled_from([(), (80,)]),
    named=amounts,
)
changes = st.one_of(
    st.tuples(st.just("set_agent"), agents),
    st.tuples(st.just("remove_agent"), names),
    st.tuples(st.just("set_link"), st.builds(a_link, names, st.sampled_from([*LinkState, *[LinkState.CONNECTED] * 4]))),
    st.tuples(st.just("set_cordon"), st.builds(a_cordon, names)),
    st.tuples(st.just("lift_cordon"), names),
    st.tuples(st.just("add"), placements),
    st.tuples(st.just("remove"), st.builds(lambda placement: placement.task, placements)),
    st.tuples(st.just("ask"), st.sampled_from(SHAPES)),
)


def ranked(fleet, shape):
    """Return the agents of each group, in order."""
    need, rules = shape
    for tag in ("zone", "name"):
        fleet.is_unique(tag)
    ranking = fleet.kinds(rules).ranking(need)
    return {values: list(ranking.names(values)) for values in ranking.groups}


@settings(max_examples=300, deadline=None)
@given(st.lists(changes, max_size=40))
def test_a_ranking_that_is_kept_equals_one_made_afresh(history):
    kept = a_fleet(*map(an_agent, NAMES))
    for verb, noun in history:
        if verb == "ask":
            ranked(kept, noun)
        else:
            getattr(kept, verb)(noun)
    fresh = kept.fork()
    for shape in SHAPES:
        kinds, told = kept.kinds(shape[1]), ranked(kept, shape)
        assert told == ranked(fresh, shape)
        assert kinds.of == {name: kind for kind, names in kinds.agents.items() for name in names}
        assert all(names == sorted(names) != [] for names in kinds.agents.values())
        ranking = kinds.ranking(shape[0])
        assert ranking.count == sum(map(len, told.values()))
        assert {name for known in told.values() for _, _, name in known} == {
            name for name, kind in kinds.of.items() if kind in ranking
        }
    assert kept.count() == len(kept.agents())
    for tag in ("zone", "name"):
        values = [{**agent.tags, **agent.facts}.get(tag, "") for _, agent, _ in kept.agents()]
        assert kept.is_unique(tag) == fresh.is_unique(tag) == (len(set(values)) == len(values))


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


def test_only_so_many_rules_are_kept_and_of_those_the_latest(monkeypatch):
    monkeypatch.setattr(fleets, "KINDS_MAX", 2)
    fleet = Fleet()
    first, second, third = (PlacementRules(spread=(Spread(tag=tag),)) for tag in "abc")
    of_first, of_second = fleet.kinds(first), fleet.kinds(second)
    assert fleet.kinds(first) is of_first
    fleet.kinds(third)
    assert fleet.kinds(first) is of_first
    assert fleet.kinds(second) is not of_second


def test_only_so_many_needs_are_kept_and_of_those_the_latest(monkeypatch):
    monkeypatch.setattr(rankings, "RANKINGS_MAX", 2)
    kinds = a_fleet(an_agent()).kinds(PlacementRules())
    first, second, third = (Reservation(cpu=cpu) for cpu in range(3))
    of_first, of_second = kinds.ranking(first), kinds.ranking(second)
    assert kinds.ranking(first) is of_first
    kinds.ranking(third)
    assert kinds.ranking(first) is of_first
    assert kinds.ranking(second) is not of_second


def test_only_so_many_tags_are_counted_and_an_agent_that_comes_again_counts_once(monkeypatch):
    monkeypatch.setattr(fleets, "TAGS_MAX", 1)
    fleet = a_fleet(an_agent("a1", tags={"rack": "r1"}), an_agent("a2", tags={"rack": "r1"}))
    assert not fleet.is_unique("rack")
    assert fleet.is_unique("name")
    assert not fleet.is_unique("rack")
    fleet.set_agent(an_agent("a2", tags={"rack": "r2"}))
    assert fleet.is_unique("rack")
    fleet.set_agent(an_agent("a3"))
    fleet.set_agent(an_agent("a4"))
    assert not fleet.is_unique("rack"), "two are without"
    fleet.remove_agent("a4")
    assert fleet.is_unique("rack")


def test_a_ranking_that_was_not_asked_for_while_much_changed_forgets_what_it_need_not_know():
    fleet = a_fleet(*(an_agent(f"a{number}") for number in range(3)))
    kinds, need = fleet.kinds(PlacementRules()), Reservation(cpu=100)
    ranking = kinds.ranking(need)
    for memory in range(1, 3000):
        fleet.add(a_placement(agent="a1", memory=memory))
        assert fleet.kinds(PlacementRules()) is kinds
    assert len(ranking.stale) < 2000
    assert sorted(name for _, _, name in kinds.ranking(need).names(())) == ["a0", "a1", "a2"]


def test_what_agents_had_whose_tags_have_changed_is_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(rankings, "_SPARE", 2)
    fleet = a_fleet(an_agent("a1"))
    rules = PlacementRules(spread=(Spread(tag="rack"), Spread(tag="zone")))
    for number in range(20):
        fleet.set_agent(an_agent("a1", tags={"rack": f"r{number}"}))
        assert [
            list(ranking.names(values))
            for ranking in [fleet.kinds(rules).ranking(Reservation())]
            for values in ranking.groups
        ] == [[(0, 0.0, "a1")]]
    assert len(fleet.kinds(rules)._traits) <= 5
