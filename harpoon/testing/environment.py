"""The environment that a test runs workflows in: a server and workers in this process, and time that it alone moves."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import orjson

from harpoon.control.batch_starts import key_of, start_batch
from harpoon.control.ledger_records import run_key
from harpoon.control.starting import named, start_all
from harpoon.kit import codec
from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.model.name import DEFAULT_NAMESPACE, check_name
from harpoon.model.run_orders import RunStart
from harpoon.model.units import format_duration
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Store
from harpoon.store.sqlite import SqliteStore
from harpoon.testing.driver import Driver
from harpoon.testing.hands import Hand, Site, means_of
from harpoon.testing.loop import LoopClock
from harpoon.testing.manifests import Source, batch_of, manifests_of
from harpoon.testing.runs import Run, Span, signal_of, span_of
from harpoon.testing.server import Server
from harpoon.testing.stand_ins import KINDS, StandIn, StandInConnector
from harpoon.worker.app import Worker
from harpoon.worker.settings import Settings

T = TypeVar("T")
#: What the clock shows when an environment begins, unless it is told.
BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
#: How long handlers in threads, and those that wait for sockets, are waited for, in real time.
PATIENCE: Final = timedelta(seconds=5)
#: What workers say in their logs.
HERE: Final = "http://in-this-process"
_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Environment:
    """A server and workers, as long as a block runs.

    ::

        async with Environment(app) as env:
            await env.apply("refund.yaml")
            run = await env.start("refund", {"order": "o-1", "amount": 20})
            await env.advance("4h")
            await run.signal("decision", label="approved")
            ended = await run.result()

    The server and the handlers are on a loop of their own, in the same thread, on which time stands still but for
    `advance`. What needs no time happens before a call returns; whatever is due while time passes happens in its order,
    and with all that follows from it before time passes any further.
    """

    def __init__(
        self,
        *workers: Worker,
        namespace: str = DEFAULT_NAMESPACE,
        store: Path | str | None = None,
        now: datetime = BEGINNING,
        patience: timedelta = PATIENCE,
        stand_ins: Mapping[str, StandIn] | None = None,
    ) -> None:
        """Begin nothing yet.

        Args:
            workers: Each is run as one process; `work` begins more.
            namespace: Where the workflows and the runs are.
            store: A file of SQLite that keeps everything, and is gone on from if it is there; None: it is kept in
                memory. A file is gone on from at a moment no earlier than it was left: say ``now``.
            now: What the clock shows first, with its zone.
            patience: Handlers in threads, and those that wait for sockets, are waited for so long in real time before
                time passes on without them.
            stand_ins: Carry out what would leave the process: ``http``, ``task`` and ``job``, each by a function.

        Raises:
            ValueError: The namespace is none, ``now`` has no zone, or nothing stands in for such a kind.
        """
        if now.tzinfo is None:
            raise ValueError(f"now needs a zone, such as {now.isoformat()}+00:00")
        self.namespace = check_name("a namespace", namespace)
        self._workers = workers
        self._path = None if store is None else Path(store)
        self._began_ms = (now - _EPOCH) // _MILLISECOND
        self._patience = patience
        self._stand_ins = dict(stand_ins or {})
        if unknown := sorted(self._stand_ins.keys() - KINDS.keys()):
            raise ValueError(f"stand_ins are for {', '.join(KINDS)}; got {', '.join(unknown)}")
        self._site = Site()
        self._lives, self._hands = count(1), count(1)
        #: Of those that the environment began with, in their order.
        self.hands: tuple[Hand, ...] = ()
        self._alive: list[Hand] = []
        self._store: Store | None = None
        self._life: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._life is not None:
            raise RuntimeError("an environment is entered once; make another")
        driver = self._driver = Driver(self._patience)
        self._clock = LoopClock(driver.loop, self._began_ms)
        self._advancing = asyncio.Lock()
        try:
            store = self._store = await driver.call(self._open_store())
            driver.is_busy = lambda: bool(store.health().gauges.get("waiting", 0)) or self._listens()
            await self._begin()
            self.hands = tuple([self._hand(app, None) for app in self._workers])
            await driver.settle()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        driver = self._driver
        try:
            for hand in self._alive:
                await hand.kill()
            await self._end()
            if self._store is not None:
                await driver.call(self._store.close())
        finally:
            await driver.close()

    @property
    def now(self) -> datetime:
        """What the clock shows, in UTC."""
        return _EPOCH + self._clock.now().wall * _MILLISECOND

    @property
    def server(self) -> Server:
        """The server that is there: its parts, as `harpoon.control` has them."""
        return self._site.server

    async def apply(self, workflow: Source) -> tuple[str, ...]:
        """Declare a workflow, or those of a file; return their names.

        Args:
            workflow: Built in Python, a manifest as a mapping, or the path of a file of YAML or JSON.

        Raises:
            Invalid: It has flaws, all of which are told; or it has no bound.
        """

        async def put() -> tuple[str, ...]:
            found = manifests_of(workflow, self.namespace)
            for manifest in found:
                await self.server.declare(manifest)
            return tuple([manifest.metadata.name for manifest in found])

        return await self.ask(put())

    async def start(
        self,
        workflow: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,  # noqa: A002 as in the API
        tags: Mapping[str, str] | None = None,
        deadline: Span | None = None,
    ) -> Run:
        """Start a run; return it once all has happened that needs no time to pass.

        Args:
            workflow: The name of one that was declared.
            inputs: By their names; what JSON can hold.
            id: What the run is called: the same start again is the same run. Left out, it is ``<workflow>-<number>``.
            tags: To select it by.
            deadline: Shorter than that of the workflow.

        Raises:
            Invalid: The inputs are not those of the workflow, or the run cannot be called so.
            NotFound: There is no such workflow.
            Reused: Another start had that id.
        """
        order: dict[str, Any] = {"workflow": workflow, "inputs": dict(inputs or {}), "tags": dict(tags or {})}
        if deadline is not None:
            order["deadline"] = format_duration(span_of(deadline))

        async def begin() -> str:
            called = id or await self._fresh(workflow)
            body = _json({**order, "id": called})
            start = named(codec.decode(RunStart, body), self.namespace, None)
            conductor = self.server.conductor(start.key(self.namespace))
            [told] = await start_all(self.server.workflows, conductor, self.namespace, [start])
            if isinstance(told, HarpoonError):
                raise told
            return told.id

        return self.run(await self.ask(begin()))

    async def batch(self, manifest: Mapping[str, Any] | Path | str) -> Run:
        """Start a batch; return its run once all has happened that needs no time to pass.

        Args:
            manifest: As a mapping, or the path of a file of YAML or JSON.

        Raises:
            Invalid: It has flaws, all of which are told; or it has no bound.
            Reused: Another one had its name.
        """
        read = batch_of(manifest, self.namespace)

        async def begin() -> str:
            return (await start_batch(self.server.workflows, self.server.conductor(key_of(read)), read)).id

        return self.run(await self.ask(begin()))

    def run(self, id: str) -> Run:  # noqa: A002 as in the API
        """Return a run that was started before, by its id."""
        return Run(self, id)

    async def signal(
        self,
        name: str,
        *,
        key: str,
        label: str = "done",
        payload: Any = None,
        id: str | None = None,  # noqa: A002 as in the API
    ) -> str | None:
        """Send a signal to one run that waits for it with a key, once; return its id. More at `Run.signal`.

        None: no run has it yet; it is kept for 7 days, for the first that waits.

        Raises:
            Invalid: It cannot be called so, or its payload is too large.
            Conflict: So many are kept already that it is not.
        """
        signal = signal_of(name, key, label, payload, id)
        await self.ask(self.server.keyed.send(self.namespace, signal))
        return await self.ask(self.server.keyed.receiver(self.namespace, signal, 0))

    async def advance(self, span: Span) -> None:
        """Let time pass: all that is due on the way happens when it is due, and with all that follows from it.

        Args:
            span: How much, such as ``90s``, ``4h``, or a `timedelta`.
        """
        await self.pass_time(span_of(span), lambda: False)

    async def settle(self) -> None:
        """Return once all has happened that needs no time to pass: for what a test has set off by itself."""
        await self._driver.settle()

    async def work(self, app: Worker, *, name: str | None = None) -> Hand:
        """Begin another worker, as if it were a process of its own.

        Args:
            app: Its handlers.
            name: What it calls itself, unlike any other; else it is numbered.

        Raises:
            Invalid: It has no handlers.
        """
        hand = self._hand(app, name)
        await self._driver.settle()
        return hand

    async def restart(self) -> None:
        """Have the server be killed, and another one go on with what was stored; workers live, and ask it again."""
        await self._end()
        await self._begin()
        await self._driver.settle()

    # What runs ask.

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done on the environment's loop, and all that follows from it."""
        told = await self._driver.call(work)
        await self._driver.settle()
        return told

    async def pass_time(self, span: timedelta, until: Callable[[], bool]) -> None:
        """Let time pass, at most so much, until something holds."""
        async with self._advancing:
            await self._driver.advance(span, until)

    # The parts.

    async def _open_store(self) -> Store:
        if self._path is None:
            return MemoryStore(clock=self._clock)
        return await SqliteStore.open(self._path, clock=self._clock, synchronous="NORMAL")

    async def _begin(self) -> None:
        store = self._store
        assert store is not None, "it is open"
        instance = f"testing-{next(self._lives)}"
        connectors = [StandInConnector(kind, self._stand_ins.get(kind)) for kind in KINDS]
        server = await self._driver.call(Server.open(store, self._clock, instance, connectors))
        is_up = asyncio.Event()
        self._life = self._driver.spawn(server.run(is_up), name=f"server {instance}")
        await self._driver.call(_awaited(is_up))
        self._site.enter(server)

    async def _end(self) -> None:
        self._site.leave()
        if self._life is not None:
            await self._driver.end(self._life)

    def _hand(self, app: Worker, name: str | None) -> Hand:
        if not app.handlers:
            raise Invalid(f"worker {app.name} has no handlers; decorate functions with @{app.name}.handler")
        called = name or f"{app.name}-{next(self._hands)}"
        settings = Settings(servers=(HERE,), name=called, namespace=self.namespace)
        hand = Hand(app, called, self._driver, settings, means_of(self._site, self._driver.loop, self._clock))
        self._alive.append(hand)
        return hand

    async def _fresh(self, workflow: str) -> str:
        """Return an id that no run has."""
        for number in count(1):
            called = f"{workflow}-{number}"
            if await self.server.runs.reader.header(run_key(self.namespace, called)) is None:
                return called
        raise AssertionError("numbers do not end")

    def _listens(self) -> bool:
        """Whether a handler may be waiting for a socket."""
        return self._driver.loop.has_sockets and self.server.is_at_work()


async def _awaited(event: asyncio.Event) -> None:
    await event.wait()


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise Invalid(f"inputs are what JSON can hold: {error}") from error
