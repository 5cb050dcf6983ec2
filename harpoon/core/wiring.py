"""How the operations of a workflow are wired: its triggers, and what a run begins with; what is misnamed, is a flaw.

A trigger is a set of (operation, label). ``needs`` is one trigger of several members, and each edge of ``next`` is one
of one member.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

from harpoon.model.label import (
    ALWAYS_OFFERED,
    CANCELLED,
    DONE,
    EXHAUSTED,
    FAIL,
    LOST,
    OF_THE_ENGINE,
    TIMEOUT,
    Member,
    read_member,
)
from harpoon.model.operation import Operation
from harpoon.model.workflow import WorkflowSpec

#: Names that are compared one by one to find the nearest; that takes some 20 µs for each.
_COMPARED_MAX: Final = 500
_NAME_MAX: Final = 64
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789_"
_LISTED_MAX: Final = 12


class Flaw(NamedTuple):
    """Something wrong with a workflow."""

    #: JSON pointer from the root of the manifest on.
    pointer: str
    message: str


class Trigger(NamedTuple):
    """What opens an operation, once each member has occurred since it opened it last."""

    #: Its place in `Wiring.triggers`; nobody asks a trigger for the place of a part of it.
    index: int  # type: ignore[assignment]
    op: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The graph of a workflow, without what its operations do."""

    spec: WorkflowSpec
    #: In the order of their indexes.
    triggers: tuple[Trigger, ...]
    #: Operations that a run begins with, by name.
    starts: tuple[str, ...]
    #: Operation → the triggers that open it.
    into: Mapping[str, list[Trigger]]
    #: Operation → label → the triggers that have it as a member.
    out: Mapping[str, Mapping[str, list[Trigger]]]
    #: Whether every name in it names something; one that nearly does is taken for that.
    is_whole: bool


def offered(op: Operation) -> frozenset[str]:
    """Return the labels that a worker, a connector, a signal, a callback or a choice may close it with."""
    if op.carried is not None:
        return ALWAYS_OFFERED
    if op.choose is not None:
        return frozenset(choice.given for choice in op.choose)
    if op.wait is not None and op.wait.awaited is None:
        return frozenset({DONE})
    if not op.labels and op.next.keys() <= ALWAYS_OFFERED:
        return ALWAYS_OFFERED
    return frozenset(op.labels) | (op.next.keys() - OF_THE_ENGINE) | ALWAYS_OFFERED


def possible(op: Operation) -> frozenset[str]:
    """Return the labels that it may be closed with, and that edges may follow."""
    if op.foreach is not None:
        return frozenset({DONE, FAIL, EXHAUSTED})
    own = offered(op) | {EXHAUSTED}
    if op.handler is not None:
        return own | {TIMEOUT, LOST}
    if op.wait is not None:
        return own if op.wait.for_ is not None else own | {FAIL, TIMEOUT}
    return own | {FAIL}


