"""The one point at which a run is broken, if its plan names one; `tests.sim.points` goes through all of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harpoon.agent import home
from tests.proof import history
from tests.sim.hosts import Host
from tests.sim.loop import NODE, Node
from tests.sim.nemesis import RESTART_S
from tests.sim.way import SimWay

if TYPE_CHECKING:
    from tests.sim.instances import Instance
    from tests.sim.world import World

#: Who begins again with what was true some time ago is so many revisions back.
STALE = 6


class Point:
    """Counts effects and revisions, and breaks something at one of them."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._how, self._number, self._whose = world.plan.point or ("", 0, "")

    def install(self) -> None:
        """Have those effects noted that are not told of by themselves."""
        write, start, commit = home.write_durably, Host.start, SimWay.commit

        def noted_write(path: Path, data: bytes) -> None:
            write(path, data)
            self.effect("mark")

        def noted_start(host: Host, *given: Any) -> Any:
            self.effect("spawn")
            return start(host, *given)

        async def noted_commit(way: SimWay, *given: Any) -> int | None:
            self.effect("commit")
            return await commit(way, *given)

        home.write_durably, Host.start, SimWay.commit = noted_write, noted_start, noted_commit  # type: ignore[method-assign]

    def effect(self, kind: str) -> None:
        """Take note that the present node is about to do something outside of itself."""
        node, happened = NODE.get(), self._world.net.happened
        happened[f"effect: {kind}"] += 1
        happened["effects"] += 1
        if (self._how, self._number) == ("crash", happened["effects"]):
            # What is under way goes on; whoever sent it hears no more.
            self._world.loop.call_soon(self._crash, node.name, context=Node("world").context())

    def revision(self, revision: int) -> None:
        """Take note of a revision that has just come to be."""
        self._world.net.happened["revisions"] = revision
        if self._number != revision:
            return
        if self._how == "rewind":
            self._world.instances[self._whose].way.rewind()
        elif self._how == "replay":
            self._world.loop.call_soon(self._replay, context=Node("world").context())

    def begin(self, instance: "Instance") -> None:
        """Have an instance not be told of something, in any of its lives."""
        if (self._how, self._whose) == ("hide", instance.name):
            instance.way.hide(self._number)

    def _crash(self, name: str) -> None:
        """Let a node die, and have it started again."""
        world = self._world
        world.tell(history.Fault(t=world.loop.now, node="nemesis", what="crash", target=name))
        is_instance = name in world.instances
        (world.kill_instance if is_instance else world.kill_agent)(name)
        world.loop.call_later(RESTART_S, world.start_instance if is_instance else world.start_agent, name)

    def _replay(self) -> None:
        world, name = self._world, self._whose
        self._crash(name)
        world.loop.call_later(RESTART_S + 0.0001, lambda: world.instances[name].way.stale(STALE))
