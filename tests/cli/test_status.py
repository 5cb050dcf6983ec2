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


def an_instance(name: str, **fields: Any) -> dict[str, Any]:
    shown = {"name": name, "url": f"http://{name}:4450", "version": "1", "since_ms": SystemClock().now().wall - 5_000}
    shown |= {"is_self": False, "is_leader": False, "token": None, "agents": 2, "revision": "1.9", "lag": 0}
    return shown | {"skew_ms": 3, "unfit": "", "reason": ""} | fields


def test_instances_are_a_table_below(terminal: Terminal, server: FakeServer) -> None:
    told = [
        an_instance("s1", is_self=True, skew_ms=0),
        an_instance("s2", is_leader=True, token="1.7", agents=0, skew_ms=-40),
        an_instance("s3", revision="", lag=None, skew_ms=None, unfit="its clock is off", reason="http://s3:4450: away"),
    ]
    server.tell("GET /v1/status", Told(body={"store": "etcd", "leader": "s2", "instances": told}))
    done = terminal.run("status", server=server.url)
    assert [line.split() for line in done.out.splitlines()] == [
        ["Store:", "etcd"],
        ["Leader:", "s2"],
        [],
        ["INSTANCE", "LEADER", "AGENTS", "REVISION", "LAG", "SKEW", "SINCE", "URL", "NOTE"],
        ["s1", "*", "-", "2", "1.9", "0", "0", "ms", "5s", "http://s1:4450", "-"],
        ["s2", "1.7", "0", "1.9", "0", "-40", "ms", "5s", "http://s2:4450", "-"],
        [
            *("s3", "-", "2", "-", "-", "-", "5s", "http://s3:4450"),
            *["takes", "no", "holds:", "its", "clock", "is", "off;", "http://s3:4450:", "away"],
        ],
    ]


def test_one_instance_that_is_well_needs_no_table(terminal: Terminal, server: FakeServer) -> None:
    alone = an_instance("s1", is_self=True, is_leader=True, token="1.2")
    server.tell("GET /v1/status", Told(body={"store": "sqlite", "instances": [alone]}))
    assert terminal.run("status", server=server.url).out == "Store:  sqlite\n"
    assert "s1 *" in terminal.run("status", "-o", "wide", server=server.url).out
    server.tell("GET /v1/status", Told(body={"store": "sqlite", "instances": [alone | {"unfit": "no lease"}]}))
    assert "takes no holds: no lease" in terminal.run("status", server=server.url).out
