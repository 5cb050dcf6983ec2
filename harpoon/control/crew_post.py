"""What the crew has: a post for each connector, and there the attempts that were dealt for it.

An attempt that is held knows what is to be told of it: its claim, its heartbeats and its closing, as orders for the
conductor of its run. When they are told is `harpoon.control.connecting`'s.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from harpoon.control.connector_port import Connector, Order, Outcome
from harpoon.control.ledger_records import run_key
from harpoon.control.orders import BeatOrder, ClaimOrder, CloseOrder
from harpoon.control.work_told import Subject
from harpoon.core.exchange import Asker
from harpoon.core.offers import AttemptId, Offer, SessionId
from harpoon.core.visit import Ref

#: What claims of the crew say who has them.
WORKER: Final = "harpoon"


class State(Enum):
    """How far an attempt is that the crew has."""

    #: It was dealt, and its claim is on its way.
    CLAIMING = auto()
    #: The connector is at it.
    BEGUN = auto()
    #: What came of it is on its way.
    CLOSING = auto()
    #: It is not the crew's any more.
    OVER = auto()


class Held:
    """An attempt that the crew has; it equals itself alone."""

    __slots__ = ("id", "offer", "order", "outcome", "state", "task", "token")

    def __init__(self, offer: Offer) -> None:
        self.id = offer.id
        self.offer = offer
        self.state = State.CLAIMING
        self.token = ""
        self.order: Order | None = None
        self.outcome = Outcome()
        self.task: asyncio.Task[None] | None = None

    @property
    def beat_ms(self) -> int:
        """After how long without a heartbeat its claim is lost."""
        return self._subject.run.graph.nodes[self.id.op].pace.heartbeat_ms

    def claim(self, instance: str) -> ClaimOrder:
        """Return by what it is claimed for the crew of an instance."""
        return ClaimOrder(run_key(*self.id[:2]), Ref(*self.id[2:]), WORKER, instance)

    def claimed(self, token: str, *, is_resumed: bool) -> None:
        """Take note of its claim, and so of what its connector is to do."""
        id_, (run, attempt) = self.id, self._subject
        spec = run.graph.nodes[id_.op].spec
        due_ms = attempt.ready_ms + spec.timeout_ms if attempt.claim is None else attempt.claim.due_ms
        key = f"{id_.namespace}/{id_.run}/{id_.op}/{id_.visit}"
        self.token = token
        self.order = Order(
            id_.namespace, id_.run, self.offer.workflow, attempt.ref, spec, attempt.input, key, due_ms, is_resumed
        )

    def beat(self) -> BeatOrder:
        """Return by what its claim is kept."""
        return BeatOrder(run_key(*self.id[:2]), Ref(*self.id[2:]), self.token)

    def close(self) -> CloseOrder:
        """Return by what it is closed, as its outcome has it."""
        outcome = self.outcome
        return CloseOrder(
            run_key(*self.id[:2]),
            Ref(*self.id[2:]),
            self.token,
            outcome.label,
            outcome.output,
            outcome.error,
            outcome.is_retryable,
            outcome.after_ms,
        )

    @property
    def _subject(self) -> Subject:
        assert isinstance(self.offer.subject, Subject), "what is offered here has a subject"
        return self.offer.subject


class Post:
    """One connector, and what it has; it is who takes what is dealt for it.

    Args:
        connector: It.
        session: By which the exchange knows it.
        claim: Called, soon, once something was dealt.
    """

    def __init__(self, connector: Connector, session: SessionId, claim: Callable[["Post"], None]) -> None:
        self.connector = connector
        self.session = session
        self.asker = Asker(session, (connector.handler,), connector.most, connector.most)
        self.is_asking = False
        #: Until then nothing is asked for: what was dealt could not be claimed.
        self.is_resting = False
        self.held: dict[AttemptId, Held] = {}
        #: Dealt, and not looked at.
        self.dealt: list[Offer] = []
        self._claim = claim

    @property
    def room(self) -> int:
        """How many more it takes."""
        return max(0, self.connector.most - len(self.held) - len(self.dealt))

    def take(self, offers: tuple[Offer, ...]) -> None:
        """Take what was dealt."""
        self.is_asking = False
        if not self.dealt:
            asyncio.get_running_loop().call_soon(self._claim, self)
        self.dealt += offers
