"""A server on a real etcd that dies, stays away and comes back: tasks run on, reads are answered, and all heals by itself."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.etcd.members import Member
from tests.system.cluster import Cluster, a_manifest, eventually

pytestmark = pytest.mark.system

#: After so long everything is as if nothing had been, once the store answers again.
HEALED_WITHIN_S = 4.0


@pytest.fixture
def etcd_of_its_own(tmp_path: Path) -> Iterator[Member]:
    with Member(tmp_path / "etcd") as member:
        yield member


@pytest.fixture
def cluster(tmp_path: Path, etcd_of_its_own: Member) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    with Cluster(tmp_path / "cluster", etcd_of_its_own.url) as made:
        made.start_server()
        made.start_agent("a1")
        made.connected("a1")
        made.done(made.put_job("web", 3))
        yield made


def pids(cluster: Cluster) -> dict[str, int]:
    return {id_: task["pid"] for id_, task in cluster.tasks().items() if task["job"] == "web"}


def put(cluster: Cluster, name: str, scale: int) -> tuple[int, dict]:
    return cluster.request("PUT", f"/v1/namespaces/default/jobs/{name}", a_manifest(name, scale))


def terms(cluster: Cluster) -> float:
    return cluster.metric("harpoon_terms_total")


def waits_quietly(cluster: Cluster) -> None:
    """Check that who waited said so now and then, and that nothing failed that was not expected to."""
    log = cluster.log("server").splitlines()
    assert not [line for line in log if "Traceback" in line]
    for event in ("pass_failed", "publish_failed", "mirror_waits", "waiting_for_store"):
        assert sum(f'"{event}"' in line for line in log) <= 6, event


@pytest.mark.parametrize(
    ("go", "come", "away_s"),
    [
        (Member.kill, Member.start, 3.0),
        (Member.kill, Member.start, 14.0),
        # Nobody refuses a connection: whatever is asked waits, and may be done when nobody waits for it any more.
        (Member.pause, Member.resume, 14.0),
    ],
    ids=["killed for 3 s", "killed for 14 s", "paused for 14 s"],
)
def test_while_the_store_is_away_tasks_run_on_and_when_it_is_back_all_heals(
    cluster: Cluster,
    etcd_of_its_own: Member,
    go: Callable[[Member], None],
    come: Callable[[Member], None],
    away_s: float,
) -> None:
    before, begun, was = (
        pids(cluster),
        cluster.metric("harpoon_agent_commands_total", cluster.agent_ports["a1"]),
        terms(cluster),
    )
    go(etcd_of_its_own)
    gone = time.monotonic()
    refused = 0
    while time.monotonic() - gone < away_s:
        asked = time.monotonic()
        assert pids(cluster) == before
        assert cluster.get("/v1/namespaces/default/jobs/web/status")["is_done"]
        assert time.monotonic() - asked < 0.5
        status, answer = put(cluster, "late", 1)
        assert (status, answer["code"]) == (503, "store_unavailable")
        assert time.monotonic() - asked < 11
        refused += 1
        time.sleep(0.2)
    assert refused
    come(etcd_of_its_own)
    back = time.monotonic()
    eventually(lambda: put(cluster, "late", 1)[0], lambda status: status in (200, 202))
    cluster.done(put(cluster, "late", 1)[1])
    assert time.monotonic() - back < HEALED_WITHIN_S
    assert pids(cluster) == before
    assert cluster.metric("harpoon_agent_commands_total", cluster.agent_ports["a1"]) == begun + 1
    # A lease that etcd never missed goes on, and the term with it.
    assert terms(cluster) == was + (away_s > 10)
    waits_quietly(cluster)


def test_a_killed_server_waits_for_its_former_hold_and_goes_on(cluster: Cluster) -> None:
    before = pids(cluster)
    cluster.kill("server")
    cluster.start_server()
    begun = time.monotonic()
    # It answers at once, and takes what it is told; that it may not act yet does not show.
    assert pids(cluster) == before
    status, answer = put(cluster, "late", 2)
    assert status == 202
    log = eventually(lambda: cluster.log("server"), lambda log: "standing_by" in log)
    assert "a server of this name had it" in log
    cluster.done(answer)
    assert time.monotonic() - begun < 15
    assert pids(cluster) == before


def test_a_second_server_stands_by_and_takes_over_when_the_first_is_killed(
    cluster: Cluster, etcd_of_its_own: Member, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    before = pids(cluster)
    with Cluster(tmp_path / "other", etcd_of_its_own.url) as other:
        other.start_server()
        assert pids(other) == before
        accepted = other.put_job("late", 1)
        other.done(accepted)
        assert terms(other) == 0
        cluster.kill("server")
        eventually(lambda: terms(other), lambda count: count == 1, 15)
        other.done(other.put_job("later", 1))
        assert pids(other) == before


def test_a_store_that_was_restored_from_a_backup_is_read_afresh(cluster: Cluster, etcd_of_its_own: Member) -> None:
    before = pids(cluster)
    etcd_of_its_own.kill()
    backup = etcd_of_its_own.folder / "backup"
    shutil.copytree(etcd_of_its_own.data, backup)
    etcd_of_its_own.start()
    eventually(lambda: put(cluster, "lost", 0)[0], lambda status: status == 202)
    for scale in range(1, 5):
        cluster.put_job("lost", scale)
    etcd_of_its_own.kill()
    shutil.rmtree(etcd_of_its_own.data)
    shutil.copytree(backup, etcd_of_its_own.data)
    etcd_of_its_own.start()
    eventually(lambda: cluster.log("server"), lambda log: "starting_afresh" in log)
    eventually(lambda: cluster.process_answers("server", "/v1/health"), bool)
    eventually(lambda: cluster.request("GET", "/v1/namespaces/default/jobs/lost")[0], lambda status: status == 404)
    assert pids(cluster) == before
    assert cluster.put_job("after", 0)


def test_a_store_that_is_not_there_is_waited_for_at_the_start(tmp_path: Path) -> None:
    with Member(tmp_path / "etcd") as member, Cluster(tmp_path, member.url) as cluster:
        member.kill()
        cluster.launch_server()
        eventually(lambda: cluster.log("server"), lambda log: "waiting_for_store" in log)
        time.sleep(1.0)
        member.start()
        eventually(lambda: cluster.process_answers("server", "/v1/health"), bool, 10)


def test_a_server_that_waits_for_its_store_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with Member(tmp_path / "etcd") as member, Cluster(tmp_path, member.url) as cluster:
        member.kill()
        cluster.launch_server()
        eventually(lambda: cluster.log("server"), lambda log: "waiting_for_store" in log)
        assert cluster.stop("server") == 0


def test_a_store_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    with Member(tmp_path / "etcd") as member, Cluster(tmp_path, member.url) as cluster:
        member.kill()
        began = time.monotonic()
        cluster.launch_server()
        assert cluster.processes["server"].wait(timeout=50) == 1
        assert 28 < time.monotonic() - began < 45
        assert "the store could not be used for 30 s" in cluster.log("server")
