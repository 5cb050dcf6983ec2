"""The graph of a workflow as runs go through it: operations, the triggers that open them, and compiled expressions.

An operation with ``foreach`` is two nodes. The one of its name carries the triggers and the edges; nobody claims it,
and each of its visits has a *group*. The other one, `member_of` its name, does what is to be done: its visits are the
items of these groups, numbered so that either tells the other. Edges lead neither to it nor from it.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NamedTuple

from harpoon.core.flaws import OUTPUTS, Place, at, callbacks_of, read
from harpoon.core.pace import Pace, pace_of
from harpoon.core.wiring import Trigger, Wiring, offered
from harpoon.kit.errors import Invalid, Problem
from harpoon.kit.expression import Template
from harpoon.model.foreach import STEPS, Foreach
from harpoon.model.label import Member
from harpoon.model.operation import Operation
from harpoon.model.workflow import WorkflowSpec

__all__ = [
    "Each",
    "Graph",
    "Home",
    "Kind",
    "Member",
    "Node",
    "Pick",
    "Trigger",
    "compile_graph",
    "home_of",
    "item_of",
    "member_of",
    "nodes_of",
]


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
    #: It does something for each of several items.
    EACH = "each"


#: What the name of a node has and ends with whose visits are items.
_OPENS: Final = "["
_CLOSES: Final = "]"


class Each(NamedTuple):
    """How an operation goes through its items."""

    #: Items of one visit.
    most: int
    parallel: int
    tolerate: int
    is_collecting: bool
    #: Whether each item is a visit of a node of its own.
    is_of_steps: bool = False


class Home(NamedTuple):
    """Whose items the visits of a node are."""

    op: str
    #: Items of one visit that are visits of it.
    most: int
    #: Of a node of its own, which item that is.
    place: int | None = None


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
    #: Of one that goes through items; ``input`` is what gives these.
    each: Each | None = None
    #: Of one whose visits are items.
    home: Home | None = None
    #: Who can claim its attempts: a handler of workers, ``:`` and a kind for the engine itself; None: nobody.
    handler: str | None = field(init=False)
    #: Its clocks.
    pace: Pace = field(init=False)
    #: How often it may fire in one run.
    visits: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "handler", None if self.each is not None else self.spec.handler)
        object.__setattr__(self, "pace", pace_of(self.spec))
        object.__setattr__(self, "visits", self.spec.visits * (1 if self.home is None else self.home.most))

    def group_of(self, visit: int) -> tuple[tuple[str, int], int]:
        """Return whose item a visit is, as (operation, visit), and which, from 0 on."""
        assert self.home is not None, "its visits are items"
        op, most, place = self.home
        return (op, (visit - 1) // most + 1), (visit - 1) % most if place is None else place

    def member(self, visit: int, index: int) -> tuple[str, int]:
        """Return what an item of one of its visits is a visit of: (operation, visit)."""
        assert self.each is not None, "its visits have items"
        if self.each.is_of_steps:
            return member_of(self.name, index), visit
        return member_of(self.name), (visit - 1) * self.each.most + index + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A workflow, compiled."""

    spec: WorkflowSpec
    #: In the order of the manifest; those whose visits are items come after the others.
    nodes: Mapping[str, Node]
    #: By their indexes, which do not depend on the order of the manifest.
    triggers: tuple[Trigger, ...]
    #: Operations that a run begins with, by name.
    starts: tuple[str, ...]
    #: Of a mapping; None: a run comes to nothing.
    outputs: Template | None
    #: Operations that wait for callbacks, in the order of the manifest.
    callbacks: tuple[str, ...] = field(init=False)
    #: All nodes, sorted.
    by_name: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "callbacks", callbacks_of(self.spec))
        object.__setattr__(self, "by_name", tuple(sorted(self.nodes)))

    def opens(self, pending: int) -> str:
        """Return the operation that is opened by what is pending: by a trigger, or ``~i``.

        ``~i`` is the i-th operation that a run starts at; from where these end on, any operation, sorted by name.
        """
        if pending >= 0:
            return self.triggers[pending].op
        if ~pending < len(self.starts):
            return self.starts[~pending]
        return self.by_name[~pending - len(self.starts)]

    def anew(self, op: str) -> int:
        """Return what is pending when an operation is to be opened by no trigger."""
        return ~(len(self.starts) + bisect_left(self.by_name, op))

    @property
    def operations(self) -> Mapping[str, Operation]:
        """Operations by their names as runs have them, without those that are items of others."""
        return {node.name: node.spec for node in self.nodes.values() if node.home is None}

    @property
    def bare(self) -> Mapping[str, Operation]:
        """Node whose visits are items → what is done with one."""
        return {node.name: node.spec for node in self.nodes.values() if node.home is not None}


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
        nodes=nodes_of(spec, told.wiring, told.templates),
        triggers=told.wiring.triggers,
        starts=told.wiring.starts,
        outputs=told.templates.get(OUTPUTS),
    )


