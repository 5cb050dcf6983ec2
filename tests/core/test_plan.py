"""What is foretold: exactly what the scheduler's verbs decide, one after the other, if all goes well."""

from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from harpoon.core import plan
from harpoon.core.foretold import Outset
from harpoon.core.held import Unmet
from harpoon.core.place import place
from harpoon.core.plan import foretell
from harpoon.core.rollout import rollout
from harpoon.core.standing import Standing
from harpoon.model.agent import LinkState
from harpoon.model.dependency import Dependency
from harpoon.model.rules import Distinct, PlacementRules, Requirement
from harpoon.model.task import TaskState
from tests.builders import MIB, T0, a_cordon, a_job, a_link, a_placement, a_task, an_agent, at
from tests.core.placing import a_fleet, others

NOW = at(3600)


def tell(outsets, fleet, **more):
    return foretell(outsets, fleet, NOW, incarnation=1, revision=50, **more)


def tell_one(job, fleet, *standings, **fields):
    (course,) = tell([Outset(job=job, standings=standings, **fields)], fleet)
    return course


def placed(course):
    return [(one.wave, one.slot, one.agent) for one in course.placements]


def dropped(course):
    return [(one.wave, one.task) for one in course.drops]


def standing(placement, state=TaskState.RUNNING, **fields):
    return Standing(placement=placement, task=None if state is None else a_task(placement, state=state, **fields))


def running(scale, *, generation="g1", agent="a1", job="web", **fields):
    """One ready task in each slot."""
    return [
        standing(a_placement(slot=slot, generation=generation, agent=agent, job=job, **fields)) for slot in range(scale)
    ]


def with_room(agents, standings):
    return a_fleet(*agents, placements=[one.placement for one in standings])


def test_a_new_job_is_placed_in_one_wave_with_the_reason_of_each_choice():
    course = tell_one(a_job(scale=3), a_fleet(an_agent("a1"), an_agent("a2")))
    assert placed(course) == [(1, 0, "a1"), (1, 1, "a2"), (1, 2, "a1")]
    assert course.placements[0].reason.startswith("slot 0 has no placement; spread:")
    assert (course.drops, course.pending, course.waves, course.is_whole) == ((), None, 1, True)


def test_a_migrate_goes_wave_by_wave_each_old_task_going_when_its_successor_is_ready():
    old = running(2)
    fleet = with_room([an_agent("a1"), an_agent("a2")], old)
    course = tell_one(a_job(scale=2, generation="g2", version=2), fleet, *old)
    assert placed(course) == [(1, 0, "a1"), (2, 1, "a2")]
    assert dropped(course) == [(2, old[0].placement.task), (3, old[1].placement.task)]
    assert course.drops[0].reason == "replaced by its successor, which is ready"
    assert (course.waves, course.is_whole) == (3, True)


def test_a_task_that_is_replaced_at_once_is_named_by_the_placement_that_takes_its_place():
    old = running(1)
    fleet = with_room([an_agent("a1")], old)
    course = tell_one(a_job(generation="g2", version=2, surge=0, unavailable=1), fleet, *old)
    assert course.placements[0].replaces == (old[0].placement.task,)
    assert (course.drops, course.waves) == ((), 1)


def test_nothing_is_foretold_of_a_job_that_is_as_it_should_be():
    course = tell_one(a_job(scale=2), with_room([an_agent()], running(2)), *running(2))
    assert (course.placements, course.drops, course.pending, course.waves) == ((), (), None, 0)


def test_slots_that_fit_nowhere_are_pending_with_every_blocker():
    course = tell_one(a_job(scale=2, memory=3072 * MIB), a_fleet(an_agent("a1")))
    assert placed(course) == [(1, 0, "a1")]
    assert course.pending.slots == (1,)
    assert [blocker.predicate for blocker in course.pending.blockers] == ["memory"]


def test_room_is_free_only_once_the_task_that_had_it_is_gone():
    old = running(2, cpu=1500, job="web")
    fleet = with_room([an_agent("a1", cpu=4000)], old)
    course = tell_one(a_job(scale=2, generation="g2", cpu=2500, unavailable=2), fleet, *old)
    first, second = (one.placement.task for one in old)
    assert dropped(course) == [(1, first), (1, second)]
    assert "makes room for its successor" in course.drops[0].reason
    assert placed(course) == [(2, 0, "a1")]
    assert course.pending.slots == (1,)


