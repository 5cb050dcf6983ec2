"""Three servers share four agents on a real etcd: whatever dies, is cut off or stands still, others go on, and no task hears of it."""

import asyncio
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPException
from itertools import cycle

import pytest

from tests.conformance.events import NDJSON
from tests.conformance.following import Followed, follow
from tests.conformance.judge import (
    Acknowledged,
    after,
    changes_of,
    judge_acknowledged,
    judge_equal,
    judge_form,
    judge_order,
    place_of,
)
from tests.conformance.wire import Address
from tests.etcd.members import Member
from tests.system.cluster import Cluster, a_manifest, eventually
from tests.system.fleet import AGENTS, SCHEDULER, SERVERS, Fleet, fleet, waiting

pytestmark = pytest.mark.system

#: Of the lease that an instance has: the default.
TTL_S = 5.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("instances")) as made:
        yield made


@pytest.fixture
def whole(running: Fleet) -> Iterator[Fleet]:
    """The fleet, with everything in its place; no test has a task of job ``web`` started anew."""
    running.make_whole()
    before = running.runs()
    yield running
    assert running.use(running.running[0]).runs() == before


def others(one: str) -> list[str]:
    return [name for name in SERVERS if name != one]


def busiest(fleet: Fleet, *, leads: bool | None = None) -> str:
    """Return the server with the most agents; if wanted, the one that leads, or another."""
    held = fleet.holders()
    able = [name for name in SERVERS if leads is None or (held[SCHEDULER] == name) is leads]
    return max(able, key=lambda name: len(fleet.minded_by(name)))


def moved(fleet: Fleet, before: dict[str, tuple[int, str]]) -> set[str]:
    """Return the agents that have taken a token since."""
    now = fleet.marks()
    return {name for name in AGENTS if now[name] != before[name]}


def test_a_killed_servers_agents_obey_another_within_its_lease_and_what_comes_back_takes_its_share(
    whole: Fleet,
) -> None:
    dies = busiest(whole)
    before, held, spawned = whole.marks(), whole.holders(), whole.spawned()
    its_own = set(whole.minded_by(dies))
    whole.kill(dies)
    killed = time.monotonic()
    whole.use(others(dies)[0])
    whole.done(whole.put_job("late", len(AGENTS)))
    eventually(lambda: moved(whole, before), lambda agents: agents == its_own)
    assert time.monotonic() - killed < TTL_S + 1
    assert not {dies} & set(whole.holders().values())
    assert whole.spawned() == spawned + len(AGENTS)
    # Nobody else's agents have moved, neither then nor when it is back; then only what becomes its own.
    kept = {name: holder for name, holder in held.items() if holder != dies}
    assert kept.items() <= whole.holders().items()
    between, marks = whole.holders(), whole.marks()
    whole.launch(dies)
    whole.await_server(dies)
    after_it = whole.settle()
    assert {name for name in after_it if after_it[name] != between[name]} == set(whole.minded_by(dies))
    assert moved(whole, marks) == set(whole.minded_by(dies))


def test_when_etcds_leader_dies_with_the_leading_server_all_is_anothers_within_two_leases(whole: Fleet) -> None:
    dies = busiest(whole, leads=True)
    its_own, before = set(whole.minded_by(dies)), whole.marks()
    leader = whole.etcds.leader()
    whole.kill(dies)
    leader.kill()
    killed = time.monotonic()
    whole.use(others(dies)[0])
    eventually(
        lambda: whole.request("PUT", "/v1/namespaces/default/jobs/later", waiting("later", 4))[0],
        lambda s: s in (200, 202),
    )
    whole.done(whole.put_job("later", len(AGENTS)))
    eventually(lambda: moved(whole, before), lambda agents: agents >= its_own)
    assert time.monotonic() - killed < 2 * TTL_S + 2
    eventually(whole.holders, lambda held: len(held) == len(AGENTS) + 1 and dies not in held.values())


@pytest.mark.parametrize("how", [Member.kill, Member.pause], ids=["killed", "paused"])
def test_an_etcd_leader_that_dies_alone_costs_nobody_its_agents(whole: Fleet, how) -> None:
    held, leader = whole.holders(), whole.etcds.leader()
    how(leader)
    whole.etcds.leader(other_than=leader)
    whole.done(
        eventually(
            lambda: whole.request("PUT", "/v1/namespaces/default/jobs/alone", waiting("alone", 4)),
            lambda told: told[0] in (200, 202),
        )[1]
    )
    time.sleep(2.0)
    leader.restart()
    whole.etcds.wait_until_agreed()
    assert whole.settle().keys() == held.keys()
    whole.done(whole.put_job("alone", 0))


# A server that stands still.


def test_a_paused_servers_late_command_is_refused_and_it_joins_again_by_itself(whole: Fleet) -> None:
    slow = busiest(whole)
    its_own, before, spawned = whole.minded_by(slow), whole.marks(), whole.spawned()
    fenced = sum(whole.metric("harpoon_agent_fenced_total", port) for port in whole.agent_ports.values())
    whole.gates.waiting.clear()
    whole.gates.hold_up(slow, *its_own)
    whole.use(others(slow)[0])
    accepted = whole.put_job("held", len(AGENTS))
    eventually(lambda: set(whole.gates.waiting), lambda waiting: waiting == {(slow, agent) for agent in its_own})
    whole.pause(slow)
    paused = time.monotonic()
    eventually(lambda: moved(whole, before), lambda agents: agents == set(its_own))
    whole.done(accepted)
    assert time.monotonic() - paused < TTL_S + 1
    assert whole.spawned() == spawned + len(AGENTS)
    # Only now what it had said long ago arrives.
    whole.gates.let_go()
    eventually(
        lambda: sum(whole.metric("harpoon_agent_fenced_total", port) for port in whole.agent_ports.values()),
        lambda count: count == fenced + len(its_own),
    )
    terms = '"term_begun"'
    begun = (whole.directory / f"{slow}.log").read_text().count(terms)
    whole.resume(slow)
    eventually(lambda: (whole.directory / f"{slow}.log").read_text().count(terms), lambda count: count == begun + 1)
    eventually(lambda: whole.use(slow).metric("harpoon_fenced_total"), lambda count: count >= 1)
    whole.settle()
    assert whole.spawned() == spawned + len(AGENTS)


