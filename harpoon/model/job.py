"""A job: what a user wants run, how much of it, and by which policies.

Every ``__post_init__`` checks what one noun can know of itself and raises ``ValueError`` with the fix in the
message; the codec adds the path. What needs several nouns is checked in `Spec`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from harpoon.model.name import check_name, check_port_name, check_variable
from harpoon.model.units import Cpu, Duration, Size
from harpoon.model.variables import BUILT_IN_VARIABLES, expand, port_variable

SCALE_MAX = 10_000
PORTS_MAX = 32
CHECKS_MAX = 16
ENV_MAX = 256
TEXT_MAX = 128 * 1024


class JobType(StrEnum):
    """What becomes of a job's tasks when they end."""

    SERVICE = "service"


class Driver(StrEnum):
    """What runs a task on an agent."""

    PROCESS = "process"


class OnFail(StrEnum):
    """What a check that keeps failing does to its task."""

    UNREADY = "unready"
    RESTART = "restart"


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

    #: Thousandths of a processor.
    cpu: Cpu = 0
    #: Bytes.
    memory: Size = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe:
    """GET ``path`` on the task's port; any status from 200 to 399 is a pass."""

    port: str
    path: str = "/"

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or any(c <= " " or c == "\x7f" for c in self.path):
            raise ValueError("path starts with '/' and holds no blanks or control characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How an agent finds out whether a task can serve."""

    http: HttpProbe
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
        if self.every < timedelta(milliseconds=10):
            raise ValueError("every is at least 10ms")
        if self.timeout <= timedelta(0):
            raise ValueError("timeout is more than 0")
        if not (1 <= self.ready_after <= 100 and 1 <= self.fail_after <= 100):
            raise ValueError("ready_after and fail_after are 1 to 100")


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
    backoff: Backoff = field(default_factory=Backoff)

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
    env: Mapping[str, str] = field(default_factory=dict)
    #: Name → port; 0 takes a free one of the agent's range. The task finds it in ``$PORT_<NAME>``.
    ports: Mapping[str, int] = field(default_factory=dict)
    #: Where the command starts; its scratch directory when absent.
    working_directory: str | None = None
    resources: Resources = field(default_factory=Resources)
    checks: tuple[Check, ...] = ()
    restart: Restart = field(default_factory=Restart)
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        _check_command(self)
        _check_ports(self)
        if len(self.env) > ENV_MAX:
            raise ValueError(f"env holds at most {ENV_MAX} variables")
        for name, value in self.env.items():
            check_variable(name)
            if "\x00" in value or len(value) > TEXT_MAX:
                raise ValueError(f"the value of {name} holds no NUL and at most {TEXT_MAX} characters")
        if self.working_directory is not None and (
            not self.working_directory.startswith("/") or "\x00" in self.working_directory
        ):
            raise ValueError("working_directory is an absolute path")
        if len(self.checks) > CHECKS_MAX:
            raise ValueError(f"checks holds at most {CHECKS_MAX}")
        for check in self.checks:
            if check.http.port not in self.ports:
                raise ValueError(f"a check asks port {check.http.port!r}, which ports does not name")


def _check_command(template: TaskTemplate) -> None:
    if not template.command or not template.command[0]:
        raise ValueError('command names a program, such as ["python3", "-m", "http.server"]')
    if sum(map(len, template.command)) > TEXT_MAX or any("\x00" in part for part in template.command):
        raise ValueError(f"command holds no NUL and at most {TEXT_MAX} characters in all")
    known = BUILT_IN_VARIABLES | template.env.keys() | {port_variable(port) for port in template.ports}
    for index, part in enumerate(template.command):
        try:
            expand(part, dict.fromkeys(known, ""))
        except ValueError as error:
            raise ValueError(f"command[{index}]: {error}") from error


def _check_ports(template: TaskTemplate) -> None:
    if len(template.ports) > PORTS_MAX:
        raise ValueError(f"ports holds at most {PORTS_MAX}")
    for name, port in template.ports.items():
        check_port_name(name)
        if not 0 <= port <= 65535:
            raise ValueError(f"port {name!r} is 0 (any free one) to 65535")
    fixed = [port for port in template.ports.values() if port]
    if len(fixed) != len(set(fixed)):
        raise ValueError("two ports have the same number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A predicate on one tag or fact of an agent (``name``, ``arch``, ``os`` are facts); exactly one test is set."""

    tag: str
    equals: str | None = None
    in_: tuple[str, ...] | None = None
    not_in: tuple[str, ...] | None = None
    exists: bool | None = None

    def __post_init__(self) -> None:
        tests = (self.equals, self.in_, self.not_in, self.exists)
        if sum(test is not None for test in tests) != 1:
            raise ValueError("a requirement sets exactly one of equals, in, not_in, exists")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRules:
    """Where a job's tasks may run."""

    require: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How far a migrate may deviate from ``scale`` while it is under way."""

    #: Tasks above ``scale`` at once.
    surge: int = 1
    #: Ready tasks below ``scale`` at once.
    unavailable: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.surge <= SCALE_MAX and 0 <= self.unavailable <= SCALE_MAX):
            raise ValueError(f"surge and unavailable are 0 to {SCALE_MAX}")
        if self.surge == 0 and self.unavailable == 0:
            raise ValueError("surge and unavailable are not both 0, or nothing could ever be replaced")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """All that a user declares about a job beside its name."""

    task: TaskTemplate
    type: JobType = JobType.SERVICE
    scale: int = 1
    placement: PlacementRules = field(default_factory=PlacementRules)
    update: Update = field(default_factory=Update)

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= SCALE_MAX:
            raise ValueError(f"scale is 0 to {SCALE_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What identifies a job, and tags to select it by."""

    name: str
    namespace: str = "default"
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_name("namespace", self.namespace)
        if len(self.tags) > 64 or any(len(k) > 63 or len(v) > 255 or not k for k, v in self.tags.items()):
            raise ValueError("tags holds at most 64, keys of 1 to 63 and values of at most 255 characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as accepted: the record in the registry. Its ``mod_revision`` there moves only when a user changes it."""

    namespace: str
    name: str
    spec: Spec
    #: Hash of ``spec.task``; made once, when accepted.
    generation: str
    #: Counts the user's mutations from 1; scaling makes a version too, on the same generation.
    version: int
    created_ms: int
    updated_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Unscheduled, but tasks are still being stopped.
    is_terminating: bool = False
    #: Schema of this record.
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One past or present form of a job, kept so that its tasks' template can be found and shown."""

    namespace: str
    name: str
    version: int
    generation: str
    spec: Spec
    at_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    v: int = 1
