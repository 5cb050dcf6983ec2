"""How what happened in runs is written: for those who watch one run, and for those who watch many."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import structlog

from harpoon.api.frames import event_json
from harpoon.control.run_changes import Happened, Record, happened
from harpoon.control.run_status import LISTED_BYTES_MAX, shown_header
from harpoon.core.event import Event
from harpoon.core.run_told import told
from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.run_watched import RunEvent

_ENDED: Final = "ended"

_log = structlog.get_logger(__name__)


class End(NamedTuple):
    """How a run ended."""

    status: str
    reason: str


class Told(NamedTuple):
    """How one commit is told."""

    #: What a reader resumes from: a revision or, in the watch of one run, the number of an event.
    position: str
    body: bytes
    #: Of the run that is watched; None: it goes on, or many are.
    end: End | None = None


def run_change(key: str, events: Sequence[Event]) -> Told:
    """Return how events of one run are told that is watched; at least one."""
    namespace, _, run = key.partition("/")
    every = [told(namespace, run, event) for event in events]
    last = every[-1]
    body = b'{"type":"change","seq":%d,"events":%b}' % (last.seq, codec.dump(every))
    end = End(last.status or "", last.reason or "") if last.kind == _ENDED else None
    return Told(str(last.seq), body, end)


def run_told(records: Sequence[Record]) -> Told | None:
    """Return how a commit is told to those who watch the one run that it is of; None: it says nothing.

    Raises:
        Invalid: A record cannot be read.
    """
    found = list(happened(records, None))
    events = [event for one in found for event in one.events]
    return run_change(found[0].key, events) if events else None


def runs_told(position: str, records: Sequence[Record], namespace: str | None) -> Told | None:
    """Return how a commit is told to those who watch all runs of a namespace, or all; None: it concerns none.

    What cannot be read is left out, and logged: one such run is not to keep all others from being watched.
    """
    every: list[RunEvent] = []
    for record in records:
        try:
            for one in happened((record,), namespace):
                every += _listed(one)
        except Invalid as error:
            _log.warning("run_unreadable", run=record.key, reason=str(error))
    return Told(position, event_json("change", position, events=codec.dump(every))) if every else None


def _listed(one: Happened) -> list[RunEvent]:
    namespace, _, run = one.key.partition("/")
    events = [told(namespace, run, event, LISTED_BYTES_MAX) for event in one.events]
    if one.header is None or not events:
        return events
    begun = replace(events[0], object=shown_header(one.header, is_listed=True))
    return [begun, *events[1:]]
