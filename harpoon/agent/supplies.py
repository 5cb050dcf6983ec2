"""What a task needs before it starts: its artifacts fetched, its volumes there; and whether it keeps to them.

Artifacts are put into the task's directory once, before its first launch, each whole or not at all. Volumes are looked
at again before each launch. How much scratch space holds is found out by `du`, since there is nothing that every host
has to forbid it to hold more: a task can pass its limit for as long as it takes to be found out.
"""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from typing import Final, Protocol

import structlog

from harpoon.agent import mounts, users
from harpoon.agent.artifacts.cache import Cache
from harpoon.agent.artifacts.download import Downloader, name_of, told
from harpoon.agent.drivers import box
from harpoon.agent.drivers.handle import Launch, Program
from harpoon.agent.drivers.programs import MARK, Outcome, Programs
from harpoon.agent.mounts import Tools
from harpoon.agent.paths import Allowed, make_within
from harpoon.agent.record import Place, Record
from harpoon.agent.volumes import Mount, resolve_volumes, scratch_spaces
from harpoon.core.blockers import about_size
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.model.template import Driver
from harpoon.model.volumes import Artifact, ArtifactMode

_UNPACK: Final = str(Path(__file__).parent / "artifacts" / "unpack.py")
#: An archive may hold so many times what may be fetched.
UNPACKED_TIMES: Final = 10
_UNPACKS_MAX: Final = 2
_UNPACK_WITHIN: Final = timedelta(minutes=30)
#: What is being done is told once it takes so long, and then so often: whatever is told goes into the registry.
_TELL_AFTER_S: Final = 1.0
_TELL_EVERY_S: Final = 5.0
#: Scratch space is measured so often at most, and so that measuring takes no more than this share of the time.
MEASURE_S: Final = 10.0
_MEASURE_SHARE: Final = 20
_MEASURES_MAX: Final = 2
_MEASURE_WITHIN: Final = timedelta(minutes=2)

_log = structlog.get_logger(__name__)


class Supplier(Protocol):
    """Provides what tasks need. A simulation hands in its own."""

    async def provide(self, record: Record, place: Place, tell: Callable[[str], None]) -> tuple[Mount, ...]:
        """See that all is there that a task's next launch needs, and return what is to be mounted for it.

        Args:
            record: The task's.
            place: Its directory.
            tell: Is told what is being done, in few words.

        Raises:
            Invalid: It can have no such thing here, and trying again would not help.
            Unavailable: Not now.
            OSError: The agent's disk cannot take it.
        """

    def dress(self, launch: Launch, place: Place, found: tuple[Mount, ...]) -> Launch:
        """Return a launch that finds what `provide` returned."""

    def enter(self, program: Program, record: Record, pid: int | None) -> Program:
        """Return a program that finds the volumes of a task that runs.

        Raises:
            Invalid: They cannot be found now.
        """

    async def watch(self, record: Record, place: Place) -> str:
        """Return once one of a task's scratch spaces holds too much: which, in a sentence. Else never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What artifacts are got from."""

    cache: Cache
    downloader: Downloader
    #: Of a file that is fetched.
    bytes_max: int


