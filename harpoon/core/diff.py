"""The difference of two JSON values, as edits. Same inputs, same edits, in the same order.

Mappings are compared by key, sorted; lists by index. Whatever is told of a value passes `redact` first, leaf by
leaf, but values are compared before that: that a hidden value has changed is told, what it is is not.
"""

from collections.abc import Callable, Iterator
from typing import Any

from harpoon.model.edit import Edit, EditOp

#: From the pointer of a leaf and its value to what may be told of it.
Redact = Callable[[str, Any], Any]


def openly(_pointer: str, value: Any) -> Any:
    """Tell every value as it is."""
    return value


def diff(old: Any, new: Any, *, redact: Redact = openly) -> tuple[Edit, ...]:
    """Return what turns ``old`` into ``new``; nothing when they are equal.

    Args:
        old: JSON: mappings, lists, texts, numbers, truth values, None.
        new: Likewise.
        redact: Decides what of a value may be told.
    """
    return tuple(_compare("", old, new, redact))


def _compare(pointer: str, old: Any, new: Any, redact: Redact) -> Iterator[Edit]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            at = f"{pointer}/{_escaped(key)}"
            if key not in new:
                yield Edit(pointer=at, op=EditOp.REMOVE, old=_told(at, old[key], redact))
            elif key not in old:
                yield Edit(pointer=at, op=EditOp.ADD, new=_told(at, new[key], redact))
            else:
                yield from _compare(at, old[key], new[key], redact)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _compare_lists(pointer, old, new, redact)
    # True is not 1, and 1 is not 1.0: what is written differently differs.
    elif type(old) is not type(new) or old != new:
        told = (_told(pointer, old, redact), _told(pointer, new, redact))
        yield Edit(pointer=pointer, op=EditOp.REPLACE, old=told[0], new=told[1])


def _compare_lists(pointer: str, old: list[Any], new: list[Any], redact: Redact) -> Iterator[Edit]:
    for index, pair in enumerate(zip(old, new, strict=False)):
        yield from _compare(f"{pointer}/{index}", *pair, redact)
    for index in range(len(old), len(new)):
        at = f"{pointer}/{index}"
        yield Edit(pointer=at, op=EditOp.ADD, new=_told(at, new[index], redact))
    # From the end, so that no removal moves what a later one points to.
    for index in range(len(old) - 1, len(new) - 1, -1):
        at = f"{pointer}/{index}"
        yield Edit(pointer=at, op=EditOp.REMOVE, old=_told(at, old[index], redact))


def _told(pointer: str, value: Any, redact: Redact) -> Any:
    if isinstance(value, dict):
        return {key: _told(f"{pointer}/{_escaped(key)}", inner, redact) for key, inner in value.items()}
    if isinstance(value, list):
        return [_told(f"{pointer}/{index}", inner, redact) for index, inner in enumerate(value)]
    return redact(pointer, value)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
