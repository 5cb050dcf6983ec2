"""Builders for tests of the exchange."""

from collections.abc import Sequence

from harpoon.core.exchange import Asker, Deal, Exchange
from harpoon.core.offers import AttemptId, Lane, Limit, Offer, SessionId

LANE = Lane("default", "pack")


def an_id(run: str = "r1", op: str = "a", visit: int = 1, attempt: int = 1, *, namespace: str = "default") -> AttemptId:
    return AttemptId(namespace, run, op, visit, attempt)


def an_offer(
    run: str = "r1",
    op: str = "a",
    *,
    workflow: str = "ship",
    handler: str = "pack",
    ready_ms: int = 0,
    limit: tuple[str, int] | None = None,
    size: int = 0,
    attempt: int = 1,
    namespace: str = "default",
) -> Offer:
    return Offer(
        an_id(run, op, 1, attempt, namespace=namespace),
        workflow,
        handler,
        ready_ms,
        size,
        None if limit is None else Limit(*limit),
    )


def a_session(worker: str = "w1", session: str = "s1", *, namespace: str = "default") -> SessionId:
    return SessionId(namespace, worker, session)


def an_asker(worker: str = "w1", *, handlers: Sequence[str] = ("pack",), want: int = 1) -> Asker:
    return Asker(a_session(worker), handlers, want)


def take(exchange: Exchange, asker: Asker, now_ms: int = 0) -> list[Offer]:
    """Ask, deal, and return what the asker got; it waits no longer."""
    exchange.ask(asker)
    offers = [offer for deal in exchange.deal(now_ms) for offer in deal.offers if deal.asker is asker]
    exchange.leave(asker)
    return offers


def runs(offers: Sequence[Offer]) -> list[str]:
    return [offer.id.run for offer in offers]


def ops(offers: Sequence[Offer]) -> list[str]:
    return [offer.id.op for offer in offers]


def got(deals: Sequence[Deal]) -> dict[str, list[str]]:
    """Worker → the operations it was dealt."""
    return {deal.asker.session.worker: ops(deal.offers) for deal in deals}
