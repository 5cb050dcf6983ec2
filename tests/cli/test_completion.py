"""The shell's completion: run as a shell runs it, against a server that is there, slow, strange or away."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harpoon.cli.main import VERBS
from harpoon.cli.offers import KINDS
from tests.cli.fake_server import FakeServer, Told, problem
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


def a_job(name: str, namespace: str = "default") -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": namespace}, "status": {"change": f"{namespace}.{name}.1-7"}}


def items(*told: object) -> Told:
    return Told(body={"revision": "1.1", "items": list(told)})


class Shell:
    """A shell in which somebody presses the key."""

    def __init__(self, home: Path, url: str) -> None:
        self.cache = home / "cache"
        path = f"{home}:{os.environ['PATH']}"
        self.environment = {"PATH": path, "HOME": str(home), "XDG_CACHE_HOME": str(self.cache), "HARPOON_SERVER": url}
        program = home / "harpoon"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m harpoon "$@"\n')
        program.chmod(0o755)

    def complete(self, line: str, **more: str) -> list[str]:
        """Return what is offered for the last word of a line."""
        words = line.split(" ")
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_HARPOON_COMPLETE": "complete_bash"}
        done = subprocess.run(
            ["harpoon"], env={**self.environment, **asked, **more}, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return done.stdout.split()

    def names(self, line: str, **more: str) -> list[str]:
        """Return what is offered; a busy machine may not have given the server its 0.3 s the first time."""
        return next((offered for _ in range(4) if (offered := self.complete(line, **more))), [])

    def ask(self, name: str, line: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Ask as the script of zsh or fish does."""
        asked = {"_HARPOON_COMPLETE": f"complete_{name}", "_TYPER_COMPLETE_ARGS": line, **more}
        environment = {**self.environment, **asked}
        return subprocess.run(["harpoon"], env=environment, capture_output=True, text=True, check=False)

    def run(self, program: str, script: str) -> str:
        """Run a script of a shell."""
        return subprocess.run(
            [program, "-c", script], env=self.environment, capture_output=True, text=True, check=True
        ).stdout


@pytest.fixture
def shell(tmp_path: Path, server: FakeServer) -> Iterator[Shell]:
    server.tell("GET /v1/namespaces/default/jobs", items(a_job("web"), a_job("api")))
    server.tell("GET /v1/namespaces/shop/jobs", items(a_job("cart", "shop")))
    server.tell("GET /v1/jobs", items(a_job("web"), a_job("cart", "shop")))
    server.tell("GET /v1/namespaces", items({"metadata": {"name": "default"}}, {"metadata": {"name": "shop"}}))
    server.tell("GET /v1/namespaces/default/tasks", items({"id": "default.web.0.1-9"}, {"id": "default.web.1.1-9"}))
    server.tell("GET /v1/namespaces/default/runs", items({"id": "o-17"}, {"id": "p-1"}))
    server.tell("GET /v1/agents", items({"name": "a1"}, {"name": "b1"}))
    return Shell(tmp_path, server.url)


def test_tasks_and_agents_of_an_operators_word_are_offered(shell: Shell) -> None:
    assert shell.names("harpoon stop task/") == ["task/default.web.0.1-9", "task/default.web.1.1-9"]
    assert shell.names("harpoon adopt --agent ") == ["a1", "b1"]


