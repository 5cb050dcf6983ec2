"""Several instances that keep one limit together, over a store, with messages that are lost and views that lag."""

from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from harpoon.core.exchange import Asker, Exchange
from harpoon.core.homes import Given, Holder, Homes, Key, Report
from harpoon.core.offers import AttemptId, Offer, SessionId
from tests.core.exchanging import an_offer

SHARDS = 3
KEYS = ("k0", "k1")


def home_of(key: Key) -> int:
    return int(key[1][1:])


def shard_of(run: str) -> int:
    return int(run[1:]) % SHARDS


class Answer(NamedTuple):
    """What a home answers."""

    home: str
    to: str
    number: int
    given: Given


class Sent(NamedTuple):
    """A report on its way."""

    to: str
    sender: str
    report: Report


class Node:
    """One instance."""

    def __init__(self, name: str, seen: int) -> None:
        self.name = name
        self.homes = Homes(name, SHARDS, home_of)
        self.exchange = Exchange(self.homes)
        #: Up to which revision its view has come.
        self.seen = seen
        #: Shard → epoch, as it was told when it took them.
        self.took: dict[int, int] = {}
        self.conducts: dict[int, int] = {}
        #: What was decided and is not durable: shard, epoch, what to do if it may be written, and then here.
        self.writes: deque[tuple[int, int, Callable[[], None], Callable[[], None]]] = deque()
        #: Home → its last report.
        self.told: dict[str, Report] = {}
        #: Home here: who can be answered, and which report that is to.
        self.polls: dict[str, int] = {}
        #: Given lately: key, number.
        self.given: list[tuple[Key, int]] = []

    def call(self, entries: list | None) -> None:
        self.exchange.call(entries or ())


