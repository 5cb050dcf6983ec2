r"""How much it takes to compile a regular expression: the library does so anew each time that it is matched.

Measured: two microseconds for a plain character, thirty times that for a class of Unicode, and 250 ms for the twelve
characters ``(?i)\pL{300}``. So what is repeated counts as often as it is.
"""

import re
from typing import Final

#: Characters of a pattern.
PATTERN_MAX: Final = 256
#: Of the heaviest pattern, in plain characters: compiled within 3 ms.
WEIGHT_MAX: Final = 1_000
#: What a plain character costs, in bytes of other work.
_BYTES: Final = 700

_UNICODE, _CLASS, _ANY_CASE = 40, 4, 8
_UNICODE_CLASS: Final = re.compile(r"\\[pP]")
_TOKEN: Final = re.compile(
    r"(?P<case>\(\?[a-zA-Z-]*i)|(?P<open>\()|(?P<close>\))|(?P<unicode>\\[pP](?:\{[^}]*\}|.))|"
    r"(?P<class>\[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*\]|\\[dDsSwW]|\.)|"
    r"\{(?P<low>[0-9]+),?(?P<high>[0-9]*)\}|\\?.",
    re.DOTALL,
)


def weigh(pattern: str) -> int | str:
    """Return what it takes to compile a pattern once, in bytes of other work, or what is wrong with it."""
    if len(pattern) > PATTERN_MAX:
        return f"is longer than {PATTERN_MAX} characters; make it shorter"
    # What each open group weighs, and what the last thing in the innermost does.
    groups, last, factor = [0], 0, 1
    for token in _TOKEN.finditer(pattern):
        if token["low"]:
            groups[-1] += last * max(int(token["low"]), int(token["high"] or 0))
        elif token["case"] or token["open"]:
            groups.append(0)
            factor = _ANY_CASE if token["case"] else factor
        elif token["close"] and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        else:
            last = _weight(token)
            groups[-1] += last
    weight = (1 + sum(groups)) * factor
    return weight * _BYTES if weight <= WEIGHT_MAX else "repeats too much; write smaller numbers in {}"


def _weight(token: re.Match[str]) -> int:
    if token["class"]:
        return _CLASS + _UNICODE * len(_UNICODE_CLASS.findall(token["class"]))
    return _UNICODE if token["unicode"] else 1
