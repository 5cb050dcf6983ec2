"""What commits wrote of runs and workflows: changes of the store, read as what happened to which, whoever conducts it.

A run is heard of by two kinds of records: its header when it begins, which has its first events, and the records of its
log. All that one revision has of a run is in the order of its events.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from harpoon.control.ledger_records import (
    LOG,
    ROOT,
    RUNS,
    is_cut,
    load_events,
    load_header,
    parts_of,
    prefix_of,
    shard_of,
    whole,
)
from harpoon.control.view import WORKFLOWS
from harpoon.core.event import Event, load
from harpoon.kit.errors import Invalid
from harpoon.model.header import Header
from harpoon.store.port import Change, Entry, Store

#: All that is heard of all runs.
EVERYTHING: Final = ROOT
_SHARD: Final = len("00/")


class Record(NamedTuple):
    """What one commit wrote of one run."""

    #: ``<namespace>/<run>``.
    key: str
    #: Of a record of its log; empty: it is the header, and the run has just begun.
    name: str
    value: bytes


class Declaration(NamedTuple):
    """What one commit made of a workflow."""

    #: ``<namespace>/<workflow>``.
    key: str
    #: Its record; None: it was taken away.
    entry: Entry | None


class Happened(NamedTuple):
    """What happened in one run, in order."""

    key: str
    events: list[Event]
    #: If it has just begun.
    header: Header | None


def log_of(key: str) -> str:
    """Return where the log of a run is, given ``<namespace>/<run>``."""
    return f"{prefix_of(LOG, shard_of(key))}{key}/"


async def records_of(store: Store, changes: Sequence[Change]) -> tuple[Record, ...]:
    """Return what the changes of one revision tell of runs, whole, sorted by run and by the order of its events.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    records = []
    for key, entry in changes:
        place = None if entry is None else _place(key, entry)
        if place is None or entry is None:
            continue
        value = await _whole(store, place[0], entry.value) if is_cut(entry.value) else entry.value
        if value is not None:
            records.append(Record(*place, value))
    return tuple(sorted(records))


def declarations_of(changes: Sequence[Change]) -> tuple[Declaration, ...]:
    """Return what the changes of one revision make of workflows, sorted by their keys."""
    return tuple(
        sorted(
            [Declaration(key.removeprefix(WORKFLOWS), entry) for key, entry in changes if key.startswith(WORKFLOWS)],
            key=lambda one: one.key,
        )
    )


def happened(records: Sequence[Record], namespace: str | None) -> Iterator[Happened]:
    """Yield what happened in each run of a namespace, or in all.

    Raises:
        Invalid: A record cannot be read.
    """
    for key, name, value in records:
        if namespace is not None and not key.startswith(f"{namespace}/"):
            continue
        if name:
            yield Happened(key, _events(load_events(value)), None)
        else:
            header = load_header(value)
            yield Happened(key, _events(header.started), header)


def _place(key: str, entry: Entry) -> tuple[str, str] | None:
    """Return which run a record is of, and its name; None: it tells nothing new of a run."""
    if key.startswith(LOG):
        run, _, name = key[len(LOG) + _SHARD :].rpartition("/")
        return (run, name) if name.isdigit() else None
    # A header that is written again tells what the log does, too.
    if key.startswith(RUNS) and entry.create_revision == entry.mod_revision:
        return key[len(RUNS) + _SHARD :], ""
    return None


async def _whole(store: Store, run: str, record: bytes) -> bytes | None:
    """Return a record that was cut; None: the run is not kept any more."""
    parts = {}
    for name in parts_of(record):
        part = await store.get(log_of(run) + name)
        if part is None:
            return None
        parts[name] = part.value
    return whole(record, parts)


def _events(written: Sequence[Any]) -> list[Event]:
    try:
        return [load(each) for each in written]
    except (ValueError, TypeError) as error:
        raise Invalid(f"not an event: {error}") from error
