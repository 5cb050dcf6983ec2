"""Why slots are not placed: complete (every blocker named is real), sufficient (without them it fits), honest (it is
what placing says)."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from harpoon.core import why
from harpoon.core.board import Board
from harpoon.core.fleet import Fleet
from harpoon.core.place import place
from harpoon.core.rollout import rollout
from harpoon.core.standing import Standing
from harpoon.core.why import Case, explain, explain_on, group
from harpoon.model.agent import LinkState
from harpoon.model.job import OnLost
from harpoon.model.rules import Distinct, PlacementRules, Requirement
from harpoon.model.task import TaskState
from tests.builders import MIB, a_cordon, a_job, a_link, a_placement, a_task, an_agent, at
from tests.core.placing import a_fleet, others

NOW = at(3600)


def a_case(job, *standings, links=(), **more):
    given = {"replacing": {}, "links": {link.agent: link for link in links}, "now": NOW}
    return Case(job=job, standings=standings, **(given | more))


def ask(job, fleet, *standings, **more):
    return explain(a_case(job, *standings, **more), fleet)


def standing(placement, state=TaskState.RUNNING, **fields):
    return Standing(placement=placement, task=None if state is None else a_task(placement, state=state, **fields))


def rules(**given):
    return PlacementRules(**given)


def with_rules(job, **given):
    return replace(job, spec=replace(job.spec, placement=rules(**given)))


def predicates(told):
    return [[failed.predicate for failed in one.failed] for one in told.groups]


def test_nothing_is_told_of_a_job_whose_slots_all_fit():
    assert ask(a_job(scale=2), a_fleet(an_agent())) == ()


def test_without_any_agent_the_fix_is_the_command_that_starts_one():
    (told,) = ask(a_job(scale=2), Fleet())
    assert (told.slots, told.groups) == ((0, 1), ())
    assert told.reason == "2 of 2 wanted slots cannot be placed: there is no agent"
    assert (told.fix.agent, told.fix.sentence) == (None, "there is no agent")
    assert told.fix.steps == ("start an agent: `harpoon agent --name NAME --server URL --state-dir DIR`",)


def test_agents_that_fail_alike_are_one_group_and_the_nearest_comes_first():
    job = with_rules(a_job(memory=2048 * MIB), require=(Requirement(tag="zone", equals="c"),))
    fleet = a_fleet(
        *(an_agent(name, memory=1024 * MIB, tags={"zone": "b"}) for name in ("a1", "a2")),
        an_agent("a3", tags={"zone": "b"}),
    )
    (told,) = ask(job, fleet)
    assert [(one.agents, one.agents_count) for one in told.groups] == [(("a3",), 1), (("a1", "a2"), 2)]
    assert predicates(told) == [["tag zone"], ["tag zone", "memory"]]
    failed = told.groups[1].failed[1]
    assert (failed.wanted, failed.found) == ("2Gi free", "1Gi free of 1Gi")
    assert told.fix.agent == "a3"
    assert told.fix.sentence == "agent a3 could take it, but for tag zone c (found b)"
    assert told.fix.steps == ("start agent a3 with --tag zone=c, or drop placement.require[0]",)


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        ({"in_": ("b", "c")}, "start agent a1 with --tag zone=b, or drop placement.require[0]"),
        ({"exists": True}, "start agent a1 with --tag zone=VALUE, or drop placement.require[0]"),
    ],
)
def test_a_tag_that_is_missing_can_be_given(rule, step):
    (told,) = ask(with_rules(a_job(), require=(Requirement(tag="zone", **rule),)), a_fleet(an_agent()))
    assert told.fix.steps == (step,)


def test_a_cordoned_agent_can_be_put_to_use_again():
    (told,) = ask(a_job(), a_fleet(an_agent(), cordons=[a_cordon()]))
    assert told.fix.sentence == "agent a1 could take it, but for cordon none (found cordoned)"
    assert told.fix.steps == ("agent a1 is cordoned: put it to use again with `harpoon uncordon a1`, or start another",)


def test_a_slot_that_is_to_leave_a_draining_agent_says_where_it_stays_and_what_the_others_lack():
    here = standing(a_placement(agent="a1"))
    cordon = a_cordon("a1", is_draining=True)
    fleet = a_fleet(an_agent("a1"), an_agent("a2", cpu=10), placements=[here.placement], cordons=[cordon])
    (told,) = ask(a_job(cpu=100), fleet, here, leaving=fleet.leaving)
    assert told.reason.endswith("; default.web.0.1-1 stays on a1, which is draining")
    assert predicates(told) == [["cordon"], ["cpu"]]


@pytest.mark.parametrize("rule", [{"not_in": ("b",)}, {"exists": False}])
def test_a_tag_that_is_in_the_way_can_be_left_out(rule):
    job = with_rules(a_job(), require=(Requirement(tag="zone", **rule),))
    (told,) = ask(job, a_fleet(an_agent(tags={"zone": "b"})))
    assert told.fix.steps == ("start agent a1 without that value of tag zone, or drop placement.require[0]",)


def test_a_fact_cannot_be_given_and_requirements_that_hold_are_not_told():
    job = with_rules(a_job(), require=(Requirement(tag="os", equals="linux"), Requirement(tag="arch", equals="arm64")))
    (told,) = ask(job, a_fleet(an_agent()))
    assert told.fix.steps == (
        "drop placement.require[1]: arch is a fact of a1, not a tag; or start an agent that is as required",
    )


def test_memory_that_is_short_can_be_freed_or_asked_for_less():
    fleet = a_fleet(an_agent("a1", memory=2048 * MIB), placements=others("a1", 1, memory=512 * MIB))
    (told,) = ask(a_job(memory=2048 * MIB), fleet)
    assert told.fix.steps == ("free 512Mi of memory on a1, or lower task.resources.memory to 1536Mi",)


def test_what_is_used_up_can_only_be_freed():
    fleet = a_fleet(an_agent("a1", cpu=1000), placements=others("a1", 1, cpu=1000))
    (told,) = ask(a_job(cpu=500), fleet)
    assert told.fix.steps == ("free 500m of cpu on a1",)


def test_more_than_an_agent_has_in_all_is_not_to_be_freed():
    (told,) = ask(a_job(cpu=8000), a_fleet(an_agent("a1", cpu=4000)))
    lower = "lower task.resources.cpu to 4000m, or start an agent with cpu of 8000m or more; a1 has 4000m in all"
    assert told.fix.steps == (lower,)
    (told,) = ask(a_job(cpu=8000), a_fleet(an_agent("a1", cpu=0)))
    assert told.fix.steps == ("start an agent with cpu of 8000m or more; a1 has 0m in all",)


def test_an_agent_that_is_not_reached_is_told_with_since_when_and_why():
    link = a_link(state=LinkState.INTERRUPTED, reason="connection refused")
    fleet = a_fleet(an_agent(), links=[link])
    (told,) = ask(a_job(), fleet, links=[link])
    (step,) = told.fix.steps
    assert step.startswith("agent a1 is interrupted since 2026-01-01T00:00:00Z (connection refused): see that it runs")
    (told,) = ask(a_job(), fleet, links=[a_link(state=LinkState.INTERRUPTED)])
    assert told.fix.steps[0].startswith("agent a1 is interrupted since 2026-01-01T00:00:00Z: see")
    (told,) = ask(a_job(), fleet)
    assert told.fix.steps[0].startswith("agent a1 is interrupted: see")


def test_a_port_is_told_with_the_job_that_has_it():
    fleet = a_fleet(an_agent(), placements=others("a1", 1, ports=[80]))
    (told,) = ask(a_job(ports={"http": 80}), fleet)
    assert told.fix.steps == ("unschedule job default/other, or write 0 for port 80: any free one",)
    (told,) = ask(a_job(scale=2, ports={"http": 80}), a_fleet(an_agent()))
    assert told.slots == (1,)
    own = "port 80 of a1 is this job's own: start another agent, or write 0 for the port: any free one"
    assert told.fix.steps == (own,)


def test_slots_that_must_be_on_distinct_agents_need_another_one():
    (told,) = ask(with_rules(a_job(scale=3), distinct=Distinct.AGENT), a_fleet(an_agent("a1"), an_agent("a2")))
    assert told.slots == (2,)
    assert told.fix.steps == ("start another agent, or lower scale, or leave placement.distinct out",)


def test_a_slot_that_waits_for_its_predecessor_to_make_room_says_so():
    old = standing(a_placement(cpu=3000))
    fleet = a_fleet(an_agent(), placements=[old.placement])
    (told,) = ask(a_job(cpu=3000, generation="g2", surge=0, unavailable=1), fleet, old)
    assert told.reason.startswith(f"it waits for {old.placement.task} to go, which makes room; until then 1 of 1")


def test_slots_that_differ_in_what_keeps_them_are_told_apart_up_to_a_bound(monkeypatch):
    old = [standing(a_placement(slot=slot, agent="a1", cpu=1000), TaskState.FAILED) for slot in range(4)]
    fleet = a_fleet(an_agent("a1", cpu=1000), placements=[one.placement for one in old])
    told = ask(a_job(scale=4, cpu=2000), fleet, *old)
    assert [one.slots for one in told] == [(0,), (1,), (2,), (3,)]
    monkeypatch.setattr(why, "CASES_MAX", 2)
    assert [one.slots for one in ask(a_job(scale=4, cpu=2000), fleet, *old)] == [(0,), (1,), (2, 3)]


def test_groups_beyond_the_bound_are_counted(monkeypatch):
    monkeypatch.setattr(why, "GROUPS_MAX", 2)
    fleet = a_fleet(*(an_agent(f"a{number}", cpu=100 * number) for number in range(1, 6)))
    (told,) = ask(a_job(cpu=1000), fleet)
    assert [one.agents for one in told.groups] == [("a5",), ("a4",)]
    assert told.agents_left == 3


def test_what_one_agent_lacks_can_be_asked_alone():
    job = a_job(cpu=2000)
    fleet = a_fleet(an_agent("a1", cpu=100), an_agent("a2", cpu=1000))
    (told,) = explain_on(a_case(job), fleet, "a1")
    assert ([one.agents for one in told.groups], told.fix.agent) == ([("a1",)], "a1")
    assert explain_on(a_case(a_job()), fleet, "a1") == ()


def test_slots_that_are_held_back_by_dependencies_are_told():
    (told,) = ask(a_job(scale=2), a_fleet(an_agent()), is_held=True)
    assert (told.slots, told.reason) == ((0, 1), "the jobs that this one depends on are not as it needs them")


def test_slots_that_wait_for_their_turn_say_what_for_and_how_to_go_faster():
    old = [standing(a_placement(slot=slot)) for slot in range(3)]
    new = standing(a_placement(slot=0, generation="g2", revision=5), TaskState.STARTING)
    fleet = a_fleet(an_agent(), placements=[one.placement for one in (*old, new)])
    (told,) = ask(a_job(scale=3, generation="g2"), fleet, *old, new)
    assert told.slots == (1, 2)
    assert told.reason == (
        "update.surge 1 and update.unavailable 0 let no more change at once; it waits for default.web.0.1-5 to be ready"
    )
    assert told.fix.steps == ("raise update.surge above 1 or update.unavailable above 0",)


def test_slots_whose_turn_is_next_wait_for_nothing_but_the_bound():
    old = [standing(a_placement(slot=slot)) for slot in range(2)]
    fleet = a_fleet(an_agent(), placements=[one.placement for one in old])
    (told,) = ask(a_job(scale=2, generation="g2"), fleet, *old)
    assert (told.slots, told.reason) == ((1,), "update.surge 1 and update.unavailable 0 let no more change at once")


def test_a_backoff_is_told_with_what_is_left_of_it():
    failed = standing(a_placement(failures=3, decided_ms=NOW.wall - 1000), TaskState.FAILED, since_ms=NOW.wall - 500)
    (told,) = ask(a_job(), a_fleet(an_agent(), placements=[failed.placement]), failed)
    assert told.slots == (0,)
    assert told.reason == "the next one is replaced in 3.5 s: a task that failed again is replaced later each time"


def test_endpoints_that_have_just_changed_are_followed_later():
    ready = standing(a_placement(decided_ms=NOW.wall - 1000))
    fleet = a_fleet(an_agent(), placements=[ready.placement])
    (told,) = ask(a_job(), fleet, ready, replacing={"API": "127.0.0.1:80"})
    assert told.reason == "the next one is replaced in 4 s: endpoints are followed in few steps"


def test_lost_tasks_that_are_kept_say_why():
    lost = standing(a_placement(), TaskState.LOST)
    fleet = a_fleet(an_agent(), placements=[lost.placement])
    (told,) = ask(a_job(), fleet, lost, evictable=0, halted="replacing lost tasks is halted: 3 of 4 agents are lost")
    assert told.reason == "their tasks are lost and kept: replacing lost tasks is halted: 3 of 4 agents are lost"
    (told,) = ask(a_job(), fleet, lost, evictable=0)
    assert told.reason == "their tasks are lost and kept: replacing lost tasks is limited to 20 a second"
    job = a_job()
    (told,) = ask(replace(job, spec=replace(job.spec, on_lost=OnLost.WAIT)), fleet, lost)
    assert (told.slots, told.reason) == ((0,), "their tasks are lost and kept: on_lost is wait")


@st.composite
def crowded(draw):
    """A fleet with little room, and a job that asks for some of it."""
    agents = [
        an_agent(
            f"a{index}",
            cpu=draw(st.sampled_from([0, 1000, 2000])),
            memory=draw(st.sampled_from([0, 512, 1024])) * MIB,
            tags=draw(st.sampled_from([{}, {"zone": "b"}, {"zone": "c"}])),
        )
        for index in range(draw(st.integers(0, 4)))
    ]
    links = [a_link(one.name, draw(st.sampled_from([LinkState.CONNECTED] * 3 + [LinkState.LOST]))) for one in agents]
    placements = [
        one
        for agent in agents
        for one in others(
            agent.name,
            draw(st.integers(0, 2)),
            cpu=600,
            memory=300 * MIB,
            ports=draw(st.sampled_from([[], [80]])),
            revision=1 + int(agent.name[1:]),
        )
    ]
    job = a_job(
        scale=draw(st.integers(1, 4)),
        generation="g2",
        cpu=draw(st.sampled_from([0, 500, 1500, 3000])),
        memory=draw(st.sampled_from([0, 400])) * MIB,
        ports=draw(st.sampled_from([{}, {"http": 80}])),
        unavailable=draw(st.integers(0, 2)),
    )
    job = with_rules(
        job,
        require=draw(
            st.sampled_from([(), (Requirement(tag="zone", equals="b"),), (Requirement(tag="zone", not_in=("c",)),)])
        ),
        distinct=draw(st.sampled_from([None, Distinct.AGENT])),
    )
    standings = []
    for number, slot in enumerate(draw(st.lists(st.integers(0, 4), max_size=4 if agents else 0)), 20):
        placement = a_placement(
            slot=slot,
            revision=number,
            generation=draw(st.sampled_from(["g1", "g2"])),
            agent=draw(st.sampled_from(agents)).name,
            cpu=500,
        )
        standings.append(
            standing(placement, draw(st.sampled_from([None, TaskState.RUNNING, TaskState.FAILED, TaskState.LOST])))
        )
    return (
        job,
        tuple(standings),
        a_fleet(*agents, placements=[*placements, *(s.placement for s in standings)], links=links),
    )


def without(fleet, agent, failed, job, slot, ended):
    """The fleet when one agent fails none of these predicates any more; everything else is as it was."""
    changed = fleet.fork()
    for task in ended:
        changed.remove(task)
    host = changed.host(agent)
    own = host.agent
    for one in failed:
        match one.predicate.partition(" ")[0]:
            case "cpu" | "memory" as what:
                own = replace(own, capacity=replace(own.capacity, **{what: getattr(own.capacity, what) + 10**12}))
            case "link":
                changed.set_link(a_link(agent))
            case "tag":
                own = replace(own, tags={"zone": "b"})
            case "port":
                for task in list(host.ports.get(80, ())):
                    holder = changed.placement(task)
                    changed.add(replace(holder, reserve=replace(holder.reserve, ports=())))
            case "distinct":
                for placement in list(changed.placements_of(job)):
                    if placement.agent == agent and placement.slot != slot:
                        changed.remove(placement.task)
    changed.set_agent(own)
    return changed


@settings(max_examples=400, deadline=None)
@given(crowded())
def test_every_blocker_is_real_none_is_missing_and_without_those_of_the_fix_the_slot_fits(situation):
    job, standings, fleet = situation
    before = fleet.fork()
    told = ask(job, fleet, *standings)
    assert fleet == before
    wants = {want.slot: want for want in rollout(job, standings, NOW).wants}
    decision = place(job, list(wants.values()), fleet, NOW, incarnation=1, revision=1)
    unplaced = [one for one in told if one.fix is not None and one.reason.find("update.surge") < 0]
    # Honest: just the slots that placing leaves out.
    assert sorted(slot for one in unplaced for slot in one.slots) == sorted(
        decision.pending.slots if decision.pending else ()
    )
    taken = fleet.fork()
    for placement in decision.placements:
        for task in wants[placement.slot].ended:
            taken.remove(task)
        taken.add(placement)
    for one in unplaced:
        assert sum(known.agents_count for known in one.groups) == len(fleet.agents())
        want = wants[one.slots[0]]
        for slot in one.slots:
            # Complete: of each slot, each agent and each predicate, as a fresh board tells them.
            bare = taken.fork()
            for task in wants[slot].ended:
                bare.remove(task)
            assert one.groups == group(Board(job, bare).refusals(slot))[0]
        if one.groups:
            check(job, want, taken, one)
        else:
            assert fleet.agents() == []


def check(job, want, fleet, told):
    """Every agent alone refuses, for each of its predicates, and the fix's agent takes the slot without all of them."""
    failed = {agent: known.failed for known in told.groups for agent in known.agents}
    assert all(failed.values())
    agent = told.fix.agent
    assert told.groups[0].agents[0] <= agent or len(failed[agent]) == len(told.groups[0].failed)
    alone = without(fleet, agent, failed[agent], job, want.slot, want.ended)
    assert [one.agent for one in place(job, [want], alone, NOW, incarnation=1, revision=2).placements] == [agent]
    for left_out in failed[agent]:
        # Without the others alone it still does not fit: this one is real, too.
        rest = tuple(one for one in failed[agent] if one is not left_out)
        if not any(one.predicate.startswith("distinct") for one in failed[agent]):
            still = without(fleet, agent, rest, job, want.slot, want.ended)
            assert place(job, [want], still, NOW, incarnation=1, revision=2).placements == ()
    assert told.fix.steps


