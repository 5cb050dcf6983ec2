"""The workers of a plan: who of them lives, and what each knows of its life before."""

import asyncio
import random
from typing import TYPE_CHECKING, Any

from tests.proof.history import Down, Up
from tests.sim.loop import WORLD, Node
from tests.sim.site import hang_up
from tests.sim.workmen import Honest, Odd

if TYPE_CHECKING:
    from tests.sim.world import World


class Crew:
    """Starts them, and ends them."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._hands = {hand.name: hand for hand in world.plan.hands}
        self._workers: dict[str, Honest | Odd] = {}
        #: What each odd one hands on to its next life.
        self._minds: dict[str, dict[str, Any]] = {name: {} for name in self._hands}
        self._lives = 0

    def start_all(self) -> None:
        for name in self._hands:
            self.start(name)

    def start(self, name: str) -> None:
        world, hand = self._world, self._hands[name]
        if name in world.net.nodes:
            return
        self._lives += 1
        rng = random.Random(f"{world.plan.seed}/{name}/{self._lives}")
        instances, node = world.plan.instances, Node(name, world.loop.now)
        worker = Odd(hand, instances, rng, self._minds[name]) if hand.is_odd else Honest(hand, instances, rng)
        self._workers[name] = worker
        world.net.join(node)
        world.tell(Up(t=world.loop.now, node=name, instance=worker.life))
        world.loop.start(node, worker.run()).add_done_callback(lambda done: self._ended(name, done))

    def stop(self, name: str) -> None:
        """Have one end as by SIGTERM; an odd one just ends."""
        worker, node = self._workers[name], self._world.net.nodes.get(name)
        if isinstance(worker, Honest) and node is not None:
            self._world.loop.call_soon(worker.stop.set, context=node.context())
        else:
            self.kill(name)

    def kill(self, name: str) -> None:
        world = self._world
        node = world.net.nodes.get(name)
        if node is not None:
            world.loop.kill(node)
            world.net.leave(node)
            hang_up(world, name)
            world.tell(Down(t=world.loop.now, node=name))

    def calm_down(self) -> None:
        """Have all of them do as they should from now on."""
        for worker in self._workers.values():
            if isinstance(worker, Odd):
                worker.is_calm = True

    def _ended(self, name: str, done: "asyncio.Task[None]") -> None:
        worker = self._workers[name]
        if done.exception() is not None or isinstance(worker, Odd) or not worker.stop.is_set():
            self._world.record.fail("crash", f"{done.get_name()} ended by itself: {done.exception()!r}")
        self._world.loop.call_soon(self.kill, name, context=WORLD.context())
