"""Limits that several instances keep, whatever is lost, late or out of order: never more claims than there may be."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.core.limiting import KEYS, SHARDS, Node, World

T = TypeVar("T")
SHARD = st.integers(0, SHARDS - 1)
FEW = st.integers(1, 3)


class Limits(RuleBasedStateMachine):
    """Instances join, take shards, hand them over, lag behind, lose their leases and die; messages come or do not."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(most=FEW, count=FEW)
    def begins(self, most: int, count: int) -> None:
        self.world = World(most)
        # What is needed most is there from the beginning.
        nodes = [self.world.join() for _ in range(count)]
        for shard in range(SHARDS):
            self.world.take(nodes[shard % count], shard)
            self.world.conduct(nodes[shard % count], shard)
        for run in self.world.runs():
            self.world.begin(run, KEYS[0])

    def one(self, data: st.DataObject, items: Sequence[T]) -> T:
        return data.draw(st.sampled_from(items))

    def node(self, data: st.DataObject) -> Node:
        return self.one(data, list(self.world.nodes.values()))

    @precondition(lambda self: len(self.world.nodes) < 4)
    @rule()
    def joins(self) -> None:
        self.world.join()

    @precondition(lambda self: self.world.nodes)
    @rule(data=st.data(), revisions=st.integers(1, 9))
    def sees(self, data: st.DataObject, revisions: int) -> None:
        node = self.node(data)
        self.world.see(node, min(node.seen + revisions, len(self.world.history) - 1))

    @precondition(lambda self: self.world.nodes)
    @rule(data=st.data(), shard=SHARD, is_loaded=st.booleans())
    def takes(self, data: st.DataObject, shard: int, is_loaded: bool) -> None:
        node = self.node(data)
        self.world.take(node, shard)
        if is_loaded:
            self.world.conduct(node, shard)

    @precondition(lambda self: self.world.nodes)
    @rule(data=st.data(), shard=SHARD, is_written=st.booleans())
    def leaves(self, data: st.DataObject, shard: int, is_written: bool) -> None:
        self.world.leave(self.node(data), shard, is_written=is_written)

    @precondition(lambda self: self.world.nodes)
    @rule(data=st.data(), written=st.integers(0, 3), is_dead=st.booleans())
    def loses_its_lease(self, data: st.DataObject, written: int, is_dead: bool) -> None:
        node = self.node(data)
        if is_dead:
            self.world.die(node, written)
        else:
            self.world.lose(node)

    @rule(runs=st.lists(st.integers(0, 2 * SHARDS - 1), min_size=1, max_size=4), key=st.sampled_from(KEYS))
    def begin_attempts(self, runs: list[int], key: str) -> None:
        for run in runs:
            self.world.begin(f"r{run}", key)

    @precondition(lambda self: self.world.nodes)
    @rule(data=st.data(), want=FEW, is_staying=st.booleans())
    def asks(self, data: st.DataObject, want: int, is_staying: bool) -> None:
        self.world.ask(self.node(data), want, is_staying=is_staying)

    @precondition(lambda self: self.world.claims)
    @rule(data=st.data(), is_written=st.booleans())
    def closes(self, data: st.DataObject, is_written: bool) -> None:
        id_ = self.one(data, sorted(self.world.claims))
        for node in self.world.nodes.values():
            self.world.close(node, id_)
            if is_written:
                self.world.flush(node, len(node.writes))

    @precondition(lambda self: any(node.writes for node in self.world.nodes.values()))
    @rule(data=st.data(), count=FEW)
    def writes(self, data: st.DataObject, count: int) -> None:
        self.world.flush(self.one(data, [node for node in self.world.nodes.values() if node.writes]), count)

    @precondition(lambda self: self.world.nodes)
    @rule(is_heard=st.booleans(), is_answered=st.booleans())
    def tell(self, is_heard: bool, is_answered: bool) -> None:
        for node in list(self.world.nodes.values()):
            for home in sorted(node.homes.others()):
                self.world.tell(node, home)
                if is_heard:
                    self.world.hear(-1)
        for node in list(self.world.nodes.values()):
            for one in list(node.polls) if is_answered else ():
                self.world.answer(node, one)
                if one in self.world.nodes:
                    self.world.receive(-1)

    @precondition(lambda self: self.world.reports)
    @rule(data=st.data(), is_lost=st.booleans())
    def is_told(self, data: st.DataObject, is_lost: bool) -> None:
        place = data.draw(st.integers(0, len(self.world.reports) - 1))
        if is_lost:
            self.world.reports.pop(place)
        else:
            self.world.hear(place)

    @precondition(lambda self: any(node.polls for node in self.world.nodes.values()))
    @rule(data=st.data())
    def answers(self, data: st.DataObject) -> None:
        node = self.one(data, [node for node in self.world.nodes.values() if node.polls])
        self.world.answer(node, self.one(data, sorted(node.polls)))

    @precondition(lambda self: self.world.answers)
    @rule(data=st.data(), is_lost=st.sampled_from([False, False, True]))
    def is_answered(self, data: st.DataObject, is_lost: bool) -> None:
        place = data.draw(st.integers(0, len(self.world.answers) - 1))
        if is_lost:
            self.world.answers.pop(place)
        else:
            self.world.receive(place)

    @precondition(lambda self: self.world.nodes)
    @rule(data=st.data())
    def gives_back(self, data: st.DataObject) -> None:
        self.world.give_back(self.node(data))

    def teardown(self) -> None:
        # Whatever happened, once all is quiet, all that may be claimed is.
        self.world.settle()


