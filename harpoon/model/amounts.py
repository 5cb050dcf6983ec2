"""Amounts of what operators count themselves, such as graphics processors or licences: name → a whole number."""

import re
from collections.abc import Mapping

AMOUNTS_MAX = 16
AMOUNT_MAX = 1_000_000_000
RESOURCE_NAME_PATTERN = r"^[a-z]([a-z0-9_-]{0,61}[a-z0-9])?$"
_NAME = re.compile(RESOURCE_NAME_PATTERN, re.ASCII)
#: What has a field of its own.
_KNOWN = ("cpu", "memory")


def check_amounts(amounts: Mapping[str, int]) -> None:
    """Check the names and the amounts.

    Raises:
        ValueError: They are not as they should be; the message says what would be right.
    """
    if len(amounts) > AMOUNTS_MAX:
        raise ValueError(f"named holds at most {AMOUNTS_MAX} resources")
    for name, amount in amounts.items():
        if name in _KNOWN:
            raise ValueError(f"{name} is no named resource: write resources.{name} of a task, --{name} of an agent")
        if not _NAME.fullmatch(name):
            raise ValueError(
                "a resource's name is 1 to 63 of a-z, 0-9, '_' and '-', starts with a letter and ends with a letter "
                f"or digit; got {name[:80]!r}"
            )
        if not 0 <= amount <= AMOUNT_MAX:
            raise ValueError(f"{name} is a whole number from 0 to {AMOUNT_MAX}; got {amount}")
