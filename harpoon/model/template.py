"""What one task of a job is: its command, its environment, its checks, how it is restarted and stopped.

Every ``__post_init__`` checks what one noun can know of itself and raises ``ValueError`` with the fix in the
message; the codec adds the path.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from harpoon.model.name import check_name, check_port_name, check_variable
from harpoon.model.units import Cpu, Duration, Size
from harpoon.model.variables import BUILT_IN_VARIABLES, expand, port_variable

PORTS_MAX = 32
CHECKS_MAX = 16
ENV_MAX = 256
TEXT_MAX = 128 * 1024


class Driver(StrEnum):
    """What runs a task on an agent."""

    PROCESS = "process"


class OnFail(StrEnum):
    """What a check that keeps failing does to its task."""

    UNREADY = "unready"
    RESTART = "restart"


class OnChange(StrEnum):
    """What becomes of a running task when a value it was started with has changed."""

    #: It is replaced, as in a migrate: the new one is ready before the old one goes.
    RESTART = "restart"
    #: It keeps the value it has; the next task of its slot gets the new one.
    KEEP = "keep"


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
class Resources:
    """What one task reserves on its agent; reserved is not enforced."""

    #: Processors, such as ``0.5`` or ``500m``.
    cpu: Cpu = 0
    #: Bytes, such as ``64Mi``.
    memory: Size = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The ready endpoints of another job as a variable: ``address:port``, sorted, with commas between; or empty."""

    #: ``<job>/<port name>``, of a job in the same namespace.
    endpoints: str
    #: What happens to running tasks when they change.
    on_change: OnChange = OnChange.RESTART

    def __post_init__(self) -> None:
        job, mark, port = self.endpoints.partition("/")
        if not mark:
            raise ValueError("endpoints is <job>/<port name>, such as api/http")
        check_name("the job in endpoints", job)
        check_port_name(port)

    @property
    def job(self) -> str:
        """The name of the job."""
        return self.endpoints.partition("/")[0]

    @property
    def port(self) -> str:
        """The name of its port."""
        return self.endpoints.partition("/")[2]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTemplate:
    """What one task is. Its canonical hash is the job's generation: another template, another generation."""

    #: Program and arguments; no shell. ``$NAME`` stands for the task's environment, ``$$`` for a dollar.
    command: tuple[str, ...]
    driver: Driver = Driver.PROCESS
    #: Variable → text, or the endpoints of another job.
    env: Mapping[str, str | Endpoints] = field(default_factory=dict)
    #: Name → port; 0 takes a free one of the agent's range. The task finds it in ``$PORT_<NAME>``.
    ports: Mapping[str, int] = field(default_factory=dict)
    #: Where the command starts; its scratch directory when absent.
    working_directory: str | None = None
    resources: Resources = Resources()
    checks: tuple[Check, ...] = ()
    restart: Restart = Restart()
    stop: Stop = Stop()

    def __post_init__(self) -> None:
        _check_ports(self.ports)
        _check_env(self.env)
        _check_command("command", self.command, self)
        if self.working_directory is not None and (
            not self.working_directory.startswith("/") or "\x00" in self.working_directory
        ):
            raise ValueError("working_directory is an absolute path")
        if len(self.checks) > CHECKS_MAX:
            raise ValueError(f"checks holds at most {CHECKS_MAX}")
        for index, check in enumerate(self.checks):
            if check.port is not None and check.port not in self.ports:
                raise ValueError(f"a check asks port {check.port!r}, which ports does not name")
            if check.exec_ is not None:
                _check_command(f"checks[{index}].exec.command", check.exec_.command, self)

    def endpoints(self) -> Mapping[str, Endpoints]:
        """Return the variables that are endpoints of other jobs."""
        return {name: value for name, value in self.env.items() if isinstance(value, Endpoints)} if self.env else {}

    def bound(self, bindings: Mapping[str, str] | None) -> "TaskTemplate":
        """Return the template with text for the endpoints of other jobs; those without a binding are empty."""
        if not self.endpoints():
            return self
        values = bindings or {}
        env = {name: value if isinstance(value, str) else values.get(name, "") for name, value in self.env.items()}
        return replace(self, env=env)


def _check_command(what: str, command: tuple[str, ...], template: TaskTemplate) -> None:
    if not command or not command[0]:
        raise ValueError(f'{what} names a program, such as ["python3", "-m", "http.server"]')
    if sum(map(len, command)) > TEXT_MAX or any("\x00" in part for part in command):
        raise ValueError(f"{what} holds no NUL and at most {TEXT_MAX} characters in all")
    if not any("$" in part for part in command):
        return
    ports = {port_variable(port) for port in template.ports}
    variables = dict.fromkeys(BUILT_IN_VARIABLES | template.env.keys() | ports, "")
    for index, part in enumerate(command):
        try:
            expand(part, variables)
        except ValueError as error:
            raise ValueError(f"{what}[{index}]: {error}") from error


def _check_env(env: Mapping[str, str | Endpoints]) -> None:
    if len(env) > ENV_MAX:
        raise ValueError(f"env holds at most {ENV_MAX} variables")
    for name, value in env.items():
        check_variable(name)
        if isinstance(value, str) and ("\x00" in value or len(value) > TEXT_MAX):
            raise ValueError(f"the value of {name} holds no NUL and at most {TEXT_MAX} characters")


def _check_ports(ports: Mapping[str, int]) -> None:
    if len(ports) > PORTS_MAX:
        raise ValueError(f"ports holds at most {PORTS_MAX}")
    for name, port in ports.items():
        check_port_name(name)
        if not 0 <= port <= 65535:
            raise ValueError(f"port {name!r} is 0 (any free one) to 65535")
    fixed = [port for port in ports.values() if port]
    if len(fixed) != len(set(fixed)):
        raise ValueError("two ports have the same number")
