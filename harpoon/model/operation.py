"""An operation: a node of a workflow's graph, what it does, its clocks, its retries, and the edges out of it.

A noun checks what it can know of itself. Whether the operations that it names exist, and everything else about the
graph, `core.flaws` finds out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Final, Literal, Protocol

from harpoon.model.call import Call
from harpoon.model.foreach import Foreach
from harpoon.model.http import Http
from harpoon.model.label import OF_THE_ENGINE, Member, check_word, read_member
from harpoon.model.lifecycle import Backoff
from harpoon.model.orders import JobOrder, TaskOrder
from harpoon.model.targets import TARGETS_MAX, Percent, Targets, check_each_once
from harpoon.model.units import Duration, Size, format_duration

#: Any value that JSON has.
Json = Any

VISITS_MAX: Final = 1000
ATTEMPTS_MAX: Final = 100
LABELS_MAX: Final = 100
CHOICES_MAX: Final = 100
CONCURRENCY_MAX: Final = 10_000
#: Characters of an expression.
EXPRESSION_MAX: Final = 4096
OUTPUT_MAX: Final = 64 << 10
OUTPUT_LARGEST: Final = 1 << 20

TIMEOUT_DEFAULT: Final = timedelta(minutes=5)
WAIT_DEFAULT: Final = timedelta(hours=24)
QUEUE_TIMEOUT_DEFAULT: Final = timedelta(hours=1)
HEARTBEAT_DEFAULT: Final = timedelta(seconds=30)
#: What a wait for a fixed time is given beyond that time, so that it ends by itself.
WAIT_MARGIN: Final = timedelta(minutes=1)
CLOCK_MIN: Final = timedelta(milliseconds=10)
CLOCK_MAX: Final = timedelta(days=90)
HEARTBEAT_MIN: Final = timedelta(milliseconds=100)
HEARTBEAT_MAX: Final = timedelta(hours=1)

#: Of handlers and signals.
HANDLER_PATTERN: Final = r"^[a-z][a-z0-9_.-]{0,126}$"
#: Begins the handlers of what the engine carries out itself; no worker's does.
OF_ENGINE: Final = ":"
_HANDLER: Final = re.compile(HANDLER_PATTERN, re.ASCII)
#: Under which a run keeps what callbacks bring. No user's signal is called so.
CALLBACK: Final = ":callback"
_MILLISECOND: Final = timedelta(milliseconds=1)


def check_handler(what: str, name: str) -> str:
    """Return ``name`` if a handler or a signal may be called so.

    Raises:
        ValueError: It may not.
    """
    if not _HANDLER.fullmatch(name):
        raise ValueError(
            f"{what} is 1 to 127 of a-z, 0-9, '_', '-' and '.', starting with a letter, such as payments.refund; "
            f"got {name[:80]!r}"
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How often something is tried that keeps ending in one way."""

    #: The first one included; 1 to 100.
    attempts: int

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= ATTEMPTS_MAX:
            raise ValueError(f"attempts is 1 to {ATTEMPTS_MAX}, the first one included")


_ONE: Final = Attempts(attempts=1)
_FIVE: Final = Attempts(attempts=5)
_BACKOFF: Final = Backoff()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often one visit is tried, by how an attempt ended, and how long is waited between."""

    #: The handler said that it failed.
    fail: Attempts = _ONE
    #: It took longer than ``timeout``, or waited longer than ``queue_timeout`` for a worker.
    timeout: Attempts = _ONE
    #: Its worker fell silent.
    lost: Attempts = _FIVE
    backoff: Backoff = _BACKOFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What is waited for; exactly one of ``signal``, ``until``, ``for`` and ``callback`` is set."""

    #: The name of a signal; it brings a label and a payload.
    signal: str | None = None
    #: An expression, ``${…}``, whose value finds a signal that does not name the run. Of ``signal``.
    key: str | None = None
    #: An expression, ``${…}``, whose value is a moment: UTC milliseconds, a timestamp, or such a time as text.
    until: str | None = None
    for_: Duration | None = None
    #: True: somebody outside calls the URL that the visit has, ``${run.callbacks.<operation>}``, once.
    callback: Literal[True] | None = None

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.signal, self.until, self.for_, self.callback)) != 1:
            raise ValueError("a wait sets exactly one of signal, until, for, callback")
        if self.signal is not None:
            check_handler("signal", self.signal)
        if self.key is not None and self.signal is None:
            raise ValueError("key is for signal; leave it out")
        _check_expression("key", self.key)
        _check_expression("until", self.until)
        if self.for_ is not None and not CLOCK_MIN <= self.for_ <= CLOCK_MAX:
            raise ValueError(f"for is {format_duration(CLOCK_MIN)} to {format_duration(CLOCK_MAX)}")

    @property
    def awaited(self) -> str | None:
        """The name of the signals that it consumes; None: it waits for a moment."""
        return CALLBACK if self.callback else self.signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way of a ``choose``: ``{when: …, label: …}``, or, last, ``{else: …}``."""

    #: An expression that is true or false, such as ``${inputs.n > 2}``. The first that is true picks its label.
    when: str | None = None
    label: str | None = None
    #: The label where no other is picked.
    else_: str | None = None

    def __post_init__(self) -> None:
        is_otherwise = self.else_ is not None
        if is_otherwise is not (self.when is None and self.label is None) or (self.when is None) != (
            self.label is None
        ):
            raise ValueError('a choice is {when: "${…}", label: name}, or {else: name}')
        _check_expression("when", self.when)
        check_word("a label", self.given)
        if self.given in OF_THE_ENGINE:
            raise ValueError(f"{self.given} is a label that the engine alone gives; call it otherwise")

    @property
    def given(self) -> str:
        """The label that it gives."""
        return self.label or self.else_ or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many attempts run at once, over all runs, of those that have one key."""

    #: An expression, such as ``${inputs.customer}``.
    key: str
    limit: int

    def __post_init__(self) -> None:
        _check_expression("key", self.key)
        if not 1 <= self.limit <= CONCURRENCY_MAX:
            raise ValueError(f"limit is 1 to {CONCURRENCY_MAX}")


