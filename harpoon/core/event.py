"""What may happen in a run: the events of its log, and how they are written.

A run is the fold of its log (`core.fold`), so an event holds all that was decided, and all that it was decided from
that cannot be read off the events before it: the moment, the values of expressions, the signal that was consumed.
It does not hold what follows from the workflow: which triggers are complete, what a retry has used up, what is over.

Rules.

1. The events of a run are numbered from 1 without a gap, and their ``now_ms`` never falls.
2. An event is written as a JSON array: its letter, then its fields in order; what is empty at the end is left out.
   Fields are only ever added at the end, and what a newer release wrote there is passed over on reading.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from harpoon.model.run import Status


class Opened(NamedTuple):
    """A visit that an event opens, with its first attempt; a part of other events."""

    op: str
    #: From 1; one beyond the ``visits`` of its operation closes as ``exhausted`` in the next event.
    visit: int
    #: Index of the trigger that fired; None: the operation is where the run starts.
    trigger: int | None = None
    #: The values that its expressions came to.
    input: object = None
    #: Why they came to none; it closes as ``fail`` in the next event.
    error: str | None = None
    #: Of a wait for a signal, the key that it must have; of a worker's operation, that its concurrency counts under.
    key: str | None = None
    #: Of a wait for a time.
    due_ms: int | None = None


class Started(NamedTuple):
    """The first event: what opens the run."""

    seq: int
    now_ms: int
    opened: tuple[Opened, ...] = ()


class Claimed(NamedTuple):
    """An attempt is a worker's, by a token of its own."""

    seq: int
    now_ms: int
    op: str
    visit: int
    attempt: int
    token: str
    worker: str = ""
    session: str = ""


class Closed(NamedTuple):
    """An attempt ended; and its visit with it, unless it is tried again."""

    seq: int
    now_ms: int
    op: str
    visit: int
    attempt: int
    #: Of the claim that it ends; empty: nobody had claimed it.
    token: str
    label: str
    #: None, if a signal is named: its payload is the output.
    output: object = None
    error: str = ""
    #: What fired.
    opened: tuple[Opened, ...] = ()
    #: Not None: ``label`` is a condition that is retried, and the next attempt may be claimed from then on.
    retry_ms: int | None = None
    #: Id of the signal that is consumed.
    signal: str | None = None
    #: Attempts, each (operation, visit, number), that are closed as ``cancelled`` by this: items of the visit.
    cancelled: tuple[tuple[str, int, int], ...] = ()


class Fired(NamedTuple):
    """Triggers that were complete fired: those that had not gone into one record with what completed them."""

    seq: int
    now_ms: int
    opened: tuple[Opened, ...] = ()


class Warned(NamedTuple):
    """Most of a clock has run; ``op`` is empty if it is the run's own."""

    seq: int
    now_ms: int
    op: str
    visit: int
    attempt: int
    #: `core.dues.Clock`.
    clock: str


class Signalled(NamedTuple):
    """A signal came: it is kept until a wait consumes it."""

    seq: int
    now_ms: int
    id: str
    name: str
    key: str | None
    label: str
    payload: object = None


class Paused(NamedTuple):
    """From now on nothing is claimed, fired or consumed."""

    seq: int
    now_ms: int
    by: str = ""
    #: It is as the run that called it is; that goes beside its being paused by hand.
    is_callers: bool = False


class Resumed(NamedTuple):
    """It goes on, unless it is paused otherwise; ``opened`` is what had come together meanwhile."""

    seq: int
    now_ms: int
    by: str = ""
    opened: tuple[Opened, ...] = ()
    #: As of `Paused`.
    is_callers: bool = False


class CancelAsked(NamedTuple):
    """Somebody wants it ended."""

    seq: int
    now_ms: int
    reason: str = ""


class Ended(NamedTuple):
    """It is over: whatever is still open is closed as ``cancelled`` by it. Nothing but a repair follows."""

    seq: int
    now_ms: int
    status: Status
    outputs: object = None
    reason: str = ""


class RetriedFrom(NamedTuple):
    """Somebody has an operation, and all that it leads to, done anew (`core.repair`); an ended run goes on by it."""

    seq: int
    now_ms: int
    op: str
    #: By then the run is over.
    deadline_ms: int
    by: str = ""
    reason: str = ""
    #: Id of the order: the same again is not another; empty: it has none.
    order: str = ""
    #: (operation, visit, attempt) of what was open and is closed as ``cancelled`` by it.
    cancelled: tuple[tuple[str, int, int], ...] = ()
    #: The operation, and what the end of the run had broken off.
    opened: tuple[Opened, ...] = ()
    #: Of an operation with ``foreach``: the items that are done anew, while it keeps the others; None: all are.
    items: tuple[int, ...] | None = None


