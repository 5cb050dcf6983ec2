"""The values that an expression uses, put in places of known types: text with names of places instead of paths.

A place's name tells its type (see `PLACES`), so that equal text is equal in meaning, whatever workflow it is of.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from harpoon.kit.expression_names import RUN, Names, Type, locate
from harpoon.kit.expression_tree import Part, Tree, Use

#: Values of one type that one expression may use.
PLACES_MAX: Final = 64
#: Types of places; the order gives their names.
PLACES: Final = (
    Type.MAPPING,
    Type.ANY,
    Type.TEXT,
    Type.NUMBER,
    Type.WHOLE,
    Type.BOOLEAN,
    Type.TIME,
    Type.LIST,
    Type.TEXTS,
    Type.NUMBERS,
    Type.BOOLEANS,
)
ABSENT: Final = object()

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
#: A field or an element, as it stands behind what it is taken of. Escapes are left to the library.
_GAP: Final = r"(?:\s|//[^\n]*\n)*"
_PART: Final = re.compile(
    rf"{_GAP}(?:\.{_GAP}(?:([A-Za-z_][A-Za-z0-9_]*)|`([^`]*)`)|\[{_GAP}(?:\"([^\"\\]*)\"|'([^'\\]*)'|([0-9]+)){_GAP}\])"
)


class Wrong(ValueError):
    """An expression cannot be compiled; ``faults`` tell why."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Way(Enum):
    """What of a value is used."""

    VALUE = auto()
    #: Whether it has some fields.
    ASKED = auto()
    #: A loop goes over it: of a mapping, the names of its fields, in their order; the library has none.
    ELEMENTS = auto()


class Place(NamedTuple):
    """Where a value goes, and where it comes from."""

    name: str
    type: Type
    #: As the expression has it, and as the scope does.
    path: tuple[Part, ...]
    source: tuple[Part, ...]
    way: Way = Way.VALUE
    #: The fields that are asked for: name → the same in the scope.
    asked: tuple[tuple[str, str], ...] = ()

    def taken(self, scope: Mapping[str, Any]) -> Any:
        """Return the value as JSON has it, or `ABSENT`."""
        value = _found(self.source, scope)
        if self.type is Type.TIME and value is not ABSENT:
            return (_EPOCH + value * _MILLISECOND).isoformat().replace("+00:00", "Z")
        return value

    def given(self, scope: Mapping[str, Any]) -> Any:
        """Return the value as the library takes it, or `ABSENT`."""
        value = _found(self.source, scope)
        if self.way is Way.ELEMENTS and isinstance(value, Mapping):
            return list(value)
        if self.way is Way.ASKED:
            there = value if isinstance(value, Mapping) else {}
            return {name: True for name, key in self.asked if key in there}
        if self.type is Type.TIME and value is not ABSENT:
            return _EPOCH + value * _MILLISECOND
        if self.type is Type.WHOLE and isinstance(value, float) and value.is_integer():
            return int(value)
        return value


class Arrangement(NamedTuple):
    """An expression whose values have their places."""

    places: tuple[Place, ...]
    #: Of each use in the tree: which place.
    order: tuple[int, ...]
    #: The expression, with names of places in it.
    text: str


def place_name(kind: Type, number: int) -> str:
    """Return the name of one of the places of a type."""
    return f"_{PLACES.index(kind) * PLACES_MAX + number}"


def arrange(text: str, tree: Tree, names: Names) -> Arrangement:
    """Find a place for everything that an expression uses.

    Raises:
        Wrong: It uses what there is not, or too much.
    """
    places: dict[tuple[tuple[Part, ...], Way], Place] = {}
    counts = dict.fromkeys(PLACES, 0)
    cuts, keys, faults = list[_Cut](), list[tuple[tuple[Part, ...], Way]](), dict[str, None]()
    for use in tree.uses:
        ends = _ends(text, use)
        try:
            count, kind = locate(names, use, len(ends) - 1)
        except ValueError as error:
            faults[str(error)] = None
            continue
        way = _way(use, count, kind)
        kind = Type.TEXTS if way is Way.ELEMENTS and kind is Type.MAPPING else kind
        key = (use.root, *use.parts[:count]), way
        if key not in places and counts[kind] == PLACES_MAX:
            faults[f"it uses more than {PLACES_MAX} values of one type; make several of it"] = None
            continue
        if key not in places:
            places[key] = Place(place_name(kind, counts[kind]), kind, key[0], _source(key[0]), way)
            counts[kind] += 1
        if way is Way.ASKED:
            asked = (str(use.asked), str(_source((use.root, *use.parts, str(use.asked)))[-1]))
            places[key] = places[key]._replace(asked=tuple(dict.fromkeys((*places[key].asked, asked))))
        cuts.append(_Cut(use.offset, ends[count], places[key].name))
        keys.append(key)
    if faults:
        raise Wrong(tuple(faults))
    numbers = {key: number for number, key in enumerate(places)}
    return Arrangement(tuple(places.values()), tuple(numbers[key] for key in keys), _rewrite(text, cuts))


def written(path: tuple[Part, ...]) -> str:
    """Return a path as it is written in an expression."""
    told = str(path[0])
    for part in path[1:]:
        if isinstance(part, int):
            told += f"[{part}]"
        else:
            told += f".{part}" if _PLAIN.fullmatch(part) else f"[{part!r}]"
    return told


class _Cut(NamedTuple):
    """A part of the text, and what takes its place."""

    start: int
    end: int
    name: str


def _way(use: Use, count: int, kind: Type) -> Way:
    if count < len(use.parts):
        return Way.VALUE
    if use.asked is not None:
        return Way.ASKED
    return Way.ELEMENTS if use.is_range and kind in (Type.MAPPING, Type.ANY) else Way.VALUE


def _ends(text: str, use: Use) -> list[int]:
    """Return where the root ends in the text, and each part that stands right behind it."""
    assert text.startswith(use.root, use.offset)
    ends = [use.offset + len(use.root)]
    for part in use.parts:
        match = _PART.match(text, ends[-1])
        if match is None or str(part) not in match.groups():
            break
        ends.append(match.end())
    return ends


def _rewrite(text: str, cuts: list[_Cut]) -> str:
    """Put names of places in the text; characters keep their places, as far as they can."""
    pieces, at = [], 0
    for cut in sorted(cuts):
        pieces += [text[at : cut.start], cut.name.ljust(cut.end - cut.start)]
        at = cut.end
    return "".join([*pieces, text[at:]])


def _source(path: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return where a path leads in the scope."""
    return (path[0], RUN[str(path[1])][0], *path[2:]) if path[0] == "run" and len(path) > 1 else path


def _found(path: tuple[Part, ...], scope: Mapping[str, Any]) -> Any:
    value: Any = scope
    for part in path:
        if isinstance(part, str):
            if not isinstance(value, Mapping) or part not in value:
                return ABSENT
        elif not isinstance(value, list) or not 0 <= part < len(value):
            return ABSENT
        value = value[part]
    return value
