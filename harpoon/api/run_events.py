"""How what happened in runs is written: for those who watch one run, and for those who watch many.

An event is encoded once, when the first watcher wants it; a selection of events is a selection of these bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import structlog

from harpoon.api.frames import event_json
from harpoon.api.run_selection import RunKind, RunSelection, RunTraits
from harpoon.control.run_changes import Declaration, Happened, Record, happened
from harpoon.control.run_status import LISTED_BYTES_MAX, shown_header
from harpoon.control.view import View
from harpoon.control.workflow_told import workflow_json
from harpoon.core.event import Event
from harpoon.core.run_told import told
from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.run import Status
from harpoon.model.run_watched import RunEvent
from harpoon.model.workflow import WorkflowRecord

_ENDED: Final = "ended"
#: Records up to here have no output that is too large to be listed, however its numbers are written.
_SMALL_BYTES: Final = LISTED_BYTES_MAX // 2

_log = structlog.get_logger(__name__)


class End(NamedTuple):
    """How a run ended."""

    status: str
    reason: str


class Line(NamedTuple):
    """One event of a run, as it is written."""

    #: ``<namespace>/<run>``.
    key: str
    kind: RunKind
    seq: int
    #: How the run stands after it.
    status: str
    body: bytes
    #: None: it goes on.
    end: End | None


class Declared(NamedTuple):
    """What became of a workflow, as it is written."""

    key: str
    #: None: it is gone, so they may have been any.
    tags: Mapping[str, str] | None
    #: It was not there before.
    is_new: bool
    #: Its JSON; empty: it is gone.
    shown: bytes

    @property
    def item(self) -> bytes:
        """It as an item of a snapshot."""
        return b'{"kind":"workflow","key":"%b","object":%b}' % (self.key.encode(), self.shown)

    @property
    def change(self) -> bytes:
        """What became of it."""
        if not self.shown:
            return self.delete
        return b'{"kind":"workflow","key":"%b","type":"put","object":%b}' % (self.key.encode(), self.shown)

    @property
    def delete(self) -> bytes:
        """That it is gone, at least for some."""
        return b'{"kind":"workflow","key":"%b","type":"delete"}' % self.key.encode()


class Told(NamedTuple):
    """How one commit is told."""

    #: What a reader resumes from: a revision or, in the watch of one run, the number of an event.
    position: str
    #: Empty: nothing of it was selected.
    body: bytes
    #: Of the run that is watched; None: it goes on, or many are.
    end: End | None = None


def lines_of(key: str, events: Iterable[Event]) -> list[Line]:
    """Return events of one run as they are written for those who watch it, given ``<namespace>/<run>``."""
    namespace, _, run = key.partition("/")
    return [_line(key, told(namespace, run, event)) for event in events]


def lines_of_one(records: Sequence[Record]) -> list[Line]:
    """Return what a commit tells of the one run that it is of.

    Raises:
        Invalid: A record cannot be read.
    """
    return [line for one in happened(records, None) for line in lines_of(one.key, one.events)]


def lines_of_many(records: Sequence[Record]) -> list[Line]:
    """Return what a commit tells of runs, of each in its order, with large outputs left out.

    What cannot be read is left out, and logged: one such run is not to keep all others from being watched.
    """
    lines: list[Line] = []
    for record in records:
        output_max = None if len(record.value) <= _SMALL_BYTES else LISTED_BYTES_MAX
        try:
            for one in happened((record,), None):
                lines += [_line(one.key, event) for event in _listed(one, output_max)]
        except Invalid as error:
            _log.warning("run_unreadable", run=record.key, reason=str(error))
    return lines


def declared_in(view: View, declarations: Iterable[Declaration]) -> list[Declared]:
    """Return what became of workflows; what cannot be read is left out, and logged."""
    every = []
    for key, entry in declarations:
        if entry is None:
            every.append(Declared(key, None, False, b""))
            continue
        try:
            record = codec.load(WorkflowRecord, entry.value)
        except Invalid as error:
            _log.warning("workflow_unreadable", workflow=key, reason=str(error))
            continue
        shown = workflow_json(view, record, entry.mod_revision)
        every.append(Declared(key, record.tags, entry.create_revision == entry.mod_revision, shown))
    return every


def run_told(lines: Sequence[Line], selection: RunSelection) -> Told | None:
    """Return how events of the one run that is watched are told; None: there are none."""
    if not lines:
        return None
    last = lines[-1]
    chosen = [line.body for line in lines if selection.takes_event(line.kind, line.status)]
    body = b'{"type":"change","seq":%d,"events":[%b]}' % (last.seq, b",".join(chosen)) if chosen else b""
    return Told(str(last.seq), body, last.end)


def runs_told(
    position: str,
    lines: Sequence[Line],
    traits: Mapping[str, RunTraits | None],
    declared: Sequence[Declared],
    selection: RunSelection,
) -> Told | None:
    """Return how a commit is told to those who watch many runs, or workflows; None: it does not concern them.

    Args:
        position: To resume from.
        lines: What happened in runs.
        traits: Of these runs, if somebody selects by them.
        declared: What became of workflows.
        selection: What is wanted.
    """
    members = {}
    events = [
        line.body
        for line in lines
        if selection.takes_event(line.kind, line.status) and selection.takes_run(line.key, traits.get(line.key))
    ]
    if events:
        members["events"] = b"[%b]" % b",".join(events)
    if changes := [body for one in declared if (body := _change(one, selection))]:
        members["changes"] = b"[%b]" % b",".join(changes)
    return Told(position, event_json("change", position, **members)) if members else None


def _change(one: Declared, selection: RunSelection) -> bytes:
    if not selection.takes_workflow(one.key, one.tags):
        # What leaves a selection is gone from it. Of one that was there before it is not known whether it was of it.
        return b"" if one.is_new or not selection.takes_workflow(one.key, None) else one.delete
    return one.change


def _line(key: str, event: RunEvent) -> Line:
    is_end = event.kind == _ENDED
    status = (event.status or "") if is_end else Status.RUNNING.value
    return Line(
        key,
        RunKind.RUN if event.attempt is None else RunKind.ATTEMPT,
        event.seq,
        status,
        codec.dump(event),
        End(status, event.reason or "") if is_end else None,
    )


def _listed(one: Happened, output_max: int | None) -> list[RunEvent]:
    namespace, _, run = one.key.partition("/")
    events = [told(namespace, run, event, output_max) for event in one.events]
    if one.header is None or not events:
        return events
    begun = replace(events[0], object=shown_header(one.header, is_listed=True))
    return [begun, *events[1:]]
