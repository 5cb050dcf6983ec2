"""The verb ``graph``: what is drawn of a file without a server, and what a server is asked for."""

import io
import json
import sys
from pathlib import Path

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.runs_told import RUNS, WORKFLOWS
from tests.cli.terminal_rig import Terminal
from tests.core.pictures import DOT, MERMAID
from tests.workflows import REFUND, a_workflow


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "refund.json"
    path.write_text(json.dumps(REFUND))
    return str(path)


def test_a_file_is_drawn_without_a_server(terminal: Terminal, manifest: str) -> None:
    done = terminal.run("graph", manifest)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "workflow refund"
    assert "● pay_back" in done.out and "▼" in done.out
    plain = terminal.run("graph", manifest, "--ascii-only")
    assert plain.out.isascii() and "* pay_back" in plain.out
    assert DOT.fullmatch(terminal.run("graph", manifest, "-o", "dot").out)
    assert MERMAID.fullmatch(terminal.run("graph", manifest, "-o", "mermaid").out)
    assert terminal.run("graph", manifest, "-o", "svg").out.startswith("<svg ")
    assert json.loads(terminal.run("graph", manifest, "-o", "json").out)["title"] == "workflow refund"
    folded = terminal.run("graph", manifest, "--boxes", "2").out
    assert "operations are drawn as" in folded


def test_a_terminal_of_few_characters_is_drawn_with_those(
    terminal: Terminal, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harpoon.cli.graph._shows_all", lambda: False)
    assert terminal.run("graph", manifest).out.isascii()


def test_what_a_terminal_shows_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from harpoon.cli.graph import _shows_all

    for encoding, shows in (("utf-8", True), ("ascii", False), ("latin-1", False)):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        assert _shows_all() is shows


def test_a_server_draws_what_it_knows(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WORKFLOWS}/refund/graph", Told(text=b"drawn\n"))
    server.tell(f"GET {RUNS}/o-17/graph", Told(text=b"line 1\nline 2\n"))
    done = terminal.run("graph", "workflow/refund", "-o", "svg", "--boxes", "9", server=server.url)
    assert (done.code, done.out) == (0, "drawn\n")
    assert server.asked[-1].query == {"format": ["svg"], "boxes": ["9"]}
    done = terminal.run("graph", "run/o-17", "--ascii-only", server=server.url)
    assert (done.code, done.out) == (0, "line 1\nline 2\n")
    assert server.asked[-1].query == {"format": ["ascii"], "ascii_only": ["true"]}
    server.tell(f"GET {RUNS}/o-18/graph", problem(404, "there is no run o-18"))
    assert terminal.run("graph", "run/o-18", server=server.url).code == 3


def test_a_batch_is_drawn_as_the_run_that_it_is(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/namespaces/default/runs/resize/graph", Told(text=b"[each]\n"))
    assert terminal.run("graph", "batch/resize", server=server.url).out == "[each]\n"


def test_what_cannot_be_drawn_is_refused(terminal: Terminal, manifest: str, tmp_path: Path) -> None:
    assert terminal.run("graph", manifest, "-o", "svg", "--ascii-only").code == 2
    both = tmp_path / "both.yaml"
    both.write_text("\n---\n".join(json.dumps(one) for one in (REFUND, a_workflow(a={"worker": "x"}))))
    assert "holds 2 workflows" in terminal.run("graph", str(both)).err
    job = tmp_path / "job.yaml"
    job.write_text("kind: Job\nmetadata: {name: a}\n")
    for verb in ("graph", "bounds"):
        assert f"{job}:1:1: there is no workflow in {job}; this is a Job" in terminal.run(verb, str(job)).err
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(a_workflow(a={"worker": "x", "next": {"done": "b"}})))
    done = terminal.run("graph", str(bad))
    assert done.code == 2 and f"{bad}" in done.err
    assert terminal.run("graph", str(tmp_path / "none.yaml")).code == 2
