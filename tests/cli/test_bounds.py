"""The verb ``bounds``: what any run comes to at most, without a server."""

import json
from pathlib import Path

import pytest

from tests.cli.terminal_rig import Terminal
from tests.workflows import REFUND, a_workflow


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "refund.json"
    path.write_text(json.dumps(REFUND))
    return str(path)


def test_bounds_are_told_with_what_they_come_from(terminal: Terminal, manifest: str) -> None:
    done = terminal.run("bounds", manifest)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "workflow/refund   bounded"
    assert any(line.startswith("  At most") and "attempts: " in line for line in lines)
    assert any("1d from start to end: " in line for line in lines)
    assert next(line for line in lines if line.startswith("pay_back")).split() == ["pay_back", "4", "32"]


def test_bounds_are_told_to_programs(terminal: Terminal, manifest: str) -> None:
    told = json.loads(terminal.run("bounds", manifest, "-o", "json").out)["items"][0]
    assert (told["workflow"], told["ends_after_ms"]["most"]) == ("refund", 86_400_000)
    assert told["operations"]["pay_back"] == {"visits": 4, "attempts": 32}


def test_several_are_told_one_after_the_other_and_others_passed_over(terminal: Terminal, tmp_path: Path) -> None:
    job = {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": {"name": "web"}, "spec": {}}
    for number, one in enumerate((REFUND, a_workflow(a={"worker": "x"}), job)):
        (tmp_path / f"{number}.json").write_text(json.dumps(one))
    done = terminal.run("bounds", str(tmp_path))
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines() if line.startswith("workflow/")] == [
        "workflow/refund",
        "workflow/flow",
    ]
    assert "1 other documents are no workflows" in done.err


def test_what_is_called_is_counted_where_it_is_among_them(terminal: Terminal, tmp_path: Path) -> None:
    once = {"retry": {"lost": {"attempts": 1}}}
    outer = a_workflow(a={"call": {"workflow": "inner"}, **once}, b={"call": {"workflow": "other"}, **once})
    inner = a_workflow(a={"worker": "x", **once}) | {"metadata": {"name": "inner"}}
    (tmp_path / "all.yaml").write_text(f"{json.dumps(outer)}\n---\n{json.dumps(inner)}\n")
    done = terminal.run("bounds", str(tmp_path), "-o", "json")
    assert done.code == 0, done.err
    told = {one["workflow"]: one["attempts"]["most"] for one in json.loads(done.out)["items"]}
    assert told == {"inner": 1, "flow": 3}, "each stands after those that it calls"
    assert "workflow/flow calls other, which is not among these" in done.err


def test_a_workflow_without_a_bound_is_refused_with_its_place(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.write_text(
        "apiVersion: harpoon/v1\nkind: Workflow\nmetadata: {name: loop}\nspec:\n  start: a\n  operations:\n"
        "    a: {worker: x, next: {done: b}}\n    b: {worker: x, next: {fail: a}}\n"
    )
    done = terminal.run("bounds", str(path))
    assert done.code == 2
    assert f"{path}:" in done.err
    assert "visits" in done.err


@pytest.mark.parametrize("given", [("-o", "name"), ()])
def test_what_has_no_bounds_is_refused(
    terminal: Terminal, manifest: str, tmp_path: Path, given: tuple[str, ...]
) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("kind: Job\nmetadata: {name: a}\n")
    assert terminal.run("bounds", manifest if given else str(path), *given).code == 2
