"""The state at a revision or at a time: a snapshot, and everything after it that is not beyond that."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from harpoon.kit.errors import HarpoonError
from harpoon.store.cluster import Cluster
from harpoon.store.past.line import Damaged, End, Header, Record, Whole
from harpoon.store.past.segment import Span, items
from harpoon.store.port import Entry


class Revision(NamedTuple):
    """A revision that is asked for."""

    incarnation: int
    number: int


class Time(NamedTuple):
    """A time that is asked for, UTC milliseconds."""

    at_ms: int


Point = Revision | Time


class Gap(NamedTuple):
    """What is not kept between two segments: changes after one revision, up to the other."""

    after: str
    before: str
    after_ms: int
    before_ms: int
    reason: str


class NotKept(HarpoonError):
    """The history does not reach there."""

    def __init__(self, message: str, *, gap: Gap | None = None) -> None:
        super().__init__(message)
        self.gap = gap


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All records as they stood."""

    about: Cluster
    #: The last one that changed anything.
    revision: int
    #: When that was seen, UTC milliseconds.
    at_ms: int
    #: In the order of their keys.
    entries: tuple[Entry, ...]
    #: The segment that it was read from.
    segment: int
    #: The first revision that it is no longer the state at; None: it ends what was read.
    next: Record | None

    def answers(self, point: Point) -> bool:
        """Whether this is certainly what stood at a point that lies in its segment."""
        if isinstance(point, Revision):
            return point.number == self.revision or (
                self.next is not None and self.revision < point.number < self.next.revision
            )
        return self.next is not None and not self.next.is_late and self.at_ms <= point.at_ms < self.next.at_ms


def gaps(spans: Sequence[Span]) -> list[Gap]:
    """Return what is missing between segments, oldest first."""
    return [gap_between(one, two) for one, two in pairwise(spans) if not follows(one, two)]


def follows(one: Span, two: Span) -> bool:
    """Whether nothing is missing between two segments."""
    return two.continues and (one.about, one.end, one.number + 1) == (two.about, two.start, two.number)


def gap_between(one: Span, two: Span) -> Gap:
    """Return what is missing between two segments."""
    reason = "a segment between them is missing or damaged" if two.continues else two.reason
    return Gap(external(one, one.end), external(two, two.start), one.end_ms, two.start_ms, reason)


def external(span: Span, revision: int) -> str:
    """Write a revision the way it is shown outside."""
    return f"{span.about.incarnation}.{revision}"


def find(spans: Sequence[Span], point: Point) -> Span:
    """Return the segment to read; of several that tell of a revision, for the store was set back, the latest.

    Args:
        spans: Oldest first, all of one cluster.
        point: What is asked for.

    Raises:
        NotKept: There is none.
    """
    if not spans:
        raise NotKept("nothing is kept yet")
    if isinstance(point, Time):
        return _at_time(spans, point)
    for span in reversed(spans):
        if span.about.incarnation == point.incarnation and span.start <= point.number <= span.end:
            return span
    asked = f"{point.incarnation}.{point.number}"
    for one, two in pairwise(spans):
        if (one.about.incarnation, one.end) < point < (two.about.incarnation, two.start):
            gap = gap_between(one, two)
            raise NotKept(f"{asked} is not kept: the history has a gap {_between(gap)}", gap=gap)
    raise NotKept(f"{asked} is not kept: {_reach(spans)}")


def _at_time(spans: Sequence[Span], point: Time) -> Span:
    at = max((place for place, span in enumerate(spans) if span.start_ms <= point.at_ms), default=None)
    if at is None:
        raise NotKept(f"that time is not kept: {_reach(spans)}")
    span = spans[at]
    if point.at_ms > span.end_ms and at + 1 < len(spans) and not follows(span, spans[at + 1]):
        gap = gap_between(span, spans[at + 1])
        raise NotKept(f"that time is not kept: the history has a gap {_between(gap)}", gap=gap)
    return span


def _reach(spans: Sequence[Span]) -> str:
    first, last = spans[0], spans[-1]
    return f"the history reaches from {_at(first, first.start, first.start_ms)} to {_at(last, last.end, last.end_ms)}"


def _between(gap: Gap) -> str:
    times = f"{format_time(gap.after_ms)} and {format_time(gap.before_ms)}"
    return f"between {gap.after} and {gap.before}, {times}: {gap.reason}"


def _at(span: Span, revision: int, at_ms: int) -> str:
    return f"{external(span, revision)} ({format_time(at_ms)})"


def format_time(wall_ms: int) -> str:
    """Write a time (UTC milliseconds) as it is read."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fold(span: Span, point: Point) -> State:
    """Return the state at a point within a segment, by reading it up to there.

    Raises:
        NotKept: The segment is gone or damaged, or the time lies where only the order of revisions is known.
    """
    try:
        return _fold(span, point)
    except FileNotFoundError as error:
        raise NotKept(f"segment {span.number} of the history was deleted meanwhile, over the budget") from error
    except Damaged as error:
        raise NotKept(f"segment {span.number} of the history is damaged: {error}") from error
    except OSError as error:
        raise NotKept(f"segment {span.number} of the history cannot be read: {error.strerror or error}") from error


def _fold(span: Span, point: Point) -> State:
    known: dict[str, Entry] = {}
    revision, at_ms, until, is_whole = span.start, span.start_ms, span.start_ms, False
    following: Record | None = None
    with span.path.open("rb") as file:
        for _, item in items(file, span.size):
            match item:
                case Whole():
                    is_whole = item.entries == len(known)
                case Record():
                    if _is_after(item, point):
                        following = _mind_late(item, point, until)
                        break
                    until = item.at_ms
                    if item.changes:
                        revision, at_ms = item.revision, item.at_ms
                        _apply(known, item)
                case Header() | End():
                    pass
                case _:
                    known.update((entry.key, entry) for entry in item)
    if not is_whole:
        raise Damaged("its snapshot is not whole")
    return State(
        about=span.about,
        revision=revision,
        at_ms=at_ms,
        entries=tuple(known[key] for key in sorted(known)),
        segment=span.number,
        next=following,
    )


def _is_after(record: Record, point: Point) -> bool:
    return record.revision > point.number if isinstance(point, Revision) else record.at_ms > point.at_ms


def _mind_late(record: Record, point: Point, until_ms: int) -> Record:
    """Return the first record that is too late, unless it may have happened before the time asked for.

    Raises:
        NotKept: It may.
    """
    if isinstance(point, Time) and record.is_late and point.at_ms > until_ms:
        raise NotKept(
            "what stood then is not known: this instance did not follow the store at that time, and learned of "
            f"revision {record.revision} and the next ones later, without their times; ask for a revision"
        )
    return record


def _apply(known: dict[str, Entry], record: Record) -> None:
    for key, entry in record.changes:
        if entry is None:
            known.pop(key, None)
        else:
            known[key] = entry