def test_tasks_that_are_leaving_already_take_their_room_until_the_second_wave():
    leaving = a_placement(job="web", cpu=3000)
    fleet = a_fleet(an_agent("a1"), placements=[leaving])
    course = tell_one(a_job(cpu=3000, generation="g2"), fleet, leaving=(leaving.task,))
    assert placed(course) == [(2, 0, "a1")]
    assert course.pending is None


def test_the_first_of_two_jobs_gets_the_room_that_is_not_enough_for_both():
    fleet = a_fleet(an_agent("a1"))
    jobs = [Outset(job=a_job(name=name, cpu=3000)) for name in ("b", "a")]
    first, second = tell(jobs, fleet)
    assert placed(first) == [(1, 0, "a1")]
    assert second.pending.slots == (0,)


def test_what_one_job_gives_up_another_takes_in_the_next_wave():
    old = running(1, job="db", cpu=3000)
    fleet = with_room([an_agent("a1")], old)
    shrunk = Outset(job=a_job(name="db", scale=0), standings=tuple(old))
    db, web = tell([shrunk, Outset(job=a_job(cpu=3000))], fleet)
    assert dropped(db) == [(1, old[0].placement.task)]
    assert placed(web) == [(2, 0, "a1")]
    assert web.pending is None


def test_a_task_that_never_ran_gives_its_room_back_within_the_wave():
    old = standing(a_placement(job="db", cpu=3000), state=None)
    fleet = with_room([an_agent("a1")], [old])
    shrunk = Outset(job=a_job(name="db", scale=0), standings=(old,))
    assert placed(tell([Outset(job=a_job(cpu=3000)), shrunk], fleet)[0]) == [(1, 0, "a1")]


def needs(job, *names):
    return replace(job, spec=replace(job.spec, depends_on=tuple(Dependency(job=name) for name in names)))


def test_a_job_waits_for_the_job_that_it_depends_on_when_both_are_planned():
    web, db = tell([Outset(job=needs(a_job(), "db")), Outset(job=a_job(name="db"))], a_fleet(an_agent()))
    assert placed(db) == [(1, 0, "a1")]
    assert placed(web) == [(2, 0, "a1")]
    assert web.pending is None


def test_a_job_is_not_ready_for_others_while_an_old_task_of_it_is_left():
    old = running(1, job="db")
    fleet = with_room([an_agent()], old)
    db = Outset(job=a_job(name="db", generation="g2"), standings=tuple(old))
    web, _ = tell([Outset(job=needs(a_job(), "db")), db], fleet)
    # Placed, then ready and its predecessor withdrawn, then that gone.
    assert placed(web) == [(3, 0, "a1")]


def test_a_dependency_on_a_job_that_is_not_planned_holds_the_slots_back():
    job = needs(a_job(scale=2), "db")
    unmet = (Unmet(dependency=job.spec.depends_on[0], found="there is no such job"),)
    course = tell_one(job, a_fleet(an_agent()), unmet=unmet)
    assert (course.placements, course.pending.slots) == ((), (0, 1))
    assert course.pending.blockers[0].predicate == "depends_on db"


def test_a_backoff_is_taken_to_pass():
    failed = standing(a_placement(failures=3, decided_ms=NOW.wall - 1000), TaskState.FAILED, since_ms=NOW.wall)
    course = tell_one(a_job(), with_room([an_agent()], [failed]), failed)
    assert placed(course) == [(2, 0, "a1")]
    assert course.placements[0].replaces == (failed.placement.task,)


def test_a_lost_task_is_replaced_and_its_room_stays_taken():
    lost = standing(a_placement(agent="a1", cpu=1000), TaskState.LOST)
    fleet = a_fleet(an_agent("a1"), an_agent("a2"), placements=[lost.placement], links=[a_link("a1", LinkState.LOST)])
    assert placed(tell_one(a_job(cpu=1000), fleet, lost)) == [(1, 0, "a2")]
    (halted,) = tell([Outset(job=a_job(cpu=1000), standings=(lost,))], fleet, is_halted=True)
    assert halted.placements == ()


