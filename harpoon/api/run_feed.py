"""Fan-out of what happens in runs: one watch of the store for all who watch the same, and one encoding for all alike.

What is watched is what the store has, so it is durable, and the same whichever instance conducts the run: a run that is
taken over is told on without a break. A watch of many runs needs one watch of all runs an instance; that of one run
needs its log only. A channel is there for as long as somebody listens.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import Counter

from harpoon.api.frames import frame
from harpoon.api.limits import Limits
from harpoon.api.listener import Listener
from harpoon.api.run_events import End, Told, run_told, runs_told
from harpoon.api.stay import Stay
from harpoon.api.stream import Form, Stream
from harpoon.control.run_changes import EVERYTHING, Record, log_of, records_of
from harpoon.control.view import View
from harpoon.kit.errors import Invalid
from harpoon.store.port import Compacted, Rewound, SlowWatcher, Store, StoreUnavailable

_log = structlog.get_logger(__name__)

#: Records heard before others get their turn on the event loop.
_SLICE: Final = 200
#: What a channel keeps for those who are about to join: what happens while somebody reads how a run stands.
_KEPT_REVISIONS: Final = 2048
_KEPT_BYTES: Final = 1 << 20


class Follower(Listener):
    """One who is told what happens in a run, or in the runs of a namespace."""

    def __init__(self, stay: Stay, stream: Stream, limits: Limits, namespace: str | None) -> None:
        super().__init__(stay, stream, limits)
        #: None: whatever the channel has.
        self.namespace = namespace
        #: It has been told all up to this revision when it joins.
        self.floor = 0
        #: Of what it was told last; empty: nothing since it joined.
        self.position = ""
        #: Of the run, once that was told.
        self.end: End | None = None

    def tell(self, told: Told, events: bytes, framed: bytes) -> None:
        """Tell it what happened, of which ``told`` is the last."""
        self.position, self.end = told.position, told.end
        self.offer(events, framed)
        if told.end is not None:
            self.part(None)


class Heard:
    """One revision that a channel has heard of."""

    __slots__ = ("records", "revision", "size", "told")

    def __init__(self, revision: int, records: tuple[Record, ...]) -> None:
        self.revision = revision
        self.records = records
        self.size = sum(len(record.value) for record in records)
        #: Namespace → how it is told there, once it was.
        self.told: dict[str | None, Told | None] = {}


#: Says how a revision is told in a namespace; None: not at all.
Telling = Callable[[int, tuple[Record, ...], str | None], Told | None]


class Channel:
    """One watch of the store, and those who are told what it tells."""

    def __init__(self, store: Store, prefix: str, after: int, telling: Telling, encoded: Counter) -> None:
        #: Those who use it, joined or about to.
        self.users = 0
        #: Up to which revision it has heard all.
        self.heard = after
        #: Why it hears no more; None: it does.
        self.failure: Exception | None = None
        self._store = store
        self.prefix = prefix
        self._telling = telling
        self._encoded = encoded
        self._kept: deque[Heard] = deque()
        self._kept_bytes = 0
        #: Everything after this revision is kept.
        self._base = after
        #: To be told at the end of this turn of the loop.
        self._pending: list[Heard] = []
        #: Namespace → form of the stream → those who are told the very same bytes.
        self._followers: dict[str | None, dict[Form, dict[Follower, None]]] = {}
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

    def told(self, heard: Heard, namespace: str | None) -> Told | None:
        """Return how a revision is told in a namespace; None: it does not concern it.

        Raises:
            Invalid: A record of it cannot be read.
        """
        if namespace not in heard.told:
            told = heard.told[namespace] = self._telling(heard.revision, heard.records, namespace)
            if told is not None:
                self._encoded.inc()
        return heard.told[namespace]

    def join(self, follower: Follower, cursor: int) -> None:
        """Have one told of all after a revision, since which nothing that was heard concerned it."""
        self.flush()
        follower.floor, follower.position = cursor, ""
        forms = self._followers.setdefault(follower.namespace, {})
        forms.setdefault(follower.stream.form, {})[follower] = None
        if self.failure is not None:
            follower.part(None)

    def leave(self, follower: Follower) -> None:
        """Tell one no more; nothing when it has not joined."""
        forms = self._followers.get(follower.namespace, {})
        for form, followers in list(forms.items()):
            followers.pop(follower, None)
            if not followers:
                del forms[form]
        if not forms:
            self._followers.pop(follower.namespace, None)

    def flush(self) -> None:
        """Write what came within this turn of the loop, as one piece to each and the same to all alike."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        for namespace, forms in self._followers.items():
            try:
                told = [(one.revision, told) for one in pending if (told := self.told(one, namespace)) is not None]
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
            records = await records_of(self._store, changes)
            if records:
                self._keep(Heard(revision, records))
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
    joined = b"".join([frame(form.encoding, "change", one.position, one.body) for _, one in told])
    framed = form.framed(joined)
    first = told[0][0]
    for follower in followers:
        if follower.floor < first:
            follower.tell(told[-1][1], joined, framed)
            continue
        # It has read some of that itself.
        rest = [one for revision, one in told if revision > follower.floor]
        if rest:
            own = b"".join([frame(form.encoding, "change", one.position, one.body) for one in rest])
            follower.tell(rest[-1], own, form.framed(own))


class RunFeed:
    """The channels of one application."""

    def __init__(self, store: Store, view: View, encoded: Counter) -> None:
        self._store = store
        self._view = view
        self._encoded = encoded
        #: ``<namespace>/<run>`` → its channel; None: that of all runs.
        self._channels: dict[str | None, Channel] = {}

    def __len__(self) -> int:
        return len(self._channels)

    @asynccontextmanager
    async def channel(self, run: str | None) -> AsyncIterator[Channel]:
        """Yield the channel of a run, or of all, which hears everything from now on at least, until the block ends.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        channel = self._found(run)
        if channel is None:
            after = await self._store.revision()
            channel = self._found(run) or self._open(run, after)
        channel.users += 1
        try:
            yield channel
        finally:
            channel.users -= 1
            if not channel.users:
                channel.stop()
                if self._channels.get(run) is channel:
                    del self._channels[run]

    def _found(self, run: str | None) -> Channel | None:
        channel = self._channels.get(run)
        return None if channel is None or channel.failure is not None else channel

    def _open(self, run: str | None, after: int) -> Channel:
        if run is None:
            channel = Channel(self._store, EVERYTHING, after, self._tell_runs, self._encoded)
        else:
            channel = Channel(self._store, log_of(run), after, _tell_run, self._encoded)
        self._channels[run] = channel
        return channel

    def _tell_runs(self, revision: int, records: tuple[Record, ...], namespace: str | None) -> Told | None:
        return runs_told(self._view.external(revision), records, namespace)


def _tell_run(_revision: int, records: tuple[Record, ...], _namespace: str | None) -> Told | None:
    return run_told(records)


RUN_FEED: web.AppKey[RunFeed] = web.AppKey("run_feed", RunFeed)
