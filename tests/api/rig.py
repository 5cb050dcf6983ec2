"""A rig for the doors: the real view, registry and store in memory behind a real socket."""

import asyncio
import atexit
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from harpoon.api.app import make_app
from harpoon.api.doors import Doors
from harpoon.api.limits import Limits
from harpoon.api.site import run_site
from harpoon.client.peer import PeerClient
from harpoon.control.cordons import Cordons
from harpoon.control.cron_orders import CronOrders
from harpoon.control.keyed_signals import KeyedSignals
from harpoon.control.keyring import Keyring, new_key
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.past import Past
from harpoon.control.peers import Peer
from harpoon.control.rebalancing import Rebalancer
from harpoon.control.registry import Registry
from harpoon.control.roster import Roster
from harpoon.control.run_reader import RunReader
from harpoon.control.run_status import RunStatus
from harpoon.control.runs import Runs
from harpoon.control.sharing import Sharing, homes_of
from harpoon.control.steering import Steering
from harpoon.control.view import (
    ACTUAL,
    AGENTS,
    BATCHES,
    CORDONS,
    JOBS,
    LINKS,
    MOVES,
    PENDING,
    PLACEMENTS,
    ROLLOUTS,
    View,
)
from harpoon.control.work import WorkExchange
from harpoon.control.workflows import Workflows
from harpoon.kit import codec
from harpoon.kit.clock import Random, SystemClock
from harpoon.kit.loop import Pace
from harpoon.model.agent import Agent, Cordon, Link
from harpoon.model.batch import BatchRecord
from harpoon.model.decision import Pending
from harpoon.model.instance import Holder, Instance
from harpoon.model.job import Job
from harpoon.model.rebalance import MoveRecord
from harpoon.model.rollout import RolloutRecord
from harpoon.model.task import Placement, Task
from harpoon.store.cluster import Cluster
from harpoon.store.hold import HOLDS, INSTANCES
from harpoon.store.memory import MemoryStore
from harpoon.store.past.budget import Budget
from harpoon.store.past.recorder import Recorder, Recording
from harpoon.store.port import Delete, Put, Store
from tests.ports import free_port

PATIENCE_S = 10
TOKEN = "correct-horse-battery"
Record = Job | Placement | Pending | Agent | Link | Cordon | Task | Instance | RolloutRecord | MoveRecord | BatchRecord


def a_manifest(name: str = "web", *, namespace: str = "default", scale: int = 2, **more: Any) -> dict[str, Any]:
    """A manifest as a user sends it."""
    return {
        "apiVersion": "harpoon/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "tags": more.pop("tags", {})},
        "spec": {"scale": scale, "task": {"command": ["serve"], **more}},
    }


def key_of(record: Record) -> str:
    """The key under which the store has a record."""
    match record:
        case Job():
            return f"{JOBS}{record.namespace}/{record.name}"
        case Placement():
            return f"{PLACEMENTS}{record.agent}/{record.task}"
        case Pending():
            return f"{PENDING}{record.namespace}/{record.job}"
        case RolloutRecord():
            return f"{ROLLOUTS}{record.namespace}/{record.job}"
        case BatchRecord():
            return f"{BATCHES}{record.namespace}/{record.job}"
        case MoveRecord():
            return f"{MOVES}{record.move.agent}/{record.move.task}"
        case Instance():
            return INSTANCES + record.name
        case Agent():
            return AGENTS + record.name
        case Link():
            return LINKS + record.agent
        case Cordon():
            return CORDONS + record.agent
        case Task():
            return f"{ACTUAL}{record.agent}/{record.id}"


