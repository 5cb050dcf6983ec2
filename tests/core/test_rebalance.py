"""Which tasks would be elsewhere if they were placed today; and what becomes of those that are to move."""

from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from harpoon.core import rebalance as module
from harpoon.core.place import place
from harpoon.core.rebalance import Settled, futile, heeded, rebalance, staying
from harpoon.core.rollout import rollout
from harpoon.core.standing import Brake, Standing
from harpoon.model.job import Job
from harpoon.model.rules import Distinct, Preference, Requirement
from tests.builders import a_cordon, a_job, a_link, a_placement, a_task, an_agent, at
from tests.core.placing import a_fleet, others

NAMES = ("a1", "a2", "a3", "a4")


def here(job: Job, *agents: str):
    """The job with a placement of each slot, on these agents."""
    cpu = job.spec.task.resources.cpu
    placed = [
        a_placement(job=job.name, slot=slot, agent=agent, revision=slot + 1, cpu=cpu)
        for slot, agent in enumerate(agents)
    ]
    return Settled(job=job, placements=tuple(placed))


def on(*agents, jobs=(), **more):
    return a_fleet(*agents, placements=[one for settled in jobs for one in settled.placements], **more)


def told(moves):
    return [(one.task.split(".")[1] + one.task.split(".")[2], one.agent, one.to) for one in moves]


def test_a_new_agent_takes_its_share_and_no_more():
    job = here(a_job(scale=4), "a1", "a1", "a1", "a1")
    fleet = on(an_agent("a1"), an_agent("a2"), jobs=[job])
    moves, is_whole = rebalance([job], fleet, most=90)
    assert is_whole
    assert told(moves) == [("web3", "a1", "a2"), ("web2", "a1", "a2")]
    assert [(one.before, one.after) for one in moves] == [(4, 1), (3, 2)]
    assert moves[0].reason == "a1 has 4 of this job's tasks, a2 would have 1 with it"


def test_no_more_are_moved_than_may_be_and_those_that_gain_most_come_first():
    small = here(a_job(name="small", scale=2), "a1", "a1")
    large = here(a_job(name="web", scale=4), "a1", "a1", "a1", "a1")
    fleet = on(an_agent("a1"), an_agent("a2"), jobs=[small, large])
    moves, _ = rebalance([small, large], fleet, most=2)
    assert told(moves) == [("web3", "a1", "a2"), ("small1", "a1", "a2")]


def test_the_tags_that_a_job_is_spread_over_come_before_its_agents():
    job = here(a_job(scale=2, spread=["zone"]), "a1", "a2")
    agents = [an_agent(name, tags={"zone": zone}) for name, zone in (("a1", "x"), ("a2", "x"), ("a3", "y"))]
    [move], _ = rebalance([job], on(*agents, jobs=[job]), most=9)
    assert (move.to, move.before, move.after) == ("a3", 2, 1)
    assert move.reason == "zone x has 2 of this job's tasks, zone y would have 1 with it"


def test_an_agent_without_the_tag_is_one_more_value():
    job = here(a_job(scale=2, spread=["zone"]), "a1", "a1")
    agents = [an_agent("a1", tags={}), an_agent("a2", tags={"zone": "y"})]
    [move], _ = rebalance([job], on(*agents, jobs=[job]), most=9)
    assert move.reason.startswith("zone not set has 2")


def test_a_task_on_an_agent_that_is_not_registered_counts_for_no_tag():
    job = here(a_job(scale=3, spread=["zone"]), "a1", "a1", "gone")
    agents = [an_agent(name, tags={"zone": name}) for name in ("a1", "a2")]
    [move], _ = rebalance([job], on(*agents, jobs=[job]), most=9)
    assert (move.agent, move.to, move.before, move.after) == ("a1", "a2", 2, 1)


