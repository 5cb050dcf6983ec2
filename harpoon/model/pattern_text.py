"""Reads the text of a pattern into its parts; what they match, `model.pattern` finds out."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

#: How often a part may be said to be there.
TIMES_MAX: Final = 256
_TIMES: Final[Mapping[str, tuple[int, int | None]]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
#: Groups within each other.
_DEPTH_MAX: Final = 16

Range = tuple[str, str]
_LAST: Final = "\U0010ffff"
_DIGITS: Final[tuple[Range, ...]] = (("0", "9"),)
_WORD: Final[tuple[Range, ...]] = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_SPACE: Final[tuple[Range, ...]] = (("\t", "\r"), (" ", " "))
_CLASSES: Final = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROL: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}
_SPECIAL: Final = frozenset("\\^$.|?*+()[]{}/-")


class Set(NamedTuple):
    """One character of several."""

    ranges: tuple[Range, ...]
    is_negated: bool = False

    def has(self, character: str) -> bool:
        """Whether it is a character of these."""
        return any(low <= character <= high for low, high in self.ranges) is not self.is_negated


class Row(NamedTuple):
    """One thing after the other."""

    parts: tuple["Part", ...]


class Either(NamedTuple):
    """One of several things."""

    ways: tuple["Part", ...]


class Times(NamedTuple):
    """A thing so many times."""

    part: "Part"
    least: int
    #: None: as often as one likes.
    most: int | None


Part = Set | Row | Either | Times


class Reader:
    """Reads one pattern."""

    def __init__(self, text: str) -> None:
        self.is_from_start = text.startswith("^")
        self.is_to_end = text.endswith("$") and (len(text) - len(text[:-1].rstrip("\\"))) % 2 == 1
        self._text = text
        self._at = int(self.is_from_start)
        self._end = len(text) - int(self.is_to_end)
        self._depth = 0

    def whole(self) -> Part:
        """Read all of it.

        Raises:
            ValueError: It is no pattern.
        """
        part = self._either()
        if self._at < self._end:
            raise self._wrong("there is no '(' to this ')'")
        if isinstance(part, Either) and (self.is_from_start or self.is_to_end):
            raise ValueError("pattern: with '^' or '$', put the ways between '|' into a group, as in ^(a|b)$")
        return part

    def _wrong(self, what: str) -> ValueError:
        return ValueError(f"pattern: character {self._at + 1}: {what}")

    def _peek(self) -> str:
        return self._text[self._at] if self._at < self._end else ""

    def _take(self, what: str = "it ends too early") -> str:
        if self._at >= self._end:
            raise self._wrong(what)
        self._at += 1
        return self._text[self._at - 1]

    def _either(self) -> Part:
        ways = [self._row()]
        while self._peek() == "|":
            self._take()
            ways.append(self._row())
        return ways[0] if len(ways) == 1 else Either(tuple(ways))

    def _row(self) -> Part:
        parts = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._times(self._one()))
        return Row(tuple(parts))

    def _one(self) -> Part:
        sign = self._peek()
        readers: Mapping[str, Callable[[], Part]] = {"(": self._group, "[": self._brackets, "\\": self._escape}
        if sign in readers:
            return readers[sign]()
        if sign in "^$*+?{}]":
            raise self._wrong(f"'{sign}' has no meaning here; write '\\{sign}' for the character")
        character = self._take()
        return _one_character("\n")._replace(is_negated=True) if character == "." else _one_character(character)

    def _group(self) -> Part:
        self._take()
        if self._peek() == "?":
            self._take()
            if self._take() != ":":
                raise self._wrong("of groups that begin with '(?', there is only '(?:'")
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise self._wrong(f"more than {_DEPTH_MAX} groups within each other")
        part = self._either()
        self._take("a group is not closed; write ')'")
        self._depth -= 1
        return part

    def _escape(self) -> Set:
        self._take()
        character = self._take()
        if character.lower() in _CLASSES:
            return Set(_CLASSES[character.lower()], is_negated=character.isupper())
        if character not in _CONTROL and character not in _SPECIAL:
            raise self._wrong(f"there is no escape '\\{character}'")
        return _one_character(_CONTROL.get(character, character))

    def _brackets(self) -> Set:
        self._take()
        is_negated = self._peek() == "^"
        self._at += int(is_negated)
        ranges: list[Range] = []
        while self._peek() != "]":
            ranges += self._range()
        self._take()
        return Set(tuple(ranges), is_negated)

    def _range(self) -> tuple[Range, ...]:
        """Read one entry of a set in brackets."""
        first = self._entry()
        if self._peek() != "-" or self._text[self._at + 1 : self._at + 2] == "]":
            return _outer(first)
        self._take()
        last = self._entry()
        low, high = first.ranges[0][0], last.ranges[0][0]
        if first != _one_character(low) or last != _one_character(high):
            raise self._wrong("a range is from one character to another")
        if low > high:
            raise self._wrong(f"the range {low}-{high} is the wrong way round")
        return ((low, high),)

    def _entry(self) -> Set:
        if self._peek() == "\\":
            return self._escape()
        return _one_character(self._take("a set is not closed; write ']'"))

    def _times(self, part: Part) -> Part:
        """Read how often a part is there."""
        sign = self._peek()
        if sign == "{":
            least, most = self._numbers()
        elif sign in _TIMES:
            self._take()
            least, most = _TIMES[sign]
        else:
            return part
        if self._peek() == "?":
            # As few as possible: whether it matches is the same.
            self._take()
        return Times(part, least, most)

    def _numbers(self) -> tuple[int, int | None]:
        self._take()
        inside = ""
        while self._peek() not in ("}", ""):
            inside += self._take()
        low, comma, high = inside.partition(",")
        if not (low.isdecimal() and low.isascii() and (not high or (high.isdecimal() and high.isascii()))):
            raise self._wrong("write how often as {2}, {2,} or {2,4}")
        self._take("a repetition is not closed; write '}'")
        least, most = int(low), int(high) if high else (None if comma else int(low))
        if max(least, most or 0) > TIMES_MAX or (most is not None and most < least):
            raise self._wrong(f"{{{inside}}} is too often, or the wrong way round")
        return least, most


def _one_character(character: str) -> Set:
    return Set(((character, character),))


def _outer(one: Set) -> tuple[Range, ...]:
    """Return the ranges of what a set has."""
    if not one.is_negated:
        return one.ranges
    found, after = [], "\0"
    for low, high in one.ranges:
        found.append((after, chr(ord(low) - 1)))
        after = chr(ord(high) + 1)
    return (*found, (after, _LAST))
