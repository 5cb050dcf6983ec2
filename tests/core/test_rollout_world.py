"""The rollout against a small world: from whatever state, interrupted anywhere, it converges and serves on the way."""

from collections import Counter
from dataclasses import dataclass, field, replace

import hypothesis.strategies as st
from hypothesis import given, settings

from harpoon.core.rollout import Rollout, rollout
from harpoon.core.standing import Standing
from harpoon.model.decision import Drop, Want
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from tests.builders import a_job, a_placement, a_task, at

STATES = [None, *(state for state in TaskState if state is not TaskState.PENDING)]


@dataclass
class World:
    """The records of one job, and the tasks that go with them. Deleting a record ends its task."""

    job: Job
    standings: dict[TaskId, Standing] = field(default_factory=dict)
    revision: int = 10
    seconds: float = 0.0
    #: Nothing is placed there.
    drained: frozenset[str] = frozenset()

    def put(self, slot, *, generation, state, ready=False, failures=0):
        self.revision += 1
        open_ = [name for name in ("a0", "a1", "a2") if name not in self.drained]
        placement = a_placement(
            slot=slot,
            revision=self.revision,
            generation=generation,
            failures=failures,
            agent=open_[self.revision % len(open_)],
            decided_ms=at(self.seconds).wall,
        )
        task = state and a_task(placement, state=state, ready=ready, since_ms=at(self.seconds).wall)
        self.standings[placement.task] = Standing(placement=placement, task=task)

    def decide(self, random, **settings):
        """Decide as the scheduler would; the answer must not depend on the order that records come in."""
        shuffled = list(self.standings.values())
        random.shuffle(shuffled)
        rolled = rollout(self.job, shuffled, at(self.seconds), **settings)
        assert rolled == rollout(self.job, list(self.standings.values()), at(self.seconds), **settings)
        assert [want.slot for want in rolled.wants] == sorted({want.slot for want in rolled.wants})
        return rolled

    def obey(self, deed: Want | Drop):
        """Carry out one commit of the scheduler."""
        match deed:
            case Drop():
                del self.standings[deed.task]
            case Want():
                for task in deed.replaces:
                    del self.standings[task]
                self.put(deed.slot, generation=self.job.generation, state=None, failures=deed.failures)

    def served(self):
        """The wanted slots that have a ready task."""
        return {s.placement.slot for s in self.standings.values() if s.task and s.task.ready and self.wants(s)}

    def excess(self):
        """How many placements there are beyond one for each wanted slot."""
        wanted = [s.placement.slot for s in self.standings.values() if self.wants(s)]
        return len(wanted) - len(set(wanted))

    def wants(self, standing):
        return standing.placement.slot < self.job.spec.scale and not self.job.is_terminating

    def become(self, task_id, state, *, ready=False):
        known = self.standings[task_id]
        task = a_task(known.placement, state=state, ready=ready, since_ms=at(self.seconds).wall)
        self.standings[task_id] = known._replace(task=task)

    def progress(self, task_id):
        """One step of a healthy task's life."""
        task = self.standings[task_id].task
        match task and task.state:
            case None:
                self.become(task_id, TaskState.STARTING)
            case TaskState.STARTING:
                self.become(task_id, TaskState.RUNNING)
            case TaskState.RUNNING | TaskState.STOPPING | TaskState.UNCLAIMED | TaskState.PLACED:
                self.become(task_id, TaskState.RUNNING, ready=True)


@st.composite
def worlds(draw):
    surge = draw(st.integers(0, 2))
    unavailable = draw(st.integers(0 if surge else 1, 2))
    world = World(a_job(scale=draw(st.integers(0, 4)), surge=surge, unavailable=unavailable, generation="g2"))
    for slot in range(world.job.spec.scale + 2):
        for generation in draw(st.lists(st.sampled_from(["g0", "g1", "g2"]), max_size=3)):
            state = draw(st.sampled_from([TaskState.RUNNING, *STATES]))
            ready = state is TaskState.RUNNING and draw(st.booleans())
            world.put(slot, generation=generation, state=state, ready=ready, failures=draw(st.integers(0, 3)))
    return world


