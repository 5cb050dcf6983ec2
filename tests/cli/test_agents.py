"""Verbs for those who look after agents ask for it the right way, wait, and tell what became of it."""

import io
from typing import Any

import pytest

from harpoon.cli import agents
from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

A1 = "/v1/agents/a1"
REVISED = Told(status=200, body={"revision": "1.7"})
CORDON = {"is_draining": True, "deadline_ms": None, "since_ms": 1, "reason": "new kernel"}


def an_agent(left: int | None = None, *waiting: str, **more: Any) -> Told:
    drain = left if left is None else {"is_done": left == 0, "left": left, "tasks": [], "waiting": list(waiting)}
    link = {"state": "lost", "since_ms": 1, "reason": "silence"}
    return Told(body={"name": "a1", "link": link, "tasks": 3, "cordon": None, "drain": drain, **more})


def test_cordon_and_uncordon_ask_for_what_they_say(terminal: Terminal, server: FakeServer) -> None:
    for verb in ("cordon", "uncordon"):
        server.tell(f"POST {A1}/{verb}", REVISED)
    done = terminal.run("cordon", "agent/a1", "--reason", "disks", server=server.url)
    assert (done.code, done.out) == (0, "agent/a1 cordoned\n")
    assert server.asked[-1].body == {"reason": "disks"}
    assert terminal.run("cordon", "a1", "-o", "name", server=server.url).out == "agent/a1\n"
    assert server.asked[-1].body == {}
    assert terminal.run("uncordon", "a1", server=server.url).out == "agent/a1 uncordoned\n"
    assert terminal.run("uncordon", "a1", "-o", "json", server=server.url).out == '{\n  "revision": "1.7"\n}\n'


