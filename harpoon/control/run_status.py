"""How runs stand, read from the store, by whatever instance is asked: what is told is durable, and nobody is disturbed.

Only who could do the work of a run is not in the store. Its holder knows that (`core.run_why.Floor`).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from harpoon.control.ledger_records import run_key
from harpoon.control.run_reader import RunReader
from harpoon.control.view import GRAPHS
from harpoon.core import run_picture, run_why
from harpoon.core.chronicle import Chronicle, read
from harpoon.core.event import Event, dump
from harpoon.core.measure import json_bytes
from harpoon.core.run_picture import UNKNOWN, Plot, most_of
from harpoon.core.run_why import Floor, Join
from harpoon.core.wiring import wire
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Gone, NotFound
from harpoon.model.header import Header
from harpoon.model.run_shown import AttemptObject, Measure, RunDetail, RunMeasures, RunObject
from harpoon.model.why import Why
from harpoon.model.workflow import GraphRecord
from harpoon.store.port import Store

#: Workflows kept at hand, each in one form.
PLOTS_MAX: Final = 256
#: Events taken in before others get their turn.
_SLICE: Final = 2_000
#: Bytes of outputs in a list; those of one run are shown whole.
LISTED_BYTES_MAX: Final = 4 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plotted:
    """What is to be known of a workflow, in the form that a run is on, to show the run."""

    plot: Plot
    joins: tuple[Join, ...]


class Seen(NamedTuple):
    """A run as it stands in the store."""

    header: Header
    told: Chronicle
    plotted: Plotted
    #: Of its records, about.
    bytes: int


_UNKNOWN: Final = Plotted(plot=UNKNOWN, joins=())


class RunStatus:
    """Tells how runs stand.

    Args:
        store: Where they are.
        reader: Reads the records of runs there.
        clock: What ``now`` is told by.
    """

    def __init__(self, store: Store, reader: RunReader, clock: Clock) -> None:
        self.reader = reader
        self._store = store
        self._clock = clock
        #: (namespace, workflow, generation) → what is known of it.
        self._plots: OrderedDict[tuple[str, str, str], Plotted] = OrderedDict()

    async def existing(self, namespace: str, run: str) -> Header:
        """Return the header of a run that is kept.

        Raises:
            NotFound: There never was such a run.
            Gone: It is not kept any more.
            StoreUnavailable: The store could not answer.
        """
        key = run_key(namespace, run)
        header = await self.reader.header(key)
        if header is not None:
            return header
        tombstone = await self.reader.tombstone(key)
        if tombstone is not None:
            raise Gone(f"run {run} has {tombstone.status.value}, and is not kept any more", oldest="")
        raise NotFound(f"there is no run {run} in namespace {namespace}")

    async def detail(self, namespace: str, run: str) -> RunDetail:
        """Return all there is to tell of a run; the errors are those of `existing`."""
        seen = await self._see(namespace, run)
        told, plot, now_ms = seen.told, seen.plotted.plot, self._clock.now().wall
        visits, left = run_picture.visits(told, plot, now_ms)
        shown = shown_header(_caught_up(seen))
        fields = {name: getattr(shown, name) for name in RunObject.__slots__}
        return RunDetail(
            **fields,
            measures=_measures(seen, now_ms),
            operations=run_picture.measures(told, plot),
            visits=visits,
            visits_left=left,
            signals=run_picture.signals(told),
        )

    async def attempts(self, namespace: str, run: str) -> Iterator[AttemptObject]:
        """Return every attempt of a run; the errors are those of `existing`."""
        seen = await self._see(namespace, run)
        return run_picture.attempts(seen.told, seen.plotted.plot, self._clock.now().wall)

    async def why(self, namespace: str, run: str, floor: Floor | None, revision: str) -> Why:
        """Say why a run stands as it does; the errors are those of `existing`.

        Args:
            namespace: Of the run.
            run: Its id.
            floor: What the exchange knows of those who could do the work; None: it could not be asked.
            revision: That the answer is of.
        """
        seen = await self._see(namespace, run)
        told = seen.told
        causes = run_why.why(told, seen.plotted.plot, seen.plotted.joins, floor, self._clock.now().wall)
        return Why(
            revision=revision,
            subject=f"run/{run}",
            state="paused" if told.is_paused and told.ended_ms is None else told.status.value,
            summary=run_why.summary(told),
            is_fine=told.status.value == "succeeded",
            reasons=tuple(cause.sentence for cause in causes),
            causes=causes,
        )

    async def _see(self, namespace: str, run: str) -> Seen:
        header = await self.existing(namespace, run)
        events = await self.reader.events(run_key(namespace, run), header)
        told = await asyncio.to_thread(read, events) if len(events) > _SLICE else read(events)
        plotted = await self._plotted(namespace, header.workflow, header.generation)
        size = header.bytes or await _size_of(events)
        return Seen(header, told, plotted, size)

    async def _plotted(self, namespace: str, workflow: str, generation: str) -> Plotted:
        key = (namespace, workflow, generation)
        found = self._plots.get(key)
        if found is None:
            entry = await self._store.get(f"{GRAPHS}{namespace}/{workflow}/{generation}")
            if entry is None:
                return _UNKNOWN
            found = self._plots[key] = await asyncio.to_thread(_plotted, entry.value)
            if len(self._plots) > PLOTS_MAX:
                self._plots.popitem(last=False)
        self._plots.move_to_end(key)
        return found


def shown_header(header: Header, *, is_listed: bool = False) -> RunObject:
    """Return a run as lists show it, given its header."""
    outputs = header.outputs
    if is_listed and json_bytes(outputs) > LISTED_BYTES_MAX:
        outputs = None
    return RunObject(
        namespace=header.namespace,
        id=header.run,
        workflow=header.workflow,
        generation=header.generation,
        status=header.status.value,
        is_paused=header.is_paused,
        reason=header.reason or (header.cancel_reason or ""),
        tags=header.tags,
        inputs=header.inputs,
        outputs=outputs,
        created_ms=header.created_ms,
        deadline_ms=header.deadline_ms,
        ended_ms=header.ended_ms,
    )


def _caught_up(seen: Seen) -> Header:
    """Return a header as the log has it, which was read after it."""
    header, told = seen.header, seen.told
    if told.ended_ms is None or header.ended_ms is not None:
        return header
    return replace(header, status=told.status, ended_ms=told.ended_ms, outputs=told.outputs, reason=told.reason)


def _plotted(record: bytes) -> Plotted:
    spec = codec.load(GraphRecord, record).spec
    wiring, _ = wire(spec)
    joins = tuple(Join(one.index, one.op, one.members) for one in wiring.triggers if len(one.members) > 1)
    most = {name: most_of(operation) for name, operation in spec.operations.items()}
    return Plotted(plot=Plot(operations=spec.operations, most=most), joins=joins)


async def _size_of(events: list[Event]) -> int:
    total = 0
    for start in range(0, len(events), _SLICE):
        total += sum(json_bytes(dump(event)) + 1 for event in events[start : start + _SLICE])
        await asyncio.sleep(0)
    return total


def _measures(seen: Seen, now_ms: int) -> RunMeasures:
    header, told, most = seen.header, seen.told, seen.plotted.plot.most
    until_ms = told.ended_ms if told.ended_ms is not None else max(now_ms, told.now_ms)
    attempts = sum(one.attempts for one in most.values()) if most else None
    return RunMeasures(
        attempts=Measure(bound=attempts, actual=told.attempts),
        ends_after_ms=Measure(
            bound=header.deadline_ms - header.created_ms, actual=max(0, until_ms - header.created_ms)
        ),
        bytes=Measure(bound=None, actual=seen.bytes),
    )
