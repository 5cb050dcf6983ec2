"""System jobs: the agents that they are for, their slots numbered and named, and each placed on its own agent or nowhere."""

import pytest

from harpoon.core.case import Case
from harpoon.core.held import Unmet, hold_back
from harpoon.core.members import members, numbered, sized, unmet_by
from harpoon.core.place import place
from harpoon.core.rollout import rollout
from harpoon.core.standing import Standing
from harpoon.core.why import explain
from harpoon.model.dependency import Dependency
from harpoon.model.job import JobType, OnLost, Spec, Update
from harpoon.model.name import TaskId
from harpoon.model.rules import Distinct, PlacementRules, Requirement, Spread
from harpoon.model.task import Number, TaskState, parse_task_id, stand_in
from harpoon.model.why import ReasonCode
from tests.builders import MIB, a_cordon, a_placement, a_system, a_task, a_template, a_want, an_agent, at
from tests.core.placing import a_fleet

NOW = at(10)


def standing(agent: str, state: TaskState = TaskState.RUNNING, **fields: object) -> Standing:
    placement = a_placement(agent=agent, is_system=True, **fields)
    return Standing(placement, a_task(placement, state=state))


def test_the_id_of_a_task_tells_its_slot_by_its_agent() -> None:
    placement = standing("host-7").placement
    assert placement.task == "default.web.host-7.1-1"
    name = parse_task_id(placement.task)
    assert (name.slot, name.agent, name.place, name.number) == (0, "host-7", "host-7", Number(1, 1))
    assert parse_task_id("default.web.3.1-1").place == "3"
    again = stand_in(placement.task, "other", "g1")
    assert (again.task, again.agent, again.is_system) == (placement.task, "host-7", True)


@pytest.mark.parametrize(
    "text", ["default.web.Host.1-1", "default.web.-a.1-1", "default.web..1-1", "default.web.a.b-1"]
)
def test_what_is_neither_a_number_nor_an_agents_name_is_no_slot(text: str) -> None:
    with pytest.raises(ValueError, match="a task id is"):
        parse_task_id(TaskId(text))


def test_members_are_the_agents_that_meet_the_requirements_and_are_not_closed() -> None:
    job = a_system(require=(Requirement(tag="zone", equals="a"),))
    agents = [
        an_agent(name, tags={"zone": zone}) for name, zone in (("a3", "a"), ("a1", "a"), ("a2", "b"), ("a4", "a"))
    ]
    assert members(job, agents, {"a4"}) == ("a1", "a3")
    assert (unmet_by(job, agents[2]), unmet_by(job, agents[0])) == ("zone", "")
    told = sized(job, ("a1", "a3"))
    assert (told.spec.scale, told.members) == (2, ("a1", "a3"))


def test_slots_are_numbered_by_name_and_those_of_strangers_come_last() -> None:
    found = numbered(a_system("a1", "a3"), [standing("a9"), standing("a3"), standing("a1"), standing("a2")])
    assert [(one.placement.agent, one.placement.slot) for one in found] == [("a9", 3), ("a3", 1), ("a1", 0), ("a2", 2)]
    assert [one.placement.task.split(".")[2] for one in found] == ["a9", "a3", "a1", "a2"]


def test_each_slot_goes_to_its_own_agent_or_nowhere() -> None:
    fleet = a_fleet(an_agent("a1"), an_agent("a2", memory=MIB), an_agent("a3"))
    job = a_system("a1", "a2", memory=2 * MIB)
    decision = place(job, [a_want(0), a_want(1)], fleet, NOW, incarnation=1, revision=5)
    assert [one.task for one in decision.placements] == ["default.web.a1.1-5"]
    assert decision.placements[0].reason == "slot 0 has no placement; the job is for each such agent"
    assert decision.pending is not None
    assert (decision.pending.slots, decision.pending.members) == ((1,), ("a2",))
    assert [(one.predicate, one.agents) for one in decision.pending.blockers] == [("memory", ("a2",))]


def test_a_task_on_a_cordoned_agent_is_replaced_there() -> None:
    old = standing("a1", generation="g0")
    fleet = a_fleet(an_agent("a1"), cordons=[a_cordon("a1")], placements=[old.placement])
    job = a_system("a1")
    rolled = rollout(job, numbered(job, [old]), NOW)
    decision = place(job, rolled.wants, fleet, NOW, incarnation=1, revision=5)
    assert [one.task for one in decision.placements] == ["default.web.a1.1-5"]


def test_one_whose_agent_is_gone_meanwhile_is_pending() -> None:
    decision = place(a_system("a7"), [a_want(0)], a_fleet(an_agent("a1")), NOW, incarnation=1, revision=5)
    assert decision.pending is not None
    assert decision.pending.blockers[0].found == "none of that name"


def test_an_old_task_makes_room_on_its_own_agent_for_its_successor() -> None:
    old = standing("a1", generation="g0", memory=3 * MIB)
    fleet = a_fleet(an_agent("a1", memory=4 * MIB), placements=[old.placement])
    job = a_system("a1", memory=3 * MIB, update=Update(surge=0, unavailable=1))
    rolled = rollout(job, numbered(job, [old]), NOW)
    decision = place(job, rolled.wants, fleet, NOW, incarnation=1, revision=5)
    assert [drop.task for drop in decision.drops] == ["default.web.a1.1-1"]


def test_a_task_on_an_agent_that_is_no_member_is_withdrawn() -> None:
    job = a_system("a1")
    rolled = rollout(job, numbered(job, [standing("a1"), standing("a2")]), NOW)
    assert [(drop.agent, drop.reason) for drop in rolled.drops] == [("a2", "its agent is none that the job is for now")]


def test_slots_that_wait_for_another_job_are_told_by_their_agents() -> None:
    missing = [Unmet(dependency=Dependency(job="db"), found="0/1 ready")]
    job = a_system("a1", "a2", "a3", memory=9 << 40)
    held = hold_back(job, [0], missing, None, NOW)
    assert held is not None
    assert held.members == ("a1",)
    nowhere = place(job, [a_want(2)], a_fleet(an_agent("a3")), NOW, incarnation=1, revision=5).pending
    both = hold_back(job, [0], missing, nowhere, NOW)
    assert both is not None
    assert (both.slots, both.members) == ((0, 2), ("a1", "a3"))


def test_why_tells_of_each_slot_what_its_own_agent_lacks_and_which_are_lost() -> None:
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), an_agent("a3"), cordons=[a_cordon("a2")])
    job = a_system("a1", "a2", "a3", memory=9 << 40)
    case = Case(job=job, standings=numbered(job, [standing("a3", TaskState.LOST)]), links={}, now=NOW, replacing={})
    told = explain(case, fleet)
    assert [(one.slots, one.groups[0].agents if one.groups else ()) for one in told] == [
        ((0,), ("a1",)),
        ((1,), ("a2",)),
        ((2,), ()),
    ]
    assert (told[2].code, "for its agent" in told[2].reason) == (ReasonCode.WAITS_FOR_AGENT, True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"on_lost": OnLost.REPLACE}, "on_lost: replace has no meaning for a system job"),
        ({"exclusive": True}, "exclusive has no meaning for a system job"),
        ({"placement": PlacementRules(spread=(Spread(tag="zone"),))}, "only require is for system jobs"),
        ({"placement": PlacementRules(distinct=Distinct.AGENT)}, "only require is for system jobs"),
        ({"completions": 2}, "completions is for type: batch"),
    ],
)
def test_what_has_no_meaning_for_a_system_job_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Spec(type=JobType.SYSTEM, task=a_template(), **fields)
