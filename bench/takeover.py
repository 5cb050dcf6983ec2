"""How long agents are without a server that drives them, when one of three dies or leaves, or etcd's leader dies too.

Three servers share four agents on three members of etcd, all plain processes on this machine. An agent is *driven
again* when it has taken the token of another server; a *change* is a job put at a server that lives, with a task on
each agent, until all of them run: it needs somebody to place, and every agent to be commanded.

The floor of the same run is etcd's own: how long a leased key is there that nobody renews, of the same span. Whoever
dies has renewed its lease up to a third of the span before, and is waited for so much less.

What it does not show: a network, hosts that die with what they run, or more than a few agents.
"""

import base64
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.system import quantile
from tests.etcd.members import Member
from tests.system.cluster import Cluster, eventually
from tests.system.fleet import AGENTS, SERVERS, Fleet, fleet, waiting

Row = tuple[str, str, str, str]
KILLS, BOTH, STOPS = 30, 8, 12
TTL_S = 5.0
FLOORS = 5


def rows() -> list[Row]:
    """Return the rows of the table."""
    with tempfile.TemporaryDirectory(prefix="harpoon-bench-") as name, fleet(Path(name)) as run:
        return _measure(run)


def _measure(run: Fleet) -> list[Row]:
    before, spawned = run.runs(), run.spawned()
    run.settle()
    floors: list[float] = []
    beside = threading.Thread(target=_floor, args=(run.etcds.members[0], floors), daemon=True)
    beside.start()
    killed = [_turn(run, run.kill) for _ in range(KILLS)]
    beside.join()
    both = [_turn(run, lambda one: _kill_both(run, one)) for _ in range(BOTH)]
    stopped = [_turn(run, lambda one: run.processes[one].terminate()) for _ in range(STOPS)]
    again = run.spawned() - spawned - len(AGENTS) * (KILLS + BOTH + STOPS)
    restarts = int(again) + sum(run.runs().get(task) != pid for task, pid in before.items())
    floor = f"{statistics.median(floors):.2f} s"
    return [
        _row(f"kill -9 of a server → its agents are driven again, p50 / p99 of {KILLS}", killed, 0, floor, TTL_S + 1),
        _row("  → a change is carried out everywhere", killed, 1, floor, TTL_S + 1),
        _row(f"likewise, with etcd's leader killed, p50 / p99 of {BOTH}", both, 0, floor, 2 * TTL_S + 2),
        _row("  → a change is carried out everywhere", both, 1, floor, 2 * TTL_S + 2),
        _row(f"SIGTERM of a server → its agents are driven again, p50 / p99 of {STOPS}", stopped, 0, "-", 0.5),
        _row("  → a change is carried out everywhere", stopped, 1, "-", 0.5),
        ("tasks restarted by all of that", f"{restarts}", "-", "0"),
    ]


def _row(name: str, turns: list[tuple[float, float]], which: int, floor: str, target_s: float) -> Row:
    spans = [turn[which] for turn in turns]
    return name, f"{quantile(spans, 0.5):.2f} / {quantile(spans, 0.99):.2f} s", floor, f"≤ {target_s:g} s"


def _turn(run: Fleet, end) -> tuple[float, float]:
    """End a server with agents; return seconds until they are driven by another, and until a change is done."""
    one = random.choice([name for name in SERVERS if run.minded_by(name)])
    its_own, marks = run.minded_by(one), run.marks()
    # Leases are renewed every third of their span: whenever it dies is as good as any other time.
    time.sleep(random.uniform(0, TTL_S / 3))
    began = time.monotonic()
    end(one)
    changing = threading.Thread(target=lambda: done.append(_change(run, one, began)), daemon=True)
    done: list[float] = []
    changing.start()
    eventually(run.marks, lambda now: all(now[agent] != marks[agent] for agent in its_own))
    driven = time.monotonic() - began
    changing.join()
    run.processes[one].wait()
    print(f"{one}: {driven:.2f} s, {done[0]:.2f} s", file=sys.stderr, flush=True)
    run.use(next(name for name in SERVERS if name != one))
    run.request("DELETE", "/v1/namespaces/default/jobs/change")
    eventually(lambda: run.request("GET", "/v1/namespaces/default/jobs/change")[0], lambda status: status == 404)
    run.make_whole()
    return driven, done[0]


def _change(run: Fleet, dead: str, began: float) -> float:
    door = Cluster(run.directory, run.store)
    door.url = f"http://127.0.0.1:{run.server_ports[next(name for name in SERVERS if name != dead)]}"
    path = "/v1/namespaces/default/jobs/change"
    answer = eventually(
        lambda: door.request("PUT", path, waiting("change", len(AGENTS))), lambda told: told[0] in (200, 202)
    )
    door.done(answer[1])
    return time.monotonic() - began


def _kill_both(run: Fleet, server: str) -> None:
    leader = run.etcds.leader()
    run.kill(server)
    leader.kill()


def _floor(member: Member, found: list[float]) -> None:
    """Measure when keys are gone whose lease nobody renews."""
    key = base64.b64encode(b"/floor").decode()
    for _ in range(FLOORS):
        lease = member.ask("lease/grant", {"TTL": int(TTL_S)})["ID"]
        member.ask("kv/put", {"key": key, "value": key, "lease": lease})
        began = time.monotonic()
        while "kvs" in member.ask("kv/range", {"key": key}):
            time.sleep(0.02)
        found.append(time.monotonic() - began)
