"""What a plan promised is kept where that can be, waited for where it soon can, and else it is told that it was not."""

from dataclasses import replace

from harpoon.core.foretold import Outset
from harpoon.core.plan import foretell
from harpoon.core.promise import place_promised, promised
from harpoon.core.standing import Standing
from harpoon.model.agent import LinkState
from harpoon.model.job import Promise
from harpoon.model.rules import Distinct
from harpoon.model.task import TaskState
from tests.builders import a_cordon, a_job, a_link, a_placement, a_task, a_want, an_agent, at
from tests.core.placing import a_fleet, agents_of

NOW = at(10)


def a_promised_job(agents, **fields):
    job = a_job(version=2, generation="g2", **fields)
    return replace(job, promise=Promise(plan="sha256:x", agents={name: tuple(slots) for name, slots in agents.items()}))


def put(job, fleet, *wants, standings=(), going=None, most=None):
    wanted = wants or [a_want(slot) for slot in range(job.spec.scale)]
    agents = promised(job, standings, wanted)
    return place_promised(job, wanted, agents, going or {}, fleet, NOW, incarnation=1, revision=9, most=most)


def running(slot=0, **fields):
    placement = a_placement(slot=slot, **fields)
    return Standing(placement=placement, task=a_task(placement))


def test_a_slot_goes_to_the_agent_that_was_promised_though_another_is_better():
    fleet = a_fleet(an_agent("a1"), an_agent("a2"))
    decision = put(a_promised_job({"a2": [0, 1]}, scale=2), fleet)
    assert agents_of(decision) == ["a2", "a2"]
    assert decision.placements[0].reason == "slot 0 has no placement; as the plan promised"
    assert {one.promised for one in decision.placements} == {""}


def test_a_job_without_a_promise_is_placed_as_ever():
    fleet = a_fleet(an_agent("a1"))
    assert agents_of(put(a_job(), fleet)) == ["a1"]


def test_slots_without_a_promise_wait_for_those_that_have_one():
    fleet = a_fleet(an_agent("a1"))
    job = a_promised_job({"a1": [1]}, scale=2)
    assert [one.slot for one in put(job, fleet).placements] == [1]
    placed = a_placement(slot=1, version=2, generation="g2")
    rest = put(job, fleet, a_want(0), standings=(Standing(placement=placed, task=None),))
    assert [one.slot for one in rest.placements] == [0]


def test_a_promised_agent_that_takes_nothing_is_told_of_and_another_is_taken():
    cases = [
        (a_fleet(an_agent("a1"), an_agent("a2"), cordons=[a_cordon("a1")]), "cordon: wants none, found cordoned"),
        (a_fleet(an_agent("a1"), an_agent("a2"), links=[a_link("a1", LinkState.LOST)]), "found lost"),
        (a_fleet(an_agent("a2")), "agent: wants registered, found none of that name"),
        (a_fleet(an_agent("a1", cpu=100), an_agent("a2")), "cpu: wants 500m free, found 100m free of 100m"),
    ]
    for fleet, told in cases:
        (placement,) = put(a_promised_job({"a1": [0]}, cpu=500), fleet).placements
        assert (placement.agent, placement.promised) == ("a2", "a1")
        assert "the plan promised a1, which does not do (" in placement.reason
        assert told in placement.reason


def test_a_promised_agent_is_not_looked_for_again_once_the_slot_was_placed_for_this_version():
    job = a_promised_job({"a2": [0]})
    failed = a_placement(agent="a2", version=2, generation="g2")
    standings = (Standing(placement=failed, task=a_task(failed, state=TaskState.FAILED)),)
    assert promised(job, standings, [a_want(0)]) == {}
    old = (running(agent="a2"),)
    assert promised(job, old, [a_want(0)]) == {0: "a2"}
    assert promised(job, old, []) == {}


