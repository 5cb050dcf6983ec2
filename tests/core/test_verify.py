"""The checker of plan documents: it agrees with what is foretold, and with nothing else."""

from dataclasses import replace
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, assume, given, settings

from harpoon.control.promising import unmet_seen
from harpoon.core.evidence import agents_seen, brake_seen, tasks_seen
from harpoon.core.fleet import reservation
from harpoon.core.foretold import Outset
from harpoon.core.held import NoSecret, Unmet
from harpoon.core.plan import foretell
from harpoon.core.rebalance import heeded
from harpoon.core.standing import Brake, Standing
from harpoon.core.verify import verify
from harpoon.model.agent import Capacity, LinkState
from harpoon.model.dependency import Dependency
from harpoon.model.job import Metadata, OnLost, Update
from harpoon.model.lifecycle import RestartPolicy
from harpoon.model.manifest import Manifest
from harpoon.model.plan import JobPlan, PlanAction, PlannedDrop
from harpoon.model.promise import Base, PlanDocument, PromisedJob
from harpoon.model.rules import Distinct, Requirement
from harpoon.model.task import Reservation, TaskState
from harpoon.model.volumes import HostPath, Volume
from tests.builders import a_cordon, a_job, a_link, a_placement, a_task, an_agent
from tests.core.placing import a_fleet, others
from tests.core.test_plan import NOW, STATES


def a_plan(outsets, fleet, *, is_halted=False):
    """The document of what is foretold."""
    courses = foretell(outsets, fleet, NOW, incarnation=1, revision=50, is_halted=is_halted)
    return PlanDocument(
        kind="Plan",
        v=1,
        cluster="c1",
        revision="1.50",
        made_ms=NOW.wall,
        documents=tuple(a_document(outset.job) for outset in outsets),
        jobs=tuple(a_promise(outset, course, fleet) for outset, course in zip(outsets, courses, strict=True)),
        agents=agents_seen(outsets, fleet),
        is_halted=is_halted,
        digest="",
    )


def a_document(job):
    return Manifest(
        apiVersion="harpoon/v1",
        kind="Job",
        metadata=Metadata(name=job.name, namespace=job.namespace, tags=job.tags),
        spec=job.spec,
    )


def a_promise(outset, course, fleet):
    job = outset.job
    return PromisedJob(
        base=Base(revision="1.7", version=1),
        generation=job.generation,
        reserve=reservation(job.spec.task),
        plan=JobPlan(
            namespace=job.namespace,
            job=job.name,
            action=PlanAction.CHANGE,
            is_new_generation=True,
            changes=(),
            placements=course.placements,
            drops=course.drops,
            pending=course.pending,
            waves=course.waves,
            is_whole=course.is_whole,
        ),
        tasks=tasks_seen(outset, fleet, NOW),
        unmet=tuple(unmet_seen(one) for one in outset.unmet),
        brake=brake_seen(outset),
    )


@st.composite
def jobs(draw, name):
    surge = draw(st.integers(0, 2))
    is_exclusive = draw(st.sampled_from([False, False, True]))
    depends = [(Dependency(job="web"),), (Dependency(job="db"),)] if name == "api" else []
    job = a_job(
        name=name,
        scale=draw(st.integers(0, 5)),
        generation="g2",
        version=2,
        surge=min(surge, 1) if is_exclusive else surge,
        unavailable=draw(st.integers(0 if surge else 1, 2)),
        cpu=draw(st.sampled_from([0, 900, 1800])),
        memory=draw(st.sampled_from([0, 0, 3 << 30])),
        ports={"http": 80} if draw(st.integers(0, 3)) == 0 else {},
        require=[Requirement(tag="zone", equals="b")] if draw(st.booleans()) else (),
        distinct=draw(st.sampled_from([None, None, Distinct.AGENT])),
        restart=draw(st.sampled_from(list(RestartPolicy))),
        exclusive=is_exclusive,
        on_lost=draw(st.sampled_from([None, OnLost.WAIT])),
    )
    update = replace(job.spec.update, healthy_for=timedelta(seconds=draw(st.sampled_from([0, 0, 5]))))
    return replace(job, spec=replace(job.spec, update=update, depends_on=draw(st.sampled_from([(), *depends]))))


