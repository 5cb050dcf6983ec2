"""Where slots go."""

import time

import pytest

from harpoon.core.place import Decision
from harpoon.model.agent import LinkState
from harpoon.model.decision import Blocker
from harpoon.model.rules import Requirement
from harpoon.model.task import Reservation
from tests.builders import MIB, T0, a_cordon, a_job, a_link, a_placement, a_want, an_agent
from tests.core.placing import a_fleet, agents_of, others, put

# What a placement says.


def test_a_placement_records_what_was_decided_when_and_why():
    job = a_job(version=5, generation="g9", cpu=100, memory=MIB, ports={"http": 8080})
    (placement,) = put(job, a_fleet(an_agent()), a_want(0, failures=2, reason="it failed")).placements
    assert (placement.namespace, placement.job, placement.slot, placement.agent) == ("default", "web", 0, "a1")
    assert (placement.incarnation, placement.revision, placement.task) == (3, 42, "default.web.0.3-42")
    assert (placement.generation, placement.version, placement.failures) == ("g9", 5, 2)
    assert placement.decided_ms == T0 + 1000
    assert placement.reserve == Reservation(cpu=100, memory=MIB, ports=(8080,))
    assert placement.reason == "it failed; spread: a1 has 0 of this job's tasks; 1 of 1 agents could"


def test_no_wants_need_no_agents():
    assert put(a_job(scale=0), a_fleet()) == Decision(placements=(), pending=None)


# Score.


def test_tasks_of_one_job_are_spread():
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), an_agent("a3"))
    assert agents_of(put(a_job(scale=4), fleet)) == ["a1", "a2", "a3", "a1"]


def test_spreading_counts_what_is_there_of_this_generation_only():
    there = [a_placement(slot=0, agent="a1", revision=1), a_placement(slot=1, agent="a1", revision=1)]
    older = [a_placement(slot=slot, agent="a2", revision=2, generation="g0") for slot in range(5)]
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=[*there, *older])
    assert agents_of(put(a_job(scale=4), fleet, a_want(2), a_want(3))) == ["a2", "a2"]


def test_of_agents_with_equally_many_the_fuller_one_is_filled_up():
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=others("a2", 1, cpu=1000))
    assert agents_of(put(a_job(cpu=500), fleet)) == ["a2"]
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=others("a2", 1, memory=1024 * MIB))
    assert agents_of(put(a_job(cpu=500), fleet)) == ["a2"]


def test_of_equal_agents_the_first_by_name_is_taken():
    assert agents_of(put(a_job(), a_fleet(an_agent("b"), an_agent("a")))) == ["a"]


def test_an_agent_without_any_capacity_takes_tasks_that_reserve_nothing():
    assert agents_of(put(a_job(), a_fleet(an_agent(cpu=0, memory=0)))) == ["a1"]


def test_a_task_that_reserves_nothing_fits_even_where_capacity_has_shrunk():
    fleet = a_fleet(an_agent(cpu=100), placements=others("a1", 1, cpu=200, memory=9999 * MIB))
    assert agents_of(put(a_job(), fleet)) == ["a1"]


def test_agents_to_avoid_are_taken_last():
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=[a_placement(slot=7, agent="a2")])
    decision = put(a_job(), fleet, a_want(0, avoid=("a1",)))
    assert agents_of(decision) == ["a2"]
    decision = put(a_job(), fleet, a_want(0, avoid=("a1", "a2")))
    assert agents_of(decision) == ["a1"]
    assert decision.placements[0].reason.endswith("; it was to be avoided, but no other could")


def test_an_agent_avoided_by_one_slot_is_open_to_the_next():
    fleet = a_fleet(an_agent("a1"), an_agent("a2"))
    assert agents_of(put(a_job(), fleet, a_want(0, avoid=("a1",)), a_want(1))) == ["a2", "a1"]


# Predicates.


@pytest.mark.parametrize("state", [LinkState.UNKNOWN, LinkState.INTERRUPTED, LinkState.LOST])
def test_an_agent_that_is_not_connected_gets_nothing(state):
    decision = put(a_job(), a_fleet(an_agent(), links=[a_link(state=state)]))
    assert decision.placements == ()
    assert decision.pending.blockers == (
        Blocker(predicate="link", wanted="connected", found=str(state), agents=("a1",), agents_count=1),
    )


@pytest.mark.parametrize(("is_draining", "found"), [(False, "cordoned"), (True, "draining")])
def test_a_cordoned_agent_gets_nothing(is_draining, found):
    cordon = a_cordon("a1", is_draining=is_draining)
    decision = put(a_job(), a_fleet(an_agent("a1"), an_agent("a2", cpu=0), cordons=[cordon]))
    assert agents_of(decision) == ["a2"]
    decision = put(a_job(), a_fleet(an_agent("a1"), cordons=[cordon]))
    assert decision.placements == ()
    assert decision.pending.blockers == (
        Blocker(predicate="cordon", wanted="none", found=found, agents=("a1",), agents_count=1),
    )