@dataclass
class Answer:
    """An answer, read whole."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Rig:
    """The doors, seen from outside, and what is behind them."""

    doors: Doors
    store: Store
    port: int
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)
    app: web.Application = field(default_factory=web.Application)

    @property
    def view(self) -> View:
        return self.doors.view

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request; underscores in headers' names are dashes, bytes are sent as they are."""
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with (
            asyncio.timeout(PATIENCE_S),
            self.session.request(method, self.url(path), data=data, headers=sent, allow_redirects=False) as response,
        ):
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, **headers)

    async def put(self, name: str = "web", *, scale: int = 2, **more: Any) -> Answer:
        """Put a job and expect that it is taken."""
        answer = await self.ask("PUT", f"/v1/namespaces/default/jobs/{name}", a_manifest(name, scale=scale, **more))
        assert answer.status in (200, 202), answer.body
        return answer

    async def write(self, *records: Record, gone: Sequence[Record] = ()) -> int:
        """Write and delete records as the control loops do, in one revision, and wait until the view shows it."""
        puts = [Put(key_of(record), codec.dump(record)) for record in records]
        revision = await self.store.commit((), [*puts, *(Delete(key_of(record)) for record in gone)])
        assert revision is not None
        await self.view.mirror.reached(revision)
        return revision

    async def hold(self, name: str, instance: str) -> int:
        """Give a hold to an instance, and wait until the view shows it."""
        revision = await self.store.commit((), [Put(HOLDS + name, codec.dump(Holder(instance=instance)))])
        assert revision is not None
        await self.view.mirror.reached(revision)
        return revision

    @asynccontextmanager
    async def watch(
        self, query: str = "", accept: str = "application/x-ndjson", **headers: str
    ) -> AsyncIterator["Reader"]:
        """Open a watch, or another stream whose path is given from its slash on."""
        path = query if query.startswith("/") else f"/v1/watch?{query}"
        sent = self.headers | {"Accept": accept} | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(self.url(path), headers=sent, read_bufsize=1 << 24) as response:
            yield Reader(response)


class Reader:
    """Reads a stream's events, whichever way they are written."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.is_sse = response.content_type == "text/event-stream"
        #: Blocks or lines as they came.
        self.raw: list[bytes] = []

    async def next(self) -> dict[str, Any] | None:
        """The next event, or None at the end; comments are told as ``{"comment": …}``."""
        async with asyncio.timeout(PATIENCE_S):
            block = await self.response.content.readuntil(b"\n\n" if self.is_sse else b"\n")
        if not block:
            return None
        self.raw.append(block)
        if not self.is_sse:
            return json.loads(block)
        lines = dict(line.partition(": ")[::2] for line in block.decode().strip().split("\n"))
        if "data" not in lines:
            return {"comment": lines.get("", ""), "retry": lines.get("retry")}
        event = json.loads(lines["data"])
        assert event["type"] == lines["event"]
        position = event.get("revision", event.get("seq"))
        assert lines.get("id") == (None if position is None else str(position))
        return event

    async def until(self, is_it: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """All events up to the one that is it, without comments."""
        events = []
        while (event := await self.next()) is not None:
            if "type" in event:
                events.append(event)
                if is_it(event):
                    return events
        raise AssertionError(f"the stream ended after {events}")

    async def until_type(self, type_: str) -> list[dict[str, Any]]:
        return await self.until(lambda event: event["type"] == type_)

    async def changes(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` changes; other events are passed over."""
        return [(await self.until_type("change"))[-1] for _ in range(count)]

    async def rest(self) -> list[dict[str, Any]]:
        """All events up to the end."""
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@cache
def key_file() -> Path:
    """The keys that secrets are encrypted with."""
    descriptor, path = mkstemp()
    atexit.register(Path(path).unlink, missing_ok=True)
    with os.fdopen(descriptor, "w") as file:
        file.write(new_key("k1"))
    return Path(path)


