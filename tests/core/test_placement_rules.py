"""Preferring, spreading, distinct agents: rule by rule, and as properties over fleets."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from harpoon.core.fleet import Fleet
from harpoon.core.place import place
from harpoon.model.rules import Distinct, Preference, Requirement
from tests.builders import a_job, a_link, a_placement, a_want, an_agent, at
from tests.core.placing import put


def a_fleet(*agents, placements=()):
    fleet = Fleet()
    for agent in agents:
        fleet.set_agent(agent)
        fleet.set_link(a_link(agent.name))
    for placement in placements:
        fleet.add(placement)
    return fleet


def in_zone(name, zone, **fields):
    return an_agent(name, tags={} if zone is None else {"zone": zone}, **fields)


def decide(job, fleet, *wants):
    wants = wants or [a_want(slot) for slot in range(job.spec.scale)]
    return place(job, wants, fleet, at(), incarnation=1, revision=9)


def agents_of(decision):
    return [placement.agent for placement in decision.placements]


def test_slots_are_spread_over_zones_before_agents():
    fleet = a_fleet(in_zone("a1", "a"), in_zone("a2", "a"), in_zone("a3", "a"), in_zone("b1", "b"))
    placed = decide(a_job(scale=4, spread=["zone"]), fleet)
    assert Counter(name[0] for name in agents_of(placed)) == {"a": 2, "b": 2}
    assert len({name for name in agents_of(placed) if name[0] == "a"}) == 2


def test_tasks_that_are_there_count_for_the_spread_if_they_are_of_this_generation():
    there = [a_placement(slot=9, agent="a1", generation="g1"), a_placement(slot=8, agent="b1", generation="g0")]
    fleet = a_fleet(in_zone("a1", "a"), in_zone("a2", "a"), in_zone("b1", "b"), placements=there)
    placed = decide(a_job(spread=["zone"]), fleet)
    assert agents_of(placed) == ["b1"]
    assert "spread: zone b has 0, b1 has 0 of this job's tasks" in placed.placements[0].reason


def test_agents_without_the_tag_are_one_more_value():
    fleet = a_fleet(in_zone("a1", "a"), in_zone("n1", None), in_zone("n2", None))
    assert Counter(name[0] for name in agents_of(decide(a_job(scale=4, spread=["zone"]), fleet))) == {"a": 2, "n": 2}


def test_spread_over_two_tags_goes_by_the_first_and_then_by_the_second():
    agents = [an_agent(zone + rack, tags={"zone": zone, "rack": rack}) for zone in "ab" for rack in "xy"]
    assert sorted(agents_of(decide(a_job(scale=4, spread=["zone", "rack"]), a_fleet(*agents)))) == [
        "ax",
        "ay",
        "bx",
        "by",
    ]


def test_a_zone_that_is_full_leaves_the_rest_to_the_others():
    fleet = a_fleet(in_zone("a1", "a", cpu=1), in_zone("b1", "b", cpu=9))
    assert Counter(agents_of(decide(a_job(scale=5, cpu=1, spread=["zone"]), fleet))) == {"a1": 1, "b1": 4}


def test_a_preferred_agent_is_taken_among_those_equally_spread_and_never_against_the_spread():
    ssd = Preference(tag="disk", equals="ssd", weight=10)
    fleet = a_fleet(an_agent("a1"), an_agent("a2", tags={"disk": "ssd"}))
    placed = decide(a_job(scale=3, prefer=[ssd]), fleet)
    assert agents_of(placed) == ["a2", "a1", "a2"]
    assert "; preferred by 10;" in placed.placements[0].reason


def test_weights_add_up_and_those_below_zero_avoid():
    rules = [Preference(tag="disk", exists=True, weight=10), Preference(tag="old", in_=("yes",), weight=-20)]
    fleet = a_fleet(
        an_agent("a1", tags={"disk": "ssd", "old": "yes"}), an_agent("a2"), an_agent("a3", tags={"disk": "x"})
    )
    assert agents_of(decide(a_job(scale=3, prefer=rules), fleet)) == ["a3", "a2", "a1"]


def test_a_preference_rules_nobody_out():
    fleet = a_fleet(an_agent("a1"))
    assert agents_of(decide(a_job(prefer=[Preference(tag="disk", equals="ssd", weight=100)]), fleet)) == ["a1"]


def test_distinct_slots_that_find_no_agent_are_pending_and_say_so():
    decision = decide(a_job(scale=3, distinct=Distinct.AGENT), a_fleet(an_agent("a1"), an_agent("a2")))
    assert sorted(agents_of(decision)) == ["a1", "a2"]
    assert decision.pending.slots == (2,)
    assert {(b.predicate, b.wanted, b.found) for b in decision.pending.blockers} == {
        ("distinct agent", "no other slot of this job", "slot 0 is there"),
        ("distinct agent", "no other slot of this job", "slot 1 is there"),
    }


def test_a_slot_is_replaced_beside_its_own_old_task_though_slots_are_distinct():
    old = [a_placement(slot=slot, agent=f"a{slot}", generation="g0") for slot in (0, 1)]
    fleet = a_fleet(an_agent("a0"), an_agent("a1"), placements=old)
    decision = decide(a_job(scale=2, distinct=Distinct.AGENT), fleet)
    assert {placement.slot: placement.agent for placement in decision.placements} == {0: "a0", 1: "a1"}
    assert "1 of 2 agents could" in decision.placements[0].reason


@pytest.mark.parametrize("spread", [["zone"], ["zone", "rack"]])
def test_what_a_slot_gives_back_counts_for_the_spread_at_once(spread):
    agents = [an_agent(f"a{number}", tags={"zone": "ab"[number % 2], "rack": "r"}) for number in range(4)]
    ended = a_placement(slot=1, agent="a0")
    fleet = a_fleet(*agents, placements=[ended])
    decision = put(
        a_job(scale=2, spread=spread), fleet, a_want(0), a_want(1, replaces=(ended.task,), ended=(ended.task,))
    )
    assert agents_of(decision) == ["a1", "a0"]


def test_the_agent_of_its_own_old_task_is_avoided_like_any_other():
    old = a_placement(slot=0, agent="a1")
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=[old])
    job = a_job(distinct=Distinct.AGENT)
    assert agents_of(put(job, fleet, a_want(0, replaces=(old.task,), avoid=("a1",)))) == ["a2"]


def test_other_jobs_do_not_make_an_agent_taken():
    fleet = a_fleet(an_agent("a1"), placements=[a_placement(job="db", agent="a1", slot=5)])
    assert agents_of(decide(a_job(distinct=Distinct.AGENT), fleet)) == ["a1"]


def test_an_agent_to_be_avoided_is_taken_if_it_is_the_only_one_left():
    old = [a_placement(slot=1, agent="a2")]
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=old)
    decision = decide(a_job(scale=2, distinct=Distinct.AGENT), fleet, a_want(0, avoid=("a1",)))
    assert agents_of(decision) == ["a1"]
    assert "it was to be avoided" in decision.placements[0].reason


@st.composite
def spread_scenes(draw):
    zones = draw(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=6))
    agents = [in_zone(f"n{index}", zone, cpu=draw(st.integers(0, 4))) for index, zone in enumerate(zones)]
    names = [agent.name for agent in agents]
    old = [
        a_placement(slot=slot, agent=draw(st.sampled_from(names)), generation=draw(st.sampled_from(["g0", "g1"])))
        for slot in draw(st.sets(st.integers(0, 7), max_size=4))
    ]
    job = a_job(
        scale=8,
        cpu=draw(st.integers(0, 2)),
        spread=draw(st.sampled_from([[], ["zone"]])),
        distinct=draw(st.sampled_from([None, Distinct.AGENT])),
        prefer=[Preference(tag="zone", equals="a", weight=draw(st.sampled_from([-5, 5])))],
        require=[Requirement(tag="zone", exists=True)] if draw(st.booleans()) else [],
    )
    wanted = draw(st.sets(st.integers(0, 7), min_size=1))
    return job, agents, old, [a_want(slot) for slot in sorted(wanted)]


@settings(max_examples=300)
@given(spread_scenes())
def test_distinct_slots_never_share_an_agent(scene):
    job, agents, old, wants = scene
    if job.spec.placement.distinct is None:
        return
    placed = decide(job, a_fleet(*agents, placements=old), *wants).placements
    for new in placed:
        assert not [one for one in (*old, *placed) if one.agent == new.agent and one.slot != new.slot]


@settings(max_examples=300)
@given(spread_scenes())
def test_each_slot_goes_where_its_zone_has_fewest_of_those_that_could_take_it(scene):
    job, agents, old, wants = scene
    decision = decide(job, a_fleet(*agents, placements=old), *wants)
    zone = {agent.name: agent.tags.get("zone", "") for agent in agents}
    there = [one for one in old if one.generation == job.generation]
    if not job.spec.placement.spread:
        return
    for index, new in enumerate(decision.placements):
        before = [*old, *decision.placements[:index]]
        counts = Counter(zone[one.agent] for one in [*there, *decision.placements[:index]])
        for agent in agents:
            rivals = [one for one in before if one.agent == agent.name]
            has_room = job.spec.task.resources.cpu + sum(one.reserve.cpu for one in rivals) <= agent.capacity.cpu
            is_distinct = job.spec.placement.distinct is None or all(one.slot == new.slot for one in rivals)
            is_let = not job.spec.placement.require or "zone" in agent.tags
            if (has_room or not job.spec.task.resources.cpu) and is_distinct and is_let:
                assert counts[zone[new.agent]] <= counts[zone[agent.name]]


@pytest.mark.parametrize("weight", [0, 101, -101])
def test_a_weight_that_means_nothing_is_refused(weight):
    with pytest.raises(ValueError, match="weight is -100 to 100, and not 0"):
        Preference(tag="x", exists=True, weight=weight)
