"""A conductor, the work exchange, and the crew with connectors that tests hold the strings of."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from harpoon.control.connecting import Connecting
from harpoon.control.connector_port import Order, Outcome, Report
from harpoon.control.work import WorkExchange
from harpoon.model.http import Http
from harpoon.model.operation import Operation
from harpoon.store.memory import MemoryStore
from tests.control.stage import Stage
from tests.core.flow import _edges


def call(url: str = "http://a.example/", told: dict[str, Any] | None = None, **fields: Any) -> Operation:
    """An operation that the engine carries out itself."""
    return Operation(http=Http(url=url, **(told or {})), **_edges(fields))


class Strings:
    """A connector whose attempts end when the test says so; it notes what becomes of each."""

    handler = ":http"

    def __init__(self, most: int = 100, *, resumes: bool = False) -> None:
        self.most = most
        self.resumes = resumes
        self.orders: list[Order] = []
        self.open: dict[str, asyncio.Future[Outcome]] = {}
        self.reports: dict[str, Report] = {}
        self.cancelled: list[str] = []
        self.abandoned: list[tuple[str, str]] = []
        self.peak = 0
        #: Called with each order; what it returns is what comes of it at once.
        self.at_once: Callable[[Order], Outcome | None] = lambda _order: None
        self.unwilling: Exception | None = None

    async def carry_out(self, order: Order, report: Report) -> Outcome:
        name = f"{order.run}.{order.ref.op}.{order.ref.visit}.{order.ref.attempt}"
        self.orders.append(order)
        outcome = self.at_once(order)
        if outcome is not None:
            return outcome
        self.open[name] = asyncio.get_running_loop().create_future()
        self.reports[name] = report
        self.peak = max(self.peak, len(self.open))
        try:
            return await self.open[name]
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        finally:
            del self.open[name]

    async def abandon(self, order: Order, reason: str) -> None:
        self.abandoned.append((f"{order.run}.{order.ref.op}.{order.ref.visit}.{order.ref.attempt}", reason))
        if self.unwilling is not None:
            raise self.unwilling

    def end(self, name: str, *outcome: Any) -> None:
        """Have an attempt end."""
        self.open[name].set_result(Outcome(*outcome))


class Site:
    """A shard with its conductor, the exchange and the crew."""

    def __init__(self, store: MemoryStore, told: Any, connectors: Iterable[Any], name: str) -> None:
        self.stage = Stage(store, told, name)
        self.is_found = True
        self.exchange = WorkExchange(self.conductor_of, self.stage.clock)
        self.stage.notes = self.exchange  # type: ignore[assignment]
        self.crew = Connecting(self.exchange, self.conductor_of, name, connectors)

    def conductor_of(self, _key: str) -> Any:
        return self.stage.conductor if self.is_found else None

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(5):
            while not holds():
                await asyncio.sleep(0)

    async def ended(self, *runs: str) -> list[str]:
        """Return how runs ended, once all have."""
        await self.until(lambda: not any(f"shop/{run}" in self.stage.conductor.runs for run in runs))
        await self.until(lambda: self.stage.ledger.is_idle)
        return [str((await self.stage.stored(run))[0].status) for run in runs]

    @asynccontextmanager
    async def at_work(self, hold: Any = None) -> AsyncIterator[None]:
        """Conduct the shard, with the crew; whatever that ended by is raised at the end of the block."""
        working = asyncio.ensure_future(self.crew.run())
        try:
            async with self.stage.at_work(hold):
                yield
                working.cancel()
                await asyncio.wait((working,))
        finally:
            working.cancel()
            await asyncio.wait((working,))
            if not working.cancelled():
                working.result()


@asynccontextmanager
async def a_site(
    told: Any, *connectors: Any, store: MemoryStore | None = None, hold: Any = None, name: str = "me"
) -> AsyncIterator[Site]:
    site = Site(store or MemoryStore(), told, connectors, name)
    async with site.at_work(hold):
        yield site
