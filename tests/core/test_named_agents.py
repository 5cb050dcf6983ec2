"""Batch jobs that name their agents: each slot is placed on its own or nowhere, waits for it, and says so."""

from dataclasses import replace

import pytest

from harpoon.core.batch_roll import roll_batch
from harpoon.core.case import Case
from harpoon.core.foretold import Outset
from harpoon.core.held import Unmet, hold_back
from harpoon.core.members import pinned
from harpoon.core.place import Decision, place
from harpoon.core.plan import foretell
from harpoon.core.preempt import AGENTS_MAX
from harpoon.core.quota import use_of
from harpoon.core.standing import Standing
from harpoon.core.why import explain, explain_on
from harpoon.model.agent import LinkState
from harpoon.model.batch import BatchRecord, SlotResult
from harpoon.model.dependency import Dependency
from harpoon.model.job import Job
from harpoon.model.namespace import Use
from harpoon.model.rules import PlacementRules
from harpoon.model.task import TaskState
from harpoon.model.why import ReasonCode
from tests.builders import T0, a_batch, a_cordon, a_job, a_link, a_placement, a_task, a_task_id, a_want, an_agent, at
from tests.core.placing import a_fleet, others

NOW = at(10)
EMPTY = BatchRecord(namespace="default", job="web", version=1)


def named(*agents: str, **fields: object) -> Job:
    """A batch job as it is decided on, for these agents."""
    return pinned(a_batch(placement=PlacementRules(agents=agents), **fields))


def put(job: Job, fleet: object, *slots: int, **want: object) -> Decision:
    return place(job, [a_want(slot, **want) for slot in slots], fleet, NOW, incarnation=3, revision=42)


def where(decision: Decision) -> dict[int, str]:
    return {one.slot: one.agent for one in decision.placements}


def test_a_job_that_names_no_agents_is_decided_on_as_it_is() -> None:
    job = a_batch(completions=2)
    assert pinned(job) is job


def test_each_slot_goes_to_the_agent_in_its_place_and_keeps_its_number() -> None:
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), an_agent("a3"))
    decision = put(named("a3", "a1"), fleet, 0, 1)
    assert [one.task for one in decision.placements] == ["default.web.0.3-42", "default.web.1.3-42"]
    assert where(decision) == {0: "a3", 1: "a1"}
    assert decision.placements[0].reason == "slot 0 has no placement; the job names this agent for the slot"


def test_a_slot_that_failed_is_tried_again_on_its_agent_though_that_is_to_be_avoided() -> None:
    last = SlotResult(slot=0, is_complete=False, attempts=1, task=a_task_id(), agent="a1", at_ms=T0)
    job = named("a1", "a2", attempts=2)
    rolled = roll_batch(job, replace(EMPTY, results=(last,)), (), NOW, leaving={}).rolled
    assert rolled.wants[0].avoid == ("a1",)
    decision = place(job, rolled.wants, a_fleet(an_agent("a1"), an_agent("a2")), NOW, incarnation=3, revision=42)
    assert where(decision) == {0: "a1", 1: "a2"}


@pytest.mark.parametrize(
    ("fleet", "needs"),
    [
        (a_fleet(an_agent("a1")), "a2 needs agent registered (found none of that name)"),
        (a_fleet(an_agent("a1"), an_agent("a2"), cordons=[a_cordon("a2")]), "a2 needs cordon none (found cordoned)"),
        (
            a_fleet(an_agent("a1"), an_agent("a2"), links=[a_link("a2", LinkState.LOST)]),
            "a2 needs link connected (found lost)",
        ),
    ],
)
def test_a_slot_whose_agent_cannot_take_it_waits_and_names_it(fleet: object, needs: str) -> None:
    job = named("a1", "a2")
    decision = put(job, fleet, 0, 1)
    assert where(decision) == {0: "a1"}
    assert decision.pending is not None
    assert decision.pending.slots == (1,)
    assert decision.pending.members == (), "its slots are told by their numbers"
    assert decision.pending.reason == (
        f"1 of 2 wanted slots cannot be placed, each of which is for one agent only: {needs}"
    )
    case = Case(job=job, standings=(), links={}, now=NOW, replacing={}, batch=EMPTY)
    [told] = explain(case, fleet)
    assert (told.slots, told.code) == ((1,), ReasonCode.FITS_NOWHERE)
    assert needs in told.reason
    assert told.fix is not None
    assert told.fix.agent == "a2"
    assert "another" not in told.fix.steps[0], "no other agent would help"
    assert explain_on(case, fleet, "a1")[0].groups == (), "what is not for an agent is not refused by it"