class World:
    """The store, the nodes, and what is on its way between them.

    Args:
        most: The limit of all keys.
    """

    def __init__(self, most: int = 1) -> None:
        self.most = most
        self.numbers = count(1)
        self.names = count(1)
        self.holders: list[Holder | None] = [None] * SHARDS
        self.live: frozenset[str] = frozenset()
        #: Revision → what it showed.
        self.history: list[tuple[tuple[Holder | None, ...], frozenset[str]]] = [((None,) * SHARDS, self.live)]
        #: Open attempts, as they stand in the store: claimed, or not.
        self.open: dict[AttemptId, Offer] = {}
        self.claims: set[AttemptId] = set()
        self.nodes: dict[str, Node] = {}
        self.reports: list[Sent] = []
        self.answers: list[Answer] = []

    # The store.

    def commit(self) -> int:
        self.history.append((tuple(self.holders), self.live))
        return len(self.history) - 1

    def check(self) -> None:
        """Raise if more is claimed than may be, as far as is durable."""
        taken = Counter(self.open[id_].limit.key for id_ in self.claims)  # type: ignore[union-attr]
        assert all(many <= self.most for many in taken.values()), taken

    # What nodes do.

    def join(self) -> Node:
        name = f"i{next(self.names)}"
        self.live |= {name}
        node = self.nodes[name] = Node(name, self.commit())
        self.see(node, node.seen)
        return node

    def see(self, node: Node, revision: int) -> None:
        """Let its view come up to a revision, one after the other."""
        for number in range(node.seen + (revision > node.seen), revision + 1):
            node.seen = number
            holders, live = self.history[number]
            node.call(node.exchange.gates.see(node.homes, holders, live))
            self.deal(node)

    def take(self, node: Node, shard: int) -> None:
        """Take a shard that nobody holds."""
        if self.holders[shard] is None and node.name in self.live:
            self.holders[shard] = Holder(node.name, len(self.history))
            node.took[shard] = self.commit()

    def conduct(self, node: Node, shard: int) -> None:
        """Load a shard that it holds, as far as it knows, and conduct it."""
        epoch = node.took.get(shard)
        if epoch is None or shard in node.conducts:
            return
        self.see(node, max(node.seen, epoch))
        if self.holders[shard] != Holder(node.name, epoch):
            return
        for id_, offer in self.open.items():
            if shard_of(id_.run) == shard:
                if id_ in self.claims:
                    node.exchange.adopt(offer, SessionId("default", "w0", "s0"))
                else:
                    node.exchange.offer([offer], 0)
        node.conducts = {**node.conducts, shard: epoch}
        node.call(node.exchange.gates.conduct(node.homes, node.conducts))
        self.deal(node)

    def leave(self, node: Node, shard: int, *, is_written: bool) -> None:
        """Conduct a shard no longer, and give it back."""
        if shard not in node.conducts:
            return
        epoch = node.conducts[shard]
        node.conducts = {one: known for one, known in node.conducts.items() if one != shard}
        node.call(node.exchange.gates.conduct(node.homes, node.conducts))
        for run in [run for run in map(str, self.runs()) if shard_of(run) == shard]:
            node.exchange.settle(node.exchange.withheld("default", run))
            node.exchange.forget_run("default", run)
        self.deal(node)
        own = [write for write in node.writes if write[0] == shard]
        node.writes = deque(write for write in node.writes if write[0] != shard)
        if is_written:
            for write in own:
                self.write(write)
        if self.holders[shard] == Holder(node.name, epoch):
            self.holders[shard] = None
            self.commit()
        del node.took[shard]

    def lose(self, node: Node) -> None:
        """Let its lease run out; it need not know."""
        if node.name in self.live:
            self.live -= {node.name}
            self.holders = [None if one is not None and one.instance == node.name else one for one in self.holders]
            self.commit()

    def die(self, node: Node, written: int) -> None:
        """Kill it; some of what was on its way into the store comes there."""
        for _ in range(min(written, len(node.writes))):
            self.write(node.writes.popleft())
        del self.nodes[node.name]
        self.lose(node)

    def runs(self) -> list[str]:
        return [f"r{number}" for number in range(2 * SHARDS)]

    def begin(self, run: str, key: str) -> None:
        """Open an attempt, where its run is conducted."""
        shard = shard_of(run)
        for node in self.nodes.values():
            if shard in node.conducts and self.holders[shard] == Holder(node.name, node.conducts[shard]):
                offer = an_offer(run, f"o{next(self.numbers)}", limit=(key, self.most))
                self.open[offer.id] = offer
                node.exchange.offer([offer], 0)
                self.deal(node)

    def ask(self, node: Node, want: int, *, is_staying: bool = False) -> None:
        asker = Asker(SessionId("default", f"w{next(self.numbers)}", "s1"), ("pack",), want)
        node.exchange.ask(asker)
        self.deal(node)
        if not is_staying:
            node.exchange.leave(asker)

    def deal(self, node: Node) -> None:
        for deal in node.exchange.deal(0):
            for offer in deal.offers:
                self.claim(node, offer)

    def claim(self, node: Node, offer: Offer) -> None:
        shard = shard_of(offer.id.run)
        if shard not in node.conducts:
            node.exchange.put_back([offer], 0)
            return

        def landed() -> None:
            assert offer.id in self.open
            self.claims.add(offer.id)
            self.check()

        node.writes.append((shard, node.conducts[shard], landed, lambda: None))

    def close(self, node: Node, id_: AttemptId) -> None:
        """Decide the end of an attempt that somebody has."""
        shard = shard_of(id_.run)
        if shard not in node.conducts or node.exchange.claimant(id_) is None:
            return
        node.exchange.forget([id_], is_durable=False)

        def landed() -> None:
            self.claims.discard(id_)
            del self.open[id_]

        node.writes.append((shard, node.conducts[shard], landed, lambda: node.exchange.settle([id_])))
        self.deal(node)

    def write(self, write: tuple[int, int, Callable[[], None], Callable[[], None]], node: Node | None = None) -> None:
        shard, epoch, landed, then = write
        holder = self.holders[shard]
        if holder is not None and holder.epoch == epoch:
            landed()
            if node is not None:
                then()
                self.deal(node)

    def flush(self, node: Node, count: int) -> None:
        for _ in range(min(count, len(node.writes))):
            self.write(node.writes.popleft(), node)

    # What they tell one another.

    def tell(self, node: Node, home: str) -> None:
        number = next(self.numbers)
        report = node.told[home] = node.exchange.gates.report(node.homes, home, number)
        self.reports.append(Sent(home, node.name, report))

    def hear(self, place: int) -> None:
        sent = self.reports.pop(place)
        node = self.nodes.get(sent.to)
        if node is None:
            return
        entries = node.exchange.gates.hear(node.homes, sent.sender, sent.report)
        if entries is None:
            return
        node.polls[sent.sender] = sent.report.number
        node.exchange.gates.able.add(sent.sender)
        node.call(entries)
        self.deal(node)

    def answer(self, node: Node, to: str) -> None:
        if to in node.polls:
            given = node.exchange.gates.take_given(node.homes, to)
            self.answers.append(Answer(node.name, to, node.polls.pop(to), given))

    def receive(self, place: int) -> None:
        answer = self.answers.pop(place)
        node = self.nodes.get(answer.to)
        if node is None or answer.home not in node.told or node.told[answer.home].number != answer.number:
            return
        asked = node.told[answer.home]
        node.call(node.exchange.gates.receive(node.homes, answer.home, asked, answer.given))
        node.given += [(key, answer.number) for key in answer.given.grants]
        self.deal(node)

    def give_back(self, node: Node) -> None:
        given, node.given = node.given, []
        for key, number in given:
            node.exchange.give_back(key, number)
        self.deal(node)

    # What comes of it.

    def settle(self) -> None:
        """Let everything that is on its way come there, and all that can be done be done."""
        for node in list(self.nodes.values()):
            if node.name not in self.live:
                del self.nodes[node.name]
        nodes = list(self.nodes.values()) or [self.join()]
        for shard in range(SHARDS):
            self.take(nodes[shard % len(nodes)], shard)
        for node in nodes:
            self.see(node, len(self.history) - 1)
            for shard in list(node.took):
                self.conduct(node, shard)
        for _ in range(8):
            self._settle(nodes)
        self.check()
        waiting = Counter(offer.limit.key for offer in self.open.values())  # type: ignore[union-attr]
        taken = Counter(self.open[id_].limit.key for id_ in self.claims)  # type: ignore[union-attr]
        for key in KEYS:
            assert taken[key] == min(self.most, waiting[key]), f"{key}: {taken[key]} of {waiting[key]} are claimed"

    def _settle(self, nodes: list[Node]) -> None:
        """Let all write what they have decided, ask for more, and tell one another what there is."""
        self.reports.clear()
        self.answers.clear()
        for node in nodes:
            self.flush(node, len(node.writes))
            self.give_back(node)
            self.ask(node, 100, is_staying=True)
            for home in sorted(node.homes.others()):
                self.tell(node, home)
        while self.reports:
            self.hear(0)
        for node in nodes:
            for to in list(node.polls):
                self.answer(node, to)
        while self.answers:
            self.receive(0)
        for node in nodes:
            self.flush(node, len(node.writes))
