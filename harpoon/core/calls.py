"""Calls of workflows: what a workflow calls, directly or not, and what is wrong with that.

No workflow calls itself, by way of others either. So what a run may come to with all its sub-runs is bounded, as
`core.bounds` has it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from harpoon.core.flaws import at, names_in, names_of
from harpoon.core.graph_flaws import way
from harpoon.core.wiring import Flaw, nearest
from harpoon.kit.errors import Invalid, Problem
from harpoon.kit.expression import Template, Type, compile_template, type_of_schema
from harpoon.model.call import Call
from harpoon.model.inputs import InputSchema, WrongInputs, as_json_schema, check_inputs
from harpoon.model.sub_run import DEPTH_MAX
from harpoon.model.workflow import WorkflowSpec

#: Workflows that one calls, directly or not: each is looked up when a run of it is started.
CALLED_MAX: Final = 50
#: Flaws that are told at once.
_FLAWS_MAX: Final = 50

#: Returns a workflow of the same namespace; None: there is none of that name.
Known = Callable[[str], WorkflowSpec | None]
_LISTS: Final = frozenset({Type.LIST, Type.TEXTS, Type.NUMBERS, Type.BOOLEANS})
#: Type of an input → the types of expressions that may come to a value of it.
_GIVES: Final[Mapping[Type, frozenset[Type]]] = {
    Type.TEXT: frozenset({Type.TEXT, Type.TIME, Type.SPAN}),
    Type.NUMBER: frozenset({Type.NUMBER, Type.WHOLE}),
    Type.WHOLE: frozenset({Type.WHOLE}),
    Type.BOOLEAN: frozenset({Type.BOOLEAN}),
    Type.MAPPING: frozenset({Type.MAPPING}),
    Type.LIST: _LISTS,
    Type.TEXTS: frozenset({Type.LIST, Type.TEXTS}),
    Type.NUMBERS: frozenset({Type.LIST, Type.NUMBERS}),
    Type.BOOLEANS: frozenset({Type.LIST, Type.BOOLEANS}),
}


def calls_of(spec: WorkflowSpec) -> dict[str, Call]:
    """Return the operations of a workflow that call others, with what they call."""
    return {name: op.call for name, op in spec.operations.items() if op.call is not None}


def reach(name: str, spec: WorkflowSpec, known: Known) -> dict[str, WorkflowSpec]:
    """Return the workflows that one calls, directly or not, each after those that it calls itself.

    Args:
        name: Of the workflow.
        spec: What it is, or is to be.
        known: Knows the others.

    Raises:
        Invalid: It calls what there is not, or itself, or too many, or too deep; the problem says by which operation.
    """
    found: dict[str, WorkflowSpec] = {}
    depths: dict[str, int] = {}
    for op, call in calls_of(spec).items():
        if call.workflow not in found:
            _descend(_Way((name,), op), call.workflow, known, found, depths)
        if len(found) > CALLED_MAX:
            raise _wrong(op, f"with it, {len(found)} workflows are called, all together; {CALLED_MAX} is the most")
    return found


class _Way(NamedTuple):
    """How a workflow is called: by what, from the first that calls; and the operation of that."""

    names: tuple[str, ...]
    op: str


def _descend(by: _Way, name: str, known: Known, found: dict[str, WorkflowSpec], depths: dict[str, int]) -> None:
    """Find what is called by way of one workflow."""
    if name in by.names:
        told = way([*by.names[by.names.index(name) :], name])
        raise _wrong(by.op, f"a workflow does not call itself: {told}; the chain of calls has to end")
    spec = known(name)
    if spec is None:
        who = "" if len(by.names) == 1 else f", which {way(by.names[1:])} calls"
        raise _wrong(by.op, f"there is no workflow {name}{who}; declare it first")
    names = (*by.names, name)
    deepest = 0
    for call in calls_of(spec).values():
        if call.workflow not in found:
            _check_depth(by.op, names, 1)
            _descend(_Way(names, by.op), call.workflow, known, found, depths)
        deepest = max(deepest, depths[call.workflow])
    _check_depth(by.op, names, deepest)
    found[name], depths[name] = spec, deepest + 1


def _check_depth(op: str, names: tuple[str, ...], more: int) -> None:
    """Refuse calls that go too deep: ``names`` call each other, and ``more`` are below them."""
    if len(names) - 1 + more > DEPTH_MAX:
        raise _wrong(op, f"calls go at most {DEPTH_MAX} deep, and {way(names)} goes on; call less by way of others")


def call_flaws(spec: WorkflowSpec, known: Known) -> Iterator[Flaw]:
    """Yield what is wrong with what a workflow gives to those that it calls, as far as that is known before a run."""
    names = names_of(spec)
    for op, call in calls_of(spec).items():
        callee = known(call.workflow)
        if callee is None:
            continue
        for name, value in call.inputs.items():
            place = _pointer(op, "inputs", name)
            if name not in callee.inputs:
                near = nearest(name, callee.inputs)
                hint = f"did you mean {near!r}?" if near else f"it has {', '.join(callee.inputs) or 'none'}"
                yield Flaw(place, f"workflow {call.workflow} has no input {name!r}; {hint}")
                continue
            try:
                template = compile_template(value, names_in(spec, names, op), at(op, "call", "inputs", name))
            except Invalid:
                continue  # that is told with the workflow itself
            if detail := _misfit(name, callee.inputs[name], template):
                yield Flaw(place, detail)
        for name, schema in callee.inputs.items():
            if schema.is_needed and name not in call.inputs:
                yield Flaw(_pointer(op, "inputs"), f"workflow {call.workflow} needs input {name!r}; give it")


def check_calls(name: str, spec: WorkflowSpec, known: Known) -> dict[str, WorkflowSpec]:
    """Return what `reach` does, once what is given to each fits it.

    Raises:
        Invalid: As there, or it does not fit; all of it is told.
    """
    found = reach(name, spec, known)
    flaws = [flaw for _, flaw in zip(range(_FLAWS_MAX), call_flaws(spec, found.get), strict=False)]
    if flaws:
        problems = [Problem(pointer=flaw.pointer, detail=flaw.message) for flaw in flaws]
        raise Invalid(f"{flaws[0].pointer}: {flaws[0].message}", problems)
    return found


def _misfit(name: str, schema: InputSchema, template: Template) -> str:
    """Say why a value is not what an input takes; empty: it may be."""
    if template.is_constant:
        try:
            check_inputs({name: schema}, {name: template.value({})})
        except WrongInputs as error:
            return error.problems[0].message
        return ""
    expected = type_of_schema(as_json_schema(schema))
    taken = _GIVES.get(expected)
    if taken is None or template.type is Type.ANY or template.type in taken:
        return ""
    return f"the input takes {expected}; it gives {template.type}"


def _pointer(op: str, *field: str) -> str:
    return f"/{'/'.join(map(str, at(op, 'call', *field)))}"


def _wrong(op: str, detail: str) -> Invalid:
    place = _pointer(op, "workflow")
    return Invalid(f"{place}: {detail}", [Problem(pointer=place, detail=detail)])
