"""A canary: a value that is looked for wherever Harpoon writes, answers or runs, and is found with its task alone."""

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, eventually

pytestmark = pytest.mark.system

#: Prints nothing of what it has, is told once to fail, and then runs.
SCRIPT = 'test -n "$PW" && test -s "$SECRETS_DIR/pw" || exit 9; test -e "$HOME/once" || { touch "$HOME/once"; exit 7; }; echo up; exec sleep 100000'


def harpoon(cluster: Cluster, *arguments: str, stdin: bytes = b"") -> bytes:
    environment = os.environ | {"HARPOON_SERVER": cluster.url}
    command = [sys.executable, "-m", "harpoon", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False, env=environment)
    assert done.returncode in (0, 10), done
    return done.stdout + done.stderr


def spelled(core: bytes) -> list[bytes]:
    """Return the ways in which letters and digits may show, whatever stands around them: plain, turned, in hex, base64."""
    shifted = [base64.b64encode(b" " * n + core)[4 if n else 0 : -4] for n in range(3)]
    urlsafe = [one.translate(bytes.maketrans(b"+/", b"-_")) for one in shifted]
    return [*dict.fromkeys((core, core[::-1], core.hex().encode(), core.hex().upper().encode(), *shifted, *urlsafe))]


def showing(ways: list[bytes], where: dict[str, bytes]) -> dict[str, bytes]:
    return {name: way for name, told in where.items() for way in ways if way in told}


def files(*directories: Path) -> dict[str, bytes]:
    found = {}
    for directory in directories:
        for path in directory.rglob("*"):
            with suppress(OSError):
                if path.is_file():
                    found[str(path)] = path.read_bytes()
    return found


def values(memory: Path) -> set[bytes]:
    """Return what the secret's files hold, while some of them may be taken away."""
    return {value for name, value in files(memory).items() if Path(name).name == "pw"}


def answers(cluster: Cluster) -> dict[str, bytes]:
    """Ask for everything that can be read of the server and of its agents."""
    tasks = cluster.tasks()
    agents = [f"http://127.0.0.1:{port}" for port in cluster.agent_ports.values()]
    parts = {"ns": ["default"], "name": ["web", "db", *cluster.agent_ports], "id": list(tasks), "n": ["1", "2"]}
    urls = [agent + path for agent in agents for path in ("/v1/tasks", "/v1/agent", "/v1/health", "/metrics")]
    urls += [
        f"{agent}/v1/tasks/{task}/logs?stream={s}" for agent in agents for task in tasks for s in ("stdout", "stderr")
    ]
    for path, methods in cluster.get("/v1/openapi.json")["paths"].items():
        if "get" in methods and path != "/v1/watch":
            ways = [path]
            for part, values in parts.items():
                ways = [way.replace(f"{{{part}}}", value) for way in ways for value in values]
            urls += [cluster.url + way for way in dict.fromkeys(ways)]
    found = {}
    for url in dict.fromkeys(urls):
        try:
            with urllib.request.urlopen(url, timeout=20) as response:
                found[url] = response.read()
        except urllib.error.HTTPError as error:
            found[url] = error.read()
    assert sum(url.startswith(cluster.url) for url in found) > 20
    return found


def processes(cluster: Cluster) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return what everybody can read of all processes, and the environments of Harpoon's own."""
    commands, environments = {}, {}
    ours = {process.pid for process in cluster.processes.values()}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                commands[str(entry)] = (entry / "cmdline").read_bytes()
                if int(entry.name) in ours:
                    environments[str(entry)] = (entry / "environ").read_bytes()
    return commands, environments


def test_a_value_is_found_with_its_task_and_nowhere_else(tmp_path: Path) -> None:
    cores = [os.urandom(12).hex().encode() for _ in range(2)]
    # What needs to be quoted somewhere stands beside, not within what is looked for.
    first, second = (b"it's \"" + core + b'" & $HOME \\ \xc3\xbc' for core in cores)
    ways = [way for core in cores for way in spelled(core)]
    keys, memory = tmp_path / "keys", tmp_path / "memory"
    memory.mkdir()
    with Cluster(tmp_path) as cluster:
        harpoon(cluster, "secret", "new-key", str(keys))
        cluster.start_server("--secrets-key-file", str(keys))
        for name in ("a1", "a2"):
            cluster.start_agent(name, "--secrets-dir", str(memory))
        cluster.connected("a1", "a2")
        told = [harpoon(cluster, "secret", "set", "db", "password=-", stdin=first)]
        task = {
            "command": ["/bin/sh", "-c", SCRIPT.replace("$", "$$")],
            "env": {"PW": {"secret": "db/password"}},
            "secrets": [{"secret": "db/password", "at": "pw"}],
            "restart": {"backoff": {"initial": "10ms"}},
        }
        manifest = tmp_path / "web.json"
        cluster.put_job("web", 2, **task)
        # Each fails once, and is started again by its agent.
        eventually(
            lambda: [(one["restarts"], one["ready"]) for one in cluster.tasks().values()],
            lambda found: found == [(1, True), (1, True)],
        )
        kept = files(memory)
        assert values(memory) == {first}
        pids = [one["pid"] for one in cluster.tasks().values()]
        assert all(b"PW=" + first in Path(f"/proc/{pid}/environ").read_bytes() for pid in pids)
        told.append(harpoon(cluster, "get", "job/web", "-o", "json"))
        manifest.write_bytes(told[-1])
        told.append(harpoon(cluster, "secret", "set", "db", "password=-", stdin=second))
        eventually(lambda: values(memory), lambda found: found == {second})
        # Neither a task that is over, nor a server or an agent that was killed, leaves anything.
        cluster.kill("server")
        cluster.start_server("--secrets-key-file", str(keys))
        cluster.kill("a1")
        cluster.start_agent("a1", "--secrets-dir", str(memory))
        cluster.connected("a1", "a2")
        task["env"] = {"PW": {"secret": "db/password"}, "MODE": "new"}
        plan = {
            "documents": [
                {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": {"name": "web"}, "spec": {"task": task}}
            ]
        }
        told += [json.dumps(cluster.request("POST", path, plan)).encode() for path in ("/v1/plan", "/v1/plan/promise")]
        cluster.done(cluster.put_job("web", 2, **task))
        # What is wrong is told without what was sent.
        body = {"data": {"password": [second.decode()]}, "base64": {"password": second.decode()}}
        told.append(json.dumps(cluster.request("PUT", "/v1/namespaces/default/secrets/db", body)).encode())
        for arguments in (
            ("describe", "job/web"),
            ("events", "job/web"),
            ("why", "web"),
            ("versions", "web"),
            ("secret", "get", "-o", "json"),
            ("secret", "describe", "db"),
            ("secret", "rotate-keys"),
            ("history", "export", "-o", str(tmp_path / "past")),
            ("backup", "-o", str(tmp_path / "backup")),
        ):
            told.append(harpoon(cluster, *arguments))
        commands, environments = processes(cluster)
        read = answers(cluster)
        assert len(kept) == 4
        assert cluster.request("DELETE", "/v1/namespaces/default/jobs/web")[0] == 202
        eventually(lambda: cluster.tasks(), lambda tasks: not tasks)
        eventually(lambda: files(memory), lambda found: not found)
        assert showing(ways, dict(enumerate(told))) == {}
        assert showing(ways, commands) == showing(ways, environments) == {}
        assert showing(ways, read) == {}
        assert showing(ways, files(tmp_path)) == {}
        # The search itself finds what there is.
        assert showing(ways, kept)
