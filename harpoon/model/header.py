"""The record of a run that stands beside its log: by what it was started, and how it stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harpoon.model.run import Status
from harpoon.model.sub_run import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is known of a run without reading its log.

    It is written when the run is started, paused, resumed, cancelled and repaired, when a failure is parked, and when
    it ends; never for another step in between.
    """

    v: int = 1
    namespace: str
    run: str
    workflow: str
    #: Of the workflow when the run was started; it goes on by that, unless it is moved.
    generation: str
    #: Of the start as it was sent: the same start under the same id is the same run.
    body_hash: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    created_ms: int
    #: By then it is over, unless it is repaired.
    deadline_ms: int
    status: Status = Status.RUNNING
    is_paused: bool = False
    #: Why it was asked to end; None: it was not.
    cancel_reason: str | None = None
    ended_ms: int | None = None
    #: Of a run that succeeded.
    outputs: Any = None
    #: Why it ended as it did.
    reason: str = ""
    #: The first events of its log, as `core.event.dump` writes them: they need no record of their own.
    started: tuple[Any, ...] = ()
    #: Of its records, about; told once it has ended.
    bytes: int = 0
    #: How often it was repaired; and by when it is over since then.
    repairs: int = 0
    until_ms: int | None = None
    #: Failures that are parked.
    incidents: int = 0
    #: Generations that it was moved to, the present one last.
    moved: tuple[str, ...] = ()
    #: The run that it was forked from, and when; its log begins as that one's does, which is when it was created.
    origin: str = ""
    forked_ms: int | None = None
    #: What has started it; None: a user.
    caller: Caller | None = None
    #: Workflow → the generation of it that calls go by, directly or not, in this run and its sub-runs.
    forms: Mapping[str, str] = field(default_factory=dict)
    #: That the URLs of its callbacks are made of; never shown. Empty: it has none.
    secret: str = field(default="", repr=False)

    @property
    def present(self) -> str:
        """The generation that it goes by."""
        return self.moved[-1] if self.moved else self.generation

    @property
    def ends_by_ms(self) -> int:
        """By then it is over."""
        return self.deadline_ms if self.until_ms is None else self.until_ms

    @property
    def begun_ms(self) -> int:
        """When somebody asked for it."""
        return self.created_ms if self.forked_ms is None else self.forked_ms
