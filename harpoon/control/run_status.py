"""How runs stand, read from the store, by whatever instance is asked: what is told is durable, and nobody is disturbed.

Only who could do the work of a run is not in the store. Its holder knows that (`core.run_why.Floor`).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from harpoon.control.beside import beside, compiled, spec_kept
from harpoon.control.callback_urls import address_of
from harpoon.control.callees import bounds_within
from harpoon.control.ledger_records import run_key
from harpoon.control.refolding import moves_of, refolded
from harpoon.control.run_reader import RunReader
from harpoon.control.view import GRAPHS
from harpoon.core import run_picture, run_why
from harpoon.core.bounds import Bounds
from harpoon.core.chronicle import Chronicle, read
from harpoon.core.event import Event
from harpoon.core.graph import Graph
from harpoon.core.measure import json_bytes
from harpoon.core.outlook import outlook, skipped
from harpoon.core.run import Run
from harpoon.core.run_groups import UNKNOWN, Most, Plot
from harpoon.core.run_items import Items, items
from harpoon.core.run_picture import span_ms_of
from harpoon.core.run_why import Floor
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Gone, NotFound
from harpoon.model.header import Header
from harpoon.model.run import Status
from harpoon.model.run_shown import Measure, RunCallbacks, RunDetail, RunMeasures, RunObject
from harpoon.model.sub_run import parent_of
from harpoon.model.visit_shown import AttemptObject, ItemObject
from harpoon.model.why import Reason, Why
from harpoon.model.workflow import WorkflowSpec
from harpoon.store.port import Store

#: Graphs kept ready.
GRAPHS_MAX: Final = 64
#: What has more events, or operations, is looked at beside the loop: it would hold it for too long.
_SLICE: Final = 500
#: Bytes of outputs in a list; those of one run are shown whole.
LISTED_BYTES_MAX: Final = 4 << 10


class Seen(NamedTuple):
    """A run as it stands in the store."""

    #: At which its log was read.
    revision: int
    header: Header
    told: Chronicle
    plot: Plot
    #: As its conductor has it, or had; None: the form of the workflow that it is on is not kept any more.
    run: Run | None
    #: What runs of each generation that it is on, or was on, may come to; None as above.
    bounds: tuple[Bounds, ...] | None


class Form(NamedTuple):
    """What is known of runs of one generation that have equally long to end."""

    graph: Graph
    plot: Plot
    bounds: Bounds


class Standing(NamedTuple):
    """A run as it is shown, and up to where that is."""

    #: At which its log was read.
    revision: int
    #: Of the latest event in it.
    seq: int
    detail: RunDetail


#: Given a run and a cause of its, returns the cause with what else is known of it.
Retell = Callable[[Run, Reason], Reason]


def _as_it_is(_run: Run, cause: Reason) -> Reason:
    return cause


class RunStatus:
    """Tells how runs stand.

    Args:
        store: Where they are.
        reader: Reads the records of runs there.
        clock: What ``now`` is told by.
        base: URL that those of callbacks begin with; see `callback_urls`.
    """

    def __init__(self, store: Store, reader: RunReader, clock: Clock, base: str = "") -> None:
        self.reader = reader
        self._base = base
        self._store = store
        self._clock = clock
        #: Key of a generation → its graph, the one used last at the end.
        self._graphs: OrderedDict[str, Graph] = OrderedDict()
        #: The same, those of what it calls, and milliseconds until the deadline → what follows from them.
        self._forms: OrderedDict[tuple[str, tuple[tuple[str, str], ...], int], Form] = OrderedDict()

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
        return (await self.standing(namespace, run)).detail

    async def standing(self, namespace: str, run: str) -> Standing:
        """Return all there is to tell of a run, and up to where that is; the errors are those of `existing`."""
        seen = await self.see(namespace, run)
        is_small = len(seen.told.visits) + len(seen.plot.operations) <= _SLICE
        detail = self._detail(seen) if is_small else await asyncio.to_thread(self._detail, seen)
        return Standing(seen.revision, seen.told.seq, detail)

    def _detail(self, seen: Seen) -> RunDetail:
        told, plot, now_ms = seen.told, seen.plot, self._clock.now().wall
        visits, left = run_picture.visits(told, plot, now_ms, seen.header.run)
        shown = shown_header(_caught_up(seen))
        fields = {name: getattr(shown, name) for name in RunObject.__slots__}
        return RunDetail(
            **fields,
            measures=_measures(seen, now_ms),
            operations=run_picture.measures(told, plot, () if seen.run is None else skipped(seen.run), now_ms),
            visits=visits,
            visits_left=left,
            signals=run_picture.signals(told),
            parked=run_picture.parked(() if seen.run is None else seen.run.incidents),
        )

    async def attempts(self, namespace: str, run: str) -> Iterator[AttemptObject]:
        """Return every attempt of a run; the errors are those of `existing`."""
        seen = await self.see(namespace, run)
        return run_picture.attempts(seen.told, seen.plot, self._clock.now().wall, run)

    async def callbacks(self, namespace: str, run: str) -> RunCallbacks:
        """Return where the visits of a run are called back that are open or come next, if it goes on.

        The errors are those of `existing`.
        """
        seen = await self.see(namespace, run)
        if seen.run is None or seen.run.status.is_over:
            return RunCallbacks(items=())
        address = address_of(self._base, run_key(namespace, run), seen.header.secret)
        return RunCallbacks(items=tuple(run_picture.callbacks(seen.run, address)))

    async def items(self, namespace: str, run: str, choice: Items) -> list[ItemObject]:
        """Return items of a run's operations, in their order; the errors are those of `existing`."""
        seen = await self.see(namespace, run)
        # There may be ten thousand of each visit.
        return await asyncio.to_thread(items, seen.told, seen.plot, choice, self._clock.now().wall)

    async def why(
        self, namespace: str, run: str, floor: Floor | None, revision: str, retell: Retell = _as_it_is
    ) -> Why:
        """Say why a run stands as it does; the errors are those of `existing`.

        Args:
            namespace: Of the run.
            run: Its id.
            floor: What the exchange knows of those who could do the work; None: it could not be asked.
            revision: That the answer is of.
            retell: Returns each cause of an open run with what else is known of it.
        """
        seen, now_ms = await self.see(namespace, run), self._clock.now().wall
        told = seen.told
        joins = () if seen.run is None else outlook(seen.run, now_ms).joins
        incidents = () if seen.run is None else seen.run.incidents
        causes = run_why.why(told, seen.plot, joins, floor, now_ms, run, incidents)
        if seen.run is not None:
            open_run = seen.run
            causes = tuple(retell(open_run, cause) for cause in causes)
        return Why(
            revision=revision,
            subject=f"run/{run}",
            state="paused" if told.is_paused and told.ended_ms is None else told.status.value,
            summary=run_why.summary(told, seen.plot, len(incidents)),
            is_fine=told.status.value == "succeeded",
            reasons=tuple(cause.sentence for cause in causes),
            causes=causes,
        )

    async def see(self, namespace: str, run: str) -> Seen:
        """Return a run as it stands; the errors are those of `existing`."""
        header = await self.existing(namespace, run)
        revision, events = await self.reader.log(run_key(namespace, run), header)
        generations = dict.fromkeys((header.generation, *moves_of(events)))
        forms = {one: await self._form(header, one) for one in generations}
        if len(events) <= _SLICE:
            return _seen(revision, header, events, forms)
        return await asyncio.to_thread(_seen, revision, header, events, forms)

    async def _form(self, header: Header, one: str) -> Form | None:
        """Return what is known of runs like one, given its header and a generation; None: that is not kept any more."""
        generation = f"{header.namespace}/{header.workflow}/{one}"
        span_ms = header.deadline_ms - header.created_ms
        key = (generation, tuple(header.forms.items()), span_ms)
        found = self._forms.get(key)
        if found is None:
            graph = await self._graph(generation)
            if graph is None:
                return None
            called = await self._called(header)
            found = await beside(partial(_form, graph, span_ms, called), graph.spec, *called.values())
            self._forms[key] = found
            if len(self._forms) > GRAPHS_MAX:
                self._forms.popitem(last=False)
        self._forms.move_to_end(key)
        return found

    async def _called(self, header: Header) -> dict[str, WorkflowSpec]:
        """Return what a run calls as it does, each after those that it calls itself."""
        found = {}
        for workflow, generation in header.forms.items():
            graph = await self._graph(f"{header.namespace}/{workflow}/{generation}")
            if graph is not None:
                found[workflow] = graph.spec
        return found

    async def _graph(self, key: str) -> Graph | None:
        """Return the graph of a generation, given its key; None: it is not kept any more."""
        found = self._graphs.get(key)
        if found is None:
            entry = await self._store.get(GRAPHS + key)
            if entry is None:
                return None
            found = await compiled(await spec_kept(entry.value))
            self._graphs[key] = found
            if len(self._graphs) > GRAPHS_MAX:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
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
        generation=header.present,
        status=header.status.value,
        is_paused=header.is_paused,
        reason=header.reason or (header.cancel_reason or ""),
        tags=header.tags,
        inputs=header.inputs,
        outputs=outputs,
        created_ms=header.created_ms if header.forked_ms is None else header.forked_ms,
        deadline_ms=header.ends_by_ms,
        ended_ms=header.ended_ms,
        incidents=header.incidents,
        repairs=header.repairs,
        forked_from=header.origin,
        parent=parent_of(header.run),
    )