class SetTo(NamedTuple):
    """Somebody closes a visit that is open, has failed, or was cut short; an ended run goes on by it."""

    seq: int
    now_ms: int
    op: str
    visit: int
    #: The one that was open; 0: none was.
    attempt: int
    label: str
    #: By then the run is over.
    deadline_ms: int
    output: object = None
    by: str = ""
    reason: str = ""
    #: As of `RetriedFrom`.
    order: str = ""
    #: Its items that were under way, as of `RetriedFrom`.
    cancelled: tuple[tuple[str, int, int], ...] = ()
    opened: tuple[Opened, ...] = ()


class Moved(NamedTuple):
    """From now on it goes by another generation of its workflow (`core.moving`)."""

    seq: int
    now_ms: int
    generation: str
    by: str = ""
    reason: str = ""
    #: As of `RetriedFrom`.
    order: str = ""
    #: What had come together for that one.
    opened: tuple[Opened, ...] = ()


Event = (
    Started
    | Claimed
    | Closed
    | Fired
    | Warned
    | Signalled
    | Paused
    | Resumed
    | CancelAsked
    | Ended
    | RetriedFrom
    | SetTo
    | Moved
)

_KINDS: Final[dict[str, type[Event]]] = {
    "s": Started,
    "c": Claimed,
    "x": Closed,
    "f": Fired,
    "w": Warned,
    "g": Signalled,
    "p": Paused,
    "r": Resumed,
    "a": CancelAsked,
    "e": Ended,
    "t": RetriedFrom,
    "u": SetTo,
    "m": Moved,
}
_LETTERS: Final = {kind: letter for letter, kind in _KINDS.items()}
#: Where a kind has what it opens.
_OPENED_AT: Final = {kind: kind._fields.index("opened") for kind in _LETTERS if "opened" in kind._fields}
#: Where a kind has attempts that it cancels.
_CANCELLED_AT: Final = {kind: kind._fields.index("cancelled") for kind in _LETTERS if "cancelled" in kind._fields}
_ITEMS_AT: Final = RetriedFrom._fields.index("items")
_WIDTHS: Final = {kind: len(kind._fields) for kind in _LETTERS}
_OPENED_WIDTH: Final = len(Opened._fields)


def _defaults(kind: type[Event] | type[Opened]) -> list[object]:
    """Return what its last fields have when they are left out, the last one first, as it is written."""
    told: list[object] = [[] if default == () else default for default in kind._field_defaults.values()]
    return told[::-1]


_DEFAULTS: Final = {kind: _defaults(kind) for kind in _LETTERS}
_OPENED_DEFAULTS: Final = _defaults(Opened)


def dump(event: Event) -> list[object]:
    """Return an event as a JSON array."""
    kind = type(event)
    written: list[object] = [_LETTERS[kind], *event]
    at = _OPENED_AT.get(kind)
    if at is not None:
        written[at + 1] = [_trim(list(opened), _OPENED_DEFAULTS) for opened in cast("tuple[Opened, ...]", event[at])]
    at = _CANCELLED_AT.get(kind)
    if at is not None:
        written[at + 1] = [list(each) for each in cast("tuple[tuple[str, int, int], ...]", event[at])]
    if kind is RetriedFrom and event[_ITEMS_AT] is not None:
        written[_ITEMS_AT + 1] = list(cast("tuple[int, ...]", event[_ITEMS_AT]))
    return _trim(written, _DEFAULTS[kind])


def load(written: Sequence[object]) -> Event:
    """Return the event that `dump` wrote.

    Raises:
        ValueError: It is none.
    """
    kind = _KINDS.get(cast("str", written[0])) if written else None
    if kind is None:
        raise ValueError(f"no event begins with {list(written[:1])}")
    fields = list(written[1 : _WIDTHS[kind] + 1])
    at = _OPENED_AT.get(kind)
    if at is not None and len(fields) > at:
        opened = cast("list[list[object]]", fields[at])
        fields[at] = tuple([Opened(*each[:_OPENED_WIDTH]) for each in opened])  # type: ignore[arg-type]
    at = _CANCELLED_AT.get(kind)
    if at is not None and len(fields) > at:
        fields[at] = tuple([tuple(each[:3]) for each in cast("list[list[object]]", fields[at])])
    if kind is RetriedFrom and len(fields) > _ITEMS_AT and fields[_ITEMS_AT] is not None:
        fields[_ITEMS_AT] = tuple(cast("list[int]", fields[_ITEMS_AT]))
    if kind is Ended:
        fields[2:3] = [Status(cast("str", status)) for status in fields[2:3]]
    try:
        return kind(*fields)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"an event {written[0]!r} of {len(fields)} fields lacks some") from error


def _trim(written: list[object], defaults: Sequence[object]) -> list[object]:
    """Leave out at the end what is as it is when it is left out."""
    for default in defaults:
        if written[-1] != default:
            break
        written.pop()
    return written
