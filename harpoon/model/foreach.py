"""``foreach``: what an operation is done for, item by item."""

from dataclasses import dataclass
from typing import Any, Final

#: Any value that JSON has.
Json = Any

ITEMS_MAX: Final = 10_000
MAX_DEFAULT: Final = 500
PARALLEL_DEFAULT: Final = 50
#: What goes through operations that go together.
STEPS: Final = "steps"
#: Characters of an expression.
_EXPRESSION_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreach:
    """The items that an operation is done for, each for itself, and how."""

    #: A list, or an expression, ``${…}``, whose value is one.
    items: str | tuple[Json, ...]
    #: Items that there may be; one with more is closed as ``fail``.
    max: int = MAX_DEFAULT
    #: Items that are under way at once; 1: one after the other, in their order.
    parallel: int = PARALLEL_DEFAULT
    #: Items that may fail; at one more it is closed as ``fail``, and what is under way is cancelled.
    tolerate: int = 0
    #: Whether its output is the list of what the items came to, in their order; else it has none.
    collect: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.items, str) and not 0 < len(self.items) <= _EXPRESSION_MAX:
            raise ValueError(f"items is an expression of 1 to {_EXPRESSION_MAX} characters, or a list")
        _check_counts(max=self.max, parallel=self.parallel, tolerate=self.tolerate)
        if isinstance(self.items, tuple) and len(self.items) > self.max:
            raise ValueError(f"items has {len(self.items)}, and max is {self.max}; raise max, up to {ITEMS_MAX}")

    @property
    def most(self) -> int:
        """How many items there are at most."""
        return len(self.items) if isinstance(self.items, tuple) else self.max


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """How operations without edges are gone through, in the order of their names: as items are, each another one."""

    #: Operations that are under way at once; 1: one after the other.
    parallel: int = PARALLEL_DEFAULT
    #: Operations that may fail; at one more the run fails, and what is under way is cancelled.
    tolerate: int = 0
    #: Whether the list of what they came to is kept, for ``outputs``: as ``ops.steps.output``.
    collect: bool = False

    def __post_init__(self) -> None:
        _check_counts(parallel=self.parallel, tolerate=self.tolerate)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        least = 0 if name == "tolerate" else 1
        if not least <= count <= ITEMS_MAX:
            raise ValueError(f"{name} is {least} to {ITEMS_MAX}")
