"""What a YAML scalar without quotes stands for: YAML 1.2's core schema, less what JSON cannot hold.

Not YAML 1.1, of which most readers still are: there ``no`` is false, ``22:22`` is 1342 and ``012`` is ten.
"""

import re
from collections.abc import Mapping

from harpoon.kit.strict import INT_MAX, INT_MIN, TOO_LARGE

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_BASES = {"o": 8, "x": 16}
#: More digits than any number of 64 bits has; longer ones are not even converted.
_DIGITS_MAX = 24


def resolve(text: str) -> tuple[object, str | None]:
    """Return the value of a scalar without quotes, and what is wrong with it, or None."""
    if text in _WORDS:
        return _WORDS[text], None
    if text[0] not in "+-.0123456789":
        return text, None
    if _INT.fullmatch(text):
        number = int(text, _BASES.get(text[1:2], 10)) if len(text) <= _DIGITS_MAX else INT_MAX + 1
        return (number, None) if INT_MIN <= number <= INT_MAX else (None, TOO_LARGE)
    if _FLOAT.fullmatch(text):
        amount = float(text)
        return (None, TOO_LARGE) if amount in (float("inf"), float("-inf")) else (amount, None)
    if _NOT_JSON.fullmatch(text):
        return None, f"{text} is not a number that JSON has"
    return text, None
