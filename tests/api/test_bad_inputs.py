"""Inputs picked by hand to do harm, sent to real processes byte by byte while a bystander asks on.

For each: the answer is the right one and no 5xx, where an answer is possible there is one, nobody else waits, memory
stays, and the next good request is answered.
"""

import contextlib
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api import bad_bodies, bad_commands, bad_http, bad_paths
from tests.api.bad_http import Row
from tests.fuzz.target import CANARY, GROWTH_BYTES, STALL_S, TOKEN, Bystander, GuardedCluster, http_bytes, speak

pytestmark = pytest.mark.system

TO_SERVER: dict[str, dict[str, Row]] = {
    "framing": bad_http.FRAMING,
    "request lines": bad_http.LINES,
    "headers": bad_http.HEADERS,
    "tokens": bad_http.AUTH,
    "JSON": bad_bodies.JSON,
    "manifests": bad_bodies.MANIFESTS,
    "other bodies": bad_bodies.OTHERS,
    "paths": bad_paths.PATHS,
    "queries": bad_paths.QUERIES,
}
TO_AGENT = bad_commands.rows("{uid}")
#: A collection of garbage may hold anyone up; an input that does so does it again.
TRIES = 3


class Attacked:
    """One part of a cluster, under attack."""

    def __init__(self, cluster: GuardedCluster, part: str, port: int, told: Counter[str]) -> None:
        self.cluster = cluster
        self.part = part
        self.port = port
        #: What has been sent, and how it went.
        self.told = told
        self.bystander = Bystander(port, cluster.processes[part].pid)

    def check(self, payload: bytes, statuses: frozenset[int | None]) -> None:
        self.told["sent"] += 1
        before = self.cluster.rss(self.part)
        waits = []
        for _ in range(TRIES):
            begun = time.monotonic()
            reply = speak(self.port, payload)
            assert not reply.is_late, f"no answer: {reply}"
            assert reply.status is not None, f"the connection was lost without an answer: {reply}"
            assert reply.status in statuses, reply
            waits.append(self.bystander.worst_since(begun))
            if waits[-1] <= STALL_S:
                break
        else:
            raise AssertionError(f"others waited for {waits} s")
        growth = self.cluster.rss(self.part) - before
        assert growth < GROWTH_BYTES, f"it grew by {growth >> 20} MiB"
        assert speak(self.port, http_bytes("GET", "/v1/health")).status == 200
        assert self.cluster.processes[self.part].poll() is None
        self.told["withstood"] += 1

    def withstand_idlers(self, beginnings: list[bytes], each: int = 100) -> None:
        """Open connections that begin and never go on; others are answered all the same, and at once."""
        with contextlib.ExitStack() as idlers:
            for beginning in beginnings * each:
                peer = idlers.enter_context(socket.create_connection(("127.0.0.1", self.port)))
                peer.sendall(beginning)
            self.check(http_bytes("GET", "/v1/health"), bad_http.FINE)
        self.told.update(sent=len(beginnings) - 1, withstood=len(beginnings) - 1)


@pytest.fixture(scope="module")
def told() -> Counter[str]:
    return Counter()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedCluster]:
    with GuardedCluster(tmp_path_factory.mktemp("attacked")) as cluster:
        cluster.start("a1")
        cluster.done(cluster.put_job("good", command=["/bin/sh", "-c", "echo hello; exec sleep 100000"]))
        yield cluster


@pytest.fixture(scope="module")
def server(cluster: GuardedCluster, told: Counter[str]) -> Iterator[Attacked]:
    attacked = Attacked(cluster, "server", cluster.port, told)
    with attacked.bystander:
        yield attacked


@pytest.fixture(scope="module")
def agent(cluster: GuardedCluster, told: Counter[str]) -> Iterator[tuple[Attacked, str]]:
    """An agent that no server commands: the tests do, as its holder."""
    port = cluster.start_lone_agent("a2")
    uid = (cluster.directory / "a2" / "uid").read_text().strip()
    attacked = Attacked(cluster, "a2", port, told)
    assert speak(port, bad_commands.adopt(uid)).status == 200
    with attacked.bystander:
        yield attacked, uid


@pytest.mark.parametrize(("table", "name"), [(table, name) for table, rows in TO_SERVER.items() for name in rows])
def test_a_server_withstands(server: Attacked, table: str, name: str) -> None:
    server.check(*TO_SERVER[table][name])


@pytest.mark.parametrize("name", TO_AGENT)
def test_an_agent_withstands(agent: tuple[Attacked, str], name: str) -> None:
    attacked, uid = agent
    attacked.check(*bad_commands.rows(uid)[name])


def test_a_server_withstands_those_who_never_finish(server: Attacked) -> None:
    body = bad_http.put("Content-Length: 1000", body=b"{")
    server.withstand_idlers([b"GET /v1/health HTTP/1.1\r\nHost: loc", body, b"", b"\r\n"])


def test_the_agent_and_its_tasks_are_as_before(server: Attacked) -> None:
    cluster = server.cluster
    cluster.connected("a1")
    assert [task["state"] for task in cluster.tasks().values() if task["job"] == "good"] == ["running"]


def test_nothing_was_given_to_a_shell(agent: tuple[Attacked, str]) -> None:
    assert not list(agent[0].cluster.directory.rglob(bad_commands.TRACE))
    assert not Path(bad_commands.TRACE).exists()


@pytest.mark.parametrize("part", ["server", "a1", "a2"])
def test_no_log_holds_a_secret_or_a_line_that_was_sent(
    cluster: GuardedCluster, server: Attacked, agent: tuple[Attacked, str], part: str
) -> None:
    log = cluster.whole_log(part)
    assert TOKEN.encode() not in log
    assert CANARY.encode() not in log
    lines = log.splitlines()
    for line in lines:
        assert json.loads(line)["event"]
    assert not [line for line in lines if b'"level":"error"' in line]


def test_the_count_is_told(told: Counter[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert told["withstood"] == told["sent"]
    with capsys.disabled():
        print(f"\n{told['withstood']} hand-picked bad inputs: 0 server errors, 0 stalls, 0 lost connections")
