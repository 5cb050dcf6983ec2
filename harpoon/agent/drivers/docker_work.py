"""What is done with one container after the other: it is started, looked at, signalled, read, removed.

Whatever is asked of an engine that stops answering may have happened; so it is asked about that until it tells.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from harpoon.agent import processes
from harpoon.agent.drivers.box import Box
from harpoon.agent.drivers.docker_config import LAUNCH
from harpoon.agent.drivers.docker_container import REMOVED, Container, began_of, exit_of
from harpoon.agent.drivers.docker_engine import Engine, Refused
from harpoon.agent.drivers.docker_file import Files, Known
from harpoon.agent.drivers.docker_start import Starter
from harpoon.agent.drivers.docker_watch import Watch
from harpoon.agent.drivers.handle import Program
from harpoon.agent.drivers.programs import KEPT, MARK, Outcome, last_line
from harpoon.agent.drivers.shimfile import Exit
from harpoon.kit.errors import Invalid, Unavailable

_AGAIN_S: Final = 1.0
#: What the small init of a container ends with, and says, when there is no such program, or it may not be run.
_UNSTARTED: Final = (126, 127)
_INIT: Final = re.compile(rb"\[FATAL tini \([0-9]+\)\] exec ([^\n]+) failed: ([^\n]+)\n\Z")
#: What an ended container printed last is waited for so long.
_PRINTED_WITHIN_S: Final = 5.0

_log = structlog.get_logger(__name__)


class Work:
    """Does it, for one engine."""

    def __init__(self, engine: Engine, files: Files, starter: Starter, watch: Watch) -> None:
        self._engine = engine
        self._files = files
        self._starter = starter
        self._watch = watch
        #: Names of containers whose output is followed → set when all of it is there.
        self._followed: dict[str, asyncio.Event] = {}

    async def start(self, container: Container, config: Mapping[str, Any], box: Box, group: asyncio.TaskGroup) -> None:
        """Start one, whatever it takes, and tell it how that went."""
        ended = await self._starter.start(container, config, box, group)
        container.is_starting = False
        if ended is not None:
            container.ends(ended)
            return
        await self.look(container, group)
        if container.exit is None and container.unsent is not None:
            container.signal(container.unsent)

    async def look(self, container: Container, group: asyncio.TaskGroup) -> None:
        """Ask the engine about one until it answers, and take note of what it says."""
        container.is_stale = True
        if container.is_looked_at:
            return
        container.is_looked_at = True
        while container.is_stale and container.exit is None:
            container.is_stale = False
            ended = await self._ask(container, group)
            if ended is not None:
                await self._end(container, ended, group)
        container.is_looked_at = False

    def is_well(self, container: Container, group: asyncio.TaskGroup) -> None:
        """Take note that one runs on as it is known to."""
        container.was_lost = False
        container.say("")
        self._read(container, group)

    async def signal(self, container: Container, number: int) -> None:
        """Signal one; what the engine does not take is not tried again here, but by whoever wants it."""
        if container.is_signalled or container.known.id is None:
            return
        container.is_signalled = True
        try:
            await self._engine.signal(container.known.id, number)
        except (Refused, Unavailable) as error:
            _log.warning("container_not_signalled", task=container.task, reason=str(error))
        finally:
            container.is_signalled = False

    async def beside(self, container: Container, program: Program, within: timedelta) -> Outcome:
        """Run a program in one; what does not end in time is killed, where the host lets the agent.

        Raises:
            Invalid: It cannot be run now.
        """
        mark = str(Path(container.path).parent)
        try:
            ran = await self._engine.run(
                container.known.id or "", program.arguments, {MARK: mark}, within.total_seconds(), KEPT
            )
        except (Refused, Unavailable) as error:
            raise Invalid(f"the Docker engine: {error}") from error
        if ran.code is None and ran.pid is not None and processes.has_variable(ran.pid, MARK, mark):
            processes.kill((ran.pid,))
        gone = asyncio.Event()
        gone.set()
        return Outcome(code=ran.code, last_line=last_line(ran.printed), gone=gone)

    async def remove(self, known: Known) -> None:
        """Remove one, running or not; while the engine does not answer, it stays among those to be removed."""
        try:
            found = known.id or await self._id_of(known)
            if found is not None:
                await self._engine.remove(found)
        except (Refused, Unavailable) as error:
            _log.warning("container_not_removed", container=known.name, reason=str(error))
        else:
            self._files.forget(known)
            self._followed.pop(known.name, None)

    async def _id_of(self, known: Known) -> str | None:
        """Return the id of a container that the engine has made without anybody's hearing of it, if it did."""
        try:
            told = await self._engine.inspect(known.name)
        except Refused as error:
            if error.status != 404:
                raise
            return None
        return str(told["Id"]) if _is_that(told, known) else None

    async def _ask(self, container: Container, group: asyncio.TaskGroup) -> Exit | None:
        """Ask until there is an answer; return how it ended, or None while it runs."""
        while True:
            try:
                told = await self._engine.inspect(container.known.id or container.known.name)
            except Refused as error:
                if error.status == 404:
                    return container.not_begun if container.pid is None else REMOVED
                _log.warning("container_not_known", task=container.task, reason=str(error))
            except Unavailable:
                pass
            else:
                if told["State"].get("Status") != "removing":
                    return self._judge(container, told, group)
            await asyncio.sleep(_AGAIN_S)
            await self._watch.answers.wait()

    def _judge(self, container: Container, told: Mapping[str, Any], group: asyncio.TaskGroup) -> Exit | None:
        state = told["State"]
        if container.known.id is None:
            if not _is_that(told, container.known):
                return container.not_begun
            container.has_made(str(told["Id"]))
        ended = exit_of(state, int(told["HostConfig"].get("Memory") or 0))
        if ended is None and state.get("Status") == "created":
            return container.not_begun
        if ended is None:
            container.was_lost = False
            container.runs(int(state.get("Pid", 0)), began_of(state))
            self._read(container, group)
        return ended

    async def _end(self, container: Container, ended: Exit, group: asyncio.TaskGroup) -> None:
        """Have all that it printed kept, then tell that it has ended."""
        container.is_ending.set()
        if container.known.id is not None:
            try:
                async with asyncio.timeout(_PRINTED_WITHIN_S):
                    await self._read(container, group).wait()
            except TimeoutError:
                _log.warning("output_not_complete", task=container.task)
        if ended.code in _UNSTARTED and (words := _INIT.search(container.keeper.end_of(is_stderr=True))) is not None:
            why = f"{words[1].decode(errors='replace')[:200]}: {words[2].decode(errors='replace')[:100].lower()}"
            ended = replace(ended, code=None, detail=f"could not be started: {why}")
        if container.was_lost:
            ended = replace(ended, detail=f"{ended.detail}, while the Docker engine did not answer")
        container.ends(ended)

    def _read(self, container: Container, group: asyncio.TaskGroup) -> asyncio.Event:
        """Follow what it prints, if that is not done already; return what is set when all of it is there."""
        known = container.known
        if known.name not in self._followed:
            self._followed[known.name] = asyncio.Event()
            group.create_task(self._follow(container, self._followed[known.name]), name=f"log-{known.name}")
        return self._followed[known.name]

    async def _follow(self, container: Container, is_whole: asyncio.Event) -> None:
        while True:
            # Followed until just before, an engine may leave out the end, such as a line without its own.
            is_last = container.is_ending.is_set()
            await container.keeper.follow(self._engine, container.known.id or "")
            if is_last:
                break
            # What has come to its end though the container has not, was cut off.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S):
                    await container.is_ending.wait()
        is_whole.set()


def _is_that(told: Mapping[str, Any], known: Known) -> bool:
    """Whether what the engine tells is of the container of this name that its agent had made."""
    labels = told["Config"].get("Labels") or {}
    return bool(labels.get(LAUNCH) == known.nonce and str(told["Name"]).lstrip("/") == known.name)
