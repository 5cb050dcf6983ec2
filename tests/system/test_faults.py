"""What dies is brought back, and what lives is left alone: real processes, killed for real."""

import json
import os
import random
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.system.cluster import Cluster, eventually

pytestmark = pytest.mark.system


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as made:
        yield made


class Follower(threading.Thread):
    """A watcher that resumes from its last revision whenever it is cut off, and keeps all it was told."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.revisions: list[str] = []
        self.tasks: dict[str, dict] = {}
        self.problems: list[str] = []
        self.ends = threading.Event()

    def run(self) -> None:
        after = ""
        while not self.ends.is_set():
            try:
                request = urllib.request.Request(f"{self.url}/v1/watch?kinds=tasks{after}")
                request.add_header("Accept", "application/x-ndjson")
                with urllib.request.urlopen(request, timeout=2) as response:
                    for line in response:
                        after = self._take(json.loads(line)) or after
            except OSError:
                time.sleep(0.02)
            except Exception as error:  # noqa: BLE001 a thread's failure must reach the test
                self.problems.append(repr(error))

    def _take(self, event: dict) -> str | None:
        if event["type"] == "snapshot":
            self.tasks = {item["key"].rpartition("/")[2]: item["object"] for item in event["items"]}
        for change in event.get("changes", ()):
            task = change["key"].rpartition("/")[2]
            if change["type"] == "put":
                self.tasks[task] = change["object"]
            else:
                self.tasks.pop(task, None)
        if event["type"] == "change":
            self.revisions.append(event["revision"])
        return f"&after={event['revision']}" if "revision" in event else None


def test_a_killed_server_loses_nothing_and_restarts_no_task(cluster: Cluster) -> None:
    cluster.start_server()
    cluster.start_agent("a1")
    cluster.start_agent("a2")
    cluster.connected("a1", "a2")
    follower = Follower(cluster.url)
    follower.start()
    eventually(lambda: follower.is_alive(), bool)
    rng = random.Random(4)
    acknowledged: dict[str, int] = {}
    for number in range(6):
        for _ in range(rng.randint(1, 4)):
            name, scale = f"job{rng.randint(0, 5)}", rng.randint(1, 4)
            cluster.put_job(name, scale)
            acknowledged[name] = scale
        time.sleep(rng.uniform(0, 0.06))
        before = {id_: task["pid"] for id_, task in cluster.tasks().items() if task["state"] == "running"}
        cluster.kill("server")
        cluster.start_server()
        kept = {job["metadata"]["name"]: job["spec"]["scale"] for job in cluster.get("/v1/jobs")["items"]}
        assert kept == acknowledged, f"after kill {number}"
        cluster.connected("a1", "a2")
        now = cluster.tasks()
        assert {
            id_: now[id_]["pid"] for id_ in before if id_ in now and now[id_]["state"] == "running"
        }.items() <= before.items()
    for name in acknowledged:
        eventually(lambda n=name: cluster.get(f"/v1/namespaces/default/jobs/{n}/status"), lambda s: s["is_done"])
    tasks = cluster.tasks()
    assert len(tasks) == sum(acknowledged.values())
    assert all(task["restarts"] == 0 for task in tasks.values())
    eventually(
        lambda: {i: t["pid"] for i, t in follower.tasks.items()},
        lambda seen: seen == {i: t["pid"] for i, t in tasks.items()},
    )
    follower.ends.set()
    order = [int(revision.rpartition(".")[2]) for revision in follower.revisions]
    assert order == sorted(set(order)), "a revision was repeated or out of order"
    assert follower.problems == []


def test_a_killed_agent_finds_its_tasks_again_and_knows_how_others_ended(cluster: Cluster) -> None:
    cluster.start_server()
    cluster.start_agent("a1")
    cluster.connected("a1")
    cluster.done(cluster.put_job("stay", 5))
    cluster.done(
        cluster.put_job(
            "leave", 1, restart={"policy": "never"}, command=["/bin/sh", "-c", "sleep 1000 & wait $$!; exit 7"]
        )
    )
    before = cluster.tasks()
    cluster.kill("a1")
    [leaving] = [task for id_, task in before.items() if ".leave." in id_]
    children = Path(f"/proc/{leaving['pid']}/task/{leaving['pid']}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    eventually(lambda: Path(f"/proc/{leaving['pid']}").exists(), lambda is_there: not is_there)
    cluster.start_agent("a1")
    after = eventually(
        cluster.tasks,
        lambda tasks: leaving["id"] not in tasks or tasks[leaving["id"]]["state"] in ("failed", "finished"),
    )
    stayed = {id_: task for id_, task in after.items() if ".stay." in id_}
    assert {id_: task["pid"] for id_, task in stayed.items()} == {
        i: t["pid"] for i, t in before.items() if ".stay." in i
    }
    assert all(task["restarts"] == 0 for task in stayed.values())
    ends = [line for line in cluster.log("server").splitlines() if ".leave." in line and "task_changed" in line]
    assert any("exited 7" in line for line in ends), ends


def test_a_killed_task_runs_again_at_once(cluster: Cluster) -> None:
    cluster.start_server()
    cluster.start_agent("a1")
    cluster.connected("a1")
    cluster.done(cluster.put_job("web", 1))
    [(id_, task)] = cluster.tasks().items()
    os.kill(task["pid"], signal.SIGKILL)
    again = eventually(lambda: cluster.tasks()[id_], lambda t: t["state"] == "running" and t["pid"] != task["pid"], 5)
    assert again["restarts"] == 1
    assert again["exit_code"] == -9


def test_five_hundred_tasks_in_steady_state_cause_nothing(cluster: Cluster) -> None:
    cluster.start_server("--resync", "1s")
    cluster.start_agent("a1")
    cluster.start_agent("a2")
    cluster.connected("a1", "a2")
    cluster.done(cluster.put_job("many", 450))
    cluster.done(cluster.put_job("few", 50))
    ports = tuple(cluster.agent_ports.values())

    def counts() -> tuple[object, ...]:
        sent = cluster.metric("harpoon_commands_total")
        received = tuple(cluster.metric("harpoon_agent_commands_total", port) for port in ports)
        return sent, received, cluster.get("/v1/health")["revision"]

    before = counts()
    assert before[0] == sum(before[1]) >= 500
    time.sleep(6.5)
    assert counts() == before


def test_unscheduling_leaves_no_process_behind(cluster: Cluster) -> None:
    cluster.start_server()
    cluster.start_agent("a1")
    cluster.connected("a1")
    cluster.done(cluster.put_job("forker", 2, command=["/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait"]))
    status, answer = cluster.request("DELETE", "/v1/namespaces/default/jobs/forker")
    assert status == 202
    cluster.done(answer)
    assert cluster.tasks() == {}
    assert cluster.stop("a1") == cluster.stop("server") == 0
    assert list(cluster.task_processes()) == []


def test_tasks_checked_by_port_and_program_stay_ready_across_agents_and_leave_nothing(cluster: Cluster) -> None:
    cluster.start_server()
    cluster.start_agent("a1")
    cluster.connected("a1")
    listen = "import os, socket, time; s = socket.create_server((os.environ['HARPOON_ADDRESS'], int(os.environ['PORT_DB']))); time.sleep(1000)"
    checks = [
        {"tcp": {"port": "db"}, "every": "100ms"},
        {"exec": {"command": ["/bin/sh", "-c", "sleep 0.05; test $$1 -gt 0", "sh", "$PORT_DB"]}, "every": "100ms"},
    ]
    cluster.done(cluster.put_job("db", 3, command=[sys.executable, "-c", listen], ports={"db": 0}, checks=checks))
    before = cluster.tasks()
    assert [len(task["checks"]) for task in before.values()] == [2] * 3
    assert all(task["ready"] for task in before.values())
    cluster.kill("a1")
    cluster.start_agent("a1")
    # What only the new agent can tell shows that it has told all.
    broken = [{"exec": {"command": ["/bin/sh", "-c", "echo broken; exit 4"]}, "every": "100ms"}]
    cluster.put_job("bad", 1, checks=broken)
    eventually(
        lambda: [check["detail"] for task in cluster.tasks().values() for check in task["checks"]],
        lambda details: "exited 4: broken" in details,
    )
    now = cluster.tasks()
    for id_, task in before.items():
        same = ("pid", "ready", "checks", "restarts")
        assert [now[id_][field] for field in same] == [task[field] for field in same]
    for name in ("db", "bad"):
        status, answer = cluster.request("DELETE", f"/v1/namespaces/default/jobs/{name}")
        assert status == 202
        cluster.done(answer)
    assert cluster.stop("a1") == cluster.stop("server") == 0
    assert list(cluster.task_processes()) == []


def test_a_server_that_comes_back_takes_its_holds_anew(cluster: Cluster) -> None:
    cluster.start_server()
    cluster.start_agent("a1")
    cluster.connected("a1")
    cluster.done(cluster.put_job("web", 2))
    assert cluster.stop("server") == 0
    cluster.start_server()
    cluster.connected("a1")
    cluster.done(cluster.put_job("web", 3))
    assert len(cluster.tasks()) == 3


def test_a_server_that_stood_still_starts_again_by_itself_with_a_higher_token(cluster: Cluster) -> None:
    cluster.start_server("--lease-ttl", "2s")
    cluster.start_agent("a1")
    cluster.connected("a1")
    cluster.done(cluster.put_job("web", 2))
    before = cluster.tasks()
    os.kill(cluster.processes["server"].pid, signal.SIGSTOP)
    time.sleep(4.5)
    os.kill(cluster.processes["server"].pid, signal.SIGCONT)
    eventually(lambda: cluster.log("server"), lambda log: "term_ended" in log)
    eventually(lambda: cluster.process_answers("server", "/v1/health"), bool)
    cluster.connected("a1")
    cluster.done(cluster.put_job("web", 3))
    assert {id_: task["pid"] for id_, task in cluster.tasks().items()}.items() > {
        id_: task["pid"] for id_, task in before.items()
    }.items()


def test_an_agent_that_the_server_lists_need_not_register_itself(cluster: Cluster) -> None:
    cluster.agent_ports["a1"] = free_port()
    cluster.start_server("--agent", f"a1=http://127.0.0.1:{cluster.agent_ports['a1']}")
    state = ("--listen", f"127.0.0.1:{cluster.agent_ports['a1']}", "--state-dir", str(cluster.directory / "a1"))
    cluster._start("a1", "agent", "--name", "a1", *state)
    cluster.connected("a1")
    cluster.done(cluster.put_job("web", 2))
    assert len(cluster.tasks()) == 2
