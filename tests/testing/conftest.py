"""What the tests of the test environment share."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from harpoon.testing import Environment
from harpoon.worker import Worker
from tests.testing.shop import an_app


@pytest.fixture
def app() -> Worker:
    return an_app()


@pytest.fixture
async def env(app: Worker) -> AsyncIterator[Environment]:
    # Real time: nothing here waits for as long.
    async with asyncio.timeout(30), Environment(app) as environment:
        yield environment