def walk(seed: int) -> None:
    """Do this and that, as often as it happens."""
    random = Random(seed)
    world = World(random.choice([1, 1, 2, 3]))
    nodes = [world.join() for _ in range(random.choice([1, 2, 3]))]
    for shard in range(SHARDS):
        world.take(random.choice(nodes), shard)
    for node in nodes:
        for shard in range(SHARDS):
            world.conduct(node, shard)
    moves = {
        lambda _: world.join() if len(world.nodes) < 4 else None: 1,
        lambda node: world.see(node, random.randint(node.seen, len(world.history) - 1)): 6,
        lambda node: world.take(node, random.randrange(SHARDS)): 12,
        lambda node: world.conduct(node, random.randrange(SHARDS)): 12,
        lambda node: world.leave(node, random.randrange(SHARDS), is_written=random.random() < 0.5): 3,
        lambda node: world.lose(node): 0.6,
        lambda node: world.die(node, random.randrange(4)): 0.6,
        lambda _: world.begin(random.choice(world.runs()), random.choice(KEYS)): 10,
        lambda node: world.ask(node, random.randint(1, 3), is_staying=random.random() < 0.5): 14,
        lambda node: close(node): 10,
        lambda node: world.flush(node, random.randint(1, 3)): 16,
        lambda node: [world.tell(node, home) for home in sorted(node.homes.others())]: 16,
        lambda _: world.reports and world.hear(random.randrange(len(world.reports))): 30,
        lambda node: node.polls and world.answer(node, random.choice(sorted(node.polls))): 16,
        lambda _: world.answers and world.receive(random.randrange(len(world.answers))): 16,
        lambda _: world.reports and world.reports.pop(random.randrange(len(world.reports))): 3,
        lambda _: world.answers and world.answers.pop(random.randrange(len(world.answers))): 1,
        lambda node: world.give_back(node): 2,
    }

    def close(node: Node) -> None:
        own = [id_ for id_ in sorted(world.claims) if node.exchange.claimant(id_) is not None]
        if own:
            world.close(node, random.choice(own))

    for move in random.choices(list(moves), list(moves.values()), k=400):
        node = random.choice(list(world.nodes.values()) or [world.join()])
        move(node)
    world.settle()


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=200, deadline=None)
def test_on_long_walks_no_more_is_claimed_than_may_be_and_in_the_end_all_that_may_be(seed: int) -> None:
    walk(seed)


Limits.TestCase.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
TestLimits = Limits.TestCase
