"""Why is proved: complete, sufficient, honest, and no slot is left unexplained, whatever the situation.

Each property is a judge of what was told (`complete`, `sufficient`, `fixing`, `honest`, `accounted`). That the judges
can refuse is shown at the end, on one situation in which what is true is told and then falsified in one place:

=============================================  ============
what is falsified                              refused by
=============================================  ============
a refusal is left out                          complete
a refusal is made up                           complete
a number is another                            complete
an agent is left out, or told with another's   complete
too few agents are counted                     complete
a slot is left out                             honest
a slot is told twice                           accounted
the agent of the fix is another                fixing
a step of the fix is left out                  fixing
a number of a step is another                  fixing
a blocker that was told is not one             sufficient
the sentence is another than what is recorded  honest
=============================================  ============
"""

import re
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from harpoon.core.board import Board
from harpoon.core.held import hold_back
from harpoon.core.place import place
from harpoon.core.why import explain
from harpoon.model.agent import LinkState
from harpoon.model.instant import Instant
from harpoon.model.job import SCALE_MAX, Update
from harpoon.model.lifecycle import RestartPolicy
from harpoon.model.rules import PlacementRules, Requirement
from harpoon.model.task import TaskState
from harpoon.model.why import FailedPredicate, ReasonCode
from tests.builders import a_cordon, a_job, a_placement, an_agent
from tests.core.explaining import (
    FRESH,
    Scene,
    alternatives,
    follow,
    holds,
    refused,
    relieve,
    situations,
    takes,
)

NOWHERE = (ReasonCode.FITS_NOWHERE, ReasonCode.MAKES_ROOM)


class Told:
    """A scene, what the scheduler decides of it, and what is said of it."""

    def __init__(self, scene):
        self.scene = scene
        self.case = scene.case()
        self.rolled = self.case.rolled()
        self.wants = {want.slot: want for want in self.rolled.wants}
        self.decision = place(scene.job, self.rolled.wants, scene.fleet(), scene.now, incarnation=1, revision=50)
        self.after = scene.after(self.rolled.wants, self.decision)
        self.slots = explain(self.case, scene.fleet())

    @property
    def nowhere(self):
        return [one for one in self.slots if one.code in NOWHERE]


# The judges.


def complete(told):
    """Every agent is told of, with every predicate that it fails, and both values are true."""
    for one in told.nowhere:
        for slot in one.slots:
            expected = refused(told.after, slot, told.wants[slot].ended)
            said = {agent: [*map(_triple, known.failed)] for known in one.groups for agent in known.agents}
            assert {agent: set(failed) for agent, failed in said.items()} == expected
            assert all(len(failed) == len(set(failed)) for failed in said.values())
            assert all(expected.values()), "an agent that lacks nothing could take it"
        assert sum(known.agents_count for known in one.groups) + one.agents_left == len(told.scene.agents)


def _triple(failed):
    return failed.predicate, failed.wanted, failed.found


def sufficient(told):
    """An agent that is rid of just what is told of it takes the slot, and of all but one does not."""
    for one in told.nowhere:
        slot = one.slots[0]
        want = replace(told.wants[slot], avoid=())
        for known in one.groups:
            for agent in known.agents:
                without = relieve(told.after, agent, known.failed, slot)
                assert takes(without, want, only=agent) == agent
                for kept in known.failed:
                    rest = [failed for failed in known.failed if failed is not kept]
                    # What goes with another slot's task takes more with it than is told, and so do rules of one tag.
                    if not any(failed.predicate.startswith("distinct") for failed in rest):
                        assert takes(relieve(told.after, agent, rest, slot), want, only=agent) is None


def fixing(told, choose):
    """Whichever way each step of the fix is done, the slot is placed."""
    for one in told.nowhere:
        assert one.fix is not None
        assert one.fix.steps
        scene = told.after
        for step in one.fix.steps:
            scene = scene and follow(scene, choose(alternatives(step)), one.fix.agent)
        if scene is not None:
            taker = takes(scene, told.wants[one.slots[0]])
            if not told.scene.agents and not can_be(scene.job):
                continue  # no agent there could ever be is as required
            assert taker is not None, one.fix
            assert one.fix.agent in (None, taker) or taker not in told.scene.agents or scene.job != told.scene.job


def can_be(job):
    """Whether the requirements contradict each other."""
    rules, values = job.spec.placement.require, ("b", "c", "d", FRESH, "arm64", None)
    tags = {rule.tag for rule in rules}
    return all(any(all(holds(r, value) for r in rules if r.tag == tag) for value in values) for tag in tags)