@st.composite
def brakes(draw, job):
    """What may keep a rollout from going on: mostly nothing."""
    canaries = draw(st.sampled_from([None, None, None, 1, 2]))
    is_paused = draw(st.sampled_from([False, False, False, True]))
    if (canaries is None or job.spec.exclusive) and not is_paused:
        return None
    form = a_job(
        name=job.name,
        generation="g1",
        cpu=draw(st.sampled_from([0, 900])),
        require=[Requirement(tag="zone", equals="b")] if draw(st.booleans()) else (),
        exclusive=job.spec.exclusive,
        on_lost=job.spec.on_lost,
    )
    spec = replace(form.spec, scale=job.spec.scale, update=job.spec.update)
    return Brake(
        form=replace(form, spec=spec),
        bindings={},
        canaries=None if job.spec.exclusive else canaries,
        is_paused=is_paused,
    )


@st.composite
def standings(draw, job, names, start):
    """What there is of a job: mostly what a scheduler leaves behind, but also what it never would."""
    found = []
    kinds = st.tuples(st.integers(0, 5), st.sampled_from(["g1", "g1", "g2"]))
    for number, (slot, generation) in enumerate(draw(st.lists(kinds, max_size=6)), start):
        is_exclusive, is_revoked = job.spec.exclusive, job.spec.exclusive and draw(st.integers(0, 4)) == 0
        placement = a_placement(
            job=job.name,
            slot=slot,
            revision=number,
            generation=generation,
            agent=draw(st.sampled_from(names)),
            cpu=draw(st.sampled_from([0, 900])),
            failures=draw(st.sampled_from([0, 0, 0, 2])),
            decided_ms=NOW.wall - 1000,
            ports=draw(st.sampled_from([(), (), (80,)])),
            bindings=draw(st.sampled_from([None, {"API": "x"}])),
            is_exclusive=is_exclusive,
            is_revoked=is_revoked,
            is_denied=is_revoked and draw(st.booleans()),
        )
        state = draw(st.sampled_from([TaskState.RUNNING] * 5 + STATES))
        ready = state is TaskState.RUNNING and draw(st.booleans())
        since = NOW.wall - draw(st.sampled_from([500, 9_000])) if ready else 0
        task = state and a_task(placement, state=state, ready=ready, since_ms=NOW.wall - 500, ready_since_ms=since)
        found.append(Standing(placement=placement, task=task, is_moving=draw(st.integers(0, 5)) == 0))
    return found


@st.composite
def worlds(draw, *, is_plain=False):
    """A fleet with what runs on it, and jobs to be planned; if it is plain, with no moves, and no rollouts that wait."""
    agents = [
        an_agent(f"a{index}", cpu=draw(st.sampled_from([0, 2000, 4000])), tags={"zone": draw(st.sampled_from("bbc"))})
        for index in range(draw(st.integers(0, 5)))
    ]
    links = [a_link(one.name, draw(st.sampled_from([LinkState.CONNECTED] * 6 + list(LinkState)))) for one in agents]
    cordons = [a_cordon(one.name, is_draining=draw(st.booleans())) for one in agents if draw(st.integers(0, 4)) == 0]
    names = [*(one.name for one in agents), "gone"]
    outsets, placements = [], others(names[0], draw(st.integers(0, 2)), cpu=700, revision=2, ports=(80,))
    for number, name in enumerate(draw(st.sampled_from([["web"], ["web", "api"], ["api", "web"]]))):
        job = draw(jobs(name))
        there = draw(standings(job, names, 1 + 20 * number))
        brake = None if is_plain else draw(brakes(job))
        there = [one._replace(is_moving=one.is_moving and not is_plain) for one in there]
        strays = [a_placement(job=name, slot=9, revision=40 + number, agent=names[0], cpu=900, version=0)]
        strays = strays if draw(st.integers(0, 4)) == 0 else []
        unmet = [one for one in job.spec.depends_on if one.job == "db"]
        lacking = [NoSecret(name="db/a", found="there is no such secret")] if draw(st.integers(0, 7)) == 0 else []
        if draw(st.integers(0, 7)) == 0:
            lacking.append(Unmet(dependency=Dependency(run="m-1"), found="running"))
        # What follows endpoints in the middle of a rollout that waits is told too late to be foretold.
        bound = {"API": "y"} if brake is None and draw(st.integers(0, 5)) == 0 else {}
        placements += [one.placement for one in there if not one.placement.is_denied] + strays
        outset = Outset(
            job=job,
            standings=heeded(there, brake),
            leaving=tuple(one.task for one in strays) if draw(st.booleans()) else (),
            unmet=(*(Unmet(dependency=one, found="there is no such job") for one in unmet), *lacking),
            bindings=bound,
            replacing=bound,
            brake=brake,
        )
        outsets.append(outset)
    fleet = a_fleet(*agents, placements=placements, links=links, cordons=cordons)
    return outsets, fleet, draw(st.sampled_from([False, False, True]))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(worlds())
