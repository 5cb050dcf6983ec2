"""What a worker's request asks of the conductors: sent to each at once, awaited together.

Everything is decided as it is sent, so that what one request brings back and what it takes go into the same commits;
what is told of it is awaited after all of it was sent.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from harpoon.control.orders import BeatOrder, ClaimOrder, CloseOrder, Granted, Refusal
from harpoon.kit.errors import Unavailable


class Conducting(Protocol):
    """A conductor, as far as workers are concerned; see `harpoon.control.conductor`."""

    def claim(self, orders: Sequence[ClaimOrder], /) -> Awaitable[list[Granted | Refusal]]:
        """Give attempts to workers; tell of each, in the same order, by which token, or why not."""

    def close(self, orders: Sequence[CloseOrder], /) -> Awaitable[list[Refusal | None]]:
        """Close attempts; tell of each, in the same order, why not, or None."""

    def beat(self, orders: Sequence[BeatOrder], /) -> Awaitable[list[bool]]:
        """Keep claims; tell of each, in the same order, whether it is the worker's still."""


#: Who conducts a run here, by its key; None: nobody does.
ConductorOf = Callable[[str], Conducting | None]

Order = TypeVar("Order", ClaimOrder, CloseOrder, BeatOrder)
R = TypeVar("R")


class Sent(Generic[R]):
    """Orders that were given, and what is to be told of them."""

    def __init__(self, count: int, shares: Sequence[tuple[Sequence[int], Awaitable[list[R]]]]) -> None:
        self._count = count
        self._shares = shares

    async def told(self, unknown: R) -> list[R]:
        """Return what is told of each, once that is durable; ``unknown`` where nobody here knows."""
        told = [unknown] * self._count
        for places, landing in self._shares:
            for place, one in zip(places, await landing, strict=True):
                told[place] = one
        return told


def send(
    orders: Sequence[Order],
    conductor_of: ConductorOf,
    give: Callable[[Conducting, Sequence[Order]], Awaitable[list[R]]],
) -> Sent[R]:
    """Give orders to whom they concern; of what nobody conducts here, or cannot take now, nothing will be known."""
    places: dict[Conducting, list[int]] = {}
    for place, order in enumerate(orders):
        conductor = conductor_of(order.run)
        if conductor is not None:
            places.setdefault(conductor, []).append(place)
    shares = []
    for conductor, own in places.items():
        try:
            shares.append((own, give(conductor, [orders[place] for place in own])))
        except Unavailable:
            continue
    return Sent(len(orders), shares)
