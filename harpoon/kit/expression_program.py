"""One expression made ready, checked and run by the library, `cel-expr-python`.

``inputs.amount > ops.pay.output.sum`` becomes ``_192 > _64``: of the places for each type, the first for a number and
the first for anything. So there is one environment of the library for all expressions of the process (one for each
workflow takes 0.4 ms and much memory), only what is used is handed over, types are known where schemas tell them, and
what is not there is absent, so that ``has()`` can ask for it. What names one value and does nothing else with it is not
given to the library at all.

The library (0.1.3) holds the interpreter's lock while it compiles and evaluates, so threads may share programs.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from cel_expr_python import cel
from google.protobuf.descriptor_pool import DescriptorPool

from harpoon.kit.expression_cost import VALUES_MAX, WORK_MAX, size_of, work_of
from harpoon.kit.expression_faults import failed, wrong
from harpoon.kit.expression_json import NoJson, to_json
from harpoon.kit.expression_names import Names, Type
from harpoon.kit.expression_places import ABSENT, PLACES, PLACES_MAX, Place, Way, Wrong, arrange, place_name, written
from harpoon.kit.expression_tree import Tree, Use, plain
from harpoon.kit.expression_walk import grow
from harpoon.kit.expression_wire import parsed

#: Bytes of one expression.
TEXT_MAX: Final = 4 << 10
#: Distinct expressions that are remembered.
_REMEMBERED: Final = 8_192

#: Types of places, as the library calls them.
_TYPES: Final[Mapping[Type, cel.Type]] = {
    Type.MAPPING: cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    Type.ANY: cel.Type.DYN,
    Type.TEXT: cel.Type.STRING,
    Type.NUMBER: cel.Type.DOUBLE,
    Type.WHOLE: cel.Type.INT,
    Type.BOOLEAN: cel.Type.BOOL,
    Type.TIME: cel.Type.TIMESTAMP,
    Type.LIST: cel.Type.LIST,
    Type.TEXTS: cel.Type.List(cel.Type.STRING),
    Type.NUMBERS: cel.Type.List(cel.Type.DOUBLE),
    Type.BOOLEANS: cel.Type.List(cel.Type.BOOL),
}
#: Names of types of results → ours.
_RESULTS: Final = {
    "BOOL": Type.BOOLEAN,
    "DOUBLE": Type.NUMBER,
    "DURATION": Type.SPAN,
    "DYN": Type.ANY,
    "INT": Type.WHOLE,
    "NULL": Type.NULL,
    "STRING": Type.TEXT,
    "TIMESTAMP": Type.TIME,
    "UINT": Type.WHOLE,
}
#: What the library raises, beside what it returns as errors.
_ERRORS: Final = (RuntimeError, ValueError, TypeError, OverflowError, SystemError)


class Failed(Exception):
    """An expression could not be evaluated; the message says why, and holds no value."""


class Program(NamedTuple):
    """An expression that is ready."""

    type: Type
    #: Such as ``inputs.order`` and ``ops.pay_back.output``.
    refs: frozenset[str]
    tree: Tree
    places: tuple[Place, ...]
    #: Of each use in the tree: which place.
    order: tuple[int, ...]
    #: None: it is the value of its one place.
    run: cel.Expression | None

    def value(self, scope: Mapping[str, Any]) -> Any:
        """Evaluate it.

        Raises:
            Failed: It has no value, or one that JSON does not have, or would take too much work.
        """
        if self.run is None:
            value = self.places[0].taken(scope)
            if value is ABSENT:
                raise Failed(f"{written(self.places[0].path)} is not there; has() tells whether something is")
            return value
        values = {place.name: value for place in self.places if (value := place.given(scope)) is not ABSENT}
        self._limit(values)
        try:
            result = self.run.eval(data=values)
            if result.type() == cel.Type.ERROR:
                raise Failed(self._told(str(result.value())))
            return to_json(result)
        except NoJson as error:
            raise Failed(f"the result {error}") from error
        except _ERRORS as error:
            raise Failed(self._told(str(error))) from error

    def _limit(self, values: Mapping[str, Any]) -> None:
        """Refuse what would take too long: the library cannot be stopped."""
        try:
            sizes = [size_of(values.get(place.name)) for place in self.places]
        except TypeError as error:
            raise Failed("it uses a value that is not one of JSON") from error
        if sum(sizes) > VALUES_MAX:
            raise Failed(f"the values that it uses are larger than {VALUES_MAX >> 10} KiB; use parts of them")
        if work_of(self.tree, [sizes[number] for number in self.order], list(values.values())) > WORK_MAX:
            raise Failed("it would take too much work; use shorter lists, or fewer loops within each other")

    def _told(self, said: str) -> str:
        return failed(said, self.tree.words, {place.name: written(place.path) for place in self.places})


def prepare(text: str, names: Names) -> Program:
    """Compile an expression.

    Raises:
        Wrong: It cannot be; the faults say what would be right.
    """
    program: Program | None = names.compiled.get(text)
    if program is None:
        if len(names.compiled) == _REMEMBERED:
            names.compiled.clear()
        program = names.compiled[text] = _prepare(text, names)
    return program


def _prepare(text: str, names: Names) -> Program:
    if len(text.encode()) > TEXT_MAX:
        raise Wrong((f"longer than {TEXT_MAX >> 10} KiB; make it shorter",))
    tree = _tree(text, names.roots())
    places, order, rewritten = arrange(text, tree, names)
    refs = frozenset(_ref(use) for use in tree.uses)
    if len(places) == 1 and places[0].way is Way.VALUE and rewritten.strip() == places[0].name:
        return Program(places[0].type, refs, tree, places, order, None)
    run, kind = _compile(rewritten)
    return Program(kind, refs, tree, places, order, run)


@lru_cache(_REMEMBERED)
def _tree(text: str, roots: tuple[str, ...]) -> Tree:
    if found := plain(text, roots):
        return found
    try:
        serialized = _environment().compile(text, disable_check=True).serialize()
    except _ERRORS as error:
        raise Wrong((wrong(str(error)),)) from error
    tree = grow(parsed(serialized), roots)
    if tree.faults:
        raise Wrong(tree.faults)
    return tree


@lru_cache(_REMEMBERED)
def _compile(rewritten: str) -> tuple[cel.Expression, Type]:
    try:
        expression = _environment().compile(rewritten)
        told = expression.return_type().name()
    except _ERRORS as error:
        raise Wrong((wrong(str(error)),)) from error
    kind = Type.LIST if told.startswith("LIST") else Type.MAPPING if told.startswith("MAP") else None
    return expression, kind or _RESULTS.get(told, Type.OTHER)


@cache
def _environment() -> cel.Env:
    """Return what all expressions are compiled in. A pool of its own: no messages of the store's protocol."""
    variables = {place_name(kind, number): _TYPES[kind] for kind in PLACES for number in range(PLACES_MAX)}
    return cel.NewEnv(descriptor_pool=DescriptorPool(), variables=variables)


def _ref(use: Use) -> str:
    told = [use.root, *map(str, use.parts), *([] if use.asked is None else [use.asked])]
    return ".".join(told[: {"ops": 3, "item": 1, "index": 1}.get(use.root, 2)])
