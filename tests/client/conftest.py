"""What the tests of the client share."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from harpoon.client import Client
from tests.cli.fake_server import FakeServer, a_server


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with a_server() as fake:
        yield fake


@pytest_asyncio.fixture
async def client(server: FakeServer) -> AsyncIterator[Client]:
    async with Client(server.url, token="0123456789abcdef") as one:
        yield one
