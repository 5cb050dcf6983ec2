"""Reading the past: a view of what stood, so that the very code that tells of the present tells of it.

Nothing here is a second way to say how a job stands, or why. A state is folded from the history by a thread, which also
makes a view of it and the index that slots are placed by; both are then read like the present ones, and never change.
``now`` is the time at which the revision was seen.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from harpoon.control.bookings import Bookings
from harpoon.control.view import View
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Gone, Invalid, Problem, Unavailable
from harpoon.model.instant import Instant
from harpoon.model.past import HistoryBudget, HistoryStatus, KeptGap, KeptInterval
from harpoon.store.cluster import Cluster
from harpoon.store.past.archive import of_registry
from harpoon.store.past.budget import Budget
from harpoon.store.past.fold import NotKept, Point, Revision, State, external, find, fold, follows, gaps
from harpoon.store.past.frozen import FrozenStore
from harpoon.store.past.recorder import Condition, Recorder, Recording
from harpoon.store.past.segment import Span

#: Views of the past that are kept for the next who asks, and records in all of them; the last one is, in any case.
MOMENTS_MAX: Final = 4
RECORDS_MAX: Final = 200_000
#: What has happened already is written within so long, or whoever asks for it is told that it is not.
WRITTEN_WITHIN_S: Final = 3.0
#: The latest gaps are told.
GAPS_TOLD: Final = 100


class Source(Protocol):
    """What is read: a history that is being recorded, or one that nobody writes."""

    @property
    def about(self) -> Cluster:
        """Whose registry it is of."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """Its segments, oldest first."""

    @property
    def directory(self) -> Path:
        """Where it is."""

    @property
    def through(self) -> int:
        """The revision up to which all is recorded."""

    @property
    def condition(self) -> Condition | None:
        """How recording does; None: nobody records."""

    async def written(self, revision: int) -> None:
        """Wait until everything up to a revision is recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What stood at one revision."""

    view: View
    #: The index that slots were placed by.
    bookings: Bookings
    #: When the revision was seen.
    now: Instant
    state: State


class Past:
    """Views of what stood, made when they are asked for, one after the other.

    Args:
        source: The history.
        view: The present one.
        clock: Tells the present time.
    """

    def __init__(self, source: Source, view: View, clock: Clock) -> None:
        self._source = source
        self._view = view
        self._clock = clock
        #: Held while one is made: it takes a thread for up to some seconds, and two of them would only be slower.
        self._making = asyncio.Lock()
        #: The one that was asked for last is the last.
        self._made: OrderedDict[tuple[int, int], Moment] = OrderedDict()

    @property
    def spans(self) -> tuple[Span, ...]:
        """The segments of this registry, oldest first."""
        return of_registry(self._source.spans, self._source.about.id)

    async def at(self, point: Point) -> Moment:
        """Return what stood at a point.

        Raises:
            Invalid: It is in the future.
            Gone: It is not kept.
            Unavailable: It is not written yet.
        """
        await self._written(point)
        async with self._making:
            spans = self.spans
            try:
                span = find(spans, self._within(point, spans))
                moment = self._known(span, point)
                if moment is None:
                    moment = await asyncio.to_thread(_make, span, point)
            except NotKept as error:
                raise _gone(error, spans) from error
            self._keep(moment)
            return moment

    async def settled(self) -> tuple[Span, ...]:
        """Return the segments once they tell of all that has happened until now, or as they are if that takes long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITTEN_WITHIN_S):
                await self._source.written(self._view.revision)
        return self.spans

    def status(self) -> HistoryStatus:
        """Tell what is kept, and how that does."""
        source, spans = self._source, self.spans
        condition, budget = source.condition, getattr(source, "budget", None)
        missing = gaps(spans)
        return HistoryStatus(
            revision=self._view.external(self._view.revision),
            state="closed" if condition is None else condition.state.value,
            reason="" if condition is None else condition.reason,
            since_ms=None if condition is None else condition.since_ms,
            through=self._view.external(source.through) if spans else None,
            directory=str(source.directory),
            bytes=sum(span.size for span in source.spans),
            budget=HistoryBudget(age_ms=budget.age_ms, bytes=budget.size) if isinstance(budget, Budget) else None,
            queued=getattr(source, "queued", 0),
            kept=tuple(_interval(run) for run in _runs(spans)),
            gaps=tuple(KeptGap(**one._asdict()) for one in missing[-GAPS_TOLD:]),
        )

    async def _written(self, point: Point) -> None:
        """Wait until what is asked for is recorded, if it has happened.

        Raises:
            Invalid: It has not.
            Unavailable: It is not recorded in time.
        """
        source, wanted = self._source, self._wanted(point)
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITTEN_WITHIN_S):
                if source.condition is None or source.condition.state is not Recording.FAILING:
                    await source.written(wanted)
        if source.through < wanted:
            why = f": {source.condition.reason}" if source.condition is not None and source.condition.reason else ""
            raise Unavailable(f"the history is written up to {self._view.external(source.through)} only{why}")

    def _wanted(self, point: Point) -> int:
        """Return the revision up to which the history is to tell, so that a point can be answered.

        Raises:
            Invalid: That is in the future.
        """
        if self._source.condition is None:
            return 0
        view = self._view
        if isinstance(point, Revision):
            if point > (view.incarnation, view.revision):
                at = view.external(view.revision)
                raise ahead(f"{point.incarnation}.{point.number} is yet to come: this instance is at {at}")
            return point.number if point.incarnation == view.incarnation else 0
        if point.at_ms > self._clock.now().wall:
            raise ahead("that time is yet to come")
        last = self.spans[-1:]
        return view.revision if not last or point.at_ms > last[0].end_ms else 0

    def _within(self, point: Point, spans: tuple[Span, ...]) -> Point:
        """Return a point that a segment holds: since the last record nothing has happened."""
        last = spans[-1] if spans else None
        is_recorded = self._source.condition is not None
        if last is None:
            return point
        if not isinstance(point, Revision):
            if not is_recorded and point.at_ms > last.end_ms:
                raise NotKept("that time is not kept: the history ends before it")
            return point
        is_silence = point.incarnation == last.about.incarnation and last.end < point.number <= self._source.through
        return point._replace(number=last.end) if is_silence else point

    def _known(self, span: Span, point: Point) -> Moment | None:
        made = (moment for (segment, _), moment in self._made.items() if segment == span.number)
        return next((moment for moment in made if moment.state.answers(point)), None)

    def _keep(self, moment: Moment) -> None:
        key = (moment.state.segment, moment.state.revision)
        self._made[key] = moment
        self._made.move_to_end(key)
        while len(self._made) > MOMENTS_MAX or (
            len(self._made) > 1 and sum(len(one.state.entries) for one in self._made.values()) > RECORDS_MAX
        ):
            self._made.popitem(last=False)


