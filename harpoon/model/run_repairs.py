"""Orders by which a run that went wrong is repaired."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harpoon.model.foreach import ITEMS_MAX
from harpoon.model.label import DONE
from harpoon.model.name import check_tags

REASON_MAX = 1_000
BY_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What every repair may say of itself; it is kept in the run's log."""

    #: Why; at most 1000 characters.
    reason: str = ""
    #: Who wants it; at most 200 characters.
    by: str = ""

    def __post_init__(self) -> None:
        if len(self.reason) > REASON_MAX:
            raise ValueError(f"reason has at most {REASON_MAX} characters")
        if len(self.by) > BY_MAX:
            raise ValueError(f"by has at most {BY_MAX} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRetry(Repair):
    """An operation of a run is to be done anew, and all that it leads to."""

    #: The operation; it was opened before.
    from_: str
    #: Of one with ``foreach``, or of a batch: do these items anew, by their numbers, and keep what the others came to;
    #: of an empty list: all that came to nothing. Null: all of it.
    items: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        Repair.__post_init__(self)
        if len(self.items or ()) > ITEMS_MAX:
            raise ValueError(f"items holds at most {ITEMS_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFork(RunRetry):
    """A run is to be begun that goes on from an operation of another one, which stays as it is."""

    #: Unique in the namespace, made by the client; absent: one is made.
    id: str | None = None
    #: Over those of the run that is forked; absent: those.
    inputs: Mapping[str, Any] = field(default_factory=dict)
    #: Absent: those of the run that is forked.
    tags: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        Repair.__post_init__(self)
        check_tags(self.tags or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMove(Repair):
    """An open run is to go by another generation of its workflow from now on."""

    #: Absent: what the workflow stands at.
    generation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMoved:
    """What became of the order to move a run, or would."""

    run: str
    #: The generation that it was on.
    before: str
    #: The one that it is to be on.
    generation: str
    is_moved: bool
    #: Why it cannot be moved; of one that is, nothing.
    because: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSkip(Repair):
    """A visit of an operation is to be closed as ``done``, without an output."""

    op: str
    #: Needed where several visits of it are open or have failed.
    visit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSet(Repair):
    """A visit of an operation is to be closed so: one that is open, has failed, or was cut short by the run's end."""

    op: str
    #: Needed where several visits of it are open or have failed.
    visit: int | None = None
    #: One that the operation offers.
    label: str = DONE
    output: Any = None
