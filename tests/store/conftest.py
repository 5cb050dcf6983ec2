"""What tests of stores share: a store of each kind, and reading a watch up to a revision."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harpoon.store.port import Store
from tests.store.implementations import IMPLEMENTATIONS, HandClock, Implementation


@dataclass
class Opened:
    """A store under test; `reopen` closes it and opens what it kept."""

    store: Store
    clock: HandClock
    kind: Implementation
    folder: Path

    async def reopen(self) -> None:
        await self.store.close()
        self.store = await self.kind.open(self.folder, self.clock)


@pytest.fixture(params=IMPLEMENTATIONS, ids=str)
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    clock = HandClock()
    opened = Opened(await request.param.open(tmp_path, clock), clock, request.param, tmp_path)
    yield opened
    await opened.store.close()


@pytest.fixture
def store(opened: Opened) -> Store:
    return opened.store
