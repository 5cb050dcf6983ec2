"""What watchers are told: S11."""

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from tests.proof.history import Committed, Fault, Watched
from tests.proof.judge import Check, Terms
from tests.proof.state import State

#: Table → what its rows are called in a watch.
_KINDS: Final = {"jobs": "job", "placements": "placement", "actual": "task", "agents": "agent"}
#: Parts of their agent's object.
_PARTS: Final = ("links", "cordons")
_ALL: Final = tuple(_KINDS.values())
#: What a `Fault` is called by which the store itself leaves a revision out of a watch, and nothing shows that it did.
WATCH_GAP: Final = "watch_gap"


@dataclass(slots=True)
class _Stream:
    """Where a watcher is."""

    kinds: tuple[str, ...]
    #: Everything up to here was told; None: the snapshot has not come.
    last: int | None
    #: Of a snapshot that is not complete.
    keys: set[str] = field(default_factory=set)
    is_over: bool = False
    #: Told before the store's revision was heard of.
    early: deque[Watched] = field(default_factory=deque)


class WholeWatches(Check):
    """S11. A watch is judged against the store's own log: each revision that touches it, whole, once, in order.

    Watches of everything of some kinds only: one that selects by name or tags is not to be told of. Silence is not
    judged: what is not told before the history ends may be on its way, and a watcher need not have noticed a dead line.
    Whether a history that is said to be gone is gone is the store's to know.

    Once the store has left a revision out of a watch without a sign, instances know no better until they compare
    themselves with it, ten minutes later: from then on only what is told is judged, and that revisions rise.
    """

    name = "S11"
    tables = (*_KINDS, *_PARTS)
    says = "A watcher is told every revision that touches what it watches: whole, in order, once."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._streams: dict[str, _Stream] = {}
        #: Kind → revisions that touch it, and revision → keys of each.
        self._touched: dict[str, list[int]] = {kind: [] for kind in _ALL}
        self._keys: dict[tuple[int, str], list[str]] = {}
        #: Key → since when it is there, or is not.
        self._presence: dict[str, list[tuple[int, bool]]] = {}
        self._has_gap = False

    def on_fault(self, event: Fault) -> None:
        self._has_gap |= event.what == WATCH_GAP

    def on_committed(self, event: Committed) -> None:
        state = self.state
        if state.is_anew:
            # Whoever watched the former store is cut off from it; one that is still being filled nobody watches.
            self._streams.clear()
            self._touched = {kind: [] for kind in _ALL}
            self._keys.clear()
            self._presence.clear()
        for change in state.changed:
            kind = _KINDS.get(change.table)
            if kind is not None:
                name = self._touch(event.revision, kind, change.key)
                if change.old is None or change.new is None:
                    self._presence.setdefault(name, []).append((event.revision, change.new is not None))
        for change in state.changed:
            if change.table in _PARTS and state.row("agents", change.key) is not None:
                self._touch(event.revision, "agent", change.key)
        if not self.terms.is_exact:
            for stream in self._streams.values():
                self._catch_up(stream)

    def _touch(self, revision: int, kind: str, key: str) -> str:
        keys = self._keys.setdefault((revision, kind), [])
        if not keys:
            self._touched[kind].append(revision)
        name = f"{kind}/{key}"
        if name not in keys:
            keys.append(name)
        return name

    def on_watched(self, event: Watched) -> None:
        if event.what == "opened":
            # Users name kinds in the plural.
            kinds = tuple(kind.removesuffix("s") for kind in event.keys)
            self._streams[event.stream] = _Stream(kinds or _ALL, event.revision or None)
            return
        stream = self._streams.get(event.stream)
        if stream is None:
            return
        if self.terms.is_exact:
            if event.revision > self.state.revision:
                raise self.refute(f"stream {event.stream} is at a revision that the store does not have", event)
            self._judge(stream, event)
        else:
            stream.early.append(event)
            self._catch_up(stream)

    def end(self) -> None:
        for stream in self._streams.values():
            if stream.early:
                event = stream.early[0]
                raise self.refute(f"stream {event.stream} is at a revision that the store never had", event)

    def _catch_up(self, stream: _Stream) -> None:
        while stream.early and stream.early[0].revision <= self.state.revision:
            self._judge(stream, stream.early.popleft())

    def _judge(self, stream: _Stream, event: Watched) -> None:
        if stream.is_over:
            raise self.refute(f"stream {event.stream} goes on after its end", event)
        match event.what:
            case "snapshot":
                stream.keys.update(event.keys)
            case "synced":
                self._judge_snapshot(stream, event)
            case "changes":
                self._judge_changes(stream, event)
            case "bookmark":
                self._judge_gap(stream, event, event.revision + 1)
                if stream.last is not None and event.revision < stream.last:
                    raise self.refute(f"stream {event.stream} goes back from {stream.last}", event)
                stream.last = event.revision
            case "gone" | "cut":
                stream.is_over = True

    def _judge_snapshot(self, stream: _Stream, event: Watched) -> None:
        if stream.last is not None:
            raise self.refute(f"stream {event.stream} went on from {stream.last}, and is told a snapshot", event)
        there = {
            name
            for name, past in self._presence.items()
            if name.partition("/")[0] in stream.kinds
            and next((is_there for since, is_there in reversed(past) if since <= event.revision), False)
        }
        odd = sorted(there ^ stream.keys)
        if odd and not self._has_gap:
            text = f"the snapshot of stream {event.stream} {'lacks' if odd[0] in there else 'makes up'} {odd[0]}"
            raise self.refute(text, event)
        stream.keys = set()
        stream.last = event.revision

    def _judge_changes(self, stream: _Stream, event: Watched) -> None:
        if stream.last is None:
            raise self.refute(f"stream {event.stream} is told changes before its snapshot is complete", event)
        # What was left out is told at the present revision, when it is found.
        if event.revision < stream.last + (not self._has_gap):
            raise self.refute(f"stream {event.stream} is told {event.revision} after {stream.last}", event)
        self._judge_gap(stream, event, event.revision)
        if self._has_gap:
            self._judge_made_up(stream, event)
            stream.last = event.revision
            return
        wanted = [key for kind in stream.kinds for key in self._keys.get((event.revision, kind), ())]
        odd = sorted(set(wanted) ^ set(event.keys))
        if odd or len(event.keys) != len(wanted):
            what = f"{odd[0]} is {'missing' if odd[0] in wanted else 'made up'}" if odd else "a key is told twice"
            raise self.refute(f"stream {event.stream} is not told revision {event.revision} whole: {what}", event)
        stream.last = event.revision

    def _judge_made_up(self, stream: _Stream, event: Watched) -> None:
        """Refute that something is told that never changed."""
        for key in event.keys:
            if key not in self._presence and key.partition("/")[0] in stream.kinds:
                raise self.refute(f"stream {event.stream} is told of {key}, which never was", event)

    def _judge_gap(self, stream: _Stream, event: Watched, before: int) -> None:
        """Refute that a revision between what was told last and ``before`` touches what is watched."""
        if stream.last is None or self._has_gap:
            return
        for kind in stream.kinds:
            touched = self._touched[kind]
            low, high = bisect_right(touched, stream.last), bisect_left(touched, before)
            if low < high:
                text = f"stream {event.stream} goes from {stream.last} to {event.revision} without {touched[low]}"
                raise self.refute(text, event)