def test_every_verb_is_offered_and_no_server_is_asked(shell: Shell, server: FakeServer) -> None:
    verbs = {name for some in VERBS.values() for name in some}
    assert set(shell.complete("harpoon ")) == verbs
    assert shell.complete("harpoon unsch") == ["unschedule"]
    assert server.asked == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("harpoon get ", set(KINDS)),
        ("harpoon get jobs ", {"web", "api"}),
        ("harpoon get jobs w", {"web"}),
        ("harpoon get tasks ", {"default.web.0.1-9", "default.web.1.1-9"}),
        ("harpoon get agents ", {"a1", "b1"}),
        ("harpoon get endpoints a", {"api"}),
        ("harpoon get waiting ", set()),
        ("harpoon get namespaces ", {"default", "shop"}),
        ("harpoon delete namespace/", {"namespace/default", "namespace/shop"}),
        ("harpoon get job/", {"job/web", "job/api"}),
        (
            "harpoon describe ",
            {"job/web", "job/api", "agent/a1", "agent/b1", "namespace/default", "namespace/shop", "web", "api"},
        ),
        ("harpoon describe task/default.web.1", {"task/default.web.1.1-9"}),
        ("harpoon why ag", {"agent/a1", "agent/b1"}),
        ("harpoon events agent/b", {"agent/b1"}),
        ("harpoon wait ", {"job/web", "job/api", "change/default.web.1-7", "change/default.api.1-7", "agents"}),
        ("harpoon wait change/default.w", {"change/default.web.1-7"}),
        ("harpoon wait run/o", {"run/o-17"}),
        ("harpoon watch ru", {"runs", "run"}),
        ("harpoon watch workflows,a", {"workflows,attempts"}),
        ("harpoon watch jobs,t", {"jobs,tasks"}),
        ("harpoon logs ", {"web", "api"}),
        ("harpoon logs default.web.0", {"default.web.0.1-9"}),
        ("harpoon delete ", {"job/web", "job/api", "agent/a1", "agent/b1", "namespace/default", "namespace/shop"}),
        ("harpoon scale ", {"web", "api"}),
        ("harpoon rollback w", {"web"}),
        ("harpoon versions job/w", {"job/web"}),
        ("harpoon unschedule ", {"web", "api"}),
        ("harpoon get jobs -n ", {"default", "shop"}),
        ("harpoon get jobs -o ", {"table", "wide", "json", "yaml", "name"}),
        ("harpoon get jobs --wat", {"--watch"}),
        ("harpoon completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_what_is_there_is_offered(shell: Shell, line: str, offered: set[str]) -> None:
    assert set(shell.names(line) if offered else shell.complete(line)) == offered


def test_options_given_before_say_where_to_look(shell: Shell, server: FakeServer) -> None:
    assert shell.names("harpoon get -n shop jobs ") == ["cart"]
    assert set(shell.names("harpoon get -A jobs ")) == {"web", "cart"}
    away = f"http://127.0.0.1:{free_port()}"
    assert set(shell.names(f"harpoon get --server {server.url} jobs ", HARPOON_SERVER=away)) == {"web", "api"}


def test_a_token_is_shown(shell: Shell, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    shell.complete("harpoon get jobs ", HARPOON_TOKEN_FILE=str(tmp_path / "token"))
    assert server.asked[0].headers["authorization"] == "Bearer 0123456789abcdef"


@pytest.mark.parametrize(
    "answer",
    [
        problem(500, "it broke"),
        problem(401, "who are you?"),
        Told(text=b"<html>"),
        Told(body=[]),
        Told(body={"items": [{"nothing": 1}]}),
        Told(body={"items": list(range(1000))}, cut=True),
    ],
)
def test_whatever_the_server_answers_nothing_is_said(shell: Shell, server: FakeServer, answer: Told) -> None:
    server.tell("GET /v1/namespaces/default/jobs", answer)
    assert shell.complete("harpoon get jobs ") == []


@pytest.mark.parametrize("line", ["harpoon get jobs --server nonsense ", "harpoon frob ", "harpoon get jobs x y z "])
def test_a_wrong_line_completes_to_nothing(shell: Shell, line: str) -> None:
    assert shell.complete(line) == []


def test_no_server_is_no_noise(shell: Shell) -> None:
    assert shell.complete("harpoon get jobs ", HARPOON_SERVER=f"http://127.0.0.1:{free_port()}") == []
    assert shell.complete("harpoon get jobs ", HARPOON_TOKEN_FILE="/nowhere") == []


def test_a_slow_server_is_waited_for_no_longer_than_a_person_would(shell: Shell, server: FakeServer) -> None:
    server.tell("GET /v1/namespaces/default/jobs", Told(lines=[1], hangs=True))
    shell.complete("harpoon get ")  # what is imported is in the cache of files
    began = time.monotonic()
    assert shell.complete("harpoon get jobs ") == []
    assert time.monotonic() - began < 5, "the server would have hung for 20 s"


def test_names_are_remembered_for_a_moment_and_then_asked_for_again(shell: Shell, server: FakeServer) -> None:
    for _ in range(3):
        assert set(shell.complete("harpoon get jobs ")) == {"web", "api"}
    assert len(server.asked) == 1
    assert shell.complete("harpoon get -n shop jobs ") == ["cart"], "other names are remembered apart"
    for kept in (shell.cache / "harpoon" / "names").iterdir():
        os.utime(kept, (1, 1))
    server.tell("GET /v1/namespaces/default/jobs", items(a_job("new")))
    assert shell.complete("harpoon get jobs ") == ["new"]
    assert len(list((shell.cache / "harpoon" / "names").iterdir())) == 1, "what is stale is forgotten"


def test_names_are_remembered_where_nobody_else_can_look(shell: Shell) -> None:
    shell.complete("harpoon get jobs ")
    directory = shell.cache / "harpoon" / "names"
    assert directory.stat().st_mode & 0o777 == 0o700
    (kept,) = directory.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoil", ["open", "link", "file"])
def test_a_directory_that_others_could_write_to_is_not_used(
    shell: Shell, server: FakeServer, tmp_path: Path, spoil: str
) -> None:
    directory = shell.cache / "harpoon" / "names"
    directory.parent.mkdir(parents=True)
    if spoil == "open":
        directory.mkdir()
        directory.chmod(0o777)
    elif spoil == "link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        directory.symlink_to(tmp_path / "theirs")
    else:
        directory.write_text(json.dumps(["evil"]))
    for _ in range(2):
        assert set(shell.complete("harpoon get jobs ")) == {"web", "api"}
    assert len(server.asked) == 2
    assert directory.is_file() or list(directory.iterdir()) == []


def test_the_script_for_bash_completes_in_bash(shell: Shell) -> None:
    told = shell.run(
        "bash",
        'source <(harpoon completion bash); COMP_WORDS=(harpoon get jobs ""); COMP_CWORD=3; _harpoon_completion harpoon;'
        ' printf "%s\\n" "${COMPREPLY[@]}"',
    )
    assert set(told.split()) == {"web", "api"}


@pytest.mark.parametrize(("name", "mark"), [("zsh", "compdef"), ("fish", "complete --command harpoon")])
def test_there_is_a_script_for_other_shells(shell: Shell, name: str, mark: str) -> None:
    assert mark in shell.run("bash", f"harpoon completion {name}")


@pytest.mark.parametrize(("line", "offered"), [("harpoon get jobs w", "web"), ("harpoon unsch", "unschedule")])
@pytest.mark.parametrize(("name", "more"), [("zsh", {}), ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"})])
def test_other_shells_are_answered_too(shell: Shell, name: str, more: dict[str, str], line: str, offered: str) -> None:
    done = shell.ask(name, line, **more)
    assert offered in done.stdout
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize(("line", "code"), [("harpoon unsch", 0), ("harpoon nothing", 1), ("harpoon apply -f x", 1)])
def test_fish_is_told_whether_there_is_anything_to_offer(shell: Shell, line: str, code: int) -> None:
    assert shell.ask("fish", line, _TYPER_COMPLETE_FISH_ACTION="is-args").returncode == code
