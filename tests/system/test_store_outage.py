"""A server on a real etcd that dies, stays away and comes back: tasks run on, reads are answered, and all heals by itself."""

import base64
import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.etcd.cluster import Cluster as EtcdCluster
from tests.etcd.members import Member
from tests.system.cluster import Cluster, a_manifest, eventually

pytestmark = pytest.mark.system

#: A lease that outlasts a store that is away for a moment.
LONG = ("--lease-ttl", "10s")
#: After so long everything is as if nothing had been, once the store answers again.
HEALED_WITHIN_S = 4.0


@pytest.fixture(scope="module", autouse=True)
def without_a_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server that waits for its store while the other tests run: it takes half a minute to give up."""
    folder = tmp_path_factory.mktemp("without-a-store")
    with Member(folder / "etcd") as member, Cluster(folder, member.url) as made:
        member.kill()
        made.launch_server()
        yield made


@pytest.fixture
def etcd_of_its_own(tmp_path: Path) -> Iterator[Member]:
    with Member(tmp_path / "etcd") as member:
        yield member


@pytest.fixture
def cluster(tmp_path: Path, etcd_of_its_own: Member) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    with Cluster(tmp_path / "cluster", etcd_of_its_own.url) as made:
        made.start_server(*LONG)
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
    cluster.start_server(*LONG)
    begun = time.monotonic()
    # It answers at once, and takes what it is told; that it may not act yet does not show.
    assert pids(cluster) == before
    status, answer = put(cluster, "late", 2)
    assert status == 202
    eventually(lambda: cluster.log("server"), lambda log: "led_by_another" in log)
    cluster.done(answer)
    assert time.monotonic() - begun < 15
    assert pids(cluster) == before


def test_a_second_server_takes_what_is_told_and_leads_when_the_first_is_killed(
    cluster: Cluster, etcd_of_its_own: Member, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    before = pids(cluster)
    with Cluster(tmp_path / "other", etcd_of_its_own.url) as other:
        other.start_server(*LONG)
        assert pids(other) == before
        accepted = other.put_job("late", 1)
        other.done(accepted)
        assert other.metric("harpoon_is_leader") == 0
        cluster.kill("server")
        eventually(lambda: other.metric("harpoon_is_leader"), lambda leads: leads == 1, 15)
        eventually(lambda: other.metric("harpoon_agents_held"), lambda count: count == 1)
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


class User(threading.Thread):
    """Scales jobs of its own without a pause, and keeps how each request ended."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.name = name
        self.ends = threading.Event()
        self.answers: Counter[int] = Counter()
        self.slowest_s = 0.0
        #: The last scale that was acknowledged; None: the last request ended in doubt.
        self.scale: int | None = None
        self.problems: list[str] = []

    def run(self) -> None:
        scale = 0
        while not self.ends.is_set():
            scale, asked = (scale + 1) % 3, time.monotonic()
            try:
                status, answer = put(self.cluster, self.name, scale)
            except OSError as error:
                self.problems.append(repr(error))
                return
            self.slowest_s = max(self.slowest_s, time.monotonic() - asked)
            self.answers[status] += 1
            if status in (200, 202):
                self.scale = scale
            elif status != 503 or answer["maybe_applied"]:
                self.scale = None
            time.sleep(0.01)


@pytest.mark.parametrize("how", [Member.kill, Member.pause], ids=["killed", "paused"])
def test_a_leader_of_the_store_that_dies_costs_a_moment_and_no_term(
    tmp_path: Path, how: Callable[[Member], None]
) -> None:
    with EtcdCluster(tmp_path / "etcd") as etcds, Cluster(tmp_path, etcds.url) as cluster:
        cluster.start_server()
        cluster.start_agent("a1")
        cluster.connected("a1")
        cluster.done(cluster.put_job("web", 3))
        before = pids(cluster)
        users = [User(cluster, f"job{number}") for number in range(4)]
        for user in users:
            user.start()
        for _ in range(2):
            time.sleep(1.0)
            leader = etcds.leader()
            how(leader)
            etcds.leader(other_than=leader)
            time.sleep(4.0)
            leader.restart()
            etcds.wait_until_agreed()
        time.sleep(1.0)
        for user in users:
            user.ends.set()
            user.join(30)
        assert [user.problems for user in users] == [[]] * 4
        for user in users:
            assert set(user.answers) <= {200, 202, 503}
            assert user.answers[202] > 50
            assert user.slowest_s < 11
            kept = cluster.get(f"/v1/namespaces/default/jobs/{user.name}")
            assert user.scale in (None, kept["spec"]["scale"])
            eventually(
                lambda name=user.name: cluster.get(f"/v1/namespaces/default/jobs/{name}/status"),
                lambda status: status["is_done"],
            )
        assert pids(cluster) == before
        assert terms(cluster) == 1
        waits_quietly(cluster)


def test_a_server_that_is_started_on_a_full_store_answers_reads_and_acts_once_there_is_space(tmp_path: Path) -> None:
    small = Member(tmp_path / "etcd", flags=["--quota-backend-bytes=4194304"])
    with small as member, Cluster(tmp_path, member.url) as cluster:
        cluster.start_server()
        cluster.start_agent("a1")
        cluster.connected("a1")
        cluster.done(cluster.put_job("web", 2))
        before = pids(cluster)
        fill(member)
        cluster.kill("server")
        cluster.start_server()
        assert pids(cluster) == before
        status, answer = put(cluster, "late", 1)
        assert (status, answer["code"]) == (503, "store_unavailable")
        assert "out of space" in answer["detail"]
        log = eventually(lambda: cluster.log("server"), lambda log: "waiting_for_store" in log, 20)
        assert "out of space" in log
        make_room(member)
        eventually(lambda: put(cluster, "late", 1)[0], lambda status: status in (200, 202))
        cluster.done(put(cluster, "late", 1)[1])
        assert pids(cluster) == before


def fill(member: Member) -> None:
    """Write until the member takes no more."""
    value = base64.b64encode(os.urandom(200_000)).decode()
    with pytest.raises(AssertionError, match="space exceeded"):
        for number in range(100):
            member.ask("kv/put", {"key": base64.b64encode(b"/fill/%d" % number).decode(), "value": value})


def make_room(member: Member) -> None:
    """Do what an operator does about a full etcd."""
    first, last = (base64.b64encode(key).decode() for key in (b"/fill/", b"/fill0"))
    told = member.ask("kv/deleterange", {"key": first, "range_end": last})
    member.ask("kv/compaction", {"revision": told["header"]["revision"], "physical": True})
    member.ask("maintenance/defragment", {}, timeout_s=20.0)
    member.ask("maintenance/alarm", {"action": "DEACTIVATE", "memberID": member.id, "alarm": "NOSPACE"})


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


def test_a_store_that_does_not_come_is_given_up(without_a_store: Cluster) -> None:
    assert without_a_store.processes["server"].wait(timeout=50) == 1
    log = [json.loads(line) for line in without_a_store.log("server").splitlines() if line.startswith("{")]
    first, last = (datetime.fromisoformat(line["timestamp"]) for line in (log[0], log[-1]))
    assert timedelta(seconds=25) < last - first < timedelta(seconds=45)
    assert "the store could not be used for 30 s" in without_a_store.log("server")
