"""The ledger of one shard: what happens in its runs, made durable, one commit after the other.

While a commit is under way, whatever else is decided gathers, and all of that goes into the next one. So the busier a
shard is, the more a commit carries, and a run has one record in it at most.

Rules.

1. Each commit compares the shard's hold as it was sealed last: who has lost the shard writes nothing more.
2. What was decided is never decided anew. After a lost answer the hold is sealed, so that the commit has happened or
   never will; it is read which; and what did not happen is written again as it was.
3. What another wrote in the way of one run (`Draft.compares`) fails that run's draft alone.
4. Nothing is told before it is durable. That something is *not* a caller's is told only when the hold was seen to
   be ours after that was found (`Ledger.proof`): else another may have given it to the caller meanwhile.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from harpoon.control.draft import Draft, Overtaken
from harpoon.control.ledger_records import Place, cut, log_name
from harpoon.control.pen import Pen
from harpoon.control.together import Flight, Together
from harpoon.kit.errors import Unavailable
from harpoon.store.hold import Hold
from harpoon.store.port import COMPARES_MAX, WRITES_MAX, Compare, Put, StoreUnavailable, Write

#: Values of one commit; the rest of what a store takes at once is for keys.
FLIGHT_BYTES: Final = 960 << 10
#: Beyond, nothing more is taken in: the store does not keep up, or is away.
WAITING_BYTES: Final = 32 << 20
WAITING_RUNS: Final = 20_000
#: A record at least so large is cut when its draft is too large for one commit.
_CUT_FROM: Final = 16 << 10


class Ledger:
    """The one writer of a shard's records, by virtue of a hold.

    Args:
        together: Writes, for all ledgers of this instance.
        hold: Of the shard.
        shard: Its number.
        instance: Who has the hold.
    """

    def __init__(self, together: Together, hold: Hold, shard: int, instance: str) -> None:
        self.shard = shard
        self.place = Place.of(shard)
        #: Commits made, and drafts in them.
        self.commits = self.drafts = 0
        self._together = together
        self._pen = Pen(together.store, hold, instance)
        self._pending: dict[str, Draft] = {}
        #: What is being made durable; and who will be sure by that.
        self._flying: list[Draft] = []
        self._proving: Draft | None = None
        self._is_flying = False
        self._proof: Draft | None = None
        self._waiting = 0
        #: The flight is to be made durable by `run`, after this came of it.
        self._is_alone = asyncio.Event()
        self._error: StoreUnavailable | None = None
        self._end: Exception | None = None

    @property
    def hold(self) -> Hold:
        """The hold as it was sealed last."""
        return self._pen.hold

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be durable."""
        return not (self._pending or self._is_flying or self._proof)

    def check_room(self) -> None:
        """Refuse what is not decided yet when too much waits already.

        Raises:
            Unavailable: It does; or this instance writes the shard no longer.
        """
        if self._end is not None:
            raise Unavailable(f"shard {self.shard} is no longer written here; try again") from self._end
        if self._waiting > WAITING_BYTES or len(self._pending) > WAITING_RUNS:
            raise Unavailable("the store does not keep up with what happens in runs; try again later")

    def append(self, key: str, seq: int, chunk: bytes, header: bytes | None = None) -> Draft:
        """Have events of a run written, in the order in which they are appended; return what they become durable with.

        Args:
            key: Of the run.
            seq: Number of the first of the events.
            chunk: They, as they are stored, without the brackets.
            header: The header, if it changes with them.
        """
        draft = self._pending.get(key)
        if draft is None:
            draft = Draft(key, seq)
            self._enter(draft)
        elif not draft.chunks:
            draft.seq = seq
        size = len(chunk) + 1
        if chunk:
            draft.chunks.append(chunk)
        if header is not None:
            size += len(header) - (0 if draft.header is None else len(draft.header))
            draft.header = header
        draft.size += size
        self._waiting += size
        return draft

    def write(self, draft: Draft) -> Draft:
        """Have a draft written that was made by the caller; there is no other of its key that waits."""
        assert draft.key not in self._pending, f"{draft.key} is being written"
        assert 0 < draft.width < WRITES_MAX, "it fits one commit, and writes something"
        self._waiting += draft.size
        self._enter(draft)
        return draft

    def is_waiting(self, key: str) -> bool:
        """Whether there is a draft of a run that is not under way yet."""
        return key in self._pending

    def proof(self) -> Draft:
        """Return what lands once the hold was seen to be ours after this moment."""
        if self._proof is None:
            self._proof = Draft("")
            if self._end is not None:
                self._proof.land(self._end)
            elif not self._is_flying:
                self._together.feed(self)
        return self._proof

    async def run(self) -> None:
        """See to what goes wrong until cancelled; then, or when that fails, whoever waits is told.

        Raises:
            HoldLost: The shard is not ours any more.
            StoreUnavailable: The store was closed, or was rolled back.
        """
        ending: Exception = Unavailable("this instance conducts the run no longer; try again")
        try:
            while True:
                await self._is_alone.wait()
                self._is_alone.clear()
                error, self._error = self._error, None
                await self._fly(error)
        except Exception as error:
            ending.__cause__ = error
            raise
        finally:
            self._close(ending)

    # What is asked by whoever writes for all.

    def flight(self) -> Flight | None:
        """Return what is to be written now; None: nothing, or nothing that goes with others."""
        if self._is_flying or self._end is not None:
            return None
        self._flying = self._next()
        self._proving, self._proof = self._proof, None
        self._is_flying = bool(self._flying or self._proving)
        if not self._is_flying:
            return None
        if not self._flying or self._flying[0].size > FLIGHT_BYTES:
            self._is_alone.set()
            return None
        compares, writes, _ = self._form()
        return Flight((self._pen.hold.compare, *compares), writes)

    def landed(self, revision: int) -> None:
        """Take note that the flight is durable."""
        if self._end is None:
            self._pen.written(revision)
            self._land()

    def failed(self, error: StoreUnavailable | None) -> None:
        """Take note that it is not, or may not be; None: a condition did not hold, of this flight or of another."""
        self._error = error
        self._is_alone.set()

    async def drained(self) -> None:
        """Wait until all that was appended is durable, or the ledger has ended."""
        while not self.is_idle and self._end is None:
            await (next(iter(self._pending.values())) if self._pending else self._last_draft()).settled()

    def _last_draft(self) -> Draft:
        return self._flying[-1] if self._flying else self._proving or self.proof()

    def _enter(self, draft: Draft) -> None:
        if self._end is not None:
            draft.land(self._end)
            return
        self._pending[draft.key] = draft
        if not self._is_flying:
            self._together.feed(self)

    def _next(self) -> list[Draft]:
        """Take what fits one commit, in the order in which it came; at least one draft, if any waits."""
        flight: list[Draft] = []
        runs: set[str] = set()
        writes = size = 0
        compares: set[Compare] = set()
        for draft in self._pending.values():
            writes += draft.width
            size += draft.size
            compares.update(draft.compares)
            # Two drafts that are of one run, as when it is purged and started again, may write the same keys.
            run = draft.key.removesuffix("/")
            is_too_much = writes > WRITES_MAX or size > FLIGHT_BYTES or len(compares) >= COMPARES_MAX
            if flight and (is_too_much or run in runs):
                break
            flight.append(draft)
            runs.add(run)
        if len(flight) == len(self._pending):
            self._pending = {}
        else:
            for draft in flight:
                del self._pending[draft.key]
        return flight

    async def _fly(self, error: StoreUnavailable | None) -> None:
        """Make the flight durable by itself, after ``error`` came of it, and whoever asked for a proof sure."""
        if not self._flying:
            while not await self._pen.is_held():
                pass
        while self._flying:
            if await self._write(error):
                break
            error, self._flying = None, await self._without_overtaken(self._flying)
        self._land()

    def _land(self) -> None:
        """Tell whoever waits for the flight that it is durable."""
        flight, proving = self._flying, self._proving
        self._flying, self._proving, self._is_flying = [], None, False
        if flight:
            self.commits += 1
            self.drafts += len(flight)
            self._waiting -= sum([draft.size for draft in flight])
        for draft in flight:
            draft.land()
        if proving is not None:
            proving.land()
        if self._pending or self._proof:
            self._together.feed(self)

    async def _write(self, error: StoreUnavailable | None) -> bool:
        """Commit the flight; return False if one of its own conditions does not hold."""
        compares, writes, parts = self._form()
        for part in parts:
            # Nobody else writes there, so only the hold is compared.
            await self._pen.commit((), [part])
        return await self._pen.commit(compares, writes, error)

    def _form(self) -> tuple[Sequence[Compare], list[Write], list[Put]]:
        """Return the conditions of the flight, what it writes, and what is to be written before."""
        writes: list[Write] = []
        compares: list[Compare] = []
        parts: list[Put] = []
        for draft in self._flying:
            parts += self._add(draft, writes, is_cut=draft.size > FLIGHT_BYTES)
            compares += draft.compares
        # Drafts may rely on the same thing.
        return list(dict.fromkeys(compares)) if len(compares) > 1 else compares, writes, parts

    def _add(self, draft: Draft, writes: list[Write], *, is_cut: bool) -> list[Put]:
        """Add what a draft writes; return the parts of it that are to be written before."""
        parts: list[Put] = []
        stem = f"{self.place.log}{draft.key}/"
        if draft.chunks:
            record, name = b"[%b]" % b",".join(draft.chunks), log_name(draft.seq)
            if is_cut and len(record) > _CUT_FROM:
                record, parts = cut(stem, name, record)
            writes.append(Put(stem + name, record))
        if draft.header is not None:
            header = draft.header
            if is_cut and len(header) > _CUT_FROM:
                header, more = cut(stem, f"h{log_name(draft.seq)}", header)
                parts += more
            writes.append(Put(self.place.runs + draft.key, header))
        writes += draft.writes
        return parts

    async def _without_overtaken(self, flight: list[Draft]) -> list[Draft]:
        """Fail those drafts whose conditions do not hold, and return the others."""
        left = []
        for draft in flight:
            error = await self._overtaken(draft)
            if error is None:
                left.append(draft)
                continue
            self._waiting -= draft.size
            # What was decided about the run since then stands on nothing.
            later = self._pending.pop(draft.key, None)
            draft.land(error)
            if later is not None:
                self._waiting -= later.size
                later.land(error)
        return left

    async def _overtaken(self, draft: Draft) -> Overtaken | None:
        for compare in draft.compares:
            entry = await self._pen.read(compare.key)
            if compare.mod != (0 if entry is None else entry.mod_revision):
                return Overtaken(compare, entry)
        return None

    def _close(self, ending: Exception) -> None:
        """Tell all who wait that nothing more is written here."""
        self._end = ending
        proofs = [proof for proof in (self._proving, self._proof) if proof is not None]
        left = [*self._flying, *self._pending.values(), *proofs]
        self._flying, self._pending, self._waiting = [], {}, 0
        for draft in left:
            if not draft.is_landed:
                draft.land(ending)
