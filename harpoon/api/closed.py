"""Doors to a history that nobody writes any more: an imported one, or that of a server that is off.

They are the very doors of a server, over a store that holds the last state kept and refuses to be written.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from prometheus_client import CollectorRegistry

from harpoon.api.app import make_app
from harpoon.api.doors import Doors
from harpoon.api.site import run_site
from harpoon.control.cordons import Cordons
from harpoon.control.cron_orders import CronOrders
from harpoon.control.past import Closed, Past, moment_of
from harpoon.control.rebalancing import Rebalancer
from harpoon.control.registry import Registry
from harpoon.control.roster import Roster
from harpoon.control.steering import Steering
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, Invalid
from harpoon.store.past.archive import frozen, of_registry
from harpoon.store.past.fold import NotKept, Revision, fold
from harpoon.store.past.frozen import FrozenStore

#: What it calls itself.
INSTANCE: Final = "history"


async def serve_closed(
    directory: Path, host: str, port: int, *, clock: Clock, stop: asyncio.Event, ready: Callable[[int], None]
) -> None:
    """Answer from a directory until ``stop`` is set; without ``?at=``, from the last state that it keeps.

    Raises:
        Invalid: It holds no history that can be read, or the address can be reached from other machines.
        Unavailable: The address cannot be listened at.
    """
    doors = await asyncio.to_thread(_doors, directory, clock)
    async with asyncio.TaskGroup() as group:
        site = group.create_task(run_site(make_app(doors), host, port, on_ready=ready))
        stopping = group.create_task(stop.wait())
        await asyncio.wait((site, stopping), return_when=asyncio.FIRST_COMPLETED)
        doors.drain.set()
        stopping.cancel()


def _doors(directory: Path, clock: Clock) -> Doors:
    try:
        spans = frozen(directory)
    except OSError as error:
        raise Invalid(f"{directory}: {error.strerror or error}") from error
    if not spans:
        raise Invalid(f"{directory} holds no history")
    last = spans[-1]
    try:
        moment = moment_of(fold(last, Revision(last.about.incarnation, last.end)))
    except NotKept as error:
        raise Invalid(f"{directory}: {error}") from error
    view, store = moment.view, FrozenStore(moment.state, str(directory))
    registry = Registry(store, view, clock)
    return Doors(
        view=view,
        registry=registry,
        roster=Roster(store, view),
        cordons=Cordons(store, view, clock),
        steering=Steering(store, view, registry, clock),
        cron_orders=CronOrders(store, view, registry, clock),
        rebalancer=Rebalancer(store, view, clock),
        store=store,
        instance=INSTANCE,
        clock=clock,
        logs=_no_logs,
        drain=asyncio.Event(),
        metrics=CollectorRegistry(),
        bookings=lambda: moment.bookings,
        past=Past(Closed(directory, of_registry(spans, last.about.id)), view, clock),
    )


def _no_logs(agent: str) -> NoReturn:
    raise Conflict(f"this is a history: agent {agent} is not asked for logs")
