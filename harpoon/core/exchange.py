"""Who gets what: attempts that may be claimed are matched with workers that ask for some.

It is a mutable value, as `core.fleet` is, and decides nothing but the matching: whether an attempt is open, and whose
its claim is, is the run's own matter, and told here. What it promises:

- An attempt is handed to one asker at a time: from the moment it is dealt until it is put back or offered anew.
- Within a line turns are fair, between workflows and then between runs (`core.lines`).
- Who has a number of places (`Asker.places`) gives no workflow more than its share of them (`core.shares`).
- A retry is not dealt before its time, and nothing beyond its limit (`core.gates`).
- What many ask for is shared out between them, the one that waits longest first.
- Who only looks is shown what is left then, once; it may be gone before it is asked for.

An attempt that was dealt and never heard of again comes back as everything does: its claim runs out, the run says so,
and offers the next attempt. Costs are those of what is touched, not of what is there.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count, islice
from typing import Final, NamedTuple

from harpoon.core.gates import Gates
from harpoon.core.homes import Homes, Key
from harpoon.core.lines import Line, Workflow, workflow_of
from harpoon.core.offers import AttemptId, Entry, Lane, Offer, SessionId, Stand
from harpoon.core.shares import Shares

#: One asker is dealt no more at once when the inputs have come to so many bytes.
DEAL_BYTES_MAX: Final = 4 << 20


class Asker:
    """Somebody that waits for attempts, or only to see that there are some; it equals itself alone."""

    __slots__ = ("lanes", "places", "session", "want")

    def __init__(self, session: SessionId, handlers: Sequence[str], want: int, places: int = 0) -> None:
        self.session = session
        self.lanes = tuple(Lane(session.namespace, handler) for handler in dict.fromkeys(handlers))
        #: At most so many; 0: it only looks.
        self.want = want
        #: All that it has and may have, of which each workflow gets but a share; 0: it takes what comes.
        self.places = places


class Deal(NamedTuple):
    """What one asker gets; the offers are its session's from now on. Who only looks gets none: there are some."""

    asker: Asker
    offers: tuple[Offer, ...]


