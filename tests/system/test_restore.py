"""A store is lost, and restored from a backup that was made under load: real processes, real etcds, one after another."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.etcd.members import Member
from tests.system.cluster import Cluster, a_manifest, eventually

pytestmark = pytest.mark.system


def harpoon(*words: str, code: int = 0) -> str:
    """Run a verb as an operator does."""
    done = subprocess.run(
        [sys.executable, "-m", "harpoon", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


@contextmanager
def traffic(cluster: Cluster) -> Iterator[list[int]]:
    """Scale and apply as fast as one client can; what each was answered."""
    answers: list[int] = []
    is_over = threading.Event()

    def go() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            answers.append(cluster.request("POST", "/v1/namespaces/default/jobs/noise/scale", {"scale": number % 3})[0])
            documents = [a_manifest(f"idle-{place}", 0, env={"N": str(number)}) for place in range(5)]
            answers.append(cluster.request("POST", "/v1/apply", {"documents": documents})[0])

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield answers
    finally:
        is_over.set()
        thread.join()


def pids(cluster: Cluster) -> dict[str, int]:
    """Task → process, of the jobs that nobody meddles with."""
    return {id_: task["pid"] for id_, task in cluster.tasks().items() if task["job"] in ("web", "late")}


def silence(cluster: Cluster) -> None:
    """End the tasks of the traffic: of the moment that the backup is of, some may run anew."""
    cluster.done(cluster.request("POST", "/v1/namespaces/default/jobs/noise/scale", {"scale": 0})[1])


def unclaimed(cluster: Cluster) -> set[str]:
    return {id_ for id_, task in cluster.tasks().items() if task["state"] == "unclaimed"}


def in_harmony(cluster: Cluster) -> None:
    """Check that nothing is commanded any more, and nothing written."""

    def stand() -> tuple[float, str]:
        return cluster.metric("harpoon_commands_total"), cluster.get("/v1/status")["revision"]

    # Longer than a task takes that is being stopped, and than the lease of a server that was killed.
    eventually(lambda: (stand(), time.sleep(6), stand()), lambda found: found[0] == found[2])
    before = stand()
    time.sleep(3)
    assert stand() == before


def lives_again(cluster: Cluster, ran: dict[str, int], late: set[str], cursor: str, page: str) -> str:
    """Check a restored registry: agents obey, no task was touched, later ones are unclaimed, old cursors refused."""
    cluster.connected("a1", "a2")
    silence(cluster)
    eventually(lambda: unclaimed(cluster), lambda found: found == late)
    assert pids(cluster) == ran
    job = cluster.get("/v1/namespaces/default/jobs/web")
    assert (job["status"]["summary"], job["status"]["is_done"]) == ("4/4 ready", True)
    told = cluster.get("/v1/status")
    assert told["tasks"]["unclaimed"] == len(late)
    (group,) = (one for one in cluster.get("/v1/waiting")["items"] if "unclaimed" in one["reason"])
    assert set(group["subjects"]) == {f"task/{id_}" for id_ in late}
    for path in (
        f"/v1/watch?kinds=tasks&after={cursor}",
        f"/v1/jobs?min_revision={cursor}",
        f"/v1/tasks?limit=1&continue={page}",
    ):
        assert cluster.request("GET", path)[0] == 410, path
    assert cluster.request("GET", f"/v1/changes/default.web.{cursor.replace('.', '-')}")[0] == 404
    assert (
        cluster.request("PUT", "/v1/namespaces/default/jobs/web", a_manifest("web", 9), If_Match=f'"{cursor}"')[0]
        == 412
    )
    served = cluster.get("/v1/namespaces/default/jobs/web/endpoints")["endpoints"]
    assert not {one["task"] for one in served} & late
    in_harmony(cluster)
    assert pids(cluster) == ran
    return str(told["revision"]).partition(".")[0]


def test_a_lost_store_is_restored_twice_and_no_task_is_touched(tmp_path: Path) -> None:
    kept = tmp_path / "harpoon.backup"
    (tmp_path / "cluster").mkdir()
    members = [Member(tmp_path / f"etcd-{number}") for number in range(3)]
    with Cluster(tmp_path / "cluster") as cluster:
        with members[0] as first:
            cluster.store = first.url
            cluster.start_server()
            for agent in ("a1", "a2"):
                cluster.start_agent(agent)
            cluster.connected("a1", "a2")
            cluster.put_job("noise", 1)
            cluster.done(cluster.put_job("web", 4))
            with traffic(cluster) as answers:
                eventually(lambda: len(answers), lambda count: count > 20)
                for _ in range(3):
                    assert "are in" in harpoon("backup", "-o", str(kept), "--server", cluster.url)
            assert set(answers) <= {200, 202}
            # What comes after the backup.
            silence(cluster)
            before = set(pids(cluster))
            cluster.done(cluster.put_job("web", 6))
            cluster.done(cluster.put_job("late"))
            ran = pids(cluster)
            late = set(ran) - before
            assert len(late) == 3
            cursor = cluster.get("/v1/status")["revision"]
            page = cluster.get("/v1/tasks?limit=1")["continue"]
            cluster.kill("server")
        lives = [cursor.partition(".")[0]]
        for member in members[1:]:
            with member:
                told = json.loads(
                    harpoon("restore", str(kept), "--to", member.url, "-o", "json").partition("\nstart")[0]
                )
                assert told["cluster"]
                cluster.store = member.url
                cluster.start_server()
                lives.append(lives_again(cluster, ran, late, cursor, page))
                if member is members[1]:
                    cluster.kill("server")
                else:
                    operators_decide(cluster, ran, late)
        assert lives == sorted(set(lives), key=int)


def operators_decide(cluster: Cluster, ran: dict[str, int], late: set[str]) -> None:
    """Adopt one into its job and one into a job that is declared again, and stop the last."""
    fourth, fifth = sorted(id_ for id_ in late if ".web." in id_)
    (other,) = (id_ for id_ in late if ".late." in id_)
    server = ("--server", cluster.url)
    assert "so no slot 4: scale it to 5 first" in harpoon("adopt", f"task/{fourth}", *server, code=4)
    assert "there is no job late" in harpoon("adopt", other, *server, code=4)
    cluster.done(cluster.put_job("web", 5))
    cluster.done(cluster.put_job("late"))
    assert f"task/{fourth} adopted" in harpoon("adopt", f"task/{fourth}", other, *server)
    assert f"task/{fifth} is to stop" in harpoon("stop", f"task/{fifth}", *server)
    eventually(lambda: pids(cluster), lambda found: found == {id_: ran[id_] for id_ in ran if id_ != fifth})
    assert unclaimed(cluster) == set()
    for name in ("web", "late"):
        eventually(lambda name=name: cluster.get(f"/v1/namespaces/default/jobs/{name}")["status"]["is_done"], bool)
    assert cluster.get("/v1/waiting")["items"] == []
    in_harmony(cluster)
    # They are tasks like any other now.
    cluster.kill("server")
    cluster.start_server()
    cluster.connected("a1", "a2")
    in_harmony(cluster)
    assert pids(cluster) == {id_: ran[id_] for id_ in ran if id_ != fifth}
    assert unclaimed(cluster) == set()


def test_restoring_that_is_killed_anywhere_leaves_no_registry_and_is_made_good(tmp_path: Path) -> None:
    records = 30_000
    (tmp_path / "new").mkdir()
    kept, goes = tmp_path / "harpoon.backup", f"sqlite:///{tmp_path}/new/harpoon.db"
    subprocess.run([sys.executable, "-c", _A_LARGE_BACKUP, str(kept), str(records)], check=True, timeout=60)
    for written in (1 << 17, 1 << 21, 1 << 22):
        process = subprocess.Popen(
            [sys.executable, "-m", "harpoon", "restore", str(kept), "--to", goes],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        began = size(tmp_path / "new")
        eventually(lambda began=began, much=written: size(tmp_path / "new") - began > much, bool)
        process.kill()
        assert process.wait() != 0
        with Cluster(tmp_path / "new", goes) as cluster:
            cluster.launch_server()
            assert cluster.processes["server"].wait(timeout=20) != 0
            assert "harpoon restore again" in cluster.log("server")
    told = json.loads(harpoon("restore", str(kept), "--to", goes, "-o", "json").partition("\nstart")[0])
    assert (told["records"], told["removed"] > 0) == (records, True)


def size(folder: Path) -> int:
    """Bytes of the store's files."""
    return sum(one.stat().st_size for one in folder.glob("harpoon.db*"))


_A_LARGE_BACKUP = """
import asyncio, sys
from pathlib import Path
from harpoon.store import backup
from harpoon.store.cluster import CLUSTER, Cluster
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put

async def main():
    store = MemoryStore()
    await store.commit((), [Put(CLUSTER, b'{"cluster": "c1", "incarnation": 1}')])
    for start in range(0, int(sys.argv[2]), 100):
        await store.commit((), [Put(f"/h/1/ctl/idem/{n:06}", b"x" * 400) for n in range(start, start + 100)])
    pieces = [piece async for piece in backup.write(store, Cluster("c1", 1), at_ms=1, version="1")]
    Path(sys.argv[1]).write_bytes(b"".join(pieces))

asyncio.run(main())
"""
