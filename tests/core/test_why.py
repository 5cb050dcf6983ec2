"""Why slots are not placed: complete (every blocker named is real), sufficient (without them it fits), honest (it is
what placing says)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from harpoon.core import waits, why
from harpoon.core.case import Case
from harpoon.core.fleet import Fleet
from harpoon.core.held import NoSecret, Unmet
from harpoon.core.place import place
from harpoon.core.standing import Brake, Standing
from harpoon.core.why import explain, explain_on
from harpoon.model.agent import LinkState
from harpoon.model.dependency import Dependency
from harpoon.model.job import OnLost, Update
from harpoon.model.rules import Distinct, PlacementRules, Requirement
from harpoon.model.task import TaskState
from harpoon.model.why import ReasonCode
from tests.builders import MIB, a_cordon, a_job, a_link, a_placement, a_task, an_agent, at
from tests.core.placing import a_fleet, others

NOW = at(3600)
BACKOFF = "the next one is replaced in 3.5 s: it has failed 4 times in a row, and waits longer each time"


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


@pytest.mark.parametrize(
    ("rules", "step"),
    [
        ([{"exists": False}], "start agent a1 without --tag zone, or drop placement.require[0]"),
        (
            [{"not_in": ("b", "c")}],
            "start agent a1 without --tag zone or with a value other than b, c, or drop placement.require[0]",
        ),
        (
            [{"not_in": ("b",)}, {"exists": True}],
            "start agent a1 with --tag zone=VALUE other than b, or drop placement.require[0]",
        ),
        ([{"in_": ("a", "c")}, {"not_in": ("a",)}], "start agent a1 with --tag zone=c, or drop placement.require[0]"),
        (
            [{"equals": "c"}, {"not_in": ("b", "c")}],
            "drop placement.require[0] and placement.require[1]: nothing is all that is required of zone",
        ),
    ],
)
def test_a_tag_is_to_be_as_all_its_requirements_want_it_not_only_those_that_fail(rules, step):
    job = with_rules(a_job(), require=tuple(Requirement(tag="zone", **rule) for rule in rules))
    (told,) = ask(job, a_fleet(an_agent(tags={"zone": "b"})))
    assert told.fix.steps == (step,)


def test_a_fact_that_nothing_can_be_as_required_is_no_reason_to_start_an_agent():
    rules = (Requirement(tag="arch", equals="arm64"), Requirement(tag="arch", exists=False))
    (told,) = ask(with_rules(a_job(), require=rules), a_fleet(an_agent()))
    drop = "drop placement.require[0] and placement.require[1]: arch is a fact of a1, not a tag"
    assert told.fix.steps == (drop,)


def test_what_would_do_by_itself_is_offered_only_where_nothing_else_is_needed():
    job = with_rules(a_job(scale=2, cpu=8000, ports={"http": 80}), distinct=Distinct.AGENT)
    here = a_placement(slot=0, cpu=1000, ports=[80])
    fleet = a_fleet(an_agent(), placements=[here], cordons=[a_cordon()])
    (told,) = ask(job, fleet, standing(here))
    assert told.fix.steps == (
        "agent a1 is cordoned: put it to use again with `harpoon uncordon a1`",
        "lower scale, or leave placement.distinct out",
        ("lower task.resources.cpu to 3000m, or start agent a1 with --cpu 9000m or more; a1 has 4000m in all"),
        "port 80 of a1 is this job's own: write 0 for the port: any free one",
    )


def test_the_nearest_agent_lacks_the_smallest_share_of_what_is_needed_not_the_smallest_number():
    fleet = a_fleet(an_agent("a1", cpu=100), an_agent("a2", memory=1000 * MIB))
    (told,) = ask(a_job(cpu=1000, memory=1024 * MIB), fleet)
    assert told.fix.agent == "a2"


def test_what_has_ended_of_the_slot_itself_is_no_blocker_of_it():
    failed = standing(a_placement(cpu=4000), TaskState.FAILED)
    fleet = a_fleet(an_agent(), placements=[failed.placement])
    job = with_rules(a_job(cpu=4000), require=(Requirement(tag="zone", equals="b"),))
    (told,) = ask(job, fleet, failed)
    assert predicates(told) == [["tag zone"]]
    decision = place(job, a_case(job, failed).rolled().wants, fleet, NOW, incarnation=1, revision=1)
    assert [one.predicate for one in decision.pending.blockers] == ["tag zone"]
    assert decision.pending.reason == told.reason


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
    unmet = Unmet(dependency=Dependency(job="db"), found="1/3 ready")
    (told,) = ask(a_job(scale=2), a_fleet(an_agent()), unmet=[unmet])
    assert (told.slots, told.reason) == ((0, 1), "it waits for job db to be ready (found 1/3 ready)")
    assert told.evidence == {"jobs": ("db",), "wanted": ("ready",), "found": ("1/3 ready",)}


def test_slots_that_wait_for_secrets_say_which_and_how_to_set_them():
    lacking = [NoSecret(name=f"db/{key}", found="there is no such secret") for key in ("user", "password")]
    (told,) = ask(a_job(scale=1), a_fleet(an_agent()), unmet=lacking)
    assert (told.slots, told.code) == ((0,), ReasonCode.NO_SECRET)
    assert told.reason.startswith(
        "it waits for secret db/user to be set (there is no such secret) and for secret db/pass"
    )
    assert told.evidence == {"secrets": ("db/user", "db/password"), "secrets_found": ("there is no such secret",) * 2}
    assert told.fix.steps == ("harpoon secret set db user=- password=-",)
    (elsewhere,) = ask(replace(a_job(), namespace="shop"), a_fleet(an_agent()), unmet=lacking[:1])
    assert elsewhere.fix.steps == ("harpoon secret set -n shop db user=-",)


def test_slots_that_wait_for_a_run_that_has_failed_say_how_to_have_another():
    gone = Unmet(dependency=Dependency(run="m-1"), found="there is no such run", fix="start it")
    secret = NoSecret(name="db/user", found="there is no such secret")
    (told,) = ask(a_job(), a_fleet(an_agent()), unmet=[gone, secret])
    assert (told.code, told.evidence["jobs"], told.evidence["wanted"]) == (
        ReasonCode.DEPENDENCY,
        ("run/m-1",),
        ("succeeded",),
    )
    assert told.fix.steps == ("start it", "harpoon secret set db user=-")
    (goes_on,) = ask(a_job(), a_fleet(an_agent()), unmet=[replace(gone, found="running", fix=""), secret])
    assert goes_on.fix is None


def test_slots_that_wait_for_a_job_and_a_secret_tell_both():
    unmet = [Unmet(dependency=Dependency(job="db"), found="1/3 ready"), NoSecret(name="db/a", found="none")]
    (told,) = ask(a_job(), a_fleet(an_agent()), unmet=unmet)
    assert (told.code, told.fix) == (ReasonCode.DEPENDENCY, None)
    assert told.evidence["jobs"] == ("db",)
    assert told.evidence["secrets"] == ("db/a",)


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
    assert told.reason == BACKOFF


def test_a_backoff_ends_when_it_does_whatever_deadline_a_drain_has_meanwhile():
    failed = standing(a_placement(failures=3, decided_ms=NOW.wall - 1000), TaskState.FAILED, since_ms=NOW.wall - 500)
    leaves = standing(a_placement(slot=1, agent="a2"), TaskState.RUNNING)
    fleet = a_fleet(an_agent(), placements=[failed.placement, leaves.placement])
    told = ask(a_job(scale=2), fleet, failed, leaves, leaving={"a2": NOW.wall + 1000})
    assert [(one.code, one.reason) for one in told if 0 in one.slots] == [(ReasonCode.BACKOFF, BACKOFF)]
    assert told[-1].evidence == {"due_ms": NOW.wall + 3500, "failures": 4, "tasks": (failed.placement.task,)}


def test_what_is_to_run_always_and_ended_is_replaced_later_each_time_like_what_failed():
    ended = standing(a_placement(failures=3, decided_ms=NOW.wall - 1000), TaskState.FINISHED, since_ms=NOW.wall - 500)
    (told,) = ask(a_job(), a_fleet(an_agent(), placements=[ended.placement]), ended)
    assert told.reason == BACKOFF


def test_a_lost_task_of_an_older_version_is_told_though_its_job_waits_for_another():
    lost = standing(a_placement(generation="g0"), TaskState.LOST)
    unmet = Unmet(dependency=Dependency(job="db"), found="1/3 ready")
    (told,) = ask(a_job(), a_fleet(an_agent(), placements=[lost.placement]), lost, evictable=0, unmet=[unmet])
    assert (told.slots, told.code, told.evidence["agents"]) == ((0,), ReasonCode.EVICTION_LIMITED, ("a1",))


def test_a_slot_that_another_uses_up_the_allowance_for_names_it():
    failing = standing(a_placement(slot=0, generation="g2"), TaskState.RUNNING, ready=False)
    old = [standing(a_placement(slot=slot)) for slot in (1, 2)]
    fleet = a_fleet(an_agent(), placements=[one.placement for one in (failing, *old)])
    (told,) = ask(a_job(scale=4, generation="g2", surge=0, unavailable=1), fleet, failing, *old)
    assert told.evidence["awaited"] == ("default.web.0.1-1 to be ready", "slot 3 to be placed")
    assert told.reason.endswith("it waits for default.web.0.1-1 to be ready and slot 3 to be placed")


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
    monkeypatch.setattr(waits, "CASES_MAX", 1)
    shortened = ask(a_job(scale=4, exclusive=True), fleet, *standings)
    assert shortened[1].slots == (1,)
    assert shortened[1].reason == "they wait for their agents too; it is not told one by one for which"


def test_exclusive_slots_whose_turn_comes_say_what_they_wait_for():
    broken = [exclusive(0, TaskState.STARTING, generation="g2"), exclusive(1), exclusive(2)]
    fleet = a_fleet(an_agent(), placements=[one.placement for one in broken])
    (told,) = ask(a_job(scale=3, generation="g2", exclusive=True), fleet, *broken)
    assert told.slots == (1, 2)
    assert told.reason == (
        "the job is exclusive, and update.unavailable 0 lets no more change at once; "
        "it waits for default.web.0.1-1 to be ready"
    )
    assert told.fix.steps == ("raise update.unavailable above 1",)


def test_an_exclusive_slot_that_failed_again_says_when_it_is_replaced():
    placement = a_placement(is_exclusive=True, failures=3, decided_ms=NOW.wall - 1000)
    failed = standing(placement, TaskState.FAILED, since_ms=NOW.wall - 500)
    (told,) = ask(a_job(exclusive=True), a_fleet(an_agent(), placements=[placement]), failed)
    assert told.reason == BACKOFF


def braked(**how):
    """A job of three slots whose rollout waits: every slot has a ready task of before."""
    job = a_job(scale=3, generation="g2", version=2, update=Update(canary=1))
    there = [standing(a_placement(slot=slot, generation="g1", revision=slot + 1), ready=True) for slot in range(3)]
    return job, there, Brake(form=a_job(scale=3, generation="g1", update=Update(canary=1)), bindings={}, **how)


def test_slots_of_a_paused_rollout_wait_for_people():
    job, there, brake = braked(is_paused=True)
    (told,) = ask(job, a_fleet(an_agent()), *there, brake=brake)
    assert (told.slots, told.code) == ((0, 1, 2), ReasonCode.ROLLOUT_PAUSED)
    assert told.reason == "the rollout of version 2 is paused, and version 1 stays meanwhile"
    assert told.evidence == {"version": 2, "stable": 1}
    assert told.fix.steps == ("harpoon rollout resume web",)


def test_slots_beside_canaries_wait_to_be_promoted():
    job, there, brake = braked(canaries=1)
    canary = standing(a_placement(generation="g2", revision=9), ready=True)
    (told,) = ask(job, a_fleet(an_agent()), *there, canary, brake=brake)
    assert (told.slots, told.code) == ((1, 2), ReasonCode.ON_TRIAL)
    assert told.reason == "version 2 is on trial elsewhere, and version 1 stays until it is promoted"
    assert told.evidence == {"version": 2, "stable": 1, "canaries": 1}
    assert told.fix.steps == ("harpoon rollout promote web, or to go back: harpoon rollout undo web",)


def test_both_forms_of_a_job_are_explained_when_neither_fits():
    job, there, brake = braked(canaries=1)
    gone = [standing(one.placement, TaskState.FAILED) for one in there]
    form = replace(brake.form, spec=replace(brake.form.spec, task=a_job(memory=1 << 50).spec.task))
    job = replace(job, spec=replace(job.spec, task=a_job(cpu=1 << 20).spec.task))
    told = ask(job, a_fleet(an_agent()), *gone, brake=replace(brake, form=form))
    assert [(one.slots, one.code) for one in told] == [
        ((0,), ReasonCode.FITS_NOWHERE),
        ((1, 2), ReasonCode.FITS_NOWHERE),
    ]
    assert [predicates(one) for one in told] == [[["cpu"]], [["memory"]]]


def test_a_turn_waits_for_what_is_ready_to_be_healthy():
    job = a_job(scale=2, generation="g2", version=2, update=Update(healthy_for=timedelta(minutes=1)))
    olds = [standing(a_placement(slot=slot, generation="g1", revision=slot + 1), ready=True) for slot in range(2)]
    new = standing(a_placement(generation="g2", revision=9), ready=True, ready_since_ms=NOW.wall - 1000)
    (told,) = ask(job, a_fleet(an_agent()), *olds, new)
    assert (told.slots, told.code) == ((1,), ReasonCode.TURN)
    assert told.evidence["awaited"] == (f"{new.placement.task} to be healthy",)
