"""Upper bounds as they are told: in few digits, and never as less than they are."""

from typing import Final

from harpoon.model.units import format_size

_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
#: Spans that are shorter (ms) are told in steps of so many ms; longer ones in hours.
_STEPS: Final = ((_SECOND, 1), (10 * _SECOND, 10), (_MINUTE, 100), (_HOUR, _SECOND), (_DAY, _MINUTE))
#: The unit that a span is told in if it has one of it whole, and the next smaller one.
_UNITS: Final = (("d", _DAY, "h", _HOUR), ("h", _HOUR, "m", _MINUTE), ("m", _MINUTE, "s", _SECOND))


def span_at_most(span_ms: int) -> str:
    """Write a span (ms) in two units at most, rounded up: ``1.25s``, ``4m30s``, ``2d3h``."""
    step = next((step for below, step in _STEPS if span_ms < below), _HOUR)
    told_ms = -(-span_ms // step) * step
    if told_ms < _MINUTE:
        return f"{told_ms}ms" if 0 < told_ms < _SECOND else f"{told_ms / _SECOND:.3g}s"
    unit, size, lower, part = next(one for one in _UNITS if told_ms >= one[1])
    rest = told_ms % size // part
    return f"{told_ms // size}{unit}" + (f"{rest}{lower}" if rest else "")


def size_at_most(size: int) -> str:
    """Write a size (bytes) in whole units, rounded up: in a larger one where there are ten of it."""
    step = next((1 << bits for bits in (30, 20, 10) if size >= 10 << bits), 1)
    return format_size(-(-size // step) * step)
