"""The machines of a simulation: processes that live on whatever becomes of the agent, and a disk.

A host knows nothing of agents but who listens now. What its processes do, their tasks' environment says (`Behaviour`),
and a source of randomness. Effects are told the moment they come to be: that a process of a task is there, and that it
is gone, with all of its group.
"""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

from tests.sim.disks import Disk

#: Between KILL and the end of what it is sent to.
KILL_S = 0.001


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What one process does; drawn anew for each, from variables of its task such as ``SIM_EXIT_AFTER: 1..20``.

    A value is a number, or two with ``..`` between them: any in that range.
    """

    #: ``SIM_START``: seconds until there is a process of the task, once it was asked for.
    start_s: float
    #: ``SIM_EXIT_AFTER``: seconds until it ends by itself; None: it does not. ``SIM_CRASHES`` is the chance that it
    #: does though, within a minute; ``SIM_FAILS`` that it does at once; both with 1.
    exit_s: float | None
    #: ``SIM_EXIT_CODE``; of several, as ``0|0|3``, any.
    code: int
    #: ``SIM_STOP``: seconds from the first signal that asks it to end until it does; ``ignore``: it does not.
    stop_s: float | None
    #: ``SIM_LEAVES``: seconds for which others of its group live on when it has ended, unless they are swept away.
    leaves_s: float


def draw(variables: Mapping[str, str], rng: Random) -> Behaviour:
    """Draw what a process with these variables does."""

    def number(name: str, default: str) -> float:
        low, _, high = variables.get(name, default).partition("..")
        return rng.uniform(float(low), float(high)) if high else float(low)

    exit_s = number("SIM_EXIT_AFTER", "0") if "SIM_EXIT_AFTER" in variables else None
    codes = variables.get("SIM_EXIT_CODE", "0").split("|")
    code = int(codes[0] if len(codes) == 1 else rng.choice(codes))
    if rng.random() < number("SIM_CRASHES", "0"):
        exit_s, code = min(rng.uniform(0, 60), 60 if exit_s is None else exit_s), 1
    if rng.random() < number("SIM_FAILS", "0"):
        exit_s, code = 0.0, 1
    return Behaviour(
        start_s=number("SIM_START", "0.002..0.02"),
        exit_s=exit_s,
        code=code,
        stop_s=None if variables.get("SIM_STOP") == "ignore" else number("SIM_STOP", "0.001..0.2"),
        leaves_s=number("SIM_LEAVES", "0"),
    )


@dataclass(eq=False, kw_only=True)
class Run:
    """One process of a task, with its group."""

    task: str
    #: Unique among all hosts.
    name: str
    behaviour: Behaviour
    ports: frozenset[int]
    began_ms: int
    pid: int
    is_up: bool = False
    is_asked_to_end: bool = False
    #: How it ended, once it has; negative: by that signal.
    code: int | None = None
    #: Nothing of its group is left.
    is_gone: bool = False


class Listener(Protocol):
    """The driver of the daemon that lives now."""

    def hear(self, run: Run) -> None:
        """Take note that a process has changed."""


@dataclass(kw_only=True)
class Ways:
    """How a host reaches the world."""

    #: Tells an effect: ``started`` or ``exited``, the task, and which process.
    tell: Callable[[str, str, str], None]
    #: The host's wall clock, in seconds.
    now: Callable[[], float]
    #: Has something done after some seconds, whatever becomes of the daemon.
    later: Callable[[float, Callable[[], None]], object]
    #: Has something done by the daemon that lives now, once it gets a turn; dropped when there is none.
    notify: Callable[[Callable[[], None]], object]


class Host:
    """A machine. Its agent's state directory outlives all but `wipe`."""

    def __init__(self, name: str, directory: Path, *, rng: Random, ways: Ways) -> None:
        self.name = name
        self.rng = rng
        self.ways = ways
        self.disk = Disk(directory, ways.now)
        self.boots = 1
        self.listener: Listener | None = None
        #: Tasks, or jobs as ``<namespace>.<job>.``, whose checks fail for now, by how their ids begin.
        self.unwell: tuple[str, ...] = ()
        #: The chance that a process cannot be started, as on a host that has too many.
        self.refuses = 0.0
        #: Shim file → the process of that launch, ended or not.
        self._runs: dict[str, Run] = {}
        self._count = 0

    @property
    def boot(self) -> str:
        """Tells this boot from another."""
        return f"{self.name}-boot-{self.boots}"

    @property
    def runs(self) -> list[Run]:
        """All processes that are there, or of which something is."""
        return [run for run in self._runs.values() if run.is_up and not run.is_gone]

    # What happens to the machine.

    def reboot(self, *, loses: bool = False) -> None:
        """End everything at once, the daemon too; ``loses``: with what of the disk was not made durable."""
        self.listener = None
        runs, self._runs = self._runs, {}
        for run in runs.values():
            run.code = -signal.SIGKILL if run.code is None else run.code
            self._go(run)
        self.boots += 1
        if loses:
            self.disk.lose(self.rng)

    def wipe(self) -> None:
        """Set the machine up anew: no process, no state, and so an agent of another uid."""
        self.reboot()
        self.disk.wipe()

    def kill(self, run: Run) -> None:
        """Kill a process, as its user might, or the kernel for want of memory."""
        self._end(run, -signal.SIGKILL)

    # What the driver asks of it.

    def start(self, file: str, task: str, variables: Mapping[str, str]) -> Run:
        """Begin to start a process."""
        self._count += 1
        run = self._runs[file] = Run(
            task=task,
            name=f"{self.boot}-{self._count}",
            behaviour=draw(variables, self.rng),
            ports=frozenset(int(value) for name, value in variables.items() if name.startswith("PORT_")),
            began_ms=self._now_ms(),
            pid=1000 + self._count,
        )
        self.ways.later(run.behaviour.start_s, lambda: self._come_up(run))
        return run

    def run_of(self, file: str) -> Run | None:
        """Return the process of a launch, if it began in this boot."""
        return self._runs.get(file)

    def signal(self, run: Run, number: int) -> None:
        """Signal a process."""
        if number == signal.SIGKILL:
            self.ways.later(KILL_S, lambda: self._end(run, -number))
        elif number != signal.SIGCONT and not run.is_asked_to_end:
            run.is_asked_to_end = True
            if run.behaviour.stop_s is not None:
                self.ways.later(run.behaviour.stop_s, lambda: self._end(run, -number))

    def sweep(self, run: Run) -> None:
        """Kill what is left of an ended process's group."""
        self.ways.later(KILL_S, lambda: self._go(run))

    def why_taken(self, port: int) -> str | None:
        """Return why nobody could listen at a port, or None."""
        is_taken = any(port in run.ports for run in self.runs)
        return "another program uses it" if is_taken else None

    def _come_up(self, run: Run) -> None:
        if run.code is not None:
            return
        run.is_up, run.began_ms = True, self._now_ms()
        self.ways.tell("started", run.task, run.name)
        self._notify(run)
        if run.behaviour.exit_s is not None:
            self.ways.later(run.behaviour.exit_s, lambda: self._end(run, run.behaviour.code))

    def _end(self, run: Run, code: int) -> None:
        if run.code is not None:
            return
        run.code = code
        if run.is_up and run.behaviour.leaves_s:
            self.ways.later(run.behaviour.leaves_s, lambda: self._go(run))
        else:
            self._go(run)
        self._notify(run)

    def _go(self, run: Run) -> None:
        if run.is_gone:
            return
        run.is_gone = True
        if run.is_up:
            self.ways.tell("exited", run.task, run.name)

    def _now_ms(self) -> int:
        return int(self.ways.now() * 1000)

    def _notify(self, run: Run) -> None:
        listener = self.listener
        if listener is not None:
            # Who listens by then may be a later daemon, which has found out by itself.
            self.ways.notify(lambda: listener.hear(run) if listener is self.listener else None)
