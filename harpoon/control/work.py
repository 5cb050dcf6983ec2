"""The work exchange: attempts of runs that are conducted here, and workers that ask here for some.

It carries out what `core.exchange` matches. A request of a worker brings back what is finished, keeps what goes on and
takes something new; all of that is decided at once, so that it goes into the same commits, and is answered when it is
durable. A request that has nothing to tell waits until there is something for it, or its time is over: it is woken,
nobody looks now and then.

Requests of one session follow one another. One that comes while another waits takes its place: the worker has given
the other up. One that comes while another is being made durable waits for that, and may be told the same.
"""

import asyncio
from collections import Counter
from typing import Final

from harpoon.control.orders import MOVED, Granted, Refusal
from harpoon.control.work_errand import Asides, Away, Elsewhere, Errand
from harpoon.control.work_floor import Floor, Stay
from harpoon.control.work_request import Work, attempt_id, beat_order, claim_order, close_order
from harpoon.control.work_sent import ConductorOf, Sent, send
from harpoon.control.work_told import Told, answer_json, claim_told, lost_told, result_told, status_of
from harpoon.core.homes import Homes
from harpoon.core.offers import SessionId
from harpoon.core.sessions import Turn, answered, turn
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, Unavailable
from harpoon.model.work import WorkRequest

#: Sessions known at once.
SESSIONS_MAX: Final = 100_000
#: Those that left are looked for so often.
SWEEP_S: Final = 10.0
_NOT_YOURS: Final = "it is not this worker's any more"
_EARLY: Final = "early"
#: Codes of refusals after which an attempt may be claimed all the same, if not now.
_TO_BE_HAD: Final = frozenset({_EARLY, MOVED})
_MOVED: Final = Refusal(MOVED, "nobody here knows what became of it; bring it again")


