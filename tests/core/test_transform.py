"""The diff of one agent."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from harpoon.core.transform import Desired, transform
from harpoon.model.command import ForgetTask, StartTask, StopTask
from harpoon.model.task import TaskState
from tests.builders import CLUSTER, a_placement, a_task, a_template, at

TEMPLATE = a_template()


def desired(*placements):
    return {p.task: Desired(placement=p, template=TEMPLATE) for p in placements}


def actual(*tasks):
    return {task.id: task for task in tasks}


def diff(want, have):
    return transform(want, have, at(), cluster=CLUSTER)


def test_a_placed_task_that_the_agent_does_not_know_is_started():
    placement = a_placement(reason="spread: a1 has 0 of this job's tasks")
    (command,) = diff(desired(placement), {})
    assert command == StartTask(
        task=placement.task, generation=placement.generation, template=TEMPLATE, reason=placement.reason
    )


@pytest.mark.parametrize("state", list(TaskState))
def test_a_placed_task_that_the_agent_knows_is_left_alone_in_whatever_state(state):
    placement = a_placement()
    assert diff(desired(placement), actual(a_task(placement, state=state))) == ()


@pytest.mark.parametrize("state", [TaskState.STARTING, TaskState.RUNNING, TaskState.LOST])
def test_a_task_without_a_placement_is_told_to_stop(state):
    stray = a_task(state=state)
    assert diff({}, actual(stray)) == (StopTask(task=stray.id, reason="no placement asks for it any more"),)


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.FINISHED])
def test_a_task_without_a_placement_is_forgotten_once_it_is_over(state):
    stray = a_task(state=state)
    reason = f"it is {state} and no placement asks for it any more"
    assert diff({}, actual(stray)) == (ForgetTask(task=stray.id, reason=reason),)


@pytest.mark.parametrize("state", [TaskState.STOPPING, TaskState.UNCLAIMED])
def test_a_task_that_is_stopping_or_unclaimed_is_told_nothing(state):
    assert diff({}, actual(a_task(state=state))) == ()


@pytest.mark.parametrize("state", list(TaskState))
@pytest.mark.parametrize("cluster", ["c2", ""])
def test_a_task_of_another_cluster_is_never_touched(state, cluster):
    assert diff({}, actual(a_task(state=state, cluster=cluster))) == ()


def test_stops_come_first_then_forgets_then_starts_by_id_within_each():
    strays = [a_task(a_placement(slot=slot, revision=7)) for slot in (3, 2)]
    over = [a_task(a_placement(slot=slot, revision=7), state=TaskState.FAILED) for slot in (1, 0)]
    commands = diff(desired(a_placement(slot=1), a_placement(slot=0)), actual(*strays, *over))
    assert [(command.kind, command.task) for command in commands] == [
        ("stop", "default.web.2.1-7"),
        ("stop", "default.web.3.1-7"),
        ("forget", "default.web.0.1-7"),
        ("forget", "default.web.1.1-7"),
        ("start", "default.web.0.1-1"),
        ("start", "default.web.1.1-1"),
    ]


slots = st.integers(0, 5)
wants = st.sets(slots).map(lambda chosen: desired(*(a_placement(slot=slot) for slot in sorted(chosen))))
haves = st.dictionaries(
    slots,
    st.tuples(st.sampled_from([s for s in TaskState if s is not TaskState.LOST]), st.sampled_from([CLUSTER, "c2"])),
).map(
    lambda chosen: actual(
        *(a_task(a_placement(slot=slot), state=state, cluster=cluster) for slot, (state, cluster) in chosen.items())
    )
)


def obey(have, commands):
    """What an agent that does as it is told has afterwards, once what it stops has stopped."""
    after = dict(have)
    for command in commands:
        match command:
            case StartTask():
                assert command.task not in after
                after[command.task] = a_task(id=command.task, state=TaskState.STARTING)
            case StopTask():
                after[command.task] = a_task(id=command.task, state=TaskState.FINISHED)
            case ForgetTask():
                assert after.pop(command.task).state.is_over
    return after


@given(wants, haves)
def test_obeying_leaves_nothing_to_say(want, have):
    for _ in range(2):
        have = obey(have, diff(want, have))
    assert diff(want, have) == ()
    assert want.keys() <= have.keys()


@given(wants, haves, st.randoms(use_true_random=False))
def test_the_order_of_the_input_is_irrelevant(want, have, random):
    items, others = list(want.items()), list(have.items())
    random.shuffle(items)
    random.shuffle(others)
    assert diff(dict(items), dict(others)) == diff(want, have)


@given(wants, haves, st.sets(slots))
def test_a_part_is_diffed_as_in_the_whole(want, have, chosen):
    part = {a_placement(slot=slot).task for slot in chosen}
    of_part = diff({t: d for t, d in want.items() if t in part}, {t: k for t, k in have.items() if t in part})
    assert of_part == tuple(command for command in diff(want, have) if command.task in part)


# Revoked placements.


def test_a_revoked_task_that_the_agent_does_not_report_is_denied_all_the_same():
    task = a_placement().task
    commands = transform({}, {}, at(), cluster=CLUSTER, revoked={task})
    assert commands == (ForgetTask(task=task, reason="its placement is revoked", is_denied=True),)


@pytest.mark.parametrize("state", [TaskState.STARTING, TaskState.RUNNING, TaskState.LOST])
def test_a_revoked_task_is_stopped_before_it_is_denied(state):
    task = a_task(state=state)
    commands = transform({}, actual(task), at(), cluster=CLUSTER, revoked={task.id})
    assert commands == (StopTask(task=task.id, reason="its placement is revoked"),)


def test_a_revoked_task_that_is_over_is_forgotten_and_denied():
    task = a_task(state=TaskState.FAILED)
    (command,) = transform({}, actual(task), at(), cluster=CLUSTER, revoked={task.id})
    assert command == ForgetTask(task=task.id, reason="it is failed and its placement is revoked", is_denied=True)


@pytest.mark.parametrize("task", [a_task(state=TaskState.STOPPING), a_task(cluster="c2")])
def test_a_revoked_task_that_is_stopping_or_not_ours_is_told_nothing(task):
    assert transform({}, actual(task), at(), cluster=CLUSTER, revoked={task.id}) == ()


def test_a_start_says_whether_its_job_is_exclusive():
    (command,) = diff(desired(a_placement(is_exclusive=True)), {})
    assert command.is_exclusive
