"""The whole way of a service in one go: start, schedule, watch, kill, migrate under load, scale, unschedule.

Starts a server and two agents of its own on free ports, uses the command line as a user would, asserts each step
and leaves nothing behind. The registry is a file of SQLite, or with ``--store etcd`` an etcd that is started, too.
Exits 0 when every step held, else 1, naming the step.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path

import aiohttp

REQUESTS_PER_S = 250
SLOW_S = 1.0

#: The demonstrated service: answers every request with its own configuration.
SITE = """
import http.server, json, os, signal, sys
class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({key: os.environ[key] for key in ("COLOUR", "HARPOON_TASK")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
Server((os.environ["HARPOON_ADDRESS"], int(os.environ["PORT_HTTP"])), Site).serve_forever()
"""


def manifest(colour: str, scale: int = 3) -> dict:
    """Return the service's manifest."""
    return {
        "apiVersion": "harpoon/v1",
        "kind": "Job",
        "metadata": {"name": "web", "tags": {"team": "demo"}},
        "spec": {
            "scale": scale,
            "task": {
                "command": [sys.executable, "-c", SITE],
                "env": {"COLOUR": colour},
                "ports": {"http": 0},
                "resources": {"cpu": "100m", "memory": "64Mi"},
                "checks": [{"http": {"port": "http", "path": "/"}, "every": "500ms"}],
                "stop": {"drain": "1s", "grace": "5s"},
            },
        },
    }


class StepFailed(Exception):
    """A step of the demonstration did not hold."""


def check(is_true: bool, what: str) -> None:
    """Assert something a user can see."""
    if not is_true:
        raise StepFailed(what)


class Demo:
    """One demonstration: its processes, its directory, and the step it is at."""

    def __init__(self, directory: Path, store: str) -> None:
        self.directory = directory
        self.store = store
        self.processes: dict[str, subprocess.Popen] = {}
        self.server = ""
        self.step = "starting"
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:5.1f}s] {text}", flush=True)

    def begin(self, step: str) -> None:
        self.step = step
        self.say(f"== {step}")
        for name, process in self.processes.items():
            check(process.poll() is None, f"the {name} process has died (exit {process.returncode})")

    def spawn(self, name: str, *arguments: str) -> None:
        """Start a part of the system as its own process."""
        self.run(name, sys.executable, "-m", "harpoon", *arguments)

    def run(self, name: str, *command: str) -> None:
        """Start a program."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def harpoon(self, *arguments: str, timeout: float = 40) -> str:
        """Run a command as a user would; it must succeed."""
        self.say("$ harpoon " + " ".join(arguments))
        done = subprocess.run(
            [sys.executable, "-m", "harpoon", *arguments],
            env={**os.environ, "HARPOON_SERVER": self.server},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        output = (done.stdout + done.stderr).rstrip()
        if output and "json" not in arguments:
            print("    " + output.replace("\n", "\n    "), flush=True)
        check(done.returncode == 0, f"harpoon {' '.join(arguments)} exited {done.returncode}: {output}")
        return done.stdout

    def get(self, *arguments: str) -> dict:
        return json.loads(self.harpoon("get", *arguments, "-o", "json"))


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, below those that agents give to tasks by default."""
    ports: list[int] = []
    for port in range(19000 + os.getpid() % 900, 20000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise StepFailed("no free ports")


class Visitor:
    """A client that knows the service only by ``/endpoints``: a new connection for every request, and no retry."""

    #: What takes longer than this has failed.
    slow_s = SLOW_S

    def __init__(self, server: str) -> None:
        self.url = f"{server}/v1/namespaces/default/jobs/web/endpoints"
        self.addresses: list[tuple[str, int]] = []
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []

    async def follow(self, session: aiohttp.ClientSession) -> None:
        """Keep the list of addresses as the server tells it."""
        timeout = aiohttp.ClientTimeout(total=None)
        headers = {"Accept": "application/x-ndjson"}
        async with session.get(self.url, headers=headers, timeout=timeout) as response:
            async for line in response.content:
                if line.strip() and "endpoints" in (told := json.loads(line)):
                    self.addresses = [(e["address"], e["ports"]["http"]) for e in told["endpoints"]]

    async def visit(self, number: int) -> None:
        """Make one request and judge it."""
        address, port = self.addresses[number % len(self.addresses)]
        try:
            async with asyncio.timeout(self.slow_s):
                reader, writer = await asyncio.open_connection(address, port)
                try:
                    writer.write(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
                    answer = await reader.read()
                finally:
                    writer.close()
            head, _, body = answer.partition(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n")[0] + b" ":
                raise ValueError(f"answered {head[:60]!r}")
            self.answers[json.loads(body)["COLOUR"]] += 1
        except (OSError, ValueError, TimeoutError) as error:
            self.failures.append(f"{address}:{port} {type(error).__name__} {error}")

    async def browse(self) -> None:
        """Make requests at a steady rate until cancelled."""
        loop = asyncio.get_running_loop()
        began, number = loop.time(), 0
        async with asyncio.TaskGroup() as group:
            while True:
                if self.addresses:
                    group.create_task(self.visit(number))
                else:
                    self.failures.append("no endpoint to ask")
                number += 1
                await asyncio.sleep(max(0.0, began + number / REQUESTS_PER_S - loop.time()))


async def migrate_under_load(demo: Demo, path: Path) -> None:
    """Migrate while a visitor keeps asking; nothing it asks may fail."""
    visitor = Visitor(demo.server)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        following = group.create_task(visitor.follow(session))
        async with asyncio.timeout(5):
            while len(visitor.addresses) < 3:
                await asyncio.sleep(0.01)
        browsing = group.create_task(visitor.browse())
        began = time.monotonic()
        await asyncio.sleep(0.5)
        await asyncio.to_thread(demo.harpoon, "migrate", str(path), "--timeout", "30s")
        await asyncio.sleep(0.5)
        took = time.monotonic() - began
        browsing.cancel()
        following.cancel()
    total = sum(visitor.answers.values()) + len(visitor.failures)
    answers, failed = dict(visitor.answers), len(visitor.failures)
    demo.say(f"{total} requests in {took:.1f} s ({total / took:.0f}/s): {answers}, {failed} failed")
    check(not visitor.failures, f"{len(visitor.failures)} requests failed, first: {visitor.failures[:3]}")
    check(total / took >= 200, "fewer than 200 requests a second were made")
    check(set(visitor.answers) == {"blue", "green"}, "the visitor did not see both configurations")


def fetch_all(demo: Demo, colour: str, count: int) -> None:
    """Fetch a page from every task and see that it is the one meant."""
    endpoints = demo.get("endpoints", "web")["endpoints"]
    check(len(endpoints) == count, f"{len(endpoints)} endpoints instead of {count}")
    for endpoint in endpoints:
        address = (endpoint["address"], endpoint["ports"]["http"])
        with socket.create_connection(address, timeout=SLOW_S) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        page = json.loads(answer.partition(b"\r\n\r\n")[2])
        demo.say(f"GET http://{address[0]}:{address[1]}/ -> {page}")
        check(page == {"COLOUR": colour, "HARPOON_TASK": endpoint["task"]}, f"{endpoint['task']} answered {page}")


def kill_one(demo: Demo) -> None:
    """Kill a task's process and see it run again."""
    task = demo.get("tasks")["items"][0]
    os.kill(task["pid"], signal.SIGKILL)
    began = time.monotonic()
    while time.monotonic() - began < 5:
        again = next(t for t in demo.get("tasks")["items"] if t["id"] == task["id"])
        if again["ready"] and again["pid"] != task["pid"]:
            break
    check(again["ready"] and again["pid"] != task["pid"], f"{task['id']} did not come back: {again}")
    check(again["restarts"] == task["restarts"] + 1, f"{task['id']} counts {again['restarts']} restarts")
    demo.say(f"killed pid {task['pid']}, runs again as pid {again['pid']}: {again['reason']}")


def processes_left(directory: Path) -> list[str]:
    """Return the processes whose environment or command line names the demonstration's directory."""
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if str(directory).encode() in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                    left.append(f"{entry.name} {(entry / 'cmdline').read_bytes().replace(bytes(1), b' ')[:100]!r}")
    return left


def start_etcd(demo: Demo, port: int, peer_port: int) -> str:
    """Start an etcd of one member; return the URL of the store on it."""
    program = shutil.which("etcd")
    check(program is not None, "there is no etcd on the PATH; install it, for instance: apt-get install etcd-server")
    clients, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    where = ["--listen-client-urls", clients, "--advertise-client-urls", clients]
    where += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"demo={peers}"]
    demo.run("etcd", program, "--name", "demo", "--data-dir", str(demo.directory / "etcd"), *where)
    began = time.monotonic()
    while time.monotonic() - began < 20:
        with suppress(OSError), urllib.request.urlopen(f"{clients}/health", timeout=1) as answer:
            if json.loads(answer.read())["health"] == "true":
                version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
                demo.say(f"{version.splitlines()[0]} answers at {clients}")
                return f"etcd://127.0.0.1:{port}"
        check(demo.processes["etcd"].poll() is None, "etcd has died")
        time.sleep(0.05)
    raise StepFailed("etcd did not come up")


def run(demo: Demo) -> None:
    """Walk through the steps."""
    server_port, *agent_ports, etcd_port, peer_port = free_ports(5)
    demo.server = f"http://127.0.0.1:{server_port}"
    kept = ("--data", str(demo.directory / "server"))
    if demo.store == "etcd":
        demo.begin("start an etcd")
        kept = ("--store", start_etcd(demo, etcd_port, peer_port))
    demo.begin("start a server and two agents")
    demo.spawn("server", "server", "--listen", f"127.0.0.1:{server_port}", *kept)
    # Two agents of one host need different ranges, or both may find the same port free.
    for name, port, ports in zip(("a1", "a2"), agent_ports, ("20000-24999", "25000-29999"), strict=True):
        listen, state = f"127.0.0.1:{port}", str(demo.directory / name)
        where = ("--listen", listen, "--state-dir", state, "--ports", ports)
        demo.spawn(name, "agent", "--name", name, "--server", demo.server, *where)
    demo.harpoon("wait", "agents", "--count", "2", "--timeout", "15s")
    demo.harpoon("get", "agents")

    demo.begin("schedule a service at scale 3 and watch it become ready")
    blue, green = demo.directory / "blue.json", demo.directory / "green.json"
    blue.write_text(json.dumps(manifest("blue")))
    green.write_text(json.dumps(manifest("green")))
    demo.harpoon("schedule", str(blue), "--timeout", "20s")
    demo.harpoon("get", "tasks")

    demo.begin("fetch a page from every task")
    fetch_all(demo, "blue", 3)

    demo.begin("kill one task with -9; it comes back")
    kill_one(demo)

    demo.begin("migrate to a new configuration under load, without one failed request")
    asyncio.run(migrate_under_load(demo, green))
    fetch_all(demo, "green", 3)

    demo.begin("scale to 5, then to 2")
    demo.harpoon("scale", "web", "5", "--timeout", "20s")
    fetch_all(demo, "green", 5)
    demo.harpoon("scale", "web", "2", "--timeout", "20s")
    fetch_all(demo, "green", 2)

    demo.begin("unschedule, and see that nothing is left")
    demo.harpoon("unschedule", "web", "--timeout", "20s")
    check(demo.get("jobs")["items"] == [], "a job is left")
    check(demo.get("tasks")["items"] == [], "a task is left")


def main() -> int:
    """Run the demonstration; 0 when every step held."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", choices=("sqlite", "etcd"), default="sqlite", help="what the registry is kept in")
    with tempfile.TemporaryDirectory(prefix="harpoon-demo-") as name:
        demo = Demo(Path(name), parser.parse_args().store)
        try:
            run(demo)
            for part, process in reversed(demo.processes.items()):
                process.terminate()
                # Having cleaned up, etcd ends by the very signal that it was sent.
                clean = -signal.SIGTERM if part == "etcd" else 0
                check(process.wait(timeout=10) == clean, f"{part} did not end cleanly (exit {process.returncode})")
            left = processes_left(demo.directory)
            check(not left, f"processes are left: {left}")
        except (StepFailed, subprocess.TimeoutExpired, OSError, ExceptionGroup) as error:
            report(demo, error)
            return 1
        finally:
            clean_up(demo)
        demo.say("everything held; nothing is left")
        return 0


def report(demo: Demo, error: Exception) -> None:
    """Say where it failed, what died, and what the parts said last."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    died = [f"{name} (exit {process.returncode})" for name, process in demo.processes.items() if process.poll()]
    lines = [f"FAILED at step '{demo.step}': {error}", *(f"this part has died: {part}" for part in died)]
    for part in demo.processes:
        tail = (demo.directory / f"{part}.log").read_text().splitlines()[-5:]
        lines += [f"--- last lines of {part}:", *(f"    {line}" for line in tail)]
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def clean_up(demo: Demo) -> None:
    """End whatever a failed demonstration left running: first the parts, then their tasks."""
    for process in demo.processes.values():
        if process.poll() is None:
            process.kill()
            process.wait()
    for line in processes_left(demo.directory):
        with suppress(OSError):
            os.kill(int(line.split()[0]), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
