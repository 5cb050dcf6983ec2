"""The machine of one agent: its table, and what holds of every run. The stories tell its rules one by one."""

import itertools
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from harpoon.core import signals
from harpoon.core.machine import (
    LOST_AFTER,
    PENDING_MAX,
    advance,
    begin,
    commandable,
    due,
    is_pending,
)
from harpoon.core.picture import AgentState, Phase
from harpoon.core.transitions import TRANSITIONS
from harpoon.model.agent import Link, LinkState
from harpoon.model.command import CommandResult
from harpoon.model.instant import Instant
from harpoon.model.task import TaskState
from harpoon.model.token import Token
from tests.builders import CLUSTER, T0, a_change, a_link, a_placement, a_snapshot, a_task, an_agent, at

TASKS = [a_task(a_placement(slot=slot)) for slot in range(3)]
IDS = [task.id for task in TASKS]
SECOND = timedelta(seconds=1)


def connected(*tasks, now=None) -> AgentState:
    """The picture of an agent that was reached and adopted, and has these tasks."""
    return follow(begun(*tasks), *reached(*tasks), now=now)[0]


def begun(*tasks, link=LinkState.CONNECTED, since_ms=T0) -> AgentState:
    """What the store says."""
    return begin(an_agent(), link and a_link(state=link, since_ms=since_ms), tasks, at(0), cluster=CLUSTER)


def reached(*tasks):
    """The events that lead to an adopted agent."""
    return signals.Dial(), signals.Opened(a_snapshot(*tasks)), signals.Adopted(a_snapshot(*tasks))


def follow(state, *events, now=None):
    """Feed events, all at one moment; return the picture after them and the effects of the last."""
    effects = ()
    for event in events:
        state, effects = advance(state, event, now or at(0))
    return state, effects


# The table.


def a_walk(random: Random, steps: int):
    """Go through the table at random, from every beginning; yield each row taken."""
    state, now = begun(*TASKS), at(0)
    for _ in range(steps):
        others = frozenset(random.sample(("i2", "i3"), random.randrange(3)))
        if state.phase in (Phase.FENCED, Phase.RESIGNED) or random.random() < 0.05:
            link = random.choice([None, *LinkState])
            since = now.wall - random.choice((0, 20_000, 10**7))
            failed_by = tuple(random.sample(("i1", "i2", "i3"), random.randrange(4)))
            stored = link and Link(agent="a1", state=link, since_ms=since, failed_by=failed_by)
            known = random.sample(TASKS, random.choice((0, 3)))
            state = begin(
                an_agent(),
                stored,
                known,
                now,
                cluster=CLUSTER,
                incarnation=random.choice((1, 2)),
                instance="i1",
                others=others,
            )
        passed = random.choice((0, 0, 0.1, 4, 14, 16))
        now = Instant(elapsed=now.elapsed + passed * SECOND, wall=now.wall + round(1000 * passed))
        tasks = [replace(task, state=random.choice(list(TaskState))) for task in random.sample(TASKS, 2)]
        seq, boot = state.seq + random.choice((0, 1, 1, 1, 2)), random.choice(("b1", "b1", "b1", "b2"))
        event = random.choice(
            (
                signals.Dial(),
                signals.Opened(a_snapshot(*tasks, seq=seq, uid=random.choice((None, "other")))),
                signals.Adopted(a_snapshot(*tasks, seq=seq, boot=boot)),
                signals.Changed(a_change(*tasks, seq=seq, boot=boot, gone=[random.choice(IDS)])),
                signals.Heard(),
                signals.Broken("connection refused"),
                signals.FencedOff(Token(incarnation=1, revision=2))
                if random.random() < 0.1
                else signals.Ticked(others),
                signals.Sent((hit := random.choice(IDS),), frozenset({hit} if random.random() < 0.5 else ())),
                signals.Answered((CommandResult(task=random.choice(IDS), is_ok=random.random() < 0.5),)),
                signals.Claimed(frozenset(random.sample(IDS, 1))),
                signals.Ticked(others),
            )
        )
        before = state
        state, _ = advance(state, event, now)
        assert_due(state, now)
        if type(event) in TRANSITIONS[before.phase]:
            yield before.phase, type(event), state.phase
        else:
            assert state is before