def member_of(op: str, index: int | None = None) -> str:
    """Return what the node is called whose visits are the items of an operation, or one of them."""
    return f"{op}{_OPENS}{'' if index is None else index}{_CLOSES}"


def home_of(name: str) -> str | None:
    """Return the operation whose items the visits of a node are, by its name; None: they are none."""
    return name.partition(_OPENS)[0] if name.endswith(_CLOSES) else None


def item_of(name: str, visit: int, most: int) -> tuple[int, int]:
    """Return of which visit of its operation a visit is an item, and which item, from 0 on.

    Args:
        name: Of its node.
        visit: Its number.
        most: Items that a visit of the operation may have.
    """
    index = name.partition(_OPENS)[2].removesuffix(_CLOSES)
    return (visit, int(index)) if index else ((visit - 1) // most + 1, (visit - 1) % most)


def nodes_of(spec: WorkflowSpec, wiring: Wiring, templates: Mapping[Place, Template]) -> dict[str, Node]:
    """Return the nodes of a workflow, given how it is wired, and its templates by where they stand."""
    operations, is_of_steps = wiring.spec.operations, spec.together is not None
    nodes = {name: _node(name, op, wiring, templates, is_of_steps=is_of_steps) for name, op in operations.items()}
    if is_of_steps:
        members = [_step(index, name, spec, templates) for index, name in enumerate(sorted(spec.operations))]
    else:
        members = [_member(name, op, op.foreach, templates) for name, op in operations.items() if op.foreach]
    return nodes | {node.name: node for node in members}


def _node(name: str, op: Operation, wiring: Wiring, found: Mapping[Place, Template], *, is_of_steps: bool) -> Node:
    triggers = tuple(wiring.into[name])
    edges = {label: tuple(triggers) for label, triggers in wiring.out[name].items()}
    if op.foreach is None:
        return _doing(name, name, op, found, triggers=triggers, edges=edges)
    told = op.foreach
    return Node(
        name=name,
        kind=Kind.EACH,
        spec=op,
        input=found.get(at(name, "foreach", "items")),
        key=None,
        until=None,
        choices=(),
        offered=frozenset(),
        triggers=triggers,
        edges=edges,
        each=Each(told.most, told.parallel, told.tolerate, told.collect, is_of_steps),
    )


def _step(index: int, name: str, spec: WorkflowSpec, found: Mapping[Place, Template]) -> Node:
    home = Home(STEPS, 1, index)
    return _doing(member_of(STEPS, index), name, spec.operations[name], found, triggers=(), edges={}, home=home)


def _member(name: str, op: Operation, told: Foreach, found: Mapping[Place, Template]) -> Node:
    bare = replace(op, foreach=None, needs=(), next={}, end=None)
    return _doing(member_of(name), name, bare, found, triggers=(), edges={}, home=Home(name, told.most))


def _doing(  # noqa: PLR0913 all that a node is made of
    name: str,
    op: str,
    spec: Operation,
    found: Mapping[Place, Template],
    *,
    triggers: tuple[Trigger, ...],
    edges: Mapping[str, tuple[Trigger, ...]],
    home: Home | None = None,
) -> Node:
    """Return a node that does what an operation says, whose templates stand under ``op``."""
    kind = Kind(spec.does)
    return Node(
        name=name,
        kind=kind,
        spec=spec,
        input=found.get(at(op, "input" if spec.carried is None else kind.value)),
        key=found.get(at(op, "wait" if kind is Kind.WAIT else "concurrency", "key")),
        until=found.get(at(op, "wait", "until")),
        choices=tuple(
            Pick(found.get(at(op, "choose", index, "when")), choice.given)
            for index, choice in enumerate(spec.choose or ())
        ),
        offered=offered(spec),
        triggers=triggers,
        edges=edges,
        home=home,
    )
