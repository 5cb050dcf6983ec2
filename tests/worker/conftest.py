"""What the tests of the worker share."""

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import LogCapture

from tests.worker.exchange import Exchange, Site, a_site


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def site(exchange: Exchange) -> Iterator[Site]:
    with a_site(exchange) as one:
        yield one


@pytest.fixture
def log() -> Iterator[list[dict]]:
    """What was logged, line by line."""
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture.entries
    structlog.configure(**before)
