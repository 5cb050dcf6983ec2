"""What tests of stores share: a store of each kind, and the revision at which the test found it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harpoon.store.port import Store
from tests.store.implementations import IMPLEMENTATIONS, Ground, Implementation


@dataclass
class Opened:
    """A store under test; `reopen` closes it and opens what it kept."""

    store: Store
    kind: Implementation
    ground: Ground
    #: Of the store when the test began, empty; not every kind begins at 0.
    base: int

    async def open_again(self) -> None:
        self.store = await self.kind.open(self.ground)

    async def reopen(self) -> None:
        await self.store.close()
        await self.open_again()

    async def outlast_leases(self) -> None:
        await self.kind.outlast_leases(self.store, self.ground)


@pytest.fixture(params=IMPLEMENTATIONS, ids=str)
def kind(request: pytest.FixtureRequest) -> Implementation:
    return request.param


@pytest.fixture
def ground(kind: Implementation, request: pytest.FixtureRequest, tmp_path: Path) -> Ground:
    if not kind.is_on_etcd:
        return Ground(folder=tmp_path)
    etcd = request.getfixturevalue("etcd")
    etcd.wipe()
    return Ground(folder=tmp_path, etcd=etcd)


@pytest.fixture
async def opened(kind: Implementation, ground: Ground) -> AsyncIterator[Opened]:
    store = await kind.open(ground)
    opened = Opened(store, kind, ground, await store.revision())
    yield opened
    await opened.store.close()


@pytest.fixture
def store(opened: Opened) -> Store:
    return opened.store


@pytest.fixture
def base(opened: Opened) -> int:
    return opened.base
