"""Rebalancing at the terminal."""

import json
from typing import Any

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

POST, GET = "POST /v1/rebalance", "GET /v1/rebalance"
TASK = "default.web.3.1-9"
MOVE = {"task": TASK, "agent": "a1", "to": "a2", "reason": "a1 has 4 of this job's tasks", "before": 4, "after": 1}


def told(*moves: dict[str, Any], is_whole: bool = True) -> Told:
    return Told(body={"revision": "1.9", "moves": list(moves), "is_whole": is_whole})


def test_a_plan_with_moves_is_10_and_moves_nothing(terminal: Terminal, server: FakeServer) -> None:
    server.tell(POST, told(MOVE), told())
    done = terminal.run("rebalance", "--plan", server=server.url)
    assert done.code == 10
    assert done.out.splitlines()[1].split()[:3] == [TASK, "a1", "a2"]
    assert done.err == "1 task would be moved\n"
    assert server.asked[0].body == {"max_moves": 90, "exclusive": False, "dry_run": True}
    again = terminal.run("rebalance", "--plan", server=server.url)
    assert (again.code, again.out, again.err) == (0, "", "nothing to move\n")


def test_moves_are_waited_for_and_what_stays_is_told(terminal: Terminal, server: FakeServer) -> None:
    other = {**MOVE, "task": "default.web.2.1-9"}
    server.tell(POST, told(MOVE, other))
    server.tell(GET, told(MOVE), told())
    server.tell(f"GET /v1/namespaces/default/tasks/{TASK}", Told(body={"id": TASK, "ready": True}))
    server.tell("GET /v1/namespaces/default/tasks/default.web.2.1-9", problem(404, "gone"))
    done = terminal.run("rebalance", "--max-moves", "2", server=server.url)
    assert done.code == 0
    assert done.err.splitlines()[-2:] == [
        "1 of 2 moved",
        f"task/{TASK} stays where it is: there was no better place any more",
    ]


def test_a_wait_that_is_over_is_6_and_names_what_is_left(terminal: Terminal, server: FakeServer) -> None:
    server.tell(POST, told(MOVE))
    server.tell(GET, told(MOVE))
    done = terminal.run("rebalance", "--max-moves", "2", "--timeout", "50ms", server=server.url)
    assert done.code == 6
    assert "0 of 1 moved" in done.err


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        (("--job", "job/web"), {"job": "web", "namespace": "default"}),
        (("--job", "web", "-n", "shop"), {"job": "web", "namespace": "shop"}),
        (("-n", "shop", "--exclusive"), {"namespace": "shop", "exclusive": True}),
    ],
)
def test_what_is_narrowed_down_is_asked_so(
    terminal: Terminal, server: FakeServer, flags: tuple[str, ...], asked: dict[str, Any]
) -> None:
    server.tell(POST, told(is_whole=False))
    done = terminal.run("rebalance", "--max-moves", "3", *flags, server=server.url)
    assert server.asked[0].body == {"max_moves": 3, "exclusive": False, "dry_run": False, **asked}
    assert done.err.splitlines()[-1] == "there are too many jobs to look at all at once; name a namespace with -n"


def test_json_is_the_answer_and_names_are_the_tasks(terminal: Terminal, server: FakeServer) -> None:
    server.tell(POST, told(MOVE))
    assert json.loads(terminal.run("rebalance", "--plan", "-o", "json", server=server.url).out)["moves"] == [MOVE]
    assert terminal.run("rebalance", "--plan", "-o", "name", server=server.url).out == f"task/{TASK}\n"


def test_how_many_is_asked_for(terminal: Terminal, server: FakeServer) -> None:
    done = terminal.run("rebalance", server=server.url)
    assert (done.code, server.asked) == (2, [])
    assert "--max-moves N" in done.err