def test_what_is_foretold_is_found_to_hold_together(world):
    outsets, fleet, is_halted = world
    assert verify(a_plan(outsets, fleet, is_halted=is_halted)) == ()


def change_job(plan, index, /, **fields):
    jobs = list(plan.jobs)
    jobs[index] = replace(jobs[index], **fields)
    return replace(plan, jobs=tuple(jobs))


def change_course(plan, index, /, **fields):
    """A plan whose course is another, with the number of its waves put right."""
    told = replace(plan.jobs[index].plan, **fields)
    waves = max((one.wave for one in (*told.placements, *told.drops)), default=0)
    return change_job(plan, index, plan=replace(told, waves=waves))


def without(items, place):
    return tuple(one for at, one in enumerate(items) if at != place)


def with_one(items, place, **fields):
    return tuple(replace(one, **fields) if at == place else one for at, one in enumerate(items))


def change_agents(plan, names, **fields):
    """A plan in which these agents are told apart from those like them, and otherwise than they were."""
    groups = []
    for group in plan.agents:
        changed = tuple(name for name in group.names if name in names)
        kept = tuple(name for name in group.names if name not in names)
        groups += [replace(group, names=kept)] if kept else []
        groups += [replace(group, names=changed, **fields)] if changed else []
    return replace(plan, agents=tuple(groups))


def somewhere(data, plan, what):
    """A job that has some of what is to be changed, and which of that."""
    found = [
        (index, place)
        for index, job in enumerate(plan.jobs)
        if job.plan.is_whole
        for place in range(len(what(job.plan)))
    ]
    assume(found)
    return data.draw(st.sampled_from(found))


def placements(course):
    return course.placements


def drops(course):
    return course.drops


def pendings(course):
    return () if course.pending is None else course.pending.slots


def blockers(course):
    return () if course.pending is None else course.pending.blockers


def move_to_where_nothing_may_go(data, plan):
    index, place = somewhere(data, plan, placements)
    rules = plan.documents[index].spec.placement
    closed = [
        name
        for group in plan.agents
        for name in group.names
        if group.link is not LinkState.CONNECTED
        or group.cordon is not None
        or not all(rule.holds(group.attributes) for rule in rules.require)
    ]
    agent = data.draw(st.sampled_from([*closed, "nobody"]))
    return change_course(plan, index, placements=with_one(plan.jobs[index].plan.placements, place, agent=agent))


def leave_a_placement_out(data, plan):
    index, place = somewhere(data, plan, placements)
    return change_course(plan, index, placements=without(plan.jobs[index].plan.placements, place))


def place_a_slot_twice(data, plan):
    index, place = somewhere(data, plan, placements)
    told = plan.jobs[index].plan.placements
    again = replace(told[place], replaces=(), wave=told[place].wave + data.draw(st.integers(0, 1)))
    return change_course(plan, index, placements=(*told, again))


def place_a_slot_that_is_not_wanted(data, plan):
    index, place = somewhere(data, plan, placements)
    slot = plan.documents[index].spec.scale + data.draw(st.integers(0, 2))
    return change_course(plan, index, placements=with_one(plan.jobs[index].plan.placements, place, slot=slot))


def place_later(data, plan):
    index, place = somewhere(data, plan, placements)
    job, spec = plan.jobs[index], plan.documents[index].spec
    # What time alone brings may come in any wave; and what others need of a job they then wait for.
    over = (TaskState.FAILED, TaskState.FINISHED)
    assume(not any(one.is_outdated or one.is_unproven or one.state in over for one in job.tasks))
    assume(not spec.depends_on and not job.unmet)
    told = job.plan.placements
    return change_course(plan, index, placements=with_one(told, place, wave=told[place].wave + 1))


