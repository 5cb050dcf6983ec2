"""Workflows as the API tells them, with what bounds any of their runs, and what became of a manifest.

What a workflow is made of is :mod:`harpoon.model.workflow`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harpoon.model.edit import Edit
from harpoon.model.shown import Outcome
from harpoon.model.workflow import WorkflowSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowMetadata:
    """What identifies a workflow, and what the registry knows of it."""

    name: str
    namespace: str
    tags: Mapping[str, str]
    #: Hash of its spec: another spec, another generation.
    generation: str
    #: Counts the user's mutations from 1.
    version: int
    #: At which it was last declared; quoted, it is the ETag.
    revision: str
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much of something any run comes to at most."""

    most: int
    #: What it comes from mostly.
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationBound:
    """What one operation comes to at most in one run."""

    visits: int
    #: Of all its visits.
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowBounds:
    """What any run of a workflow comes to at most, whatever its operations are closed with."""

    #: Of all operations, retries included.
    attempts: Bound
    #: Milliseconds from its start to its end; never more than its deadline.
    ends_after_ms: Bound
    #: Of inputs, outputs, errors and signals.
    bytes: Bound
    #: Operation → its share. They may come to more than ``attempts`` together, for some exclude others.
    operations: Mapping[str, OperationBound]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowObject:
    """A workflow as it is shown: its manifest with defaults, what the registry adds, and what it is bounded by."""

    apiVersion: Literal["harpoon/v1"]  # noqa: N815 the field's name on the wire
    kind: Literal["Workflow"]
    metadata: WorkflowMetadata
    spec: WorkflowSpec
    #: Absent in lists.
    bounds: WorkflowBounds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowList:
    """Workflows, sorted by namespace and name."""

    revision: str
    items: tuple[WorkflowObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Staying:
    """Open runs that cannot go on by the present generation of their workflow, all for the same reasons."""

    #: What is missing, or has changed, there where they stand.
    because: tuple[str, ...]
    #: How many.
    runs: int
    #: Ids of some of them.
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElderRuns:
    """Open runs that are on another generation of a workflow than the present one."""

    generation: str
    #: All of them; at most 200 of a workflow are looked at.
    runs: int
    #: Of those that were looked at: how many could be moved, and ids of some.
    movable: int
    examples: tuple[str, ...]
    staying: tuple[Staying, ...]
    #: How many were not looked at.
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDeclared:
    """What became of the manifest of a workflow, or would."""

    #: Of the commit.
    revision: str
    outcome: Outcome
    #: From what stood to what was declared, of ``{metadata: {tags}, spec}``.
    changes: tuple[Edit, ...]
    workflow: WorkflowObject
    #: Of one that is changed: open runs that are on other generations of it, and go on by these unless they are moved.
    elder_runs: tuple[ElderRuns, ...] = ()
