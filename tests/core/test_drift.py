"""Tasks that no record knows: which they are, how they are shown, and that nothing but a record changes it."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from harpoon.core import signals
from harpoon.core.drift import is_unclaimed
from harpoon.core.machine import advance, begin
from harpoon.core.picture import AgentState
from harpoon.core.rollout import rollout
from harpoon.core.standing import Standing
from harpoon.core.transform import transform
from harpoon.model.agent import LinkState
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState
from tests.builders import CLUSTER, T0, a_change, a_job, a_link, a_placement, a_snapshot, a_task, an_agent, at

TASK = a_task(a_placement(revision=7))


def picture(*known: Task, incarnation: int = 2, link: LinkState = LinkState.CONNECTED) -> AgentState:
    return begin(an_agent(), a_link(state=link), known, at(), cluster=CLUSTER, incarnation=incarnation)


def adopted(state: AgentState, *tasks: Task) -> AgentState:
    for event in (signals.Dial(), signals.Opened(a_snapshot(*tasks)), signals.Adopted(a_snapshot(*tasks))):
        state, _ = advance(state, event, at())
    return state


def shown(task: Task) -> Task:
    return adopted(picture(), task).tasks[task.id]


def test_a_task_of_an_earlier_life_that_nothing_knows_is_unclaimed() -> None:
    assert is_unclaimed(picture(), TASK.id)


def test_one_that_the_store_shows_is_known() -> None:
    assert not is_unclaimed(picture(TASK), TASK.id)
    assert not is_unclaimed(picture(replace(TASK, state=TaskState.LOST)), TASK.id)


def test_one_that_the_store_shows_as_unclaimed_still_is() -> None:
    assert is_unclaimed(picture(replace(TASK, state=TaskState.UNCLAIMED)), TASK.id)


def test_one_that_a_record_claims_is_not() -> None:
    state, _ = advance(picture(), signals.Claimed(frozenset({TASK.id})), at())
    assert not is_unclaimed(state, TASK.id)


def test_one_of_this_life_never_is() -> None:
    assert not is_unclaimed(picture(incarnation=1), TASK.id)
    assert not is_unclaimed(picture(), a_placement(incarnation=2).task)


@pytest.mark.parametrize("task", ["", "web", "default.web.0.x-1", "default.web.0.-1", "default.web.0.²-1"])
def test_what_is_no_id_of_ours_is_left_to_others(task: str) -> None:
    assert not is_unclaimed(picture(), TaskId(task))


def test_a_task_of_another_cluster_is_not_in_the_picture_at_all() -> None:
    assert adopted(picture(), replace(TASK, cluster="c2")).tasks == {}


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (TASK, "running and ready since 2026-01-01T00:00:00Z; no record"),
        (replace(TASK, ready=False, reason="check x fails"), "running since 2026-01-01T00:00:00Z (check x fails); no"),
        (replace(TASK, ready=False, reason="x" * 999), f"running since 2026-01-01T00:00:00Z ({'x' * 200}); no record"),
        (replace(TASK, state=TaskState.STARTING, ready=False), "starting since 2026-01-01T00:00:00Z; no record"),
        (replace(TASK, since_ms=-1), "running and ready since 1970-01-01T00:00:00Z; no record"),
        (replace(TASK, since_ms=10**18), "running and ready since 5138-11-16T09:46:40Z; no record"),
    ],
)
def test_it_says_what_it_does_and_what_can_be_done(task: Task, said: str) -> None:
    told = shown(task)
    assert told.reason.startswith(said)
    assert told.reason.endswith(
        f" of this registry knows it: adopt it with `harpoon adopt task/{TASK.id}`, or end it with "
        f"`harpoon stop task/{TASK.id}`"
    )
    assert (told.state, told.reported, told.ready) == (TaskState.UNCLAIMED, task.state, False)
    assert (told.since_ms, told.pid, told.is_over) == (task.since_ms, task.pid, False)


def test_one_that_is_over_can_only_be_forgotten() -> None:
    told = shown(replace(TASK, state=TaskState.FAILED, ready=False, reason="exit code 3"))
    assert told.reason == (
        "failed since 2026-01-01T00:00:00Z (exit code 3); no record of this registry knows it: forget it with "
        f"`harpoon stop task/{TASK.id}`"
    )
    assert told.is_over
    assert not told.state.is_over


def test_finding_it_as_it_was_publishes_nothing() -> None:
    known = shown(TASK)
    state = picture(known)
    for event in (signals.Dial(), signals.Opened(a_snapshot(TASK))):
        state, _ = advance(state, event, at())
    state, effects = advance(state, signals.Adopted(a_snapshot(TASK)), at())
    assert effects == (signals.Reconcile(None),)
    assert state.tasks[TASK.id] is known


def test_nothing_commands_it_before_it_is_claimed_and_then_it_is_stopped_and_forgotten_as_any_stray() -> None:
    state = adopted(picture(), TASK)
    assert transform({}, state.tasks, at(), cluster=CLUSTER) == ()
    state, effects = advance(state, signals.Claimed(frozenset({TASK.id})), at())
    shown = replace(TASK, ready_since_ms=at().wall)
    assert effects == (signals.Publish((shown,), ()), signals.Reconcile(frozenset({TASK.id})))
    (stop,) = transform({}, state.tasks, at(), cluster=CLUSTER, disowned={TASK.id})
    assert (stop.kind, stop.reason) == ("stop", "an operator has ended it")
    over = replace(TASK, state=TaskState.FINISHED, ready=False)
    state, _ = advance(state, signals.Changed(a_change(over)), at())
    (forget,) = transform({}, state.tasks, at(), cluster=CLUSTER, disowned={TASK.id})
    assert (forget.kind, forget.reason) == ("forget", "it is finished and an operator has ended it")


def test_an_adopted_task_with_a_lower_number_has_its_slot_to_itself() -> None:
    job, mine = a_job(scale=2), a_placement(revision=1, slot=0)
    other = a_placement(revision=9, slot=1, incarnation=2)
    for state in (TaskState.UNCLAIMED, TaskState.RUNNING):
        standings = [Standing(mine, a_task(mine, state=state)), Standing(other, a_task(other))]
        found = rollout(job, standings, at())
        assert (found.wants, found.drops, found.held) == ((), (), ())


deeds = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.sampled_from([one for one in TaskState if one is not TaskState.UNCLAIMED])),
        st.sampled_from([("break",), ("reach",), ("lose",), ("server",)]),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(deeds)
def test_whatever_happens_short_of_a_record_it_stays_unclaimed(history: list[tuple]) -> None:
    task, state, seconds, seq = TASK, adopted(picture(), TASK), 0, 1
    for deed, *given_ in history:
        seconds += 1
        match deed:
            case "tell":
                task, seq = replace(task, state=given_[0], ready=False, since_ms=T0 + seconds), seq + 1
                state, _ = advance(state, signals.Changed(a_change(task, seq=seq)), at(seconds))
            case "break":
                state, _ = advance(state, signals.Broken("reset"), at(seconds))
            case "lose":
                seconds += 60
                for event in (signals.Broken("reset"), signals.Dial(), signals.Broken("refused")):
                    state, _ = advance(state, event, at(seconds))
            case "server":
                link = a_link(state=state.link)
                state = begin(an_agent(), link, state.tasks.values(), at(seconds), cluster=CLUSTER, incarnation=2)
            case "reach":
                snapshot = a_snapshot(task, seq=seq)
                for event in (signals.Dial(), signals.Opened(snapshot), signals.Adopted(snapshot)):
                    state, _ = advance(state, event, at(seconds))
        assert state.tasks[TASK.id].state is TaskState.UNCLAIMED
        assert not state.tasks[TASK.id].ready
