"""What is exchanged: attempts that wait for a worker, and what is said of them."""

from enum import Enum, auto
from typing import Final, NamedTuple

from harpoon.model.operation import OF_ENGINE

#: Stands for the namespace where something is for all of them.
EVERY_NAMESPACE: Final = ""


class AttemptId(NamedTuple):
    """Which attempt, of all there are."""

    namespace: str
    run: str
    op: str
    visit: int
    attempt: int


class SessionId(NamedTuple):
    """Which session of which worker, of all there are."""

    namespace: str
    worker: str
    session: str
    #: The instance that passes on what it asks; empty: it asks here.
    via: str = ""


class Limit(NamedTuple):
    """How many attempts may be claimed at once under a key; keys are a namespace's."""

    key: str
    most: int


class Offer(NamedTuple):
    """An attempt that a worker may claim."""

    id: AttemptId
    workflow: str
    handler: str
    #: Not before, UTC milliseconds.
    ready_ms: int
    #: Of its input, in bytes, as far as an answer grows by it.
    size: int = 0
    limit: Limit | None = None
    #: For whoever offers it; means nothing here.
    subject: object = None


class Lane(NamedTuple):
    """Whose line: a handler's, in a namespace; the engine's own handlers have one line each for all of them."""

    namespace: str
    handler: str


def lane_of(namespace: str, handler: str) -> Lane:
    """Return the line in which attempts of a namespace wait for a handler."""
    return Lane(EVERY_NAMESPACE if handler.startswith(OF_ENGINE) else namespace, handler)


class Stand(Enum):
    """Where an attempt stands in the exchange."""

    #: To be tried again, but not yet.
    LATER = auto()
    IN_LINE = auto()
    #: Its limit is reached.
    PARKED = auto()
    #: Picked for a worker, or claimed by it.
    CLAIMED = auto()


class Entry:
    """An offer and where it stands; it equals itself alone."""

    __slots__ = ("claimant", "has_place", "is_called", "lane", "offer", "progress", "stand")

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        #: The line it belongs to.
        self.lane = lane_of(offer.id.namespace, offer.handler)
        self.stand = Stand.IN_LINE
        #: Was parked, and is in line again because its limit has room.
        self.is_called = False
        #: Who has it, or is about to.
        self.claimant: SessionId | None = None
        #: It has one of its claimant's places.
        self.has_place = False
        #: How far that is, as it said last.
        self.progress: object = None
