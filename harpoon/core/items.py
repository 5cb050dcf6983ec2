"""The items of an operation with ``foreach``: whether another one may be opened, and what they come to all together.

Nothing here looks through the items: a group counts what becomes of them as they close.
"""

from collections.abc import Sequence
from typing import Final

from harpoon.core.graph import Each, Node
from harpoon.core.measure import json_bytes
from harpoon.core.visit import Group
from harpoon.model.label import DONE, FAIL, FAILURES
from harpoon.model.operation import OUTPUT_LARGEST
from harpoon.model.units import format_size

#: Bytes of the list of what items come to.
LIST_MAX: Final = OUTPUT_LARGEST
_NULL: Final = 4


def group_of(each: Each, items: list[object]) -> Group:
    """Return the group of a visit that was just opened."""
    count = len(items)
    group = Group(items, done=bytearray(count))
    if each.is_collecting:
        group.outputs = [None] * count
        group.bytes = max(2, 1 + (_NULL + 1) * count)
    return group


def group_after(before: Group, anew: Sequence[int]) -> Group:
    """Return the group of a visit that does some items of an earlier one anew, and keeps what the others came to."""
    group = Group(
        before.items, done=bytearray(before.done), outputs=list(before.outputs), bytes=before.bytes, anew=anew
    )
    for index in anew:
        group.done[index] = 0
        if group.outputs and group.outputs[index] is not None:
            group.bytes -= json_bytes(group.outputs[index]) - _NULL
            group.outputs[index] = None
    group.failed = len(group.items) - sum(group.done) - len(anew)
    return group


def has_room(each: Each, group: Group) -> bool:
    """Whether another item may be opened."""
    return group.opened < group.count and len(group.open) < each.parallel and group.failed <= each.tolerate


def note(each: Each, group: Group, index: int, label: str, output: object, error: str) -> None:
    """Take note of what became of an item."""
    del group.open[index]
    if label in FAILURES:
        group.failed += 1
        group.failure = group.failure or (index, label, error)
        return
    group.done[index] = 1
    if each.is_collecting and output is not None:
        group.bytes += json_bytes(output) - _NULL
        if group.bytes > LIST_MAX:
            group.outputs = []
        else:
            group.outputs[index] = output


def verdict(each: Each, group: Group) -> tuple[str, str] | None:
    """Return the label and the error that a visit is closed with by what its items came to; None: it goes on."""
    if group.failed > each.tolerate:
        return FAIL, _too_many(each, group)
    if group.open or group.opened < group.count:
        return None
    if group.bytes > LIST_MAX:
        most = format_size(LIST_MAX)
        return FAIL, f"what its items came to takes more than {most} together; collect: false leaves it out"
    return DONE, ""


def list_of(node: Node, group: Group, label: str) -> object:
    """Return the output of a visit that is closed so."""
    is_told = label == DONE and node.each is not None and node.each.is_collecting
    return group.outputs if is_told else None


def _too_many(each: Each, group: Group) -> str:
    assert group.failure is not None, "some have failed"
    index, label, error = group.failure
    first = f"item {index} closed as {label}{': ' if error else ''}{error}"
    if not each.tolerate:
        return first
    return f"{group.failed} of {len(group.items)} items failed, and tolerate is {each.tolerate}; {first}"
