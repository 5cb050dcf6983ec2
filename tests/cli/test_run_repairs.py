"""The verbs by which runs are repaired: what is asked, what is shown, and how parked failures are told."""

import json
from pathlib import Path

import pytest

from harpoon.cli import run_watching
from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.runs_told import RUNS, WORKFLOWS, a_detail, a_run, a_visit, a_workflow
from tests.cli.terminal_rig import Terminal

AUDIT = ("--reason", "bank was down", "--by", "ann")
PARKED = {"op": "pay", "visit": 2, "label": "fail", "error": "no funds", "since_ms": 1_700_000_000_000}


def test_a_run_is_retried_from_an_operation(terminal: Terminal, server: FakeServer) -> None:
    asked = f"POST {RUNS}/o-17/retry"
    server.tell(asked, Told(body=a_run()))
    done = terminal.run("run", "retry", "run/o-17", "--from", "pay", *AUDIT, server=server.url)
    assert (done.code, done.out) == (0, "run/o-17 goes on from pay; to see it: harpoon describe run/o-17\n"), done.err
    assert server.of(asked)[0].body == {"from": "pay", "reason": "bank was down", "by": "ann"}
    assert server.of(asked)[0].headers["idempotency-key"]


def test_a_visit_is_skipped_or_set(terminal: Terminal, server: FakeServer) -> None:
    skip, set_ = f"POST {RUNS}/o-17/skip", f"POST {RUNS}/o-17/set"
    for asked in (skip, set_):
        server.tell(asked, Told(body=a_run()))
    done = terminal.run("run", "skip", "o-17", "tell", "--visit", "2", server=server.url)
    assert (done.code, done.out) == (0, "run/o-17 goes on without tell\n"), done.err
    assert server.of(skip)[0].body == {"op": "tell", "visit": 2}
    given = ("--label", "approved", "--value", '{"id": "p-3"}', "--visit", "1")
    done = terminal.run("run", "set", "o-17", "pay", *given, server=server.url)
    assert (done.code, done.out) == (0, "run/o-17 goes on with pay closed as approved\n"), done.err
    done = terminal.run("run", "set", "o-17", "pay", "--value", "-", server=server.url, stdin=b"[1]")
    assert [one.body for one in server.of(set_)] == [
        {"op": "pay", "visit": 1, "label": "approved", "output": {"id": "p-3"}},
        {"op": "pay", "output": [1]},
    ]
    done = terminal.run("run", "set", "o-17", "pay", "--value", "{", server=server.url)
    assert (done.code, "--value: write JSON" in done.err) == (2, True)


def test_parked_failures_are_told_with_the_way_out(terminal: Terminal, server: FakeServer) -> None:
    told = a_detail(visits=[a_visit()]) | {"incidents": 1, "parked": [PARKED]}
    server.tell(f"GET {RUNS}/o-17", Told(body=told))
    done = terminal.run("describe", "run/o-17", server=server.url)
    assert done.code == 0, done.err
    assert "run/o-17   parked" in done.out
    assert "  pay (visit 2) fail, " in done.out
    assert "To go on: harpoon run retry o-17 --from pay, or harpoon run skip o-17 pay" in done.out


