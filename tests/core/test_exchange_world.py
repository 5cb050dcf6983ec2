"""The exchange under any order of events: what must hold after each of them."""

from collections import Counter

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harpoon.core.exchange import Asker, Deal, Exchange
from harpoon.core.offers import AttemptId, Lane, Offer, SessionId, Stand
from tests.core.exchanging import a_session, an_offer

WORKERS, HANDLERS, RUNS = ("w1", "w2", "w3"), ("pack", "sign"), ("r1", "r2", "r3")
LIMITS = st.sampled_from([None, None, ("k", 1), ("k", 2), ("l", 1)])


class World(RuleBasedStateMachine):
    """Attempts open, are claimed, close and come again; workers ask, give up and vanish."""

    def __init__(self) -> None:
        super().__init__()
        self.exchange = Exchange()
        self.now = 0
        self.number = 0
        #: What may be claimed, and who has what.
        self.open: dict[AttemptId, Offer] = {}
        self.claims: dict[AttemptId, SessionId] = {}
        self.askers: list[Asker] = []
        #: All that were ever claimed; and those whose claims were found.
        self.known: dict[AttemptId, Offer] = {}
        self.adopted: set[AttemptId] = set()

    def settle(self) -> None:
        for deal in self.exchange.deal(self.now):
            self.dealt(deal)

    def dealt(self, deal: Deal) -> None:
        assert deal.asker in self.askers, "an asker is dealt once, and not after it has left"
        self.askers.remove(deal.asker)
        assert 0 < len(deal.offers) <= deal.asker.want
        for offer in deal.offers:
            assert offer.id not in self.claims, "an attempt has one claim at a time"
            assert self.open.pop(offer.id) is offer
            assert offer.ready_ms <= self.now
            assert Lane(offer.id.namespace, offer.handler) in deal.asker.lanes
            self.claims[offer.id] = deal.asker.session
            self.known[offer.id] = offer

    @rule(
        run=st.sampled_from(RUNS), handler=st.sampled_from(HANDLERS), limit=LIMITS, later=st.sampled_from([0, 0, 5]),
        count=st.integers(1, 4),
    )  # fmt: skip
    def opens(self, run: str, handler: str, limit: tuple[str, int] | None, later: int, count: int) -> None:
        for _ in range(count):
            self.number += 1
            offer = an_offer(
                run,
                f"o{self.number}",
                handler=handler,
                limit=limit,
                ready_ms=self.now + later,
                workflow=f"f{run[-1] == '1'}",
            )
            self.open[offer.id] = offer
            self.exchange.offer([offer], self.now)
        self.settle()

    @rule(
        worker=st.sampled_from(WORKERS),
        handlers=st.lists(st.sampled_from(HANDLERS), min_size=1),
        want=st.integers(1, 5),
    )
    def asks(self, worker: str, handlers: list[str], want: int) -> None:
        asker = Asker(a_session(worker), handlers, want)
        self.askers.append(asker)
        self.exchange.ask(asker)
        self.settle()

    @precondition(lambda self: self.askers)
    @rule(data=st.data())
    def gives_up(self, data: st.DataObject) -> None:
        asker = data.draw(st.sampled_from(self.askers))
        self.askers.remove(asker)
        self.exchange.leave(asker)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), is_retried=st.booleans())
    def closes(self, data: st.DataObject, is_retried: bool) -> None:
        id_ = data.draw(st.sampled_from(list(self.claims)))
        assert self.exchange.forget([id_]) == [(id_, self.claims.pop(id_))]
        if is_retried:
            old = self.known[id_]
            offer = old._replace(id=id_._replace(attempt=id_.attempt + 1), ready_ms=self.now + 3)
            self.open[offer.id] = offer
            self.exchange.offer([offer], self.now)
        self.settle()

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def is_not_committed(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(list(self.claims)))
        del self.claims[id_]
        self.open[id_] = self.known[id_]
        self.exchange.put_back([self.known[id_]], self.now)
        self.settle()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def is_withdrawn(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(list(self.open)))
        del self.open[id_]
        assert self.exchange.forget([id_]) == []
        self.settle()

    @rule(run=st.sampled_from(RUNS))
    def is_over(self, run: str) -> None:
        ended = {id_: claim for id_, claim in self.claims.items() if id_.run == run}
        assert dict(self.exchange.forget_run("default", run)) == ended
        self.claims = {id_: claim for id_, claim in self.claims.items() if id_.run != run}
        self.open = {id_: offer for id_, offer in self.open.items() if id_.run != run}
        self.settle()

    @precondition(lambda self: self.open)
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def is_adopted(self, data: st.DataObject, worker: str) -> None:
        id_ = data.draw(st.sampled_from(list(self.open)))
        offer = self.open.pop(id_)
        self.known[id_] = offer
        self.claims[id_] = a_session(worker)
        self.exchange.adopt(offer, a_session(worker))
        self.adopted.add(id_)
        self.settle()

    @rule(span=st.integers(1, 6))
    def time_goes_by(self, span: int) -> None:
        due = self.exchange.due_ms()
        waiting = [offer.ready_ms for offer in self.open.values() if offer.ready_ms > self.now]
        assert due == min(waiting, default=None)
        self.now += span
        self.settle()

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.exchange) == len(self.open) + len(self.claims)
        for id_, session in self.claims.items():
            assert self.exchange.claimant(id_) == session
            assert id_ in self.exchange.held(session)
        assert sum(len(self.exchange.held(one)) for one in self.exchange.holders()) == len(self.claims)
        in_line = Counter(
            Lane("default", offer.handler)
            for id_, offer in self.open.items()
            if self.exchange.stand(id_) is Stand.IN_LINE
        )
        for handler in HANDLERS:
            assert self.exchange.ready(Lane("default", handler)) == in_line[Lane("default", handler)]

    @invariant()
    def limits_are_kept(self) -> None:
        live: dict[str, list[Offer]] = {}
        for id_ in self.claims:
            offer = self.known[id_]
            if offer.limit is not None:
                live.setdefault(offer.limit.key, []).append(offer)
        for key, offers in live.items():
            assert self.exchange.gates.standing("default", key).held == len(offers)
            if not any(offer.id in self.adopted for offer in offers):
                assert len(offers) <= max(offer.limit.most for offer in offers), key
        if not live and not any(offer.limit for offer in self.open.values()):
            assert len(self.exchange.gates) == 0

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        asked = {lane for asker in self.askers for lane in asker.lanes}
        live = Counter(self.known[id_].limit.key for id_ in self.claims if self.known[id_].limit is not None)
        first: dict[tuple[str, str], bool] = {}
        for offer in self.open.values():
            if offer.ready_ms > self.now or Lane("default", offer.handler) not in asked:
                continue
            assert offer.limit is not None, "what has no limit is dealt when somebody asks for it"
            # Of those with one key, the one before all others may wait for more room than this one.
            if live[offer.limit.key] < 1:
                first[(offer.limit.key, offer.handler)] = False
        assert not first, f"there is room, and somebody asks: {first}"


World.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase
