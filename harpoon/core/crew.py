"""Who there is to do the work of a handler, and what an attempt waits for as far as workers go."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from harpoon.core.exchange import Exchange
from harpoon.core.homes import Standing
from harpoon.core.offers import AttemptId, Offer, Stand, lane_of
from harpoon.core.sessions import Session, Sessions


class Crew(NamedTuple):
    """The workers that offer one handler; of each, only its present session."""

    #: That are heard.
    workers: int
    #: Of these, the ones that want no more now.
    busy: int
    #: Attempts that they have, of any handler.
    held: int
    #: Workers that offered it and are not heard any more.
    quiet: int
    #: When the last of those was heard, UTC milliseconds; None: there are none.
    quiet_heard_ms: int | None
    #: That are leaving: they finish what they have.
    draining: int


class Wait(StrEnum):
    """What an attempt waits for."""

    #: Nothing: a worker has it.
    CLAIMED = "claimed"
    #: To be tried again, after a pause.
    BACKOFF = "backoff"
    #: Its concurrency limit is reached.
    LIMIT = "limit"
    #: No worker offers its handler.
    NO_WORKER = "no_worker"
    #: Those that offered it are not heard any more.
    UNREACHABLE = "unreachable"
    #: All that offer it have as much as they want.
    BUSY = "busy"
    #: Its workflow has its share of what the server carries out at once.
    SHARE = "share"
    #: Its turn among others.
    TURN = "turn"


class Waiting(NamedTuple):
    """What an attempt waits for, with the evidence."""

    wait: Wait
    offer: Offer
    crew: Crew
    #: How its limit's key stands; None: it has no limit.
    standing: Standing | None


def crew(exchange: Exchange, sessions: Sessions, namespace: str, handler: str, now_ms: int) -> Crew:
    """Return who offers a handler, as far as this instance has heard."""
    own = sessions.of(lane_of(namespace, handler).namespace)
    offering = [one for one in present(own) if one.is_asking and handler in one.handlers]
    heard = [one for one in offering if not one.is_quiet(now_ms)]
    able = [one for one in heard if not one.is_draining]
    quiet = [one for one in offering if one.is_quiet(now_ms) and not one.is_draining]
    return Crew(
        workers=len(able),
        busy=sum(not one.want for one in able),
        held=sum(len(exchange.held(one.id)) for one in able),
        quiet=len(quiet),
        quiet_heard_ms=max((one.heard_ms for one in quiet), default=None),
        draining=len(heard) - len(able),
    )


def waits_for(exchange: Exchange, sessions: Sessions, id_: AttemptId, now_ms: int) -> Waiting | None:
    """Return what an attempt waits for; None: it is not to be had here."""
    stand, offer = exchange.stand(id_), exchange.find(id_)
    if stand is None or offer is None:
        return None
    found = crew(exchange, sessions, id_.namespace, offer.handler, now_ms)
    standing = None if offer.limit is None else exchange.gates.standing(id_.namespace, offer.limit.key)
    wait = Wait.SHARE if exchange.is_beyond_share(id_) else _STANDS.get(stand) or _for_worker(found)
    return Waiting(wait, offer, found, standing)


def present(sessions: Iterable[Session]) -> list[Session]:
    """Return the youngest session of each worker; they are given in the order in which they came."""
    return list({one.id[:2]: one for one in sessions}.values())


_STANDS = {Stand.CLAIMED: Wait.CLAIMED, Stand.LATER: Wait.BACKOFF, Stand.PARKED: Wait.LIMIT}


def _for_worker(found: Crew) -> Wait:
    if not found.workers:
        return Wait.UNREACHABLE if found.quiet else Wait.NO_WORKER
    return Wait.BUSY if found.busy == found.workers else Wait.TURN
