"""``harpoon status`` tells in a line how the store does."""

from typing import Any

import pytest

from harpoon.kit.clock import SystemClock
from tests.cli.fake_server import FakeServer, Told
from tests.cli.terminal_rig import Terminal


def a_health(**fields: Any) -> dict[str, Any]:
    return {"at": "", "version": "", "trouble": None, "reason": "", "since_ms": None, "gauges": {}} | fields


ETCD = {"at": "10.0.0.2:2379", "version": "3.5.16"}
SIZES = {"db_bytes": 12 << 20, "db_quota_bytes": 2 << 30, "lease_left_seconds": 9.23, "revision": 7}


@pytest.mark.parametrize(
    ("kind", "health", "line"),
    [
        ("memory", {"gauges": {"keys": 3}}, "memory"),
        ("sqlite", {"at": "h.db", "version": "3.40.1", "gauges": {"db_bytes": 4096}}, "sqlite at h.db (3.40.1), 4Ki"),
        ("etcd", ETCD | {"gauges": SIZES}, "etcd at 10.0.0.2:2379 (3.5.16), 12Mi of 2Gi, lease 9.2 s left"),
        (
            "etcd",
            ETCD | {"reason": "80 % are used; raise it"},
            "etcd at 10.0.0.2:2379 (3.5.16); 80 % are used; raise it",
        ),
        (
            "etcd",
            ETCD | {"trouble": "full", "reason": "no space; defragment it", "since_ms": -1},
            "etcd at 10.0.0.2:2379: full for 2m; no space; defragment it",
        ),
        (
            "etcd",
            ETCD | {"trouble": "closed", "reason": "etcd at 10.0.0.2:2379: it is closed"},
            "etcd at 10.0.0.2:2379: closed; it is closed",
        ),
    ],
)
def test_the_store_is_a_line(terminal: Terminal, server: FakeServer, kind: str, health: dict, line: str) -> None:
    if health.get("since_ms"):
        health = health | {"since_ms": SystemClock().now().wall - 125_000}
    server.tell("GET /v1/status", Told(body={"store": kind, "store_health": a_health(**health), "leader": "s1"}))
    done = terminal.run("status", server=server.url)
    assert (done.code, done.out.splitlines()) == (0, [f"Store:   {line}", "Leader:  s1"])


def test_data_is_told_as_it_came(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/status", Told(body={"store": "etcd", "store_health": a_health(**ETCD)}))
    assert '"at": "10.0.0.2:2379"' in terminal.run("status", "-o", "json", server=server.url).out


def test_a_server_of_an_older_release_tells_less(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/status", Told(body={"store": "sqlite"}))
    assert terminal.run("status", server=server.url).out == "Store:  sqlite\n"


def test_what_a_store_says_cannot_steer_the_terminal(terminal: Terminal, server: FakeServer) -> None:
    health = a_health(at="e", trouble="broken", reason="\x1b[2J")
    server.tell("GET /v1/status", Told(body={"store": "etcd", "store_health": health}))
    assert "\x1b" not in terminal.run("status", server=server.url).out
