"""Everything that is wrong with a workflow, found when it is declared, and told at once."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from harpoon.core.graph_flaws import graph_flaws
from harpoon.core.moment import moment
from harpoon.core.wiring import Flaw, Wiring, wire
from harpoon.kit.errors import Invalid
from harpoon.kit.expression import Failed, Names, Template, Type, compile_template
from harpoon.model.foreach import STEPS, Foreach, Together
from harpoon.model.inputs import as_json_schema
from harpoon.model.operation import Json, Operation
from harpoon.model.workflow import WorkflowSpec

#: Flaws that are told at once.
FLAWS_MAX: Final = 50

#: Types of JSON that an item may be known to be of.
_SCALARS: Final[Mapping[type, str]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
#: An expression that is one input.
_INPUT: Final = re.compile(r"\$\{\s*inputs\.([a-z][a-z0-9_]*)\s*\}", re.ASCII)

#: Where a value stands in a manifest.
Place = tuple[str | int, ...]
#: Types that a value may be of, with what they are called; none: any.
_Expected = Mapping[Type, str]
_ANYTHING: Final[_Expected] = {}
_KEY: Final[_Expected] = {Type.TEXT: "text", Type.WHOLE: "a whole number"}
_MOMENT: Final[_Expected] = {
    Type.TIME: "a moment",
    Type.TEXT: "a text such as 2026-01-31T12:00:00Z",
    Type.WHOLE: "UTC milliseconds",
}
_CONDITION: Final[_Expected] = {Type.BOOLEAN: "true or false"}
_ITEMS: Final[_Expected] = {
    Type.LIST: "a list",
    Type.TEXTS: "a list of texts",
    Type.NUMBERS: "a list of numbers",
    Type.BOOLEANS: "a list of what is true or false",
}


class Read(NamedTuple):
    """A workflow as it was read: its wiring, its templates by where they stand, and what is wrong with both.

    Where operations go together, what is wired is the one that goes through them.
    """

    wiring: Wiring
    templates: Mapping[Place, Template]
    flaws: tuple[Flaw, ...]


def flaws(spec: WorkflowSpec) -> tuple[Flaw, ...]:
    """Return what is wrong with a workflow: up to `FLAWS_MAX`, and nothing that only follows from something else."""
    return read(spec).flaws


def read(spec: WorkflowSpec) -> Read:
    """Read a workflow: wire its operations and compile its templates."""
    wiring, found = wire(spec if spec.together is None else _gathered(spec, spec.together))
    names = names_of(spec)
    # What a run came to is shown to more people than may answer for the one who was asked.
    at_end, of_items = replace(names, callbacks=frozenset()), {op: names_in(spec, names, op) for op in spec.operations}
    templates: dict[Place, Template] = {}
    for place, value, expected, is_of_item in values_of(spec):
        try:
            template = compile_template(
                value, at_end if place == OUTPUTS else of_items[str(place[2])] if is_of_item else names, place
            )
        except Invalid as error:
            found += [Flaw(problem.pointer, problem.detail) for problem in error.problems]
            continue
        templates[place] = template
        if detail := _misfit(value, template, expected):
            found.append(Flaw(f"/{'/'.join(map(str, place))}", detail))
    found += islice(graph_flaws(wiring), max(FLAWS_MAX - len(found), 0))
    return Read(wiring, templates, tuple(found[:FLAWS_MAX]))


def _gathered(spec: WorkflowSpec, told: Together) -> WorkflowSpec:
    """Return the workflow of one operation whose items are the operations of another one."""
    names = tuple(sorted(spec.operations))
    foreach = Foreach(items=names, max=len(names), parallel=told.parallel, tolerate=told.tolerate, collect=told.collect)
    return replace(spec, operations={STEPS: Operation(worker=STEPS, foreach=foreach)}, together=None)


def names_of(spec: WorkflowSpec) -> Names:
    """Return what the expressions of a workflow may name."""
    return Names(
        inputs={name: as_json_schema(schema) for name, schema in spec.inputs.items()},
        ops=frozenset(spec.operations) if spec.together is None else frozenset({STEPS}),
        callbacks=frozenset(callbacks_of(spec)),
    )


def names_in(spec: WorkflowSpec, names: Names, op: str) -> Names:
    """Return what the expressions of an operation may name, given what all may; ``item`` is of a type if that is known.

    Args:
        spec: Of the workflow.
        names: Of all its operations.
        op: The operation.
    """
    told = spec.operations[op].foreach
    return names if told is None else replace(names, has_item=True, item=_schema_of_item(spec, told.items))


def _schema_of_item(spec: WorkflowSpec, items: Json) -> Mapping[str, Json]:
    """Return the JSON schema of what items are, as far as it is known; empty: it is not."""
    if isinstance(items, tuple):
        kinds = {None if isinstance(one, str) and "${" in one else type(one) for one in items}
        kind = kinds.pop() if len(kinds) == 1 else None
        return {"type": _SCALARS[kind]} if kind is not None and kind in _SCALARS else {}
    match = _INPUT.fullmatch(items)
    schema = None if match is None else spec.inputs.get(match[1])
    found = {} if schema is None else as_json_schema(schema).get("items", {})
    return found if isinstance(found, dict) else {}


def callbacks_of(spec: WorkflowSpec) -> tuple[str, ...]:
    """Return the operations that wait for callbacks."""
    return tuple([name for name, op in spec.operations.items() if op.wait is not None and op.wait.callback])


def _misfit(value: Json, template: Template, expected: _Expected) -> str:
    """Say why a value cannot be what is wanted in its place; empty: it can."""
    detail = ""
    if expected and template.type not in (*expected, Type.ANY):
        wanted = "a list" if expected is _ITEMS else " or ".join(expected.values())
        detail = f"it must give {wanted}; it gives {template.type}"
    elif expected is _MOMENT and template.is_constant:
        try:
            moment(template.value({}))
        except Failed as error:
            detail = str(error)
    is_bare = detail and template.is_constant and isinstance(value, str)
    return f"{detail}; an expression stands within ${{…}}" if is_bare else detail


OUTPUTS: Final[Place] = ("spec", "outputs")


def at(name: str, *field: str | int) -> Place:
    """Return where a field of an operation stands."""
    return ("spec", "operations", name, *field)


def values_of(spec: WorkflowSpec) -> Iterator[tuple[Place, Json, _Expected, bool]]:
    """Yield every value of a workflow in which expressions may stand.

    That is: where, what, of which types it may be, and whether it is worked out for each item.
    """
    if spec.together is not None:
        yield at(STEPS, "foreach", "items"), sorted(spec.operations), _ITEMS, False
    for name, op in spec.operations.items():
        is_of_item = op.foreach is not None
        if op.foreach is not None:
            told = op.foreach.items
            yield at(name, "foreach", "items"), told if isinstance(told, str) else list(told), _ITEMS, False
        for place, value, expected in _values_within(name, op):
            yield place, value, expected, is_of_item
    if spec.outputs:
        yield OUTPUTS, dict(spec.outputs), _ANYTHING, False


def _values_within(name: str, op: Operation) -> Iterator[tuple[Place, Json, _Expected]]:
    if op.input is not None:
        yield at(name, "input"), op.input, _ANYTHING
    if op.carried is not None:
        yield at(name, op.does), op.carried.template(), _ANYTHING
    if op.concurrency is not None:
        yield at(name, "concurrency", "key"), op.concurrency.key, _KEY
    if op.wait is not None and op.wait.key is not None:
        yield at(name, "wait", "key"), op.wait.key, _KEY
    if op.wait is not None and op.wait.until is not None:
        yield at(name, "wait", "until"), op.wait.until, _MOMENT
    for index, choice in enumerate(op.choose or ()):
        if choice.when is not None:
            yield at(name, "choose", index, "when"), choice.when, _CONDITION
