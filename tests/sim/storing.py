"""A store under simulation, instances that reach it, and what tests of it do again and again."""

import asyncio
import random
from contextlib import aclosing

from harpoon.store.port import Compacted, Put, Rewound, StoreUnavailable
from tests.sim.loop import Node, SimClock, SimLoop
from tests.sim.network import Network
from tests.sim.store import SimStore
from tests.sim.way import SimWay


class House:
    """A store, and instances that reach it over a network without faults but those that a test makes."""

    def __init__(self, loop, seed):
        self.loop = loop
        self.net = Network(loop, seed)
        self.node = Node("store")
        self.net.join(self.node)
        self.store = self.node.context().run(SimStore, SimClock(), random.Random(seed))
        self.happened = self.store.happened
        self.ways = {}

    def way(self, name):
        node = Node(name, self.loop.now)
        self.net.join(node)
        way = SimWay(self.store, self.net, clock=SimClock(), rng=random.Random(name))
        self.ways[name] = way
        return node, way

    async def at(self, node, work):
        return await self.loop.start(node, work)


def play(main, seed=1):
    """Run a story on virtual time: a coroutine of a house, an instance's node, and its way to the store."""
    loop = SimLoop()

    async def run():
        house = House(loop, seed)
        node, way = house.way("s1")
        try:
            return await house.at(node, main(house, node, way))
        finally:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


async def follow(way, heard, after=0, prefix="/"):
    """Write down what a watch tells, until it ends; with how it does."""
    try:
        async with aclosing(way.watch(prefix, after=after)) as stream:
            async for revision, changes in stream:
                heard.append((revision, [change.key for change in changes]))
    except (Compacted, Rewound, StoreUnavailable) as error:
        heard.append(error)


async def write(way, count, prefix="/k/"):
    for n in range(count):
        await way.commit((), (Put(f"{prefix}{n}", b"%d" % n),))


def told(heard):
    return [revision for revision, keys in heard if keys]