def begun_run(run: Run) -> RunObject:
    """Return a run as lists show it that has just begun; what happened in it since may not be durable yet."""
    return RunObject(
        namespace=run.namespace,
        id=run.id,
        workflow=run.workflow,
        generation=run.generation,
        status=Status.RUNNING.value,
        is_paused=False,
        reason="",
        tags=run.tags,
        inputs=run.inputs,
        outputs=None,
        created_ms=run.created_ms,
        deadline_ms=run.deadline_ms,
        ended_ms=None,
        parent=parent_of(run.id),
    )


def _caught_up(seen: Seen) -> Header:
    """Return a header as the log has it, which was read after it."""
    header, told = seen.header, seen.told
    incidents = header.incidents if seen.run is None else len(seen.run.incidents)
    until_ms = header.until_ms if seen.run is None or not told.repairs else seen.run.deadline_ms
    return replace(
        header,
        status=told.status,
        is_paused=told.is_paused,
        cancel_reason=told.cancel,
        ended_ms=told.ended_ms,
        outputs=told.outputs,
        reason=told.reason,
        repairs=told.repairs,
        moved=told.moved,
        until_ms=until_ms,
        incidents=incidents,
    )


def _form(graph: Graph, span_ms: int, called: Mapping[str, WorkflowSpec]) -> Form:
    told = bounds_within(graph, called, span_ms)
    spans = {name: span_ms_of(operation) for name, operation in graph.operations.items()}
    most = {
        name: Most(visits=share.visits, attempts=share.attempts, span_ms=spans[name])
        for name, share in told.operations.items()
    }
    return Form(graph, Plot(operations=graph.operations, most=most, bare=graph.bare), told)


