"""Deciding about runs: claiming and closing attempts that do nothing, in workflows of 100 and of 10,000 operations.

Told beside is reading such a run's log again, event by event; and, as the raw floor, making the two records of a claim
and a closing as tuples, and putting them in a dictionary and out again. CPU time of one thread.

What it does not show: expressions, writing the log, and whatever carries claims to workers.
"""

import time
from datetime import timedelta

from bench.world import quiet
from harpoon.core import step
from harpoon.core.event import dump, load
from harpoon.core.fold import fold
from harpoon.core.graph import Graph, compile_graph
from harpoon.core.run import Run, begin
from harpoon.core.step import Result
from harpoon.core.visit import Ref
from harpoon.model.operation import Operation
from harpoon.model.workflow import WorkflowSpec

NOW_MS = 1_700_000_000_000
SMALL, LARGE = 100, 10_000
ROUNDS = 5


def _graph(size: int) -> Graph:
    """Half of the operations begin, and each of them opens one of the others."""
    half = size // 2
    first = {f"a{n}": Operation(worker="w", next={"done": (f"b{n}",)}) for n in range(half)}
    return compile_graph(WorkflowSpec(operations={**first, **{f"b{n}": Operation(worker="w") for n in range(half)}}))


def _run(graph: Graph) -> Run:
    day = timedelta(days=1) // timedelta(milliseconds=1)
    return begin(
        namespace="default",
        id="r",
        workflow="w",
        generation="g",
        graph=graph,
        inputs={},
        created_ms=NOW_MS,
        deadline_ms=NOW_MS + day,
    )


def _measure(graph: Graph) -> tuple[float, float, float]:
    """Return the microseconds of a start, for each operation that it opens; of a claim and a closing; of an event."""
    run, size = _run(graph), len(graph.nodes)
    begun = time.process_time()
    step.start(run, NOW_MS)
    started = time.process_time() - begun
    refs = [Ref(f"{kind}{n}", 1, 1) for kind in "ab" for n in range(size // 2)]
    result = Result("done")
    begun = time.process_time()
    for ref in refs:
        step.claim(run, ref, "token", "worker", "session", NOW_MS)
        step.close(run, ref, "token", result, NOW_MS)
    done = time.process_time() - begun
    assert run.status.is_over
    run = _run(graph)
    log = step.start(run, NOW_MS)
    for ref in refs:
        log += step.claim(run, ref, "token", "worker", "session", NOW_MS)
        log += step.close(run, ref, "token", result, NOW_MS)
    written = [dump(event) for event in log]
    run = _run(graph)
    begun = time.process_time()
    for event in written:
        fold(run, load(event))
    read = time.process_time() - begun
    return started / (size // 2) * 1e6, done / size * 1e6, read / len(log) * 1e6


def _floor() -> float:
    held: dict[Ref, tuple[object, ...]] = {}
    begun = time.process_time()
    for n in range(LARGE):
        ref = Ref("a", n, 1)
        held[ref] = ("c", n, NOW_MS, "a", n, 1, "token", "worker", "session")
        held[ref] = ("x", n, NOW_MS, "a", n, 1, "token", "done", None, "", (), None, None)
        del held[ref]
    return (time.process_time() - begun) / LARGE * 1e6


def rows() -> list[tuple[str, str, str, str]]:
    """Return lines of the table: what, ours, the raw floor of the same run, the target."""
    quiet()
    graphs = {size: _graph(size) for size in (SMALL, LARGE)}
    best = {
        size: tuple(map(min, zip(*(_measure(graphs[size]) for _ in range(ROUNDS)), strict=True))) for size in graphs
    }
    floor = f"{min(_floor() for _ in range(ROUNDS)):.1f} µs"
    small, large = best[SMALL], best[LARGE]
    return [
        (f"claim and close an attempt, of {SMALL} operations", f"{small[1]:.1f} µs", floor, "<= 15 µs"),
        (f"  of {LARGE:,} operations", f"{large[1]:.1f} µs", floor, f"<= {small[1] * 1.5:.1f} µs (1.5 times)"),
        (f"  start a run, for each of {LARGE // 2:,} that it opens", f"{large[0]:.1f} µs", "", ""),
        ("  read an event of its log again", f"{large[2]:.1f} µs", "", ""),
    ]
