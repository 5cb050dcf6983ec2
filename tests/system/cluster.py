"""A real server and real agents as processes of their own, reached only as a user would."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.ports import free_port

DEADLINE_S = 30.0


def eventually(read: Callable[[], object], is_right: Callable[[object], bool], within_s: float = DEADLINE_S) -> object:
    """Read again and again until it is right; what was read last is in the failure."""
    began = time.monotonic()
    while True:
        value = read()
        if is_right(value):
            return value
        assert time.monotonic() - began < within_s, f"still not right after {within_s} s: {value!r}"
        time.sleep(0.02)


class Cluster:
    """One server and its agents under a directory; the server's store is a file there, or the one given by its URL."""

    def __init__(self, directory: Path, store: str = "") -> None:
        self.directory = directory
        self.store = store
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen] = {}
        self.agent_ports: dict[str, int] = {}

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        for pid in self.task_processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def start_server(self, *options: str) -> None:
        self.launch_server(*options)
        eventually(lambda: self.process_answers("server", "/v1/health"), bool)

    def launch_server(self, *options: str) -> None:
        """Start the server, and wait for nothing."""
        kept = ("--store", self.store) if self.store else ("--data", str(self.directory / "server"))
        self._start("server", "server", "--listen", f"127.0.0.1:{self.port}", *kept, *options)

    def start_agent(self, name: str, *options: str) -> None:
        port = self.agent_ports.setdefault(name, free_port())
        where = ["--listen", f"127.0.0.1:{port}", "--state-dir", str(self.directory / name)]
        self._start(name, "agent", "--name", name, "--server", self.url, *where, *options)

    def connected(self, *names: str) -> None:
        """Wait until the server commands these agents."""

        def states() -> dict[str, str]:
            return {agent["name"]: agent["link"]["state"] for agent in self.get("/v1/agents")["items"]}

        eventually(states, lambda found: all(found.get(name) == "connected" for name in names))

    def kill(self, name: str) -> None:
        """Kill -9 a part of the system."""
        self.processes[name].kill()
        self.processes[name].wait()

    def stop(self, name: str) -> int:
        """Ask a part to end, and return its exit code."""
        self.processes[name].terminate()
        return self.processes[name].wait(timeout=15)

    def request(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=40) as response:
                return response.status, json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"{}")

    def get(self, path: str) -> dict:
        status, answer = self.request("GET", path)
        assert status == 200, answer
        return answer

    def put_job(self, name: str, scale: int = 1, **task: object) -> dict:
        status, answer = self.request("PUT", f"/v1/namespaces/default/jobs/{name}", a_manifest(name, scale, **task))
        assert status in (200, 202), answer
        return answer

    def done(self, answer: dict) -> None:
        """Wait until a change is done."""
        told = self.get(f"/v1/changes/{answer['change']}?wait=30s")
        assert told["is_done"], told

    def tasks(self) -> dict[str, dict]:
        return {task["id"]: task for task in self.get("/v1/tasks")["items"]}

    def metric(self, name: str, port: int | None = None) -> float:
        """Return the sum of a metric over its labels, at the server or at an agent's port."""
        url = f"http://127.0.0.1:{port or self.port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{")))

    def process_answers(self, name: str, path: str) -> bool:
        assert self.processes[name].poll() is None, self.log(name)
        with suppress(OSError):
            return self.request("GET", path)[0] == 200
        return False

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()[-20_000:]

    def task_processes(self) -> Iterator[int]:
        """Yield the processes that carry this directory in their environment: tasks and their shims."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if str(self.directory).encode() in (entry / "environ").read_bytes():
                        yield int(entry.name)

    def _start(self, name: str, *arguments: str, program: tuple[str, ...] = ("harpoon",)) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *program, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )


def a_manifest(name: str, scale: int = 1, **task: object) -> dict:
    template = {"command": ["/bin/sleep", "100000"], "stop": {"drain": "0s", "grace": "2s"}, **task}
    return {
        "apiVersion": "harpoon/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"scale": scale, "task": template},
    }