@asynccontextmanager
async def a_rig(
    *,
    token: str | None = None,
    limits: Limits | None = None,
    store: Store | None = None,
    registry: Callable[[Store, View], Registry] | None = None,
    logs: Callable[[str], Any] | None = None,
    grace_s: float = 2.0,
    incarnation: int = 1,
    instance: str = "s1",
    peers: Callable[[], Mapping[str, Peer] | None] = lambda: None,
    history: Path | None = None,
    work: WorkExchange | None = None,
    has_runs: bool = False,
    pace: Pace | None = None,
    is_sharing: bool = False,
) -> AsyncIterator[Rig]:
    """Doors that are open; several on one store are instances of one registry.

    With runs they may be ``is_sharing`` limits with others, once their records of instances are written.
    """
    store = store or MemoryStore()
    view = View(store, incarnation=incarnation, cluster="c1")
    await view.mirror.load()
    clock = SystemClock()
    jobs = registry(store, view) if registry else Registry(store, view, clock, Keyring(key_file()))
    recorder = None if history is None else recording(store, view, history)
    runs = Runs(view, RunReader(store)) if has_runs else None
    keyed = None if runs is None else keyed_signals(store, runs, pace)
    port, session = free_port(), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    sharing = None
    if runs is not None:
        work = WorkExchange(runs.conductor_of, clock, homes_of(instance) if is_sharing else None)
        peer = PeerClient(session)
        if is_sharing:
            means = Means(
                store=store,
                connect=_no_logs,
                clock=clock,
                rng=Random(1),
                instance=instance,
                tell_home=lambda url, body, within_s: peer.report_permits(url, body, token, within_s),
            )
            sharing = Sharing(means, view, runs, work)
    doors = Doors(
        view=view,
        registry=jobs,
        roster=Roster(store, view),
        cordons=Cordons(store, view, clock),
        steering=Steering(store, view, jobs, clock),
        cron_orders=CronOrders(store, view, jobs, clock),
        rebalancer=Rebalancer(store, view, clock),
        store=store,
        instance=instance,
        url=f"http://127.0.0.1:{port}",
        peers=peers,
        peer_client=PeerClient(session),
        clock=clock,
        past=None if recorder is None else Past(recorder, view, clock),
        logs=logs or _no_logs,
        drain=asyncio.Event(),
        metrics=CollectorRegistry(),
        token=token,
        limits=limits or Limits(),
        work=work,
        sharing=sharing,
        runs=runs,
        keyed=keyed,
        workflows=None if runs is None else Workflows(store, view, clock),
        run_status=None if runs is None else RunStatus(store, runs.reader, clock),
    )
    is_open = asyncio.Event()
    app = make_app(doors)
    async with asyncio.TaskGroup() as group, session:
        mirror = group.create_task(view.mirror.run())
        keeping = None if recorder is None else group.create_task(recorder.run())
        delivering = None if keyed is None else group.create_task(keyed.run())
        telling = None if sharing is None else group.create_task(sharing.run())
        site = group.create_task(run_site(app, "127.0.0.1", port, grace_s=grace_s, on_ready=lambda _: is_open.set()))
        await is_open.wait()
        while recorder is not None and recorder.condition.state is Recording.CATCHING_UP:
            await asyncio.sleep(0.001)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        yield Rig(doors, store, port, session, headers, app)
        doors.drain.set()
        await site
        for task in (mirror, keeping, delivering, telling):
            if task is not None:
                task.cancel()


def keyed_signals(store: Store, runs: Runs, pace: Pace | None) -> KeyedSignals:
    """What keeps signals that name no run."""
    failures = Metrics().passes_failed.labels("keyed-signals")
    return KeyedSignals(store, SystemClock(), runs, rng=Random(1), failures=failures, pace=pace)


def recording(store: Store, view: View, directory: Path) -> Recorder:
    """What keeps the history of a view's registry."""
    about = Cluster(view.cluster, view.incarnation)
    return Recorder(store, view.mirror, about=about, directory=directory, budget=Budget(), clock=SystemClock())


def _no_logs(agent: str) -> Any:
    raise AssertionError(f"nobody asks {agent} for logs here")
