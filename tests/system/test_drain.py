"""An agent is drained, used again, and declared dead, with real processes: what users see of a service meanwhile."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, eventually

pytestmark = pytest.mark.system

ENDPOINTS = "/v1/namespaces/default/jobs/web/endpoints"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as made:
        yield made


class Counter(threading.Thread):
    """Asks for the ready tasks of the service again and again, and keeps how many there were."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.counts: list[int] = []
        self.ends = threading.Event()

    def run(self) -> None:
        while not self.ends.is_set():
            with suppress(OSError):
                self.counts.append(len(self.cluster.get(ENDPOINTS)["endpoints"]))
            time.sleep(0.005)

    def least(self) -> int:
        """Stop counting; return the fewest that there were."""
        self.ends.set()
        self.join()
        assert len(self.counts) > 20, "it was not asked often enough to say anything"
        return min(self.counts)


def harpoon(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HARPOON_SERVER": cluster.url}
    return subprocess.run(
        [sys.executable, "-m", "harpoon", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def on(cluster: Cluster, agent: str) -> list[str]:
    return sorted(one["id"] for one in cluster.tasks().values() if one["agent"] == agent)


def a_service(cluster: Cluster) -> None:
    for name, ports in (("a1", "20000-24999"), ("a2", "25000-29999")):
        cluster.start_agent(name, "--ports", ports)
    cluster.connected("a1", "a2")
    check = {"tcp": {"port": "http"}, "every": "250ms"}
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "$PORT_HTTP"]
    cluster.done(cluster.put_job("web", 3, command=server, ports={"http": 0}, checks=[check]))


def test_a_service_behind_a_drain_never_has_fewer_ready_tasks_and_the_agent_is_used_again(cluster: Cluster) -> None:
    cluster.start_server()
    a_service(cluster)
    assert on(cluster, "a1")
    counter = Counter(cluster)
    counter.start()
    done = harpoon(cluster, "drain", "a1", "--reason", "new kernel")
    assert (done.returncode, done.stdout) == (0, "agent/a1 draining\n"), done.stderr
    assert "agent/a1 is drained after" in done.stderr
    assert on(cluster, "a1") == []
    assert counter.least() == 3
    assert "draining" in harpoon(cluster, "get", "agents").stdout
    cluster.put_job("more", 2)
    eventually(lambda: len(on(cluster, "a2")), lambda count: count == 5)
    assert harpoon(cluster, "uncordon", "a1").stdout == "agent/a1 uncordoned\n"
    cluster.put_job("more", 4)
    eventually(lambda: on(cluster, "a1"), bool)


def test_what_fits_nowhere_else_stays_until_the_deadline(cluster: Cluster) -> None:
    cluster.start_server()
    a_service(cluster)
    assert harpoon(cluster, "cordon", "a2").returncode == 0
    before = on(cluster, "a1")
    late = harpoon(cluster, "drain", "a1", "--timeout", "1s")
    assert late.returncode == 6
    assert "fits nowhere else" in late.stderr
    assert "harpoon uncordon a1" in late.stderr
    assert on(cluster, "a1") == before
    done = harpoon(cluster, "drain", "a1", "--deadline", "500ms")
    assert done.returncode == 0, done.stderr
    assert on(cluster, "a1") == []


def test_what_an_agent_ran_that_is_declared_dead_runs_elsewhere_and_is_stopped_if_it_returns(cluster: Cluster) -> None:
    cluster.start_server("--lost-after", "60s")
    a_service(cluster)
    moved = len(on(cluster, "a1"))
    assert harpoon(cluster, "declare-dead", "a1", "--yes").returncode == 4
    cluster.kill("a1")
    eventually(lambda: cluster.get("/v1/agents/a1")["link"]["state"], lambda state: state == "interrupted")
    done = harpoon(cluster, "declare-dead", "a1", "--yes", "--reason", "burnt down")
    assert (done.returncode, done.stdout) == (0, "agent/a1 declared dead\n"), done.stderr
    eventually(lambda: len(cluster.get(ENDPOINTS)["endpoints"]), lambda count: count == 3)
    assert len(on(cluster, "a2")) == 3
    assert len(list(cluster.task_processes())) > 6, "what the dead one ran goes on"
    cluster.start_agent("a1", "--ports", "20000-24999")
    cluster.connected("a1")
    eventually(lambda: on(cluster, "a1"), lambda tasks: tasks == [])
    assert len(cluster.get(ENDPOINTS)["endpoints"]) == 3
    events = [one["event"] for one in cluster.get("/v1/agents/a1/events")["items"] if one["subject"] == "agent/a1"]
    assert "declared_dead" in events
    assert moved >= 1