def test_what_is_on_a_draining_agent_is_moved_make_before_break_and_its_deadline_is_not_waited_for():
    here = standing(a_placement(agent="a1"))
    cordon = a_cordon("a1", is_draining=True, deadline_ms=NOW.wall + 1)
    course = tell_one(
        a_job(), a_fleet(an_agent("a1"), an_agent("a2"), placements=[here.placement], cordons=[cordon]), here
    )
    assert placed(course) == [(1, 0, "a2")]
    assert [(drop.wave, drop.task) for drop in course.drops] == [(2, here.placement.task)]
    alone = tell_one(a_job(), a_fleet(an_agent("a1"), placements=[here.placement], cordons=[cordon]), here)
    assert (alone.placements, alone.drops) == ((), ())


def test_the_endpoints_a_task_is_given_are_those_of_now_and_it_is_not_replaced_for_them_later():
    bindings = {"API": "127.0.0.1:80"}
    course = tell_one(a_job(scale=2), a_fleet(an_agent()), bindings=bindings, replacing=bindings)
    assert (len(course.placements), course.waves) == (2, 1)
    old = running(1, decided_ms=T0)
    course = tell_one(a_job(), with_room([an_agent()], old), *old, bindings=bindings, replacing=bindings)
    assert course.placements[0].reason.startswith("endpoints that its environment names have changed")


def test_what_is_beyond_the_bounds_is_cut_and_says_so(monkeypatch):
    old = running(5)
    fleet = with_room([an_agent()], old)
    migrate = Outset(job=a_job(scale=5, generation="g2"), standings=tuple(old))
    new = Outset(job=a_job(name="api"))
    monkeypatch.setattr(plan, "WAVES_MAX", 3)
    long, short = tell([migrate, new], fleet)
    assert (long.waves, long.is_whole, len(long.placements)) == (3, False, 3)
    assert (short.waves, short.is_whole) == (1, True)
    monkeypatch.setattr(plan, "WAVES_MAX", 7)
    assert tell([migrate, new], fleet)[0].is_whole
    monkeypatch.setattr(plan, "LOOKS_MAX", 20)
    assert not tell([migrate, new], fleet)[0].is_whole


STATES = [None, *(state for state in TaskState if state is not TaskState.PENDING)]


@st.composite
def situations(draw):
    """A fleet with what runs on it, and jobs to be planned."""
    agents = [
        an_agent(f"a{index}", cpu=draw(st.sampled_from([0, 2000, 4000])), tags={"zone": draw(st.sampled_from("bc"))})
        for index in range(draw(st.integers(0, 4)))
    ]
    links = [a_link(one.name, draw(st.sampled_from([LinkState.CONNECTED] * 4 + list(LinkState)))) for one in agents]
    names = [one.name for one in agents] or ["gone"]
    outsets, placements = [], others(names[0], draw(st.integers(0, 2)), cpu=700, revision=2)
    for name in draw(st.sampled_from([["web"], ["web", "api"]])):
        surge = draw(st.integers(0, 2))
        job = a_job(
            name=name,
            scale=draw(st.integers(0, 4)),
            generation="g2",
            surge=surge,
            unavailable=draw(st.integers(0 if surge else 1, 2)),
            cpu=draw(st.sampled_from([0, 900, 1800])),
            ports={"http": 80} if draw(st.booleans()) else {},
        )
        rules = PlacementRules(
            require=(Requirement(tag="zone", equals="b"),) if draw(st.booleans()) else (),
            distinct=draw(st.sampled_from([None, Distinct.AGENT])),
        )
        depends = (Dependency(job="web"),) if name == "api" and draw(st.booleans()) else ()
        job = replace(job, spec=replace(job.spec, placement=rules, depends_on=depends))
        standings = []
        for number, (slot, generation) in enumerate(
            draw(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["g1", "g2"])), max_size=5)), 1
        ):
            placement = a_placement(
                job=name,
                slot=slot,
                revision=number,
                generation=generation,
                agent=draw(st.sampled_from(names)),
                cpu=draw(st.sampled_from([0, 900])),
                failures=draw(st.integers(0, 2)),
                decided_ms=NOW.wall - 1000,
            )
            state = draw(st.sampled_from([TaskState.RUNNING] * 4 + STATES))
            ready = state is TaskState.RUNNING and draw(st.booleans())
            task = state and a_task(placement, state=state, ready=ready, since_ms=NOW.wall - 500)
            standings.append(Standing(placement=placement, task=task))
        placements += [one.placement for one in standings]
        outsets.append(Outset(job=job, standings=tuple(standings)))
    return outsets, a_fleet(*agents, placements=placements, links=links)