class WorkExchange(Floor):
    """Answers workers; `harpoon.control.exchange_port.Exchange` for the conductors.

    Args:
        conductor_of: Who conducts a run here.
        clock: What ``now`` is told by.
        homes: Who keeps the limits; None: this instance is alone.
    """

    def __init__(self, conductor_of: ConductorOf, clock: Clock, homes: Homes | None = None) -> None:
        super().__init__(clock, homes)
        self._conductor_of = conductor_of
        #: Given, and brought by status, since it began.
        self.claims = 0
        self.closings: Counter[int] = Counter()
        self._away: dict[SessionId, Away] = {}
        self._asides = Asides()
        self._finishing: set[asyncio.Task[bytes]] = set()

    async def run(self, every_s: float = SWEEP_S) -> None:
        """Forget who has left, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            for session in self.sessions.forget(self.now_ms()):
                self._away.pop(session.id, None)

    async def serve(
        self, namespace: str, asked: WorkRequest, stay: Stay, *, via: str = "", elsewhere: Elsewhere | None = None
    ) -> bytes:
        """Return the answer to a request of a worker, as JSON.

        Args:
            namespace: Whose work it is.
            asked: The request.
            stay: Has it wait.
            via: The instance that passes it on; empty: it came here.
            elsewhere: Where what concerns other instances is passed on to; None: it is not.

        Raises:
            Conflict: A later request of the session was answered, or took the place of this one.
            Unavailable: There are too many sessions.
        """
        work = await self._enter(SessionId(namespace, asked.worker, asked.session, via), asked)
        if isinstance(work, bytes):
            return work
        try:
            if elsewhere is not None:
                away = self._away.setdefault(work.session.id, Away())
                work.errand = Errand(namespace, asked, elsewhere, away)
                await work.errand.recover(0 if asked.draining else asked.want, self._asides)
            self._begin(work)
            if work.news is not None:
                await self._wait(work, stay)
            work.check_place()
        except BaseException:
            self._give_up(work)
            raise
        # From here on it goes through, also when whoever asked has left: it will be asked again, and is told then.
        # The claims are made before anything is awaited: so they go with the closings.
        work.news = None
        self.take(work)
        finishing = asyncio.ensure_future(self._finish(work, self._claim(work)))
        self._finishing.add(finishing)
        finishing.add_done_callback(self._finished)
        return await asyncio.shield(finishing)

    async def _enter(self, id_: SessionId, asked: WorkRequest) -> Work | bytes:
        """Return the work that a request makes, or the answer that was given to it before."""
        if len(self.sessions) >= SESSIONS_MAX and self.sessions.find(id_) is None:
            raise Unavailable(f"{SESSIONS_MAX} sessions of workers are known already; try again later")
        session = self.sessions.enter(id_, self.now_ms())
        while (other := self.under_way.get(id_)) is not None:
            if other.news is not None:
                other.is_replaced = True
                other.wake()
            await asyncio.wait((other.ended,))
        which = turn(session, asked.seq)
        if which is Turn.STALE:
            raise Conflict(f"seq {asked.seq} is older than {session.seq}, which was answered; begin a new session")
        if which is Turn.AGAIN:
            return session.answer
        self.under_way[id_] = work = Work(session, asked)
        session.under_way += 1
        return work

    def _begin(self, work: Work) -> None:
        """Give the orders of a request, and take what there is for it; have it wait if it may."""
        session, asked, errand = work.session, work.asked, work.errand
        namespace = session.id.namespace
        if asked.handlers or not session.id.via:
            # Another instance may pass on only a part of what its worker said.
            session.handlers, session.want = asked.handlers, 0 if asked.draining else asked.want
            session.is_draining = asked.draining
            session.is_asking |= asked.want > 0
        if errand is not None:
            work.places, work.kept = errand.split(self._conductor_of)
            session.want = max(0, session.want - len(errand.away.claims))
        if work.kept:
            orders = [beat_order(namespace, one) for one in work.kept]
            work.beats = send(orders, self._conductor_of, lambda one, own: one.beat(own))
        if work.places:
            closings = [asked.closings[place] for place in work.places]
            self.closing = frozenset(attempt_id(namespace, one) for one in closings)
            try:
                given = [close_order(namespace, one) for one in closings]
                work.closings = send(given, self._conductor_of, lambda one, own: one.close(own))
            finally:
                self.closing = frozenset()
        self.ask(work)
        if asked.wait and not (asked.closings or work.offers or session.lost or work.has_news_from_away):
            work.news = asyncio.get_running_loop().create_future()

    async def _wait(self, work: Work, stay: Stay) -> None:
        """Wait for something to tell, unless there is anything to tell of what it keeps."""
        if work.beats is not None:
            await self._told_beats(work, work.beats)
            work.beats = None
        if work.session.lost:
            return
        if work.errand is None:
            await stay(work.wait)
            return
        tasks = [asyncio.ensure_future(self._seek(work, work.errand)), asyncio.ensure_future(_brought(work))]
        try:
            await stay(work.wait)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _seek(self, work: Work, errand: Errand) -> None:
        """Look for work elsewhere while there is none here."""

        def hold() -> bool:
            self.take(work)
            return not work.offers

        if work.asker is not None:
            await errand.seek(work.session.want, hold, lambda: self.ask(work))
        if errand.away.has_news:
            work.wake()

    def _give_up(self, work: Work) -> None:
        self.take(work)
        if work.errand is not None:
            work.errand.end()
        self.core.put_back(work.offers, self.now_ms())
        self.deal_soon()
        self._end(work)

    def _end(self, work: Work) -> None:
        session = work.session
        session.under_way -= 1
        session.heard_ms = max(session.heard_ms, self.now_ms())
        del self.under_way[session.id]
        work.ended.set_result(None)

    async def _finish(self, work: Work, claimed: Sent[Granted | Refusal]) -> bytes:
        """Return the answer, once all that it tells is durable."""
        try:
            if work.beats is not None:
                await self._told_beats(work, work.beats)
            if work.closings is not None:
                await self._told_closings(work, work.closings)
            await self._told_claims(work, claimed)
            if work.errand is not None:
                await work.errand.brought()
            if work.asked.closings and not (work.claims or work.has_news_from_away):
                # The closings may have made room. It would be asked for at once.
                self.ask(work)
                self.take(work)
                await self._told_claims(work, self._claim(work))
            return self._answer(work)
        finally:
            self._end(work)

    def _finished(self, finishing: asyncio.Task[bytes]) -> None:
        self._finishing.discard(finishing)
        if not finishing.cancelled():
            # Whoever asked may have left, and be told of it no more.
            finishing.exception()

    def _claim(self, work: Work) -> Sent[Granted | Refusal]:
        orders = [claim_order(offer, work.session.id) for offer in work.offers]
        return send(orders, self._conductor_of, lambda one, own: one.claim(own))

    async def _told_claims(self, work: Work, claimed: Sent[Granted | Refusal]) -> None:
        offers, work.offers = work.offers, ()
        lost, now_ms = work.session.lost, self.now_ms()
        is_moved = False
        for offer, told in zip(offers, await claimed.told(_MOVED), strict=True):
            if isinstance(told, Granted):
                # It may be over already; then nobody need know that it ever was.
                if lost.pop(offer.id, None) is None:
                    work.claims.append(claim_told(offer, told.token, now_ms))
            elif told.code in _TO_BE_HAD:
                is_moved |= told.code == MOVED
                self.core.put_back((offer,), now_ms)
            else:
                self.core.forget((offer.id,))
        self.deal_soon()
        self.claims += len(work.claims)
        work.session.want = max(0, work.session.want - len(work.claims))
        if is_moved and not (work.claims or work.results):
            raise Unavailable("what is to be done cannot be given out now; ask again soon")

    async def _told_closings(self, work: Work, closings: Sent[Refusal | None]) -> None:
        namespace, closed = work.session.id.namespace, []
        for place, told in zip(work.places, await closings.told(_MOVED), strict=True):
            closing = work.asked.closings[place]
            work.results[place] = result_told(closing, told)
            self.closings[status_of(told)] += 1
            if told is None:
                closed.append(attempt_id(namespace, closing))
        self.core.forget(closed)
        self.deal_soon()

    async def _told_beats(self, work: Work, beats: Sent[bool]) -> None:
        session = work.session
        # What is not known is not denied.
        for beat, is_held in zip(work.kept, await beats.told(True), strict=True):
            id_ = attempt_id(session.id.namespace, beat)
            if not is_held:
                session.lost.setdefault(id_, _NOT_YOURS)
            elif beat.progress is not None:
                self.core.advance(id_, beat.progress)

    def _answer(self, work: Work) -> bytes:
        session = work.session
        lost: list[object] = [lost_told(id_, reason) for id_, reason in session.lost.items()]
        session.lost.clear()
        results = work.results
        if work.errand is not None:
            results = results | work.errand.results
            away = work.errand.away
            work.claims += away.claims
            lost += away.lost
            away.claims, away.lost = [], []
        closings = work.asked.closings
        told = [results.get(place) or result_told(closing, _MOVED) for place, closing in enumerate(closings)]
        is_superseded = self.sessions.is_superseded(session, self.now_ms())
        answer = answer_json(work.asked.seq, Told(told, work.claims, lost, is_superseded))
        answered(session, work.asked.seq, answer)
        return answer


async def _brought(work: Work) -> None:
    """Wake a request when others have told something of what it keeps."""
    if work.errand is not None:
        await work.errand.brought()
        if work.errand.away.has_news:
            work.wake()
