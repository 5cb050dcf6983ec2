"""A real server and real workers: what they are told to do is done, whichever of them ends, and however."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harpoon.worker import Workflow
from tests.system.cluster import Cluster, eventually

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
RUNS = "/v1/namespaces/default/runs"

#: Each handler notes that it began; most go on until a file is there.
SHOP = """
    import asyncio, os, pathlib, time
    from harpoon.worker import Context, Retry, Worker

    app = Worker("shop", concurrency=4)
    here = pathlib.Path(__file__).parent

    def note(ctx, what="began"):
        with (here / f"{ctx.run}.{what}").open("a") as file:
            file.write(f"{ctx.attempt} {os.getpid()}\\n")

    @app.handler("math.add")
    async def add(ctx: Context, a: int, b: int = 1) -> int:
        note(ctx)
        return a + b

    @app.handler("math.flaky")
    def flaky(ctx: Context, a: int) -> dict[str, int]:
        if ctx.attempt < 3:
            raise Retry("not yet")
        return {"a": a, "attempt": ctx.attempt}

    @app.handler("hold")
    async def hold(ctx: Context) -> int:
        note(ctx)
        try:
            while not (here / "go").exists():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            note(ctx, "cancelled")
            raise
        return ctx.attempt

    @app.handler("apart")
    def apart(ctx: Context) -> int:
        note(ctx)
        while not (here / "go").exists():
            time.sleep(0.01)
        return ctx.attempt

    @app.handler("jam")
    async def jam(ctx: Context) -> int:
        note(ctx)
        if ctx.attempt == 1:
            while not (here / "free").exists():
                time.sleep(0.01)
        return ctx.attempt
"""


class Shop:
    """A server with workflows of one operation a handler, and workers."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.here = cluster.directory
        (self.here / "shop.py").write_text(textwrap.dedent(SHOP))

    def declare(self, handler: str, **said: object) -> str:
        flow = Workflow(handler.replace(".", "-"), deadline="1h")
        flow.worker("op", handler, **said)
        return self.put(flow)

    def put(self, flow: Workflow) -> str:
        document = flow.manifest()
        name = document["metadata"]["name"]
        status, answer = self.cluster.request("PUT", f"/v1/namespaces/default/workflows/{name}", document)
        assert status in (200, 201, 202), answer
        return str(name)

    def start(self, workflow: str, run: str, **inputs: object) -> None:
        body = {"id": run, "workflow": workflow, "inputs": inputs}
        eventually(lambda: self.cluster.request("POST", RUNS, body)[0], lambda status: status in (200, 201))

    def work(self, name: str, *options: str) -> "subprocess.Popen[bytes]":
        with (self.here / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "harpoon", "worker", "shop:app", "--server", self.cluster.url, *options],
                cwd=self.here,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        self.cluster.processes[name] = process
        return process

    def ended(self, run: str) -> dict:
        """Return a run once it is over."""
        with self.told(run):
            told = eventually(lambda: self.cluster.request("GET", f"{RUNS}/{run}"), _is_over)
        return dict(told[1])  # type: ignore[index]

    def notes(self, run: str, what: str = "began") -> list[tuple[int, int]]:
        """Return attempt and process of each time that something was noted."""
        file = self.here / f"{run}.{what}"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]

    def began(self, run: str, attempt: int = 1) -> None:
        with self.told(run):
            eventually(lambda: self.notes(run), lambda notes: attempt in [one[0] for one in notes])

    @contextmanager
    def told(self, run: str) -> Iterator[None]:
        """Have a failure tell how the run stands, and what was logged."""
        try:
            yield
        except AssertionError as error:
            error.add_note(f"{self.cluster.request('GET', f'{RUNS}/{run}')}")
            for name in self.cluster.processes:
                error.add_note(f"--- {name}\n{self.cluster.log(name)}")
            raise

    def let_go(self, what: str = "go") -> None:
        (self.here / what).touch()

    def events(self, name: str) -> list[str]:
        return [json.loads(line)["event"] for line in self.cluster.log(name).splitlines()]


def _is_over(told: tuple[int, dict]) -> bool:
    return told[0] == 200 and told[1]["status"] != "running"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Cluster(tmp_path) as cluster:
        cluster.start_server()
        yield Shop(cluster)


