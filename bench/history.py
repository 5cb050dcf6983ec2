"""Keeping the past: what a revision costs, and how long it takes to have what stood.

A registry of 10,000 tasks (a placement and a report of each) in memory, followed by a mirror. A revision changes one
report. Beside the cost of writing stands the raw floor: the same bytes written by one thread that does nothing else.

What it does not show: a disk that is slow or shared, and what a server does beside (it reads one state at a time, by a
thread, and goes on meanwhile, slower).
"""

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from harpoon.control.past import moment_of
from harpoon.control.view import ACTUAL, PLACEMENTS, View
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.model.task import Placement, Reservation, Task, TaskState
from harpoon.store.cluster import Cluster
from harpoon.store.memory import MemoryStore
from harpoon.store.past.archive import frozen
from harpoon.store.past.budget import Budget
from harpoon.store.past.fold import Revision, find, fold
from harpoon.store.past.recorder import Recorder
from harpoon.store.port import Put

TASKS, AGENTS, REVISIONS = 10_000, 100, 20_000

Row = tuple[str, str, str, str]


def rows() -> list[Row]:
    """Return (name, ours, raw floor of the same run, ratio or target) for each figure."""
    with tempfile.TemporaryDirectory(prefix="bench-history-") as name:
        folder = Path(name)
        found = asyncio.run(_record(folder / "past"))
        spans = frozen(folder / "past")
        data = b"".join(span.path.read_bytes() for span in spans)
        floor = _floor(folder / "floor", data, REVISIONS)
        middle = Revision(1, (spans[0].start + spans[-1].end) // 2)
        # Processor time: what it takes of a server that has other things to do.
        start = time.process_time()
        state = fold(find(spans, middle), middle)
        folded = time.process_time() - start
        moment_of(state)
        viewed = time.process_time() - start
    return [
        ("history: a revision, on the event loop", f"{found['hear']:.1f} µs", "", "≤ 10 µs"),
        ("history: a revision, all of it, the store in memory too", f"{found['write']:.0f} µs", f"{floor:.1f} µs", ""),
        ("history: bytes a revision", f"{len(data) / REVISIONS:,.0f}", "", "with snapshots"),
        (f"history: the records of {TASKS:,} tasks, as they stood", f"{folded:.2f} s", "", ""),
        ("history: and a view of them, with its index", f"{viewed:.2f} s", "", "≤ 2 s"),
    ]


def _records() -> list[tuple[str, Placement, Task]]:
    found = []
    for number in range(TASKS):
        agent = f"a{number % AGENTS}"
        made = f"default.job-{number // 10}.{number % 10}.1-5"
        placement = Placement(
            namespace="default",
            job=f"job-{number // 10}",
            slot=number % 10,
            incarnation=1,
            revision=5,
            agent=agent,
            generation="g1",
            version=1,
            reserve=Reservation(cpu=100, memory=64 << 20),
            reason="spread: it has 0 of this job's tasks; 100 of 100 agents could",
            decided_ms=1_700_000_000_000,
        )
        task = Task(
            id=made, agent=agent, generation="g1", state=TaskState.RUNNING, ready=True, since_ms=1_700_000_000_000
        )
        found.append((f"{agent}/{made}", placement, task))
    return found


async def _record(directory: Path) -> dict[str, float]:
    store, records = MemoryStore(), _records()
    for start in range(0, TASKS, 50):
        part = records[start : start + 50]
        puts = [Put(PLACEMENTS + key, codec.dump(placement)) for key, placement, _ in part]
        await store.commit((), [*puts, *(Put(ACTUAL + key, codec.dump(task)) for key, _, task in part)])
    view = View(store, incarnation=1, cluster="c1")
    await view.mirror.load()
    recorder = Recorder(
        store, view.mirror, about=Cluster("c1", 1), directory=directory, budget=Budget(), clock=SystemClock()
    )
    spent = 0.0
    hear = recorder._heard._hear

    def timed(revision, changes):
        nonlocal spent
        start = time.thread_time()
        hear(revision, changes)
        spent += time.thread_time() - start

    view.mirror._recorders[:] = [timed]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(view.mirror.run()), group.create_task(recorder.run())]
        while recorder.through < view.revision:
            await asyncio.sleep(0.01)
        start = time.process_time()
        for number in range(REVISIONS):
            key, _, task = records[number % TASKS]
            await store.commit((), (Put(ACTUAL + key, codec.dump(replace(task, since_ms=task.since_ms + number))),))
        await recorder.written(await store.revision())
        passed = time.process_time() - start
        for task in tasks:
            task.cancel()
    assert not recorder.gaps
    return {"hear": spent / REVISIONS * 1e6, "write": passed / REVISIONS * 1e6}


def _floor(path: Path, data: bytes, count: int) -> float:
    """Return microseconds that writing the same bytes takes, by as many writes as there are revisions."""
    size = len(data) // count
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for number in range(count):
            file.write(data[number * size : (number + 1) * size])
    return (time.perf_counter() - start) / count * 1e6