def test_a_better_liked_agent_takes_a_task_but_comes_after_spread():
    rule = Preference(tag="disk", equals="ssd", weight=5)
    liked = here(a_job(name="liked", scale=1, prefer=[rule]), "a1")
    web = here(a_job(scale=2), "a1", "a1")
    fleet = on(an_agent("a1"), an_agent("a2", tags={"disk": "ssd"}), jobs=[liked, web])
    moves, _ = rebalance([liked, web], fleet, most=9)
    assert told(moves) == [("web1", "a1", "a2"), ("liked0", "a1", "a2")]
    assert moves[1].reason == "a2 is preferred by 5, a1 by 0"


def test_how_full_agents_are_moves_nothing():
    job = here(a_job(scale=1, cpu=1), "a1")
    fleet = on(an_agent("a1", cpu=100), an_agent("a2", cpu=2), an_agent("a0", cpu=2), jobs=[job])
    assert rebalance([job], fleet, most=9) == ((), True)


def test_what_has_no_room_or_may_not_be_there_is_no_place_to_move_to():
    job = here(a_job(scale=3, cpu=4, require=[Requirement(tag="zone", equals="z")]), "a1", "a1", "a1")
    agents = [an_agent("a1", cpu=20, tags={"zone": "z"}), an_agent("a2", cpu=3, tags={"zone": "z"}), an_agent("a3")]
    assert rebalance([job], on(*agents, jobs=[job]), most=9)[0] == ()


def test_room_that_one_move_takes_is_not_given_to_another():
    jobs = [here(a_job(name=name, scale=2, cpu=4), "a1", "a1") for name in ("a", "b")]
    fleet = on(an_agent("a1", cpu=20), an_agent("a2", cpu=7), jobs=jobs)
    assert told(rebalance(jobs, fleet, most=9)[0]) == [("a1", "a1", "a2")]


def test_a_worse_move_that_is_left_is_still_found():
    wide = here(a_job(name="wide", scale=4, cpu=4), "a1", "a1", "a1", "a1")
    fleet = on(an_agent("a1", cpu=99), an_agent("a2", cpu=4), an_agent("a3", cpu=4), jobs=[wide])
    other = here(a_job(name="a", scale=5, cpu=4), "a1", "a1", "a1", "a1", "a1")
    for placement in other.placements:
        fleet.add(placement)
    assert told(rebalance([wide, other], fleet, most=9)[0]) == [("a4", "a1", "a2"), ("a3", "a1", "a3")]


@pytest.mark.parametrize("closed", ["link", "cordon", "unknown"])
def test_a_task_on_an_agent_that_takes_none_stays(closed):
    job = here(a_job(scale=4), "a1", "a1", "a1", "a1")
    agents = [an_agent("a2")] if closed == "unknown" else [an_agent("a1"), an_agent("a2")]
    fleet = on(*agents, jobs=[job], cordons=[a_cordon("a1")] if closed == "cordon" else [])
    if closed == "link":
        fleet.set_link(a_link("a1", "lost"))
    assert rebalance([job], fleet, most=9)[0] == ()


def test_slots_that_are_to_be_on_distinct_agents_stay_so():
    job = here(a_job(scale=2, distinct=Distinct.AGENT, spread=["zone"]), "a1", "a2")
    agents = [an_agent("a1", tags={"zone": "x"}), an_agent("a2", tags={"zone": "x"})]
    assert rebalance([job], on(*agents, jobs=[job]), most=9)[0] == ()


def test_what_is_cut_off_says_so(monkeypatch):
    monkeypatch.setattr(module, "LOOKS_MAX", 3)
    jobs = [here(a_job(name=name, scale=4), "a1", "a1", "a1", "a1") for name in ("a", "b")]
    moves, is_whole = rebalance(jobs, on(an_agent("a1"), an_agent("a2"), jobs=jobs), most=9)
    assert (len(moves), is_whole) == (0, False)


@st.composite
def scenes(draw):
    """Agents, some of them new, and jobs whose tasks are on the others however it came to be."""
    agents = [
        an_agent(
            name,
            cpu=draw(st.integers(4, 40)),
            tags={"zone": draw(st.sampled_from("xy")), "disk": draw(st.sampled_from(["ssd", "hdd"]))},
        )
        for name in NAMES
    ]
    jobs = []
    for number in range(draw(st.integers(1, 4))):
        job = a_job(
            name=f"j{number}",
            scale=draw(st.integers(1, 6)),
            cpu=draw(st.integers(0, 4)),
            spread=draw(st.sampled_from([(), ("zone",), ("zone", "disk")])),
            prefer=[Preference(tag="disk", equals="ssd", weight=3)] if draw(st.booleans()) else (),
        )
        jobs.append(here(job, *(draw(st.sampled_from(NAMES)) for _ in range(job.spec.scale))))
    return agents, jobs


