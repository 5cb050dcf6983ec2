"""Moments, spans, sizes and mappings as the terminal writes them, in tables and sentences alike."""

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

from harpoon.kit.clock import SystemClock
from harpoon.model.units import parse_size

#: Ages are counted from then; None: from now.
NOW_MS: ContextVar[int | None] = ContextVar("now_ms", default=None)


def age(since_ms: object) -> str:
    """Say how long ago a moment (UTC milliseconds) was, in its largest unit; empty for none."""
    if not isinstance(since_ms, int) or since_ms <= 0:
        return ""
    now_ms = NOW_MS.get()
    seconds = max(0, (SystemClock().now().wall if now_ms is None else now_ms) - since_ms) // 1000
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def until(at_ms: object) -> str:
    """Write a moment (UTC milliseconds) in full; empty for none."""
    if not isinstance(at_ms, int):
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def in_zone(at_ms: object, zone: str) -> str:
    """Write a moment (UTC milliseconds) as clocks of a zone show it, to the minute; empty for none."""
    from harpoon.core.cron import local_of  # noqa: PLC0415 most tables need no calendar

    return f"{local_of(zone, at_ms):%Y-%m-%d %H:%M %Z}" if isinstance(at_ms, int) else ""


def pairs(mapping: object, *, joint: str = "=") -> str:
    """Write a mapping as ``a=1,b=2``."""
    return ",".join(f"{k}{joint}{v}" for k, v in mapping.items()) if isinstance(mapping, Mapping) else ""


def span(began_ms: object, ended_ms: object = None) -> str:
    """Say how long something took, or has taken so far, in two units at most; empty: it has not begun."""
    if not isinstance(began_ms, int):
        return ""
    until_ms = ended_ms if isinstance(ended_ms, int) else NOW_MS.get() or SystemClock().now().wall
    return length(max(0, until_ms - began_ms))


def length(milliseconds: int) -> str:
    """Write a span in two units at most: ``1.25s``, ``4m30s``, ``2d3h``."""
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.3g}s" if milliseconds < 59_950 else "60s"
    seconds = milliseconds // 1000
    for unit, size, lower, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size}{unit}" + (f"{rest}{lower}" if rest else "")
    raise AssertionError


def rounded(size: str) -> str:
    """Write a size with three digits, which is what fits a column: ``24684084Ki`` is ``23.5Gi``."""
    try:
        amount = float(parse_size(size))
    except ValueError:
        return size
    for unit in ("", "Ki", "Mi", "Gi"):
        if amount < 1000:
            return f"{amount:.3g}{unit}"
        amount /= 1024
    return f"{amount:.3g}Ti"