class Follower:
    """Does what was foretold, commit by commit, and asks the real verbs before each whether they would do it too."""

    def __init__(self, outsets, fleet):
        self.jobs = {outset.job.name: outset.job for outset in outsets}
        self.standings = {outset.job.name: {s.placement.task: s for s in outset.standings} for outset in outsets}
        self.fleet = fleet.fork()
        self.seconds = 3600.0
        self.revision = 100
        self.stopping = []

    def is_held(self, job):
        return any(not self.is_settled(self.jobs[one.job]) for one in job.spec.depends_on)

    def is_settled(self, job):
        mine = self.standings[job.name].values()
        good = [s for s in mine if s.placement.generation == job.generation and s.task and s.task.ready]
        left = [task for task in self.stopping if task.split(".")[1] == job.name]
        return not left and len(mine) == len(good) == job.spec.scale

    def ask(self, job):
        """What the verbs decide now."""
        now = at(self.seconds)
        rolled = rollout(job, list(self.standings[job.name].values()), now, is_held=self.is_held(job))
        self.revision += 1
        decision = place(job, rolled.wants, self.fleet, now, incarnation=1, revision=self.revision)
        return rolled, decision

    def step(self, wave, courses):
        """Let every job decide once; whatever they decide was foretold for this wave. Tell whether any did."""
        freed, has_acted = [], False
        for job, course in zip(self.jobs.values(), courses, strict=True):
            rolled, decision = self.ask(job)
            known = self.standings[job.name]
            old = {task for task, one in known.items() if one.placement.revision < 50}
            wants = {want.slot: want for want in rolled.wants}
            for one in decision.placements:
                replaces = tuple(task for task in wants[one.slot].replaces if task in old)
                assert (wave, one.slot, one.agent, replaces) in [
                    (p.wave, p.slot, p.agent, p.replaces) for p in course.placements
                ]
                self.fleet.add(one)
            for drop in (*rolled.drops, *decision.drops):
                assert drop.task not in old or (wave, drop.task) in dropped(course)
            gone = [task for one in decision.placements for task in wants[one.slot].replaces]
            for task in (*gone, *(drop.task for drop in (*rolled.drops, *decision.drops))):
                freed += self.withdraw(known.pop(task))
            known.update({one.task: Standing(placement=one, task=None) for one in decision.placements})
            has_acted |= bool(decision.placements or rolled.drops or decision.drops)
        for task in freed:
            self.fleet.remove(task)
        return has_acted

    def withdraw(self, known):
        task = known.task
        if task is None or task.state.is_over:
            return [known.placement.task]
        if task.state is not TaskState.LOST:
            self.stopping.append(task.id)
        return []

    def pass_on(self):
        """All that starts is ready, all that stops is gone."""
        has_changed = bool(self.stopping)
        for task in self.stopping:
            self.fleet.remove(task)
        self.stopping.clear()
        for known in self.standings.values():
            for task, s in known.items():
                if s.task is None or not (s.task.ready or s.task.state.is_over or s.task.state is TaskState.LOST):
                    known[task] = s._replace(task=a_task(s.placement, since_ms=at(self.seconds).wall))
                    has_changed = True
        return has_changed


@settings(max_examples=300, deadline=None)
@given(situations())
def test_what_is_foretold_is_what_the_verbs_decide_step_by_step_and_it_ends_settled_or_pending(situation):
    outsets, fleet = situation
    before = fleet.fork()
    courses = tell(outsets, fleet)
    assert fleet == before
    assert courses == tell(outsets, fleet)
    assert all(course.is_whole for course in courses)
    follower, wave = Follower(outsets, fleet), 1
    while wave < 100:
        if follower.step(wave, courses):
            continue
        dues = [due for job in follower.jobs.values() if (due := follower.ask(job)[0].due)]
        if not follower.pass_on():
            if not dues:
                break
            follower.seconds += min(dues).total_seconds()
        wave += 1
    for outset, course in zip(outsets, courses, strict=True):
        known = follower.standings[outset.job.name].values()
        rolled, decision = follower.ask(outset.job)
        assert not (rolled.drops or decision.placements or decision.drops)
        pending = sorted({*rolled.held, *(decision.pending.slots if decision.pending else ())})
        assert pending == sorted(course.pending.slots if course.pending else ())
        slots = Counter(s.placement.slot for s in known)
        assert set(slots) | set(pending) == set(range(outset.job.spec.scale))
        if not pending:
            lost = any(s.task.state is TaskState.LOST for s in known)
            assert lost or all(count == 1 for count in slots.values())
        events = [(p.wave, p.slot, p.agent) for p in course.placements]
        assert len(events) == len(set(events))


