"""Whether a task is started again: tables, and what holds for any history."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harpoon.core.restart import (
    Ended,
    LeaveEnded,
    StartAgain,
    describe_exit,
    describe_memory_kill,
    kept_history,
    next_restart,
)
from harpoon.model.instant import Instant
from harpoon.model.lifecycle import Backoff, Restart, RestartPolicy
from harpoon.model.task import TaskState

NOW = Instant(elapsed=timedelta(seconds=5), wall=1_000_000_000)
CRASH = Ended(is_failure=True, detail="exited 1")
DONE = Ended(is_failure=False, detail="exited 0")
SECOND = 1_000
POLICIES = st.builds(
    Restart,
    policy=st.sampled_from(RestartPolicy),
    attempts=st.integers(0, 20),
    within=st.timedeltas(timedelta(0), timedelta(hours=1)),
    backoff=st.builds(
        Backoff,
        initial=st.timedeltas(timedelta(0), timedelta(seconds=10)),
        factor=st.floats(1, 100),
        max=st.timedeltas(timedelta(seconds=10), timedelta(minutes=5)),
        jitter=st.floats(0, 1),
    ),
)
HISTORIES = st.lists(st.integers(NOW.wall - 7_200_000, NOW.wall), max_size=30)
ENDS = st.sampled_from((CRASH, DONE))


def decide(*ages_s: float, ended: Ended = CRASH, jitter: float = 0.5, **policy) -> StartAgain | LeaveEnded:
    history = [NOW.wall - round(age * SECOND) for age in ages_s]
    return next_restart(Restart(**policy), history, ended, NOW, jitter)


def after(*ages_s: float, **arguments) -> float:
    decision = decide(*ages_s, **arguments)
    assert isinstance(decision, StartAgain)
    return decision.after.total_seconds()


def test_the_first_restart_comes_at_once():
    decision = decide()
    assert decision == StartAgain(after=timedelta(0), reason="exited 1; starts again at once, restart 1 of 5")


def test_later_restarts_of_a_window_back_off():
    assert after(5) == 1
    assert after(5, 4) == 2
    assert after(5, 4, 3) == 4
    assert after(5, 4, 3, attempts=100, backoff=Backoff(max=timedelta(seconds=3))) == 3


def test_the_reason_says_when_and_which_restart_it_is():
    assert decide(5, 4).reason == "exited 1; starts again in 2s, restart 3 of 5"


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_jitter_moves_the_wait_either_way(jitter, seconds):
    assert after(5, jitter=jitter) == seconds


def test_restarts_before_the_window_are_forgiven():
    assert after(601, 700, 800) == 0


def test_a_used_up_policy_fails_the_task_and_says_so():
    assert decide(5, 4, 3, 2, 1) == LeaveEnded(
        state=TaskState.FAILED,
        reason="ended 6 times within 10m, and 5 restarts are allowed; last: exited 1",
    )


def test_no_restart_is_allowed_by_zero_attempts():
    assert decide(attempts=0) == LeaveEnded(
        state=TaskState.FAILED, reason="exited 1; its restart policy allows no restart"
    )


@pytest.mark.parametrize(
    ("policy", "ended", "state"),
    [
        (RestartPolicy.NEVER, CRASH, TaskState.FAILED),
        (RestartPolicy.NEVER, DONE, TaskState.FINISHED),
        (RestartPolicy.ON_FAILURE, DONE, TaskState.FINISHED),
    ],
)
def test_a_policy_that_does_not_restart_leaves_it_ended(policy, ended, state):
    decision = decide(policy=policy, ended=ended)
    assert isinstance(decision, LeaveEnded)
    assert decision.state is state


@pytest.mark.parametrize(
    ("policy", "ended"),
    [(RestartPolicy.ALWAYS, DONE), (RestartPolicy.ALWAYS, CRASH), (RestartPolicy.ON_FAILURE, CRASH)],
)
def test_a_policy_that_restarts_does(policy, ended):
    assert isinstance(decide(policy=policy, ended=ended), StartAgain)


def test_an_empty_window_is_no_hot_loop():
    assert after(1, within=timedelta(0), backoff=Backoff(initial=timedelta(0))) == 0.1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited 0"),
        (3, "exited 3"),
        (-9, "was killed by KILL"),
        (-99, "was killed by signal 99"),
        (None, "ended, and its exit code is not known"),
    ],
)
def test_an_exit_is_told_in_words(code, words):
    assert describe_exit(code) == words


@pytest.mark.parametrize(
    ("limit", "code", "words"),
    [
        (64 << 20, -9, "was killed for memory: it used more than 64Mi"),
        (64 << 20, 137, "was killed for memory: it used more than 64Mi"),
        (None, -9, "was killed for memory: its host had no more"),
        (1 << 30, 1, "exited 1, after processes of it were killed for memory: it used more than 1Gi"),
        (
            1,
            None,
            "ended, and its exit code is not known, after processes of it were killed for memory: it used more than 1",
        ),
    ],
)
def test_a_death_for_memory_is_told_from_others_with_what_the_limit_was(limit, code, words):
    assert describe_memory_kill(limit, code) == words


@given(POLICIES, HISTORIES, ENDS, st.floats(0, 1))
def test_a_wait_is_within_the_backoffs_bounds(policy, history, ended, jitter):
    decision = next_restart(policy, history, ended, NOW, jitter)
    if isinstance(decision, StartAgain):
        assert timedelta(0) <= decision.after <= policy.backoff.max * (1 + policy.backoff.jitter) + timedelta(seconds=1)
        assert policy.policy is not RestartPolicy.NEVER
    else:
        assert decision.state.is_over
    assert decision.reason


@given(POLICIES, HISTORIES, ENDS, st.floats(0, 1), st.randoms())
def test_the_order_of_the_history_is_irrelevant(policy, history, ended, jitter, random):
    shuffled = random.sample(history, len(history))
    assert next_restart(policy, history, ended, NOW, jitter) == next_restart(policy, shuffled, ended, NOW, jitter)


@given(POLICIES, st.floats(0, 1))
def test_a_task_that_always_crashes_at_once_is_given_up_or_slows_down(policy, jitter):
    history: tuple[int, ...] = ()
    wall = NOW.wall
    for restarts in range(policy.attempts + 1):
        now = Instant(elapsed=NOW.elapsed, wall=wall)
        decision = next_restart(policy, history, CRASH, now, jitter)
        if isinstance(decision, LeaveEnded):
            return
        assert restarts == 0 or decision.after >= timedelta(milliseconds=100)
        wall += decision.after // timedelta(milliseconds=1)
        history = kept_history(policy, (*history, wall), Instant(elapsed=NOW.elapsed, wall=wall))
    assert wall - NOW.wall >= min(policy.within // timedelta(milliseconds=1), policy.attempts * 100 - 100)


@given(POLICIES, HISTORIES, ENDS, st.floats(0, 1))
def test_the_kept_history_decides_like_the_whole(policy, history, ended, jitter):
    whole = next_restart(policy, history, ended, NOW, jitter)
    kept = next_restart(policy, kept_history(policy, history, NOW), ended, NOW, jitter)
    assert isinstance(kept, type(whole))
    if isinstance(whole, LeaveEnded):
        assert kept == whole or kept.state is whole.state
    else:
        assert kept.after == whole.after
