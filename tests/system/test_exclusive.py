"""An exclusive slot among parts that are killed and paused for real: its tasks hold a lock, and tell if it was taken."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, a_manifest, eventually

pytestmark = pytest.mark.system

JOB = "/v1/namespaces/default/jobs/db"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as made:
        yield made


def put(cluster: Cluster, mode: int) -> dict:
    """Declare a job whose task notes when it finds another one running."""
    lock, twice = cluster.directory / "lock", cluster.directory / "twice"
    script = f"exec 9>{lock}; flock -n 9 || echo $HARPOON_TASK >> {twice}; while :; do sleep 0.02; done"
    manifest = a_manifest("db", command=["/bin/sh", "-c", script], env={"MODE": str(mode)})
    manifest["spec"]["exclusive"] = True
    status, answer = cluster.request("PUT", JOB, manifest)
    assert status in (200, 202), answer
    return answer


def test_whatever_is_killed_amid_migrates_no_two_tasks_of_the_slot_ever_run(cluster: Cluster) -> None:
    rng = random.Random(7)
    cluster.start_server("--lost-after", "1s")
    for name in ("a1", "a2"):
        cluster.start_agent(name)
    cluster.connected("a1", "a2")
    cluster.done(put(cluster, 0))
    for mode in range(1, 9):
        answer = put(cluster, mode)
        time.sleep(rng.uniform(0, 0.15))
        hit = rng.choice(("server", "a1", "a2"))
        cluster.kill(hit)
        time.sleep(rng.uniform(0, 0.3))
        if hit == "server":
            cluster.start_server("--lost-after", "1s")
        else:
            cluster.start_agent(hit)
        cluster.connected("a1", "a2")
        if rng.random() < 0.5:
            cluster.done(answer)
    cluster.done(answer)
    assert len(cluster.tasks()) == 1
    assert not (cluster.directory / "twice").exists(), (cluster.directory / "twice").read_text()


def test_a_paused_agent_keeps_its_slot_until_it_is_back(cluster: Cluster) -> None:
    cluster.start_server("--lost-after", "1s")
    for name in ("a1", "a2", "a3"):
        cluster.start_agent(name)
    cluster.connected("a1", "a2", "a3")
    cluster.done(put(cluster, 0))
    [(task, told)] = cluster.tasks().items()
    paused = cluster.processes[told["agent"]]
    os.kill(paused.pid, signal.SIGSTOP)
    eventually(lambda: cluster.tasks()[task]["state"], lambda state: state == "lost", within_s=60)
    answer = put(cluster, 1)
    time.sleep(2)
    assert cluster.tasks().keys() == {task}
    assert f"if {told['agent']} will never come back: harpoon declare-dead {told['agent']}" in str(
        cluster.get(f"{JOB}/why")
    )
    os.kill(paused.pid, signal.SIGCONT)
    cluster.done(answer)
    assert task not in cluster.tasks()
    assert not (cluster.directory / "twice").exists()
