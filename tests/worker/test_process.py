"""The verb: a worker process of its own, which signals drain and end."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.worker.exchange import Exchange, Fault, Site

ROOT = Path(__file__).parents[2]
SHOP = """
    import asyncio, pathlib, time
    from harpoon.worker import Context, Worker

    app = Worker("shop")
    other = 5

    @app.handler
    async def wait_for(path: str) -> str:
        while not pathlib.Path(path).exists():
            await asyncio.sleep(0.01)
        return "ended"

    @app.handler
    def hang() -> None:
        time.sleep(60)

    @app.handler
    async def block() -> None:
        while True:
            time.sleep(0.01)

    @app.handler("pay")
    def pay(amount: float) -> int: ...
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, site: Site) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP))
    (tmp_path / "broken.py").write_text("raise ValueError('no such setting')\n")
    (tmp_path / "needy.py").write_text("import nowhere_to_be_found\n")

    def begin(*arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "harpoon", "worker", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HARPOON_SERVER": site.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_the_first_signal_drains(exchange: Exchange, start: Start, tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        exchange.requests.clear()
        go = tmp_path / f"go-{number}"
        ref = exchange.offer("wait_for", {"path": str(go)})
        process = start("shop")
        exchange.until(lambda ref=ref: bool(exchange.pieces[ref].token))
        process.send_signal(number)
        exchange.until(lambda: any(body.get("draining") for body in exchange.requests))
        go.touch()
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert exchange.closing(ref)["output"] == "ended"
        assert out == ""
        lines = [json.loads(line) for line in err.splitlines()]
        assert [line["event"] for line in lines] == ["worker_started", "worker_drains", "worker_drained"]


@pytest.mark.parametrize("handler", ["hang", "block"])
def test_the_second_signal_ends_it_at_once_whatever_it_does(exchange: Exchange, start: Start, handler: str) -> None:
    ref = exchange.offer(handler)
    process = start("shop:app")
    exchange.until(lambda: bool(exchange.pieces[ref].token))
    process.terminate()
    if handler == "hang":
        exchange.until(lambda: any(body.get("draining") for body in exchange.requests))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def test_a_worker_that_is_refused_exits_1_and_says_why(exchange: Exchange, start: Start) -> None:
    exchange.faults.append(Fault(status=401, detail="wrong token"))
    process = start("shop:app", "--namespace", "payments", "--concurrency", "7")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert json.loads(err.splitlines()[-1])["reason"] == "wrong token"
    assert exchange.heads[0]["path"] == "/v1/namespaces/payments/work"
    assert exchange.requests[0]["want"] == 7


def test_schemas_are_printed_without_a_server(start: Start) -> None:
    process = start("shop:app", "--schemas", "--server", "http://127.0.0.1:1")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert sorted(told) == ["block", "hang", "pay", "wait_for"]
    assert told["pay"]["input"]["properties"]["amount"]["type"] == "number"
    assert told["pay"]["output"]["type"] == "integer"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere:app",), "nowhere cannot be imported: No module named 'nowhere'"),
        (("shop.deep:app",), "shop.deep cannot be imported"),
        (("broken",), "no such setting"),
        (("needy",), "nowhere_to_be_found"),
        (("shop:worker",), "there is no worker worker in shop"),
        (("shop:other",), "there is no worker other in shop"),
        (("shop", "--grace", "soon"), "write a duration"),
        (("shop", "--server", "nowhere"), "a server is a URL"),
        (("shop", "--namespace", "Not-A-Name"), "a namespace"),
        (("shop", "--name", "Not-A-Name"), "a worker's name"),
        (("shop", "--concurrency", "0"), "it must be at least 1"),
        ((), "MODULE[:APP] is missing"),
    ],
)
def test_a_wrong_command_line_is_2_and_says_why(start: Start, arguments: tuple[str, ...], told: str) -> None:
    process = start(*arguments)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 2, err
    assert told in err
    assert out == ""
    assert ("Traceback" in err) == (arguments in (("broken",), ("needy",)))


def test_what_users_import_starts_fast_and_brings_in_no_server() -> None:
    code = "import sys, harpoon.worker; print(*sorted(n for n in sys.modules if n.startswith('harpoon.')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    floors = {name.split(".")[1] for name in done.stdout.split()}
    assert floors == {"client", "kit", "model", "worker"}
