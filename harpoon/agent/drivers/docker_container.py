"""One launch of a task in a container, as its life sees it; and what the engine's words about it mean."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from harpoon.agent.drivers.docker_file import Files, Known, made, over, running
from harpoon.agent.drivers.docker_logs import Keeper
from harpoon.agent.drivers.limits import told
from harpoon.agent.drivers.programs import Runs
from harpoon.agent.drivers.shimfile import Exit
from harpoon.core.restart import describe_exit, describe_memory_kill
from harpoon.model.task import Limit

REMOVED: Final = Exit(code=None, detail="ended, and its exit code is not known, because its container was removed")
UNFINISHED: Final = Exit(code=None, detail="was not started: the Docker engine stopped answering just before")
VOID: Final = Exit(code=None, detail="was not started: its agent ended just before", is_void=True)
UNWANTED: Final = Exit(code=None, detail="had not been started yet")


class Container:
    """One launch. It tells of a change by calling what it was given; then its attributes are to be read."""

    def __init__(self, path: str, known: Known, files: Files, changed: Callable[[], None]) -> None:
        self.path = path
        self.known = known
        self.changed = changed
        #: Why it does not run yet, or what is not known of it now.
        self.note = ""
        #: How it ended, and all that it printed is kept; None: not yet.
        self.exit: Exit | None = None
        #: Runs a program beside it; None: it cannot.
        self.beside: Runs | None = None
        #: Whether it is being started by this daemon, and nobody else is to judge it.
        self.is_starting = False
        #: Whether an earlier daemon began it.
        self.is_found = False
        #: Whether somebody is asking the engine about it.
        self.is_looked_at = False
        #: What it was to be told before there was anything to tell.
        self.unsent: int | None = None
        #: Whether the engine is just being told to signal it.
        self.is_signalled = False
        #: Whether something has happened since the engine was asked.
        self.is_stale = False
        #: Set once the engine has said that it ended.
        self.is_ending = asyncio.Event()
        #: Whether the engine was lost while it ran.
        self.was_lost = False
        self.keeper = Keeper(str(Path(path).parent), Path(path).suffix[1:])
        #: Gives up what has not come to the point where a container may be made; None: it has.
        self.give_up: Callable[[], object] | None = None
        #: Sends a signal, in time.
        self.send: Callable[[int], None] = lambda _: None
        self._files = files

    @property
    def task(self) -> str:
        """The task's id, which names the launch file's directory."""
        return Path(self.path).parent.name

    @property
    def pid(self) -> int | None:
        """The host's number of the container's first process, once it runs."""
        return self.known.pid

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Which of its limits are enforced: all of them, by the engine."""
        return told(self.known.resources, {})

    @property
    def not_begun(self) -> Exit:
        """How one ends that the engine has not started."""
        return VOID if self.is_found else UNFINISHED

    @property
    def is_unwanted(self) -> bool:
        """Whether it is to end before it has begun."""
        return self.unsent is not None

    @property
    def began_ms(self) -> int:
        """When it was started, UTC milliseconds.

        Raises:
            OSError: That is not known.
        """
        if self.known.began_ms is None:
            raise OSError("when its container was started is not known yet")
        return self.known.began_ms

    def signal(self, number: int) -> None:
        """Signal the container's first process, unless it has ended; in time, if the engine answers."""
        if self.exit is not None:
            return
        if self.give_up is not None:
            self.unsent = number
            give_up, self.give_up = self.give_up, None
            give_up()
        elif self.is_starting or self.known.id is None:
            self.unsent = number
        else:
            self.send(number)

    def kill(self) -> None:
        """Kill the container."""
        self.signal(signal.SIGKILL)

    def say(self, note: str) -> None:
        """Tell why it does not run yet, or what is not known."""
        if note != self.note:
            self.note = note
            self.changed()

    def has_made(self, container: str) -> None:
        """Take note of what the engine calls it."""
        self.known = replace(self.known, id=container)
        self._files.note(self.known, made(container))

    def runs(self, pid: int, began_ms: int) -> None:
        """Take note that it runs."""
        self.note = ""
        if self.known.pid != pid:
            self.known = replace(self.known, pid=pid, began_ms=began_ms)
            self._files.note(self.known, running(pid, began_ms))
        self.changed()

    def ends(self, ended: Exit) -> None:
        """Take note that it has ended."""
        if self.exit is None:
            self.known = replace(self.known, exit=ended)
            self._files.note(self.known, over(ended))
            self.exit = ended
            self.note = ""
            self.changed()


def exit_of(state: Mapping[str, Any], memory: int) -> Exit | None:
    """Return how a container ended, by what the engine says of its state; None: it has not.

    Args:
        state: The engine's words.
        memory: How much it could have, in bytes; 0: no limit.
    """
    if state.get("Status") not in ("exited", "dead"):
        return None
    code = int(state.get("ExitCode", 0))
    if code == 128 + signal.SIGKILL and state.get("OOMKilled"):
        return _for_memory(memory, -signal.SIGKILL)
    # The engine does not tell a signal from a program's own number beyond 128.
    code = 128 - code if 128 < code < 128 + signal.NSIG else code
    if code and state.get("OOMKilled"):
        return _for_memory(memory, code)
    return Exit(code=code, detail=describe_exit(code))


def _for_memory(memory: int, code: int) -> Exit:
    return Exit(code=code, detail=describe_memory_kill(memory or None, code), is_for_memory=True)


def began_of(state: Mapping[str, Any]) -> int:
    """Return when a container was started, UTC milliseconds; 0: the engine does not say."""
    try:
        text = str(state.get("StartedAt", ""))
        return int(datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return 0