def moved(jobs, moves):
    """The jobs with these moves done."""
    to = {move.task: move.to for move in moves}
    return [
        Settled(job=one.job, placements=tuple(replace(p, agent=to.get(p.task, p.agent)) for p in one.placements))
        for one in jobs
    ]


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_once_all_moves_are_done_there_are_no_others(scene):
    agents, jobs = scene
    moves, _ = rebalance(jobs, on(*agents, jobs=jobs), most=10**6)
    after = moved(jobs, moves)
    assert rebalance(after, on(*agents, jobs=after), most=10**6)[0] == ()


@settings(max_examples=200, deadline=None)
@given(scenes(), st.integers(1, 3))
def test_a_few_at_a_time_come_to_an_end_and_each_time_no_more_than_asked_for(scene, most):
    agents, jobs = scene
    for _ in range(200):
        moves, _ = rebalance(jobs, on(*agents, jobs=jobs), most=most)
        assert len(moves) <= most
        assert all(one.agent != one.to for one in moves)
        if not moves:
            return
        jobs = moved(jobs, moves)
    raise AssertionError("it goes on for ever")


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_the_tasks_of_no_job_are_spread_worse_than_before(scene):
    agents, jobs = scene
    after = moved(jobs, rebalance(jobs, on(*agents, jobs=jobs), most=10**6)[0])
    zones = {agent.name: agent.tags["zone"] for agent in agents}
    for old, new in zip(jobs, after, strict=True):
        of = zones.__getitem__ if old.job.spec.placement.spread else str
        squares = [
            sum(count**2 for count in Counter(of(one.agent) for one in settled.placements).values())
            for settled in (old, new)
        ]
        assert squares[1] <= squares[0]


@settings(max_examples=200, deadline=None)
@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_the_jobs_is_irrelevant_and_the_fleet_is_left_alone(scene, rng):
    agents, jobs = scene
    fleet = on(*agents, jobs=jobs)
    before = fleet.fork()
    moves = rebalance(jobs, fleet, most=5)
    shuffled = list(jobs)
    rng.shuffle(shuffled)
    assert rebalance(shuffled, fleet, most=5) == moves
    assert fleet == before


def ready(placement, *, is_moving=False):
    return Standing(placement, a_task(placement), is_moving)


def decided(job, fleet, standings):
    rolled = rollout(job, standings, at(60))
    return rolled, place(job, rolled.wants, fleet, at(60), incarnation=1, revision=9)


def test_a_moving_task_is_replaced_elsewhere_before_it_goes():
    job = here(a_job(scale=2), "a1", "a1")
    stays, moves = job.placements
    fleet = on(an_agent("a1"), an_agent("a2"), jobs=[job])
    standings = (ready(stays), ready(moves, is_moving=True))
    rolled, decision = decided(job.job, fleet, standings)
    assert rolled.drops == ()
    [placed] = decision.placements
    assert (placed.slot, placed.agent) == (1, "a2")
    assert placed.reason.startswith("slot 1 leaves a1: tasks are being rebalanced")
    assert futile(standings, rolled, decision) == frozenset()
    done = rollout(job.job, (*standings, ready(placed)), at(61))
    assert [drop.task for drop in done.drops] == [moves.task]


def test_a_moving_task_for_which_there_is_no_other_place_stays():
    job = here(a_job(scale=1), "a1")
    standings = (ready(job.placements[0], is_moving=True),)
    for agents in ([an_agent("a1")], [an_agent("a1", cpu=0), an_agent("a2", cpu=0)]):
        job = here(a_job(scale=1, cpu=1), "a1")
        standings = (ready(job.placements[0], is_moving=True),)
        rolled, decision = decided(job.job, on(*agents, jobs=[job]), standings)
        assert futile(standings, rolled, decision) == {job.placements[0].task}
    left = staying(standings, futile(standings, rolled, decision))
    assert rollout(job.job, left, at(60)).wants == ()