def honest(told):
    """What is said is what the scheduler records of the very same state."""
    scene, rolled = told.scene, told.rolled
    pending = told.decision.pending
    record = hold_back(scene.job, rolled.held, scene.unmet, pending, scene.now)
    slots = [slot for one in told.slots if one.code in (*NOWHERE, ReasonCode.DEPENDENCY) for slot in one.slots]
    assert sorted(slots) == sorted(() if record is None else record.slots)
    for one in told.slots:
        if one.code is ReasonCode.DEPENDENCY:
            assert one.slots == rolled.held
            assert one.reason.removeprefix("it waits ") in record.reason
    if pending is not None:
        first = next(one for one in told.nowhere if pending.slots[0] in one.slots)
        recorded = {(b.predicate, b.wanted, b.found): set(b.agents) for b in pending.blockers if b.agents}
        said = {}
        for known in first.groups:
            for failed in known.failed:
                said.setdefault(_triple(failed), set()).update(known.agents)
        assert said == recorded
        # Of some of the slots that are recorded together as many are counted as there are, and only theirs stay.
        nearest = re.search(r"wanted slots cannot be placed(: [^;]*)", pending.reason)[1]
        assert nearest in first.reason
        if first.slots == pending.slots and first.code is ReasonCode.FITS_NOWHERE:
            assert first.reason == pending.reason


def accounted(told):
    """Each slot has what it should, is placed, is told of once, or something of it goes at this very moment."""
    said = [slot for one in told.slots for slot in one.slots]
    assert len(said) == len(set(said)), "told twice"
    placed = {one.slot for one in told.decision.placements}
    assert not placed & set(said)
    dropped = {drop.task for drop in told.rolled.drops}
    going = {one.placement.slot for one in told.scene.standings if one.placement.task in dropped}
    kept = {one.placement.slot for one in told.scene.standings if _is_as_wanted(told.scene, one.placement, one.task)}
    assert set(range(told.scene.job.spec.scale)) <= {*said, *placed, *going, *kept}
    for one in told.slots:
        assert one.reason
        if one.code in (ReasonCode.BACKOFF, ReasonCode.SETTLING):
            timely(told, one)


def _is_as_wanted(scene, placement, task):
    """Whether a placement is what its slot should have, dead or alive: then its task tells the rest."""
    drain = scene.cordons.get(placement.agent)
    state = None if task is None else task.state
    lives = state not in (TaskState.FAILED, TaskState.LOST, TaskState.FINISHED)
    has_settled = state is TaskState.FINISHED and scene.job.spec.task.restart.policy is not RestartPolicy.ALWAYS
    bound = {name: (placement.bindings or {}).get(name, "") for name in scene.replacing}
    is_fresh = scene.now.wall - placement.decided_ms < 5_000
    is_present = placement.generation == scene.job.generation and (bound == scene.replacing or is_fresh)
    leaves = lives and drain is not None and drain.is_draining
    return (lives or has_settled) and is_present and not leaves and not placement.is_revoked


def timely(told, one):
    """At the moment that is told, and not before, the first of these slots is wanted, if nothing else kept it."""
    now_dropped = {drop.task for drop in told.rolled.drops}

    def moved(wall_ms):
        case = told.case
        is_exclusive = case.job.spec.exclusive
        update = Update(unavailable=SCALE_MAX) if is_exclusive else Update(surge=SCALE_MAX)
        then = replace(
            case,
            job=replace(case.job, spec=replace(case.job.spec, update=update)),
            now=Instant(elapsed=case.now.elapsed, wall=wall_ms),
            leaving=dict.fromkeys(case.leaving),
            unmet=(),
            standings=tuple(one for one in case.standings if one.placement.task not in now_dropped),
        ).rolled()
        dropped = {drop.task for drop in then.drops} if is_exclusive else set()
        going = {one.placement.slot for one in case.standings if one.placement.task in dropped}
        return {want.slot for want in then.wants} | going

    assert set(one.slots) & moved(one.evidence["due_ms"])
    assert not set(one.slots) & moved(one.evidence["due_ms"] - 1)


# The properties.


@settings(max_examples=400, deadline=None)
@given(situations())
def test_every_agent_is_told_with_all_that_it_lacks_and_both_values_are_true(scene):
    complete(Told(scene))


@settings(max_examples=300, deadline=None)
@given(situations())
def test_an_agent_that_is_rid_of_what_is_told_of_it_takes_the_slot_and_no_less_will_do(scene):
    sufficient(Told(scene))


@settings(max_examples=400, deadline=None)
@given(situations(), st.data())
def test_the_nearest_fix_fixes_whichever_of_its_alternatives_are_taken(scene, data):
    fixing(Told(scene), lambda said: data.draw(st.sampled_from(said)))


@settings(max_examples=400, deadline=None)
@given(situations())
def test_what_is_told_is_what_the_scheduler_records_of_the_same_state(scene):
    honest(Told(scene))


@settings(max_examples=600, deadline=None)
@given(situations())
def test_no_slot_is_left_unexplained_and_none_is_explained_twice(scene):
    accounted(Told(scene))


