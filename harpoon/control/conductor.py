"""The conductor: the one that advances the runs of one shard, and their one writer.

What is asked of it is decided at once, in the order in which it is asked, on runs that are kept in memory; the answer
is a `harpoon.control.draft.Landing`, which tells it once that is durable. So nobody waits for anybody's commit but the
last one of the run that is concerned, and what comes in meanwhile goes into the next. What a run shows may be ahead of
the store by what is on its way: whoever shows it outside waits for that (`Conductor.seen`).

It decides nothing about runs itself (`core.step` does), and does not know who does the work (`control.exchange_port`).

A claim's token is the revision at which the hold was sealed when this conductor began, the shard, and a counter. Each
conductor of a shard begins with a hold that was taken or sealed since the one before: so no token is given twice.
"""

from collections.abc import Awaitable, Callable, Sequence
from itertools import count

from harpoon.control import starts
from harpoon.control.conducted import Conducted
from harpoon.control.draft import Draft, Landing
from harpoon.control.exchange_port import Exchange
from harpoon.control.family import called_by, caller_of
from harpoon.control.landings import checked, landing, over
from harpoon.control.ledger import Ledger
from harpoon.control.ledger_records import run_key
from harpoon.control.orders import MOVED, OVER, BeatOrder, ClaimOrder, CloseOrder, Form, Granted, Refusal, Start
from harpoon.control.refolding import GraphOf
from harpoon.control.reopening import Decide, Reopening, ended_run
from harpoon.control.run_reader import RunReader
from harpoon.control.shard_runs import ShardRuns
from harpoon.core import step
from harpoon.core.callback import Reply, call_back
from harpoon.core.event import Event
from harpoon.core.run import Run
from harpoon.core.step import Refused, Result, Signal
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, HarpoonError, NotFound, Unavailable


