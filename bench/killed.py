"""How long runs stand still when the one server is killed in their midst and started again, and what is done twice.

20 runs of 100 operations, one after the other, with one worker over loopback. The worker itself kills the server at the
thousandth step, and the server is started again at once. All is counted from the logs of the runs, and from what the
handlers note: how many steps were carried out twice, of the claims that were out.

The floor of the same run is a server that is started and killed with nothing in its store: how long it takes to answer.

What it does not show: a network, several servers (see takeover), or a disk that loses what it has confirmed.
"""

import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.fleet import store
from tests.system.cluster import Cluster
from tests.system.killed import Left, run_and_kill

Row = tuple[str, str, str, str]
RUNS, LENGTH, TURNS = 20, 100, 5
#: A server is back within its lease.
STILL_S = 6.0


def rows() -> list[Row]:
    """Return the rows of the table."""
    return [row for kind in os.environ.get("STORES", "sqlite,etcd").split(",") for row in _measure(kind)]


def _measure(kind: str) -> list[Row]:
    turns = [_turn(kind) for _ in range(TURNS)]
    left = [turn for turn, _ in turns]
    floor = f"{statistics.median(floor for _, floor in turns):.2f} s"
    still = [one.still_s for one in left]
    what = f"W1 {kind}, kill -9 of the server at step {RUNS * LENGTH // 2:,}"
    out, lost, twice = (f"{max(len(getattr(one, name)) for one in left)}" for name in ("out", "lost", "twice"))
    unlike = sum(_amiss(one) for one in left)
    spans = f"{statistics.median(still):.2f} / {max(still):.2f} s"
    return [
        (f"{what} → steps go on, p50 / max of {TURNS}", spans, floor, f"<= {STILL_S:g} s"),
        (f"  claims lost by that, at most, of {out} that were out", lost, "-", f"<= {out}"),
        (f"  steps carried out twice, at most, of {RUNS * LENGTH:,}", twice, "-", f"<= {out}"),
        (f"  of {TURNS * RUNS} runs, that did not end right, or closed a step twice", f"{unlike}", "-", "0"),
    ]


def _turn(kind: str) -> tuple[Left, float]:
    with ExitStack() as stack:
        url = stack.enter_context(store(kind))
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harpoon-bench-"))) for _ in range(2)]
        with Cluster(folders[0]) as empty:
            empty.start_server()
            empty.kill("server")
            began = time.perf_counter()
            empty.start_server()
            floor = time.perf_counter() - began
        left = run_and_kill(folders[1], url, RUNS, LENGTH)
    print(f"{kind}: {left.still_s:.2f} s, {len(left.lost)} lost, {len(left.twice)} twice", file=sys.stderr, flush=True)
    return left, floor


def _amiss(left: Left) -> int:
    """Return how many runs are not as if nothing had happened."""
    steps = [f"s{number}" for number in range(LENGTH)]
    closed = [
        [event["op"] for event in run["events"] if event["kind"] == "closed" and event["label"] == "done"]
        for run in left.runs.values()
        if run["status"] == "succeeded"
    ]
    return RUNS - sum(one == steps for one in closed)
