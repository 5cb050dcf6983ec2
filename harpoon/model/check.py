"""How an agent finds out whether a task can serve: its checks, and what they probe."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from harpoon.model.units import Duration


class OnFail(StrEnum):
    """What a check that keeps failing does to its task."""

    UNREADY = "unready"
    RESTART = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe:
    """GET ``path`` on the task's port; any status from 200 to 399 is a pass."""

    port: str
    path: str = "/"

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or any(c <= " " or c == "\x7f" for c in self.path):
            raise ValueError("path starts with '/' and holds no blanks or control characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpProbe:
    """Connect to the task's port; that the connection is accepted is a pass."""

    port: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecProbe:
    """Run a program beside the task, with its environment and in its working directory; exit code 0 is a pass."""

    #: Program and arguments; no shell. ``$NAME`` stands for the task's environment, ``$$`` for a dollar.
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How an agent finds out whether a task can serve; exactly one of ``http``, ``tcp`` and ``exec`` is set."""

    http: HttpProbe | None = None
    tcp: TcpProbe | None = None
    exec_: ExecProbe | None = None
    every: Duration = timedelta(seconds=2)
    timeout: Duration = timedelta(seconds=1)
    #: Passes in a row that make it ready.
    ready_after: int = 1
    #: Failures in a row that do ``on_fail``.
    fail_after: int = 3
    #: Failures before the first pass do not count for so long.
    start_within: Duration = timedelta(minutes=1)
    on_fail: OnFail = OnFail.UNREADY

    def __post_init__(self) -> None:
        if sum(probe is not None for probe in (self.http, self.tcp, self.exec_)) != 1:
            raise ValueError("a check sets exactly one of http, tcp, exec")
        if self.every < timedelta(milliseconds=10):
            raise ValueError("every is at least 10ms")
        if self.timeout <= timedelta(0):
            raise ValueError("timeout is more than 0")
        if not (1 <= self.ready_after <= 100 and 1 <= self.fail_after <= 100):
            raise ValueError("ready_after and fail_after are 1 to 100")

    @property
    def port(self) -> str | None:
        """The name of the port it asks; None: it asks none."""
        probe = self.http or self.tcp
        return None if probe is None else probe.port
