"""One request of a worker on its way through the exchange, and the orders that it makes."""

import asyncio
from collections.abc import Sequence

from harpoon.control.ledger_records import run_key
from harpoon.control.orders import BeatOrder, ClaimOrder, CloseOrder, Refusal
from harpoon.control.work_errand import Errand
from harpoon.control.work_sent import Sent
from harpoon.core.exchange import Asker
from harpoon.core.offers import AttemptId, Offer, SessionId
from harpoon.core.sessions import Session
from harpoon.core.visit import Ref
from harpoon.kit.errors import Conflict
from harpoon.model.work import ERROR_MAX, Closing, Heartbeat, WorkRequest


class Work:
    """One request of a session, until it is answered; equals itself alone."""

    def __init__(self, session: Session, asked: WorkRequest) -> None:
        loop = asyncio.get_running_loop()
        self.session = session
        self.asked = asked
        self.asker: Asker | None = None
        self.offers: tuple[Offer, ...] = ()
        #: Another request of the session took its place.
        self.is_replaced = False
        #: Done when there is no more to wait for; None: it does not wait.
        self.news: asyncio.Future[None] | None = None
        self.ended: asyncio.Future[None] = loop.create_future()
        self.closings: Sent[Refusal | None] | None = None
        self.beats: Sent[bool] | None = None
        #: Place among the closings → what became of it.
        self.results: dict[int, object] = {}
        self.claims: list[object] = []
        #: What of it concerns other instances.
        self.errand: Errand | None = None
        #: Of it, what concerns this one: places of closings, and heartbeats.
        self.places: Sequence[int] = range(len(asked.closings))
        self.kept: Sequence[Heartbeat] = asked.heartbeats

    @property
    def has_news_from_away(self) -> bool:
        """Whether other instances have told anything that the worker is to know."""
        return self.errand is not None and self.errand.away.has_news

    def take(self, offers: tuple[Offer, ...]) -> None:
        """Take what it was dealt; it waits no longer."""
        self.offers = offers
        self.wake()

    def wake(self) -> None:
        """End its waiting."""
        if self.news is not None and not self.news.done():
            self.news.set_result(None)

    def check_place(self) -> None:
        """Raise if another request of the session took its place.

        Raises:
            Conflict: One did.
        """
        if self.is_replaced:
            raise Conflict("another request of this session took the place of this one")

    async def wait(self) -> None:
        """Wait for news, for as long as it was asked."""
        assert self.news is not None, "it waits"
        try:
            async with asyncio.timeout(self.asked.wait.total_seconds()):
                await self.news
        except TimeoutError:
            return


class Look:
    """Somebody who waits until there is something to do, and takes nothing; equals itself alone."""

    def __init__(self) -> None:
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_shown(self) -> bool:
        """Whether there was something."""
        return self.news.done() and not self.news.cancelled()

    def take(self, offers: tuple[Offer, ...]) -> None:
        """Take note that there is something."""
        assert not offers, "who looks is dealt nothing"
        self.news.set_result(None)


def attempt_id(namespace: str, item: Closing | Heartbeat) -> AttemptId:
    """Return which attempt a part of a request is about."""
    return AttemptId(namespace, item.run, item.op, item.visit, item.attempt)


def claim_order(offer: Offer, claimant: SessionId) -> ClaimOrder:
    """Return what is asked of a conductor so that a session has an attempt."""
    id_ = offer.id
    key = run_key(id_.namespace, id_.run)
    return ClaimOrder(key, Ref(id_.op, id_.visit, id_.attempt), claimant.worker, claimant.session)


def close_order(namespace: str, closing: Closing) -> CloseOrder:
    """Return what is asked of a conductor to close an attempt."""
    return CloseOrder(
        run_key(namespace, closing.run),
        Ref(closing.op, closing.visit, closing.attempt),
        closing.token,
        closing.label,
        closing.output,
        closing.error[:ERROR_MAX],
        closing.retryable,
    )


def beat_order(namespace: str, beat: Heartbeat) -> BeatOrder:
    """Return what is asked of a conductor to keep a claim."""
    return BeatOrder(run_key(namespace, beat.run), Ref(beat.op, beat.visit, beat.attempt), beat.token)
