"""``harpoon health`` is an exit code that whoever looks after a server or an agent can rely on."""

import pytest

from harpoon.cli import health
from tests.cli.fake_server import FakeServer, Told
from tests.cli.terminal_rig import Terminal
from tests.ports import free_port

SERVER = {"status": "ok", "instance": "s1-3d275f53", "version": "1", "revision": "1.9", "now_ms": 1}
AGENT = {"status": "ok", "agent": "a1", "version": "1"}


@pytest.mark.parametrize(("told", "who"), [(SERVER, "server s1-3d275f53"), (AGENT, "agent a1")])
def test_one_that_is_well_says_who_it_is(terminal: Terminal, server: FakeServer, told: dict, who: str) -> None:
    server.tell("GET /v1/health", Told(body=told))
    done = terminal.run("health", server.url)
    assert (done.code, done.out) == (0, f"{who} is well, at {server.url}\n")


def test_neither_the_server_to_register_with_nor_a_token_is_asked_for(
    terminal: Terminal, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.tell("GET /v1/health", Told(body=AGENT))
    monkeypatch.setenv("HARPOON_SERVER", "http://127.0.0.1:1")
    monkeypatch.setenv("HARPOON_TOKEN_FILE", "/nowhere")
    monkeypatch.setenv("HARPOON_HEALTH", server.url)
    assert terminal.run("health").code == 0
    assert "Authorization" not in server.of("GET /v1/health")[0].headers


def test_without_a_place_whoever_is_here_is_asked(
    terminal: Terminal, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.tell("GET /v1/health", Told(body=AGENT))
    monkeypatch.setattr(health, "HERE", (f"http://127.0.0.1:{free_port()}", server.url))
    assert "agent a1" in terminal.run("health").out


def test_nobody_here_is_9_and_says_where_was_asked(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    places = tuple(f"http://127.0.0.1:{free_port()}" for _ in range(2))
    monkeypatch.setattr(health, "HERE", places)
    done = terminal.run("health")
    assert done.code == 9
    assert all(place in done.err for place in places)


def test_one_that_does_not_answer_is_9(terminal: Terminal) -> None:
    place = f"http://127.0.0.1:{free_port()}"
    done = terminal.run("health", place)
    assert done.code == 9
    assert place in done.err


def test_one_that_is_about_to_stop_is_9(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/health", Told(status=503, body=SERVER | {"status": "draining"}))
    done = terminal.run("health", server.url)
    assert (done.code, "about to stop" in done.err) == (9, True)


@pytest.mark.parametrize("told", [Told(body={"status": "ok"}), Told(body=["ok"]), Told(text=b"fine")])
def test_another_service_is_not_taken_for_one_of_ours(terminal: Terminal, server: FakeServer, told: Told) -> None:
    server.tell("GET /v1/health", told)
    done = terminal.run("health", server.url)
    assert (done.code, "is another service listening there?" in done.err) == (1, True)


def test_what_was_told_can_be_had_as_it_came(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/health", Told(body=AGENT))
    assert '"agent": "a1"' in terminal.run("health", server.url, "-o", "json").out
