"""How fast the store on etcd is, beside two floors of the same run on the same etcd: bare calls of its own stubs.

1. *One by one*: as many compare-and-swaps in flight, each a transaction of its own. What group commit is to beat.
2. *Bare nested transactions*: all that are in flight in one, nothing else done.

Then the whole way of a task, and the doors, on a server that keeps its registry in etcd.

What it does not show: a network, a cluster (one member waits for its own disk only), TLS, or a slow disk. Releases
from 3.5 on take single transactions three times as fast as 3.4 does, and nested ones alike: there the first floor is
higher, and no nesting beats it eight times.
"""

import asyncio
import gc
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvloop

from bench import doors, system
from bench.store import IN_FLIGHT, KEYS, LISTED, VALUE, Row, alone, fill, gets, list_long, swaps, watch
from bench.world import quiet
from harpoon.kit.clock import SystemClock
from harpoon.store.etcd import rpc_pb2 as pb
from harpoon.store.etcd.rpc import TXN, Credentials
from harpoon.store.etcd.store import EtcdStore
from harpoon.store.url import EtcdUrl, parse_url

SPAN_S, TURNS = 0.4, 5


def rows() -> list[Row]:
    """Return (name, ours, raw floor of the same run, ratio or target) for each figure."""
    quiet()
    with etcd() as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_measure(url))
    with etcd() as url:
        started = uvloop.run(_starts(url))
    with etcd() as url, doors.server(url) as (port, _):
        puts, _ = uvloop.run(doors.put_all(port, 0))
    cas, single, nested = found["cas"], found["single"], found["nested"]
    p50, p99 = system.quantile(started, 0.5), system.quantile(started, 0.99)
    return [
        (
            f"compare-and-swaps/s, {IN_FLIGHT} in flight",
            f"{cas:,.0f}",
            f"{nested:,.0f} nested",
            f"{cas / nested:.2f} (≥ 0.5)",
        ),
        ("  beside one by one", f"{cas:,.0f}", f"{single:,.0f} one by one", f"{cas / single:.1f} (≥ 8)"),
        ("one commit after the other, p50 / p99", f"{found['p50']:.2f} / {found['p99']:.2f} ms", "", ""),
        ("get, p50", f"{found['get']:.2f} ms", "", ""),
        ("watch, live, events/s", f"{found['live']:,.0f}", "", "≥ 30,000"),
        ("watch, replay, events/s", f"{found['replay']:,.0f}", "", "≥ 30,000"),
        (f"list of {LISTED:,} keys", f"{found['list']:.2f} s", "", "≤ 0.5 s"),
        ("  the loop held by it, longest", f"{found['hold']:.0f} ms", "", "≤ 20 ms"),
        ("on etcd: request → running, seen, p50 / p99", f"{p50:.1f} / {p99:.1f} ms", "", "p50 ≤ 8 ms"),
        ("on etcd: PUT of jobs a second, scale 0", f"{puts:,.0f}", "", "≥ 4,000"),
    ]


@contextmanager
def etcd() -> Iterator[str]:
    """Run an etcd of one member on a disk; yield the URL of a store on it."""
    program = shutil.which("etcd")
    assert program, "there is no etcd on the PATH"
    with tempfile.TemporaryDirectory(prefix="bench-etcd-") as name, (Path(name) / "log").open("ab") as log:
        clients, peers = (f"http://127.0.0.1:{port}" for port in _two_ports())
        command = [program, "--data-dir", f"{name}/data", "--initial-cluster", f"default={peers}"]
        command += ["--listen-client-urls", clients, "--advertise-client-urls", clients]
        command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(500):
                with suppress(OSError), urllib.request.urlopen(f"{clients}/health", timeout=1):
                    break
                time.sleep(0.02)
            yield clients.replace("http", "etcd")
        finally:
            process.terminate()
            process.wait()


def _two_ports() -> tuple[int, int]:
    first = doors.free_port()
    return first, doors.free_port(first + 1)


async def _measure(text: str) -> dict[str, float]:
    url = parse_url(text)
    assert isinstance(url, EtcdUrl)
    floors = Floors(url)
    store = await EtcdStore.open(url, clock=SystemClock())
    # By turns: a noisy machine must not decide the ratios.
    turns = [
        (await floors.one_by_one(), await swaps(store, f"/h/1/{turn}/", SPAN_S), await floors.nested())
        for turn in range(TURNS)
    ]
    found = dict(zip(("single", "cas", "nested"), map(statistics.median, zip(*turns, strict=True)), strict=True))
    found["p50"], found["p99"] = await alone(store)
    found["get"] = await gets(store)
    found["live"], found["replay"] = await watch(store)
    await fill(store)
    # As a server does: what is loaded stays, and the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    lists = [await list_long(store) for _ in range(TURNS)]
    found["list"], found["hold"] = map(statistics.median, zip(*lists, strict=True))
    await store.close()
    await floors.caller.channel.close()
    return found


class Floors:
    """Bare calls, over a channel like the store's own; each goes on where it was with the keys it writes."""

    def __init__(self, url: EtcdUrl) -> None:
        self.caller = Credentials(url).open(url.endpoints[0])
        self.txn = self.caller.call(TXN)
        self.known: dict[bytes, int] = {}

    def swap(self, key: bytes) -> pb.TxnRequest:
        compare = pb.Compare(key=key, target=pb.Compare.MOD, mod_revision=self.known.get(key, 0))
        put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=VALUE))
        return pb.TxnRequest(compare=[compare], success=[put])

    async def one_by_one(self) -> float:
        """Return compare-and-swaps/s, each a transaction of its own."""
        done, start = 0, time.perf_counter()

        async def work(share: int) -> None:
            nonlocal done
            keys = [f"/one/job-{n:05d}".encode() for n in range(share, KEYS, IN_FLIGHT)]
            while True:
                for key in keys:
                    if time.perf_counter() - start > SPAN_S:
                        return
                    answer = await self.txn(self.swap(key))
                    assert answer.succeeded
                    self.known[key] = answer.header.revision
                    done += 1

        async with asyncio.TaskGroup() as group:
            for share in range(IN_FLIGHT):
                group.create_task(work(share))
        return done / (time.perf_counter() - start)

    async def nested(self) -> float:
        """Return compare-and-swaps/s, all that are in flight in one transaction."""
        keys = [f"/nested/job-{n:05d}".encode() for n in range(KEYS)]
        done, start = 0, time.perf_counter()
        while True:
            for at in range(0, KEYS - IN_FLIGHT, IN_FLIGHT):
                if time.perf_counter() - start > SPAN_S:
                    return done / (time.perf_counter() - start)
                chosen = keys[at : at + IN_FLIGHT]
                request = pb.TxnRequest(success=[pb.RequestOp(request_txn=self.swap(key)) for key in chosen])
                answer = await self.txn(request)
                assert all(each.response_txn.succeeded for each in answer.responses)
                self.known.update(dict.fromkeys(chosen, answer.header.revision))
                done += IN_FLIGHT


async def _starts(url: str) -> list[float]:
    async with system.cluster(doors.free_port(), url) as (session, server, watch, _):
        return await system.starts(session, server, watch)


def main() -> None:
    """Print the table."""
    gc.freeze()
    start = time.perf_counter()
    for row in rows():
        print(f"{row[0]:<48} {row[1]:>16} {row[2]:>20}  {row[3]}")
    print(f"took {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
