"""What goes for a slot that fits nowhere: of lower priority, where least is lost, and nothing that could stay."""

from itertools import combinations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from harpoon.core.forms import join, keep_room
from harpoon.core.preempt import SLOTS_AT_ONCE
from harpoon.model.agent import LinkState
from harpoon.model.rules import Distinct, Requirement
from tests.builders import T0, a_cordon, a_job, a_link, a_placement, a_want, an_agent
from tests.core.placing import a_fleet, put


def a_world(*agents, priorities, placements, **more):
    """A fleet, and the priorities of the jobs that are there, by name."""
    fleet = a_fleet(*agents, placements=placements, **more)
    for job, priority in priorities.items():
        fleet.set_priority("default", job, priority)
    return fleet


def an_urgent_job(**fields):
    return a_job(**{"name": "urgent", "priority": 80, "preempt": True, "cpu": 2000, **fields})


def dropped(decision):
    return [drop.task for drop in decision.drops]


def test_nothing_goes_for_a_job_that_does_not_ask_for_it():
    low = a_placement(job="low", cpu=4000)
    fleet = a_world(an_agent(), priorities={"low": 10}, placements=[low])
    decision = put(an_urgent_job(preempt=False), fleet)
    assert (decision.drops, decision.pending.awaited) == ((), ())


def test_a_task_of_lower_priority_goes_and_both_sides_are_told():
    low = a_placement(job="low", cpu=4000)
    decision = put(an_urgent_job(), a_world(an_agent(), priorities={"low": 10}, placements=[low]))
    (drop,) = decision.drops
    assert (drop.task, drop.agent) == (low.task, "a1")
    assert drop.reason == (
        "it makes room for slot 0 of job default/urgent, which fits nowhere else, and whose priority is 80 over 10"
    )
    assert decision.pending.awaited == (low.task,)
    assert decision.pending.reason.endswith(f"; {low.task} go to make room")
    assert decision.placements == ()


@pytest.mark.parametrize("priority", [80, 81, 100])
def test_nothing_goes_of_the_same_or_a_higher_priority(priority):
    fleet = a_world(an_agent(), priorities={"other": priority}, placements=[a_placement(job="other", cpu=4000)])
    decision = put(an_urgent_job(), fleet)
    assert decision.drops == ()
    assert decision.pending.reason.endswith("it would not fit without any tasks of a priority below 80 either")


def test_a_job_of_which_nothing_is_known_has_the_usual_priority():
    fleet = a_world(an_agent(), priorities={}, placements=[a_placement(job="other", cpu=4000)])
    assert put(an_urgent_job(priority=50), fleet).drops == ()
    assert len(put(an_urgent_job(priority=51), fleet).drops) == 1


def test_what_the_job_waits_for_is_not_stopped_for_it():
    fleet = a_world(an_agent(), priorities={"db": 10}, placements=[a_placement(job="db", cpu=4000)])
    assert put(an_urgent_job(depends_on=["db"]), fleet).drops == ()
    assert len(put(an_urgent_job(depends_on=["db"], namespace="other"), fleet).drops) == 1


def test_nothing_goes_where_a_slot_fits():
    low = a_placement(job="low", cpu=4000)
    fleet = a_world(an_agent("a1"), an_agent("a2"), priorities={"low": 0}, placements=[low])
    decision = put(an_urgent_job(), fleet)
    assert (decision.drops, [one.agent for one in decision.placements]) == ((), ["a2"])


def test_no_more_goes_than_is_needed_and_the_newest_first():
    tasks = [a_placement(job="low", slot=slot, cpu=1000, decided_ms=T0 + age) for slot, age in enumerate([3, 1, 4, 2])]
    decision = put(an_urgent_job(), a_world(an_agent(), priorities={"low": 10}, placements=tasks))
    assert sorted(dropped(decision)) == [tasks[0].task, tasks[2].task]


def test_the_agent_is_taken_where_the_least_important_goes():
    fleet = a_world(
        an_agent("a1"),
        an_agent("a2"),
        priorities={"low": 10, "lower": 5},
        placements=[a_placement(job="low", cpu=4000), a_placement(job="lower", agent="a2", cpu=4000)],
    )
    assert dropped(put(an_urgent_job(), fleet)) == ["default.lower.0.1-1"]


def test_of_agents_alike_the_one_is_taken_where_fewer_go():
    fleet = a_world(
        an_agent("a1"),
        an_agent("a2"),
        priorities={"low": 10},
        placements=[
            *(a_placement(job="low", slot=slot, cpu=2000) for slot in (0, 1)),
            a_placement(job="low", slot=2, agent="a2", cpu=4000),
        ],
    )
    assert dropped(put(an_urgent_job(cpu=4000), fleet)) == ["default.low.2.1-1"]


