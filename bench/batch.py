"""A batch as users start one: 10,000 items that do nothing, one server, four workers over loopback, all of it durable.

Told is how long it takes from the request that starts it until the run is seen to be over, and how long one that does
them in order takes for each. The raw floor of the same run: as many commits of two keys, 64 at once, to the same kind
of store, as a group-committing writer would make of the claims and closings, by this process alone.

What it does not show: a network, handlers that do something, or several servers.
"""

import asyncio
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.fleet import store
from bench.loopback import APP, _floor
from tests.system.cluster import Cluster

Row = tuple[str, str, str, str]
ITEMS, IN_ORDER, WORKERS = 10_000, 500, 4
BATCHES = "/v1/namespaces/default/batches"


def rows() -> list[Row]:
    """Return the rows of the table."""
    return [row for kind in os.environ.get("STORES", "sqlite,etcd").split(",") for row in _measure(kind)]


def _measure(kind: str) -> list[Row]:
    with ExitStack() as stack:
        url = stack.enter_context(store(kind))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harpoon-bench-")))
        floor = asyncio.run(_floor(url))
        cluster = stack.enter_context(Cluster(directory, url))
        cluster.start_server()
        (directory / "bench_app.py").write_text(APP)
        os.environ["PYTHONPATH"] = f"{directory}:{os.environ.get('PYTHONPATH', '')}"
        for number in range(WORKERS):
            cluster._start(
                f"worker-{number}", "worker", "bench_app:app", "--server", cluster.url, "--name", f"w{number}"
            )
        _took(cluster, "warm", {"items": [0] * 200})
        beside = [
            _took(cluster, f"beside-{number}", {"items": list(range(ITEMS)), "parallel": 1000}) for number in (1, 2)
        ]
        in_order = _took(cluster, "in-order", {"items": list(range(IN_ORDER)), "mode": "in_order"})
        return [
            (f"{ITEMS:,} items, {WORKERS} workers, {kind}", f"{min(beside):.2f} s", f"{ITEMS / floor:.2f} s", "<= 2 s"),
            ("  of them in a second", f"{ITEMS / min(beside):,.0f} /s", f"{floor:,.0f} commits/s", ""),
            (f"  one after the other, {IN_ORDER}: each", f"{in_order / IN_ORDER * 1e3:.1f} ms", "", ""),
        ]


def _took(cluster: Cluster, name: str, spec: dict[str, object]) -> float:
    """Return how many seconds a batch takes, from its start until it is over."""
    told = {**spec, "each": {"worker": "bench.nothing"}}
    manifest = {"apiVersion": "harpoon/v1", "kind": "Batch", "metadata": {"name": name}, "spec": told}
    began = time.perf_counter()
    status, answer = cluster.request("POST", BATCHES, manifest)
    assert status == 201, answer
    while True:
        _, answer = cluster.request("GET", f"{BATCHES}/{name}?wait=30s")
        if answer["ended_ms"] is not None:
            assert answer["status"] == "succeeded", answer["reason"]
            return time.perf_counter() - began
