"""The Docker driver: a task is a container of this host's engine, which outlives the agent.

Nothing here is decided by what the engine might do: what has begun is on disk before the engine is told
(`docker_file`), and a launch is over only when the engine said so. An engine that does not answer changes nothing of a
task that runs; it is *not known*, and says since when. Whatever happens to a container comes by one stream of events
(`docker_watch`); all of them are compared with the engine's list when that stream begins, and now and then.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from harpoon.agent.drivers.docker_config import config_of, label_of, labels_of
from harpoon.agent.drivers.docker_container import Container
from harpoon.agent.drivers.docker_engine import Engine
from harpoon.agent.drivers.docker_file import Files, Known, new
from harpoon.agent.drivers.docker_images import Images
from harpoon.agent.drivers.docker_rules import DockerRules
from harpoon.agent.drivers.docker_start import Starter
from harpoon.agent.drivers.docker_watch import Watch
from harpoon.agent.drivers.docker_work import Work
from harpoon.agent.drivers.driver import Handle
from harpoon.agent.drivers.handle import Launch
from harpoon.kit.clock import Clock, Random

#: What is left of an ended launch is waited for so long; then it is removed in time.
_SWEEP_S: Final = 10.0

_log = structlog.get_logger(__name__)
#: Something to be done, in a group that takes what it begins.
Job = Callable[[asyncio.TaskGroup], Coroutine[Any, Any, None]]


class DockerDriver:
    """Starts tasks in containers, and finds those that an earlier daemon started."""

    def __init__(self, rules: DockerRules, state: Path, agent: str, clock: Clock, rng: Random) -> None:
        """Make one, in a running event loop, and to be closed.

        Args:
            rules: Which engine, and what may be.
            state: The agent's state directory.
            agent: Its uid.
            clock: Tells the time.
            rng: For jitter.
        """
        assert rules.socket is not None, "there is an engine to be asked"
        self._rules = rules
        self._agent = agent
        self._files = Files(state / "containers")
        self._engine = Engine(rules.socket)
        #: By name: those that run, are to, or have ended and are not removed.
        self._live: dict[str, Container] = {}
        self._watch = Watch(self._engine, label_of(agent), self, clock, rng)
        starter = Starter(self._engine, self._files, Images(rules, rng), self._watch)
        self._work = Work(self._engine, self._files, starter, self._watch)
        self._group: asyncio.TaskGroup | None = None
        #: What is to be done once it runs.
        self._waiting: list[Job] = []
        #: Containers that wear this agent's label and were not made by it.
        self._strange: set[str] = set()

    @property
    def version(self) -> str | None:
        """See `driver.Containers`."""
        return self._watch.version

    def when_met(self, told: Callable[[], None]) -> None:
        """See `driver.Containers`."""
        self._watch.met = told

    async def tried(self) -> None:
        """See `driver.Containers`."""
        await self._watch.was_tried.wait()

    async def run(self) -> None:
        """Do all that is to be done with the engine until cancelled. Containers run on."""
        async with asyncio.TaskGroup() as self._group:
            waiting, self._waiting = self._waiting, []
            for job in waiting:
                self._group.create_task(job(self._group))
            self._group.create_task(self._watch.run(), name="engine")

    async def close(self) -> None:
        """Let go of the engine."""
        await self._engine.close()

    def start(self, launch: Launch, changed: Callable[[], None]) -> Container:
        """Begin a launch; the rest comes in time. Until the engine is told to make it, `find` finds nothing of it.

        Raises:
            Invalid: It asks for what must not be here.
        """
        box = launch.container
        assert box is not None, "it is a container's"
        known = new(box.task, int(Path(launch.shim_file).suffix[1:]), launch.resources)
        config = config_of(launch, self._rules, labels_of(box, self._agent, known.nonce))
        container = self._take(Container(launch.shim_file, known, self._files, changed))
        container.is_starting = True
        self._spawn(lambda group: self._work.start(container, config, box, group))
        return container

    def find(self, file: str, changed: Callable[[], None]) -> Container | None:
        """Take up a launch that an earlier daemon began: as it was known last, until the engine tells otherwise.

        Returns:
            None when the launch never began.

        Raises:
            OSError: What is known of it cannot be read.
        """
        known = self._files.read(file)
        if known is None:
            return None
        container = self._take(Container(file, known, self._files, changed))
        container.is_found = True
        container.exit = known.exit
        if known.pid is None and known.exit is None:
            self._look(container)
        return container

    async def sweep(self, handle: Handle, *, is_thorough: bool) -> None:  # noqa: ARG002 it is all one container
        """Remove an ended launch's container; while the engine does not answer, later."""
        assert isinstance(handle, Container), "it is one that this driver gave"
        if self._group is None:
            return
        removing = self._group.create_task(self._work.remove(handle.known), name=f"remove-{handle.known.name}")
        await asyncio.wait((removing,), timeout=_SWEEP_S)
        self._live.pop(handle.known.name, None)

    def clear_strays(self) -> None:
        """Nothing: containers that nobody has found are removed when the engine tells which there are."""

    def happened(self, container: str) -> None:
        """See `docker_watch.Listener`."""
        for one in self._live.values():
            if one.known.id == container and one.exit is None and not one.is_starting:
                self._look(one)

    def listed(self, containers: Mapping[str, str]) -> None:
        """See `docker_watch.Listener`: whose state is another than known is looked at, and strays are removed."""
        assert self._group is not None, "who tells runs in it"
        assert self._group is not None, "who tells runs in it"
        for one in self._live.values():
            if one.exit is not None or one.is_starting:
                continue
            if one.pid is not None and containers.get(one.known.id or "") == "running":
                self._work.is_well(one, self._group)
            else:
                self._look(one)
        known = self._files.all()
        for one_known in known:
            if one_known.name not in self._live:
                _log.info("container_removed", container=one_known.name, reason="its task is forgotten, or has another")
                self._remove(one_known)
        strange = containers.keys() - {one_known.id for one_known in known} - self._strange
        if strange and all(one.known.id is not None for one in self._live.values()):
            self._strange |= strange
            _log.warning("containers_not_ours", containers=sorted(strange)[:8], reason="they only wear the label")

    def lost(self, since: str) -> None:
        """See `docker_watch.Listener`: what runs is taken to run on."""
        for one in self._live.values():
            if one.exit is None:
                one.was_lost = one.was_lost or one.pid is not None
                one.say(since)

    def _remove(self, known: Known) -> None:
        self._spawn(lambda _: self._work.remove(known))

    def _look(self, container: Container) -> None:
        self._spawn(lambda group: self._work.look(container, group))

    def _take(self, container: Container) -> Container:
        self._live[container.known.name] = container
        container.send = lambda number: self._spawn(lambda _: self._work.signal(container, number))
        container.beside = lambda program, within: self._work.beside(container, program, within)
        return container

    def _spawn(self, job: Job) -> None:
        if self._group is None:
            self._waiting.append(job)
        else:
            self._group.create_task(job(self._group))