def test_of_many_that_wait_the_first_are_named() -> None:
    names = tuple(f"a{number}" for number in range(6))
    decision = put(named(*names), a_fleet(), *range(6))
    assert decision.pending is not None
    assert decision.pending.reason.count("none of that name") == 4
    assert decision.pending.reason.endswith("; and 2 more")


def test_what_waits_for_another_job_is_told_by_its_number() -> None:
    missing = [Unmet(dependency=Dependency(job="db"), found="0/1 ready")]
    held = hold_back(named("a1", "a2"), [0, 1], missing, None, NOW)
    assert held is not None
    assert (held.slots, held.members) == ((0, 1), ())


def test_a_lost_task_waits_for_its_agent_and_says_so() -> None:
    job = named("a1")
    lost = Standing(a_placement(), a_task(a_placement(), state=TaskState.LOST))
    rolled = roll_batch(job, EMPTY, [lost], NOW, leaving={}).rolled
    assert (rolled.wants, rolled.drops) == ((), ())
    [told] = explain(
        Case(job=job, standings=(lost,), links={}, now=NOW, replacing={}, batch=EMPTY), a_fleet(an_agent("a1"))
    )
    assert told.code is ReasonCode.WAITS_FOR_AGENT
    assert told.reason.endswith("placement.agents says which agent a slot is for")


def test_it_makes_room_by_its_priority_on_its_own_agents_only() -> None:
    fleet = a_fleet(
        an_agent("a1", cpu=1000),
        an_agent("a2", cpu=1000),
        placements=[*others("a1", 1, cpu=1000), a_placement(job="more", agent="a2", cpu=1000)],
    )
    for name in ("other", "more"):
        fleet.set_priority("default", name, 10)
    decision = put(named("a2", cpu=1000, priority=90, preempt=True), fleet, 0)
    assert [drop.agent for drop in decision.drops] == ["a2"]


def test_agents_are_sorted_no_further_for_jobs_that_name_theirs() -> None:
    fleet = a_fleet(an_agent("a1"), an_agent("a2"))
    assert where(put(named("a2"), fleet, 0)) == {0: "a2"}
    assert where(put(named("a1"), fleet, 0)) == {0: "a1"}
    anywhere = place(a_job(), [a_want(0)], fleet, NOW, incarnation=3, revision=42)
    assert where(anywhere) == {0: "a1"}


def test_a_plan_foretells_it_to_its_end_on_its_agents() -> None:
    fleet = a_fleet(an_agent("a1"), an_agent("a2"))
    outset = Outset(job=named("a2", "a1", "a9", parallel=1), batch=EMPTY)
    (course,) = foretell([outset], fleet, NOW, incarnation=1, revision=50)
    assert [(one.wave, one.slot, one.agent) for one in course.placements] == [(1, 0, "a2"), (2, 1, "a1")]
    assert course.pending is not None
    assert course.pending.slots == (2,)


def test_a_quota_counts_one_task_for_each_of_its_agents() -> None:
    job = named("a1", "a2", "a3", cpu=500)
    assert use_of(job) == Use(cpu=1500, tasks=3, jobs=1)


def test_its_own_agents_are_looked_at_however_many_others_would_have_room() -> None:
    names = [f"a{number:03}" for number in range(AGENTS_MAX + 5)]
    fleet = a_fleet(
        *(an_agent(name, cpu=1000) for name in names),
        placements=[a_placement(job="other", slot=slot, agent=name, cpu=1000) for slot, name in enumerate(names)],
    )
    fleet.set_priority("default", "other", 10)
    decision = put(named(names[-1], cpu=1000, priority=90, preempt=True), fleet, 0)
    assert [drop.agent for drop in decision.drops] == [names[-1]]
