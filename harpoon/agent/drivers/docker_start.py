"""Starting a container. Until the engine is told to make it, nothing has happened, and it may be given up."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from harpoon.agent.drivers.box import Box
from harpoon.agent.drivers.docker_container import UNWANTED, Container
from harpoon.agent.drivers.docker_engine import Engine, Refused
from harpoon.agent.drivers.docker_file import Files
from harpoon.agent.drivers.docker_images import Images, PullFailed
from harpoon.agent.drivers.docker_watch import Watch
from harpoon.agent.drivers.shimfile import Exit
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.model.container import Pull

#: One that is to be started waits so long for an engine that does not answer; then it has failed to start.
_ENGINE_WITHIN_S: Final = 60.0
#: Containers being made or started at a time; more only wait for each other inside the engine.
STARTING_MAX: Final = 12


class _Failed(Exception):
    """It cannot be started; the message says why."""


class _NoImage(Exception):
    """The engine does not have the image."""


class _Unwanted(Exception):
    """It is to be stopped before anything was made."""


class Starter:
    """Starts the containers of one engine."""

    def __init__(self, engine: Engine, files: Files, images: Images, watch: Watch) -> None:
        self._engine = engine
        self._files = files
        self._images = images
        self._watch = watch
        self._places = asyncio.Semaphore(STARTING_MAX)

    async def start(
        self, container: Container, config: Mapping[str, Any], box: Box, group: asyncio.TaskGroup
    ) -> Exit | None:
        """Have one made and started.

        Args:
            container: Which.
            config: What the engine is told.
            box: What it was made of.
            group: For what others may wait for as well.

        Returns:
            Why it does not run; None: it does, or the engine is to be asked.
        """
        try:
            await _unless_unwanted(container, self._ready(container, box, group))
            try:
                await self._make(container, config)
            except _NoImage:
                if box.pull is Pull.NEVER:
                    raise _Failed(f"image {box.image} is not on this agent's engine, and pull is never") from None
                await _unless_unwanted(container, self._fetch(container, box, group))
                await self._make(container, config)
        except _NoImage:
            return _exit(f"image {box.image} was pulled, and is gone")
        except _Failed as error:
            return _exit(str(error))
        except _Unwanted:
            return UNWANTED
        return None

    async def _ready(self, container: Container, box: Box, group: asyncio.TaskGroup) -> None:
        """Wait for the engine, and for the image if it is wanted anew each time."""
        try:
            async with asyncio.timeout(_ENGINE_WITHIN_S):
                if not self._watch.answers.is_set() and self._watch.since:
                    container.say(self._watch.since)
                await self._watch.answers.wait()
        except TimeoutError:
            raise _Failed(self._watch.since or "the Docker engine does not answer") from None
        container.say("")
        if box.pull is Pull.ALWAYS:
            await self._fetch(container, box, group)

    async def _fetch(self, container: Container, box: Box, group: asyncio.TaskGroup) -> None:
        try:
            await self._images.fetch(self._engine, box.image, container.say, group)
        except (PullFailed, Invalid, Unavailable) as error:
            raise _Failed(str(error)) from error

    async def _make(self, container: Container, config: Mapping[str, Any]) -> None:
        """Make and start it, if the engine will; when it stops answering, what happened is to be found out."""
        async with self._places:
            if container.is_unwanted:
                raise _Unwanted
            try:
                self._files.begin(container.path, container.known)
            except OSError as error:
                raise _Failed(f"the agent's disk: {error.strerror or error}") from error
            try:
                container.has_made(await self._engine.create(container.known.name, config))
            except Refused as error:
                self._files.undo(container.path, container.known)
                if error.status == 404 and "image" in str(error).lower():
                    raise _NoImage from error
                raise _Failed(str(error)) from error
            except Unavailable:
                return
            try:
                await self._engine.start(container.known.id or "")
            except Refused as error:
                raise _Failed(str(error)) from error
            except Unavailable:
                return


async def _unless_unwanted(container: Container, work: Coroutine[Any, Any, None]) -> None:
    """Do what comes before anything is made, unless the container is given up meanwhile."""
    task = asyncio.current_task()
    assert task is not None, "it runs in one"
    if container.unsent is not None:
        work.close()
        raise _Unwanted
    container.give_up = task.cancel
    try:
        await work
    except asyncio.CancelledError:
        # Or the whole agent is to end.
        if not container.is_unwanted or task.uncancel() > 0:
            raise
        raise _Unwanted from None
    finally:
        container.give_up = None


def _exit(reason: str) -> Exit:
    return Exit(code=None, detail=f"could not be started: {reason}")
