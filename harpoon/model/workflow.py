"""A workflow: a graph of operations with labelled edges, what its runs are started with, and what they come to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Literal

from harpoon.model.foreach import Together
from harpoon.model.inputs import INPUTS_MAX, SCHEMA_DEPTH_MAX, InputSchema, depth_of
from harpoon.model.job import Metadata
from harpoon.model.label import check_word
from harpoon.model.operation import Operation
from harpoon.model.units import Duration

#: Any value that JSON has.
Json = Any

OPERATIONS_MAX: Final = 10_000
OUTPUTS_MAX: Final = 100
DEADLINE_DEFAULT: Final = timedelta(days=7)
DEADLINE_MIN: Final = timedelta(seconds=1)
DEADLINE_MAX: Final = timedelta(days=365)


class OnFailed(StrEnum):
    """What becomes of a run when an operation fails and no edge takes the failure."""

    #: What is open is cancelled; the run ends as failed.
    CANCEL = "cancel"
    #: What does not depend on it goes on first; then the run ends as failed.
    CONTINUE = "continue"
    #: What does not depend on it goes on; the run waits until somebody repairs it, or for its deadline.
    PARK = "park"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSpec:
    """All that a user declares about a workflow beside its name."""

    #: Name → operation; 1 to 10,000.
    operations: Mapping[str, Operation]
    #: Name → what a run is given: ``${inputs.<name>}`` in expressions.
    inputs: Mapping[str, InputSchema] = field(default_factory=dict)
    #: A run that has not ended so long after it was started ends as timed out.
    deadline: Duration = DEADLINE_DEFAULT
    #: The operation that a run begins with. Left out: those that nothing leads to.
    start: str | None = None
    #: Name → what a run that succeeded came to: any value, with ``${…}`` in its texts.
    outputs: Mapping[str, Json] = field(default_factory=dict)
    on_failure: OnFailed = OnFailed.CANCEL
    #: The operations have no edges: they are gone through in the order of their names, so many at once.
    together: Together | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.operations) <= OPERATIONS_MAX:
            raise ValueError(f"operations holds 1 to {OPERATIONS_MAX}")
        if len(self.inputs) > INPUTS_MAX or len(self.outputs) > OUTPUTS_MAX:
            raise ValueError(f"inputs and outputs hold at most {INPUTS_MAX} each")
        for what, names in (("operation's", self.operations), ("input's", self.inputs), ("output's", self.outputs)):
            for name in names:
                check_word(f"an {what} name", name)
        for name, schema in self.inputs.items():
            if depth_of(schema) > SCHEMA_DEPTH_MAX:
                raise ValueError(f"inputs.{name} holds more than {SCHEMA_DEPTH_MAX} schemas within each other")
        if self.together is not None:
            self._check_together()
        if not DEADLINE_MIN <= self.deadline <= DEADLINE_MAX:
            raise ValueError("deadline is 1s to 365d")

    def _check_together(self) -> None:
        """Refuse whatever would lead from one operation to another."""
        if self.start is not None:
            raise ValueError("start has no meaning with together; leave it out")
        for name, op in self.operations.items():
            if op.needs or op.next or op.end or op.visits != 1 or op.foreach or op.choose:
                raise ValueError(
                    f"operations.{name}: with together, an operation has no needs, next, end, visits, foreach or choose"
                )
            if op.wait is not None and op.wait.callback:
                raise ValueError(f"operations.{name}: wait.callback has no meaning with together; wait for a signal")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowManifest:
    """A workflow as a user writes it."""

    apiVersion: Literal["harpoon/v1"]  # noqa: N815 the field's name on the wire
    kind: Literal["Workflow"]
    metadata: Metadata
    spec: WorkflowSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRecord:
    """A workflow as accepted: the record in the registry."""

    namespace: str
    name: str
    spec: WorkflowSpec
    #: Hash of ``spec``; made once, when accepted.
    generation: str
    #: Counts the user's mutations from 1.
    version: int
    created_ms: int
    updated_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Schema of this record.
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRecord:
    """One generation of a workflow, kept for as long as it is the present one, or runs are on it."""

    namespace: str
    name: str
    generation: str
    spec: WorkflowSpec
    at_ms: int
    #: Since when nothing more is started on it; None: it is the present one, or was just now.
    retired_ms: int | None = None
    v: int = 1