# A rolling restart.


class Client(threading.Thread):
    """Scales a job of its own and reads it, by turns at each server; what fails is tried once more, at the next."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        super().__init__(daemon=True)
        self.job = name
        self.ends = threading.Event()
        self.acknowledged: list[Acknowledged] = []
        self.problems: list[str] = []
        self.asked = 0
        self.mended: Counter[str] = Counter()
        self._doors = cycle(Cluster(fleet.directory, fleet.store) for _ in SERVERS)
        self._count = 0
        self._servers = cycle(SERVERS)
        self._ports = fleet.server_ports

    def run(self) -> None:
        while not self.ends.is_set():
            self._count += 1
            path = f"/v1/namespaces/default/jobs/{self.job}"
            manifest = a_manifest(self.job, self._count % 3)
            manifest["metadata"]["tags"] = {"count": str(self._count)}
            answer = self._ask("PUT", path, manifest)
            if "revision" in answer and answer.get("outcome") != "unchanged":
                self.acknowledged.append(Acknowledged(answer["revision"], (("job", f"default/{self.job}"),)))
            if "revision" not in answer:
                continue
            # What one server has acknowledged, any other shows when it is asked for.
            told = self._ask("GET", f"{path}?min_revision={answer['revision']}", None)
            if told.get("metadata", {}).get("tags") != manifest["metadata"]["tags"]:
                self.problems.append(f"after {answer} it is {told}")
            time.sleep(0.02)

    def _ask(self, method: str, path: str, body: object) -> dict:
        self.asked += 1
        failed = []
        for _ in range(2):
            server, door = next(self._servers), next(self._doors)
            door.url = f"http://127.0.0.1:{self._ports[server]}"
            try:
                status, answer = door.request(method, path, body)
            except (OSError, HTTPException) as error:
                failed.append(f"{server}: {error!r}")
                continue
            if status < 300:
                self.mended.update(failed)
                return answer
            failed.append(f"{server}: {status} {json.dumps(answer)}")
            if status != 503:
                break
        self.problems.append(f"{method} {path}: {failed}")
        return {}


class AnyServer:
    """The servers as one address: each connection is made to the next."""

    def __init__(self, fleet: Fleet) -> None:
        self._addresses = cycle(Address.of(f"http://127.0.0.1:{port}") for port in fleet.server_ports.values())

    def watch(self, *arguments, **named):
        return next(self._addresses).watch(*arguments, **named)


QUERY = "kinds=jobs,placements,tasks"


def in_background(work) -> tuple[threading.Thread, list]:
    results: list = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(work())), daemon=True)
    thread.start()
    return thread, results


@pytest.mark.timeout(240)
def test_a_rolling_restart_fails_no_request_tells_each_change_once_and_moves_agents_at_once(whole: Fleet) -> None:
    clients = [Client(whole, f"load{number}") for number in range(3)]
    watching, followed = in_background(
        # As long as the restarts of all servers, one after the other, beside whatever else runs.
        lambda: follow(
            AnyServer(whole), QUERY, NDJSON, lambda event: ("job", "default/mark") in event.keys, within_s=160
        )
    )
    for client in clients:
        client.start()
    spans = {}
    for server in SERVERS:
        before, its_own = whole.marks(), set(whole.minded_by(server))
        told = time.monotonic()
        whole.processes[server].terminate()
        eventually(
            whole.holders, lambda held, server=server: server not in held.values() and len(held) == len(AGENTS) + 1
        )
        eventually(lambda before=before: moved(whole, before), lambda agents, own=its_own: agents >= own)
        spans[server] = time.monotonic() - told
        assert whole.processes[server].wait(15) == 0
        whole.launch(server)
        whole.await_server(server)
        time.sleep(0.5)
    for client in clients:
        client.ends.set()
    for client in clients:
        client.join(30)
    until = whole.put_job("mark", 0)["revision"]
    watching.join(60)
    assert [client.problems for client in clients] == [[], [], []]
    assert all(client.asked > 100 for client in clients)
    [found] = followed
    judge(whole, found, until, [one for client in clients for one in client.acknowledged])
    # All this shares a few cores, so one hand-over may have to wait for them; none may have waited for a lease to end.
    assert statistics.median(spans.values()) < TTL_S / 5
    assert max(spans.values()) < TTL_S / 2


def judge(fleet: Fleet, found: Followed, until: str, acknowledged: list[Acknowledged]) -> None:
    """What was followed across servers is what one server tells of the same span, and nothing is told twice."""
    assert found.visits > 2
    judge_form(found.events)
    judge_order(found.events)
    begin = found.events[0].revision
    judge_acknowledged(found.events, [one for one in acknowledged if place_of(one.revision) > place_of(begin)])

    async def read() -> Followed:
        address = Address.of(fleet.url)
        return await follow(address, QUERY, NDJSON, lambda event: event.place >= place_of(until), after=begin)

    reference = asyncio.run(read())
    judge_equal(after(reference.events, begin), changes_of(found.events))