@settings(max_examples=200, deadline=None)
@given(situations())
def test_explaining_changes_nothing_and_says_the_same_again(scene):
    case, fleet, before = scene.case(), scene.fleet(), scene.fleet()
    told = explain(case, fleet)
    assert fleet == before
    assert explain(case, scene.fleet()) == told
    assert Board(scene.job, fleet).size == len(scene.agents)


# The judges can refuse.


def a_scene():
    """Two slots fit nowhere, each agent lacks other things; a third slot waits for a dependency to hold no more."""
    job = a_job(scale=2, generation="g2", cpu=3000)
    rules = PlacementRules(require=(Requirement(tag="zone", equals="b"),))
    agents = {name: an_agent(name, cpu=cpu) for name, cpu in (("a1", 4000), ("a2", 2000), ("a3", 4000))}
    agents["a1"] = replace(agents["a1"], tags={"zone": "b"})
    links = dict.fromkeys(agents, LinkState.CONNECTED)
    return Scene(
        job=replace(job, spec=replace(job.spec, placement=rules)),
        agents=agents,
        links=links | {"a3": LinkState.LOST},
        cordons={"a2": a_cordon("a2")},
        taken=(a_placement(job="other", agent="a1", cpu=1500),),
    )


def judge(told):
    complete(told)
    sufficient(told)
    fixing_first(told)
    honest(told)
    accounted(told)


def fixing_first(told):
    fixing(told, lambda said: said[0])


def falsified(change):
    told = Told(a_scene())
    (one,) = told.slots
    told.slots = change(one)
    return told


def _with_group(one, at, **changes):
    groups = list(one.groups)
    groups[at] = replace(groups[at], **changes)
    return (replace(one, groups=tuple(groups)),)


def _with_failed(one, at, which, **changes):
    failed = list(one.groups[at].failed)
    failed[which] = replace(failed[which], **changes)
    return _with_group(one, at, failed=tuple(failed))


def _with_fix(one, **changes):
    return (replace(one, fix=replace(one.fix, **changes)),)


MADE_UP = FailedPredicate(predicate="memory", wanted="1Gi free", found="0 free of 4Gi")
FALSIFICATIONS = {
    "a refusal is left out": (complete, lambda one: _with_group(one, 1, failed=one.groups[1].failed[1:])),
    "a refusal is made up": (complete, lambda one: _with_group(one, 0, failed=(*one.groups[0].failed, MADE_UP))),
    "what was found is another number": (complete, lambda one: _with_failed(one, 0, 0, found="2400m free of 4000m")),
    "what is wanted is another number": (complete, lambda one: _with_failed(one, 0, 0, wanted="3100m free")),
    "an agent is left out": (complete, lambda one: (replace(one, groups=one.groups[1:]),)),
    "an agent is told with another's": (complete, lambda one: _with_group(one, 0, agents=("a2",))),
    "too few agents are counted": (complete, lambda one: _with_group(one, 0, agents_count=0)),
    "an agent that would do otherwise is said to lack less": (
        sufficient,
        lambda one: _with_group(one, 1, failed=one.groups[1].failed[:1]),
    ),
    "too little is said to be short": (sufficient, lambda one: _with_failed(one, 0, 0, found="2600m free of 4000m")),
    "too much is said to be short": (
        sufficient,
        lambda one: _with_group(one, 0, failed=(*one.groups[0].failed, MADE_UP)),
    ),
    "the agent of the fix is another": (fixing_first, lambda one: _with_fix(one, agent="a2")),
    "a step is left out": (fixing_first, lambda one: _with_fix(one, steps=("start agent a1 with --tag zone=b",))),
    "a number of a step is another": (fixing_first, lambda one: _with_fix(one, steps=("free 400m of cpu on a1",))),
    "a step that nobody can do": (fixing_first, lambda one: _with_fix(one, steps=("see to it",))),
    "there are no steps": (fixing_first, lambda one: _with_fix(one, steps=())),
    "a slot is left out": (honest, lambda one: (replace(one, slots=one.slots[1:]),)),
    "the sentence is another": (honest, lambda one: (replace(one, reason=one.reason.replace("500m", "600m")),)),
    "blockers are other ones than those recorded": (honest, lambda one: _with_failed(one, 0, 0, found="nothing")),
    "a slot is told twice": (accounted, lambda one: (one, one)),
    "nothing is told": (accounted, lambda _: ()),
}


def test_what_is_true_passes_all_judges():
    judge(Told(a_scene()))


@pytest.mark.parametrize("what", FALSIFICATIONS)
def test_what_is_falsified_is_refused(what):
    refuses, change = FALSIFICATIONS[what]
    with pytest.raises(AssertionError):
        refuses(falsified(change))
