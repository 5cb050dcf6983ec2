"""The server that is judged: one of the user's, by ``--server``, or one that is started for it."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.conformance.events import Event
from tests.conformance.history import History, record
from tests.conformance.judge import place_of
from tests.conformance.stir import Stir
from tests.conformance.wire import Address
from tests.system.cluster import Cluster

T = TypeVar("T")

#: A bookmark comes every 15 s; this much may be lost on the way.
BOOKMARK_S, LATE_S = 15.0, 3.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server", help="URL of the server whose watch is judged; without it, one is started")
    parser.addoption("--token-file", help="the token that this server asks for")


def in_a_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run something that awaits, for a fixture that outlives the loops of tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work()).result()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster | None]:
    """The processes that were started, or None when the server is the user's."""
    if request.config.getoption("--server", default=None):
        yield None
        return
    with Cluster(tmp_path_factory.mktemp("conformance")) as cluster:
        cluster.start_server()
        cluster.start_agent("a1")
        cluster.connected("a1")
        yield cluster


@pytest.fixture(scope="session")
def address(request: pytest.FixtureRequest, cluster: Cluster | None) -> Address:
    """Where the server is."""
    file = request.config.getoption("--token-file", default=None)
    token = Path(file).read_text().strip() if file else None
    return Address.of(cluster.url if cluster else request.config.getoption("--server"), token)


@pytest.fixture(scope="session")
def stir(address: Address) -> Iterator[Stir]:
    """Writes in a namespace of its own, which is empty afterwards."""
    stir = Stir(address)
    yield stir
    in_a_loop(stir.clean)


@pytest.fixture(scope="session")
def bookmarks(address: Address) -> "Iterator[Future[list[tuple[float, Event]]]]":
    """What a watcher is told to whom nothing happens, with the seconds since it began; read beside the tests."""

    told: list[tuple[float, Event]] = []
    listening: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def listen() -> list[tuple[float, Event]]:
        task = asyncio.current_task()
        assert task is not None
        listening.append((task.get_loop(), task))
        async with address.watch("kinds=jobs&namespace=conformance-nobody") as stream:
            begun = time.monotonic()
            while not told or told[-1][1].type != "bookmark":
                event = await stream.next(BOOKMARK_S + LATE_S)
                assert event is not None
                told.append((time.monotonic() - begun, event))
        return told

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(asyncio.run, listen())
        yield future
        if not future.done() and listening:
            # Nobody waits for it.
            loop, task = listening[0]
            loop.call_soon_threadsafe(task.cancel)


@pytest.fixture(scope="session")
def history(address: Address, stir: Stir, cluster: Cluster | None, bookmarks: object) -> History:
    """What an undisturbed reader of everything saw while much happened."""
    history = in_a_loop(lambda: record(address, stir, is_ours=cluster is not None))
    assert place_of(history.until) > place_of(history.begin)
    return history
