"""When a job is to run again and again: the schedule as declared, what is kept of it, and how it is shown.

What an expression means is said once, in `core.cron`; here it is only found out whether it means anything. Zones are
those of the package ``tzdata``, and not the machine's, so that a job is due at the same moments on all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache, lru_cache
from importlib.resources import files
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from harpoon.model.parameters import Value
from harpoon.model.units import Duration, Unit

#: Of a cron job: so that its children's names, which are longer by a time, are names, too.
CRON_NAME_MAX: Final = 51
#: No sensible expression is longer.
EXPRESSION_MAX: Final = 100
CATCH_UP_MIN: Final = timedelta(seconds=10)
CATCH_UP_MAX: Final = timedelta(days=7)

_FIELDS: Final = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day-of-month", "1 to 31, L (the last) or LW (the last weekday)"),
    ("month", "1 to 12, or JAN to DEC"),
    ("day-of-week", "0 to 7 (0 and 7 are Sunday), or SUN to SAT; MON#2 is the second Monday, 5L the last Friday"),
)
_SHAPE: Final = 'minute hour day-of-month month day-of-week, such as "0 2 * * *"'
#: Any moment does: what comes about at all comes about within 40 years.
_SOME_DAY: Final = datetime(2000, 1, 1)  # noqa: DTZ001 the wall clock of no zone


@lru_cache(maxsize=4096)
def _check_expression(text: str) -> str:
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"a cron expression has five fields: {_SHAPE}; got {len(parts)}")
    for place, (part, (name, right)) in enumerate(zip(parts, _FIELDS, strict=True)):
        alone = ["*"] * len(_FIELDS)
        alone[place] = part
        try:
            CronSim(" ".join(alone), _SOME_DAY)
        except CronSimError as error:
            raise ValueError(
                f"its {name} is {part!r}, which is none: write {right}, several with commas, a range as 1-5, "
                "or every so many as */15"
            ) from error
    try:
        next(CronSim(text, _SOME_DAY))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{text!r} never fires: there is no such day; change its day-of-month or month") from error
    return " ".join(parts)


def check_expression(text: object) -> str:
    """Return a cron expression, its fields one space apart.

    Raises:
        ValueError: It is none, or it never fires; the message names the field.
    """
    if not isinstance(text, str) or len(text) > EXPRESSION_MAX:
        raise ValueError(f"write a cron expression of at most {EXPRESSION_MAX} characters: {_SHAPE}")
    return _check_expression(text)


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(files("tzdata").joinpath("zones").read_text("ascii").split())


def check_timezone(name: object) -> str:
    """Return the name of a time zone.

    Raises:
        ValueError: There is none of that name; the message says which is meant, perhaps.
    """
    if not isinstance(name, str) or name not in zone_names():
        said = name[:80] if isinstance(name, str) else ""
        alike = sorted(one for one in zone_names() if one.lower() == said.lower().replace(" ", "_"))
        meant = f"; did you mean {alike[0]}?" if alike else ""
        raise ValueError(f"there is no time zone {said!r}: write one such as UTC or Europe/Berlin{meant}")
    return name


@cache
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone, given the name of one."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


Expression = Annotated[
    str,
    Unit(
        check_expression,
        str,
        str,
        "cron expression",
        {"type": "string", "maxLength": EXPRESSION_MAX, "examples": ["0 2 * * *", "*/15 * * * *"]},
    ),
]
Timezone = Annotated[
    str,
    Unit(
        check_timezone, str, str, "time zone", {"type": "string", "maxLength": 80, "examples": ["UTC", "Europe/Berlin"]}
    ),
]


class Overlap(StrEnum):
    """What becomes of a due while the child of an earlier one still runs."""

    #: Both run.
    ALLOW = "allow"
    #: It is skipped.
    FORBID = "forbid"
    #: The earlier one is unscheduled; once it is gone, the due is fired.
    REPLACE = "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """When a job's children are made."""

    #: Minute, hour, day of month, month, day of week.
    at: Expression
    #: The zone whose clocks that speaks of.
    timezone: Timezone = "UTC"
    overlap: Overlap = Overlap.FORBID
    #: The latest due is made up for if nobody could fire it in time, but no later than this.
    catch_up: Duration = timedelta(hours=1)

    def __post_init__(self) -> None:
        if not CATCH_UP_MIN <= self.catch_up <= CATCH_UP_MAX:
            raise ValueError("catch_up is 10s to 168h: less would be too little for one server to follow another")


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A child was made."""

    #: When it was due, UTC milliseconds; if an operator asked for it, when that was.
    due_ms: int
    #: When it was made.
    at_ms: int
    #: The child's name.
    job: str
    is_triggered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Dues for which no child was made."""

    #: The latest of them.
    due_ms: int
    #: When that was decided.
    at_ms: int
    #: One sentence.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CronRecord:
    """What is kept of a cron job beside the job: every due up to ``seen_ms`` is decided, once and for all."""

    namespace: str
    job: str
    #: What the dues are counted by; when the job's is another, they are counted anew from when it was declared.
    at: str
    timezone: str
    seen_ms: int
    #: Since when it is paused; None: it is not.
    paused_ms: int | None = None
    #: The latest due that was fired.
    fired: Firing | None = None
    #: The latest that an operator asked for.
    triggered: Firing | None = None
    skipped: Skip | None = None
    #: Dues that passed while nobody could fire them.
    missed: int = 0
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CronStatus:
    """How a cron job stands."""

    #: When it is due next, UTC milliseconds; null: it is paused, or never again.
    next_ms: int | None
    #: Since when it is paused; null: it is not.
    paused_ms: int | None
    #: Its children that are not over, the earliest first; of one that is being unscheduled, all that are left.
    running: tuple[str, ...]
    #: The latest due that was fired.
    fired: Firing | None
    #: The latest child that an operator asked for.
    triggered: Firing | None
    #: The latest due that was not fired, and why.
    skipped: Skip | None
    #: Dues that passed while nobody could fire them.
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CronOrder:
    """What an operator decides of a cron job; the path says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CronTrigger:
    """What the child is given that an operator asks for."""

    #: Values of the job's parameters; of those left out, as the job has it.
    arguments: Mapping[str, Value] = field(default_factory=dict)