def _seen(revision: int, header: Header, events: list[Event], forms: Mapping[str, Form | None]) -> Seen:
    told, known = read(events), {one: form for one, form in forms.items() if form is not None}
    present = known.get((header.generation, *moves_of(events))[-1])
    if present is None or len(known) < len(forms):
        return Seen(revision, header, told, UNKNOWN if present is None else present.plot, None, None)
    run = refolded(header, {one: form.graph for one, form in known.items()}, events)
    return Seen(revision, header, told, present.plot, run, tuple(form.bounds for form in known.values()))


def _measures(seen: Seen, now_ms: int) -> RunMeasures:
    header, told, run, most = seen.header, seen.told, seen.run, seen.bounds or ()
    until_ms = told.ended_ms if told.ended_ms is not None else max(now_ms, told.now_ms)
    # Each repair, or move, adds as much as a run may come to; a deadline of its own a repair has, too.
    times = 1 + told.repairs + len(told.moved)
    deadline_ms = (header.deadline_ms if run is None else run.deadline_ms) - header.created_ms
    return RunMeasures(
        attempts=Measure(
            bound=max(((one.attempts - one.calls.attempts) * times for one in most), default=None),
            actual=told.attempts if run is None else run.attempts_total,
        ),
        ends_after_ms=Measure(
            bound=most[0].ends_after_ms if most and times == 1 else deadline_ms,
            actual=max(0, until_ms - header.created_ms),
        ),
        bytes=Measure(
            bound=max(((one.bytes - one.calls.bytes) * times for one in most), default=None),
            actual=header.bytes if run is None else run.bytes_total,
        ),
    )