def place_beyond_all_waves(data, plan):
    index, place = somewhere(data, plan, placements)
    wave = data.draw(st.sampled_from([-1, 0, 201]))
    return change_course(plan, index, placements=with_one(plan.jobs[index].plan.placements, place, wave=wave))


def replace_what_is_not_there(data, plan):
    index, place = somewhere(data, plan, placements)
    told, tasks = plan.jobs[index].plan.placements, plan.jobs[index].tasks
    others = [one.id for one in tasks if one.slot != told[place].slot]
    replaces = (*told[place].replaces, data.draw(st.sampled_from([*others, "default.web.0.9-9"])))
    return change_course(plan, index, placements=with_one(told, place, replaces=replaces))


def leave_a_drop_out(data, plan):
    index, place = somewhere(data, plan, drops)
    return change_course(plan, index, drops=without(plan.jobs[index].plan.drops, place))


def drop_twice(data, plan):
    index, place = somewhere(data, plan, drops)
    told = plan.jobs[index].plan.drops
    return change_course(plan, index, drops=(*told, told[place]))


def drop_elsewhere(data, plan):
    index, place = somewhere(data, plan, drops)
    fields = data.draw(st.sampled_from([{"agent": "nobody"}, {"task": "default.web.0.9-9"}]))
    return change_course(plan, index, drops=with_one(plan.jobs[index].plan.drops, place, **fields))


def hide_a_pending_slot(data, plan):
    index, place = somewhere(data, plan, pendings)
    told = plan.jobs[index].plan.pending
    pending = replace(told, slots=without(told.slots, place)) if len(told.slots) > 1 else None
    return change_course(plan, index, pending=pending)


def add_a_pending_slot(data, plan):
    index, _ = somewhere(data, plan, pendings)
    told = plan.jobs[index].plan.pending
    return change_course(plan, index, pending=replace(told, slots=(*told.slots, max(told.slots) + 1)))


def hide_a_blocker(data, plan):
    index, place = somewhere(data, plan, blockers)
    told = plan.jobs[index].plan.pending
    return change_course(plan, index, pending=replace(told, blockers=without(told.blockers, place)))


def tell_of_a_blocker_otherwise(data, plan):
    index, place = somewhere(data, plan, blockers)
    told = plan.jobs[index].plan.pending
    fields = data.draw(st.sampled_from([{"found": "?"}, {"predicate": "?"}, {"wanted": "?"}, {"agents_count": 99}]))
    assume(not (told.blockers[place].predicate.startswith(("depends_on", "secret ")) and "found" not in fields))
    return change_course(plan, index, pending=replace(told, blockers=with_one(told.blockers, place, **fields)))


def close_an_agent(data, plan):
    index, place = somewhere(data, plan, placements)
    agent = plan.jobs[index].plan.placements[place].agent
    fields = data.draw(st.sampled_from([{"link": LinkState.LOST}, {"cordon": "cordoned"}, {"cordon": "draining"}]))
    return change_agents(plan, {agent}, **fields)


def take_room_away(data, plan):
    index, place = somewhere(data, plan, placements)
    assume(plan.jobs[index].reserve.cpu)
    agent = plan.jobs[index].plan.placements[place].agent
    return change_agents(plan, {agent}, capacity=Capacity(cpu=0, memory=1 << 50))


def add_room(data, plan):
    index, _ = somewhere(data, plan, blockers)
    assume(any(one.predicate in ("cpu", "memory") for one in plan.jobs[index].plan.pending.blockers))
    names = {name for group in plan.agents for name in group.names}
    return change_agents(plan, names, capacity=Capacity(cpu=10**9, memory=1 << 50))


def forget_an_agent(data, plan):
    index, place = somewhere(data, plan, placements)
    agent = plan.jobs[index].plan.placements[place].agent
    groups = [replace(group, names=tuple(name for name in group.names if name != agent)) for group in plan.agents]
    return replace(plan, agents=tuple(groups))


def reserve_less(data, plan):
    index, _ = somewhere(data, plan, placements)
    assume(plan.jobs[index].reserve.cpu)
    return change_job(plan, index, reserve=Reservation())


def forget_the_tasks(data, plan):
    index, _ = somewhere(data, plan, drops)
    return change_job(plan, index, tasks=())


