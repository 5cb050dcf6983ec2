"""What the doors are given. They own nothing of it and start nothing of it."""

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta

from aiohttp import web
from prometheus_client import CollectorRegistry

from harpoon.agent.client import AgentClient
from harpoon.api.limits import Limits
from harpoon.client.peer import PeerClient
from harpoon.control.bookings import Bookings
from harpoon.control.cordons import Cordons
from harpoon.control.cron_orders import CronOrders
from harpoon.control.keyed_signals import KeyedSignals
from harpoon.control.past import Past
from harpoon.control.peers import Peer
from harpoon.control.rebalancing import Rebalancer
from harpoon.control.registry import Registry
from harpoon.control.roster import Roster
from harpoon.control.run_status import RunStatus
from harpoon.control.runs import Runs
from harpoon.control.sharing import Sharing
from harpoon.control.steering import Steering
from harpoon.control.view import View
from harpoon.control.work import WorkExchange
from harpoon.control.workflows import Workflows
from harpoon.kit.clock import Clock
from harpoon.store.port import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Everything the HTTP API needs of the instance it belongs to."""

    view: View
    registry: Registry
    #: Which agents there are; it takes their registrations.
    roster: Roster
    #: What operators decide of agents.
    cordons: Cordons
    #: What they decide of rollouts.
    steering: Steering
    #: What they decide of cron jobs.
    cron_orders: CronOrders
    #: Has tasks moved.
    rebalancer: Rebalancer
    #: For history that the view no longer keeps; the doors never write to it.
    store: Store
    #: The name of this running process.
    instance: str
    clock: Clock
    #: Opens the client of an agent, by the agent's name, to pass its logs on.
    logs: Callable[[str], AgentClient]
    #: Once set, streams and waits end with a last word.
    drain: asyncio.Event
    #: What ``/metrics`` shows; the doors add their own.
    metrics: CollectorRegistry
    #: The index that slots are placed by, for reading; None: nothing is scheduled here, or not yet.
    bookings: Callable[[], Bookings | None] = lambda: None
    #: What stood before; None: no history is kept here.
    past: Past | None = None
    #: Brings workers and their work together; None: no runs are conducted here.
    work: WorkExchange | None = None
    #: Keeps limits together with other instances; None: this one is alone.
    sharing: Sharing | None = None
    #: Where the other instances reach this one; empty: nowhere.
    url: str = ""
    #: How the other instances stood when they were asked last; None: this one asks nobody now.
    peers: Callable[[], Mapping[str, Peer] | None] = lambda: None
    #: Passes requests on to them; None: to nobody.
    peer_client: PeerClient | None = None
    #: Who conducts which run, and reads those that are over; with it go the three below. None: there are no runs here.
    runs: Runs | None = None
    #: Signals that name no run.
    keyed: KeyedSignals | None = None
    #: What workflows users declare.
    workflows: Workflows | None = None
    #: How runs stand.
    run_status: RunStatus | None = None
    #: How long an agent is not reached before it counts as lost.
    lost_after: timedelta = timedelta(seconds=30)
    #: The bearer token every request must show; None: no authentication, for loopback only.
    token: str | None = None
    limits: Limits = field(default_factory=Limits)


DOORS: web.AppKey[Doors] = web.AppKey("doors", Doors)
#: When a mutation is given up; one that goes on for as long as its body takes puts it off.
DEADLINE: ContextVar[asyncio.Timeout] = ContextVar("deadline")
