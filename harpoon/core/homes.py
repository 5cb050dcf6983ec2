"""Where limits of concurrency are kept when several instances conduct runs: the homes of their keys.

Each key belongs to a home shard, and whoever holds that shard is the key's *home*: it alone gives out permits to claim.
What it knows of the others it has from their reports. A report is a snapshot: all permits that an instance has of this
home, used or not, and all that it would have, numbered. A later one takes the place of the earlier, so nothing that is
lost on the way, in either direction, can leak. Permits are derived from live claims: these are loaded with their
shards, wherever they come to be conducted.

A home is *sure* when it knows all live claims there are: each shard is conducted by who holds it, as far as is known
here, and each holder has told this very home (`Holder`: the instance, and when it took the shard) what it has. It gives
out nothing else than then. That suffices, though every instance may see an older state of things:

1. Only who holds a shard can make claims in its runs durable, and it begins once it sees that it holds the shard.
2. Who sees another home than before forgets the permits that it has not used, and tells the new one what is left. So
   who has reported to a home does not use what an earlier one may still give it.
3. Who holds a shard and has not reported to this home keeps it from being sure. Who is about to hold one sees this home
   already if the shard was another's when this home looked, and has nothing of an earlier one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

#: Of a limit: a namespace, and a key in it.
Key = tuple[str, str]


class Holder(NamedTuple):
    """Who holds a shard."""

    instance: str
    #: The revision at which it took it; later holders have higher ones.
    epoch: int


class Want(NamedTuple):
    """Permits that an instance would have of one key."""

    wanted: int
    #: The limit: how many there may be at all, with those that others have.
    most: int


class Report(NamedTuple):
    """What an instance tells a home."""

    #: Rises with each report of the instance, whomever it is for.
    number: int
    #: Shard → epoch: those that it conducts, all of their claims loaded.
    conducts: Mapping[int, int]
    #: Home shard → epoch: those that it takes the other for the holder of.
    homes: Mapping[int, int]
    #: Permits that it has; those of claims that it found, too.
    held: Mapping[Key, int]
    wants: Mapping[Key, Want]
    #: Some of the runs that have them.
    runs: Mapping[Key, tuple[str, ...]]


class Standing(NamedTuple):
    """How a key stands, as far as one instance knows."""

    #: Permits that are out.
    held: int
    #: Some of the runs that have them.
    runs: tuple[str, ...]
    #: It gives out none before it has heard from these.
    lacks: tuple[str, ...] = ()
    #: None are given out now.
    is_closed: bool = False
    #: The instance that gives them out; empty: nobody does now, or there is one instance only.
    home: str = ""
    #: It does not answer.
    is_silent: bool = False


class Given(NamedTuple):
    """What a home answers to a report."""

    grants: Mapping[Key, int]
    #: How those stand that were wanted.
    told: Mapping[Key, Standing]


class Home:
    """Of the keys of one home shard; it equals itself alone."""

    __slots__ = ("holder", "is_here", "is_sure", "shard")

    def __init__(self, shard: int) -> None:
        self.shard = shard
        #: Who gives out the permits; None: nobody does now.
        self.holder: Holder | None = None
        #: This instance does.
        self.is_here = False
        #: It may: it knows of all live claims.
        self.is_sure = False


def alone() -> Home:
    """Return the home of all keys where there is one instance only, and all claims are known."""
    home = Home(0)
    home.is_here = home.is_sure = True
    return home


class Homes:
    """All homes, as one instance knows them.

    Args:
        me: The instance.
        shards: How many there are.
        shard_of: The home shard of a key.
    """

    def __init__(self, me: str, shards: int, shard_of: Callable[[Key], int]) -> None:
        self.me: Final = me
        self._shard_of = shard_of
        self._homes = tuple(map(Home, range(shards)))
        self._holders: Sequence[Holder | None] = (None,) * shards
        self._live: frozenset[str] = frozenset()
        self._conducts: Mapping[int, int] = {}
        #: Instance → what it told last.
        self.reports: dict[str, Report] = {}
        #: Shard → the highest epoch that was heard of.
        self._heard: dict[int, int] = {}

    def of(self, key: Key) -> Home:
        """Return the home of a key."""
        return self._homes[self._shard_of(key)]

    def others(self) -> frozenset[str]:
        """Return the other instances that are homes."""
        return frozenset({one.instance for one in self._holders if one is not None} - {self.me})

    def conducted(self) -> Mapping[int, int]:
        """Return the shards that are conducted here, as they are to be reported."""
        return self._conducts

    def of_instance(self, instance: str) -> dict[int, int]:
        """Return the homes that an instance is, as they are to be reported to it."""
        return {
            shard: holder.epoch
            for shard, holder in enumerate(self._holders)
            if holder is not None and holder.instance == instance
        }

    def see(self, holders: Sequence[Holder | None], live: frozenset[str]) -> tuple[list[Home], list[str]]:
        """Take note of who holds which shard, and who is live.

        Returns:
            The homes that have another holder than before; and the instances that have left.
        """
        moved = []
        for home, holder in zip(self._homes, holders, strict=True):
            if home.holder != holder:
                home.holder = holder
                home.is_here = holder is not None and holder.instance == self.me
                moved.append(home)
        self._holders = holders
        left = sorted(self._live - live)
        self._live = live
        for instance in left:
            self.reports.pop(instance, None)
        return moved, left

    def conduct(self, conducts: Mapping[int, int]) -> bool:
        """Take note of what is conducted here, shard → epoch; return whether it is news."""
        is_news, self._conducts = conducts != self._conducts, conducts
        return is_news

    def hear(self, instance: str, report: Report) -> bool:
        """Take note of what another instance tells; False: it is an old tale, or one of somebody who is not live."""
        known = self.reports.get(instance)
        if instance not in self._live or (known is not None and known.number >= report.number):
            return False
        self.reports[instance] = report
        for shard, epoch in report.conducts.items():
            self._heard[shard] = max(self._heard.get(shard, 0), epoch)
        return True

    def judge(self) -> list[Home]:
        """Find out which homes are sure; return those that have just become so."""
        is_covered = all(self._is_covered(shard) for shard in range(len(self._holders)))
        others = self.others()
        became = []
        for home in self._homes:
            was_sure = home.is_sure
            home.is_sure = home.is_here and is_covered and all(self._knows(one, home) for one in others)
            if home.is_sure and not was_sure:
                became.append(home)
        return became

    def here(self) -> tuple[int, int]:
        """Return how many homes are here, and how many of them are sure."""
        own = [home for home in self._homes if home.is_here]
        return len(own), sum(home.is_sure for home in own)

    def lacks(self, home: Home) -> tuple[str, ...]:
        """Return those who are to tell something before a home that is here is sure; empty: somebody has to come."""
        lacking = {
            holder.instance
            for shard, holder in enumerate(self._holders)
            if holder is not None and not self._is_covered(shard)
        }
        return tuple(sorted(lacking | {one for one in self.others() if not self._knows(one, home)}))

    def _is_covered(self, shard: int) -> bool:
        """Whether who holds a shard has told all claims in it; who is known to have lost it does not count."""
        holder = self._holders[shard]
        if holder is None or self._heard.get(shard, 0) > holder.epoch:
            return False
        report = self.reports.get(holder.instance)
        told = self._conducts if holder.instance == self.me else {} if report is None else report.conducts
        return told.get(shard) == holder.epoch

    def _knows(self, instance: str, home: Home) -> bool:
        report = self.reports.get(instance)
        return report is not None and home.holder is not None and report.homes.get(home.shard) == home.holder.epoch
