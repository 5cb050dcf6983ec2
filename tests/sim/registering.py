"""An agent that makes itself known: the shipped loop, which asks over the simulated network."""

from typing import TYPE_CHECKING

from harpoon.agent import registration
from harpoon.agent.feed import Feed
from harpoon.kit.clock import Random
from harpoon.kit.errors import HarpoonError
from harpoon.model.agent import Agent
from harpoon.store.port import StoreUnavailable
from tests.sim.lost import Lost

if TYPE_CHECKING:
    from tests.sim.world import World

#: As the shipped one has it.
CONNECT_S = 3.0
ANSWER_S = 10.0


class Registration(registration.Registration):
    """Registers its agent with instances, by their names."""

    def __init__(self, world: "World", instances: tuple[str, ...], agent: Agent, feed: Feed, rng: Random) -> None:
        super().__init__(None, instances, agent, feed, rng)  # type: ignore[arg-type]  # it asks nobody real
        self._world = world

    async def _put(self, server: str) -> str | None:
        async def answer() -> None:
            controller = self._world.instances[server].controller
            if controller is None:
                raise Lost(f"{server} has only begun", is_sent=False)
            await controller.roster.register(self._agent)

        try:
            await self._world.net.call(server, answer, connect_s=CONNECT_S, within_s=ANSWER_S)
        except (Lost, HarpoonError, StoreUnavailable) as error:
            return str(error)
        self._world.net.happened["agent registered itself"] += 1
        return None