def test_what_is_going_already_is_waited_for_and_nothing_else_goes():
    going = a_placement(job="other", cpu=4000, is_revoked=True)
    low = a_placement(job="low", agent="a2", cpu=4000)
    fleet = a_world(an_agent("a1"), an_agent("a2"), priorities={"low": 10, "other": 99}, placements=[going, low])
    decision = put(an_urgent_job(), fleet)
    assert (decision.drops, decision.pending.awaited) == ((), (going.task,))


def test_what_is_going_makes_room_for_one_slot_only():
    going = a_placement(job="other", cpu=2000, is_revoked=True)
    low = a_placement(job="low", cpu=2000)
    fleet = a_world(an_agent(), priorities={"low": 10}, placements=[going, low])
    decision = put(an_urgent_job(scale=3), fleet)
    assert dropped(decision) == [low.task]
    assert decision.awaited == {0: (going.task,), 1: (low.task,)}
    assert decision.pending.slots == (0, 1, 2)
    assert decision.pending.reason.endswith(
        "go to make room, and 1 more would not fit without any tasks of a priority below 80 either"
    )


def test_a_task_that_nobody_placed_is_left_alone():
    fleet = a_world(an_agent(), priorities={}, placements=[a_placement(job="old", cpu=4000, version=0)])
    assert put(an_urgent_job(), fleet).drops == ()


def test_agents_that_take_nothing_are_not_emptied():
    placements = [a_placement(job="low", slot=slot, agent=f"a{slot}", cpu=4000) for slot in (1, 2, 3)]
    fleet = a_world(
        an_agent("a1"),
        an_agent("a2"),
        an_agent("a3", tags={"zone": "x"}),
        priorities={"low": 10},
        placements=placements,
        cordons=[a_cordon("a1")],
        links=[a_link("a2", LinkState.INTERRUPTED)],
    )
    job = an_urgent_job(require=[Requirement(tag="zone", equals="y")])
    assert put(job, fleet).drops == ()


def test_an_agent_to_avoid_is_taken_only_if_no_other_would_do():
    placements = [a_placement(job="low", slot=slot, agent=f"a{slot}", cpu=4000) for slot in (1, 2)]
    world = {"priorities": {"low": 10}, "placements": placements}
    fleet = a_world(an_agent("a1"), an_agent("a2"), **world)
    assert dropped(put(an_urgent_job(), fleet, a_want(0, avoid=("a1",)))) == [placements[1].task]
    assert dropped(put(an_urgent_job(), fleet, a_want(0, avoid=("a1", "a2")))) == [placements[0].task]


def test_slots_that_must_be_apart_are_given_room_apart():
    placements = [a_placement(job="low", slot=slot, agent=f"a{slot}", cpu=4000) for slot in (1, 2)]
    fleet = a_world(an_agent("a1"), an_agent("a2"), priorities={"low": 10}, placements=placements)
    decision = put(an_urgent_job(scale=3, cpu=1000, distinct=Distinct.AGENT), fleet)
    assert dropped(decision) == [one.task for one in placements]
    assert decision.awaited.keys() == {0, 1}


def test_what_has_ended_of_the_slot_itself_is_no_reason_for_others_to_go():
    ended = a_placement(job="urgent", cpu=2000)
    lows = [a_placement(job="low", slot=slot, cpu=1000) for slot in (0, 1)]
    fleet = a_world(an_agent(), priorities={"low": 10}, placements=[ended, *lows])
    want = a_want(0, replaces=(ended.task,), ended=(ended.task,))
    assert len(put(an_urgent_job(cpu=3000), fleet, want).drops) == 1
    # Without room in any case, it counts again for the next one.
    decision = put(an_urgent_job(cpu=4000, scale=2), fleet, want, a_want(1))
    assert (len(decision.drops), decision.awaited.keys()) == (2, {0})
    nothing = put(an_urgent_job(cpu=4001), fleet, want)
    assert (nothing.drops, nothing.awaited) == ((), {})


def test_ports_and_named_resources_make_room_too():
    gpu = a_placement(job="low", agent="a1", named={"gpu": 1})
    port = a_placement(job="low", slot=1, agent="a2", ports=(80,))
    fleet = a_world(an_agent("a1", named={"gpu": 1}), an_agent("a2"), priorities={"low": 10}, placements=[gpu, port])
    assert dropped(put(an_urgent_job(cpu=0, named={"gpu": 1}), fleet)) == [gpu.task]
    fleet.remove_agent("a1")
    assert dropped(put(an_urgent_job(cpu=0, ports={"http": 80}), fleet)) == [port.task]


def test_one_decision_empties_no_more_than_a_bounded_number_of_slots_rooms():
    count = SLOTS_AT_ONCE + 5
    agents = [an_agent(f"a{number:03}", cpu=1000) for number in range(count)]
    placements = [a_placement(job="low", slot=n, agent=one.name, cpu=1000) for n, one in enumerate(agents)]
    fleet = a_world(*agents, priorities={"low": 10}, placements=placements)
    assert len(put(an_urgent_job(cpu=1000, scale=count), fleet).drops) == SLOTS_AT_ONCE


