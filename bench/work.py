"""Steps through one server process, HTTP included: workers in another process claim and close attempts that do nothing.

The server has real doors, conductors of all shards and a store in memory; runs are chains of five operations. Told are
steps (a claim and its closing) for each second, by the clock and of the server's own processor time, since clients take
their share of the machine. The raw floor reads and writes the same JSON and does nothing else.

What it does not show: a store on disk, several instances, handlers.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
import uvloop

from bench.world import quiet
from harpoon.control.conductor import Conductor
from harpoon.control.ledger import Ledger
from harpoon.control.ledger_records import SHARDS, shard_of
from harpoon.control.orders import Form, Start
from harpoon.control.run_reader import RunReader
from harpoon.control.together import Together
from harpoon.control.turns import Turns
from harpoon.control.work import WorkExchange
from harpoon.core.graph import compile_graph
from harpoon.kit.clock import SystemClock
from harpoon.model.operation import Operation
from harpoon.model.workflow import WorkflowSpec
from harpoon.store.hold import acquire
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Compare, Put
from tests.api.rig import a_rig

RUNS, CHAIN = 4_000, 5
WORKERS, WANT = 8, 100
WAKES = 200
#: A run of the bench is on nothing else.
FORM = "/h/1/bench/form"


class Rate(NamedTuple):
    """Steps in a second."""

    by_clock: float
    by_processor: float


def a_request(worker: str, seq: int, closings: list[dict[str, Any]], want: int = WANT) -> bytes:
    return orjson.dumps(
        {
            "worker": worker,
            "session": "s",
            "seq": seq,
            "handlers": ["pack"],
            "want": want,
            "wait": "200ms",
            "closings": closings,
        }
    )


def closing(claim: dict[str, Any]) -> dict[str, Any]:
    named = {name: claim[name] for name in ("run", "op", "visit", "attempt", "token")}
    return {**named, "label": "done", "output": {"ok": True, "n": 1}}


class Line:
    """One connection of a worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, body: bytes) -> dict[str, Any]:
        head = b"POST /v1/namespaces/default/work HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._writer.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        size = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        told: dict[str, Any] = orjson.loads(await self._reader.readexactly(size))
        assert "seq" in told, told
        return told


async def work(port: int, name: str) -> None:
    """Do the work of one worker until there is none for two waits."""
    line = Line(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 24))
    closings: list[dict[str, Any]] = []
    seq = idle = 0
    while idle < 2:
        seq += 1
        told = await line.ask(a_request(name, seq, closings))
        assert all(one["status"] == 200 for one in told.get("results", ())), told
        closings = [closing(one) for one in told.get("claims", ())]
        idle = 0 if closings or "results" in told else idle + 1


async def crew(port: int) -> None:
    await asyncio.gather(*(work(port, f"w{number}") for number in range(WORKERS)))


class House:
    """Conductors of all shards, and the exchange."""

    def __init__(self, operations: Mapping[str, Operation] | None = None) -> None:
        self.store, self.clock = MemoryStore(), SystemClock()
        self.conductors: dict[int, Conductor] = {}
        self.exchange = WorkExchange(self.conductor_of, self.clock)
        chain = {f"s{n}": Operation(worker="pack", next={"done": (f"s{n + 1}",)}) for n in range(CHAIN - 1)}
        chain[f"s{CHAIN - 1}"] = Operation(worker="pack")
        self._graph = compile_graph(WorkflowSpec(operations=operations or chain))
        self._tasks: list[asyncio.Task[None]] = []

    def conductor_of(self, key: str) -> Conductor | None:
        return self.conductors.get(shard_of(key))

    async def open(self) -> None:
        revision = await self.store.commit((), [Put(FORM, b"form")])
        self._form = Form("g", self._graph, (Compare(FORM, mod=revision or 0),))
        lease, together = await self.store.lease(600), Together(self.store, Turns(self.clock))
        for shard in range(SHARDS):
            hold = await acquire(self.store, lease, f"shards/{shard:02d}", "bench", 1)
            assert hold is not None
            ledger = Ledger(together, hold, shard, "bench")
            self.conductors[shard] = Conductor(ledger, self.exchange, self.clock, 1, RunReader(self.store))
            self._tasks.append(asyncio.ensure_future(ledger.run()))

    async def start(self, *runs: str) -> None:
        by_shard: dict[int, list[tuple[Start, Form]]] = {}
        for run in runs:
            start = Start(namespace="default", id=run, workflow="ship", body_hash="h", inputs={}, tags={})
            by_shard.setdefault(shard_of(f"default/{run}"), []).append((start, self._form))
        for shard, orders in by_shard.items():
            await self.conductors[shard].start(orders)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def ended(self) -> int:
        return sum(conductor.ended for conductor in self.conductors.values())


async def measure() -> tuple[Rate, list[float]]:
    house = House()
    await house.open()
    async with a_rig(work=house.exchange, store=house.store) as rig:
        await house.start(*(f"run-{number}" for number in range(RUNS)))
        clients = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.work", str(rig.port))
        while not house.exchange.core.holders():
            await asyncio.sleep(0.001)
        by_clock, by_processor = time.perf_counter(), time.process_time()
        while house.ended < RUNS:
            await asyncio.sleep(0.001)
        steps = RUNS * CHAIN
        rate = Rate(steps / (time.perf_counter() - by_clock), steps / (time.process_time() - by_processor))
        await clients.wait()
        wakes = await _wakes(house, rig.port)
    await house.close()
    return rate, wakes


async def _wakes(house: House, port: int) -> list[float]:
    """Return how many seconds it takes from the start of a run until a waiting worker has its first attempt."""
    line = Line(*await asyncio.open_connection("127.0.0.1", port))
    spent = []
    for number in range(WAKES):
        asked = asyncio.ensure_future(line.ask(a_request("waiting", number + 1, [], want=1)))
        await asyncio.sleep(0.005)
        begun = time.perf_counter()
        await house.start(f"wake-{number}")
        assert "claims" in await asked
        spent.append(time.perf_counter() - begun)
    return sorted(spent)


def _floor() -> float:
    """Return how many steps a second are read and written as JSON."""
    claim = {"run": "run-1", "op": "s1", "visit": 1, "attempt": 1, "token": "1.100.1", "input": None, "handler": "pack"}
    body = a_request("w1", 1, [closing(claim)] * WANT)
    begun = time.process_time()
    for _ in range(100):
        orjson.loads(body)
        orjson.dumps({"seq": 1, "claims": [claim] * WANT})
    return 100 * WANT / (time.process_time() - begun)


def rows() -> list[tuple[str, str, str, str]]:
    """Return lines of the table: what, ours, the raw floor of the same run, the target."""
    quiet()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rate, wakes = runner.run(measure())
    return [
        ("steps through one process, over HTTP", f"{rate.by_clock:,.0f} /s", f"{_floor():,.0f} /s", ">= 10,000 /s"),
        ("  for each second of its processor time", f"{rate.by_processor:,.0f} /s", "", ""),
        ("a run starts, a waiting worker has it, p50", f"{wakes[WAKES // 2] * 1e3:.1f} ms", "", "<= 10 ms"),
        ("  p99", f"{wakes[WAKES * 99 // 100] * 1e3:.1f} ms", "", ""),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(crew(int(sys.argv[1])))
    else:
        subprocess.run([sys.executable, "-m", "bench", "work"], check=True)
