"""Reading runs from the store, whoever conducts them: what became of those that have ended, and all of it as NDJSON.

It reads what is durable, so an open run may be somewhat further on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from harpoon.control.ledger_records import (
    GONE,
    LOG,
    OPEN,
    RUNS,
    SHARDS,
    is_cut,
    load_events,
    load_header,
    load_tombstone,
    parts_of,
    prefix_of,
    run_key,
    shard_of,
    whole,
)
from harpoon.control.orders import CloseOrder
from harpoon.core.event import Closed, Event, load
from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.header import Header
from harpoon.model.tombstone import Tombstone
from harpoon.store.port import Entry, Store

#: Runs read before others get their turn.
_SLICE: Final = 50
#: Records likewise that are looked at, most of them of runs that have ended.
_LOOKED_AT: Final = 500
#: Of a header that is read beside the loop: it would hold it for too long.
_LARGE_BYTES: Final = 64 << 10
#: Where the namespace begins in the key of a header.
_PLACE: Final = len(prefix_of(RUNS, 0))
_ANY_HEADER: Final = (
    b'{"namespace":"","run":"","workflow":"","generation":"","body_hash":"","created_ms":0,"deadline_ms":0}'
)


class RunReader:
    """Reads the ledgers of all shards.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # The first header that is read takes some thirty milliseconds: that is not to be when a shard is taken over.
        load_header(_ANY_HEADER)

    async def header(self, key: str) -> Header | None:
        """Return the header of a run, given ``<namespace>/<run>``; None: it is not kept.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        record = await self.record(key)
        return None if record is None else await _loaded(record)

    async def record(self, key: str) -> bytes | None:
        """Return the whole record of a run's header, given ``<namespace>/<run>``; None: it is not kept.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        entry = await self._store.get(f"{prefix_of(RUNS, shard_of(key))}{key}")
        return None if entry is None else await self.record_of(entry)

    async def header_of(self, entry: Entry) -> Header:
        """Return a header, given its record.

        Raises:
            StoreUnavailable: The store could not answer.
            Invalid: It cannot be read.
        """
        return await _loaded(await self.record_of(entry))

    async def record_of(self, entry: Entry) -> bytes:
        """Return the whole record of a header.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        record = entry.value
        if is_cut(record):
            key = entry.key.removeprefix(RUNS).partition("/")[2]
            stem = f"{prefix_of(LOG, shard_of(key))}{key}/"
            parts = {name: await self._store.get(stem + name) for name in parts_of(record)}
            record = whole(record, {name: part.value for name, part in parts.items() if part is not None})
        return record

    async def tombstone(self, key: str) -> Tombstone | None:
        """Return what is left of a run that is not kept any more; None: nothing is.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        entry = await self._store.get(f"{prefix_of(GONE, shard_of(key))}{key}")
        return None if entry is None else load_tombstone(entry.value)

    async def events(self, key: str, header: Header) -> list[Event]:
        """Return all that has happened in a run, in order.

        Raises:
            StoreUnavailable: The store could not answer.
            Invalid: A record of it cannot be read.
        """
        return (await self.log(key, header))[1]

    async def log(self, key: str, header: Header) -> tuple[int, list[Event]]:
        """Return all that has happened in a run up to some revision, and that.

        Raises:
            StoreUnavailable: The store could not answer.
            Invalid: A record of it cannot be read.
        """
        prefix, revision = f"{prefix_of(LOG, shard_of(key))}{key}/", 0
        records: dict[str, bytes] = {}
        async for page in self._store.list(prefix):
            revision = page.revision
            records |= {entry.key.removeprefix(prefix): entry.value for entry in page.entries}
        return revision, events_of(header, records)

    async def has_closed(self, order: CloseOrder) -> bool:
        """Whether a closing was taken in a run that is not open any more.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        header = await self.header(order.run)
        if header is None or not header.status.is_over:
            return False
        return any(
            isinstance(event, Closed)
            and (event.op, event.visit, event.attempt) == order.ref
            and (event.token, event.label) == (order.token, order.label)
            for event in await self.events(order.run, header)
        )

    async def headers(
        self, namespace: str | None = None, may_be: Callable[[bytes], bool] | None = None
    ) -> AsyncIterator[list[Header]]:
        """Yield the headers of all runs that are kept, open ones among them, some at a time and in no order.

        Args:
            namespace: Only of this one.
            may_be: Whether a header may be wanted, given its record; others are passed over without being taken apart.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        for shard in range(SHARDS):
            prefix = prefix_of(RUNS, shard)
            async for page in self._store.list(prefix if namespace is None else f"{prefix}{namespace}/"):
                step = _SLICE if may_be is None else _LOOKED_AT
                for start in range(0, len(page.entries), step):
                    yield [
                        await self.header_of(entry)
                        for entry in page.entries[start : start + step]
                        if may_be is None or is_cut(entry.value) or may_be(entry.value)
                    ]
                    await asyncio.sleep(0)

    async def open_headers(self, namespace: str | None) -> AsyncIterator[tuple[int, list[Header]]]:
        """Yield the headers of the runs that are open at one revision, which is told with them, some at a time.

        Args:
            namespace: Only of this one; None: of all.

        Raises:
            StoreUnavailable: The store could not answer.
            Compacted: It took so long that the store does not keep that revision any more.
        """
        within = "" if namespace is None else f"{namespace}/"
        async for page in self._store.list(RUNS):
            for start in range(0, max(1, len(page.entries)), _LOOKED_AT):
                chosen = [
                    await self.record_of(entry)
                    for entry in page.entries[start : start + _LOOKED_AT]
                    if entry.key[_PLACE:].startswith(within)
                ]
                yield page.revision, [load_header(record) for record in chosen if OPEN in record]
                await asyncio.sleep(0)

    async def export(self, namespace: str | None = None) -> AsyncIterator[bytes]:
        """Yield every run that has ended and is kept, with its log: a line of JSON each, some lines at a time.

        Args:
            namespace: Only of this one.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        async for found in self.headers(namespace):
            lines = [
                _line(header, await self.events(run_key(header.namespace, header.run), header))
                for header in found
                if header.status.is_over
            ]
            if lines:
                yield b"".join(lines)


def events_of(header: Header, records: Mapping[str, bytes]) -> list[Event]:
    """Return all that has happened in a run, given the records of its log by their names.

    Raises:
        Invalid: A record of it cannot be read, or is missing.
    """
    written: list[Any] = list(header.started)
    for name in sorted(records):
        if name.isdigit():
            written += load_events(whole(records[name], records))
    try:
        events = [load(each) for each in written]
    except (ValueError, TypeError) as error:
        raise Invalid(f"not an event: {error}") from error
    for number, event in enumerate(events, 1):
        if event.seq != number:
            raise Invalid(f"event {number} of the log is missing; {event.seq} follows {number - 1}")
    return events


async def _loaded(record: bytes) -> Header:
    """Return a header; a large one, of a run that was given much, is read beside the loop."""
    return load_header(record) if len(record) <= _LARGE_BYTES else await asyncio.to_thread(load_header, record)


def _line(header: Header, events: list[Event]) -> bytes:
    told = orjson.loads(codec.dump_full(replace(header, started=(), secret="")))
    del told["started"], told["secret"]
    told["events"] = [{"kind": type(event).__name__.lower(), **_told(event)} for event in events]
    return orjson.dumps(told) + b"\n"


def _told(event: Event) -> dict[str, object]:
    told = dict(zip(event._fields, event, strict=True))
    if "opened" in told:
        told["opened"] = [each._asdict() for each in getattr(event, "opened")]  # noqa: B009 not all kinds have it
    return told