class Conductor(ShardRuns):
    """Advances the open runs of a shard as it is asked to.

    Args:
        ledger: Of the shard; it has to be running.
        exchange: Told what may be claimed.
        clock: What ``now`` is told by.
        incarnation: Of the store.
        reader: Reads what is known to the store only.
    """

    def __init__(self, ledger: Ledger, exchange: Exchange, clock: Clock, incarnation: int, reader: RunReader) -> None:
        super().__init__(ledger, exchange, clock)
        #: What keeps runs that are over.
        self.reopening = Reopening()
        #: URL that those of callbacks begin with; see `callback_urls`.
        self.base = ""
        self._reader = reader
        self._tokens = _token_begin(incarnation, ledger)
        self._count = count(1)

    # What workers ask for, by way of the exchange.

    def claim(self, orders: Sequence[ClaimOrder]) -> Landing[list[Granted | Refusal]]:
        """Give attempts to workers; tell of each, in the same order, by which token, or why not."""
        now_ms = self._clock.now().wall
        found: list[tuple[Draft | None, Granted | Refusal]] = []
        try:
            self.ledger.check_room()
        except Unavailable as error:
            found = [(None, Refusal(MOVED, str(error)))] * len(orders)
            return landing(found)
        for order in orders:
            conducted = self.runs.get(order.run)
            if conducted is None:
                found.append((None, over(order.run)))
                continue
            token = f"{self._tokens}{next(self._count)}"
            try:
                events = step.claim(conducted.run, order.ref, token, order.worker, order.session, now_ms)
            except Refused as error:
                found.append((None, Refusal(error.code, str(error))))
            else:
                # Nothing comes of a claim but its clocks.
                found.append((self._write(conducted, events), Granted(token)))
                self._look_after(conducted)
        return landing(found)

    def close(self, orders: Sequence[CloseOrder]) -> Landing[list[Refusal | None]]:
        """Close attempts; tell of each, in the same order, why not, or None.

        The very closing that closed an attempt before is answered alike, also when its run is over.
        """
        now_ms = self._clock.now().wall
        found: list[tuple[Draft | None, Refusal | None]] = []
        unknown: list[int] = []
        for number, order in enumerate(orders):
            conducted = self.runs.get(order.run) or self._ended.get(order.run)
            if conducted is None:
                unknown.append(number)
                found.append((self.ledger.proof(), over(order.run)))
                continue
            try:
                result = Result(order.label, order.output, order.error, order.is_retryable, order.after_ms)
                events = step.close(conducted.run, order.ref, order.token, result, now_ms)
            except Refused as error:
                # Another instance may conduct the run by now, and may have given out what is refused here.
                found.append((self.ledger.proof(), Refusal(error.code, str(error))))
                continue
            found.append((self._note(conducted, events, order.ref) if events else conducted.draft, None))
        return landing(found, self._recalling(orders, unknown) if unknown else None)

    def beat(self, orders: Sequence[BeatOrder]) -> Landing[list[bool]]:
        """Keep claims; tell of each, in the same order, whether it is the worker's still."""
        now_ms = self._clock.now().wall
        found: list[tuple[Draft | None, bool]] = []
        for order in orders:
            conducted = self.runs.get(order.run)
            if conducted is not None and step.beat(conducted.run, order.ref, order.token, now_ms):
                found.append((None, True))
            else:
                # What ended the claim is durable before the worker is told of it.
                found.append(
                    (conducted.draft if conducted and not conducted.is_durable else self.ledger.proof(), False)
                )
        return Landing(
            [draft for draft, _ in found if draft is not None],
            # What is not known is not denied: the worker goes on, and asks again.
            lambda: [told or (draft is not None and draft.error is not None) for draft, told in found],
        )

    # What users ask for.

    def start(self, orders: Sequence[tuple[Start, Form]]) -> Landing[list[starts.Answer]]:
        """Start runs; tell of each, in the same order, which run it is, or why there is none.

        Errors are `Invalid`, `Reused`, `harpoon.kit.errors.Conflict` (the workflow was changed meanwhile) and
        `Unavailable`.
        """
        now_ms = self._clock.now().wall
        found = [(order, *self._start(order, form, now_ms)) for order, form in orders]
        drafts = [draft for _, draft, _ in found if draft is not None]
        return Landing(drafts, *starts.told(self.ledger.place, found, self._reader.header_of))

    def _start(self, order: Start, form: Form, now_ms: int) -> tuple[Draft | None, starts.Answer]:
        key = run_key(order.namespace, order.id)
        known = self.known(key)
        if known is not None:
            return known.draft, starts.begun(known, order, is_new=False)
        try:
            self.ledger.check_room()
            conducted, events = starts.started(order, form, now_ms, self.base)
        except HarpoonError as error:
            return None, error
        conducted.compares = starts.conditions(self.ledger.place, order, form)
        draft = self.enter(conducted, events)
        self._follow(conducted)
        return draft, starts.begun(conducted, order, is_new=True)

    def signal(self, key: str, signal: Signal) -> Landing[None]:
        """Have a run told something; the same signal again is not another.

        Raises:
            NotFound: The run is not open.
            Refused: It takes no such signal.
        """
        return self._order(key, lambda run, now_ms: step.signal(run, signal, now_ms))

    def call_back(self, key: str, call: Reply) -> Landing[None]:
        """Have a visit of a run called back; the same again is not another.

        Raises:
            NotFound: The run is not open.
            Refused: It is not to be called back so.
        """
        return self._order(key, lambda run, now_ms: call_back(run, call, now_ms))

    def pause(self, key: str, by: str) -> Landing[None]:
        """Have nothing of a run claimed, fired or consumed, nor of what it calls; nothing, if it is paused already.

        Raises:
            NotFound: The run is not open.
        """
        return self._order(key, lambda run, now_ms: step.pause(run, by, now_ms))

    def resume(self, key: str, by: str) -> Landing[None]:
        """Have a paused run go on, and what it calls; nothing, if it does.

        Raises:
            NotFound: The run is not open.
            Refused: It is paused only as the run is that called it.
        """
        return self._order(key, lambda run, now_ms: step.resume(run, by, now_ms))

    def cancel(self, key: str, reason: str) -> Landing[None]:
        """Have a run end; what is open is closed as cancelled.

        Raises:
            NotFound: The run is not open.
        """
        return self._order(key, lambda run, now_ms: step.cancel(run, reason, now_ms))

    def order(self, key: str, decide: Decide) -> Landing[None]:
        """Have something decided about an open run.

        Raises:
            NotFound: It is not open.
            Refused: It is not done.
            Unavailable: This instance conducts it no longer.
        """
        return self._order(key, decide)

    async def repair(self, key: str, graph_of: GraphOf, decide: Decide) -> None:
        """Have something decided about a run, open or over, and wait until that is durable.

        Raises:
            NotFound: It is not kept, or nobody can go on with it.
            Gone: It is being deleted.
            Conflict: It cannot be gone on with.
            Refused: It is not done.
            StoreUnavailable: The store could not answer.
            Unavailable: This instance conducts it no longer.
        """
        if key not in self.runs:
            async with self.reopening.lock:
                conducted = await self._ended_run(key, graph_of)
                # From here to where it is decided nothing else happens.
                landing = self._order(key, decide) if conducted is None else self._reopen(conducted, decide)
        else:
            landing = self._order(key, decide)
        await landing

    async def _ended_run(self, key: str, graph_of: GraphOf) -> Conducted | None:
        """Return a run that is over, all of it durable; None: it goes on."""
        if (conducted := self._ended.get(key)) is not None:
            if conducted.draft is not None:
                await conducted.draft.settled()
                checked(conducted.draft, None)
        elif key not in self.runs:
            conducted = await ended_run(self._reader, graph_of, key, self.base)
        if key in self.runs:
            return None
        self.reopening.check(key)
        if conducted is not None and conducted.caller is not None:
            raise Conflict(f"run {conducted.run.id} was called by another run, and is over; repair that one")
        return conducted

    def _reopen(self, conducted: Conducted, decide: Decide) -> Landing[None]:
        """Have something decided about a run that is over, and conduct it if it goes on."""
        self.ledger.check_room()
        events = decide(conducted.run, self._clock.now().wall)
        if not events:
            return Landing((), lambda: None)
        self._ended.pop(conducted.key, None)
        self.runs[conducted.key] = conducted
        draft = self._note(conducted, events)
        return Landing((draft,), lambda: checked(draft, None))

    def _order(self, key: str, decide: Callable[[Run, int], list[Event]]) -> Landing[None]:
        conducted = self.runs.get(key)
        if conducted is None:
            raise NotFound(f"run {key.partition('/')[2]} is not open")
        self.ledger.check_room()
        was_paused = conducted.run.is_paused
        events = decide(conducted.run, self._clock.now().wall)
        draft = self._note(conducted, events) if events else conducted.draft
        drafts = [] if draft is None else [draft]
        if conducted.run.is_paused is not was_paused:
            drafts += self._pass_down(conducted)
        return Landing(drafts, lambda: checked(draft, None))

    def _pass_down(self, conducted: Conducted) -> list[Draft]:
        """Have what a run calls be paused as it is; return what is written of that."""
        drafts = []
        for called in called_by(conducted, self.runs):
            drafts += self._follow(called)
        return drafts

    def _follow(self, conducted: Conducted) -> list[Draft]:
        """Have a run that was called, and what it calls, be paused as its caller is; return what is written of that."""
        caller = caller_of(conducted, self.runs)
        if caller is None:
            return []
        was_paused = conducted.run.is_paused
        events = step.follow(conducted.run, self._clock.now().wall, is_held=caller.run.is_paused)
        drafts = [self._note(conducted, events)] if events else []
        return drafts if conducted.run.is_paused is was_paused else [*drafts, *self._pass_down(conducted)]

    def align(self) -> None:
        """Have each run that was called be paused as its caller is, once all are known.

        A pause, or a resume, may have been cut short. In whatever order they come, what changes is passed on down.
        """
        for conducted in [one for one in self.runs.values() if one.caller is not None]:
            self._follow(conducted)

    def _recalling(
        self, orders: Sequence[CloseOrder], unknown: Sequence[int]
    ) -> Callable[[list[Refusal | None]], Awaitable[list[Refusal | None]]]:
        """Return what finds out about closings of runs that are not known here."""

        async def recall(told: list[Refusal | None]) -> list[Refusal | None]:
            for number in unknown:
                refusal, order = told[number], orders[number]
                if refusal is not None and refusal.code == OVER and await self._reader.has_closed(order):
                    told[number] = None
            return told

        return recall


def _token_begin(incarnation: int, ledger: Ledger) -> str:
    """Return what the tokens of claims begin with that this conductor of a shard gives."""
    return f"{incarnation}.{ledger.hold.sealed}.{ledger.shard}."
