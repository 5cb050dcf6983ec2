"""Workflows as users run them: one server and one worker process over loopback; every claim and closing is durable.

W1  20 runs of 100 operations, one after the other, that do nothing.
W2  one operation, 1,000 beside each other, and one that waits for all of them.
W3  starts, one in a request, 64 at once, and 500 in a request; nobody works on them.
W4  from the moment a start is sent until the handler's first line, one run after the other.

The raw floor of the same run: commits of two keys, 64 at once, to the same kind of store, by this process alone.

What it does not show: a network, handlers that do something, or several servers.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import aiohttp

from bench.fleet import store
from bench.system import quantile
from harpoon.kit.clock import SystemClock
from harpoon.store.opening import open_store
from harpoon.store.port import Put
from harpoon.store.url import parse_url
from tests.system.cluster import Cluster

Row = tuple[str, str, str, str]
RUNS, LENGTH, WIDTH = 20, 100, 1_000
STARTS, AT_ONCE, BULK, LOOKS = 8_000, 64, 500, 400
FLOOR_COMMITS = 6_000
TARGETS = {"sqlite": 8_000, "etcd": 6_000}
APP = """
import time
from harpoon.worker import Worker

app = Worker("bench", concurrency=1200)


@app.handler("bench.nothing")
async def nothing() -> None:
    pass


@app.handler("bench.now")
async def now() -> float:
    return time.time()
"""


def rows() -> list[Row]:
    """Return the rows of the table."""
    return [row for kind in os.environ.get("STORES", "sqlite,etcd").split(",") for row in _measure(kind)]


def chain(length: int) -> dict[str, object]:
    """Return operations one after the other."""
    return {f"s{n}": {"worker": "bench.nothing", **({"needs": [f"s{n - 1}"]} if n else {})} for n in range(length)}


def fan(width: int) -> dict[str, object]:
    """Return one operation, many, and one."""
    many = {f"m{n}": {"worker": "bench.nothing", "needs": ["first"]} for n in range(width)}
    return {
        "first": {"worker": "bench.nothing"}, **many, "last": {"worker": "bench.nothing", "needs": list(many)},
    }  # fmt: skip


def workflow(name: str, operations: object, outputs: object = None) -> dict[str, object]:
    """Return a manifest."""
    spec = {"operations": operations, **({"outputs": outputs} if outputs else {})}
    return {"apiVersion": "harpoon/v1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec}


def _measure(kind: str) -> list[Row]:
    with ExitStack() as stack:
        url = stack.enter_context(store(kind))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harpoon-bench-")))
        floor = asyncio.run(_floor(url))
        cluster = stack.enter_context(Cluster(directory, url))
        cluster.start_server()
        (directory / "bench_app.py").write_text(APP)
        for name, operations, outputs in (
            ("chain", chain(LENGTH), None),
            ("fan", fan(WIDTH), None),
            ("idle", {"only": {"worker": "bench.nobody"}}, None),
            ("now", {"only": {"worker": "bench.now"}}, {"at": "${ops.only.output}"}),
        ):
            status, told = cluster.request(
                "PUT", f"/v1/namespaces/default/workflows/{name}", workflow(name, operations, outputs)
            )
            assert status in {200, 201, 202}, told
        os.environ["PYTHONPATH"] = f"{directory}:{os.environ.get('PYTHONPATH', '')}"
        cluster._start("worker", "worker", "bench_app:app", "--server", cluster.url)
        return asyncio.run(_over_http(kind, cluster.url, f"{floor:,.0f} commits/s"))


async def _floor(url: str) -> float:
    opened = await open_store(parse_url(f"{url}.floor" if url.startswith("sqlite") else url), clock=SystemClock())
    began = time.perf_counter()

    async def write(worker: int) -> None:
        for n in range(FLOOR_COMMITS // AT_ONCE):
            await opened.commit((), [Put(f"/floor/{worker}/{n}/{part}", b"x" * 120) for part in range(2)])

    await asyncio.gather(*map(write, range(AT_ONCE)))
    took = time.perf_counter() - began
    await opened.close()
    return FLOOR_COMMITS / took


async def _over_http(kind: str, url: str, floor: str) -> list[Row]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        await _run(session, "now", 20)
        one_by_one = [await _run(session, "chain", RUNS) for _ in range(5)]
        fans = [await _run(session, "fan", 1) for _ in range(9)]
        delays = await _delays(session)
        single = await _starts(session, 1, STARTS)
        bulk = await _starts(session, BULK, 5 * STARTS)
    steps = statistics.median(RUNS * LENGTH / took for took in one_by_one)
    late = [delay * 1000 for delay in delays]
    return [
        (f"W1 {kind}: {RUNS} runs x {LENGTH} steps", f"{steps:,.0f} steps/s", floor, f">= {TARGETS[kind]:,}"),
        (f"W2 {kind}: 1 -> {WIDTH:,} -> 1", f"{statistics.median(fans):.3f} s", "-", "<= 0.25 s"),
        (f"W3 {kind}: starts, one a request", f"{single:,.0f}/s", floor, ">= 4,000"),
        (f"W3 {kind}: starts, {BULK} a request", f"{bulk:,.0f}/s", floor, ">= 15,000"),
        (
            f"W4 {kind}: start -> user code, p50 / p99",
            f"{quantile(late, 0.5):.2f} / {quantile(late, 0.99):.2f} ms",
            "-",
            "<= 2 / 6 ms",
        ),
    ]


async def _post(session: aiohttp.ClientSession, body: object) -> dict:
    async with session.post("/v1/namespaces/default/runs", json=body) as response:
        told = await response.json()
        assert response.status in {200, 201}, told
        return told


async def _run(session: aiohttp.ClientSession, name: str, count: int) -> float:
    """Start runs together, and return the seconds until the last has ended, as the server wrote it down."""
    began = time.time()
    told = await _post(session, {"runs": [{"workflow": name} for _ in range(count)]})
    ids = [one["run"]["id"] for one in told["results"]]
    ended = [await _ended(session, run) for run in ids]
    return max(run["ended_ms"] for run in ended) / 1000 - began


async def _ended(session: aiohttp.ClientSession, run: str) -> dict:
    """Wait until a run has succeeded, and return it."""
    while True:
        async with session.get(f"/v1/namespaces/default/runs/{run}", params={"wait": "5s"}) as response:
            told = await response.json()
        assert told["status"] in {"running", "succeeded"}, told
        if told["status"] == "succeeded":
            return told


async def _delays(session: aiohttp.ClientSession) -> Sequence[float]:
    found = []
    for _ in range(LOOKS):
        sent = time.time()
        told = await _post(session, {"workflow": "now"})
        found.append((await _ended(session, told["id"]))["outputs"]["at"] - sent)
        await asyncio.sleep(0.01)
    return found


async def _starts(session: aiohttp.ClientSession, size: int, count: int) -> float:
    one = {"workflow": "idle"}
    body = one if size == 1 else {"runs": [one] * size}
    at_once = AT_ONCE if size == 1 else 4
    began = time.perf_counter()

    async def start() -> None:
        for _ in range(count // size // at_once):
            await _post(session, body)

    await asyncio.gather(*(start() for _ in range(at_once)))
    return (count // size // at_once) * size * at_once / (time.perf_counter() - began)


if __name__ == "__main__":
    for row in rows():
        print(*row, sep="  ", file=sys.stderr)
