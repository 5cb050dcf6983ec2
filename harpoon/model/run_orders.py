"""What users order of runs, and what became of it: starts, cancels and signals.

Repairs are :mod:`harpoon.model.run_repairs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harpoon.model.name import check_tags
from harpoon.model.run_shown import RunObject
from harpoon.model.units import Duration

#: Runs that one request may start.
STARTS_MAX = 1_000
REASON_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """A run to be started. The same start again, under the same id, is the same run."""

    #: The name of a workflow of the namespace.
    workflow: str
    #: Unique in the namespace, made by the client; absent: one is made, and a start that is repeated is another run.
    id: str | None = None
    #: Refused unless the workflow stands at this one.
    generation: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Complete-by of this run; the workflow's when absent, which is also the most that it may be.
    deadline: Duration | None = None

    def __post_init__(self) -> None:
        check_tags(self.tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarts:
    """Runs to be started, each for itself."""

    #: 1 to 1000.
    runs: tuple[RunStart, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.runs) <= STARTS_MAX:
            raise ValueError(f"runs holds 1 to {STARTS_MAX} starts; got {len(self.runs)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackTaken:
    """What came of a callback: the visit is closed so, now or once it is opened."""

    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """What became of one of several starts: a run, or a problem."""

    #: 201: it is started; 200: it was before, by the same start; anything else as of a problem.
    status: int
    run: RunObject | None = None
    #: A problem as of RFC 9457.
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsStarted:
    """What became of several starts, in their order."""

    results: tuple[RunStarted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancel:
    """Why a run is to be cancelled."""

    reason: str = ""

    def __post_init__(self) -> None:
        if len(self.reason) > REASON_MAX:
            raise ValueError(f"reason has at most {REASON_MAX} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalOrder:
    """A signal to a run."""

    #: Of two signals of one id, the second is not taken; absent: each is another one.
    id: str | None = None
    #: By which an operation that waits for it closes.
    label: str = "done"
    #: Its output, JSON.
    payload: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalTaken:
    """A signal is recorded: it is consumed, or kept until it is."""

    id: str
    run: RunObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalDelivery:
    """What became of a signal that names no run."""

    id: str
    #: The run that has it; null: it is kept until one waits for it, though one may be about to have it.
    run: str | None
