"""Forking runs: a run is begun with the log of another one, and goes on from one of its operations; both stay.

What of the other one is open is broken off in the copy, as by an end, and opened there again. The copy is written as
any start is: by whoever conducts the new run's shard, in one commit that compares that nobody has its id.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson

from harpoon.control import starts
from harpoon.control.callback_urls import new_secret
from harpoon.control.conducted import Conducted
from harpoon.control.conductor import Conductor
from harpoon.control.draft import Overtaken
from harpoon.control.ledger_records import fixed_part, run_key
from harpoon.control.orders import Begun, Start
from harpoon.control.refolding import graphs_of, moves_of, refolded
from harpoon.control.reopening import unread
from harpoon.control.run_reader import RunReader
from harpoon.control.starting import checked_id, checked_inputs
from harpoon.control.workflows import Workflows
from harpoon.core import repairing, step
from harpoon.core.event import Event, dump
from harpoon.core.graph import Graph
from harpoon.core.repairing import Audit
from harpoon.kit.errors import Conflict, HarpoonError, NotFound
from harpoon.model.header import Header
from harpoon.model.run_repairs import RunFork
from harpoon.model.units import format_size
from harpoon.store.port import Compare

#: Bytes of a log that is copied; it is held in memory, and written at once.
COPIED_BYTES_MAX: Final = 64 << 20


class Fork(NamedTuple):
    """A fork that is asked for."""

    #: The run that is forked, as the store has it.
    source: Header
    id: str
    #: Of what was sent: the same again under the same id is the same run.
    body_hash: str
    order: RunFork
    audit: Audit


class ForkNamed(NamedTuple):
    """What a fork is called, and what tells it apart from another under the same id."""

    id: str
    body_hash: str


def fork_named(raw: Mapping[str, object], path: str, key: str | None) -> ForkNamed:
    """Return the name of a fork: its own, or one that is made.

    Args:
        raw: The order as it was sent.
        path: Of the request; it names the run that is forked.
        key: The idempotency key of the request: the same request again has the same id.
    """
    bare = {name: value for name, value in raw.items() if name != "id"}
    sent = orjson.dumps([path, bare], option=orjson.OPT_SORT_KEYS)
    body_hash = hashlib.sha256(sent).hexdigest()[:32]
    if isinstance(given := raw.get("id"), str):
        return ForkNamed(given, body_hash)
    made = uuid.uuid4().hex if key is None else hashlib.sha256(f"{path}\0{key}".encode()).hexdigest()[:32]
    return ForkNamed(made, body_hash)


class _Copy(NamedTuple):
    """A run that begins as another one did."""

    conducted: Conducted
    #: Of the log beside what its header has, as it is stored.
    copied: bytes
    #: What makes it another run.
    events: Sequence[Event]


async def fork(conductor: Conductor, reader: RunReader, workflows: Workflows, asked: Fork, now_ms: int) -> Begun:
    """Begin a run that goes on from an operation of another one; return it once that is durable.

    Args:
        conductor: Of the new run's shard.
        reader: Reads the other one.
        workflows: Know the form that it is on.
        asked: What is wanted.
        now_ms: UTC milliseconds.

    Raises:
        Invalid: It cannot be called so, or its inputs are not those of the workflow.
        Conflict: The other one cannot be gone on with, or is too large.
        Refused: It cannot be retried from there.
        Reused: Another run has this id.
        StoreUnavailable: The store could not answer.
        Unavailable: This instance conducts it no longer.
    """
    source, place = asked.source, conductor.ledger.place
    order = Start(source.namespace, asked.id, source.workflow, asked.body_hash, {}, {})
    key = run_key(order.namespace, order.id)
    if (before := await _before(conductor, reader, order)) is not None:
        return before
    with unread(source):
        events = await reader.events(run_key(source.namespace, source.run), source)
    try:
        graphs = await graphs_of(source, events, workflows.generations.pin)
    except NotFound as error:
        raise Conflict(f"{error}, so run {source.run} cannot be forked; start another one") from error
    header = _header(asked, graphs[(source.generation, *moves_of(events))[-1]], now_ms)
    with unread(source):
        copy = await asyncio.to_thread(_copied, header, graphs, events, asked, now_ms, conductor.base)
    if len(copy.copied) > COPIED_BYTES_MAX:
        size = format_size(COPIED_BYTES_MAX)
        raise Conflict(f"the log of run {source.run} has {len(copy.copied)} bytes, and at most {size} are copied")
    if (known := conductor.known(key)) is not None:
        return _told(starts.begun(known, order, is_new=False))
    conductor.ledger.check_room()
    copy.conducted.compares = (Compare(place.runs + key, mod=0), Compare(place.gone + key, mod=0))
    draft = conductor.enter_fork(copy.conducted, copy.copied, len(source.started) + 1, copy.events)
    await draft.settled()
    if isinstance(draft.error, Overtaken):
        return _told(await starts.overtaken(place, order, draft.error, reader.header_of))
    draft.check()
    return Begun(order.namespace, order.id, True, source.workflow, source.generation, copy.conducted.run.status)


async def _before(conductor: Conductor, reader: RunReader, order: Start) -> Begun | None:
    """Return the run that has the id; None: none has, or one that is not kept any more."""
    key = run_key(order.namespace, order.id)
    known = conductor.known(key)
    if known is not None:
        return _told(starts.begun(known, order, is_new=False))
    header = await reader.header(key)
    return None if header is None else _told(starts.begun_before(header, order))


def _header(asked: Fork, graph: Graph, now_ms: int) -> Header:
    """Return what the new run's header begins with."""
    source, order = asked.source, asked.order
    return Header(
        namespace=source.namespace,
        run=checked_id(asked.id),
        workflow=source.workflow,
        generation=source.generation,
        body_hash=asked.body_hash,
        inputs=checked_inputs(source.workflow, graph.spec, {**source.inputs, **order.inputs}),
        tags=source.tags if order.tags is None else order.tags,
        created_ms=source.created_ms,
        deadline_ms=source.deadline_ms,
        started=source.started,
        origin=source.run,
        forked_ms=now_ms,
        forms=source.forms,
        secret=new_secret() if graph.callbacks else "",
    )


def _copied(
    header: Header, graphs: Mapping[str, Graph], events: Sequence[Event], asked: Fork, now_ms: int, base: str
) -> _Copy:
    """Return a run that begins with these events, and goes on from where it is asked to.

    Raises:
        Refused: It cannot.
    """
    run = refolded(header, graphs, events, base)
    own: list[Event] = []
    if not run.status.is_over:
        own += step.cancel(run, f"forked from run {header.origin} while that went on", now_ms)
    # The new run's id tells the order apart from others.
    own += repairing.retry_from(run, asked.order.from_, asked.audit._replace(order=""), now_ms, asked.order.items)
    copied = orjson.dumps([dump(event) for event in events[len(header.started) :]])[1:-1]
    return _Copy(Conducted(run, header, fixed_part(header), 0, moves_of(events)), copied, own)


def _told(answer: Begun | HarpoonError) -> Begun:
    if isinstance(answer, HarpoonError):
        raise answer
    return answer
