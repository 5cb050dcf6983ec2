"""``harpoon adopt`` and ``harpoon stop``: task by task, or all that nobody claims on an agent."""

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

ONE, OTHER = "default.web.3.1-42", "shop.db.0.1-43"


def post(task: str, verb: str) -> str:
    return f"POST /v1/namespaces/{task.partition('.')[0]}/tasks/{task}/{verb}"


def tell(server: FakeServer, verb: str, *tasks: str) -> None:
    for task in tasks:
        told = {"revision": "2.7", "task": task} | ({"change": "default.web.2-7"} if verb == "adopt" else {})
        server.tell(post(task, verb), Told(status=202, body=told))


def test_tasks_are_adopted_by_name(terminal: Terminal, server: FakeServer) -> None:
    tell(server, "adopt", ONE, OTHER)
    done = terminal.run("adopt", f"task/{ONE}", OTHER, server=server.url)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"task/{ONE} adopted, change/default.web.2-7\ntask/{OTHER} adopted, change/default.web.2-7\n"
    assert [asked.body for asked in server.asked] == [{}, {}]


def test_all_unclaimed_tasks_of_an_agent_are_stopped_and_no_others(terminal: Terminal, server: FakeServer) -> None:
    items = [
        {"id": ONE, "state": "unclaimed", "agent": "a1"},
        {"id": OTHER, "state": "unclaimed", "agent": "a2"},
        {"id": "default.web.0.1-1", "state": "running", "agent": "a1"},
    ]
    server.tell("GET /v1/agents/a1", Told(body={"name": "a1"}))
    server.tell("GET /v1/agents/a3", Told(body={"name": "a3"}))
    server.tell("GET /v1/tasks", Told(body={"revision": "2.7", "items": items}))
    tell(server, "stop", ONE)
    done = terminal.run("stop", "--all-unclaimed", "--agent", "a1", server=server.url)
    assert (done.code, done.out) == (0, f"task/{ONE} is to stop\n")
    none = terminal.run("stop", "--all-unclaimed", "--agent", "agent/a3", server=server.url)
    assert (none.code, none.out, none.err) == (0, "", "agent a3 has no unclaimed task\n")
    assert terminal.run("stop", "--all-unclaimed", "--agent", "nobody", server=server.url).code == 3


def test_one_that_is_refused_does_not_keep_the_others_from_it(terminal: Terminal, server: FakeServer) -> None:
    tell(server, "stop", OTHER)
    server.tell(post(ONE, "stop"), problem(409, "it is running, and not unclaimed"))
    server.tell(post("default.x.0.1-1", "stop"), problem(404, "there is no task"))
    done = terminal.run("stop", ONE, OTHER, "default.x.0.1-1", server=server.url)
    assert (done.code, done.out) == (4, f"task/{OTHER} is to stop\n")
    assert done.err == "error: there is no task\nerror: it is running, and not unclaimed\n"


def test_a_server_that_is_away_ends_it_at_once(terminal: Terminal, server: FakeServer) -> None:
    server.tell(post(ONE, "adopt"), problem(503, "the store is away"))
    assert terminal.run("adopt", ONE, OTHER, server=server.url).code == 9
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--all-unclaimed",),
        ("--agent", "a1"),
        (ONE, "--agent", "a1"),
        (ONE, "--all-unclaimed", "--agent", "a1"),
        ("job/web",),
        ("web",),
    ],
)
def test_a_command_line_that_is_not_clear_is_refused(
    terminal: Terminal, server: FakeServer, words: tuple[str, ...]
) -> None:
    for verb in ("adopt", "stop"):
        assert terminal.run(verb, *words, server=server.url).code == 2
    assert server.asked == []