def ahead(detail: str) -> Invalid:
    """Make the error that tells that a point is in the future."""
    return Invalid(f"at: {detail}", [Problem(pointer="?at", detail=detail)])


def moment_of(state: State) -> Moment:
    """Return a view of what stood, with its index. It takes a while, and belongs to a thread."""
    at = Instant(elapsed=timedelta(milliseconds=state.at_ms), wall=state.at_ms)
    view, bookings = asyncio.run(_load(state))
    return Moment(view=view, bookings=bookings, now=at, state=state)


def _make(span: Span, point: Point) -> Moment:
    return moment_of(fold(span, point))


async def _load(state: State) -> tuple[View, Bookings]:
    view = View(FrozenStore(state), incarnation=state.about.incarnation, cluster=state.about.id)
    await view.mirror.load()
    bookings = Bookings(view)
    await bookings.load()
    return view, bookings


def _gone(error: NotKept, spans: tuple[Span, ...]) -> Gone:
    oldest = external(spans[0], spans[0].start) if spans else ""
    return Gone(str(error), oldest=oldest, gaps=[one._asdict() for one in gaps(spans)[-GAPS_TOLD:]])


def _runs(spans: tuple[Span, ...]) -> Iterator[list[Span]]:
    """Yield segments by so many that follow one another."""
    run: list[Span] = []
    for span in spans:
        if run and not follows(run[-1], span):
            yield run
            run = []
        run.append(span)
    if run:
        yield run


def _interval(run: list[Span]) -> KeptInterval:
    first, last = run[0], run[-1]
    return KeptInterval(
        start=external(first, first.start),
        end=external(last, last.end),
        start_ms=first.start_ms,
        end_ms=last.end_ms,
        bytes=sum(span.size for span in run),
        segments=len(run),
    )


class PastMetrics(Collector):
    """How the recording of a history does, read when it is asked for.

    Args:
        recorder: Records it.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        recorder = self._recorder
        up = "Whether the history follows the store."
        is_up = recorder.condition.state is Recording.FOLLOWING
        yield GaugeMetricFamily("harpoon_history_up", up, value=float(is_up))
        yield GaugeMetricFamily(
            "harpoon_history_revision", "Revision up to which the history tells all.", value=recorder.through
        )
        yield GaugeMetricFamily(
            "harpoon_history_bytes", "Bytes of the history.", value=sum(span.size for span in recorder.spans)
        )
        yield GaugeMetricFamily("harpoon_history_queued", "Revisions that wait to be written.", value=recorder.queued)
        yield CounterMetricFamily(
            "harpoon_history_gaps", "Times that something was not recorded, since the start.", value=recorder.gaps
        )


class Closed:
    """A history that nobody writes.

    Args:
        directory: Where it is.
        spans: Its segments, oldest first; the last one says whose registry it is of.
    """

    def __init__(self, directory: Path, spans: tuple[Span, ...]) -> None:
        self.directory = directory
        self.spans = spans
        self.about = spans[-1].about
        self.condition: Condition | None = None

    @property
    def through(self) -> int:
        """The revision up to which all is recorded."""
        return self.spans[-1].end

    async def written(self, revision: int) -> None:
        """Wait for nothing."""