MUTATIONS = [
    move_to_where_nothing_may_go,
    leave_a_placement_out,
    place_a_slot_twice,
    place_a_slot_that_is_not_wanted,
    place_later,
    place_beyond_all_waves,
    replace_what_is_not_there,
    leave_a_drop_out,
    drop_twice,
    drop_elsewhere,
    hide_a_pending_slot,
    add_a_pending_slot,
    hide_a_blocker,
    tell_of_a_blocker_otherwise,
    close_an_agent,
    take_room_away,
    add_room,
    forget_an_agent,
    reserve_less,
    forget_the_tasks,
]


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(worlds(is_plain=True), st.data())
def test_a_plan_that_is_changed_so_that_it_means_something_else_is_found_out(mutate, world, data):
    outsets, fleet, is_halted = world
    plan = mutate(data, a_plan(outsets, fleet, is_halted=is_halted))
    faults = verify(plan)
    assert faults
    assert all(fault.pointer.startswith("/") and fault.detail for fault in faults)


# Rollouts that wait, and moves.


def braked(*, canary=0, is_paused=False, agents=("a1",), cpu=0):
    """A rollout of three slots that waits: the outset, and the fleet; every slot has a ready task of before."""
    update = Update(surge=0, unavailable=1, canary=canary)
    job = a_job(scale=3, generation="g2", version=2, cpu=cpu, update=update)
    form = a_job(scale=3, generation="g1", update=update)
    olds = [a_placement(slot=slot, revision=slot + 1, generation="g1") for slot in range(3)]
    outset = Outset(
        job=job,
        standings=tuple(Standing(placement=one, task=a_task(one, ready=True)) for one in olds),
        brake=Brake(form=form, bindings={}, canaries=canary or None, is_paused=is_paused),
    )
    return outset, a_fleet(*map(an_agent, agents), placements=olds)


def details(plan):
    return [fault.detail for fault in verify(plan)]


def test_a_plan_of_canaries_leaves_what_served_before_beside_them():
    outset, fleet = braked(canary=1)
    plan = a_plan([outset], fleet)
    (told,) = plan.jobs[0].plan.placements
    assert (told.slot, told.replaces, plan.jobs[0].plan.drops, plan.jobs[0].plan.pending) == (0, (), (), None)
    assert verify(plan) == ()
    old = outset.standings[0].placement
    gone = (PlannedDrop(task=old.task, agent=old.agent, wave=2, reason="replaced"),)
    assert f"{old.task} is to stay beside the canary of its slot" in details(change_course(plan, 0, drops=gone))
    second = replace(told, slot=1)
    assert details(change_course(plan, 0, placements=(told, second)))
    assert "slot 0 could have been placed on a1, and is not" in details(change_course(plan, 0, placements=()))
    assert details(change_job(plan, 0, brake=None)), "without a brake the others were to be replaced, too"


def test_a_plan_of_a_paused_rollout_changes_nothing_and_replaces_what_dies_by_what_served_before():
    outset, fleet = braked(is_paused=True)
    assert a_plan([outset], fleet).jobs[0].plan.placements == ()
    assert verify(a_plan([outset], fleet)) == ()
    dead = outset.standings[2]
    failed = dead._replace(task=replace(dead.task, state=TaskState.FAILED, ready=False))
    plan = a_plan([replace(outset, standings=(*outset.standings[:2], failed))], fleet)
    (told,) = plan.jobs[0].plan.placements
    assert (told.slot, told.replaces) == (2, (dead.placement.task,))
    assert verify(plan) == ()
    # Of the new generation it would take more than there is.
    spec = replace(plan.jobs[0].brake.spec, task=a_job(cpu=1 << 20).spec.task)
    dear = replace(plan.jobs[0].brake, spec=spec)
    assert details(change_job(plan, 0, brake=dear)) == ["the version that served before asks for something else"]
    dear = replace(dear, reserve=Reservation(cpu=1 << 20))
    assert any("has no room" in detail for detail in details(change_job(plan, 0, brake=dear)))


