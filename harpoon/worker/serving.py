"""A worker at work: from its first request until it is drained."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import structlog

from harpoon.kit.errors import Invalid
from harpoon.worker.app import Worker
from harpoon.worker.crew import Crew
from harpoon.worker.handler import Handler
from harpoon.worker.lane import Lane
from harpoon.worker.means import Means, Way
from harpoon.worker.pulse import Pulse
from harpoon.worker.returning import Returning
from harpoon.worker.servers import Servers
from harpoon.worker.session import Caller, Session
from harpoon.worker.settings import Settings, process_name

#: What was cancelled at the end of the grace has so long to clean up and to be returned.
CLEANUP_S: Final = 5.0
#: A server is told that the worker leaves within so long, or not at all.
FAREWELL_S: Final = 5.0
STOPPING: Final = "the worker is stopping"

_log = structlog.get_logger(__name__)


async def serve(
    worker: Worker,
    settings: Settings,
    *,
    stop: asyncio.Event,
    abandon: Callable[[], None] | None = None,
    means: Means | None = None,
) -> None:
    """Carry out work until ``stop`` is set, then drain.

    Draining, it claims nothing more; attempts run on for the grace, then those that can be are cancelled. What is not
    closed by then is lost, which its operation's ``retry`` takes care of.

    Args:
        worker: Whose handlers.
        settings: Where, and how.
        stop: Is set from outside.
        abandon: Is called at the end if handlers will not end, and need not return; without it, they are waited for.
        means: Its ways to servers and its clock, if they are not those of the settings and of the process.

    Raises:
        Invalid: The worker has no handlers.
        HarpoonError: No server takes it, such as for its token.
    """
    if not worker.handlers:
        raise Invalid(f"worker {worker.name} has no handlers; decorate functions with @{worker.name}.handler")
    house = _House(worker, settings, means or Means(connect=_connects(settings)))
    try:
        async with house.returning_servers, asyncio.TaskGroup() as group:
            await house.run(group, stop)
            if abandon is not None and house.crew.attempts:
                abandon()
    finally:
        house.threads.close()


class _House:
    """The parts of one worker process."""

    def __init__(self, worker: Worker, settings: Settings, means: Means) -> None:
        self._settings = settings
        self._means = means
        self._name = settings.name or process_name(worker.name)
        self._lane_of: dict[str, Lane] = {}
        handlers = worker.handlers
        common = settings.concurrency or worker.concurrency
        self.threads = means.threads(common + sum(one.limit or 0 for one in handlers.values()))
        self.crew = Crew(handlers, self.threads, lambda handler: self._lane_of[handler.name].free(), means.now)
        #: Each with connections of its own.
        self._lanes: list[tuple[Way, Lane]] = []
        if shared := [one for one in handlers.values() if one.limit is None]:
            self._add_lane(self._name, shared, common)
        for index, one in enumerate(one for one in handlers.values() if one.limit is not None):
            self._add_lane(f"{self._name}-l{index}", [one], one.limit or 1)
        self.returning_servers = means.connect(True)
        returning = Session(self.returning_servers, self._caller("returns"))
        self._returning = Returning(returning, self.crew.outbox)
        self._pulse = Pulse(means, self._caller("beats"), self.crew.attempts, self.crew.lose)
        self.crew.hurry = self._pulse.hurry

    async def run(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Work until told to stop, then drain; ``group`` is for the attempts."""
        _log.info("worker_started", worker=self._name, handlers=sorted(self._lane_of), servers=self._settings.servers)
        async with asyncio.TaskGroup() as own:
            beating = own.create_task(self._pulse.run(), name="heartbeats")
            returning = own.create_task(self._returning.run(), name="returns")
            lanes = [own.create_task(self._claim(*one, group), name="claims") for one in self._lanes]
            await stop.wait()
            await self._drain(lanes)
            for task in (beating, returning, *lanes):
                task.cancel()

    async def _claim(self, servers: Way, lane: Lane, group: asyncio.TaskGroup) -> None:
        async with servers:
            await lane.run(self.crew, group)

    async def _drain(self, lanes: Iterable["asyncio.Task[None]"]) -> None:
        crew, grace = self.crew, self._settings.grace
        _log.info("worker_drains", attempts=len(crew.attempts), grace_s=grace.total_seconds())
        for _, lane in self._lanes:
            lane.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace.total_seconds()):
                # What a request had been answered that was broken off comes now, unless no server answers at all.
                await asyncio.wait(list(lanes), timeout=FAREWELL_S)
                await crew.idle()
        if crew.attempts:
            for attempt in list(crew.attempts.values()):
                crew.cease(attempt, STOPPING, is_lost=False)
            with suppress(TimeoutError):
                async with asyncio.timeout(CLEANUP_S):
                    await crew.idle()
        for ref, attempt in crew.attempts.items():
            what = "its closing was not answered" if attempt.is_over else "its handler does not end"
            _log.warning("attempt_left", **ref._asdict(), reason=f"{STOPPING}, and {what}")
        _log.info("worker_drained", attempts_left=len(crew.attempts))

    def _add_lane(self, name: str, handlers: list[Handler], places: int) -> None:
        servers = self._means.connect(False)
        caller = Caller(namespace=self._settings.namespace, worker=name, handlers=[one.name for one in handlers])
        lane = Lane(Session(servers, caller), handlers, places)
        self._lanes.append((servers, lane))
        self._lane_of |= {one.name: lane for one in handlers}

    def _caller(self, part: str) -> Caller:
        return Caller(namespace=self._settings.namespace, worker=f"{self._name}-{part}", handlers=())


def _connects(settings: Settings) -> Callable[[bool], Way]:
    return lambda is_known: Servers(settings.servers, settings.token, is_known=is_known)
