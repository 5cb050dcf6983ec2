"""One engine for all tests of containers that leave it as it is; those that break it have one of their own."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.engine import TestEngine, an_engine


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[TestEngine]:
    with (
        tempfile.TemporaryDirectory(prefix="hpt", dir="/var/tmp") as directory,
        an_engine(Path(directory) / "e") as one,
    ):
        yield one


@pytest.fixture
def engine(shared_engine: TestEngine) -> Iterator[TestEngine]:
    yield shared_engine
    shared_engine.wipe()


@pytest.fixture
def own_engine() -> Iterator[TestEngine]:
    with (
        tempfile.TemporaryDirectory(prefix="hpt", dir="/var/tmp") as directory,
        an_engine(Path(directory) / "e", 2) as one,
    ):
        yield one
