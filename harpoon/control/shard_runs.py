"""The runs of one shard as its conductor keeps them, and what is done with whatever happens in them.

However a run is advanced, and whoever asks for that (`harpoon.control.conductor`), its events go into the ledger here,
its clocks are looked after, and what comes of it is told to the exchange and to whoever else is to know.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Final

import orjson

from harpoon.control.calls_port import Ends
from harpoon.control.conducted import Conducted
from harpoon.control.draft import Draft, Landing
from harpoon.control.exchange_port import Exchange
from harpoon.control.landings import checked
from harpoon.control.ledger import Ledger
from harpoon.control.offering import tell
from harpoon.control.refolding import moves_of
from harpoon.control.timers import NEVER, Dues
from harpoon.control.turns import Turns
from harpoon.control.waits_port import Waits
from harpoon.core import step
from harpoon.core.dues import next_due_ms
from harpoon.core.event import CancelAsked, Ended, Event, Moved, Paused, Resumed, RetriedFrom, SetTo, dump
from harpoon.core.run import Run
from harpoon.core.visit import Ref
from harpoon.kit.clock import Clock

#: Runs that ended last, which are kept for closings that come again.
ENDED_KEPT: Final = 16
_REWRITE: Final = frozenset({Paused, Resumed, CancelAsked, Ended, RetriedFrom, SetTo, Moved})


class ShardRuns:
    """The open runs of a shard, and those that ended last.

    Args:
        ledger: Of the shard; it has to be running.
        exchange: Told what may be claimed.
        clock: What ``now`` is told by.
    """

    def __init__(self, ledger: Ledger, exchange: Exchange, clock: Clock) -> None:
        self.ledger = ledger
        #: Key of a run → it; all that are open, once it is loaded.
        self.runs: dict[str, Conducted] = {}
        self.dues: Dues[Conducted] = Dues(self._tick)
        #: Keys of those in which a failure is parked.
        self.parked: set[str] = set()
        #: Runs that have ended since it began.
        self.ended = 0
        #: Told how runs wait for signals with keys; None: nobody is.
        self.waits: Waits | None = None
        #: Told which runs end; None: nobody is.
        self.ends: Ends | None = None
        self._exchange = exchange
        self._clock = clock
        #: Some that have ended; all of those whose end is not durable.
        self._ended: OrderedDict[str, Conducted] = OrderedDict()

    def known(self, key: str) -> Conducted | None:
        """Return a run that goes on, or has ended just now."""
        return self.runs.get(key) or self._ended.get(key)

    def seen(self, key: str) -> Landing[Run] | None:
        """Return an open run once all that it shows now is durable; None: it is not open.

        It is to be read in the turn in which whoever awaits this goes on: later it may be ahead of the store again.
        """
        conducted = self.runs.get(key)
        if conducted is None:
            return None
        run, draft = conducted.run, conducted.draft
        return Landing(() if draft is None else (draft,), lambda: checked(draft, run))

    def enter(self, conducted: Conducted, events: Sequence[Event]) -> Draft:
        """Conduct a run that has begun just now, and have the events written that it began with."""
        self.runs[conducted.key] = conducted
        draft = self._note(conducted, events)
        draft.compares, conducted.compares = conducted.compares, ()
        draft.failed = partial(self.drop, conducted)
        return draft

    def enter_fork(self, conducted: Conducted, copied: bytes, seq: int, events: Sequence[Event]) -> Draft:
        """Conduct a run from now on that begins as another one did.

        Args:
            conducted: It, with conditions of its start.
            copied: Events of the other one as they are stored, but for those in its header; perhaps none.
            seq: Number of the first of them, or of the first event of its own.
            events: Its own, at least one.
        """
        self.runs[conducted.key] = conducted
        own = orjson.dumps([dump(event) for event in events])[1:-1]
        chunk = b"%b,%b" % (copied, own) if copied else own
        conducted.bytes += len(chunk)
        draft = conducted.draft = self.ledger.append(conducted.key, seq, chunk, conducted.header())
        draft.compares, conducted.compares = conducted.compares, ()
        draft.failed = partial(self.drop, conducted)
        self._tell(conducted, events, None, draft)
        return draft

    def adopt(self, conducted: Conducted) -> None:
        """Conduct a run from now on that was read from the store."""
        self.runs[conducted.key] = conducted
        run = conducted.run
        self._note_parked(conducted)
        events = step.adopt(run, self._clock.now().wall)
        if not run.status.is_over:
            if not run.is_paused and run.ready:
                self._exchange.ready(run, tuple(run.ready.values()))
            claimed = [attempt for attempt in run.open.values() if attempt.claim is not None]
            if claimed:
                self._exchange.claimed(run, claimed)
        if events:
            self._note(conducted, events)
            return
        self._look_after(conducted)
        if self.waits is not None:
            self.waits.standing(run)

    def drop(self, conducted: Conducted) -> None:
        """Conduct a run no longer, which goes on elsewhere or never was durable."""
        for runs in (self.runs, self._ended):
            if runs.get(conducted.key) is conducted:
                del runs[conducted.key]
        if self.waits is not None:
            self.waits.left(conducted.run)
        self.parked.discard(conducted.key)
        self.dues.forget(conducted)
        self._exchange.left(conducted.run)

    async def leave(self, turns: Turns) -> None:
        """Conduct nothing more: the shard is another's. It must not be found any more."""
        while left := self.runs or self._ended:
            await turns.wait()
            self.drop(next(iter(left.values())))

    def forget(self, key: str) -> bool:
        """Know nothing more of a run that is over, for it is deleted; False: it goes on."""
        self._ended.pop(key, None)
        return key not in self.runs

    def _tick(self, conducted: Conducted, now_ms: int) -> None:
        """Do what is due in a run."""
        events = step.tick(conducted.run, now_ms)
        if events:
            self._note(conducted, events)
        else:
            self._look_after(conducted)

    def _note(self, conducted: Conducted, events: Sequence[Event], by: Ref | None = None) -> Draft:
        """Have events written that a run has made already, and tell what comes of them.

        Args:
            conducted: The run.
            events: In order, at least one.
            by: The attempt whose worker has brought them about.
        """
        run = conducted.run
        # What a run begins with is in its header.
        is_first = events[0].seq == 1
        is_rewritten = is_first or not _REWRITE.isdisjoint(map(type, events))
        is_rewritten = is_rewritten or conducted.incidents != len(run.incidents)
        conducted.moved += moves_of(events)
        draft = self._write(conducted, () if is_first else events, is_rewritten=is_rewritten)
        self._tell(conducted, events, by, draft)
        return draft

    def _tell(self, conducted: Conducted, events: Sequence[Event], by: Ref | None, draft: Draft) -> None:
        """Tell what comes of events that are being written."""
        run = conducted.run
        if run.status.is_over:
            self._end(conducted, draft)
        else:
            self._look_after(conducted)
            tell(self._exchange, run, events, by, draft)
        if self.waits is not None:
            self.waits.standing(run)

    def _write(self, conducted: Conducted, events: Sequence[Event], *, is_rewritten: bool = False) -> Draft:
        """Have events written, and the header with them if it is to be."""
        chunk = orjson.dumps([dump(event) for event in events])[1:-1]
        conducted.bytes += len(chunk)
        header = conducted.header() if is_rewritten else None
        self._note_parked(conducted)
        seq = events[0].seq if events else 1
        draft = conducted.draft = self.ledger.append(conducted.key, seq, chunk, header)
        return draft

    def _note_parked(self, conducted: Conducted) -> None:
        if conducted.incidents:
            self.parked.add(conducted.key)
        else:
            self.parked.discard(conducted.key)

    def _end(self, conducted: Conducted, draft: Draft) -> None:
        self.ended += 1
        del self.runs[conducted.key]
        self._ended[conducted.key] = conducted
        while len(self._ended) > ENDED_KEPT and next(iter(self._ended.values())).is_durable:
            self._ended.popitem(last=False)
        self.dues.forget(conducted)
        self._exchange.over(conducted.run, draft)
        if self.ends is not None:
            self.ends.ended(conducted, draft)

    def _look_after(self, conducted: Conducted) -> None:
        """Have the timers know when something may be due in a run, if that is earlier than they know."""
        run = conducted.run
        # None of its clocks is due before the first of these, though that one may be outdated.
        if conducted.due_ms != NEVER and not (run.wakes and run.wakes[0][0] < conducted.due_ms):
            return
        due_ms = next_due_ms(run)
        if due_ms is not None and due_ms < conducted.due_ms:
            self.dues.at(due_ms, conducted)
