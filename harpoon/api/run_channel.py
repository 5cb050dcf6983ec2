"""Channels: one watch of the store for all who watch the same of runs, and one encoding of an event for all of them."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from prometheus_client import Counter

from harpoon.api.frames import frame
from harpoon.api.limits import Limits
from harpoon.api.listener import Listener
from harpoon.api.run_events import (
    Declared,
    End,
    Line,
    Told,
    declared_in,
    lines_of_many,
    lines_of_one,
    run_told,
    runs_told,
)
from harpoon.api.run_selection import RunSelection, RunTraits
from harpoon.api.run_traits import KnownRuns
from harpoon.api.stay import Stay
from harpoon.api.stream import Form, Stream
from harpoon.control.run_changes import Declaration, Record, declarations_of, records_of
from harpoon.control.view import View
from harpoon.kit.errors import Invalid
from harpoon.store.port import Change, Compacted, Rewound, SlowWatcher, Store, StoreUnavailable

_log = structlog.get_logger(__name__)

#: Records heard before others get their turn on the event loop.
_SLICE: Final = 200
#: What a channel keeps for those who are about to join: what happens while somebody reads how a run stands.
_KEPT_REVISIONS: Final = 2048
_KEPT_BYTES: Final = 1 << 20


class Follower(Listener):
    """One who is told what happens in a run, or in many."""

    def __init__(self, stay: Stay, stream: Stream, limits: Limits, selection: RunSelection) -> None:
        super().__init__(stay, stream, limits)
        #: Of what the channel has.
        self.selection = selection
        #: It has been told all up to this revision when it joins.
        self.floor = 0
        #: Of what it was told last; empty: nothing since it joined.
        self.position = ""
        #: Of the run, once that was told.
        self.end: End | None = None

    def tell(self, told: Told, events: bytes, framed: bytes) -> None:
        """Tell it what happened, of which ``told`` is the last; perhaps nothing of it was selected."""
        self.position, self.end = told.position, told.end
        if events:
            self.offer(events, framed)
        if told.end is not None:
            self.part(None)


class Heard:
    """One revision that a channel has heard of."""

    __slots__ = ("declarations", "declared", "lines", "records", "revision", "size", "told", "traits")

    def __init__(self, revision: int, records: tuple[Record, ...], declarations: tuple[Declaration, ...] = ()) -> None:
        self.revision = revision
        self.records = records
        self.declarations = declarations
        values = [record.value for record in records] + [one.entry.value for one in declarations if one.entry]
        self.size = sum(len(value) for value in values)
        #: Selection → how it is told there, once it was.
        self.told: dict[RunSelection, Told | None] = {}
        #: The same for all who are told of it; None: nobody was.
        self.lines: Sequence[Line] | None = None
        self.declared: Sequence[Declared] = ()
        #: Of the runs it is about; None: nobody selects by them.
        self.traits: Mapping[str, RunTraits | None] | None = None


class Channel:
    """One watch of the store, and those who are told what it tells.

    Args:
        store: What is watched.
        prefix: Where.
        after: Everything after this revision is heard.
        view: Tells how revisions are shown; None: one run is heard, and told by the numbers of its events.
        encoded: Counts what was written.
    """

    def __init__(self, store: Store, prefix: str, after: int, view: View | None, encoded: Counter) -> None:
        #: Those who use it, joined or about to.
        self.users = 0
        #: Up to which revision it has heard all.
        self.heard = after
        #: Why it hears no more; None: it does.
        self.failure: Exception | None = None
        self._store = store
        self.prefix = prefix
        self._view = view
        self._encoded = encoded
        #: None: nobody selects by what they know.
        self._known: KnownRuns | None = None
        self._kept: deque[Heard] = deque()
        self._kept_bytes = 0
        #: Everything after this revision is kept.
        self._base = after
        #: To be told at the end of this turn of the loop.
        self._pending: list[Heard] = []
        #: Selection → form of the stream → those who are told the very same bytes.
        self._followers: dict[RunSelection, dict[Form, dict[Follower, None]]] = {}
        self._task = asyncio.ensure_future(self._run())

    def stop(self) -> None:
        """Hear no more."""
        self._task.cancel()

    def covers(self, cursor: int) -> bool:
        """Whether all that was heard after a revision is kept."""
        return cursor >= self._base

    def since(self, cursor: int) -> list[Heard]:
        """Return what was heard after a revision that is covered."""
        return [heard for heard in self._kept if heard.revision > cursor]

    async def know(self) -> KnownRuns:
        """From now on know of which workflow runs are, and with which tags, of all that is kept here.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        if self._known is None:
            self._known = KnownRuns(self._store)
        for heard in tuple(self._kept):
            if heard.traits is None:
                heard.traits = await self._known.of(heard.records)
        return self._known

    async def hear(self, revision: int, changes: Sequence[Change]) -> Heard:
        """Return what a revision of the store tells here.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        heard = Heard(revision, await records_of(self._store, changes), declarations_of(changes))
        if self._known is not None:
            heard.traits = await self._known.of(heard.records)
        return heard

    def told(self, heard: Heard, selection: RunSelection) -> Told | None:
        """Return how a revision is told to those who select so; None: it does not concern them.

        Raises:
            Invalid: A record of it cannot be read.
        """
        if selection not in heard.told:
            heard.told[selection] = self._tell(heard, selection)
        return heard.told[selection]

    def _tell(self, heard: Heard, selection: RunSelection) -> Told | None:
        if heard.lines is None:
            heard.lines = lines_of_one(heard.records) if self._view is None else lines_of_many(heard.records)
            heard.declared = () if self._view is None else declared_in(self._view, heard.declarations)
            if heard.lines or heard.declared:
                self._encoded.inc()
        if self._view is None:
            return run_told(heard.lines, selection)
        shown = self._view.external(heard.revision)
        return runs_told(shown, heard.lines, heard.traits or {}, heard.declared, selection)

    def join(self, follower: Follower, cursor: int) -> None:
        """Have one told of all after a revision, since which nothing that was heard concerned it."""
        self.flush()
        follower.floor, follower.position = cursor, ""
        forms = self._followers.setdefault(follower.selection, {})
        forms.setdefault(follower.stream.form, {})[follower] = None
        if self.failure is not None:
            follower.part(None)

    def leave(self, follower: Follower) -> None:
        """Tell one no more; nothing when it has not joined."""
        forms = self._followers.get(follower.selection, {})
        for form, followers in list(forms.items()):
            followers.pop(follower, None)
            if not followers:
                del forms[form]
        if not forms:
            self._followers.pop(follower.selection, None)

    def flush(self) -> None:
        """Write what came within this turn of the loop, as one piece to each and the same to all alike."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        for selection, forms in self._followers.items():
            try:
                told = [(one.revision, told) for one in pending if (told := self.told(one, selection)) is not None]
            except Invalid as error:
                self._fail(error)
                return
            if told:
                for form, followers in forms.items():
                    _tell(form, tuple(followers), told)

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._hear()
                except SlowWatcher:
                    continue  # the store is asked again from where it stopped
        except (Compacted, Rewound, StoreUnavailable) as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001
            # Whatever it is: those who listen would hear nothing more, and take that for calm.
            _log.error("runs_not_heard", prefix=self.prefix, exc_info=error)
            self._fail(error)

    async def _hear(self) -> None:
        handled = 0
        async for revision, changes in self._store.watch(self.prefix, after=self.heard):
            heard = await self.hear(revision, changes)
            if heard.records or heard.declarations:
                self._keep(heard)
            self.heard = revision
            handled += 1 + len(changes)
            if handled >= _SLICE:
                handled = 0
                self.flush()
                await asyncio.sleep(0)

    def _keep(self, heard: Heard) -> None:
        self._kept.append(heard)
        self._kept_bytes += heard.size
        while len(self._kept) > _KEPT_REVISIONS or (self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1):
            dropped = self._kept.popleft()
            self._kept_bytes -= dropped.size
            self._base = dropped.revision
        if not self._pending:
            asyncio.get_running_loop().call_soon(self.flush)
        self._pending.append(heard)

    def _fail(self, error: Exception) -> None:
        """Tell no more, and let those who listen know."""
        if self.failure is None:
            self.failure = error
            self.flush()
        for forms in self._followers.values():
            for followers in forms.values():
                for follower in followers:
                    follower.part(None)


def _tell(form: Form, followers: tuple[Follower, ...], told: list[tuple[int, Told]]) -> None:
    joined = _joined(form, [one for _, one in told])
    framed = form.framed(joined)
    first = told[0][0]
    for follower in followers:
        if follower.floor < first:
            follower.tell(told[-1][1], joined, framed)
            continue
        # It has read some of that itself.
        rest = [one for revision, one in told if revision > follower.floor]
        if rest:
            own = _joined(form, rest)
            follower.tell(rest[-1], own, form.framed(own))


def _joined(form: Form, told: Sequence[Told]) -> bytes:
    return b"".join([frame(form.encoding, "change", one.position, one.body) for one in told if one.body])
