"""A batch as a user writes it: many things to be done, without a graph; and the workflow that it is a run of."""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final, Literal

from harpoon.model.foreach import ITEMS_MAX, PARALLEL_DEFAULT, STEPS, Foreach, Together
from harpoon.model.job import Metadata
from harpoon.model.operation import Operation
from harpoon.model.units import Duration
from harpoon.model.workflow import DEADLINE_DEFAULT, WorkflowSpec

#: Any value that JSON has.
Json = Any

#: The operation that goes through the items.
EACH: Final = "each"
#: Fields of an operation that say how it is wired.
_WIRING: Final = ("needs", "next", "end", "visits", "foreach", "choose")


class Mode(StrEnum):
    """How a batch is gone through."""

    #: Several at once.
    PARALLEL = "parallel"
    #: One after the other; it stops at the first that fails.
    IN_ORDER = "in_order"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSpec:
    """What a batch does: ``each`` for all of its ``items``, or ``steps``, each another one."""

    #: Values, 1 to 10,000, for each of which ``each`` is done.
    items: tuple[Json, ...] = ()
    #: What is done for an item, ``${item}``: an operation without edges.
    each: Operation | None = None
    #: Operations without edges, 1 to 10,000, instead of ``items`` and ``each``.
    steps: tuple[Operation, ...] = ()
    mode: Mode = Mode.PARALLEL
    #: So many are under way at once; of ``mode: parallel``.
    parallel: int = PARALLEL_DEFAULT
    #: So many may fail; at one more the batch fails, and what is under way is cancelled. Of ``mode: parallel``.
    tolerate: int = 0
    #: Complete-by of all of it.
    deadline: Duration = DEADLINE_DEFAULT
    #: Whether what they came to is kept as one list, too: ``results`` of its outputs.
    collect: bool = False

    def __post_init__(self) -> None:
        if bool(self.steps) == bool(self.items) or bool(self.items) is (self.each is None):
            raise ValueError("a batch has items and each, or steps")
        for name in ("items", "steps"):
            if len(getattr(self, name)) > ITEMS_MAX:
                raise ValueError(f"{name} holds at most {ITEMS_MAX}")
        if self.mode is Mode.IN_ORDER and (self.parallel != PARALLEL_DEFAULT or self.tolerate):
            raise ValueError("parallel and tolerate have no meaning with mode in_order; leave them out")
        told = [("each", self.each)] if self.each is not None else []
        for where, operation in [*told, *((f"steps[{index}]", step) for index, step in enumerate(self.steps))]:
            if named := [name for name in _WIRING if getattr(operation, name) != _DEFAULTS[name]]:
                raise ValueError(f"{where}: {named[0]} is for a workflow, and a batch has no graph; leave it out")
            if operation.wait is not None and operation.wait.callback:
                raise ValueError(f"{where}: wait.callback is for a workflow; wait for a signal")

    @property
    def count(self) -> int:
        """How many things are to be done."""
        return len(self.items) or len(self.steps)


_DEFAULTS: Final = {one.name: one.default for one in fields(Operation)} | {"next": {}}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchManifest:
    """A batch as a user writes it. Its name is the id of its run: the same again is the same batch."""

    apiVersion: Literal["harpoon/v1"]  # noqa: N815 the field's name on the wire
    kind: Literal["Batch"]
    metadata: Metadata
    spec: BatchSpec


def workflow_of(spec: BatchSpec) -> WorkflowSpec:
    """Return the workflow of which a batch is a run.

    Raises:
        ValueError: It is none.
    """
    is_in_order = spec.mode is Mode.IN_ORDER
    parallel = 1 if is_in_order else spec.parallel
    whole = STEPS if spec.each is None else EACH
    outputs = {"results": f"${{ops.{whole}.output}}"} if spec.collect else {}
    if spec.each is None:
        return WorkflowSpec(
            operations={f"step_{index:05}": step for index, step in enumerate(spec.steps)},
            together=Together(parallel=parallel, tolerate=spec.tolerate, collect=spec.collect),
            deadline=spec.deadline,
            outputs=outputs,
        )
    foreach = Foreach(
        items=spec.items,
        max=len(spec.items),
        parallel=parallel,
        tolerate=spec.tolerate,
        collect=spec.collect,
    )
    return WorkflowSpec(operations={EACH: replace(spec.each, foreach=foreach)}, deadline=spec.deadline, outputs=outputs)


def pointer_of(told: str) -> str:
    """Return where in a batch something stands, given where it stands in the workflow that is made of it."""
    parts = told.split("/")
    if parts[:3] != ["", "spec", "operations"]:
        return told
    name, rest = parts[3], parts[4:]
    if name == EACH:
        at = ["items", *rest[2:]] if rest[:2] == ["foreach", "items"] else [EACH, *rest]
    else:
        at = [STEPS, str(int(name.removeprefix("step_"))), *rest] if name.startswith("step_") else [STEPS]
    return "/".join(["", "spec", *at])
