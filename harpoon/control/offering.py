"""What the exchange is told of the events of a run: what may be claimed from now on, and what may not any more."""

from collections.abc import Iterable

from harpoon.control.draft import Draft
from harpoon.control.exchange_port import Exchange
from harpoon.core.event import Closed, Event, Moved, Opened, Paused, Resumed, RetriedFrom, SetTo
from harpoon.core.run import Run
from harpoon.core.visit import Attempt, Ref
from harpoon.model.label import CANCELLED


def tell(exchange: Exchange, run: Run, events: Iterable[Event], by: Ref | None, draft: Draft) -> None:
    """Tell the exchange what comes of events that a run has folded, and is not over by.

    Args:
        exchange: Who is told.
        run: As it stands after them.
        events: In order.
        by: The attempt whose worker has brought them about.
        draft: What they become durable with.
    """
    ready: list[Attempt | None] = []
    for event in events:
        opened: tuple[Opened, ...] = getattr(event, "opened", ())
        match event:
            case Closed():
                _withdraw(exchange, run, event, by, draft)
                if event.retry_ms is not None:
                    ready.append(run.ready.get((event.op, event.visit)))
            case Resumed():
                ready += run.ready.values()
            case Moved():
                # They may be for others now.
                exchange.withdrawn(run, [attempt.ref for attempt in run.ready.values()], "moved", draft)
                ready += run.ready.values()
            case RetriedFrom() | SetTo():
                exchange.withdrawn(run, *_taken_away(event), draft)
            case Paused():
                exchange.withdrawn(run, [attempt.ref for attempt in run.ready.values()], "paused", draft)
            case _:
                pass
        ready += [run.ready.get((each.op, each.visit)) for each in opened]
    offered = [attempt for attempt in ready if attempt is not None]
    if offered and not run.is_paused:
        exchange.ready(run, offered)


def _withdraw(exchange: Exchange, run: Run, event: Closed, by: Ref | None, draft: Draft) -> None:
    """Tell what may not be claimed any more, or is no longer its worker's."""
    ref = Ref(event.op, event.visit, event.attempt)
    if ref != by:
        exchange.withdrawn(run, (ref,), event.label, draft)
    if event.cancelled:
        exchange.withdrawn(run, [Ref(*each) for each in event.cancelled], CANCELLED, draft)


def _taken_away(event: RetriedFrom | SetTo) -> tuple[list[Ref], str]:
    """Return what a repair closes that was open, and what its claimants are told."""
    refs = [Ref(*ref) for ref in event.cancelled]
    if isinstance(event, RetriedFrom):
        return refs, f"{event.op} is done anew"
    if event.attempt:
        refs.append(Ref(event.op, event.visit, event.attempt))
    return refs, f"it was closed as {event.label} by hand"
