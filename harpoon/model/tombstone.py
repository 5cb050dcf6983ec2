"""What runs may be called, and what is left of one that is not kept any more."""

import re
from dataclasses import dataclass
from typing import Final

from harpoon.model.run import Status

#: No slash, since it is a part of keys and of URLs.
RUN_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
_RUN_ID: Final = re.compile(RUN_ID_PATTERN, re.ASCII)


def check_run_id(run: str) -> str:
    """Return ``run`` if a run may be called so.

    Raises:
        ValueError: It may not; the message says what would be right.
    """
    if _RUN_ID.fullmatch(run) is None:
        raise ValueError(
            f"id is 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', starting with a letter or digit; got {run[:80]!r}"
        )
    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """What is left of a run that is not kept any more, so that the same start again is not another run."""

    body_hash: str
    status: Status
    #: When it was taken away, UTC milliseconds.
    purged_ms: int