# Exclusive jobs.


def exclusive(slot=0, state=TaskState.RUNNING, **fields):
    return standing(a_placement(slot=slot, is_exclusive=True, **fields), state)


def test_slots_that_wait_for_their_agents_say_for_which_and_what_can_be_done(monkeypatch):
    standings = [
        exclusive(0, None, is_revoked=True, agent="a2"),
        exclusive(1, TaskState.LOST, agent="a3"),
        exclusive(2, TaskState.STOPPING, is_revoked=True),
        exclusive(3),
    ]
    fleet = a_fleet(an_agent(), placements=[one.placement for one in standings])
    told = ask(a_job(scale=4, exclusive=True), fleet, *standings)
    assert [(one.slots, one.reason) for one in told] == [
        (
            (0,),
            (
                "slot 0 waits for agent a2 to acknowledge that it forgot default.web.0.1-1; "
                "if a2 will never come back: harpoon declare-dead a2"
            ),
        ),
        (
            (1,),
            (
                "slot 1 waits for agent a3, on which default.web.1.1-1 may still run; "
                "if a3 will never come back: harpoon declare-dead a3"
            ),
        ),
        ((2,), "the task before is ended first, and forgotten by its agent: the job is exclusive"),
    ]
    monkeypatch.setattr(why, "CASES_MAX", 1)
    shortened = ask(a_job(scale=4, exclusive=True), fleet, *standings)
    assert shortened[1].slots == (1,)
    assert shortened[1].reason == "they wait for their agents too; it is not told one by one for which"


def test_exclusive_slots_whose_turn_comes_say_what_they_wait_for():
    broken = [exclusive(0, TaskState.STARTING, generation="g2"), exclusive(1), exclusive(2)]
    fleet = a_fleet(an_agent(), placements=[one.placement for one in broken])
    (told,) = ask(a_job(scale=3, generation="g2", exclusive=True), fleet, *broken)
    assert told.slots == (1, 2)
    assert told.reason == "the job is exclusive, and update.unavailable 0 lets no more change at once"


def test_an_exclusive_slot_that_failed_again_says_when_it_is_replaced():
    placement = a_placement(is_exclusive=True, failures=3, decided_ms=NOW.wall - 1000)
    failed = standing(placement, TaskState.FAILED, since_ms=NOW.wall - 500)
    (told,) = ask(a_job(exclusive=True), a_fleet(an_agent(), placements=[placement]), failed)
    assert told.reason == "the next one is replaced in 3.5 s: a task that failed again is replaced later each time"