def assert_due(state, now):
    """When time is said to matter next, it does, if it is an adopted agent's; it never does before."""
    moment = due(state, now)
    if moment is None:
        assert advance(state, signals.Ticked(state.others), at(10**6)) == (state, ())
    elif state.phase is Phase.CONNECTED:
        too_early = Instant(elapsed=max(now.elapsed, moment - timedelta.resolution), wall=now.wall)
        assert moment <= now.elapsed or advance(state, signals.Ticked(state.others), too_early) == (state, ())
        assert advance(state, signals.Ticked(state.others), Instant(elapsed=moment, wall=now.wall))[1]
    else:
        assert now.elapsed < moment <= now.elapsed + SECOND


def test_every_row_of_the_table_is_taken_and_no_other():
    rows = {(phase, kind, to) for phase, row in TRANSITIONS.items() for kind, tos in row.items() for to in tos}
    taken = set(a_walk(Random(1), 60_000))
    assert taken == rows


ENDS = (Phase.FENCED, Phase.RESIGNED)


@pytest.mark.parametrize("phase", Phase)
def test_whoever_is_fenced_off_or_has_resigned_never_commands_again(phase):
    if phase in ENDS:
        assert TRANSITIONS[phase] == {}
    else:
        assert TRANSITIONS[phase][signals.FencedOff] == {Phase.FENCED}


def test_only_an_adopted_agent_is_commandable():
    states = list(
        itertools.accumulate(reached(), lambda state, event: advance(state, event, at(0))[0], initial=begun())
    )
    assert [commandable(state) for state in states] == [False, False, False, True]


# Pending.


def test_a_command_is_pending_until_its_deadline():
    state, _ = follow(connected(), signals.Sent((IDS[0],)))
    assert is_pending(state, IDS[0], at(PENDING_MAX.total_seconds() - 0.1))
    assert not is_pending(state, IDS[0], at(PENDING_MAX.total_seconds()))
    assert not is_pending(state, IDS[1], at(0))


def test_a_command_is_pending_until_the_agent_says_anything_of_its_task():
    state, _ = follow(connected(), signals.Sent((IDS[0], IDS[1])), signals.Changed(a_change(TASKS[0])))
    assert [is_pending(state, task, at(0)) for task in IDS[:2]] == [False, True]


def test_a_denial_is_pending_until_its_deadline_though_the_task_is_gone():
    sent = signals.Sent((IDS[0], IDS[1]), frozenset({IDS[0]}))
    state, effects = follow(connected(*TASKS), sent, signals.Changed(a_change(gone=IDS[:2])))
    assert effects[-1] == signals.Reconcile(frozenset(IDS[:2]))
    assert [is_pending(state, task, at(0)) for task in IDS[:2]] == [True, False]
    state, (again,) = follow(state, signals.Ticked(), now=at(PENDING_MAX.total_seconds()))
    assert again == signals.Reconcile(frozenset({IDS[0]}))
    assert (dict(state.pending), state.denials) == ({}, frozenset())


def test_what_the_agent_says_of_a_task_ends_the_waiting_for_its_denial():
    state, _ = follow(connected(), signals.Sent((IDS[0],), frozenset({IDS[0]})), signals.Changed(a_change(TASKS[0])))
    assert not is_pending(state, IDS[0], at(0))
    state, _ = follow(connected(*TASKS), signals.Sent((IDS[0],), frozenset({IDS[0]})), signals.Sent((IDS[0],)))
    assert state.denials == frozenset()


def test_a_new_adoption_forgets_what_was_pending():
    state, _ = follow(connected(), signals.Sent((IDS[0],)), signals.Broken("reset"), *reached())
    assert not is_pending(state, IDS[0], at(0))


# Lost.