def test_an_agent_whose_cordon_was_lifted_is_taken_again():
    fleet = a_fleet(an_agent("a1"), cordons=[a_cordon("a1", is_draining=True)])
    fleet.lift_cordon("a1")
    assert agents_of(put(a_job(), fleet)) == ["a1"]


def test_slots_that_leave_a_draining_agent_and_fit_nowhere_say_that_they_stay_there():
    here = [a_placement(slot=slot) for slot in range(2)]
    cordon = a_cordon("a1", is_draining=True)
    decision = put(a_job(scale=2), a_fleet(an_agent("a1"), placements=here, cordons=[cordon]))
    assert decision.drops == ()
    assert decision.pending.reason.endswith("; default.web.0.1-1 (and 1 more) stays on a1, which is draining")
    timed = a_cordon("a1", is_draining=True, deadline_ms=T0 + 60_000)
    decision = put(a_job(scale=2), a_fleet(an_agent("a1"), placements=here[:1], cordons=[timed]))
    assert decision.pending.reason.endswith(
        "; default.web.0.1-1 stays on a1, which is draining, until 2026-01-01T00:01:00Z at the latest"
    )


def test_what_runs_on_a_draining_agent_is_not_dropped_to_make_room_for_its_successor():
    here = a_placement(cpu=1000)
    fleet = a_fleet(an_agent("a1", cpu=1000), placements=[here], cordons=[a_cordon("a1", is_draining=True)])
    decision = put(a_job(cpu=1000), fleet, a_want(0, replaces=(here.task,)))
    assert (decision.placements, decision.drops) == ((), ())


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        (Requirement(tag="zone", equals="b"), True),
        (Requirement(tag="zone", equals="c"), False),
        (Requirement(tag="disk", equals="ssd"), False),
        (Requirement(tag="zone", in_=("a", "b")), True),
        (Requirement(tag="zone", in_=("a",)), False),
        (Requirement(tag="disk", in_=("ssd",)), False),
        (Requirement(tag="zone", not_in=("a",)), True),
        (Requirement(tag="zone", not_in=("a", "b")), False),
        (Requirement(tag="disk", not_in=("ssd",)), True),
        (Requirement(tag="zone", exists=True), True),
        (Requirement(tag="zone", exists=False), False),
        (Requirement(tag="disk", exists=True), False),
        (Requirement(tag="disk", exists=False), True),
        (Requirement(tag="arch", equals="x86_64"), True),
        (Requirement(tag="name", in_=("a1",)), True),
    ],
)
def test_requirements_test_tags_and_facts(rule, holds):
    fleet = a_fleet(an_agent(tags={"zone": "b"}))
    assert bool(put(a_job(require=[rule]), fleet).placements) is holds


@pytest.mark.parametrize(
    ("rule", "wanted", "found"),
    [
        (Requirement(tag="zone", equals="c"), "c", "b"),
        (Requirement(tag="disk", in_=("nvme", "ssd")), "one of nvme, ssd", "not set"),
        (Requirement(tag="zone", not_in=("b",)), "none of b", "b"),
        (Requirement(tag="disk", exists=True), "set", "not set"),
        (Requirement(tag="zone", exists=False), "not set", "b"),
    ],
)
def test_a_failed_requirement_is_told_with_both_values(rule, wanted, found):
    (blocker,) = put(a_job(require=[rule]), a_fleet(an_agent(tags={"zone": "b"}))).pending.blockers
    assert (blocker.predicate, blocker.wanted, blocker.found) == (f"tag {rule.tag}", wanted, found)


def test_a_fixed_port_is_given_once_an_agent():
    job = a_job(scale=3, ports={"http": 8080})
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), an_agent("a3"), placements=others("a2", 1, ports=(8080,)))
    decision = put(job, fleet)
    assert agents_of(decision) == ["a1", "a3"]
    assert [(b.predicate, b.wanted, b.found, b.agents) for b in decision.pending.blockers] == [
        ("port 8080", "free", "taken by job default/other", ("a2",)),
        ("port 8080", "free", "taken by job default/web", ("a1", "a3")),
    ]


# The ancestors' fixtures: a large and a small host.


@pytest.mark.parametrize(
    ("memory", "cpu", "chosen"), [(2048, 100, ["beefy"]), (99999, 100, []), (512, 33000, []), (32000, 32000, ["beefy"])]
)
def test_a_job_goes_where_it_fits(memory, cpu, chosen):
    fleet = a_fleet(an_agent("beefy", memory=32000 * MIB, cpu=32000), an_agent("wimpy", memory=1024 * MIB, cpu=4000))
    assert agents_of(put(a_job(memory=memory * MIB, cpu=cpu), fleet)) == chosen


def test_what_is_reserved_already_is_not_given_again():
    fleet = a_fleet(an_agent(cpu=31000), placements=others("a1", 1, cpu=30000))
    assert put(a_job(cpu=2000), fleet).placements == ()
    assert put(a_job(cpu=1000), fleet).pending is None