def obey(world: World, deed: Want | Drop):
    """Carry out a commit. It took no more service away, and made no more placements, than the job allows."""
    update, scale = world.job.spec.update, world.job.spec.scale
    served, excess = world.served(), world.excess()
    world.obey(deed)
    assert len(world.served()) >= min(len(served), scale - update.unavailable)
    assert world.excess() <= max(excess, update.surge)


def run(world, random, steps):
    """Let things happen in any order, also bad ones; check every single commit."""
    for _ in range(steps):
        world.seconds += random.choice((0, 0.5, 2, 30))
        drained = {name: None for name in ("a0", "a1") if random.random() < 0.3}
        rolled = world.decide(random, evictable=random.choice((0, 1, 100, 100)), leaving=drained)
        deeds = [*rolled.wants, *rolled.drops]
        random.shuffle(deeds)
        for deed in deeds[: random.randrange(len(deeds) + 1)]:
            obey(world, deed)
        for task_id in [t for t in world.standings if random.random() < 0.5]:
            world.progress(task_id)
        if world.standings and random.random() < 0.4:
            hit = random.choice(list(world.standings))
            world.become(hit, random.choice((TaskState.FAILED, TaskState.LOST, TaskState.RUNNING, TaskState.FINISHED)))
        if random.random() < 0.2:
            spec = replace(world.job.spec, scale=random.randrange(5))
            generation = random.choice(("g1", "g2", "g3"))
            world.job = replace(world.job, spec=spec, generation=generation, version=world.job.version + 1)


def settle(world, random):
    """Let only good things happen, until there is nothing left to do."""
    for _ in range(200):
        rolled = world.decide(random, leaving=dict.fromkeys(world.drained))
        for deed in (*rolled.wants, *rolled.drops):
            obey(world, deed)
        if rolled == Rollout(wants=(), drops=(), held=(), due=None, is_complete=True) and all(
            s.task and s.task.ready for s in world.standings.values()
        ):
            return
        for task_id in list(world.standings):
            world.progress(task_id)
        world.seconds += rolled.due.total_seconds() if rolled.due else 0
    raise AssertionError(f"it did not converge: {world}")


@settings(max_examples=200, deadline=None)
@given(worlds(), st.randoms(use_true_random=False), st.integers(0, 8))
def test_from_any_state_and_after_any_interruption_it_converges_and_serves_on_the_way(world, random, steps):
    run(world, random, steps)
    settle(world, random)
    assert Counter(s.placement.slot for s in world.standings.values()) == Counter(range(world.job.spec.scale))
    assert all(s.placement.generation == world.job.generation for s in world.standings.values())


@settings(max_examples=100, deadline=None)
@given(worlds(), st.randoms(use_true_random=False), st.sampled_from([{"a0"}, {"a0", "a1"}]))
def test_from_any_state_drained_agents_come_to_be_empty_and_it_serves_on_the_way(world, random, drained):
    world.drained = frozenset(drained)
    settle(world, random)
    assert Counter(s.placement.slot for s in world.standings.values()) == Counter(range(world.job.spec.scale))
    assert not any(s.placement.agent in drained for s in world.standings.values())


@settings(max_examples=50, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_from_any_state_an_unscheduled_job_ends_with_no_placement(world, random):
    world.job = replace(world.job, is_terminating=True)
    for drop in world.decide(random).drops:
        world.obey(drop)
    assert world.standings == {}


@settings(max_examples=50, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_one_healthy_migrate_never_serves_fewer_slots_than_it_may(world, random):
    world.standings.clear()
    for slot in range(world.job.spec.scale):
        world.put(slot, generation="g1", state=TaskState.RUNNING, ready=True)
    lowest = world.job.spec.scale - world.job.spec.update.unavailable
    while not all(s.placement.generation == "g2" and s.task and s.task.ready for s in world.standings.values()):
        rolled = world.decide(random)
        for deed in (*rolled.wants, *rolled.drops):
            world.obey(deed)
        for task_id in [t for t in world.standings if random.random() < 0.5]:
            world.progress(task_id)
        assert len(world.served()) >= lowest