class HostSupplier:
    """Provides what tasks need on this very host."""

    def __init__(self, store: Store, programs: Programs, allowed: Allowed, tools: Tools | None) -> None:
        """Make one.

        Args:
            store: What artifacts are got from.
            programs: Runs what unpacks and measures.
            allowed: What tasks may have of the host.
            tools: What volumes are mounted with; None: they cannot be.
        """
        self._store = store
        self._programs = programs
        self._allowed = allowed
        self._tools = tools
        self._unpacks = asyncio.Semaphore(_UNPACKS_MAX)
        self._measures = asyncio.Semaphore(_MEASURES_MAX)

    async def provide(self, record: Record, place: Place, tell: Callable[[str], None]) -> tuple[Mount, ...]:
        """See `Supplier`."""
        template = record.template
        if not record.has_artifacts:
            for index, artifact in enumerate(template.artifacts):
                await self._bring(artifact, index, record, place, tell)
        is_process = template.driver is Driver.PROCESS
        if is_process and self._tools is None and any(volume.is_mounted for volume in template.volumes):
            raise Invalid("volumes cannot be mounted here: the agent does not run as root, or has no unshare and mount")
        return await asyncio.to_thread(self._lay, record, place)

    def _lay(self, record: Record, place: Place) -> tuple[Mount, ...]:
        """Make what is the task's own, and give it to its user; return what is to be mounted."""
        for index, volume, _ in scratch_spaces(record.template, place):
            if not volume.is_mounted:
                try:
                    make_within(place.scratch, volume.at)
                except OSError as error:
                    reason = (error.strerror or str(error)).lower()
                    raise Invalid(f"volumes[{index}]: {volume.at} cannot be made: {reason}") from error
        found = resolve_volumes(record.template, self._allowed, place.volumes)
        is_process = record.template.driver is Driver.PROCESS
        points = mounts.make_points(found, place.scratch) if is_process else found
        owner = users.owner(record.template)
        if owner is not None:
            _give_directories(owner, record, place)
        elif not is_process:
            for _, _, path in scratch_spaces(record.template, place):
                # Who it runs as, its image says; on the host the task's directory is closed to others.
                os.chmod(path, 0o1777)  # noqa: S103, PTH101
        return points

    def dress(self, launch: Launch, place: Place, found: tuple[Mount, ...]) -> Launch:
        """See `Supplier`."""
        if not found:
            return launch
        if launch.container is not None:
            bound = (box.Mount(host=one.source, at=one.at, read_only=one.is_read_only) for one in found)
            return replace(launch, container=replace(launch.container, mounts=(*launch.container.mounts, *bound)))
        assert self._tools is not None, "otherwise nothing is provided"
        arguments = mounts.wrap(launch.arguments, found, self._tools, directory=launch.directory, told=launch.shim_file)
        return replace(launch, arguments=arguments, directory=place.path)

    def enter(self, program: Program, record: Record, pid: int | None) -> Program:
        """See `Supplier`."""
        template = record.template
        if template.driver is not Driver.PROCESS or not any(volume.is_mounted for volume in template.volumes):
            return program
        if self._tools is None or pid is None:
            raise Invalid("it cannot be run where the task finds its volumes")
        arguments = mounts.enter(program.arguments, pid, self._tools, directory=program.directory)
        return replace(program, arguments=arguments, directory="/")

    async def watch(self, record: Record, place: Place) -> str:
        """See `Supplier`."""
        loop, spaces = asyncio.get_running_loop(), scratch_spaces(record.template, place)
        while spaces:
            async with self._measures:
                began = loop.time()
                for _, volume, path in spaces:
                    assert volume.scratch is not None, "it is scratch space"
                    size = await self._measure(path, place)
                    if size > volume.scratch:
                        most, has = about_size(volume.scratch), about_size(size, is_least=True)
                        return f"scratch {volume.at} holds {has}, more than {most}"
            await asyncio.sleep(max(MEASURE_S, (loop.time() - began) * _MEASURE_SHARE))
        await loop.create_future()
        raise AssertionError("nothing ends that")

    async def _measure(self, path: str, place: Place) -> int:
        """Return how many bytes a directory takes up, or 0 if that cannot be found out now."""
        try:
            told = await self._run(("du", "-s", "-x", "-k", "--", path), place, _MEASURE_WITHIN)
        except OSError as error:
            # Such as too many processes. It is measured again soon.
            _log.warning("scratch_not_measured", path=path, reason=str(error))
            return 0
        size = told.last_line.split()[0] if told.last_line else ""
        if not size.isdecimal():
            # A file may go while it is looked at; but then there is a sum all the same.
            _log.warning("scratch_not_measured", path=path, code=told.code, reason=told.last_line)
            return 0
        return int(size) << 10

    async def _bring(
        self, artifact: Artifact, index: int, record: Record, place: Place, tell: Callable[[str], None]
    ) -> None:
        """Fetch an artifact and put it where the task is to find it."""
        name = name_of(artifact)

        async def fetch(path: str) -> None:
            telling.text = f"fetching {name}"
            await self._store.downloader.fetch(artifact, path, progress)

        def progress(count: int, size: int | None) -> None:
            telling.text = told(name, count, size)

        telling = _Telling(tell, f"waits for {name}, which is being fetched for another task")
        try:
            async with self._store.cache.hold(artifact.sha256, artifact.url, fetch) as path:
                telling.text = f"{'unpacking' if artifact.mode is ArtifactMode.UNPACK else 'copying'} {name}"
                reason = await self._put(artifact, path, index, record, place)
                if reason:
                    # Should it have been damaged since it was kept, it is fetched again the next time.
                    await self._store.cache.drop(artifact.sha256)
        except (Invalid, Unavailable) as error:
            raise type(error)(f"artifact {name}: {error}") from error
        finally:
            telling.close()
        if reason:
            raise Unavailable(f"artifact {name}: {reason}")

    async def _put(self, artifact: Artifact, path: str, index: int, record: Record, place: Place) -> str:
        """Put a fetched file where the task is to find it; return why it could not be, or nothing."""
        target = place.arriving(index)
        await asyncio.to_thread(_remove, target)
        bytes_max = str(self._store.bytes_max * UNPACKED_TIMES)
        script = (sys.executable, "-I", "-S", _UNPACK, path, artifact.sha256, target, str(artifact.mode), bytes_max)
        try:
            async with self._unpacks:
                done = await self._run(script, place, _UNPACK_WITHIN)
            if done.code != 0:
                ended = "it took too long" if done.code is None else f"what unpacks it ended with {done.code}"
                return done.last_line or ended
            owner = users.owner(record.template)
            if owner is not None:
                # While it is where nothing of the task can reach it.
                await asyncio.to_thread(users.give, owner, target)
            await asyncio.to_thread(_move, target, place.scratch, artifact.at)
        finally:
            await asyncio.to_thread(_remove, target)
        return ""

    async def _run(self, arguments: tuple[str, ...], place: Place, within: timedelta) -> Outcome:
        # It bears the mark, so that the next daemon finds it should this one be killed.
        variables = {"PATH": os.environ.get("PATH") or os.defpath, "LC_ALL": "C.UTF-8", MARK: place.path}
        program = arguments[0] if "/" in arguments[0] else shutil.which(arguments[0]) or arguments[0]
        return await self._programs.run(
            Program(arguments=(program, *arguments[1:]), environment=variables, directory="/"), within
        )