@st.composite
def worlds(draw):
    """Three agents with tasks of three jobs, some of which are going."""
    priorities = {name: draw(st.sampled_from([0, 10, 50, 79, 80, 90])) for name in ("p", "q", "r")}
    placements = [
        a_placement(
            job=draw(st.sampled_from("pqr")),
            slot=slot,
            agent=draw(st.sampled_from(["a1", "a2", "a3"])),
            cpu=draw(st.integers(0, 3)),
            memory=draw(st.integers(0, 3)),
            decided_ms=T0 + draw(st.integers(0, 2)),
            is_revoked=draw(st.sampled_from([False, False, False, True])),
        )
        for slot in range(draw(st.integers(0, 9)))
    ]
    agents = [
        an_agent(name, cpu=draw(st.integers(0, 6)), memory=draw(st.integers(0, 6))) for name in ("a1", "a2", "a3")
    ]
    job = an_urgent_job(cpu=draw(st.integers(0, 4)), memory=draw(st.integers(0, 4)))
    return job, a_world(*agents, priorities=priorities, placements=placements), agents, placements


def _ways(job, fleet, agents, placements):
    """Every set of tasks that may go so that one slot of the job fits on an agent: what is going goes anyway."""
    need = job.spec.task.resources
    for agent in agents:
        there = [one for one in placements if one.agent == agent.name and not one.is_revoked]
        lower = [one for one in there if fleet.priority(one) < job.spec.priority]
        for count in range(len(lower) + 1):
            for gone in combinations(lower, count):
                left = [one for one in there if one not in gone]
                fits = [
                    not wanted or wanted <= capacity - sum(taken)
                    for wanted, capacity, taken in (
                        (need.cpu, agent.capacity.cpu, [one.reserve.cpu for one in left]),
                        (need.memory, agent.capacity.memory, [one.reserve.memory for one in left]),
                    )
                ]
                if all(fits):
                    yield frozenset(one.task for one in gone)


@given(worlds())
def test_it_is_the_way_on_which_the_least_important_goes_and_nothing_that_could_stay(world):
    job, fleet, agents, placements = world
    decision = put(job, fleet)
    if decision.placements:
        assert decision.drops == ()
        return
    ways = list(_ways(job, fleet, agents, placements))
    known = {one.task: fleet.priority(one) for one in placements}
    gone = frozenset(dropped(decision))
    assert bool(decision.awaited) == bool(ways)
    if ways:
        assert gone in ways
        assert not any(way < gone for way in ways)
        most = [max((known[task] for task in way), default=-1) for way in ways]
        assert max((known[task] for task in gone), default=-1) == min(most)
        assert {drop.agent for drop in decision.drops} <= {"a1", "a2", "a3"}
    assert put(job, fleet) == decision


def test_a_priority_beyond_its_bounds_is_refused():
    with pytest.raises(ValueError, match="priority is 0 to 100"):
        a_job(priority=101)


def test_what_ended_makes_its_agent_the_better_one():
    lows = [a_placement(job="low", slot=slot, agent="a2", cpu=cpu) for slot, cpu in enumerate([2000, 1000])]
    more = [a_placement(job="low", slot=slot, agent=name, cpu=4000) for slot, name in ((2, "a1"), (3, "a3"))]
    ended = a_placement(job="urgent", slot=1, agent="a2", cpu=1000)
    agents = [an_agent(name) for name in ("a1", "a2", "a3")]
    fleet = a_world(*agents, priorities={"low": 10}, placements=[*lows, *more, ended])
    wants = [a_want(0), a_want(1, replaces=(ended.task,), ended=(ended.task,)), a_want(2), a_want(3)]
    decision = put(an_urgent_job(scale=4, cpu=3000), fleet, *wants)
    given = {slot: [fleet.placement(task).agent for task in tasks] for slot, tasks in decision.awaited.items()}
    assert given == {0: ["a1"], 1: ["a2"], 2: ["a3"]}


@pytest.mark.parametrize(("cpu", "awaited"), [(1000, {0, 1}), (3000, {0})])
def test_two_forms_of_a_job_neither_drop_a_task_twice_nor_count_on_the_same_room(cpu, awaited):
    low = a_placement(job="low", cpu=4000)
    fleet = a_world(an_agent(), priorities={"low": 10}, placements=[low])
    job, former = an_urgent_job(cpu=cpu, scale=2), an_urgent_job(cpu=cpu, scale=2, generation="g0")
    first = put(job, fleet, a_want(0))
    keep_room(job, first, fleet)
    both = join(job, [first, put(former, fleet, a_want(1, is_held_back=True))])
    assert dropped(both) == [low.task]
    assert both.awaited.keys() == awaited
    assert both.pending.kept == {"a1": tuple(sorted(awaited))}
