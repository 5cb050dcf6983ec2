"""Runs of many steps, while the server that conducts them is killed: what is left is counted, for tests and figures.

The worker itself kills the server, in the midst of a step that it carries out: so it happens in the middle, however
fast it all is. Each step is noted in a file, before it is done.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.system.cluster import Cluster, eventually

ROOT = Path(__file__).parents[2]
RUNS = "/v1/namespaces/default/runs"
APP = """
import json, os, pathlib, signal
from harpoon.worker import Context, Worker

app = Worker("killer", concurrency=200)
here = pathlib.Path(__file__).parent
done = os.open(here / "done", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
count = 0


@app.handler("step")
async def step(ctx: Context) -> str:
    global count
    count += 1
    os.write(done, f"{ctx.run} {ctx.op} {ctx._attempt.claim.token}\\n".encode())
    if count == int(os.environ["KILL_AT"]):
        os.kill(int((here / "server.pid").read_text()), signal.SIGKILL)
    return ctx._attempt.claim.token
"""


@dataclass(frozen=True, kw_only=True)
class Left:
    """What became of the runs."""

    #: Run → as it is exported, with its log.
    runs: dict[str, dict[str, Any]]
    #: Run, operation and token of each step that was carried out, in order.
    done: list[tuple[str, str, str]]
    #: Run and operation of each claim that was out when the server was killed.
    out: set[tuple[str, str]]
    #: From the kill until the next step was closed, and from the start of the first run until all had ended, in seconds.
    still_s: float
    took_s: float

    @property
    def twice(self) -> list[tuple[str, str]]:
        """Steps that were carried out more often than once."""
        return [step for step, count in Counter(one[:2] for one in self.done).items() if count > 1]

    @property
    def lost(self) -> list[tuple[str, str]]:
        """Steps that were claimed, and whose claim was lost."""
        return [
            (id_, event["op"])
            for id_, run in self.runs.items()
            for event in run["events"]
            if event["kind"] == "closed" and event["label"] == "lost"
        ]


def chain(length: int) -> dict[str, Any]:
    """Return a workflow of so many steps, one after the other; a claim that nobody was told of is lost soon."""
    step = {"worker": "step", "heartbeat": "5s", "retry": {"backoff": {"initial": "10ms"}}}
    steps = {f"s{n}": {**step, **({"needs": [f"s{n - 1}"]} if n else {})} for n in range(length)}
    spec = {"operations": steps, "outputs": {"last": f"${{ops.s{length - 1}.output}}"}}
    return {"apiVersion": "harpoon/v1", "kind": "Workflow", "metadata": {"name": "chain"}, "spec": spec}


def run_and_kill(directory: Path, store: str, runs: int, length: int, *options: str) -> Left:
    """Start runs, have the server killed in their middle and started again, and wait until they have ended.

    Args:
        directory: Where all is kept.
        store: URL; empty: a file in the directory.
        runs: How many.
        length: Steps of each, one after the other.
        options: Of the server.
    """
    with Cluster(directory, store) as cluster:
        cluster.start_server(*options)
        (directory / "server.pid").write_text(str(cluster.processes["server"].pid))
        (directory / "killer.py").write_text(APP)
        status, told = cluster.request("PUT", "/v1/namespaces/default/workflows/chain", chain(length))
        assert status in {200, 201, 202}, told
        _work(cluster, runs * length // 2)
        eventually(lambda: cluster.get("/v1/namespaces/default/workers")["items"], bool)
        began = time.monotonic()
        starts = [{"id": f"r{number}", "workflow": "chain"} for number in range(runs)]
        status, told = cluster.request("POST", RUNS, {"runs": starts})
        assert {one["status"] for one in told["results"]} == {201}, told
        assert cluster.processes["server"].wait(30) == -9, cluster.log("server")
        killed, killed_ms = time.monotonic(), time.time_ns() // 1_000_000
        known = _lines(directory)
        cluster.start_server(*options)
        eventually(lambda: len(_lines(directory)), lambda now: now > len(known) + runs)
        still_s = time.monotonic() - killed
        _all_ended(cluster, runs)
        took_s = time.monotonic() - began
        exported = _exported(cluster)
        out = {(id_, op) for id_, run in exported.items() for op in _out(run["events"], killed_ms)}
        return Left(runs=exported, done=_lines(directory), out=out, still_s=still_s, took_s=took_s)


def _out(events: list[dict[str, Any]], at_ms: int) -> set[str]:
    """Return the operations of a run that were claimed and not closed at a moment when nothing happened."""
    found: set[str] = set()
    for event in events:
        if event["now_ms"] <= at_ms and event["kind"] in ("claimed", "closed"):
            (found.add if event["kind"] == "claimed" else found.discard)(event["op"])
    return found


def _work(cluster: Cluster, kill_at: int) -> None:
    with (cluster.directory / "worker.log").open("wb") as log:
        cluster.processes["worker"] = subprocess.Popen(
            [sys.executable, "-m", "harpoon", "worker", "killer", "--server", cluster.url],
            cwd=cluster.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), "KILL_AT": str(kill_at)},
            stdout=log,
            stderr=log,
        )


def _lines(directory: Path) -> list[tuple[str, str, str]]:
    return [tuple(line.split()) for line in (directory / "done").read_text().splitlines()]  # type: ignore[misc]


def _all_ended(cluster: Cluster, runs: int) -> None:
    for number in range(runs):
        eventually(
            lambda number=number: cluster.request("GET", f"{RUNS}/r{number}?wait=10s"),
            lambda told: told[0] == 200 and told[1]["status"] != "running",
        )


def _exported(cluster: Cluster) -> dict[str, dict[str, Any]]:
    with urllib.request.urlopen(f"{cluster.url}{RUNS}/export", timeout=30) as answer:
        return {run["run"]: run for run in map(json.loads, answer.read().splitlines())}