def test_what_fits_nowhere_is_told_of_both_forms_of_a_job():
    outset, fleet = braked(canary=1, cpu=1 << 20)
    dead = [one._replace(task=replace(one.task, state=TaskState.FAILED, ready=False)) for one in outset.standings]
    form = replace(outset.brake.form, spec=replace(outset.brake.form.spec, task=a_job(memory=1 << 50).spec.task))
    outset = replace(outset, standings=tuple(dead), brake=replace(outset.brake, form=form))
    plan = a_plan([outset], fleet)
    assert plan.jobs[0].plan.pending.slots == (0, 1, 2)
    assert {one.predicate for one in plan.jobs[0].plan.pending.blockers} == {"cpu", "memory"}
    assert verify(plan) == ()


def test_a_plan_moves_what_is_being_moved_unless_there_is_no_better_place():
    job = a_job(scale=2, surge=1)
    placements = [a_placement(slot=slot, revision=slot + 1) for slot in range(2)]
    there = [Standing(one, a_task(one, ready=True), one.slot == 1) for one in placements]
    outset = Outset(job=job, standings=tuple(there))
    moved = a_plan([outset], a_fleet(an_agent("a1"), an_agent("a2"), placements=placements))
    (told,) = moved.jobs[0].plan.placements
    assert (told.slot, told.agent, [one.task for one in moved.jobs[0].plan.drops]) == (1, "a2", [placements[1].task])
    assert verify(moved) == ()
    tasks = tuple(replace(one, is_moving=False) for one in moved.jobs[0].tasks)
    assert details(change_job(moved, 0, tasks=tasks)), "it had no cause to go"
    stays = a_plan([outset], a_fleet(an_agent("a1"), placements=placements))
    assert (stays.jobs[0].plan.placements, stays.jobs[0].plan.drops, stays.jobs[0].plan.pending) == ((), (), None)
    assert verify(stays) == ()


def test_a_task_that_is_ready_but_not_yet_healthy_is_waited_for():
    job = a_job(generation="g2", version=2, update=Update(healthy_for=timedelta(seconds=30)))
    old, new = a_placement(generation="g1"), a_placement(revision=2, generation="g2")
    tasks = (a_task(old, ready=True), a_task(new, ready=True, ready_since_ms=NOW.wall - 1000))
    outset = Outset(job=job, standings=tuple(map(Standing, (old, new), tasks)))
    plan = a_plan([outset], a_fleet(an_agent("a1"), placements=[old, new]))
    assert [(one.task, one.wave) for one in plan.jobs[0].plan.drops] == [(old.task, 2)]
    assert verify(plan) == ()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_foretold_of_volumes_is_found_to_hold_together(data):
    kinds = st.sampled_from([(), (HostPath(path="/srv"),), (HostPath(path="/srv", read_only=True),)])
    volumes = st.sampled_from(
        [(Volume(host="/srv/db", at="/data"),), (Volume(host="/srv/db", at="b", read_only=True),)]
    )
    agents = [
        an_agent(f"a{n}", cpu=1000, host_paths=data.draw(kinds), mounts=data.draw(st.integers(0, 3)) > 0)
        for n in range(4)
    ]
    outsets = [Outset(job=a_job(name=name, scale=2, cpu=500, volumes=data.draw(volumes))) for name in ("web", "db")]
    assert verify(a_plan(outsets, a_fleet(*agents))) == ()


def test_a_plan_that_puts_a_task_where_its_volume_is_not_allowed_is_found_out():
    agents = [
        an_agent("a1", host_paths=(HostPath(path="/srv"),), mounts=True),
        an_agent("a2", host_paths=(HostPath(path="/srv", read_only=True),), mounts=True),
        an_agent("a3", host_paths=(HostPath(path="/srv"),)),
    ]
    plan = a_plan([Outset(job=a_job(volumes=(Volume(host="/srv/db", at="/data"),)))], a_fleet(*agents))
    assert ([one.agent for one in plan.jobs[0].plan.placements], verify(plan)) == (["a1"], ())
    for name, told in (("a2", "host path /srv/db is read-only"), ("a3", "mounts is not possible")):
        moved = with_one(plan.jobs[0].plan.placements, 0, agent=name)
        assert any(told in detail for detail in details(change_course(plan, 0, placements=moved)))
    forbidden = change_agents(plan, ["a1"], host_paths={})
    assert any("host path /srv/db is not allowed" in detail for detail in details(forbidden))