def wire(spec: WorkflowSpec) -> tuple[Wiring, list[Flaw]]:
    """Return how the operations are wired, and what is wrong with the names that say so.

    The indexes of triggers stand in the logs of runs. So they follow from the names of operations and labels, and not
    from their order, which says nothing: two workflows of one generation may differ in it.
    """
    return _Wirer(spec).wire()


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the name that was perhaps meant; among many, only one that differs by one letter, or two swapped ones."""
    if len(known) <= _COMPARED_MAX:
        return next(iter(get_close_matches(name, known, n=1)), None)
    return next((one for one in _edits(name[:_NAME_MAX]) if one in known), None)


def _edits(name: str) -> Iterator[str]:
    """Yield all names that are one slip of the hand away."""
    for at in range(len(name) + 1):
        head, tail = name[:at], name[at:]
        if tail:
            yield head + tail[1:]
            yield head + tail[1:2] + tail[0] + tail[2:]
        for letter in _LETTERS:
            yield head + letter + tail
            yield head + letter + tail[1:]


class _Wirer:
    """Wires one workflow."""

    def __init__(self, spec: WorkflowSpec) -> None:
        self._spec = spec
        self._ops = spec.operations
        self._possible = {name: possible(op) for name, op in spec.operations.items()}
        #: What is needed, as it is written → the member that it names; of those with nothing wrong.
        self._sound: dict[str, Member] = {}
        self._flaws: list[Flaw] = []
        self._is_whole = True
        self._triggers: list[Trigger] = []
        self._into: dict[str, list[Trigger]] = {name: [] for name in spec.operations}
        self._out: dict[str, dict[str, list[Trigger]]] = {name: {} for name in spec.operations}

    def wire(self) -> tuple[Wiring, list[Flaw]]:
        for name in sorted(self._ops):
            op = self._ops[name]
            if op.needs:
                self._needs(name, op)
            for label in sorted(op.next):
                self._next(name, label, op.next[label])
        wiring = Wiring(
            spec=self._spec,
            triggers=tuple(self._triggers),
            starts=self._starts(),
            into=self._into,
            out=self._out,
            is_whole=self._is_whole,
        )
        return wiring, self._flaws

    def _needs(self, name: str, op: Operation) -> None:
        members = []
        for index, text in enumerate(op.needs):
            sound = self._sound.get(text)
            if sound is not None:
                members.append(sound)
                continue
            member = read_member(text)
            if member.label in self._possible.get(member.op, ()):
                members.append(member)
                self._sound[text] = member
                continue
            pointer = f"/spec/operations/{name}/needs/{index}"
            known = self._known(pointer, member.op)
            if known is not None:
                members.append(Member(known, member.label))
                self._check_label(pointer, members[-1], is_declarable=True)
        if len(members) == len(op.needs):
            # Two that are misnamed may be taken for the same.
            self._add(name, tuple(dict.fromkeys(members)))

    def _next(self, name: str, label: str, targets: tuple[str, ...]) -> None:
        pointer = f"/spec/operations/{name}/next/{label}"
        members = (Member(name, label),)
        self._check_label(pointer, members[0], is_declarable=False)
        for index, target in enumerate(targets):
            known = self._known(pointer if len(targets) == 1 else f"{pointer}/{index}", target)
            if known is not None:
                self._add(known, members)

    def _add(self, op: str, members: tuple[Member, ...]) -> None:
        trigger = Trigger(len(self._triggers), op, members)
        self._triggers.append(trigger)
        self._into[op].append(trigger)
        for member in members:
            self._out[member.op].setdefault(member.label, []).append(trigger)

    def _known(self, pointer: str, name: str) -> str | None:
        """Return the operation that is named, or nearly."""
        if name in self._ops:
            return name
        near = nearest(name, self._ops)
        hint = f"did you mean {near!r}?" if near is not None else listed(self._ops)
        self._flaws.append(Flaw(pointer, f"there is no operation {name!r}; {hint}"))
        self._is_whole = self._is_whole and near is not None
        return near

    def _check_label(self, pointer: str, member: Member, *, is_declarable: bool) -> None:
        labels = self._possible[member.op]
        if member.label in labels:
            return
        if member.label == CANCELLED:
            message = "no edge follows on cancelled: it is over then; leave it out"
        else:
            message = f"{member.op} is never closed as {member.label}; it gives {', '.join(sorted(labels))}"
            op = self._ops[member.op]
            is_open = op.foreach is None and (
                op.worker is not None or (op.wait is not None and op.wait.awaited is not None)
            )
            if is_declarable and is_open and member.label not in OF_THE_ENGINE:
                message += f"; declare it there: labels: [{member.label}]"
        self._flaws.append(Flaw(pointer, message))

    def _starts(self) -> tuple[str, ...]:
        start = self._spec.start
        if start is not None:
            known = self._known("/spec/start", start)
            return () if known is None else (known,)
        starts = tuple(sorted(name for name, triggers in self._into.items() if not triggers))
        if not starts and self._is_whole:
            first = next(iter(self._ops))
            self._flaws.append(
                Flaw("/spec/start", f"every operation waits for another; say which a run begins with, such as {first}")
            )
        return starts


def listed(known: Collection[str]) -> str:
    """Name what there is, if that is little."""
    return f"there is {', '.join(known)}" if len(known) <= _LISTED_MAX else "see how it is spelled"
