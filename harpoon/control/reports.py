"""Reports on many runs, and how all work stands: read in slices, and no longer than was asked for."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Final, NamedTuple

from harpoon.control.ledger_records import run_key
from harpoon.control.run_lists import RunChoice, list_runs
from harpoon.control.run_reader import RunReader
from harpoon.control.runs import Runs
from harpoon.control.work import WorkExchange
from harpoon.core.chronicle import read
from harpoon.core.event import Event
from harpoon.core.report import Report
from harpoon.core.roll import roll
from harpoon.core.visit import Attempt
from harpoon.kit.clock import Clock
from harpoon.model.header import Header
from harpoon.model.report_shown import By, HandlerWorkers, HeardWorker, RunReport, WorkStats

#: Groups that one report tells.
GROUPS_SHOWN: Final = 200
#: Logs that are read at once: most of what that takes is waiting for the store.
_AT_ONCE: Final = 8
#: What has stored more is not looked into: it would hold up all others.
_BYTES_MAX: Final = 16 << 20
#: Runs looked at before others get their turn; a run of more events is looked into beside the loop.
_SLICE: Final = 500
_READY: Final = "ready"
_RUNNING: Final = "running"


class Wanted(NamedTuple):
    """What is to be reported."""

    choice: RunChoice
    by: By
    #: Of `By.TAG`: which tag.
    key: str
    #: How long attempts are looked at, at most.
    within: timedelta


async def report(reader: RunReader, wanted: Wanted, clock: Clock, revision: str) -> RunReport:
    """Return what the runs that are wanted came to together.

    All of them are counted, up to as many as a list holds. Then they are looked into, the latest first, until the time
    is over that this may take.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    began = clock.now().elapsed
    headers, left = await list_runs(reader, wanted.choice)
    told = Report(wanted.by, wanted.key)
    for place, header in enumerate(headers, 1):
        told.count(header)
        if place % _SLICE == 0:
            await asyncio.sleep(0)
    seen = 0
    is_whole = not left
    while seen < len(headers) and clock.now().elapsed - began < wanted.within:
        some = headers[seen : seen + _AT_ONCE]
        fit = [header for header in some if header.bytes <= _BYTES_MAX]
        is_whole = is_whole and len(fit) == len(some)
        logs = await asyncio.gather(*(_events(reader, header) for header in fit))
        for header, events in zip(fit, logs, strict=True):
            if len(events) <= _SLICE:
                told.look_into(header, read(events))
                await asyncio.sleep(0)
            else:
                await asyncio.to_thread(lambda header, events: told.look_into(header, read(events)), header, events)
        seen += len(some)
    groups, groups_left = await asyncio.to_thread(told.groups, GROUPS_SHOWN)
    return RunReport(
        revision=revision,
        by=wanted.by,
        since_ms=wanted.choice.since_ms,
        until_ms=wanted.choice.until_ms,
        runs=len(headers) + left,
        counted=len(headers),
        looked_into=seen,
        counted_since_ms=headers[-1].begun_ms if headers else None,
        looked_into_since_ms=headers[seen - 1].begun_ms if seen else None,
        is_whole=is_whole and seen == len(headers),
        groups=groups,
        groups_left=groups_left,
    )


async def _events(reader: RunReader, header: Header) -> list[Event]:
    return await reader.events(run_key(header.namespace, header.run), header)


async def statuses(reader: RunReader) -> dict[str, int]:
    """Return how many runs that are kept have each status; all of their headers are looked at.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    found = Counter[str]()
    async for headers in reader.headers():
        found.update([header.status.value for header in headers])
    return dict(sorted(found.items()))


async def conducted(runs: Runs, exchange: WorkExchange) -> WorkStats:
    """Return how the operations stand of runs that this instance conducts, and which workers it has heard."""
    states = Counter[str]()
    ready, claimed = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    now_ms = exchange.now_ms()
    for conductor in tuple(runs.conductors.values()):
        for place, one in enumerate(tuple(conductor.runs.values()), 1):
            for (op, _), attempt in one.run.open.items():
                handler = one.run.graph.nodes[op].handler
                state = _state(attempt, handler, now_ms)
                states[state] += 1
                ready[one.run.namespace, handler or ""] += state == _READY
                claimed[one.run.namespace, handler or ""] += state == _RUNNING
            if place % _SLICE == 0:
                await asyncio.sleep(0)
    heard = [
        HeardWorker(namespace=namespace, name=worker.name, handlers=worker.handlers)
        # What the engine carries out itself is of no namespace, and no worker's.
        for namespace in filter(None, exchange.sessions.namespaces())
        for worker in roll(exchange.core, exchange.sessions, namespace, now_ms)
        if not worker.is_quiet
    ]
    handlers = [
        HandlerWorkers(namespace=key[0], handler=key[1], workers=0, ready=ready[key], claimed=claimed[key])
        for key in sorted({*(+ready), *(+claimed)})
    ]
    return WorkStats(operations=states, handlers=tuple(handlers), heard=tuple(heard))


def united(told: Iterable[WorkStats]) -> WorkStats:
    """Return what several instances know together; a worker may be heard by more than one."""
    states = Counter[str]()
    ready, claimed = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    offers: dict[tuple[str, str], frozenset[str]] = {}
    for one in told:
        states.update(one.operations)
        for each in one.handlers:
            ready[each.namespace, each.handler] += each.ready
            claimed[each.namespace, each.handler] += each.claimed
        for worker in one.heard:
            key = (worker.namespace, worker.name)
            offers[key] = offers.get(key, frozenset()) | frozenset(worker.handlers)
    workers = Counter([(namespace, handler) for (namespace, _), own in offers.items() for handler in own])
    return WorkStats(
        operations=dict(sorted(states.items())),
        workers=len(offers),
        handlers=tuple(
            [
                HandlerWorkers(
                    namespace=key[0], handler=key[1], workers=workers[key], ready=ready[key], claimed=claimed[key]
                )
                for key in sorted({*workers, *ready, *claimed})
            ]
        ),
    )


def _state(attempt: Attempt, handler: str | None, now_ms: int) -> str:
    if handler is None:
        return "waiting"
    if attempt.claim is not None:
        return _RUNNING
    return "retrying" if attempt.ready_ms > now_ms else _READY
