"""What the tests of the command line share."""

from collections.abc import Iterator

import pytest

from tests.cli.fake_server import FakeServer, a_server
from tests.cli.terminal_rig import Terminal


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(capsys, monkeypatch)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with a_server() as fake:
        yield fake
