"""What operations have done with jobs (`model.orders`), read as what it comes to: jobs' specs, strictly.

When a workflow is declared, what its expressions will come to is not known. All the rest is: names of fields, types,
and values without expressions. What is told of a value that rests on an expression is left for when that is known.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from harpoon.kit import codec
from harpoon.kit.errors import Invalid, Problem
from harpoon.kit.expression_text import Broken, split
from harpoon.kit.strict import Location, pointer
from harpoon.model.job import Spec
from harpoon.model.orders import JobOrder, TaskOrder
from harpoon.model.workflow import WorkflowSpec

#: Any value that JSON has.
Json = Any
_UNKNOWN: Final = object()
#: Stands where some text will.
_SOME_TEXT: Final = "x"
#: What is said of names, whatever the values come to.
_OF_NAMES: Final = ("unknown field ",)
#: What can be said of a part of a spec without the rest of it.
_OF_PARTS: Final = (*_OF_NAMES, "expected ")


def task_spec(order: TaskOrder, told: Mapping[str, Json]) -> Spec:
    """Return the spec of the job that runs a task, given what the order's templates came to.

    Raises:
        Invalid: It is none; pointers are into the order.
    """
    return codec.decode(Spec, orjson.dumps(_job_of(order, told)))


def spec_of(told: Mapping[str, Json]) -> Spec:
    """Return a job's spec as an expression, or several, came to it.

    Raises:
        Invalid: It is none; pointers are into it.
    """
    return codec.decode(Spec, orjson.dumps(dict(told)))


def merged(spec: Spec, patch: Mapping[str, Json]) -> Spec:
    """Return a spec with what a patch says of it: mappings are merged, null takes away, the rest is replaced.

    Raises:
        Invalid: What comes out is no spec; pointers are into it.
    """
    return spec_of(_merge(orjson.loads(codec.dump(spec)), patch))


def check_orders(spec: WorkflowSpec) -> None:
    """Refuse a workflow with orders that cannot be meant, whatever their expressions come to.

    Raises:
        Invalid: There are; ``problems`` tells all, by pointers into the manifest.
    """
    problems = [problem for name, op in spec.operations.items() for problem in _problems(name, op.task, op.job)]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise Invalid(f"{problems[0].pointer}: {problems[0].detail}{more}", problems)


def _problems(name: str, task: TaskOrder | None, job: JobOrder | None) -> Iterator[Problem]:
    at = ("spec", "operations", name)
    if task is not None:
        yield from _faults(_job_of(task, task.template()), (*at, "task"))
    if job is not None and job.spec is not None:
        yield from _faults(job.spec, (*at, "job", "spec"))
    if job is not None and job.set_ is not None:
        yield from (one for one in _faults(job.set_, (*at, "job", "set"), is_part=True))


def _job_of(order: TaskOrder, told: Mapping[str, Json]) -> dict[str, Json]:
    more = {"priority": order.priority, "preempt": order.preempt, "exclusive": order.exclusive}
    lost = {} if order.on_lost is None else {"on_lost": order.on_lost.value}
    keep = f"{int(order.keep.total_seconds() * 1000)}ms"
    return {"type": "batch", **told, **more, **lost, "keep": keep}


class _Looked(NamedTuple):
    """What is known of a value, and where more will be."""

    value: Json
    open: tuple[str, ...]


def _faults(told: Mapping[str, Json], at: Location, *, is_part: bool = False) -> Iterator[Problem]:
    """Yield what is wrong with a spec, or a part of one, as far as it is known."""
    looked = _look(dict(told), ())
    try:
        codec.decode(Spec, orjson.dumps(looked.value))
    except Invalid as error:
        for one in error.problems:
            rests = any(f"{place}/".startswith(f"{one.pointer}/") for place in looked.open)
            is_sure = one.detail.startswith(_OF_NAMES) or not rests
            if is_sure and (not is_part or one.detail.startswith(_OF_PARTS)):
                yield Problem(pointer=f"{pointer(at)}{one.pointer}", detail=one.detail)


def _look(value: Json, at: Location) -> _Looked:
    if isinstance(value, str):
        return _look_at_text(value, at)
    if isinstance(value, list):
        items = [_look(one, (*at, index)) for index, one in enumerate(value)]
        known = [_SOME_TEXT if one.value is _UNKNOWN else one.value for one in items]
        return _Looked(known, tuple(place for one in items for place in one.open))
    if isinstance(value, dict):
        looked = {name: _look(one, (*at, name)) for name, one in value.items()}
        fields = {name: one.value for name, one in looked.items() if one.value not in (None, _UNKNOWN)}
        return _Looked(fields, tuple(place for one in looked.values() for place in one.open))
    return _Looked(value, ())


def _look_at_text(text: str, at: Location) -> _Looked:
    if "${" not in text:
        return _Looked(text, ())
    try:
        pieces = split(text)
    except Broken:
        # Told with the other expressions.
        return _Looked(_UNKNOWN, (pointer(at),))
    if not any(piece.is_expression for piece in pieces):
        return _Looked("".join(piece.text for piece in pieces), ())
    if len(pieces) == 1:
        return _Looked(_UNKNOWN, (pointer(at),))
    return _Looked("".join(_SOME_TEXT if one.is_expression else one.text for one in pieces), (pointer(at),))


def _merge(base: Json, patch: Json) -> Json:
    if not isinstance(patch, Mapping):
        return patch
    out = dict(base) if isinstance(base, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = _merge(out.get(name), value)
    return out