def test_runs_with_parked_failures_are_listed(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {RUNS}", Told(body={"revision": "1.2", "items": [a_run() | {"incidents": 2}]}))
    done = terminal.run("get", "runs", "--parked", server=server.url)
    assert (done.code, "parked" in done.out) == (0, True), done.err
    assert server.of(f"GET {RUNS}")[0].query["parked"] == ["true"]
    done = terminal.run("get", "jobs", "--parked", server=server.url)
    assert (done.code, "select from a list of runs" in done.err) == (2, True)


def test_a_run_is_forked_with_other_inputs(terminal: Terminal, server: FakeServer) -> None:
    asked = f"POST {RUNS}/o-17/fork"
    server.tell(f"GET {RUNS}/o-17", Told(body=a_detail()))
    server.tell(f"GET {WORKFLOWS}/refund", Told(body=a_workflow()))
    server.tell(asked, Told(status=201, body=a_run() | {"id": "o-18"}))
    given = ("--id", "o-18", "--set", "amount=20", "--by", "ann")
    done = terminal.run("run", "fork", "o-17", "--from", "pay", *given, server=server.url)
    assert (done.code, done.out) == (0, "run/o-18 is forked from run/o-17\n"), done.err
    assert server.of(asked)[0].body == {"from": "pay", "by": "ann", "inputs": {"amount": 20}, "id": "o-18"}
    server.tell(asked, Told(status=200, body=a_run() | {"id": "o-18"}))
    done = terminal.run("run", "fork", "o-17", "--from", "pay", "--id", "o-18", server=server.url)
    assert done.out == "run/o-18 was forked from run/o-17 before\n"
    told = a_detail(visits=[a_visit()]) | {"forked_from": "o-16", "repairs": 2}
    server.tell(f"GET {RUNS}/o-17", Told(body=told))
    lines = terminal.run("describe", "run/o-17", server=server.url).out.splitlines()
    assert [line.split()[-1] for line in lines if "Forked from" in line] == ["o-16"]
    assert any(line.split() == ["Repaired", "2", "times"] for line in lines)


def moved(run: str, *because: str, is_moved: bool = True) -> dict[str, object]:
    return {"run": run, "before": "g1", "generation": "g2", "is_moved": is_moved, "because": list(because)}


def test_a_batch_may_be_named_as_one(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {RUNS}/o-17/retry", Told(body=a_run()))
    done = terminal.run("run", "retry", "batch/o-17", "--failed", "--from", "each", server=server.url)
    assert (done.code, done.out.partition(";")[0]) == (0, "run/o-17 goes on from each"), done.err


def test_runs_are_moved_and_those_that_stay_are_told(terminal: Terminal, server: FakeServer) -> None:
    refused = problem(409, "it stays on generation g1: operation b, at which it stands, is gone")
    server.tell(f"POST {RUNS}/o-17/move", Told(body=moved("o-17")))
    server.tell(f"POST {RUNS}/o-18/move", refused)
    done = terminal.run("run", "move", "run/o-17", "--to", "g2", "--by", "ann", server=server.url)
    assert (done.code, done.out) == (0, "run/o-17 moved from generation g1 to g2\n"), done.err
    assert server.of(f"POST {RUNS}/o-17/move")[0].body == {"generation": "g2", "by": "ann"}
    done = terminal.run("run", "move", "o-17", "o-18", server=server.url)
    assert done.code == 4
    assert "run/o-18 stays: it stays on generation g1: operation b, at which it stands, is gone" in done.out
    assert "1 of 2 stay as they are" in done.err


def test_a_run_that_is_not_there_keeps_no_other_from_being_moved(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {RUNS}/o-17/move", Told(body=moved("o-17")))
    server.tell(f"POST {RUNS}/nope/move", problem(404, "there is no run nope in namespace default"))
    done = terminal.run("run", "move", "nope", "o-17", server=server.url)
    assert (done.code, done.out) == (3, "run/o-17 moved from generation g1 to g2\n"), done.err
    assert "there is no run nope" in done.err


def test_that_no_run_is_there_to_be_moved_is_said(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {RUNS}", Told(body={"revision": "1.2", "items": []}))
    done = terminal.run("run", "move", "--workflow", "refund", "--all", server=server.url)
    assert (done.code, done.out) == (0, "")
    assert "no run of workflow refund is open in namespace default" in done.err


def test_all_open_runs_of_a_workflow_are_looked_at(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {RUNS}", Told(body={"revision": "1.2", "items": [a_run()]}))
    server.tell(f"POST {RUNS}/o-17/move", Told(body=moved("o-17", "operation b is gone", is_moved=False)))
    given = ("--workflow", "refund", "--all", "--dry-run")
    done = terminal.run("run", "move", *given, server=server.url)
    assert (done.code, done.out) == (4, "run/o-17 would stay: operation b is gone\n"), done.err
    assert server.of(f"GET {RUNS}")[0].query == {"workflow": ["refund"], "status": ["running"]}
    assert server.of(f"POST {RUNS}/o-17/move")[0].query == {"dry_run": ["true"]}
    server.tell(f"POST {RUNS}/o-17/move", Told(body=moved("o-17", is_moved=False)))
    assert (
        terminal.run("run", "move", *given, server=server.url).out == "run/o-17 could move from generation g1 to g2\n"
    )
    told = terminal.run("run", "move", *given, "-o", "json", server=server.url)
    assert '"is_moved": false' in told.out
    server.tell(f"POST {RUNS}/o-17/move", Told(body=moved("o-17") | {"before": "g2"}))
    assert terminal.run("run", "move", "o-17", server=server.url).out == "run/o-17 is on generation g2\n"
    for wrong in ((), ("o-17", "--all"), ("--workflow", "refund"), ("o-17", *given)):
        done = terminal.run("run", "move", *wrong, server=server.url)
        assert (done.code, "write harpoon run move RUN…" in done.err) == (2, True), (wrong, done.err)


def test_who_applies_a_workflow_is_told_of_open_runs(terminal: Terminal, server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(json.dumps(a_workflow()))
    elder = {
        "generation": "g1", "runs": 4, "movable": 2, "examples": ["o-1"], "left_out": 1,
        "staying": [{"because": ["operation b is gone"], "runs": 1, "examples": ["o-3"]}],
    }  # fmt: skip
    body = {"revision": "1.2", "outcome": "changed", "changes": [], "workflow": a_workflow(), "elder_runs": [elder]}
    server.tell(f"PUT {WORKFLOWS}/refund", Told(body=body))
    done = terminal.run("apply", "-f", str(path), server=server.url)
    assert done.code == 0, done.err
    assert (
        "4 open runs stay on generation g1: 2 could move (harpoon run move --workflow refund --all), "
        "1 not (o-3): operation b is gone, 1 more were not looked at"
    ) in done.err
    done = terminal.run("diff", str(path), server=server.url)
    assert "4 open runs stay on generation g1" in done.out


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"kind": "retried", "op": "pay", "by": "ann", "reason": "bank was down", "opened": [{"op": "pay"}]},
            "pay by ann: bank was down → pay",
        ),
        ({"kind": "set", "op": "pay", "visit": 2, "label": "done", "by": "ann"}, "pay (visit 2) as done by ann"),
        ({"kind": "moved", "generation": "g2", "by": "ann"}, "by ann to generation g2"),
    ],
)
def test_repairs_are_told_in_a_line(event: dict[str, object], line: str) -> None:
    assert run_watching._gist(event) == line
