"""Versions, the way back to one, and events."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from harpoon.kit.clock import SystemClock
from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

WEB = "/v1/namespaces/default/jobs/web"
CHANGE = "default.web.1-9"


def a_version(number: int, **fields: Any) -> dict[str, Any]:
    told = {"version": number, "generation": f"gen{number}", "at_ms": 1, "tags": {}, "is_current": False, "tasks": 0}
    spec = {"scale": number, "task": {"command": ["serve", "-v"]}}
    now = SystemClock().now().wall
    return {**told, "at_ms": now - 600_000, "reverted_from": None, "spec": spec, **fields}


def items(*objects: Any, **members: Any) -> Told:
    return Told(body={"revision": "1.9", "items": list(objects), **members})


def an_event(revision: str, event: str, **fields: Any) -> dict[str, Any]:
    at_ms = SystemClock().now().wall - 600_000
    return {"revision": revision, "at_ms": at_ms, "subject": "job/web", "event": event, "detail": "", **fields}


def test_versions_are_a_table_with_the_present_one_marked(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WEB}/versions", items(a_version(3, is_current=True, tasks=3, reverted_from=1), a_version(2)))
    assert terminal.run("versions", "job/web", server=server.url).out.splitlines() == [
        "VERSION   AGE   GENERATION   SCALE   TASKS   REVERTED FROM   COMMAND",
        "3 *       10m   gen3         3       3       1               serve -v",
        "2         10m   gen2         2       0       -               serve -v",
    ]
    assert terminal.run("versions", "web", "-o", "name", server=server.url).out == "web@3\nweb@2\n"
    assert "TAGS" in terminal.run("versions", "web", "-o", "wide", server=server.url).out
    assert yaml.safe_load(terminal.run("versions", "web", "-o", "yaml", server=server.url).out)["revision"] == "1.9"


def test_a_list_in_pages_is_shown_whole_and_begun_again_when_its_moment_is_over(
    terminal: Terminal, server: FakeServer
) -> None:
    first = items(a_version(3), **{"continue": "token", "remaining": 1})
    server.tell(f"GET {WEB}/versions", first, problem(410, "over"), first, items(a_version(2)))
    done = terminal.run("versions", "web", "-o", "json", server=server.url)
    told = json.loads(done.out)
    assert [one["version"] for one in told["items"]] == [3, 2]
    assert set(told) == {"revision", "items"}
    assert [asked.query.get("continue") for asked in server.asked] == [None, ["token"], None, ["token"]]


def test_rollback_asks_for_what_it_has_seen_and_waits(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WEB}", Told(body={}, headers={"ETag": '"1.5"'}))
    server.tell(f"POST {WEB}/rollback", Told(status=202, body={"revision": "1.9", "change": CHANGE, "job": {}}))
    done = {"id": CHANGE, "namespace": "default", "job": "web", "state": "done", "is_done": True, "waiting": []}
    server.tell(f"GET /v1/changes/{CHANGE}", Told(body={**done, "summary": "3/3 ready"}))
    shown = terminal.run("rollback", "web", "--to", "3", server=server.url)
    assert (shown.code, shown.out) == (0, "job/web rolled back\n")
    assert "job/web is done after" in shown.err
    asked = server.of(f"POST {WEB}/rollback")[0]
    assert (asked.body, asked.headers["if-match"]) == ({"version": 3}, '"1.5"')


def test_rollback_without_a_version_leaves_it_to_the_server(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WEB}", Told(body={}, headers={"ETag": '"1.5"'}))
    server.tell(f"POST {WEB}/rollback", Told(status=202, body={"revision": "1.9", "change": CHANGE, "job": {}}))
    assert terminal.run("rollback", "web", "--no-wait", server=server.url).code == 0
    assert server.of(f"POST {WEB}/rollback")[0].body == {}


def test_rollback_of_what_someone_else_changed_is_4(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WEB}", Told(body={}, headers={"ETag": '"1.5"'}))
    server.tell(f"POST {WEB}/rollback", problem(412, "it was changed"))
    assert terminal.run("rollback", "web", server=server.url).code == 4


def test_events_are_told_oldest_first(terminal: Terminal, server: FakeServer) -> None:
    ready = an_event("1.9", "ready", subject="task/default.web.0.1-8", detail="its check passed")
    server.tell(
        f"GET {WEB}/events",
        Told(body={"revision": "1.9", "oldest": "1.1", "items": [an_event("1.8", "scheduled"), ready]}),
    )
    assert terminal.run("events", "web", "--limit", "5", server=server.url).out.splitlines() == [
        "AGE   WHAT                     EVENT       DETAIL",
        "10m   job/web                  scheduled   -",
        "10m   task/default.web.0.1-8   ready       its check passed",
    ]
    assert server.asked[0].query == {"limit": ["5"]}
    server.tell(f"GET {WEB}/events", items())
    done = terminal.run("events", "web", server=server.url)
    assert (done.code, done.out, done.err) == (0, "", "nothing happened lately\n")


def test_following_events_tells_each_once(server: FakeServer) -> None:
    first, second = an_event("1.8", "scheduled"), an_event("1.9", "ready")
    server.tell(f"GET {WEB}/events", items(first), items(first, second))
    server.tell("GET /v1/watch", Told(lines=[{"type": "bookmark", "revision": "1.1"}]), Told(lines=[], hangs=True))
    following = subprocess.Popen(
        [sys.executable, "-m", "harpoon", "events", "web", "-w", "-o", "json"],
        env={**os.environ, "HARPOON_SERVER": server.url},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    told = [json.loads(following.stdout.readline()) for _ in range(2)]
    following.kill()
    following.communicate()
    assert told == [first, second]


def test_events_of_a_task_and_of_an_agent_are_asked_for_there(terminal: Terminal, server: FakeServer) -> None:
    for what, path in {
        "shop.web.0.1-7": "namespaces/shop/tasks/shop.web.0.1-7",
        "agent/a1": "agents/a1",
    }.items():
        server.tell(f"GET /v1/{path}/events", items(an_event("1.8", "lost")))
        assert json.loads(terminal.run("events", what, "-o", "json", server=server.url).out)["items"]