def test_a_moving_task_that_waits_for_what_its_job_depends_on_stays():
    job = here(a_job(scale=1, depends_on=["db"]), "a1")
    standings = (ready(job.placements[0], is_moving=True),)
    fleet = on(an_agent("a1"), an_agent("a2"), jobs=[job])
    rolled = rollout(job.job, standings, at(60), is_held=True)
    decision = place(job.job, rolled.wants, fleet, at(60), incarnation=1, revision=9)
    assert rolled.held == (0,)
    assert futile(standings, rolled, decision) == {job.placements[0].task}


def test_one_that_waits_for_its_turn_goes_on_moving():
    job = here(a_job(scale=2), "a1", "a1")
    fleet = on(an_agent("a1"), an_agent("a2"), jobs=[job])
    standings = tuple(ready(one, is_moving=True) for one in job.placements)
    rolled, decision = decided(job.job, fleet, standings)
    assert [want.slot for want in rolled.wants] == [0], "update.surge is 1"
    assert futile(standings, rolled, decision) == frozenset()


def test_what_a_decision_leaves_off_goes_on_moving():
    job = here(a_job(scale=2, surge=2), "a1", "a1")
    fleet = on(an_agent("a1"), an_agent("a2"), jobs=[job])
    standings = tuple(ready(one, is_moving=True) for one in job.placements)
    rolled = rollout(job.job, standings, at(60))
    decision = place(job.job, rolled.wants, fleet, at(60), incarnation=1, revision=9, most=1)
    assert ([one.slot for one in decision.placements], decision.is_whole) == ([0], False)
    assert futile(standings, rolled, decision) == frozenset()


def test_moves_are_not_heeded_while_a_rollout_waits():
    job = a_job(scale=2)
    standings = tuple(Standing(a_placement(slot=slot), None, True) for slot in range(2))
    assert heeded(standings, None) == standings
    assert [one.is_moving for one in heeded(standings, Brake(form=job, bindings={}))] == [False, False]


def test_a_moving_task_of_an_exclusive_job_is_ended_first_and_placed_elsewhere():
    job = a_job(scale=1, exclusive=True)
    placement = a_placement(agent="a1", is_exclusive=True)
    standings = (ready(placement, is_moving=True),)
    rolled = rollout(job, standings, at(60))
    assert [drop.task for drop in rolled.drops] == [placement.task]
    denied = Standing(replace(placement, is_revoked=True, is_denied=True), None, True)
    [want] = rollout(job, (denied,), at(61)).wants
    assert want.avoid == ("a1",)
    assert futile((denied,), rolled, place(job, (), a_fleet(), at(), incarnation=1, revision=1)) == frozenset()


def test_other_jobs_do_not_keep_a_task_from_moving():
    job = here(a_job(scale=2), "a1", "a1")
    fleet = on(an_agent("a1"), an_agent("a2"), jobs=[job])
    for placement in others("a2", 5):
        fleet.add(placement)
    assert told(rebalance([job], fleet, most=9)[0]) == [("web1", "a1", "a2")]


def test_a_job_whose_best_place_another_has_taken_goes_to_the_next_best_when_it_is_its_turn():
    roomy = {"cpu": 9000}
    first = here(a_job(name="a", scale=4, cpu=1000, require=[Requirement(tag="zone", equals="two")]), *["a1"] * 4)
    second = here(a_job(name="b", scale=5, cpu=1000), *["a1"] * 4, "a3")
    agents = [an_agent("a1", **roomy), an_agent("a2", cpu=1000, tags={"zone": "two"}), an_agent("a3", **roomy)]
    moves, is_whole = rebalance([first, second], on(*agents, jobs=[first, second]), most=2)
    assert [(one.task.split(".")[1], one.to) for one in moves] == [("a", "a2"), ("b", "a3")]
    assert is_whole
