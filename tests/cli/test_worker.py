"""The verb worker: it finds the worker in the user's module, or says what is wrong."""

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal_rig import Terminal

SHOP = """
    from harpoon.worker import Worker

    class Inner:
        app = Worker("inner")

    app = Worker("shop")

    @app.handler("pay")
    async def pay(amount: float) -> int:
        return round(amount)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "corner_shop.py").write_text(textwrap.dedent(SHOP))
    (tmp_path / "burnt_shop.py").write_text("raise ValueError('no such setting')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "corner_shop"
    for name in ("corner_shop", "burnt_shop"):
        sys.modules.pop(name, None)


def test_schemas_are_shown(terminal: Terminal, shop: str) -> None:
    done = terminal.run("worker", shop, "--schemas")
    assert done.code == 0
    assert json.loads(done.out)["pay"]["input"]["required"] == ["amount"]
    assert terminal.run("worker", f"{shop}:Inner.app", "--schemas").out == "{}\n"


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("nowhere_shop", "nowhere_shop cannot be imported"),
        ("burnt_shop", "no such setting"),
        ("corner_shop:till", "there is no worker till in corner_shop"),
        ("./corner_shop.py", "write the name of a module, such as shop or shop.payments:app, and no file"),
        (":app", "write the name of a module"),
    ],
)
def test_a_place_without_a_worker_is_a_usage_error(terminal: Terminal, shop: str, place: str, told: str) -> None:
    done = terminal.run("worker", place)
    assert done.code == 2
    assert told in done.err
    assert ("Traceback" in done.err) is (place == "burnt_shop")