# Exclusive jobs.


def test_an_exclusive_job_is_broken_before_it_is_made_one_slot_after_the_other():
    old = running(2, is_exclusive=True)
    fleet = with_room([an_agent("a1"), an_agent("a2")], old)
    course = tell_one(a_job(scale=2, generation="g2", version=2, exclusive=True), fleet, *old)
    assert dropped(course) == [(1, old[0].placement.task), (3, old[1].placement.task)]
    assert placed(course) == [(2, 0, "a1"), (4, 1, "a2")]
    assert course.placements[0].reason.startswith("version 2 replaces version 1; spread:")
    assert (course.pending, course.is_whole) == (None, True)


def test_the_room_of_an_exclusive_task_is_free_for_its_successor():
    old = running(1, is_exclusive=True, cpu=3000)
    job = a_job(generation="g2", version=2, exclusive=True, cpu=3000)
    assert placed(tell_one(job, with_room([an_agent("a1")], old), *old)) == [(2, 0, "a1")]


def test_an_exclusive_task_on_a_lost_agent_holds_its_slot_for_as_long_as_can_be_foretold():
    old = standing(a_placement(generation="g1", is_exclusive=True), TaskState.LOST)
    fleet = with_room([an_agent("a1"), an_agent("a2")], [old])
    course = tell_one(a_job(generation="g2", version=2, exclusive=True), fleet, old)
    assert (dropped(course), placed(course)) == ([(1, old.placement.task)], [])


def test_an_exclusive_task_that_failed_is_replaced_elsewhere_after_its_backoff():
    failed = standing(
        a_placement(is_exclusive=True, failures=2, decided_ms=NOW.wall - 1000), TaskState.FAILED, since_ms=NOW.wall
    )
    course = tell_one(a_job(exclusive=True), with_room([an_agent("a1"), an_agent("a2")], [failed]), failed)
    assert dropped(course) == [(2, failed.placement.task)]
    assert placed(course) == [(3, 0, "a2")]


# What is preempted.


def test_tasks_of_jobs_that_are_not_planned_go_for_one_that_preempts():
    low = a_placement(job="low", cpu=4000)
    fleet = a_fleet(an_agent(), placements=[low])
    course = tell_one(a_job(cpu=2000, priority=80, preempt=True), fleet)
    assert dropped(course) == [(1, low.task)]
    assert placed(course) == [(2, 0, "a1")]
    assert (course.pending, course.is_whole) == (None, True)
    assert not fleet.placement(low.task).is_revoked


@pytest.mark.parametrize("exclusive", [False, True])
def test_what_is_planned_with_it_is_placed_again_elsewhere_or_waits(exclusive):
    lows = running(1, job="low", cpu=4000, is_exclusive=exclusive)
    low = a_job(name="low", cpu=4000, priority=10, exclusive=exclusive)
    urgent = a_job(name="urgent", cpu=2000, priority=80, preempt=True)
    outsets = [Outset(job=low, standings=tuple(lows)), Outset(job=urgent)]
    fate, course = tell(outsets, with_room([an_agent()], lows))
    assert dropped(course) == [(1, lows[0].placement.task)]
    assert placed(course) == [(2, 0, "a1")]
    assert (placed(fate), fate.pending.slots) == ([], (0,))
    fate, course = tell(outsets, with_room([an_agent("a1"), an_agent("a2", cpu=4000, tags={"x": "y"})], lows))
    assert (dropped(course), placed(course)) == ([], [(1, 0, "a2")])


def test_the_more_urgent_job_is_placed_first_whatever_the_order_of_the_documents():
    low = a_job(name="low", cpu=4000, priority=10)
    urgent = a_job(name="urgent", cpu=2000, priority=80, preempt=True)
    fate, course = tell([Outset(job=low), Outset(job=urgent)], a_fleet(an_agent()))
    assert (placed(fate), dropped(course), placed(course)) == ([], [], [(1, 0, "a1")])
    assert fate.pending.slots == (0,)