class _Telling:
    """Tells what is being done, once that takes a while."""

    def __init__(self, tell: Callable[[str], None], text: str) -> None:
        self.text = text
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_later(_TELL_AFTER_S, self._say)

    def close(self) -> None:
        self._next.cancel()

    def _say(self) -> None:
        self._tell(self.text)
        self._next = self._loop.call_later(_TELL_EVERY_S, self._say)


def _give_directories(owner: tuple[int, int], record: Record, place: Place) -> None:
    """Give a task's user its scratch spaces, and what leads to them and to the rest that it is given."""
    volumes = [volume for volume in record.template.volumes if not volume.at.startswith("/")]
    ways = [volume.at if volume.scratch is not None else _above(volume.at) for volume in volumes]
    if not record.has_artifacts:
        ways += [_above(artifact.at) for artifact in record.template.artifacts]
    base = os.path.realpath(place.scratch)
    given = {f"{base}/{way}" for whole in ways if whole for way in accumulate(whole.split("/"), "{}/{}".format)}
    mounted = (path for _, volume, path in scratch_spaces(record.template, place) if volume.is_mounted)
    for path in (*sorted(given), *map(os.path.realpath, mounted)):
        users.give_directory(owner, path)


def _above(at: str) -> str:
    return at.rpartition("/")[0]


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114 paths are text here
            shutil.rmtree(path)
        else:
            os.unlink(path)  # noqa: PTH108


def _move(path: str, base: str, at: str) -> None:
    """Move what has arrived to its place; nothing of the task has run yet, so what is there is an earlier try's."""
    parents, _, name = at.rpartition("/")
    directory = make_within(base, parents) if parents else base
    _remove(f"{directory}/{name}")
    os.rename(path, f"{directory}/{name}")  # noqa: PTH104
