"""What the checker says of documents that are no plans in themselves, before it goes through any wave."""

from dataclasses import replace

from harpoon.core.foretold import Outset
from harpoon.core.verify import verify
from harpoon.model.plan import PlanAction
from harpoon.model.rules import Requirement
from tests.builders import a_job, a_placement, an_agent
from tests.core.placing import a_fleet
from tests.core.test_verify import a_plan, change_job


def pointers(plan):
    return [fault.pointer for fault in verify(plan)]


def small(**fields):
    return a_plan([Outset(job=a_job(**fields))], a_fleet(an_agent("a1", tags={"zone": "b"}), an_agent("a2")))


def test_parts_that_do_not_belong_together_are_told_by_where_they_are():
    plan = small()
    assert pointers(plan) == []
    assert pointers(replace(plan, v=2)) == ["/v"]
    assert pointers(replace(plan, documents=())) == ["/jobs"]
    assert pointers(replace(plan, agents=(*plan.agents, *plan.agents))) == ["/agents"]
    assert pointers(replace(plan, documents=small(name="api").documents)) == ["/jobs/0/plan/job"]
    assert pointers(change_job(plan, 0, plan=replace(plan.jobs[0].plan, waves=2))) == ["/jobs/0/plan/waves"]
    unchanged = replace(plan.jobs[0].plan, action=PlanAction.UNCHANGED)
    assert pointers(change_job(plan, 0, plan=unchanged, base=None)) == ["/jobs/0/base"]


def test_a_requirement_of_each_kind_is_tested():
    rules = [
        (Requirement(tag="zone", equals="b"), "a1"),
        (Requirement(tag="zone", in_=("b", "c")), "a1"),
        (Requirement(tag="zone", not_in=("b",)), "a2"),
        (Requirement(tag="zone", exists=True), "a1"),
        (Requirement(tag="zone", exists=False), "a2"),
    ]
    for rule, agent in rules:
        plan = small(require=[rule])
        assert plan.jobs[0].plan.placements[0].agent == agent
        assert pointers(plan) == []
        moved = replace(plan.jobs[0].plan.placements[0], agent="a1" if agent == "a2" else "a2")
        wrong = change_job(plan, 0, plan=replace(plan.jobs[0].plan, placements=(moved,)))
        assert pointers(wrong) == ["/jobs/0/plan/placements/0"]
        nowhere = a_plan([Outset(job=a_job(require=[rule, Requirement(tag="disk", equals="ssd")]))], a_fleet())
        assert pointers(nowhere) == []
        both = small(require=[rule, Requirement(tag="disk", equals="ssd")])
        assert (both.jobs[0].plan.pending.slots, pointers(both)) == ((0,), [])


def test_less_reserved_than_the_tasks_take_that_are_told_is_found_out():
    there = a_placement(job="web", slot=3, cpu=1000, version=0)
    fleet = a_fleet(an_agent("a1"), placements=[there])
    plan = a_plan([Outset(job=a_job(), leaving=(there.task,))], fleet)
    assert pointers(plan) == []
    (group,) = plan.agents
    free = replace(group, reserved=replace(group.reserved, cpu=0))
    assert "/agents" in pointers(replace(plan, agents=(free,)))
