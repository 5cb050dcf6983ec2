"""What runs tasks: the port that a task's life goes through. On processes of this host: `drivers.process`.

In containers of its engine: `drivers.docker`.
"""

from collections.abc import Callable
from typing import Protocol

from harpoon.agent.drivers.handle import Launch
from harpoon.agent.drivers.programs import Runs
from harpoon.agent.drivers.shimfile import Exit
from harpoon.model.task import Limit


class Handle(Protocol):
    """One launch of a task. It tells of a change by calling what it was given; then its attributes are to be read."""

    @property
    def pid(self) -> int | None:
        """The number of the task's own first process; None until it is known."""

    @property
    def exit(self) -> Exit | None:
        """How it ended; None while it runs."""

    @property
    def note(self) -> str:
        """Why it does not run yet, or what is not known of it; nothing, as a rule."""

    @property
    def beside(self) -> Runs | None:
        """Runs a program beside the task where the agent itself cannot; None: it can."""

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Which of its limits are enforced; known once it is launched."""

    @property
    def began_ms(self) -> int:
        """When it was launched, UTC milliseconds.

        Raises:
            OSError: The host does not let it be found out.
        """

    def signal(self, number: int) -> None:
        """Signal the task, with all that belongs to it, unless it has ended."""

    def kill(self) -> None:
        """Kill the task. What else there is of it goes with `Driver.sweep`."""


class Driver(Protocol):
    """Starts tasks, and finds those that an earlier daemon started. A simulation hands in its own."""

    def start(self, launch: Launch, changed: Callable[[], None]) -> Handle:
        """Begin a launch. When this returns, it has begun, and `find` finds it; which process it is comes later.

        Raises:
            OSError: It could not be begun; nothing runs.
            Invalid: Likewise, and trying again would not help.
        """

    def find(self, file: str, changed: Callable[[], None]) -> Handle | None:
        """Take up a launch that an earlier daemon began in this boot, be it over or not, by its shim file.

        Returns:
            None when the launch never began.

        Raises:
            OSError: What became of it cannot be found out now. It must not be taken for dead.
        """

    async def sweep(self, handle: Handle, *, is_thorough: bool) -> None:
        """Kill what an ended launch left behind; for what does not die of it, it is not waited for ever.

        Args:
            handle: The launch; this driver's.
            is_thorough: Wait for all of it. Otherwise only for what could keep the task from being started again.
        """

    def clear_strays(self) -> None:
        """Kill what an earlier daemon of this agent started and nobody has found. To be called once, after all were."""


class Containers(Driver, Protocol):
    """A driver that has an engine do it."""

    @property
    def version(self) -> str | None:
        """Return the engine's version; None: it has not answered yet."""

    def when_met(self, told: Callable[[], None]) -> None:
        """Have it told when the engine turns out to be of another version."""

    async def tried(self) -> None:
        """Wait until it is known whether the engine answers."""

    async def run(self) -> None:
        """Do all that is to be done with the engine until cancelled. What runs in it runs on."""
