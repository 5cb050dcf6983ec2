"""Where attempts and requests of workers meet: `core.exchange` with a clock, and what conductors tell it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Protocol

import orjson

from harpoon.control.draft import Draft
from harpoon.control.work_request import Look, Work
from harpoon.control.work_told import Subject
from harpoon.core import run_why
from harpoon.core.crew import waits_for
from harpoon.core.exchange import Asker, Exchange
from harpoon.core.homes import Homes
from harpoon.core.offers import EVERY_NAMESPACE, AttemptId, Limit, Offer, SessionId
from harpoon.core.run import Run
from harpoon.core.run_why import EXPLAINED_MAX
from harpoon.core.sessions import Sessions
from harpoon.core.visit import Attempt, Ref
from harpoon.kit.clock import Clock
from harpoon.model.operation import OF_ENGINE

#: Lets a request stay open while what it is given goes on; raises when it is to be given up.
Stay = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class Taker(Protocol):
    """Who is given what an asker was dealt, in the midst of the dealing: it is quick and asks for nothing."""

    def take(self, offers: tuple[Offer, ...], /) -> None:
        """Take it; the asker waits no longer."""


class Crew(Protocol):
    """Who carries out what the engine does itself; what it is told comes in between two awaits, so it is quick."""

    #: Attempts that were closed, by handler and label, and errors beside failures, by handler.
    closed: Counter[tuple[str, str]]
    errors: Counter[str]

    def busy(self) -> Mapping[str, int]:
        """Return how many attempts are carried out now, by handler."""

    def resume(self, offer: Offer, token: str) -> None:
        """Take note of a claim that was made before this instance conducted the run."""

    def lose(self, id_: AttemptId, reason: str) -> None:
        """An attempt that was claimed is over otherwise."""

    def leave(self, id_: AttemptId) -> None:
        """An attempt that was claimed is another instance's from now on."""


class Nobody:
    """A crew of nobody: what the engine would do itself waits."""

    def __init__(self) -> None:
        self.closed: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()

    def busy(self) -> Mapping[str, int]:
        """Return nothing."""
        return {}

    def resume(self, offer: Offer, token: str) -> None:
        """Let it be: in time it is lost."""

    def lose(self, id_: AttemptId, reason: str) -> None:
        """Nobody did anything about it."""

    def leave(self, id_: AttemptId) -> None:
        """Nobody did anything about it."""


