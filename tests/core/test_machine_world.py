"""The machine in a world: an agent, its stream, and a store that writes what is published."""

from dataclasses import dataclass, field, replace

import hypothesis.strategies as st
from hypothesis import given, settings

from harpoon.core import signals
from harpoon.core.machine import advance, begin
from harpoon.core.picture import AgentState, Phase
from harpoon.model.agent import LinkState
from harpoon.model.task import Task, TaskState
from tests.builders import CLUSTER, a_change, a_link, a_placement, a_snapshot, a_task, an_agent, at

TASKS = [a_task(a_placement(slot=slot)) for slot in range(3)]


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
    world = World(begin(an_agent(), None, (), at(), cluster=CLUSTER))
    for deed in history:
        do(world, deed)
    world.settle()
    assert {key: replace(task, ready_since_ms=0) for key, task in world.actual.items()} == world.own()
    assert all((task.ready_since_ms > 0) is task.ready for task in world.actual.values())
    assert world.link is LinkState.CONNECTED


@settings(max_examples=100, deadline=None)
@given(st.lists(deeds, max_size=20))
def test_a_restarted_server_that_finds_everything_as_it_was_writes_nothing(history):
    world = World(begin(an_agent(), None, (), at(), cluster=CLUSTER))
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
    world = World(begin(an_agent(), None, (), at(), cluster=CLUSTER))
    for deed in history:
        before, actual = world.state.phase, dict(world.actual)
        do(world, deed)
        if Phase.CONNECTED not in (before, world.state.phase):
            changed = [task for key, task in world.actual.items() if actual.get(key) != task]
            assert actual.keys() == world.actual.keys()
            assert all(task.state is TaskState.LOST for task in changed)
