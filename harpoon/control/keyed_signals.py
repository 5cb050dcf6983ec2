"""Signals by key: durable once they are taken, and had by one run that waits with their key, once.

Every instance sees all that is kept (`control.keyed_records`), and knows which of the runs that it conducts wait for
what (`control.waits_port`). Nobody tells another instance anything else:

1. A run that waits is found by the instance that conducts it, which writes the run's name into the record; the record
   is compared, so of several that find one, one does. From then on no other run is to have it.
2. The run is sent the signal, as by a user: only while a wait is open that takes it, so it is consumed in the very
   commit that has it; and by an id that follows from the record, so however often this is begun, it is had once.
3. The record becomes one of the other kind. An instance that dies in between leaves a record that names a run: whoever
   conducts that one next goes on. If the run does not wait any more, and never had it, its name is taken out again.
   That is written by virtue of the hold of the run's shard: a former holder cannot do it, however late.

A signal that is first is found by the wait, a wait that is first by the signal. All that is kept is looked at again now
and then, as by any loop here.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from harpoon.control.conductor import Conductor
from harpoon.control.keyed_records import KEPT, SENT, KeyedRecords, Letter, Place, name_of
from harpoon.control.ledger_records import SHARDS, run_key
from harpoon.control.runs import Runs
from harpoon.core.event import Signalled
from harpoon.core.fold import SIGNAL_KEPT_MS
from harpoon.core.measure import json_bytes
from harpoon.core.run import Run
from harpoon.core.signalling import has_taker
from harpoon.core.step import Refused, Signal
from harpoon.kit import codec
from harpoon.kit.clock import Clock, Random
from harpoon.kit.errors import HarpoonError, Invalid, NotFound, Problem, Unavailable
from harpoon.kit.loop import Counter, Loop, Pace
from harpoon.kit.news import News
from harpoon.model.keyed_signal import DeliveredSignal, KeyedSignal
from harpoon.store import settle
from harpoon.store.port import Compare, Delete, Put, Store, StoreUnavailable, Trouble, Write

#: Of one payload.
PAYLOAD_BYTES_MAX: Final = 64 << 10
#: Those that a run has are remembered for as long as those that none has are kept; of more, the latest.
SENT_MAX: Final = 20_000
#: What is too old is looked for so often.
SWEEP_S: Final = 600.0
#: Wait before it is asked again what became of a run.
_AGAIN: Final = timedelta(milliseconds=500)
#: Runs that wait which are looked at before others get their turn.
_SLICE: Final = 200
_ENDING: Final = frozenset({Trouble.CLOSED, Trouble.ROLLED_BACK})

_log = structlog.get_logger(__name__)


class KeyedSignals:
    """Keeps signals by key, and has runs that wait have them.

    Args:
        store: Where they are kept.
        clock: What ``now`` is told by.
        runs: Those that are conducted here.
        rng: Spreads looking again.
        failures: Counts what fails.
        pace: How often all is looked at again.
    """

    def __init__(
        self, store: Store, clock: Clock, runs: Runs, *, rng: Random, failures: Counter, pace: Pace | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._runs = runs
        self._records = KeyedRecords(store, self._wake)
        #: Place → keys of the runs conducted here that wait there, the one that waits longest first; and the reverse.
        self._waiting: dict[Place, dict[str, None]] = {}
        self._places: dict[str, set[Place]] = {}
        self._loop: Loop[Place] = Loop(
            "keyed-signals",
            self._handle,
            self._records.places,
            rng=rng,
            failures=failures,
            pace=pace,
            expected=(StoreUnavailable,),
        )
        self._news = News()

    # What users do.

    async def send(self, namespace: str, signal: Signal) -> None:
        """Keep a signal with a key until a run has it; the same again, by its id, is not another.

        Raises:
            Invalid: Its payload is too large.
            Conflict: So many are kept already that it is not.
            StoreUnavailable: The store could not answer.
        """
        assert signal.key is not None, "it names a key"
        size = json_bytes(signal.payload)
        if size > PAYLOAD_BYTES_MAX:
            detail = f"the payload has {size} bytes, and {PAYLOAD_BYTES_MAX} is the most of a signal that names no run"
            raise Invalid(detail, [Problem(pointer="/payload", detail=detail)])
        name = name_of(namespace, signal)
        if not self._records.is_known(name):
            self._records.check_room(Place(namespace, signal.name, signal.key), size)
        record = KeyedSignal(
            namespace=namespace,
            name=signal.name,
            key=signal.key,
            id=signal.id,
            label=signal.label,
            payload=signal.payload,
            sent_ms=self._clock.now().wall,
        )
        absent = (Compare(KEPT + name, mod=0), Compare(SENT + name, mod=0))
        await settle.commit(self._store, absent, [Put(KEPT + name, codec.dump(record))])

    async def receiver(self, namespace: str, signal: Signal, within_s: float) -> str | None:
        """Return the run that has a signal which was sent, or has it within so long; None: none has.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        name, place = name_of(namespace, signal), Place(namespace, signal.name, signal.key or "")
        is_nobody = len(self._runs.conductors) == SHARDS and place not in self._waiting
        try:
            async with asyncio.timeout(0 if is_nobody or not self._records.is_loaded else within_s):
                return await self._records.receiver(name)
        except TimeoutError:
            entry = await self._store.get(SENT + name)
        return None if entry is None else codec.load(DeliveredSignal, entry.value).run

    async def kept(self, namespace: str) -> tuple[int, list[KeyedSignal]]:
        """Return the signals of a namespace that no run has yet, as they came, and of which revision that is.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        revision, found = 0, []
        async for page in self._store.list(f"{KEPT}{namespace}/"):
            revision = page.revision
            found += [(entry.create_revision, codec.load(KeyedSignal, entry.value)) for entry in page.entries]
        return revision, [signal for _, signal in sorted(found, key=lambda one: one[0])]

    # What conductors tell.

    def standing(self, run: Run) -> None:
        """Take note of how a run waits now."""
        if not (run.waiting or self._places):
            return
        key = run_key(run.namespace, run.id)
        now = {Place(run.namespace, name, own) for name, own in run.waiting if own is not None}
        if not now and key not in self._places:
            return
        self._note(key, now)
        for place in now:
            # It may be another wait than before.
            if self._records.is_kept_for(place):
                self._loop.wake(place)

    def left(self, run: Run) -> None:
        """Forget a run that this instance conducts no longer."""
        self._note(run_key(run.namespace, run.id), set())

    def look_again(self) -> None:
        """Look at all that is kept: runs are conducted here that were not before."""
        for place in self._records.places():
            self._loop.wake(place)

    def _wake(self, place: Place) -> None:
        self._loop.wake(place)

    def _note(self, key: str, now: set[Place]) -> None:
        before = self._places.pop(key, set())
        for place in before - now:
            runs = self._waiting[place]
            del runs[key]
            if not runs:
                del self._waiting[place]
        for place in now - before:
            self._waiting.setdefault(place, {})[key] = None
        if now:
            self._places[key] = now

    # What is done.

    async def run(self) -> None:
        """Have runs that wait have what is kept for them, until cancelled.

        Raises:
            StoreUnavailable: The store was closed, or was rolled back.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._records.run(), name="keyed-records")
            group.create_task(self._loop.run(), name="keyed-signals")
            group.create_task(self._sweep(), name="delivered-signals")

    async def _handle(self, places: Sequence[Place]) -> None:
        found = await asyncio.gather(*map(self._attend_all, places), return_exceptions=True)
        for error in found:
            if error is not None:
                raise error

    async def _attend_all(self, place: Place) -> None:
        for letter in self._records.letters(place):
            try:
                await self._attend(place, letter)
            except HarpoonError as error:
                # Of one run nobody may know for long; others are not to wait for that.
                self._loop.wake_after(place, _AGAIN)
                if self._news.is_news(str(error), asyncio.get_running_loop().time()):
                    _log.warning("keyed_signal_waits", run=letter.signal.run, reason=str(error))
            # There may be many, and none for any run that waits.
            await asyncio.sleep(0)

    async def _attend(self, place: Place, letter: Letter) -> None:
        """Have a run have a signal, if one waits here; what another instance has done meanwhile stands."""
        named = letter.signal.run
        if named is not None:
            if self._runs.conductor_of(run_key(letter.signal.namespace, named)) is None:
                return
            # What is seen here may be older than what was done here.
            entry = await self._store.get(letter.key)
            if entry is None or entry.mod_revision != letter.mod:
                return
        elif letter.signal.sent_ms <= self._clock.now().wall - SIGNAL_KEPT_MS:
            await self._commit(letter, [Delete(letter.key)])
            return
        else:
            found = await self._taker(place, letter)
            if found is None or not await self._name(letter, found):
                return
        key = run_key(letter.signal.namespace, letter.signal.run or "")
        conductor = self._runs.conductor_of(key)
        if conductor is None:
            return
        if await self._is_had(conductor, key, letter):
            told = DeliveredSignal(run=letter.signal.run or "", at_ms=self._clock.now().wall)
            await self._commit(letter, [Delete(letter.key), Put(SENT + letter.name, codec.dump(told))])
        else:
            await self._name(letter, None, by=conductor)

    async def _taker(self, place: Place, letter: Letter) -> str | None:
        """Return the id of a run conducted here that waits for a signal, and would have it now."""
        about, now_ms = letter.about, self._clock.now().wall
        for number, key in enumerate(tuple(self._waiting.get(place, ())), 1):
            conductor = self._runs.conductor_of(key)
            conducted = None if conductor is None else conductor.runs.get(key)
            if conducted is not None and has_taker(conducted.run, about, now_ms):
                return conducted.run.id
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        return None

    async def _is_had(self, conductor: Conductor, key: str, letter: Letter) -> bool:
        """Have a run have a signal if it consumes it at once; return whether it has it.

        Raises:
            Unavailable: It is not known.
            StoreUnavailable: The store could not answer.
        """
        conducted, signal = conductor.runs.get(key), letter.addressed()
        if conducted is None:
            return await self._had(key, signal.id)
        # From here to where it is decided nothing else happens.
        if signal.id not in conducted.run.seen and not has_taker(conducted.run, letter.about, self._clock.now().wall):
            return False
        try:
            await conductor.signal(key, signal)
        except (NotFound, Refused):
            return False
        return True

    async def _had(self, key: str, id_: str) -> bool:
        """Whether a run that is not open had a signal."""
        reader = self._runs.reader
        header = await reader.header(key)
        if header is None:
            return False
        if not header.status.is_over:
            raise Unavailable(f"run {key.partition('/')[2]} is not conducted at the moment")
        return any(isinstance(event, Signalled) and event.id == id_ for event in await reader.events(key, header))

    async def _name(self, letter: Letter, run: str | None, *, by: Conductor | None = None) -> bool:
        """Write down which run is to have a signal, or that none is; return whether nobody was faster.

        Args:
            letter: The signal.
            run: Its id.
            by: By virtue of whose hold; None: whoever is first.
        """
        signal = replace(letter.signal, run=run)
        held = () if by is None else (by.ledger.hold.compare,)
        if not await self._commit(letter, [Put(letter.key, codec.dump(signal))], held):
            return False
        letter.signal = signal
        return True

    async def _commit(self, letter: Letter, writes: Sequence[Write], held: Sequence[Compare] = ()) -> bool:
        """Write if a record is as it was; return whether it was."""
        revision = await settle.commit(self._store, [Compare(letter.key, mod=letter.mod), *held], writes)
        if revision is None:
            return False
        letter.mod = revision
        return True

    async def _sweep(self) -> None:
        """Forget those that a run has had for long."""
        while True:
            await asyncio.sleep(SWEEP_S)
            # One instance does, whoever has the first shard.
            if 0 in self._runs.conductors:
                await self._forget_sent()

    async def _forget_sent(self) -> None:
        sent, since_ms = self._records.sent(), self._clock.now().wall - SIGNAL_KEPT_MS
        for number, (name, told, mod) in enumerate(sent):
            if told.at_ms > since_ms and len(sent) - number <= SENT_MAX:
                return
            try:
                await self._store.commit([Compare(SENT + name, mod=mod)], [Delete(SENT + name)])
            except StoreUnavailable as error:
                if error.trouble in _ENDING:
                    raise
                _log.warning("delivered_signals_not_swept", reason=str(error))
                return
