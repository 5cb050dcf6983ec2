"""Rollouts that wait against a small world: they serve on the way, try no more than they may, and come to an end."""

from collections import Counter
from dataclasses import dataclass, replace
from random import Random

import hypothesis.strategies as st
from hypothesis import given, settings

from harpoon.core.progress import begin, brake_of, formerly, pause, progress, promote, resume
from harpoon.model.decision import Want
from harpoon.model.job import Update, Version
from harpoon.model.rollout import RolloutPhase, RolloutRecord
from harpoon.model.task import TaskState
from tests.builders import T0, a_job, at
from tests.core.test_rollout_world import World

OLD, NEW = "g1", "g2"


@dataclass(kw_only=True)
class Trial(World):
    """A job that serves, and is being changed."""

    record: RolloutRecord | None = None

    def __post_init__(self):
        for slot in range(self.job.spec.scale):
            self.put(slot, generation=OLD, state=TaskState.RUNNING, ready=True)
        was = replace(self.job, generation=OLD, version=1)
        self.stable = Version(namespace="default", name="web", version=1, generation=OLD, spec=was.spec, at_ms=T0)
        self.record = begin(self.job, None, list(self.standings.values()), at(self.seconds), is_revert=False)

    @property
    def brake(self):
        return brake_of(self.job, self.record, self.stable)

    def obey(self, deed):
        job = self.job
        if isinstance(deed, Want) and deed.is_held_back:
            self.job = formerly(job, self.stable)
        super().obey(deed)
        self.job = job

    def become(self, task_id, state, *, ready=False):
        was = self.standings[task_id].task
        super().become(task_id, state, ready=ready)
        known = self.standings[task_id]
        since = was.ready_since_ms if was and was.ready else at(self.seconds).wall
        self.standings[task_id] = known._replace(task=replace(known.task, ready_since_ms=since if ready else 0))

    def trying(self):
        """The slots that have the new generation."""
        return {one.placement.slot for one in self.standings.values() if one.placement.generation == NEW}

    def phase(self):
        return progress(self.job, self.record, list(self.standings.values()), at(self.seconds)).phase


@st.composite
def trials(draw):
    surge = draw(st.integers(0, 2))
    update = Update(
        surge=surge,
        unavailable=draw(st.integers(0 if surge else 1, 2)),
        canary=draw(st.integers(0, 3)),
        healthy_for=draw(st.sampled_from([at(2).elapsed - at(0).elapsed, at(0).elapsed - at(0).elapsed])),
    )
    return Trial(a_job(scale=draw(st.integers(1, 4)), update=update, generation=NEW, version=2))


def turn(trial: Trial, random, *, is_bad: bool) -> bool:
    """Decide once, and let the world go on; return whether anything was decided or is awaited."""
    update, scale = trial.job.spec.update, trial.job.spec.scale
    rolled = trial.decide(random, brake=trial.brake)
    canaries = min(update.canary, scale)
    is_on_trial = trial.brake is not None and trial.brake.canaries is not None
    for deed in (*rolled.wants, *rolled.drops):
        served = trial.served()
        trial.obey(deed)
        assert len(trial.served()) >= min(len(served), scale - update.unavailable)
        assert trial.excess() <= update.surge + canaries
        assert not is_on_trial or len(trial.trying()) <= canaries
    for task_id in [task for task in trial.standings if not is_bad or random.random() < 0.6]:
        trial.progress(task_id)
    if is_bad and random.random() < 0.3:
        trial.become(random.choice(list(trial.standings)), random.choice((TaskState.FAILED, TaskState.LOST)))
    trial.seconds += random.choice((0.5, 3)) if rolled.due is None else rolled.due.total_seconds()
    return bool(rolled.wants or rolled.drops or rolled.due)


def settle(trial: Trial, random) -> None:
    for _ in range(200):
        tasks = [one.task for one in trial.standings.values()]
        is_ready = all(task and (task.ready or task.state.is_over) for task in tasks)
        if not turn(trial, random, is_bad=False) and is_ready:
            return
    raise AssertionError(f"it did not come to rest: {trial}")


def generations(trial: Trial) -> Counter[str]:
    return Counter(one.placement.generation for one in trial.standings.values())


@settings(max_examples=200, deadline=None)
@given(trials(), st.integers(0, 10**6).map(Random), st.integers(0, 12))
def test_whatever_dies_a_trial_serves_and_tries_no_more_than_it_may(trial, random, steps):
    for _ in range(steps):
        turn(trial, random, is_bad=True)
    settle(trial, random)
    canaries = min(trial.job.spec.update.canary, trial.job.spec.scale)
    if canaries:
        trial.seconds += 5
        assert trial.phase() is RolloutPhase.AWAITING_PROMOTION
        assert len(trial.trying()) == canaries
        trial.record = promote(trial.job, trial.record, at(trial.seconds))
        settle(trial, random)
    assert generations(trial) == {NEW: trial.job.spec.scale}
    # The last one is still to be watched for a while.
    trial.seconds += 5
    assert trial.phase() is RolloutPhase.COMPLETE


@settings(max_examples=200, deadline=None)
@given(trials(), st.integers(0, 10**6).map(Random), st.integers(0, 6), st.integers(0, 6))
def test_a_paused_one_replaces_nothing_and_goes_on_where_it_was(trial, random, before, meanwhile):
    trial.record = replace(trial.record, is_promoted=True)
    for _ in range(before):
        turn(trial, random, is_bad=True)
    trial.record = pause(trial.job, trial.record, at(trial.seconds))
    tried = trial.trying()
    for _ in range(meanwhile):
        turn(trial, random, is_bad=True)
        assert trial.trying() <= tried
    settle(trial, random)
    assert trial.served() == set(range(trial.job.spec.scale))
    trial.record = resume(trial.job, trial.record, at(trial.seconds))
    settle(trial, random)
    assert generations(trial) == {NEW: trial.job.spec.scale}


@settings(max_examples=100, deadline=None)
@given(trials(), st.integers(0, 10**6).map(Random), st.integers(0, 8))
def test_one_that_is_taken_back_anywhere_leaves_what_served(trial, random, steps):
    for _ in range(steps):
        turn(trial, random, is_bad=True)
    back = replace(formerly(trial.job, trial.stable), version=3)
    trial.job = replace(back, spec=replace(back.spec, update=trial.job.spec.update))
    trial.record = begin(trial.job, trial.record, list(trial.standings.values()), at(trial.seconds), is_revert=True)
    settle(trial, random)
    assert generations(trial) == {OLD: trial.job.spec.scale}
    assert trial.served() == set(range(trial.job.spec.scale))