def test_named_resources_are_counted_in_plans():
    job = a_job(scale=2, named={"gpu": 1})
    taken = [a_placement(job="other", named={"gpu": 1})]
    fleet = a_fleet(an_agent("a1", named={"gpu": 2}), an_agent("a2"), placements=taken)
    plan = a_plan([Outset(job=job)], fleet)
    assert [one.agent for one in plan.jobs[0].plan.placements] == ["a1"]
    assert {one.predicate for one in plan.jobs[0].plan.pending.blockers} == {"resource gpu"}
    assert verify(plan) == ()
    moved = with_one(plan.jobs[0].plan.placements, 0, agent="a2")
    assert any("gpu: 1 taken of 0" in detail for detail in details(change_course(plan, 0, placements=moved)))
    offers = change_agents(plan, ["a1"], capacity=Capacity(cpu=4000, memory=1 << 32, named={"gpu": 3}))
    assert "slot 1 could have been placed on a1, and is not" in details(offers)


def test_a_plan_that_puts_two_slots_onto_one_agent_which_are_to_be_on_two_is_found_out():
    job = a_job(scale=2, distinct=Distinct.AGENT)
    plan = a_plan([Outset(job=job)], a_fleet(an_agent("a1"), an_agent("a2")))
    assert verify(plan) == ()
    together = with_one(plan.jobs[0].plan.placements, 1, agent=plan.jobs[0].plan.placements[0].agent)
    assert any("distinct agents" in detail for detail in details(change_course(plan, 0, placements=together)))


def served(**fields):
    """One slot that has what it should: the job's outset, and its fleet."""
    job = a_job(**fields)
    there = a_placement(is_exclusive=job.spec.exclusive)
    outset = Outset(job=job, standings=(Standing(there, a_task(there, ready=True)),))
    return outset, a_fleet(an_agent("a1"), placements=[there])


def test_what_is_as_it_should_be_has_no_cause_to_go():
    outset, fleet = served()
    task = outset.standings[0].placement
    gone = (PlannedDrop(task=task.task, agent="a1", wave=1, reason="for nothing"),)
    plan = change_course(a_plan([outset], fleet), 0, drops=gone)
    assert f"{task.task} is as it should be, and has no cause to go" in details(plan)


def test_only_a_job_that_is_to_be_created_may_have_had_no_base():
    plan = a_plan(*([one] if isinstance(one, Outset) else one for one in served()))
    assert details(change_job(plan, 0, base=None)) == ["only a job that is there can be changed or left as it is"]


def test_of_a_plan_that_was_cut_off_only_the_waves_that_are_told_are_checked():
    outset, fleet = served(scale=2)
    plan = a_plan([outset], fleet)
    assert details(change_course(plan, 0, placements=()))
    assert details(change_course(plan, 0, placements=(), is_whole=False)) == []
    assert details(change_course(plan, 0, is_whole=False)) == []


def test_a_failed_task_of_an_exclusive_job_is_to_go():
    outset, fleet = served(exclusive=True)
    [one] = outset.standings
    failed = one._replace(task=replace(one.task, state=TaskState.FAILED, ready=False))
    plan = a_plan([replace(outset, standings=(failed,))], fleet)
    assert [drop.task for drop in plan.jobs[0].plan.drops] == [one.placement.task]
    told = change_course(plan, 0, drops=(), placements=())
    assert f"slot 0: {one.placement.task} has failed, and is to go" in details(told)


def test_a_task_is_told_once_and_of_its_own_slot():
    outset, fleet = served()
    plan = a_plan([outset], fleet)
    [task] = plan.jobs[0].tasks
    assert details(change_job(plan, 0, tasks=(task, task))) == ["it is told twice, or is of another slot"]
    assert details(change_job(plan, 0, tasks=(replace(task, slot=1),))) == ["it is told twice, or is of another slot"]


def test_of_older_tasks_of_a_slot_that_are_ready_only_the_newest_stays():
    job = a_job(generation="g2", version=2)
    olds = [a_placement(revision=number, generation="g1") for number in (1, 2)]
    outset = Outset(job=job, standings=tuple(Standing(one, a_task(one, ready=True)) for one in olds))
    plan = a_plan([outset], a_fleet(an_agent("a1"), placements=olds))
    assert verify(plan) == ()
    told = details(change_course(plan, 0, drops=()))
    assert any("of several older ones that are ready only the newest is to stay" in detail for detail in told), told