def test_drain_waits_until_no_task_is_left_and_says_what_is_in_the_way(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {A1}/drain", REVISED)
    server.tell(f"GET {A1}", an_agent(2, "default.web.0.1-9 waits for its turn", "x"), an_agent(1, "y"), an_agent(0))
    done = terminal.run("drain", "a1", "--deadline", "1h", "--reason", "new kernel", server=server.url)
    assert (done.code, done.out) == (0, "agent/a1 draining\n")
    assert server.of(f"POST {A1}/drain")[0].body == {"deadline": "1h", "reason": "new kernel"}
    lines = done.err.splitlines()
    assert lines[0].endswith(
        "the drain of agent/a1: draining, 2 tasks left; waits: default.web.0.1-9 waits for its turn (and 1 more)"
    )
    assert lines[1].endswith("draining, 1 tasks left; waits: y")
    assert lines[2].startswith("agent/a1 is drained after ")
    assert lines[2].endswith("To use it again: harpoon uncordon a1")


def test_a_drain_that_is_not_waited_for_asks_nothing_more(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {A1}/drain", REVISED)
    assert terminal.run("drain", "a1", "--no-wait", server=server.url).code == 0
    assert len(server.asked) == 1


def test_a_drain_that_takes_too_long_ends_with_6_and_says_how_to_go_on(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {A1}/drain", REVISED)
    server.tell(f"GET {A1}", an_agent(1, "default.web.0.1-9 fits nowhere else"))
    done = terminal.run("drain", "a1", "--timeout", "50ms", server=server.url)
    assert done.code == 6
    assert done.err.splitlines()[-1] == (
        "error: the drain of agent/a1 is not done after 50ms: draining, 1 tasks left; "
        "waits: default.web.0.1-9 fits nowhere else. "
        "To wait on: harpoon drain a1. To take it back: harpoon uncordon a1"
    )


def test_ctrl_c_says_that_the_drain_goes_on_and_how_to_take_it_back(
    terminal: Terminal, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    server.tell(f"POST {A1}/drain", REVISED)
    server.tell(f"GET {A1}", an_agent(1, "it"))
    monkeypatch.setattr("harpoon.cli.waiting._show", interrupted)
    done = terminal.run("drain", "a1", server=server.url)
    assert done.code == 130
    assert done.err == (
        "interrupted; the drain of agent/a1 goes on by itself. To wait again: harpoon drain a1. "
        "To take it back: harpoon uncordon a1\n"
    )


def test_a_drain_that_somebody_takes_back_is_a_conflict(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {A1}/drain", REVISED)
    server.tell(f"GET {A1}", an_agent(1, "it"), an_agent(None))
    done = terminal.run("drain", "a1", server=server.url)
    assert (done.code, done.err.splitlines()[-1]) == (
        4,
        "error: the drain of agent/a1 was taken back; what it has moved stays where it is",
    )


def test_wrong_spans_are_found_before_anything_is_asked(terminal: Terminal, server: FakeServer) -> None:
    for option in ("--deadline", "--timeout"):
        assert terminal.run("drain", "a1", option, "soon", server=server.url).code == 2
    assert server.asked == []


@pytest.mark.parametrize(("options", "seconds"), [((), 300), (("--deadline", "1m"), 300), (("--deadline", "1h"), 3660)])
def test_a_drain_is_waited_for_beyond_its_deadline(
    terminal: Terminal,
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    seconds: int,
) -> None:
    waited: list[float] = []
    server.tell(f"POST {A1}/drain", REVISED)
    monkeypatch.setattr(agents.waiting, "wait_drained", lambda _, __, span: waited.append(span.total_seconds()))
    assert terminal.run("drain", "a1", *options, server=server.url).code == 0
    assert waited == [seconds]


def test_declaring_dead_is_refused_where_nobody_can_be_asked(terminal: Terminal, server: FakeServer) -> None:
    done = terminal.run("declare-dead", "a1", server=server.url)
    assert (done.code, server.asked) == (2, [])
    assert done.err == (
        "error: there is nobody to ask whether a1 is dead; if you are sure: harpoon declare-dead a1 --yes\n"
    )
    server.tell(f"POST {A1}/declare-dead", REVISED)
    done = terminal.run("declare-dead", "a1", "--yes", "--reason", "burnt", server=server.url)
    assert (done.code, done.out) == (0, "agent/a1 declared dead\n")
    assert server.asked[-1].body == {"reason": "burnt"}


class Keyboard(io.TextIOWrapper):
    """Somebody sits there."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("said", "code", "posts"), [(b"y\n", 0, 1), (b"n\n", 1, 0), (b"\n", 1, 0)])
def test_declaring_dead_asks_first_and_says_what_it_means(
    terminal: Terminal, server: FakeServer, monkeypatch: pytest.MonkeyPatch, said: bytes, code: int, posts: int
) -> None:
    server.tell(f"GET {A1}", an_agent())
    server.tell(f"POST {A1}/declare-dead", REVISED)
    monkeypatch.setattr(io, "TextIOWrapper", Keyboard)
    done = terminal.run("declare-dead", "a1", server=server.url, stdin=said)
    assert (done.code, len(server.of(f"POST {A1}/declare-dead"))) == (code, posts)
    assert "agent/a1 is lost and has 3 tasks" in done.err
    assert "exclusive jobs" in done.err
    assert ("nothing was done" in done.err) == (code == 1)


def test_an_agent_that_is_connected_cannot_be_declared_dead(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {A1}/declare-dead", problem(409, "agent a1 is connected, so it is not dead", code="conflict"))
    assert terminal.run("declare-dead", "a1", "--yes", server=server.url).code == 4


def test_agents_say_whether_they_take_new_tasks(terminal: Terminal, server: FakeServer) -> None:
    cordoned = {**CORDON, "is_draining": False}
    items = [an_agent(cordon=one).body for one in (None, cordoned, CORDON)]
    server.tell("GET /v1/agents", Told(body={"revision": "1.7", "items": items}))
    titles, *rows = terminal.run("get", "agents", server=server.url).out.splitlines()
    place = titles.index("SCHEDULING")
    assert [row[place:].split()[0] for row in rows] == ["yes", "cordoned", "draining"]


def test_the_screen_of_an_agent_tells_of_its_cordon_and_its_drain(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/tasks", Told(body={"revision": "1.7", "items": []}))
    server.tell(f"GET {A1}/events", Told(body={"items": []}))
    timed = {**CORDON, "deadline_ms": 1_767_225_600_000}
    server.tell(f"GET {A1}", an_agent(1, "default.web.0.1-9 fits nowhere else", cordon=timed))
    shown = terminal.run("describe", "agent/a1", server=server.url).out
    assert ", 1 tasks left, until 2026-01-01T00:00:00Z at the latest: new kernel" in shown
    assert "The drain waits for:\n  - default.web.0.1-9 fits nowhere else\n" in shown
    server.tell(f"GET {A1}", an_agent(0, cordon=CORDON))
    assert ", no task left: new kernel" in terminal.run("describe", "agent/a1", server=server.url).out
    server.tell(f"GET {A1}", an_agent())
    assert "  Scheduling  yes\n" in terminal.run("describe", "agent/a1", server=server.url).out