def test_a_lost_task_says_since_when_its_agent_is_gone_and_is_not_ready():
    state, _ = follow(connected(*TASKS), signals.Broken("reset"))
    later = at(LOST_AFTER.total_seconds())
    state, effects = follow(state, signals.Ticked(), now=later)
    (published, link) = effects
    assert published.tasks == tuple(state.tasks.values())
    for task in published.tasks:
        assert (task.state, task.ready, task.since_ms) == (TaskState.LOST, False, later.wall)
        assert task.reason == "agent a1 has not been reached since 2026-01-01T00:00:00Z: reset"
    assert link == signals.SetLink(LinkState.LOST, published.tasks[0].reason, later.wall)


def test_an_agent_without_live_tasks_is_lost_without_a_word_on_tasks():
    over = a_task(state=TaskState.FAILED)
    state, _ = follow(connected(over), signals.Broken("reset"))
    state, effects = follow(state, signals.Ticked(), now=at(31))
    assert [type(effect) for effect in effects] == [signals.SetLink]
    assert state.tasks == {over.id: over}


def test_a_wall_clock_that_is_set_forward_loses_nobody():
    state, _ = follow(connected(*TASKS), signals.Broken("reset"))
    assert follow(state, signals.Ticked(), now=at(1, wall_skew_s=86_400)) == (state, ())


def test_a_wall_clock_that_was_set_back_starts_the_clock_of_a_stored_link_anew():
    state = begun(*TASKS, link=LinkState.INTERRUPTED, since_ms=T0 + 10**9)
    assert state.lost_at == at(0).elapsed + LOST_AFTER


def test_a_task_lost_before_is_not_published_again():
    lost = replace(TASKS[0], state=TaskState.LOST)
    state = begun(lost, TASKS[1], link=LinkState.INTERRUPTED, since_ms=T0 - 10**6)
    _, effects = follow(state, signals.Dial(), signals.Broken("refused"))
    assert [task.id for task in effects[1].tasks] == [IDS[1]]


# Several instances.


def minded(link=LinkState.INTERRUPTED, *, failed_by=(), others=("i2",), since_ms=T0) -> AgentState:
    """The picture of an agent with an interrupted link, which instance ``i1`` begins to mind at 0."""
    stored = Link(agent="a1", state=link, since_ms=since_ms, reason="reset", failed_by=failed_by)
    return begin(an_agent(), stored, TASKS, at(0), cluster=CLUSTER, instance="i1", others=frozenset(others))


def tried(state, until_s, others=("i2",)):
    """Try to reach it and fail, now and at the end of a span; return what came of the tick after that."""
    state, _ = follow(state, signals.Dial(), signals.Broken("refused"))
    return follow(state, signals.Ticked(frozenset(others)), now=at(until_s))


def test_who_cannot_reach_an_agent_for_half_the_time_leaves_it_to_another():
    state, effects = tried(minded(), 14.9)
    assert (state.phase, effects) == (Phase.INTERRUPTED, ())
    state, effects = tried(minded(), 15)
    told = signals.SetLink(LinkState.INTERRUPTED, "reset", T0, ("i1",))
    assert (state.phase, effects) == (Phase.RESIGNED, (signals.Close(), signals.PassOn(told)))


def test_an_agent_is_lost_once_two_have_failed_to_reach_it_and_not_before():
    late = T0 - 10**6
    state, effects = follow(minded(since_ms=late), signals.Dial(), signals.Broken("refused"))
    assert state.link is LinkState.INTERRUPTED
    assert not any(isinstance(effect, signals.Publish) for effect in effects)
    state, effects = follow(minded(since_ms=late, failed_by=("i2",)), signals.Dial(), signals.Broken("refused"))
    assert state.link is LinkState.LOST
    assert signals.SetLink(LinkState.LOST, state.link_reason, T0, ("i2",)) in effects


def test_having_failed_before_oneself_is_not_a_second_instances_failing():
    state, _ = follow(minded(since_ms=T0 - 10**6, failed_by=("i1",)), signals.Dial(), signals.Broken("refused"))
    assert state.link is LinkState.INTERRUPTED


