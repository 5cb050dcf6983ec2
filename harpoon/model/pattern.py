"""Regular expressions that take time in proportion to the text, whatever is written in them, and whatever the text.

Python's own try every way to match in turn, and some patterns have very many; here all ways are followed at once, as
the bits of a number (Glushkov's automaton). So there is only what can be matched so: characters, ``.``, escapes, sets
in brackets, groups, ``|``, ``* + ? {m} {m,n}``, ``^`` as the first and ``$`` as the last character. No references back,
no looking around, no word boundaries. A pattern matches anywhere in a text, unless ``^`` and ``$`` say otherwise.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from harpoon.model.pattern_text import Either, Part, Reader, Row, Set

#: Characters of a pattern.
PATTERN_MAX: Final = 256
#: Characters that it stands for, all repetitions written out.
POSITIONS_MAX: Final = 256
#: Parts of it, all repetitions written out: those that stand for no character count, too.
_BUILT_MAX: Final = 4096
#: Sets of ways, and characters, whose following is remembered.
_REMEMBERED_MAX: Final = 1024


class _Ends(NamedTuple):
    """Where a part may begin and end, as bits of positions, and whether it may be nothing."""

    first: int
    last: int
    is_optional: bool


_NOTHING: Final = _Ends(0, 0, is_optional=True)


@dataclass(slots=True, eq=False)
class Pattern:
    """A pattern, compiled; made by `Pattern.of`."""

    text: str
    is_from_start: bool
    is_to_end: bool
    _sets: list[Set] = field(default_factory=list)
    #: Position → the positions that may follow.
    _follow: list[int] = field(default_factory=list)
    _ends: _Ends = _NOTHING
    _built: int = 0
    _followed: dict[int, int] = field(default_factory=dict)
    _taking: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def of(text: str) -> "Pattern":
        """Return the pattern that a text is.

        Raises:
            ValueError: It is none; the message says why, and where.
        """
        return _compiled(text)

    def is_in(self, text: str) -> bool:
        """Whether it matches a text."""
        first, last, is_optional = self._ends
        if is_optional and not (self.is_from_start and self.is_to_end):
            return True
        if not text:
            return is_optional
        active = 0
        for number, character in enumerate(text):
            coming = self._after(active)
            if number == 0 or not self.is_from_start:
                coming |= first
            active = coming & self._that_take(character)
            if active & last and not self.is_to_end:
                return True
            if not active and self.is_from_start:
                return False
        return bool(active & last)

    def build(self, part: Part) -> _Ends:
        """Give a part its positions, and note what follows within it."""
        self._built += 1
        if len(self._sets) > POSITIONS_MAX or self._built > _BUILT_MAX:
            raise ValueError(f"pattern stands for more than {POSITIONS_MAX} characters; make it shorter")
        match part:
            case Set():
                self._sets.append(part)
                self._follow.append(0)
                bit = 1 << (len(self._sets) - 1)
                return _Ends(bit, bit, is_optional=False)
            case Row(parts):
                whole = _NOTHING
                for one in parts:
                    whole = self._joined(whole, self.build(one))
                return whole
            case Either(ways):
                ends = [self.build(one) for one in ways]
                first = last = 0
                for one_way in ends:
                    first, last = first | one_way.first, last | one_way.last
                return _Ends(first, last, any(one_way.is_optional for one_way in ends))
            case _:
                return self._repeated(part.part, part.least, part.most)

    def finish(self, ends: _Ends) -> None:
        """Take where the whole begins and ends."""
        self._ends = ends

    def _repeated(self, part: Part, least: int, most: int | None) -> _Ends:
        whole = _NOTHING
        for _ in range(least if most is not None else max(least - 1, 0)):
            whole = self._joined(whole, self.build(part))
        if most is None:
            ends = self.build(part)
            self._link(ends.last, ends.first)
            return self._joined(whole, ends._replace(is_optional=ends.is_optional or least == 0))
        for _ in range(most - least):
            whole = self._joined(whole, self.build(part)._replace(is_optional=True))
        return whole

    def _joined(self, one: _Ends, other: _Ends) -> _Ends:
        self._link(one.last, other.first)
        return _Ends(
            one.first | (other.first if one.is_optional else 0),
            other.last | (one.last if other.is_optional else 0),
            one.is_optional and other.is_optional,
        )

    def _link(self, before: int, after: int) -> None:
        for position in _bits(before):
            self._follow[position] |= after

    def _after(self, active: int) -> int:
        """Return the positions that may follow on some."""
        found = self._followed.get(active)
        if found is None:
            found = 0
            for position in _bits(active):
                found |= self._follow[position]
            if len(self._followed) < _REMEMBERED_MAX:
                self._followed[active] = found
        return found

    def _that_take(self, character: str) -> int:
        """Return the positions that take a character."""
        found = self._taking.get(character)
        if found is None:
            found = sum(1 << position for position, one in enumerate(self._sets) if one.has(character))
            if len(self._taking) < _REMEMBERED_MAX:
                self._taking[character] = found
        return found


@lru_cache(maxsize=256)
def _compiled(text: str) -> Pattern:
    if len(text) > PATTERN_MAX:
        raise ValueError(f"pattern is at most {PATTERN_MAX} characters")
    reader = Reader(text)
    part = reader.whole()
    pattern = Pattern(text, reader.is_from_start, reader.is_to_end)
    pattern.finish(pattern.build(part))
    return pattern


def _bits(number: int) -> list[int]:
    """Return the positions of the bits that are set."""
    found = []
    while number:
        low = number & -number
        found.append(low.bit_length() - 1)
        number ^= low
    return found
