"""One key that limits how many attempts are claimed at once, as one instance has it.

It has the set of the live claims themselves, so whatever ends a claim makes room, and nothing can leak. Attempts that
find no room are parked apart from their line, in the order in which their turn came; when there is room, as many are
called back into it. A handler without workers keeps nobody out: the attempts of each handler are called on their own,
and whoever is claimed first goes through.

Where its home is here, room is what the limit leaves. Where it is elsewhere, room is what permits have come from there;
one is given back when its claim ends, and when nobody had use for it.
"""

from collections import OrderedDict
from collections.abc import Container, Iterator, Mapping

from harpoon.core.homes import Home, Key, Standing, Want
from harpoon.core.offers import AttemptId, Entry, Lane, lane_of


class Gate:
    """One key; equals itself alone."""

    __slots__ = (
        "away", "called", "given", "home", "is_others_turn", "key", "live", "others", "parked", "permits", "told",
        "under", "wanting",
    )  # fmt: skip

    def __init__(self, key: Key, home: Home) -> None:
        self.key = key
        self.home = home
        self.live: set[AttemptId] = set()
        #: Handler → what waits for room, the first to be called first.
        self.parked: dict[str, OrderedDict[AttemptId, Entry]] = {}
        #: Handler → how many stand in its line that were called.
        self.called: dict[str, int] = {}
        #: That a home elsewhere has given, used or not.
        self.permits = 0
        #: Those that are not used were given under this limit, and are of no use under a lower one.
        self.under = 0
        #: The number of the report that was answered by the last of them.
        self.given = 0
        #: How the key stood, as the home told last; None: it was not asked.
        self.told: Standing | None = None
        #: Where the home is here, what others have, by instance; and all of them.
        self.others: dict[str, int] = {}
        self.away = 0
        #: What they would have; whose turn it is first.
        self.wanting: OrderedDict[str, Want] = OrderedDict()
        #: The last was taken here while others were waiting.
        self.is_others_turn = False

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.live or self.parked or self.called or self.others or self.wanting or self.permits)

    @property
    def held(self) -> int:
        """How many permits this instance has, as it is told a home elsewhere."""
        return max(self.permits, len(self.live))

    def room(self, most: int) -> int:
        """Return how many more may be claimed under a limit."""
        if self.home.is_here:
            return most - len(self.live) - self.away if self.home.is_sure else 0
        return self.permits - len(self.live) if most >= self.under else 0

    def is_next(self, entry: Entry) -> bool:
        """Whether one that has just come is to stand in line; where the home is elsewhere, until somebody asks."""
        if entry.offer.handler in self.parked:
            return False
        return not self.home.is_here or self.room(most_of(entry)) > 0

    def park(self, entry: Entry) -> None:
        """Let it wait for room: before all others if it had been called, else behind them."""
        own = self.parked.setdefault(entry.offer.handler, OrderedDict())
        own[entry.offer.id] = entry
        if entry.is_called:
            self._call_off(entry)
            own.move_to_end(entry.offer.id, last=False)

    def enter(self, entry: Entry) -> None:
        """Count its claim among the live ones."""
        self.live.add(entry.offer.id)
        self.is_others_turn = bool(self.wanting)
        if entry.is_called:
            self._call_off(entry)

    def leave(self, entry: Entry) -> bool:
        """Forget it, wherever it stands; return whether it was parked."""
        offer = entry.offer
        if offer.id in self.live:
            self.live.remove(offer.id)
            if self.permits > len(self.live):
                self.permits -= 1
        if entry.is_called:
            self._call_off(entry)
        own = self.parked.get(offer.handler)
        if own is None or own.pop(offer.id, None) is None:
            return False
        if not own:
            del self.parked[offer.handler]
        return True

    def call(self) -> Iterator[Entry]:
        """Call those for whom there is room: of each handler, as if the others' would not come."""
        for handler in list(self.parked):
            own = self.parked[handler]
            while own and self.called.get(handler, 0) < self.room(most_of(next(iter(own.values())))):
                _, entry = own.popitem(last=False)
                entry.is_called = True
                self.called[handler] = self.called.get(handler, 0) + 1
                yield entry
            if not own:
                del self.parked[handler]

    def free(self) -> list[Entry]:
        """Have all that are parked stand in line, for the home is another."""
        self.give_back()
        self.told = None
        entries = [entry for own in self.parked.values() for entry in own.values()]
        self.parked.clear()
        return entries

    def give_back(self) -> None:
        """Have no permits but those that are used."""
        self.permits = 0 if self.home.is_here else len(self.live)
        self.under = 0

    def want(self, demand: Mapping[Lane, int]) -> Want | None:
        """Return what this instance would have of a home elsewhere; None: nothing.

        Args:
            demand: Line → how many more are asked for in it than there are.
        """
        count = sum(min(len(own), demand.get(lane_of(self.key[0], handler), 0)) for handler, own in self.parked.items())
        if not count:
            return None
        # Under the lowest limit, so that whoever comes first may use it.
        most = min(most_of(next(iter(own.values()))) for own in self.parked.values())
        return Want(min(count, most), most)

    def receive(self, count: int, most: int, number: int) -> None:
        """Take permits that a home elsewhere has given under a limit, by its answer to a report."""
        self.under = max(self.under, most) if self.permits > len(self.live) else most
        self.permits = self.held + count
        self.given = number

    def hear(self, instance: str, held: int, want: Want | None) -> None:
        """Take note of what another instance has, and would have."""
        self.away += held - self.others.pop(instance, 0)
        if held:
            self.others[instance] = held
        if want is None:
            self.wanting.pop(instance, None)
        else:
            self.wanting[instance] = want

    def grant(self, able: Container[str]) -> Iterator[str]:
        """Give others what there is room for, one each in their turns.

        Args:
            able: To whom it can be told now; others keep their turn.

        Yields:
            The instance that was given one.
        """
        is_given = bool(self.wanting)
        while is_given:
            is_given = False
            for instance, want in list(self.wanting.items()):
                if instance not in able or self.room(want.most) <= 0:
                    continue
                self.hear(instance, self.others.get(instance, 0) + 1, want._replace(wanted=want.wanted - 1))
                if want.wanted > 1:
                    self.wanting.move_to_end(instance)
                else:
                    del self.wanting[instance]
                self.is_others_turn, is_given = False, True
                yield instance

    def _call_off(self, entry: Entry) -> None:
        """Take note that one that was called stands in line no more."""
        handler = entry.offer.handler
        entry.is_called = False
        self.called[handler] -= 1
        if not self.called[handler]:
            del self.called[handler]


def most_of(entry: Entry) -> int:
    """Return the limit of an attempt that has one."""
    limit = entry.offer.limit
    assert limit is not None, "only what has a limit goes through a gate"
    return limit.most