class Floor:
    """What is offered and who asks; it wakes whoever there is something for.

    Args:
        clock: What ``now`` is told by.
        homes: Who keeps the limits; None: this instance is alone.
    """

    def __init__(self, clock: Clock, homes: Homes | None = None) -> None:
        self.core = Exchange(homes)
        self.sessions = Sessions()
        #: Requests that are being answered, one a session.
        self.under_way: dict[SessionId, Work] = {}
        #: What is being closed in this very moment, by its claimant.
        self.closing: frozenset[AttemptId] = frozenset()
        #: Carries out what the engine does itself.
        self.crew: Crew = Nobody()
        #: Called when all that could be dealt has been.
        self.dealt: Callable[[], None] = lambda: None
        self._clock = clock
        self._asking: dict[Asker, Taker] = {}
        #: When there is something to deal again, UTC milliseconds, and the timer for it.
        self._due_ms: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_deal_due = False

    # What conductors tell.

    def ready(self, run: Run, attempts: Iterable[Attempt]) -> None:
        """Offer attempts, each from its ``ready_ms`` on; they may have been offered before."""
        self.core.offer([_offer(run, attempt) for attempt in attempts], self.now_ms())
        self.deal_soon()

    def claimed(self, run: Run, attempts: Iterable[Attempt]) -> None:
        """Take note of claims that were made before this instance conducted the run."""
        for attempt in attempts:
            assert attempt.claim is not None, "it is claimed"
            offer = _offer(run, attempt)
            if offer.handler.startswith(OF_ENGINE):
                self.core.adopt(offer, crew_session(offer.handler, attempt.claim.session))
                self.crew.resume(offer, attempt.claim.token)
            else:
                self.core.adopt(offer, SessionId(run.namespace, attempt.claim.worker, attempt.claim.session))

    def withdrawn(self, run: Run, refs: Iterable[Ref], reason: str, draft: Draft) -> None:
        """Offer these no longer; whoever has claimed one is told why it is not its own any more."""
        self._lose(self.core.forget([_id(run, ref) for ref in refs], is_durable=False), reason)
        self._settle(run, draft)

    def over(self, run: Run, draft: Draft) -> None:
        """Forget a run that has ended."""
        ended = self.core.forget_run(run.namespace, run.id, is_durable=False)
        self._settle(run, draft)
        self._lose([one for one in ended if one[0] not in self.closing], f"the run is over: {run.status}")

    def left(self, run: Run) -> None:
        """Forget a run that this instance conducts no longer, and tell no worker of it: it goes on elsewhere."""
        for id_, claimant in self.core.forget_run(run.namespace, run.id):
            if claimant.namespace == EVERY_NAMESPACE:
                self.crew.leave(id_)
        self.core.settle(self.core.withheld(run.namespace, run.id))
        self.deal_soon()

    def _settle(self, run: Run, draft: Draft) -> None:
        """Have limits count what is over of a run until that is durable."""
        withheld = self.core.withheld(run.namespace, run.id)
        if withheld:

            def landed() -> None:
                self.core.settle(withheld)
                self.deal_soon()

            draft.when_durable(landed)

    # What requests need.

    def ask(self, work: Work) -> None:
        """Have a request ask for what its session wants, and take what there is."""
        session = work.session
        if session.want and not self.sessions.is_superseded(session, self.now_ms()):
            work.asker = Asker(session.id, session.handlers, session.want)
            self._asking[work.asker] = work
            self.core.ask(work.asker)
            self._deal()

    def take(self, work: Work) -> None:
        """Have a request ask no more."""
        if work.asker is not None:
            self._asking.pop(work.asker, None)
            self.core.leave(work.asker)
            work.asker = None

    def ask_for(self, asker: Asker, taker: "Taker") -> None:
        """Have an asker wait for its share, which ``taker`` is given soon."""
        self._asking[asker] = taker
        self.core.ask(asker)
        self.deal_soon()

    async def looked(self, namespace: str, handlers: Sequence[str], stay: Stay) -> bool:
        """Wait until there is something to do that nobody here asks for; whether there was, once ``stay`` is over."""
        look, asker = Look(), Asker(SessionId(namespace, "", ""), handlers, 0)
        self._asking[asker] = look
        self.core.ask(asker)
        self._deal()
        try:
            if not look.is_shown:
                await stay(lambda: _awaited(look.news))
        finally:
            self._asking.pop(asker, None)
            self.core.leave(asker)
        return look.is_shown

    def deal_soon(self) -> None:
        """Match what can be matched, once what is being done now is through."""
        if not self._is_deal_due:
            self._is_deal_due = True
            asyncio.get_running_loop().call_soon(self._deal)

    def _deal(self) -> None:
        self._is_deal_due = False
        now_ms = self.now_ms()
        for deal in self.core.deal(now_ms):
            self._asking.pop(deal.asker).take(deal.offers)
        self._deal_at(self.core.due_ms(), now_ms)
        self.dealt()

    def _deal_at(self, due_ms: int | None, now_ms: int) -> None:
        if due_ms == self._due_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due_ms = due_ms
        self._timer = None
        if due_ms is not None:
            span_s = max(0, due_ms - now_ms) / 1000
            self._timer = asyncio.get_running_loop().call_later(span_s, self._deal_due)

    def _deal_due(self) -> None:
        self._due_ms = self._timer = None
        self._deal()

    def _lose(self, ended: Iterable[tuple[AttemptId, SessionId]], reason: str) -> None:
        for id_, claimant in ended:
            if claimant.namespace == EVERY_NAMESPACE:
                self.crew.lose(id_, reason)
                continue
            session = self.sessions.find(claimant)
            if session is None:
                continue
            session.lost[id_] = reason
            work = self.under_way.get(claimant)
            if work is not None:
                work.wake()
        self.deal_soon()

    def takers(self, run: Run) -> run_why.Floor:
        """Return what is known here of those who could do the work of a run."""
        now_ms = self.now_ms()
        found = {
            place: waits_for(self.core, self.sessions, AttemptId(run.namespace, run.id, *attempt.ref), now_ms)
            for place, attempt in islice(run.ready.items(), EXPLAINED_MAX)
        }
        return {place: waiting for place, waiting in found.items() if waiting is not None}

    def now_ms(self) -> int:
        """Return the present moment, UTC milliseconds."""
        return self._clock.now().wall


def crew_session(handler: str, instance: str) -> SessionId:
    """Return by whom the exchange knows what the crew of an instance carries out with one connector."""
    return SessionId(EVERY_NAMESPACE, handler, instance)


async def _awaited(news: asyncio.Future[None]) -> None:
    await asyncio.wait((news,))


def _offer(run: Run, attempt: Attempt) -> Offer:
    node = run.graph.nodes[attempt.ref.op]
    spec, handler = node.spec, node.handler
    assert handler is not None, "only what somebody can claim is offered"
    limit = None
    if spec.concurrency is not None and attempt.key is not None:
        limit = Limit(attempt.key, spec.concurrency.limit)
    size = 0 if attempt.input is None else len(orjson.dumps(attempt.input))
    return Offer(_id(run, attempt.ref), run.workflow, handler, attempt.ready_ms, size, limit, Subject(run, attempt))


def _id(run: Run, ref: Ref) -> AttemptId:
    return AttemptId(run.namespace, run.id, *ref)
