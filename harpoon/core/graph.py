"""The graph of a workflow as runs go through it: operations, the triggers that open them, and compiled expressions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from harpoon.core.flaws import OUTPUTS, Read, at, read
from harpoon.core.pace import Pace, pace_of
from harpoon.core.wiring import Trigger, offered
from harpoon.kit.errors import Invalid, Problem
from harpoon.kit.expression import Template
from harpoon.model.label import Member
from harpoon.model.operation import Operation
from harpoon.model.workflow import WorkflowSpec

__all__ = ["Graph", "Kind", "Member", "Node", "Pick", "Trigger", "compile_graph"]


class Kind(StrEnum):
    """What an operation does, by the field that says it."""

    WORKER = "worker"
    WAIT = "wait"
    CHOOSE = "choose"
    #: The engine carries these out itself, each by a connector.
    HTTP = "http"
    TASK = "task"
    JOB = "job"
    CALL = "call"


class Pick(NamedTuple):
    """One way of a choice."""

    #: None: it is picked where no other is.
    when: Template | None
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An operation, compiled."""

    name: str
    kind: Kind
    spec: Operation
    #: What its handler is given.
    input: Template | None
    #: Of a wait for a signal, the key that it must have; of what is claimed, what its concurrency counts under.
    key: Template | None
    #: Of a wait for a moment.
    until: Template | None
    #: Of a choice, in their order.
    choices: tuple[Pick, ...]
    #: Labels that a worker, a signal or a choice may close it with.
    offered: frozenset[str]
    #: Those that open it.
    triggers: tuple[Trigger, ...]
    #: Label → the triggers that it is a member of, together with it.
    edges: Mapping[str, tuple[Trigger, ...]]
    #: Who can claim its attempts: a handler of workers, ``:`` and a kind for the engine itself; None: nobody.
    handler: str | None = field(init=False)
    #: Its clocks.
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "handler", self.spec.handler)
        object.__setattr__(self, "pace", pace_of(self.spec))


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A workflow, compiled."""

    spec: WorkflowSpec
    #: In the order of the manifest.
    nodes: Mapping[str, Node]
    #: By their indexes, which do not depend on the order of the manifest.
    triggers: tuple[Trigger, ...]
    #: Operations that a run begins with, by name.
    starts: tuple[str, ...]
    #: Of a mapping; None: a run comes to nothing.
    outputs: Template | None

    def opens(self, pending: int) -> str:
        """Return the operation that is opened by what is pending: by a trigger, or ``~i``.

        ``~i`` is the i-th operation that a run starts at; from where these end on, any operation, sorted by name.
        """
        if pending >= 0:
            return self.triggers[pending].op
        if ~pending < len(self.starts):
            return self.starts[~pending]
        return sorted(self.nodes)[~pending - len(self.starts)]

    def anew(self, op: str) -> int:
        """Return what is pending when an operation is to be opened by no trigger."""
        return ~(len(self.starts) + sorted(self.nodes).index(op))


def compile_graph(spec: WorkflowSpec) -> Graph:
    """Return the graph of a workflow. It takes time in proportion to the workflow.

    Raises:
        Invalid: Something is wrong with it; ``problems`` tells all that is, by JSON pointers into its manifest.
    """
    told = read(spec)
    if told.flaws:
        first, count = told.flaws[0], len(told.flaws)
        more = f" (and {count - 1} more)" if count > 1 else ""
        problems = [Problem(pointer=flaw.pointer, detail=flaw.message) for flaw in told.flaws]
        raise Invalid(f"{first.pointer}: {first.message}{more}", problems)
    return Graph(
        spec=spec,
        nodes={name: _node(name, op, told) for name, op in spec.operations.items()},
        triggers=told.wiring.triggers,
        starts=told.wiring.starts,
        outputs=told.templates.get(OUTPUTS),
    )


def _node(name: str, op: Operation, told: Read) -> Node:
    found = told.templates
    kind = Kind(op.does)
    return Node(
        name=name,
        kind=kind,
        spec=op,
        input=found.get(at(name, "input" if op.carried is None else kind.value)),
        key=found.get(at(name, "wait" if kind is Kind.WAIT else "concurrency", "key")),
        until=found.get(at(name, "wait", "until")),
        choices=tuple(
            Pick(found.get(at(name, "choose", index, "when")), choice.given)
            for index, choice in enumerate(op.choose or ())
        ),
        offered=offered(op),
        triggers=tuple(told.wiring.into[name]),
        edges={label: tuple(triggers) for label, triggers in told.wiring.out[name].items()},
    )
