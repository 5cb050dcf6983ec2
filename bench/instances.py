"""How several instances behind one port do beside one: changes and reads a second, on a real etcd.

Each instance is a process, started by ``harpoon server --instances N``; the kernel spreads connections over them. The
clients are processes of their own, which do as little as a client can, and as many for each number of instances.

What it shows depends on the machine: instances, etcd and clients share its processors here, so on two of them a second
instance takes from the others what it gives; the line with the processors' time says what each figure is limited by.
What it does not show: a network, a cluster of etcd members, or a balancer between.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
import uvloop

from bench import doors
from bench.etcd import etcd

CLIENTS, CONNECTIONS = 2, 32
PUTS, GETS = 6_000, 12_000
Row = tuple[str, str, str, str]


def rows() -> list[Row]:
    """Return (name, ours, beside what, ratio) for each figure."""
    table: list[Row] = []
    one: dict[str, float] = {}
    cores = os.cpu_count() or 1
    for count in (1, 2, 4):
        with etcd() as url, servers(url, count) as (port, pids):
            for method, total in (("PUT", PUTS), ("GET", GETS)):
                begun = processor_s(pids)
                rate, took_s = measure(port, method, total)
                busy = (processor_s(pids) - begun) / took_s
                one.setdefault(method, rate)
                name = f"{method} of jobs a second, {count} instance{'' if count == 1 else 's'}"
                ratio = f"{rate / one[method]:.2f} of one" if count > 1 else ""
                table.append((name, f"{rate:,.0f}", f"{busy:.2f} of {cores} processors are theirs", ratio))
    return table


@contextmanager
def servers(store: str, count: int) -> Iterator[tuple[int, list[int]]]:
    """Run so many instances; yield their port and their process ids."""
    if count == 1:
        with doors.server(store) as (port, pid):
            until_live(port, 1)
            yield port, [pid]
        return
    port = doors.free_port()
    with tempfile.TemporaryDirectory(prefix="harpoon-bench-") as name, (Path(name) / "log").open("ab") as log:
        start = [sys.executable, "-m", "harpoon", "server", "--listen", f"127.0.0.1:{port}", "--store", store]
        process = subprocess.Popen([*start, "--instances", str(count)], stdout=log, stderr=log)
        try:
            doors.until_up(port)
            until_live(port, count)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield port, [int(child) for child in children]
        finally:
            process.terminate()
            process.wait()


def until_live(port: int, count: int) -> None:
    """Wait until so many instances are live, and one of them leads."""
    for _ in range(600):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/status", timeout=2) as answer:
            told = orjson.loads(answer.read())
            if len(told["instances"]) == count and told["leader"] is not None:
                return
        time.sleep(0.05)
    raise RuntimeError("the instances did not come up")


def processor_s(pids: list[int]) -> float:
    """Return the processor time that processes have used."""
    return sum(map(doors.processor_s, pids))


def measure(port: int, method: str, total: int) -> tuple[float, float]:
    """Let the clients send so many requests in all; return requests a second, and how long it took."""
    command = [sys.executable, "-m", "bench.instances", str(port), method, str(total // CLIENTS)]
    clients = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number in range(CLIENTS)
    ]
    # All of them are ready before any begins.
    for client in clients:
        assert client.stdout is not None
        client.stdout.readline()
    begun = time.perf_counter()
    for client in clients:
        assert client.stdin is not None
        client.stdin.close()
    for client in clients:
        assert client.wait() == 0
    took_s = time.perf_counter() - begun
    for client in clients:
        assert client.stdout is not None
        client.stdout.close()
    return total / took_s, took_s


def play(port: int, method: str, total: int, number: int) -> None:
    """Be one client: say that it is ready, wait, and send."""
    names = [f"job-{number}-{place}" for place in range(total)]
    if method == "PUT":
        requests = [doors.put_request(name, 0) for name in names]
    else:
        # Jobs that were put before by a client of this number.
        known = [f"job-{number}-{place % (PUTS // CLIENTS)}" for place in range(total)]
        requests = [
            f"GET /v1/namespaces/default/jobs/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for name in known
        ]
    print("ready", flush=True)
    sys.stdin.read()
    uvloop.run(doors.send_all(port, requests, CONNECTIONS, 202 if method == "PUT" else 200))


if __name__ == "__main__":
    play(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