def test_the_only_instance_loses_an_agent_by_itself_and_keeps_it():
    state, effects = tried(minded(others=()), 30, others=())
    assert state.link is LinkState.LOST
    state, effects = follow(state, signals.Ticked(), now=at(10**5))
    assert (state.phase, effects) == (Phase.LOST, ())


def test_what_nobody_reaches_is_passed_on_now_and_then_in_case_the_way_from_there_is_mended():
    state, effects = tried(minded(LinkState.LOST, failed_by=("i2",)), 599)
    assert (state.phase, effects) == (Phase.LOST, ())
    state, effects = tried(minded(LinkState.LOST, failed_by=("i2",)), 600)
    assert effects == (signals.Close(), signals.PassOn(signals.SetLink(LinkState.LOST, "reset", T0, ("i1",))))


def test_what_nobody_reaches_is_passed_on_to_whoever_has_had_word_from_it_since():
    state, _ = tried(minded(LinkState.LOST, failed_by=("i2", "i3")), 15, others=("i2", "i3"))
    others = frozenset({"i2", "i3"})
    assert follow(state, signals.Ticked(others, failed_by=others), now=at(20)) == (state, ())
    _, effects = follow(state, signals.Ticked(others, failed_by=frozenset({"i3", "i4"})), now=at(20))
    assert effects[-1] == signals.PassOn(signals.SetLink(LinkState.LOST, "reset", T0, ("i1", "i3")))


def test_a_lost_agent_is_still_passed_on_to_whoever_has_not_tried():
    _, effects = tried(minded(LinkState.LOST, failed_by=("i2",)), 15, others=("i2", "i3"))
    assert effects[-1] == signals.PassOn(signals.SetLink(LinkState.LOST, "reset", T0, ("i1", "i2")))


def test_who_failed_before_it_was_reached_is_left_out_and_yet_tried_before_it_is_lost():
    state, effects = follow(minded(failed_by=("i2", "i0")), *reached(*TASKS))
    assert signals.SetLink(LinkState.CONNECTED, "", T0, ("i2",)) in effects
    state, effects = follow(state, signals.Broken("reset"), now=at(20))
    assert signals.SetLink(LinkState.INTERRUPTED, "reset", at(20).wall, ("i2",)) in effects
    # Its own time counts from there.
    _, effects = follow(state, signals.Ticked(frozenset({"i2"})), now=at(34.9))
    assert effects == ()
    _, effects = follow(state, signals.Ticked(frozenset({"i2"})), now=at(35))
    assert effects[-1] == signals.PassOn(signals.SetLink(LinkState.INTERRUPTED, "reset", at(20).wall, ("i1",)))
    _, effects = follow(state, signals.Ticked(frozenset({"i2", "i3"})), now=at(35))
    assert effects[-1] == signals.PassOn(signals.SetLink(LinkState.INTERRUPTED, "reset", at(20).wall, ("i1", "i2")))


def test_who_failed_before_an_agent_was_reached_is_no_reason_to_lose_it():
    state, _ = follow(minded(LinkState.CONNECTED, failed_by=("i2",)), signals.Dial(), signals.Broken("refused"))
    state, effects = tried(state, 60)
    assert not any(isinstance(effect, signals.Publish) for effect in effects)
    assert state.link is LinkState.INTERRUPTED


def test_who_failed_is_forgotten_when_it_was_reached_for_long_enough():
    state, _ = follow(minded(failed_by=("i2",)), *reached(*TASKS))
    for seconds in range(10, 600, 10):
        state, effects = follow(state, signals.Heard(), signals.Ticked(frozenset({"i2"})), now=at(seconds))
        assert effects == ()
    state, effects = follow(state, signals.Heard(), signals.Ticked(frozenset({"i2"})), now=at(600))
    assert effects == (signals.SetLink(LinkState.CONNECTED, "", T0),)
    _, effects = follow(state, signals.Heard(), signals.Ticked(frozenset({"i2"})), now=at(610))
    assert effects == ()


def test_nobody_is_passed_on_who_was_not_tried():
    state, effects = follow(minded(), signals.Ticked(frozenset({"i2"})), now=at(60))
    assert (state.phase, effects) == (Phase.INTERRUPTED, ())
