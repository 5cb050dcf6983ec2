"""Limits of how many attempts may be claimed at once: the gates of all keys that anything is known of.

What others are to be told is noted here as it changes: what they were given (`granted`), and which homes elsewhere are
to hear from this instance (`stirred`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from harpoon.core.gate import Gate, most_of
from harpoon.core.homes import Given, Holder, Home, Homes, Key, Report, Standing, alone
from harpoon.core.offers import AttemptId, Entry, Lane, lane_of

#: Runs that are named as having permits of a key, of each instance.
NAMED_MAX: Final = 3


class Gates:
    """The gates of all keys that anything is claimed, parked or wanted under.

    Args:
        homes: Who gives out permits; None: there is one instance only.
    """

    def __init__(self, homes: Homes | None = None) -> None:
        self.homes = homes
        #: Instance → what it was given and was not told yet.
        self.granted: dict[str, dict[Key, int]] = {}
        #: Instances that can be told now.
        self.able: set[str] = set()
        #: Homes elsewhere that are to hear from this instance.
        self.stirred: set[str] = set()
        #: Those that do not answer.
        self.silent: set[str] = set()
        #: Line that something is parked of → how many more are asked for in it than there are, as was seen last.
        self.demand: dict[Lane, int] = {}
        self._parked: Counter[Lane] = Counter()
        self._gates: dict[Key, Gate] = {}
        self._alone = alone()
        #: Those with room for others; a dict for its order.
        self._roomy: dict[Key, None] = {}

    def __len__(self) -> int:
        return len(self._gates)

    # What the exchange asks.

    def has_room(self, entry: Entry) -> bool:
        """Whether its limit lets one more be claimed."""
        gate = self._gates.get(key := _key(entry))
        if gate is None:
            home = self._home(key)
            return home.is_here and home.is_sure
        return gate.room(most_of(entry)) > 0

    def is_next(self, entry: Entry) -> bool:
        """Whether one that has just come need not wait behind others for its limit."""
        gate = self._gates.get(key := _key(entry))
        if gate is None:
            home = self._home(key)
            return home.is_sure or not home.is_here
        return gate.is_next(entry)

    def park(self, entry: Entry) -> None:
        """Let it wait for room: before all others if it had been called, else behind them."""
        gate = self._keep(_key(entry))
        gate.park(entry)
        if self.homes is not None:
            self._parked[entry.lane] += 1
            self._stir(gate)

    def enter(self, entry: Entry) -> None:
        """Count its claim among the live ones."""
        gate = self._keep(_key(entry))
        gate.enter(entry)
        if len(gate.live) > gate.permits:
            self._stir(gate)

    def leave(self, entry: Entry) -> list[Entry]:
        """Forget it, wherever it stands; return those that are called thereby."""
        gate = self._gates.get(_key(entry))
        if gate is None:
            return []
        if gate.leave(entry):
            self._unpark((entry,))
        return self._pass_on(gate)

    def is_seeking(self, lane: Lane) -> bool:
        """Whether anything of a line is parked, so that a home may have to be told how much is asked for."""
        return lane in self._parked

    def seek(self, lane: Lane, count: int) -> None:
        """Take note of how many more are asked for in a line of which something is parked."""
        assert self.homes is not None, "homes are told"
        if self.demand.get(lane) != count:
            self.demand[lane] = count
            self.stirred |= self.homes.others()

    def standing(self, namespace: str, limit: str) -> Standing:
        """Return how a limit stands, given its key."""
        key = (namespace, limit)
        gate, home, homes = self._gates.get(key), self._home(key), self.homes
        held = 0 if gate is None else gate.held
        runs = () if gate is None else _named(gate.live)
        if homes is None:
            return Standing(held, runs)
        name = "" if home.holder is None else home.holder.instance
        if not home.is_here:
            told = None if gate is None else gate.told
            return (Standing(held, runs, is_closed=not name) if told is None else told)._replace(
                home=name, is_silent=name in self.silent
            )
        for report in homes.reports.values():
            runs += report.runs.get(key, ())
        away = 0 if gate is None else gate.away
        return Standing(held + away, runs, homes.lacks(home), not home.is_sure, name)

    # What instances tell one another; what returns entries, has them stand in line.

    def see(self, homes: Homes, holders: Sequence[Holder | None], live: frozenset[str]) -> list[Entry]:
        """Take note of who holds which shard, and which instances are live."""
        moved, left = homes.see(holders, live)
        if moved:
            self.stirred |= homes.others()
        changed = self._at(moved)
        called = [entry for gate in changed for entry in gate.free()]
        self._unpark(called)
        for instance in left:
            self.granted.pop(instance, None)
            for gate in self._gates.values():
                if instance in gate.others or instance in gate.wanting:
                    gate.hear(instance, 0, None)
                    changed.append(gate)
        return called + self._judge(homes, changed)

    def conduct(self, homes: Homes, conducts: Mapping[int, int]) -> list[Entry]:
        """Take note of what is conducted here now: shard → epoch."""
        if homes.conduct(conducts):
            self.stirred |= homes.others()
        if not conducts:
            # Nobody who has no shards is waited for by a home: so what it has of one is void.
            for gate in list(self._gates.values()):
                gate.give_back()
                self._drop_idle(gate)
        return self._judge(homes, ())

    def hear(self, homes: Homes, instance: str, report: Report) -> list[Entry] | None:
        """Take note of what another instance tells; None: it is an old tale, or one of somebody who is not live."""
        known = homes.reports.get(instance)
        if not homes.hear(instance, report):
            return None
        # What it was given since is in its report, or was lost on the way.
        lost = self.granted.pop(instance, {})
        keys = dict.fromkeys((*report.held, *report.wants))
        if known is not None:
            keys.update(dict.fromkeys((*known.held, *known.wants)))
        # Nothing is given out before all of it is known.
        changed = [self._keep(key) for key in keys]
        for gate in changed:
            gate.hear(instance, report.held.get(gate.key, 0), report.wants.get(gate.key))
            gate.is_others_turn |= gate.key in lost
        return self._judge(homes, changed)

    def report(self, homes: Homes, instance: str, number: int) -> Report:
        """Return what a home elsewhere is to be told."""
        own = [gate for gate in self._gates.values() if _is_at(gate.home, instance)]
        return Report(
            number=number,
            conducts=homes.conducted(),
            homes=homes.of_instance(instance),
            held={gate.key: gate.held for gate in own if gate.held},
            wants={gate.key: want for gate in own if (want := gate.want(self.demand)) is not None},
            runs={gate.key: _named(gate.live) for gate in own if gate.live},
        )

    def receive(self, homes: Homes, instance: str, asked: Report, given: Given) -> list[Entry]:
        """Take what a home elsewhere has given; nothing of keys whose home is another by now.

        Args:
            homes: All of them.
            instance: Who gives it.
            asked: What it answers; nothing was told since.
            given: The answer.
        """
        for key, standing in given.told.items():
            gate = self._gates.get(key)
            if gate is not None:
                gate.told = standing
        called: list[Entry] = []
        for key, count in given.grants.items():
            want, home = asked.wants.get(key), self._home(key)
            is_its = home.holder == Holder(instance, asked.homes.get(home.shard, 0))
            if want is not None and is_its and homes.conducted():
                gate = self._keep(key)
                gate.receive(count, want.most, asked.number)
                called += self._pass_on(gate)
        return called

    def take_given(self, homes: Homes, instance: str) -> Given:
        """Return what another instance is to be answered; it cannot be told anything more until it reports again."""
        self.able.discard(instance)
        grants, report = self.granted.pop(instance, {}), homes.reports.get(instance)
        wants = () if report is None else report.wants
        return Given(grants, {(space, key): self.standing(space, key) for space, key in wants})

    def unused(self, key: Key, number: int) -> list[Lane]:
        """Give back what a home elsewhere gave, and nobody here has used; return the lines that had asked for it.

        Args:
            key: Of the limit.
            number: Of the report that was answered by it; nothing, if another was since.
        """
        gate = self._gates.get(key)
        if gate is None or gate.given != number or gate.home.is_here or gate.permits <= len(gate.live):
            return []
        gate.give_back()
        self._stir(gate)
        self._drop_idle(gate)
        return [lane_of(key[0], handler) for handler in dict.fromkeys((*gate.parked, *gate.called))]

    def share_out(self) -> None:
        """Give others what is left of room that nobody here has taken."""
        if self._roomy:
            roomy, self._roomy = self._roomy, {}
            for key in roomy:
                gate = self._gates.get(key)
                if gate is not None:
                    self._grant(gate)

    def _judge(self, homes: Homes, changed: Iterable[Gate]) -> list[Entry]:
        """Find out which homes are sure, and pass on what room there is at gates that have changed."""
        became = homes.judge()
        gates = dict.fromkeys((*changed, *self._at(became)))
        return [entry for gate in gates for entry in self._pass_on(gate)]

    def _pass_on(self, gate: Gate) -> list[Entry]:
        """Call those for whom a gate has room, now that it may have some; others may have a turn before."""
        if gate.is_others_turn:
            self._grant(gate)
        if gate.wanting:
            self._roomy[gate.key] = None
        called = list(gate.call())
        self._unpark(called)
        self._stir(gate)
        self._drop_idle(gate)
        return called

    def _grant(self, gate: Gate) -> None:
        if not gate.home.is_here:
            return
        for instance in gate.grant(self.able):
            granted = self.granted.setdefault(instance, {})
            granted[gate.key] = granted.get(gate.key, 0) + 1

    def _stir(self, gate: Gate) -> None:
        home = gate.home
        if not home.is_here and home.holder is not None:
            self.stirred.add(home.holder.instance)

    def _at(self, homes: Iterable[Home]) -> list[Gate]:
        chosen = set(homes)
        return [gate for gate in self._gates.values() if gate.home in chosen] if chosen else []

    def _unpark(self, entries: Iterable[Entry]) -> None:
        if self.homes is None:
            return
        for entry in entries:
            self._parked[entry.lane] -= 1
            if not self._parked[entry.lane]:
                del self._parked[entry.lane]
                self.demand.pop(entry.lane, None)

    def _home(self, key: Key) -> Home:
        return self._alone if self.homes is None else self.homes.of(key)

    def _keep(self, key: Key) -> Gate:
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = Gate(key, self._home(key))
        return gate

    def _drop_idle(self, gate: Gate) -> None:
        if gate.is_idle:
            self._gates.pop(gate.key, None)


def _is_at(home: Home, instance: str) -> bool:
    return home.holder is not None and home.holder.instance == instance


def _named(live: Iterable[AttemptId]) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(one.run for one in live), NAMED_MAX))


def _key(entry: Entry) -> Key:
    limit = entry.offer.limit
    assert limit is not None, "only what has a limit goes through a gate"
    return entry.offer.id.namespace, limit.key
