"""How two forms of a job differ, as data: one `Edit` for each value that does."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class EditOp(StrEnum):
    """What became of a value."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One value that differs. In their order, edits turn the old form into the new one, as JSON Patch would."""

    #: JSON pointer into ``{metadata: {tags}, spec}``.
    pointer: str
    op: EditOp
    #: The value before; null where there was none.
    old: Any = None
    #: The value after; null where there is none.
    new: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """How two versions of a job differ."""

    revision: str
    from_: int
    to: int
    #: Whether tasks of the one are replaced on the way to the other.
    is_new_generation: bool
    changes: tuple[Edit, ...]
