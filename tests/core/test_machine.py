"""The machine of one agent: its table, and what holds of every run. The stories tell its rules one by one."""

import itertools
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from harpoon.core import signals
from harpoon.core.machine import (
    LOST_AFTER,
    PENDING_MAX,
    TRANSITIONS,
    advance,
    begin,
    commandable,
    is_pending,
)
from harpoon.core.picture import AgentState, Phase
from harpoon.model.agent import Link, LinkState
from harpoon.model.command import CommandResult
from harpoon.model.instant import Instant
from harpoon.model.task import Task, TaskState
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
        if state.phase is Phase.FENCED or random.random() < 0.05:
            link = random.choice([None, *LinkState])
            since = now.wall - random.choice((0, 20_000, 10**7))
            stored = link and Link(agent="a1", state=link, since_ms=since)
            state = begin(an_agent(), stored, TASKS, now, cluster=CLUSTER)
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
                signals.FencedOff(Token(incarnation=1, revision=2)) if random.random() < 0.1 else signals.Ticked(),
                signals.Sent((random.choice(IDS),)),
                signals.Answered((CommandResult(task=random.choice(IDS), is_ok=random.random() < 0.5),)),
                signals.Ticked(),
            )
        )
        before = state
        state, _ = advance(state, event, now)
        if type(event) in TRANSITIONS[before.phase]:
            yield before.phase, type(event), state.phase
        else:
            assert state is before


def test_every_row_of_the_table_is_taken_and_no_other():
    rows = {(phase, kind, to) for phase, row in TRANSITIONS.items() for kind, tos in row.items() for to in tos}
    taken = set(a_walk(Random(1), 30_000))
    assert taken == rows


@pytest.mark.parametrize("phase", Phase)
def test_whoever_is_fenced_off_never_commands_again(phase):
    assert phase is Phase.FENCED or TRANSITIONS[phase][signals.FencedOff] == {Phase.FENCED}
    assert TRANSITIONS[Phase.FENCED] == {}


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


# A world: an agent, its stream, and a store that writes what is published.


@dataclass
class World:
    state: AgentState
    #: What the store shows: written by effects alone.
    actual: dict[str, Task] = field(default_factory=dict)
    link: LinkState = LinkState.UNKNOWN
    writes: int = 0
    #: The agent.
    tasks: dict[str, Task] = field(default_factory=dict)
    seq: int = 1
    seconds: float = 0.0
    #: Events on their way, in the order of the stream and of the adoption's answer.
    stream: list[signals.Event] = field(default_factory=list)
    answer: list[signals.Event] = field(default_factory=list)

    def feed(self, event):
        self.state, effects = advance(self.state, event, at(self.seconds))
        for effect in effects:
            match effect:
                case signals.Publish(tasks, gone):
                    self.writes += 1
                    self.actual.update({task.id: task for task in tasks})
                    for task in gone:
                        del self.actual[task]
                case signals.SetLink():
                    self.writes += 1
                    self.link = effect.state
                case signals.Adopt():
                    self.answer = [signals.Adopted(self.snapshot())]
                case signals.Close():
                    self.stream, self.answer = [], []
        assert self.state.tasks == self.actual
        assert self.state.link is self.link

    def snapshot(self):
        return a_snapshot(*self.tasks.values(), seq=self.seq)

    def dial(self):
        if self.state.phase in (Phase.IDLE, Phase.INTERRUPTED, Phase.LOST):
            self.feed(signals.Dial())
            self.stream = [signals.Opened(self.snapshot())]

    def change(self, task, state):
        """The agent changes, and says so on its stream."""
        self.seq += 1
        gone = ()
        if state is None:
            gone = (task.id,) if self.tasks.pop(task.id, None) else ()
        else:
            self.tasks[task.id] = replace(task, state=state, ready=state is TaskState.RUNNING)
        self.stream.append(
            signals.Changed(a_change(*([self.tasks[task.id]] if state else []), seq=self.seq, gone=gone))
        )

    def deliver(self, queue):
        if queue:
            self.feed(queue.pop(0))

    def restart(self):
        """The server starts anew, with nothing but what the store shows."""
        link = a_link(state=self.link, since_ms=at(self.seconds).wall)
        self.stream, self.answer = [], []
        self.state = begin(an_agent(), link, self.actual.values(), at(self.seconds), cluster=CLUSTER)

    def settle(self):
        while self.state.phase is not Phase.CONNECTED or self.stream:
            self.dial()
            self.deliver(self.stream or self.answer)

    def own(self):
        return {task.id: task for task in self.tasks.values() if task.cluster == CLUSTER}


ALIENS = [a_task(a_placement(slot=9), cluster="c2")]
STATES = st.sampled_from([None, TaskState.RUNNING, TaskState.STARTING, TaskState.FAILED])
deeds = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(TASKS + ALIENS), STATES),
    st.sampled_from(
        [("dial",), ("stream",), ("stream",), ("answer",), ("break",), ("restart",), ("pass", 3), ("pass", 20)]
    ),
)


def do(world, deed):
    match deed:
        case ("change", task, state):
            world.change(task, state)
        case ("dial",):
            world.dial()
        case ("stream",):
            world.deliver(world.stream)
        case ("answer",):
            world.deliver(world.answer)
        case ("break",):
            world.feed(signals.Broken("reset"))
        case ("restart",):
            world.restart()
        case ("pass", seconds):
            world.seconds += seconds
            world.feed(signals.Ticked())


@settings(max_examples=300, deadline=None)
@given(st.lists(deeds, max_size=30))
def test_whatever_happens_the_store_shows_what_the_agent_has_once_it_is_adopted(history):
    world = World(begun(link=None))
    for deed in history:
        do(world, deed)
    world.settle()
    assert world.actual == world.own()
    assert world.link is LinkState.CONNECTED


@settings(max_examples=100, deadline=None)
@given(st.lists(deeds, max_size=20))
def test_a_restarted_server_that_finds_everything_as_it_was_writes_nothing(history):
    world = World(begun(link=None))
    for deed in history:
        do(world, deed)
    world.settle()
    writes = world.writes
    world.restart()
    world.settle()
    assert world.writes == writes


@settings(max_examples=100, deadline=None)
@given(st.lists(deeds, max_size=30))
def test_before_adoption_nothing_is_published_but_losses(history):
    world = World(begun(link=None))
    for deed in history:
        before, actual = world.state.phase, dict(world.actual)
        do(world, deed)
        if Phase.CONNECTED not in (before, world.state.phase):
            changed = [task for key, task in world.actual.items() if actual.get(key) != task]
            assert actual.keys() == world.actual.keys()
            assert all(task.state is TaskState.LOST for task in changed)