def test_a_run_is_carried_out_and_tells_what_came_of_it(shop: Shop) -> None:
    flow = Workflow("sum", inputs={"n": {"type": "integer"}})
    one = flow.worker("one", "math.add", input={"a": flow.given("n")})
    retry = {"fail": {"attempts": 3}, "backoff": {"initial": "10ms"}}
    two = flow.worker("two", "math.flaky", input={"a": one.output}, retry=retry)
    one.on("done", two)
    flow.output("got", two.output)
    shop.put(flow)
    shop.work("w1")
    shop.start("sum", "r1", n=41)
    told = shop.ended("r1")
    assert (told["status"], told["outputs"]) == ("succeeded", {"got": {"a": 42, "attempt": 3}})


def test_sigterm_drains_and_what_comes_later_is_another_workers(shop: Shop) -> None:
    shop.declare("hold")
    first = shop.work("w1")
    shop.start("hold", "r1")
    shop.began("r1")
    first.send_signal(signal.SIGTERM)
    eventually(lambda: shop.events("w1"), lambda events: "worker_drains" in events)
    shop.start("hold", "r2")
    second = shop.work("w2")
    shop.began("r2")
    shop.let_go()
    assert first.wait(20) == 0
    assert {shop.ended(run)["status"] for run in ("r1", "r2")} == {"succeeded"}
    assert shop.notes("r1") == [(1, first.pid)]
    assert shop.notes("r2") == [(1, second.pid)]


def test_what_a_killed_worker_had_is_lost_and_tried_again_elsewhere(shop: Shop) -> None:
    shop.declare("hold", heartbeat="1s", retry={"lost": {"attempts": 2}, "backoff": {"initial": "10ms"}})
    shop.work("w1")
    shop.start("hold", "r1")
    shop.began("r1")
    shop.cluster.kill("w1")
    second = shop.work("w2")
    shop.began("r1", attempt=2)
    shop.let_go()
    assert shop.ended("r1")["status"] == "succeeded"
    assert shop.notes("r1")[1:] == [(2, second.pid)]


def test_a_worker_whose_loop_is_jammed_loses_what_needs_it_and_keeps_what_runs_in_a_thread(shop: Shop) -> None:
    patient = {"heartbeat": "1s", "retry": {"lost": {"attempts": 3}, "backoff": {"initial": "10ms"}}}
    shop.declare("jam", **patient)
    shop.declare("apart", **patient)
    first = shop.work("w1")
    shop.start("apart", "kept")
    shop.began("kept")
    shop.start("jam", "left")
    shop.began("left")
    second = shop.work("w2")
    shop.began("left", attempt=2)
    assert "loop_is_blocked" in shop.events("w1")
    assert shop.ended("left")["status"] == "succeeded"
    shop.let_go("free")
    shop.let_go()
    assert shop.ended("kept")["status"] == "succeeded"
    assert shop.notes("kept") == [(1, first.pid)]
    assert shop.notes("left") == [(1, first.pid), (2, second.pid)]


def test_a_server_that_is_killed_and_comes_back_finds_its_workers_at_it(shop: Shop) -> None:
    shop.declare("hold")
    shop.declare("math.add", input={"a": 1})
    worker = shop.work("w1")
    shop.start("hold", "r1")
    shop.began("r1")
    shop.cluster.kill("server")
    shop.let_go()
    shop.cluster.start_server()
    assert shop.ended("r1")["status"] == "succeeded"
    shop.start("math-add", "r2")
    assert shop.ended("r2")["status"] == "succeeded"
    assert shop.notes("r1") == [(1, worker.pid)]
    assert worker.poll() is None


def test_an_attempt_of_a_run_that_is_cancelled_ends_at_once(shop: Shop) -> None:
    shop.declare("hold", heartbeat="10m")
    shop.work("w1", "--concurrency", "1")
    shop.start("hold", "r1")
    shop.began("r1")
    status, answer = shop.cluster.request("POST", f"{RUNS}/r1/cancel", {"reason": "enough"})
    assert status in (200, 202), answer
    eventually(lambda: shop.notes("r1", "cancelled"), bool, within_s=10)
    assert shop.ended("r1")["status"] == "cancelled"


def test_many_runs_are_each_carried_out_once(shop: Shop) -> None:
    flow = Workflow("one", inputs={"n": {"type": "integer"}})
    op = flow.worker("op", "math.add", input={"a": flow.given("n")})
    flow.output("sum", op.output)
    shop.put(flow)
    shop.work("w1")
    shop.work("w2")
    starts = [{"id": f"r{n}", "workflow": "one", "inputs": {"n": n}} for n in range(200)]
    status, answer = shop.cluster.request("POST", RUNS, {"runs": starts})
    assert status in (200, 201), answer
    assert [shop.ended(f"r{n}")["outputs"] for n in range(200)] == [{"sum": n + 1} for n in range(200)]
    assert [len(shop.notes(f"r{n}")) for n in range(200)] == [1] * 200