def test_four_tasks_on_two_hosts_are_two_each():
    decision = put(a_job(scale=4, cpu=1000), a_fleet(an_agent("beefy", cpu=32000), an_agent("wimpy")))
    assert sorted(agents_of(decision)) == ["beefy", "beefy", "wimpy", "wimpy"]


def test_of_five_tasks_the_three_that_fit_are_placed():
    decision = put(a_job(scale=5, cpu=1000), a_fleet(an_agent(cpu=3500)))
    assert [placement.slot for placement in decision.placements] == [0, 1, 2]
    assert decision.pending.slots == (3, 4)


# Replacing.


def test_what_has_ended_makes_room_for_its_successor():
    failed = a_placement(slot=0, revision=1, cpu=4000, ports=(80,))
    fleet = a_fleet(an_agent(), placements=[failed])
    job = a_job(cpu=4000, ports={"http": 80})
    assert put(job, fleet).placements == ()
    decision = put(job, fleet, a_want(0, replaces=(failed.task,), ended=(failed.task,)))
    assert agents_of(decision) == ["a1"]
    assert decision.placements[0].reason.endswith("a1 has 0 of this job's tasks; 1 of 1 agents could")


def test_what_has_ended_makes_room_for_its_own_slot_alone_and_that_is_what_is_told():
    failed = a_placement(slot=0, revision=1, cpu=1000)
    fleet = a_fleet(an_agent(cpu=2000), placements=[failed, *others("a1", 1, cpu=500)])
    decision = put(a_job(scale=2, cpu=1800), fleet, a_want(0, replaces=(failed.task,), ended=(failed.task,)), a_want(1))
    assert decision.pending.slots == (0, 1)
    (blocker,) = decision.pending.blockers
    assert blocker.found == "1500m free of 2000m"


def test_room_that_a_later_slot_gives_back_serves_an_earlier_one():
    failed = a_placement(slot=1, revision=1, cpu=4000)
    fleet = a_fleet(an_agent(), placements=[failed])
    decision = put(a_job(scale=2, cpu=2000), fleet, a_want(0), a_want(1, replaces=(failed.task,), ended=(failed.task,)))
    assert [placement.slot for placement in decision.placements] == [1, 0]
    assert decision.pending is None


def test_a_replaced_placement_that_nobody_knows_frees_nothing():
    unknown = a_placement(agent="gone", cpu=4000)
    fleet = a_fleet(an_agent(), placements=[unknown])
    want = a_want(0, replaces=(unknown.task, "default.web.0.1-9"), ended=(unknown.task, "default.web.0.1-9"))
    assert agents_of(put(a_job(cpu=4000), fleet, want)) == ["a1"]


def test_what_runs_keeps_its_room_beside_its_successor():
    running = a_placement(generation="g0", cpu=2000)
    fleet = a_fleet(an_agent(cpu=4000), placements=[running])
    decision = put(a_job(cpu=2000), fleet, a_want(0, replaces=(running.task,)))
    assert (agents_of(decision), decision.drops) == (["a1"], ())


def test_what_runs_is_dropped_first_where_only_its_room_could_hold_its_successor():
    running, other = a_placement(generation="g0", cpu=3000), a_placement(slot=1, generation="g0", cpu=1000)
    fleet = a_fleet(an_agent(cpu=4000), placements=[running, other])
    wants = [a_want(0, replaces=(running.task,)), a_want(1, replaces=(other.task,))]
    decision = put(a_job(scale=2, cpu=2500), fleet, *wants)
    assert decision.placements == ()
    assert [drop.task for drop in decision.drops] == [running.task], "the second would gain nothing"
    assert decision.drops[0].reason.startswith("it makes room for its successor")
    assert decision.pending.slots == (0, 1)


def test_what_runs_is_not_dropped_for_a_successor_that_fits_nowhere():
    running = a_placement(generation="g0", cpu=3000, ports=(80,))
    fleet = a_fleet(an_agent(cpu=4000), placements=[running])
    want = a_want(0, replaces=(running.task,))
    assert put(a_job(cpu=5000), fleet, want).drops == ()
    assert put(a_job(require=[Requirement(tag="zone", exists=True)]), fleet, want).drops == ()
    assert put(a_job(ports={"http": 80}), fleet, want).drops != ()


def test_two_slots_do_not_count_on_the_same_port():
    running = [a_placement(slot=slot, generation="g0", ports=(80 + slot,)) for slot in range(2)]
    fleet = a_fleet(an_agent(), placements=running)
    wants = [a_want(slot, replaces=(running[slot].task,)) for slot in range(2)]
    decision = put(a_job(scale=2, ports={"a": 80, "b": 81}), fleet, *wants)
    assert decision.drops == ()


# Cost.


@pytest.mark.parametrize("agents", [1, 2, 100])
def test_a_thousand_slots_are_placed_in_a_moment(agents):
    fleet = a_fleet(*(an_agent(f"a{number}", cpu=10**6) for number in range(agents)))
    wants = [a_want(slot) for slot in range(1000)]
    started = time.process_time()
    assert len(put(a_job(scale=1000, cpu=100), fleet, *wants).placements) == 1000
    assert time.process_time() - started < 0.5, "measured: 15 ms"
