"""Sub-runs: runs that an operation of another run has started, and what they are called.

``o-1~pack.2`` is what the second visit of operation ``pack`` of run ``o-1`` has started; ``o-1~pack.2.3`` is what the
third attempt of that visit has. Users' ids have no ``~``. Runs that were started by each other make a family, which is
called by the part before the first ``~``, and lives in one shard.
"""

import re
from dataclasses import dataclass
from typing import Final

from harpoon.model.tombstone import RUN_ID_PATTERN, check_run_id

#: Stands between the id of a run and what of it has started another.
MARK: Final = "~"
#: Calls within each other.
DEPTH_MAX: Final = 8
#: Of a run that a user has started, or of a sub-run.
ANY_RUN_PATTERN: Final = (
    RUN_ID_PATTERN.removesuffix("$") + rf"({MARK}[a-z][a-z0-9_]{{0,62}}(\.[1-9][0-9]{{0,9}}){{1,2}}){{0,{DEPTH_MAX}}}$"
)
_ANY_RUN: Final = re.compile(ANY_RUN_PATTERN, re.ASCII)
#: Follows the name of an operation in that of what is done for each of its items.
_EACH: Final = "[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The attempt that has started a run."""

    run: str
    op: str
    visit: int
    attempt: int


def sub_run_id(caller: Caller) -> str:
    """Return the id of the run that an attempt starts."""
    # Of steps that go together, ``steps[3]``, each has its own name: ``steps_3``.
    op = caller.op.removesuffix(_EACH).replace("[", "_").removesuffix("]")
    stem = f"{caller.run}{MARK}{op}.{caller.visit}"
    return stem if caller.attempt == 1 else f"{stem}.{caller.attempt}"


def family_of(run: str) -> str:
    """Return what the family of a run is called, given its id, or its key: the same of the run that began it."""
    return run.partition(MARK)[0]


def parent_of(run: str) -> str | None:
    """Return the id of the run that has started another, given that one's; None: a user has."""
    parent, mark, _ = run.rpartition(MARK)
    return parent if mark else None


def check_any_run(run: str) -> str:
    """Return ``run`` if a run may be called so, or a sub-run.

    Raises:
        ValueError: It may not; the message says what would be right.
    """
    return run if _ANY_RUN.fullmatch(run) else check_run_id(run)