class Exchange:
    """Everything that waits, on both sides, and what has been handed out.

    Args:
        homes: Who gives out permits where there is a limit; None: there is one instance only.
    """

    def __init__(self, homes: Homes | None = None) -> None:
        self._entries: dict[AttemptId, Entry] = {}
        #: (namespace, run) → its attempts; dicts for their order, the values mean nothing.
        self._of_run: dict[tuple[str, str], dict[AttemptId, None]] = {}
        self._lines: dict[Lane, Line] = {}
        self._askers: dict[Lane, OrderedDict[Asker, None]] = {}
        #: Those that only look.
        self._lookers: dict[Lane, OrderedDict[Asker, None]] = {}
        #: Lines in which something came or for which somebody asked since the last deal, in that order.
        self._touched: OrderedDict[Lane, None] = OrderedDict()
        self.gates = Gates(homes)
        #: (namespace, run) → attempts whose claims are over, but not durably so: they count under their limits.
        self._withheld: dict[tuple[str, str], dict[AttemptId, Entry]] = {}
        #: (ready_ms, number, entry): what is to be tried again later.
        self._later: list[tuple[int, int, Entry]] = []
        self._numbers = count()
        #: Session → what it has.
        self._held: dict[SessionId, dict[AttemptId, None]] = {}
        #: Of those who have a number of places: who has them.
        self._shares: dict[Lane, Shares] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def offer(self, offers: Iterable[Offer], now_ms: int) -> None:
        """Let workers have these; one that is known already stays as it is."""
        for offer in offers:
            if offer.id not in self._entries:
                if offer.id[:2] in self._withheld:
                    # What ends by a claim is never offered again: so it was dealt, and not claimed.
                    self.settle((offer.id,))
                self._let_in(self._add(offer), now_ms)

    def adopt(self, offer: Offer, claimant: SessionId) -> None:
        """Take note of a claim that was made elsewhere, or before this instance held the run."""
        self.forget((offer.id,))
        self._claim(self._add(offer), claimant)

    def take_place(self, id_: AttemptId) -> None:
        """Take note that a claim which was adopted is carried on here, and has a place."""
        entry = self._entries.get(id_)
        if entry is not None and entry.claimant is not None and not entry.has_place:
            self._place(entry)

    def forget(self, ids: Iterable[AttemptId], *, is_durable: bool = True) -> list[tuple[AttemptId, SessionId]]:
        """Take out what is closed, or may not be claimed for now; return the claims among them, and whose they were.

        Of those whose end is not durable, the limits hold on until `settle`.
        """
        ended = []
        for id_ in ids:
            entry = self._entries.pop(id_, None)
            if entry is None:
                continue
            own = self._of_run[id_[:2]]
            del own[id_]
            if not own:
                del self._of_run[id_[:2]]
            if entry.claimant is not None:
                ended.append((id_, entry.claimant))
                if entry.offer.limit is not None and not is_durable:
                    self._withheld.setdefault(id_[:2], {})[id_] = entry
            self._take_out(entry, is_durable=is_durable)
        return ended

    def forget_run(self, namespace: str, run: str, *, is_durable: bool = True) -> list[tuple[AttemptId, SessionId]]:
        """Take out everything of a run; see `forget`."""
        return self.forget(tuple(self._of_run.get((namespace, run), ())), is_durable=is_durable)

    def withheld(self, namespace: str, run: str) -> tuple[AttemptId, ...]:
        """Return the attempts of a run whose claims are over, but not durably so."""
        return tuple(self._withheld.get((namespace, run), ()))

    def settle(self, ids: Iterable[AttemptId]) -> None:
        """Take note that the end of claims is durable, or is not known here any more; it may have been told before."""
        for id_ in ids:
            own = self._withheld.get(id_[:2], {})
            entry = own.pop(id_, None)
            if entry is not None:
                if not own:
                    del self._withheld[id_[:2]]
                self.call(self.gates.leave(entry))

    def call(self, entries: Iterable[Entry]) -> None:
        """Let these stand in line, which waited for their limits."""
        for entry in entries:
            self._put(entry)

    def dealt(self, session: SessionId, offers: Iterable[Offer]) -> tuple[Offer, ...]:
        """Return those of what a session was dealt that are its still; others were taken out, perhaps offered anew."""
        own = self._held.get(session, ())
        return tuple([one for one in offers if one.id in own and self._entries[one.id].offer is one])

    def put_back(self, offers: Iterable[Offer], now_ms: int) -> None:
        """Let others have what was dealt, for its claim was not made; what was taken out meanwhile stays out."""
        for offer in offers:
            entry = self._entries.get(offer.id)
            if entry is not None and entry.offer is offer and entry.stand is Stand.CLAIMED:
                self._take_out(entry)
                self._let_in(entry, now_ms, is_first=True)

    def ask(self, asker: Asker) -> None:
        """Have an asker wait for its share in the next deals."""
        waiting = self._askers if asker.want else self._lookers
        for lane in asker.lanes:
            waiting.setdefault(lane, OrderedDict())[asker] = None
            self._touched[lane] = None

    def leave(self, asker: Asker) -> None:
        """Have it wait no longer; it may have been dealt something already."""
        waiting = self._askers if asker.want else self._lookers
        for lane in asker.lanes:
            own = waiting.get(lane)
            if own is not None and asker in own:
                del own[asker]
                if not own:
                    del waiting[lane]

    def deal(self, now_ms: int) -> list[Deal]:
        """Match what can be matched; an asker that gets anything waits no longer."""
        while self._later and self._later[0][0] <= now_ms:
            _, _, entry = heappop(self._later)
            if self._is_later(entry):
                self._let_in(entry, now_ms)
        deals = []
        while self._touched:
            lane, _ = self._touched.popitem(last=False)
            deals += self._deal_line(lane)
        self.gates.share_out()
        return deals

    def due_ms(self) -> int | None:
        """Return when `deal` is to be called at the latest, UTC milliseconds; None: when something happens."""
        while self._later and not self._is_later(self._later[0][2]):
            heappop(self._later)
        return self._later[0][0] if self._later else None

    def ready(self, lane: Lane) -> int:
        """Return how many stand in a line, up to some that a limit will stop."""
        line = self._lines.get(lane)
        return 0 if line is None else len(line)

    def ready_count(self) -> int:
        """Return how many stand in all lines."""
        return sum(map(len, self._lines.values()))

    def stand(self, id_: AttemptId) -> Stand | None:
        """Return where an attempt stands; None: it is not known here."""
        entry = self._entries.get(id_)
        return None if entry is None else entry.stand

    def find(self, id_: AttemptId) -> Offer | None:
        """Return what is known of an attempt."""
        entry = self._entries.get(id_)
        return None if entry is None else entry.offer

    def claimant(self, id_: AttemptId) -> SessionId | None:
        """Return whose an attempt is."""
        entry = self._entries.get(id_)
        return None if entry is None else entry.claimant

    def advance(self, id_: AttemptId, progress: object) -> None:
        """Take note how far an attempt is, as its claimant says."""
        entry = self._entries.get(id_)
        if entry is not None and entry.claimant is not None:
            entry.progress = progress

    def progress(self, id_: AttemptId) -> object:
        """Return how far an attempt is, as its claimant said last; None: it said nothing."""
        entry = self._entries.get(id_)
        return None if entry is None else entry.progress

    def held(self, session: SessionId) -> tuple[AttemptId, ...]:
        """Return what a session has been dealt and has not closed."""
        return tuple(self._held.get(session, ()))

    def is_beyond_share(self, id_: AttemptId) -> bool:
        """Whether an attempt stands in line only since its workflow has its share of the places there are."""
        entry = self._entries.get(id_)
        if entry is None or entry.stand is not Stand.IN_LINE:
            return False
        asker = next(iter(self._askers.get(entry.lane, ())), None)
        return asker is not None and not self._may_have(asker, entry.lane, workflow_of(entry.offer))

    def holders(self) -> list[SessionId]:
        """Return the sessions that have anything."""
        return list(self._held)

    def give_back(self, key: Key, number: int) -> None:
        """Give back permits of a home elsewhere that nobody has used; see `Gates.unused`."""
        for lane in self.gates.unused(key, number):
            if self.gates.is_seeking(lane):
                self.gates.seek(lane, self._asked(lane))

    def _add(self, offer: Offer) -> Entry:
        entry = self._entries[offer.id] = Entry(offer)
        self._of_run.setdefault(offer.id[:2], {})[offer.id] = None
        return entry

    def _let_in(self, entry: Entry, now_ms: int, *, is_first: bool = False) -> None:
        if entry.offer.ready_ms > now_ms:
            entry.stand = Stand.LATER
            heappush(self._later, (entry.offer.ready_ms, next(self._numbers), entry))
        elif entry.offer.limit is None or self.gates.is_next(entry):
            self._put(entry, is_first=is_first)
        else:
            entry.stand = Stand.PARKED
            self.gates.park(entry)

    def _is_later(self, entry: Entry) -> bool:
        return entry.stand is Stand.LATER and self._entries.get(entry.offer.id) is entry

    def _put(self, entry: Entry, *, is_first: bool = False) -> None:
        entry.stand = Stand.IN_LINE
        self._lines.setdefault(entry.lane, Line()).put(entry, is_first=is_first)
        self._touched[entry.lane] = None

    def _take_out(self, entry: Entry, *, is_durable: bool = True) -> None:
        """Take an entry from where it stands; what stands later is passed over when its time comes."""
        is_withheld = entry.claimant is not None and not is_durable
        if entry.stand is Stand.IN_LINE:
            line = self._lines[entry.lane]
            line.remove(entry)
            if not line:
                del self._lines[entry.lane]
        if entry.claimant is not None:
            own = self._held[entry.claimant]
            del own[entry.offer.id]
            if not own:
                del self._held[entry.claimant]
            if entry.has_place:
                entry.has_place = False
                self._shares[entry.lane].change(workflow_of(entry.offer), -1)
            entry.claimant = entry.progress = None
        if entry.offer.limit is not None and not is_withheld:
            self.call(self.gates.leave(entry))

    def _claim(self, entry: Entry, claimant: SessionId) -> None:
        entry.stand, entry.claimant = Stand.CLAIMED, claimant
        if entry.offer.limit is not None:
            self.gates.enter(entry)
        self._held.setdefault(claimant, {})[entry.offer.id] = None

    def _place(self, entry: Entry) -> None:
        entry.has_place = True
        self._shares.setdefault(entry.lane, Shares()).change(workflow_of(entry.offer), 1)

    def _may_have(self, asker: Asker, lane: Lane, workflow: Workflow) -> bool:
        """Whether another attempt of a workflow may go to an asker."""
        shares = self._shares.get(lane)
        return not asker.places or shares is None or shares.may_have(workflow, asker.places)

    def _deal_line(self, lane: Lane) -> list[Deal]:
        deals: list[Deal] = []
        while (line := self._lines.get(lane)) and (askers := self._askers.get(lane)):
            # Rounded up, so that every round deals.
            share = -(-len(line) // len(askers))
            asker = next(iter(askers))
            offers = self._take(lane, asker, min(share, asker.want))
            if offers:
                self.leave(asker)
                deals.append(Deal(asker, offers))
            elif line:
                # What is left is of workflows that have their share.
                break
        if self.gates.is_seeking(lane):
            self._seek(lane)
        return deals + self._show(lane)

    def _seek(self, lane: Lane) -> None:
        """Have homes elsewhere know how much is asked for that waits for its limit; as it was, if nobody asks now."""
        count = self._asked(lane)
        if count:
            self.gates.seek(lane, count)

    def _asked(self, lane: Lane) -> int:
        """Return about how many attempts are asked for in a line that has none."""
        askers = self._askers.get(lane, ())
        first = next(iter(askers)).want - 1 if askers else 0
        return first + len(askers) + len(self._lookers.get(lane, ()))

    def _show(self, lane: Lane) -> list[Deal]:
        """Tell those who look of what nobody here asked for: as many of them as there is something for."""
        looking = list(islice(self._lookers.get(lane, ()), self.ready(lane)))
        for asker in looking:
            self.leave(asker)
        return [Deal(asker, ()) for asker in looking]

    def _take(self, lane: Lane, asker: Asker, most: int) -> tuple[Offer, ...]:
        line, size = self._lines[lane], 0
        taken: list[Offer] = []
        while line and len(taken) < most and size < DEAL_BYTES_MAX:
            workflow = line.whose(partial(self._may_have, asker, lane)) if asker.places else None
            if asker.places and workflow is None:
                break
            entry = line.take(workflow)
            if entry.offer.limit is None or self.gates.has_room(entry):
                self._claim(entry, asker.session)
                if asker.places:
                    self._place(entry)
                taken.append(entry.offer)
                size += entry.offer.size
            else:
                entry.stand = Stand.PARKED
                self.gates.park(entry)
        if not line:
            del self._lines[lane]
        return tuple(taken)
