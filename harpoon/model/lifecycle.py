"""How a task is started again when it ends, and how it is ended."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from harpoon.model.units import Duration


class RestartPolicy(StrEnum):
    """When the agent starts a task again that has ended by itself."""

    ALWAYS = "always"
    ON_FAILURE = "on_failure"
    NEVER = "never"


class StopSignal(StrEnum):
    """The signal that asks a task to end."""

    TERM = "TERM"
    INT = "INT"
    QUIT = "QUIT"
    HUP = "HUP"
    USR1 = "USR1"
    USR2 = "USR2"
    KILL = "KILL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before the n-th try: ``initial * factor**(n-1)``, at most ``max``, less or more ``jitter``."""

    initial: Duration = timedelta(seconds=1)
    factor: float = 2.0
    max: Duration = timedelta(minutes=1)
    #: Share of the span by which it may be off, either way.
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.factor <= 100:
            raise ValueError("factor is 1 to 100")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter is 0 to 1")
        if self.initial > self.max:
            raise ValueError("initial is at most max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """How often the agent itself starts a task again before it calls it failed."""

    policy: RestartPolicy = RestartPolicy.ALWAYS
    attempts: int = 5
    within: Duration = timedelta(minutes=10)
    backoff: Backoff = Backoff()

    def __post_init__(self) -> None:
        if not 0 <= self.attempts <= 1000:
            raise ValueError("attempts is 0 to 1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """How a task is ended: out of the ready set, ``drain``, ``signal``, ``grace``, KILL to its whole process group."""

    drain: Duration = timedelta(seconds=1)
    signal: StopSignal = StopSignal.TERM
    grace: Duration = timedelta(seconds=10)


#: What a template has that says nothing of it; known by its identity, for what it means depends on the job's type.
DEFAULT_RESTART = Restart()
DEFAULT_STOP = Stop()