def test_room_that_is_about_to_be_free_is_waited_for():
    going = a_placement(job="db", agent="a1", cpu=4000)
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=[going])
    job = a_promised_job({"a1": [0]}, cpu=500)
    decision = put(job, fleet, going={"a1": [going.task]})
    assert decision.placements == ()
    assert decision.pending.slots == (0,)
    assert decision.pending.reason == "the plan promised agents on which there is soon room: slot 0 for a1"
    assert [blocker.predicate for blocker in decision.pending.blockers] == ["cpu"]
    assert agents_of(put(job, fleet)) == ["a2"]
    fleet.remove(going.task)
    assert agents_of(put(job, fleet)) == ["a1"]


def test_older_tasks_of_the_job_are_waited_for_only_while_the_slot_is_served():
    olds = [a_placement(slot=slot, agent=agent, cpu=4000) for slot, agent in ((0, "a1"), (1, "a3"))]
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), an_agent("a3"), placements=olds)
    job = a_promised_job({"a1": [1]}, scale=2, cpu=500)
    served = put(job, fleet, a_want(1))
    assert (served.placements, served.pending.slots) == ((), (1,))
    unserved = put(job, fleet, a_want(1, replaces=(olds[1].task,)))
    assert agents_of(unserved) == ["a2"]


def test_what_has_ended_of_a_slot_is_free_for_it():
    ended = a_placement(agent="a1", cpu=4000)
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=[ended])
    job = a_promised_job({"a1": [0]}, cpu=500)
    assert agents_of(put(job, fleet, a_want(0, replaces=(ended.task,), ended=(ended.task,)))) == ["a1"]


def test_two_slots_that_were_promised_one_agent_keep_apart_where_they_are_to():
    fleet = a_fleet(an_agent("a1"), an_agent("a2"))
    job = a_promised_job({"a1": [0, 1]}, scale=2, distinct=Distinct.AGENT)
    assert [(one.slot, one.agent) for one in put(job, fleet).placements] == [(0, "a1")]
    kept = a_placement(slot=0, agent="a1", version=2, generation="g2")
    fleet.add(kept)
    (other,) = put(job, fleet, a_want(1), standings=(Standing(placement=kept, task=None),)).placements
    assert (other.agent, other.promised) == ("a2", "a1")


def test_what_waits_and_what_fits_nowhere_is_told_together():
    going = [a_placement(job="db", slot=slot, agent="a1", cpu=400) for slot in range(10)]
    fleet = a_fleet(an_agent("a1"), placements=going)
    job = a_promised_job({"a1": range(10)}, scale=11, cpu=500)
    decision = put(job, fleet, going={"a1": [one.task for one in going]})
    assert decision.pending.slots == tuple(range(11))
    assert "slot 7 for a1 and 2 more; 1 of 11 wanted slots cannot be placed" in decision.pending.reason


def test_what_is_foretold_of_a_job_on_its_way_keeps_its_promise():
    going = a_placement(job="web", slot=5, agent="a2", cpu=4000)
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=[going])
    job = a_promised_job({"a2": [0]}, cpu=500)
    outset = Outset(job=job, leaving=(going.task, "default.web.6.1-1"))
    (course,) = foretell([outset], fleet, NOW, incarnation=1, revision=9)
    assert [(one.wave, one.agent) for one in course.placements] == [(2, "a2")]


def test_a_large_job_is_placed_a_part_at_a_time_by_a_promise_too():
    fleet = a_fleet(an_agent("a1"), an_agent("a2"))
    job = a_promised_job({"a1": [0, 1, 2]}, scale=4)
    first = put(job, fleet, most=2)
    assert ([one.slot for one in first.placements], first.pending, first.is_whole) == ([0, 1], None, False)
    rest = put(job, fleet, a_want(2), a_want(3))
    assert ([one.slot for one in rest.placements], rest.is_whole) == ([2], False), (
        "the other slot is still to be placed"
    )


def test_what_is_left_off_of_slots_that_do_without_their_promise_is_told_later():
    going = a_placement(job="db", agent="a1", cpu=4000)
    job = a_promised_job({"a1": [0], "gone": [1, 2]}, scale=3, cpu=500)
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=[going])
    decision = put(job, fleet, going={"a1": [going.task]}, most=1)
    assert ([one.slot for one in decision.placements], decision.pending, decision.is_whole) == ([1], None, False)
