"""How much of the past is kept: for how long, and in how many bytes; whichever is less."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from harpoon.model.units import format_duration, format_size, parse_duration, parse_size

#: Less holds no history worth the name.
BYTES_MIN: Final = 1 << 20
AGE_MIN: Final = timedelta(minutes=1)
_FORM: Final = "write how long and how many bytes, such as 7d,1Gi; or one of them"
#: A segment may grow to so much before another one begins, or as large as its snapshot; and to such a part of all.
_SEGMENT_BYTES: Final = (1 << 20, 64 << 20)
_PARTS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be kept; what is older, or more, is deleted by whole segments.

    Raises:
        ValueError: It is too little.
    """

    age: timedelta = timedelta(days=7)
    size: int = 1 << 30

    def __post_init__(self) -> None:
        if self.age < AGE_MIN or self.size < BYTES_MIN:
            least = f"{format_duration(AGE_MIN)},{format_size(BYTES_MIN)}"
            raise ValueError(f"a history's budget is {least} at least; got {self}")

    def __str__(self) -> str:
        """As it is written on a command line."""
        return f"{format_duration(self.age)},{format_size(self.size)}"

    @property
    def age_ms(self) -> int:
        """The age in milliseconds."""
        return self.age // timedelta(milliseconds=1)

    def is_full(self, records_size: int, snapshot_size: int) -> bool:
        """Whether a segment has grown enough: reading one is reading little more than two snapshots."""
        least, most = _SEGMENT_BYTES
        return records_size >= max(min(least, self.size // _PARTS), min(snapshot_size, most))

    def is_old(self, span_ms: int) -> bool:
        """Whether a segment has lasted enough: it is deleted as one."""
        return span_ms >= self.age_ms // _PARTS


def parse_budget(text: str) -> Budget:
    """Read ``7d,1Gi``, ``7d`` or ``1Gi``; what is not said is as it is by default.

    Raises:
        ValueError: It is neither.
    """
    told: dict[str, object] = {}
    for part in text.split(","):
        try:
            name, value = "age", parse_duration(part.strip())
        except ValueError:
            try:
                name, value = "size", parse_size(part.strip())  # type: ignore[assignment]
            except ValueError as error:
                raise ValueError(f"{_FORM}; got {text[:80]!r}") from error
        if name in told:
            raise ValueError(f"{_FORM}; got {text[:80]!r}")
        told[name] = value
    return Budget(**told)  # type: ignore[arg-type]