class Carried(Protocol):
    """What an operation has the engine itself carry out, by a connector."""

    def template(self) -> Json:
        """Return what expressions may stand in, which is evaluated when the operation opens."""


#: Shared, as all defaults are.
RETRY_DEFAULT: Final = Retry()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A node of the graph; exactly one of ``worker``, ``wait``, ``choose`` and `CARRIED` says what it does."""

    #: The name of a handler that workers offer, such as ``payments.refund``.
    worker: str | None = None
    wait: Wait | None = None
    #: Labels, each with its condition; the first that holds closes the visit.
    choose: tuple[Choice, ...] | None = None
    #: A call that the server makes.
    http: Http | None = None
    call: Call | None = None
    #: A task that an agent runs to its end.
    task: TaskOrder | None = None
    #: What is done with a job.
    job: JobOrder | None = None
    #: It is done for each of these: all else but ``visits``, ``needs``, ``next`` and ``end`` is said of one item.
    foreach: Foreach | None = None
    #: What the handler is given: any value, with ``${…}`` in its texts.
    input: Json = None
    #: How long one attempt may take. Left out: 5m; of a wait or a call, 24h.
    timeout: Duration | None = None
    #: How long an attempt may wait for a worker.
    queue_timeout: Duration = QUEUE_TIMEOUT_DEFAULT
    #: How long a worker may be silent before its attempt is lost.
    heartbeat: Duration = HEARTBEAT_DEFAULT
    retry: Retry = RETRY_DEFAULT
    #: How often it may fire in one run; one firing more closes as ``exhausted``.
    visits: int = 1
    #: It fires when each of these has been closed so: ``<operation>``, which means done, or ``<operation>.<label>``.
    needs: tuple[str, ...] = ()
    #: Label → the operations that it opens.
    next: Mapping[str, Targets] = field(default_factory=dict)
    #: Labels that it may be closed with beside ``done``, ``fail`` and those in ``next``.
    labels: tuple[str, ...] = ()
    #: A run in which it was closed ends as failed, when nothing is open any more.
    end: Literal["failed"] | None = None
    #: Bytes that its output may have, as JSON.
    output_max: Size = OUTPUT_MAX
    concurrency: Concurrency | None = None
    #: The share of each of its clocks at which a warning is logged.
    warn: Percent | None = None

    def __post_init__(self) -> None:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"an operation sets exactly one of {', '.join(KINDS)}")
        if self.worker is not None:
            check_handler("worker", self.worker)
        self._check_meaning(kinds[0])
        self._check_clocks()
        self._check_choices()
        self._check_edges()
        if not 1 <= self.visits <= VISITS_MAX:
            raise ValueError(f"visits is 1 to {VISITS_MAX}")
        if not 1 <= self.output_max <= OUTPUT_LARGEST:
            raise ValueError("output_max is 1 to 1Mi")

    def _check_meaning(self, kind: str) -> None:
        told = {one.name for one in fields(self) if one.name in _MEANS_NOTHING[kind]}
        told = {name for name in told if getattr(self, name) != _DEFAULTS[name]}
        if told:
            names = " and ".join(sorted(told))
            raise ValueError(f"{names} {'has' if len(told) == 1 else 'have'} no meaning with {kind}; leave out")
        if self.wait is not None and self.wait.for_ is not None and self.timeout is not None:
            raise ValueError("timeout has no meaning with wait.for, which ends by itself; leave it out")
        if self.wait is not None and self.wait.awaited is None and self.labels:
            raise ValueError("labels is for a wait for a signal or a callback, which brings one; leave it out")
        if self.foreach is not None and self.wait is not None and self.wait.callback:
            raise ValueError("foreach has no meaning with wait.callback; have it call a workflow that waits for one")

    def _check_clocks(self) -> None:
        for name, span in (("timeout", self.timeout), ("queue_timeout", self.queue_timeout)):
            if span is not None and not CLOCK_MIN <= span <= CLOCK_MAX:
                raise ValueError(f"{name} is {format_duration(CLOCK_MIN)} to {format_duration(CLOCK_MAX)}")
        if not HEARTBEAT_MIN <= self.heartbeat <= HEARTBEAT_MAX:
            raise ValueError(f"heartbeat is {format_duration(HEARTBEAT_MIN)} to {format_duration(HEARTBEAT_MAX)}")

    def _check_choices(self) -> None:
        if self.choose is None:
            return
        if not 1 <= len(self.choose) <= CHOICES_MAX:
            raise ValueError(f"choose holds 1 to {CHOICES_MAX} choices")
        if any(choice.else_ is not None for choice in self.choose[:-1]):
            raise ValueError("else is the last of choose: what stands after it could never be picked")
        if self.labels:
            raise ValueError("the labels of a choose are those of its choices; leave labels out")

    def _check_edges(self) -> None:
        for label, targets in self.next.items():
            check_word("a label", label)
            for target in targets:
                check_word("an operation's name", target)
        if len(self.labels) > LABELS_MAX or len(self.next) > LABELS_MAX:
            raise ValueError(f"labels and next hold at most {LABELS_MAX} each")
        check_each_once("labels", self.labels)
        for label in self.labels:
            check_word("a label", label)
            if label in OF_THE_ENGINE:
                raise ValueError(f"labels: {label} is given by the engine alone; leave it out")
        if len(self.needs) > TARGETS_MAX:
            raise ValueError(f"needs holds at most {TARGETS_MAX}")
        check_each_once("needs", tuple(map(str, self.members())))

    def members(self) -> tuple[Member, ...]:
        """Return what it needs."""
        return tuple(map(read_member, self.needs))

    @property
    def does(self) -> str:
        """The field that says what it does."""
        return "worker" if self.worker is not None else next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def carried(self) -> Carried | None:
        """What a connector carries out; None: it is not for one."""
        if self.worker is not None:
            return None
        return next((told for kind in CARRIED if (told := getattr(self, kind)) is not None), None)

    @property
    def handler(self) -> str | None:
        """Who can claim its attempts: the handler of workers, or ``:`` and its kind for the engine; None: nobody."""
        return self.worker if self.carried is None else f"{OF_ENGINE}{self.does}"

    @property
    def timeout_ms(self) -> int:
        """How long one attempt may take, by what it is; of a choice, 0."""
        if self.choose is not None:
            return 0
        if self.timeout is not None:
            return self.timeout // _MILLISECOND
        if self.call is not None:
            return WAIT_DEFAULT // _MILLISECOND
        if self.wait is None:
            return TIMEOUT_DEFAULT // _MILLISECOND
        return max(WAIT_DEFAULT, (self.wait.for_ or timedelta(0)) + WAIT_MARGIN) // _MILLISECOND

    @property
    def queue_timeout_ms(self) -> int:
        """How long an attempt may wait for a worker."""
        return self.queue_timeout // _MILLISECOND

    @property
    def heartbeat_ms(self) -> int:
        """How long its worker may be silent."""
        return self.heartbeat // _MILLISECOND


#: Of each kind of operation: fields that could only be ignored.
_OF_WORKERS: Final = frozenset({"input", "queue_timeout", "heartbeat", "retry", "output_max", "concurrency"})
_NOT_CARRIED: Final = frozenset({"input", "labels"})
#: To add one that a connector carries out takes a line here and the field that it names, which is a `Carried`.
_CARRIED: Final[Mapping[str, frozenset[str]]] = {
    "http": _NOT_CARRIED,
    "call": _NOT_CARRIED,
    "task": _NOT_CARRIED,
    "job": _NOT_CARRIED,
}
_MEANS_NOTHING: Final[Mapping[str, frozenset[str]]] = {
    "worker": frozenset(),
    "wait": _OF_WORKERS - {"output_max"},
    "choose": _OF_WORKERS | {"timeout", "warn", "foreach"},
    **_CARRIED,
}
#: What an operation may do, by the field that says it.
KINDS: Final = tuple(_MEANS_NOTHING)
#: Kinds that the engine carries out itself.
CARRIED: Final = tuple(_CARRIED)
_DEFAULTS: Final = {one.name: one.default for one in fields(Operation)}


def _check_expression(what: str, text: str | None) -> None:
    if text is not None and not 0 < len(text) <= EXPRESSION_MAX:
        raise ValueError(f"{what} is an expression of 1 to {EXPRESSION_MAX} characters")
