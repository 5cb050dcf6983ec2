"""Workflows and runs at the terminal: listed, described, explained, declared, compared and taken away."""

import json
from pathlib import Path
from typing import Any

import pytest

from harpoon.cli.figures import length, span
from harpoon.cli.run_screens import bar, does
from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.runs_told import BEGAN_MS, RUNS, WORKFLOWS, a_detail, a_run, a_visit, a_workflow, ended
from tests.cli.terminal_rig import Terminal

FLOW = """\
apiVersion: harpoon/v1
kind: Workflow
metadata: {name: refund}
spec:
  operations:
    tell: {worker: mail.send}
"""
JOB = """\
---
apiVersion: harpoon/v1
kind: Job
metadata: {name: web}
spec: {task: {command: [serve]}}
"""
EDIT = {"pointer": "/spec/deadline", "op": "replace", "old": "1d", "new": "2d"}
#: The server leaves out what is null.
GONE = {"pointer": "/spec/operations/ask/worker", "op": "replace", "old": "desk.ask"}
CAME = {"pointer": "/spec/operations/ask/timeout", "op": "replace", "new": "4h"}
PUT = f"PUT {WORKFLOWS}/refund"
PLAN = "POST /v1/plan"


def declared(outcome: str = "created", *changes: dict[str, Any]) -> Told:
    return Told(body={"revision": "1.7", "outcome": outcome, "changes": list(changes), "bounds": {}})


def planned(outcome: str = "created", *changes: dict[str, Any]) -> Told:
    flow = {"namespace": "default", "workflow": "refund", "outcome": outcome, "changes": list(changes)}
    told = {"revision": "1.7", "has_changes": outcome != "unchanged", "refusal": None, "plans": []}
    return Told(body={**told, "workflows": [{**flow, "elder_runs": []}], "batches": []})


def page(*items: dict[str, Any], **more: Any) -> Told:
    return Told(body={"revision": "1.7", "items": list(items), **more})


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "refund.yaml"
    path.write_text(FLOW)
    return str(path)


def test_workflows_are_listed_and_shown(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WORKFLOWS}", page(a_workflow()))
    done = terminal.run("get", "wf", "-o", "wide", server=server.url)
    assert done.code == 0, done.err
    title, row = done.out.splitlines()
    assert title.split() == ["NAME", "OPERATIONS", "INPUTS", "DEADLINE", "GENERATION", "AGE", "CHANGED", "TAGS"]
    assert row.split()[:5] == ["refund", "6", "order,amount,lines", "1d", "abc123"]
    server.tell(f"GET {WORKFLOWS}/refund", Told(body=a_workflow()))
    assert terminal.run("get", "workflow/refund", "-o", "name", server=server.url).out == "workflow/refund\n"
    server.tell("GET /v1/workflows", page(a_workflow()))
    assert terminal.run("get", "workflows", "-A", server=server.url).out.splitlines()[1].startswith("default ")


def test_runs_are_listed_and_chosen(terminal: Terminal, server: FakeServer) -> None:
    runs = [
        a_run(),
        a_run("o-18", is_paused=True),
        a_run("o-19", status="failed", ended_ms=BEGAN_MS + 90_000, reason="pay_back closed as fail"),
    ]
    server.tell(f"GET {RUNS}", page(*runs, left_out=7))
    chosen = ("--status", "running", "--status", "failed", "--workflow", "refund", "-l", "cause=test")
    done = terminal.run("get", "runs", *chosen, server=server.url)
    assert done.code == 0, done.err
    assert [line.split()[:3] for line in done.out.splitlines()[1:]] == [
        ["o-17", "refund", "running"],
        ["o-18", "refund", "paused"],
        ["o-19", "refund", "failed"],
    ]
    assert done.out.splitlines()[3].split()[4:] == ["1m30s", "pay_back", "closed", "as", "fail"]
    assert "and 7 older ones; choose some with --status, --workflow, --since, --until or -l" in done.err
    query = {"status": ["running", "failed"], "workflow": ["refund"], "tag": ["cause=test"]}
    assert server.of(f"GET {RUNS}")[0].query == query
    done = terminal.run("get", "runs", "-o", "name", server=server.url)
    assert done.out == "run/o-17\nrun/o-18\nrun/o-19\n"
    server.tell("GET /v1/runs", page())
    assert "no runs" in terminal.run("get", "runs", "-A", server=server.url).err
    server.tell(f"GET {RUNS}/o-17", Told(body=a_detail()))
    assert '"visits": []' in terminal.run("get", "run", "o-17", "-o", "json", server=server.url).out


def test_what_changes_of_runs_is_shown_until_it_cannot_be_read(terminal: Terminal, server: FakeServer) -> None:
    away = problem(503, "the store is away")
    server.tell(f"GET {RUNS}", page(a_run()), away, page(a_run(status="succeeded")), problem(403, "no more"))
    done = terminal.run("get", "runs", "-w", server=server.url)
    assert done.code == 5
    assert [line.split()[2] for line in done.out.splitlines()[1:]] == ["running", "succeeded"]
    assert "interrupted, resuming: " in done.err
    assert server.of(f"GET {RUNS}")[1].query == {"wait": ["30s"], "after": ["1.7"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("get", "jobs", "--status", "failed"), "select from a list of runs: harpoon get runs"),
        (("get", "run/o-17", "--workflow", "a"), "select from a list of runs: harpoon get runs"),
        (("get", "runs", "--at", "-1m"), "of runs no history is kept; drop --at"),
        (("get", "workflows", "--at", "-1m"), "of workflows no history is kept; drop --at"),
        (("get", "workflows", "-w"), "workflows are not watched; list them again: harpoon get workflows"),
        (("get", "run/o-17", "-w"), "wait for it to be over: harpoon wait run/o-17"),
        (("describe", "run/o-17", "--at", "-1m"), "of runs no history is kept; drop --at"),
        (("describe", "job/web", "--timeline"), "--timeline is of a run: harpoon describe run/ID --timeline"),
        (("why", "run/o-17", "--at", "-1m"), "of runs no history is kept; drop --at"),
        (
            ("why", "workflow/refund"),
            "write job/NAME, task/ID, agent/NAME, run/ID or batch/NAME; got 'workflow/refund'",
        ),
        (("delete", "run/o-17"), "write what to delete as job/NAME, agent/NAME, namespace/NAME, workflow/NAME or"),
    ],
)
def test_what_does_not_go_together_is_refused(
    terminal: Terminal, server: FakeServer, words: tuple[str, ...], message: str
) -> None:
    done = terminal.run(*words, server=server.url)
    assert done.code == 2
    assert message in done.err
    assert not server.asked


def test_what_was_declared_before_a_fault_is_told(terminal: Terminal, server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(FLOW + JOB)
    server.tell(PUT, declared())
    server.tell("POST /v1/apply", problem(409, "no room"))
    done = terminal.run("apply", "-f", str(path), server=server.url)
    assert (done.code, done.out) == (4, "workflow/refund created\n"), done.err
    assert "no room" in done.err


def test_nothing_is_declared_before_all_is_a_manifest(terminal: Terminal, server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(f"{FLOW}---\nkind: Job\n")
    done = terminal.run("apply", "-f", str(path), server=server.url)
    assert (done.code, done.out) == (2, "")
    assert "all.yaml:8:1: a manifest is a mapping with metadata" in done.err
    assert not server.asked


@pytest.mark.parametrize(("kind", "told"), [("http", "3"), ("task", "3"), ("call", "3"), ("wait", "-"), ("each", "-")])
def test_attempts_are_told_of_all_that_is_tried_again(
    terminal: Terminal, server: FakeServer, kind: str, told: str
) -> None:
    server.tell(f"GET {RUNS}/o-17", Told(body=a_detail(visits=[a_visit(kind=kind, attempts=3)])))
    done = terminal.run("describe", "run/o-17", server=server.url)
    row = next(line.split() for line in done.out.splitlines() if line.startswith("pay_back"))
    assert row[3] == told


def test_a_workflow_is_described_with_its_bounds_and_its_latest_runs(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WORKFLOWS}/refund", Told(body=a_workflow()))
    server.tell(f"GET {RUNS}", page(a_run()))
    done = terminal.run("describe", "workflow/refund", server=server.url)
    assert done.code == 0, done.err
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    for told in (
        "workflow/refund 6 operations",
        'Inputs order: {"type": "string", "maxLength": 64}',
        "At most 12 attempts: pay_back has up to 4 visits of 2 attempts",
        "1d from start to end: the deadline ends it",
        "2Mi of data",
        "pay_back worker payments.refund 4 8 30s done: tell",
        "ask wait for signal decision with key ${inputs.order} 1 - - approved: pay_back, tell; timeout: ask",
        "until wait until ${inputs.at} 1 - - -",
        "pause wait for 10m 1 - - -",
        "size choose big, small 1 - - -",
        "Latest runs:",
    ):
        assert told in lines, done.out
    assert server.of(f"GET {RUNS}")[0].query == {"workflow": ["refund"], "limit": ["10"]}


def test_runs_that_a_run_has_called_are_asked_for(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {RUNS}", page(a_run("o-17~pack.1")))
    done = terminal.run("get", "runs", "--parent", "run/o-17", server=server.url)
    assert done.out.splitlines()[1].split()[0] == "o-17~pack.1", done.err
    assert server.of(f"GET {RUNS}")[0].query == {"parent": ["o-17"]}


def test_runs_of_a_time_are_asked_for_and_so_many(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {RUNS}", Told(body={**page(a_run()).body, "remaining": 8, "continue": "x"}))
    asked = ("--since", "2h", "--until", "2026-01-31T12:00:00Z", "--limit", "1")
    done = terminal.run("get", "runs", *asked, server=server.url)
    assert done.code == 0, done.err
    assert len(server.asked) == 1
    assert server.asked[0].query == {"since": ["-2h"], "until": ["2026-01-31T12:00:00Z"], "limit": ["1"]}
    assert "and 8 older ones" in done.err
    for given in (
        ("get", "jobs", "--since", "2h"),
        ("get", "runs", "-w", "--limit", "1"),
        ("get", "runs", "--limit", "0"),
    ):
        assert terminal.run(*given, server=server.url).code == 2


def test_a_run_is_described_visit_by_visit_with_the_bounds_beside_what_was(
    terminal: Terminal, server: FakeServer
) -> None:
    closed = a_visit(
        state="closed", label="done", worker="w1", attempts=2, started_ms=BEGAN_MS + 10_000, ended_ms=BEGAN_MS + 20_000
    )
    waits = a_visit("ask", kind="wait", visit=2, state="waiting", waits_for="signal decision with key o-17")
    kept = {"id": "d-1", "name": "decision", "key": "o-9", "label": "approved", "sent_ms": BEGAN_MS}
    skipped = [{"op": "size", "is_skipped": True}, {"op": "tell", "is_skipped": False}]
    told = a_detail(closed, waits, signals=[kept], operations=skipped, visits_left=3)
    server.tell(f"GET {RUNS}/o-17", Told(body=told))
    done = terminal.run("describe", "run/o-17", server=server.url)
    assert done.code == 0, done.err
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    for line in (
        "run/o-17 running",
        "Workflow refund, generation abc123",
        'Inputs {"order": "o-17"}',
        "Attempts 3 of at most 12 (25 %)",
        "Time 40s of at most 1d (0 %)",
        "Data 1.5Ki of at most 2Mi (0 %)",
        "and 3 visits before these; all attempts: GET …/runs/o-17/attempts",
        "Skipped: size",
        "Signals that nothing has waited for yet:",
    ):
        assert line in lines, done.out
    row = next(line for line in lines if line.startswith("pay_back"))
    assert row.split()[:6] == ["pay_back", "1", "closed", "2", "done", "w1"]
    assert row.endswith("20s -")
    assert next(line for line in lines if line.startswith("ask")).endswith("signal decision with key o-17")
    assert any(line.startswith("decision with key o-9, label approved, sent") for line in lines)


def stretches(*told: tuple[str, int, int | None]) -> list[dict[str, Any]]:
    """What a visit did, by seconds after the run's beginning."""
    return [
        {"phase": phase, "from_ms": BEGAN_MS + 1000 * start, "to_ms": None if end is None else BEGAN_MS + 1000 * end}
        for phase, start, end in told
    ]


def test_a_run_is_drawn_along_its_time(terminal: Terminal, server: FakeServer) -> None:
    did = stretches(("queue", 0, 10), ("work", 10, 14), ("wait", 14, 16), ("work", 16, 20))
    first = a_visit(
        state="closed", label="fail", started_ms=BEGAN_MS + 10_000, ended_ms=BEGAN_MS + 20_000, stretches=did
    )
    second = a_visit(
        "ask",
        kind="wait",
        state="waiting",
        opened_ms=BEGAN_MS + 20_000,
        span_max_ms=None,
        stretches=stretches(("wait", 20, None), ("queue", 50, None)),
        waits_for="signal decision",
    )
    visited = {"op": "pay_back", "visits": 1, "visits_max": 4, "attempts": 2, "attempts_max": None, "queue_ms": 10_000}
    visited |= {"work_ms": 8_000, "wait_ms": 2_000, "latest_ms": 20_000, "span_max_ms": 90_000, "is_skipped": False}
    rare = {**visited, "op": "ask", "span_max_ms": None, "latest_ms": None}
    never = {**visited, "op": "tell", "visits": 0}
    told = a_detail(first, second, operations=[visited, rare, never])
    server.tell(f"GET {RUNS}/o-17", Told(body=told))
    done = terminal.run("describe", "run/o-17", "--timeline", server=server.url)
    assert done.code == 0, done.err
    rows = done.out.splitlines()
    start = next(place for place, row in enumerate(rows) if row.startswith("OPERATION"))
    assert "0 … 40s of at most 1d" in rows[start]
    assert f"|{'.' * 10}{'=' * 4}--{'=' * 5}{' ' * 19}|" in rows[start + 1]
    assert rows[start + 1].split()[-4:] == ["20s", "1m30s", "fail", "-"]
    assert f"|{' ' * 20}{'-' * 20}|" in rows[start + 2]
    assert rows[start + 2].startswith("ask 1        20s") and rows[start + 2].endswith("signal decision")
    assert any(row.startswith("Deadline") and row.endswith(", in 23h59m") for row in map(str.strip, rows))
    last = [row.split() for row in rows if row.startswith(("pay_back ", "ask "))][-2:]
    assert last == [
        ["pay_back", "1", "of", "4", "2", "10s", "8s", "2s", "20s", "1m30s"],
        ["ask", "1", "of", "4", "2", "10s", "8s", "2s", "0s", "-"],
    ]
    assert not any(row.startswith("tell") for row in rows)


def test_a_bound_is_never_told_as_less_than_it_is(terminal: Terminal, server: FakeServer) -> None:
    measures = {
        "attempts": {"actual": 1, "bound": 2},
        "ends_after_ms": {"actual": 3_661_999, "bound": 3_601_001},
        "bytes": {"actual": 24, "bound": (125 << 20) + 1},
    }
    server.tell(f"GET {RUNS}/o-17", Told(body=a_detail(measures=measures)))
    lines = [
        " ".join(line.split()) for line in terminal.run("describe", "run/o-17", server=server.url).out.splitlines()
    ]
    assert "Time 1h1m of at most 1h1m (100 %)" in lines
    assert "Data 24 of at most 126Mi (0 %)" in lines


def test_a_bar_has_its_place_however_short_it_is() -> None:
    assert bar(a_visit(stretches=stretches(("wait", 0, 0))), BEGAN_MS, 1) == "-" + " " * 39
    assert bar(a_visit(stretches=stretches(("wait", 1, None))), BEGAN_MS, 1000) == " " * 39 + "-"
    assert bar(a_visit(), BEGAN_MS, 1000) == " " * 40


@pytest.mark.parametrize(
    ("milliseconds", "told"),
    [(0, "0s"), (1250, "1.25s"), (59_999, "60s"), (61_000, "1m1s"), (7_200_000, "2h"), (90_061_000, "1d1h")],
)
def test_spans_are_told_in_two_units_at_most(milliseconds: int, told: str) -> None:
    assert length(milliseconds) == told
    assert span(BEGAN_MS, BEGAN_MS + milliseconds) == told
    assert not span(None)


def test_why_a_run_stands_as_it_does_is_told_in_sentences(terminal: Terminal, server: FakeServer) -> None:
    reason = "pay_back (visit 1) waits for a worker: none offers payments.refund; start one that does"
    told = {"revision": "1.7", "subject": "run/o-17", "state": "running", "summary": "1 waiting", "is_fine": False}
    server.tell(f"GET {RUNS}/o-17/why", Told(body={**told, "reasons": [reason], "causes": []}))
    done = terminal.run("why", "run/o-17", server=server.url)
    assert (done.code, done.out) == (0, f"run/o-17   running, 1 waiting\n  {reason}\n"), done.err


def test_workflows_are_applied_each_for_itself_before_jobs(
    terminal: Terminal, server: FakeServer, tmp_path: Path
) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(FLOW + JOB)
    server.tell("PUT /v1/namespaces/shop/workflows/refund", declared())
    result = {"namespace": "shop", "job": "web", "change": "shop.web.1-2", "outcome": "created"}
    server.tell("POST /v1/apply", Told(status=202, body={"revision": "1.8", "results": [result]}))
    done = terminal.run("apply", "-f", str(path), "-n", "shop", "--no-wait", server=server.url)
    assert (done.code, done.out) == (0, "workflow/refund created\njob/web created\n"), done.err
    assert [asked.path for asked in server.asked] == ["/v1/namespaces/shop/workflows/refund", "/v1/apply"]
    assert server.asked[0].body["metadata"] == {"namespace": "shop", "name": "refund"}


def test_what_is_called_is_applied_before_what_calls_it(terminal: Terminal, server: FakeServer, tmp_path: Path) -> None:
    told = {"revision": "1.9", "outcome": "created", "changes": []}
    documents = []
    for name, called in (("outer", ["middle"]), ("middle", ["inner", "elsewhere"]), ("inner", []), ("odd", ["odd"])):
        server.tell(f"PUT {WORKFLOWS}/{name}", Told(body=told))
        operations = {f"o{n}": {"call": {"workflow": one}} for n, one in enumerate(called)} | {"a": {"worker": "x"}}
        metadata = {"name": name}
        documents.append(
            {"apiVersion": "harpoon/v1", "kind": "Workflow", "metadata": metadata, "spec": {"operations": operations}}
        )
    path = tmp_path / "all.json"
    path.write_text("\n---\n".join(map(json.dumps, documents)))
    done = terminal.run("apply", "-f", str(path), server=server.url)
    assert done.code == 0, done.err
    assert [one.path.rpartition("/")[2] for one in server.asked] == ["inner", "middle", "outer", "odd"]


def test_a_workflow_alone_is_applied_without_jobs(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(PUT, declared("changed", EDIT))
    done = terminal.run("apply", "-f", manifest, "-o", "json", server=server.url)
    assert done.code == 0, done.err
    assert '"workflows": [\n    {\n      "namespace": "default",\n      "workflow": "refund"' in done.out
    assert terminal.run("apply", "-f", manifest, "-o", "name", server=server.url).out == "workflow/refund\n"


def test_a_flaw_is_told_with_its_place_in_the_file(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    flaw = {"pointer": "/spec/operations/tell", "detail": "nothing leads to tell; name it in next"}
    server.tell(PUT, problem(400, "1 flaw", errors=[flaw]))
    done = terminal.run("apply", "-f", manifest, server=server.url)
    assert done.code == 2
    assert f"{manifest}:6:5: spec.operations.tell: nothing leads to tell; name it in next" in done.err


def test_a_plan_shows_what_differs_and_declares_nothing(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(PLAN, planned("changed", EDIT), planned("unchanged"), planned())
    done = terminal.run("plan", manifest, server=server.url)
    assert (done.code, done.out) == (10, "workflow/refund: change\n  ~ spec.deadline: 1d -> 2d\n"), done.err
    done = terminal.run("plan", manifest, server=server.url)
    assert (done.code, done.out) == (0, "workflow/refund: unchanged\n")
    assert terminal.run("plan", manifest, "-o", "name", server=server.url).out == "workflow/refund\n"
    assert len(server.asked) == len(server.of(PLAN)) == 3
    done = terminal.run("plan", manifest, "-o", "plan.json", server=server.url)
    assert done.code == 2
    assert "apply namespaces and workflows first" in done.err


def test_a_difference_is_that_of_workflows_too(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(PLAN, planned("changed", EDIT), planned("unchanged"))
    done = terminal.run("diff", manifest, server=server.url)
    assert (done.code, done.out) == (10, "workflow/refund: change\n  ~ spec.deadline: 1d -> 2d\n"), done.err
    assert terminal.run("diff", manifest, "-o", "json", server=server.url).code == 0


def test_a_value_that_comes_or_goes_as_null_is_shown_so(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(PLAN, planned("changed", GONE, CAME))
    done = terminal.run("diff", manifest, server=server.url)
    assert done.code == 10, done.err
    assert done.out.splitlines()[1:] == [
        "  ~ spec.operations.ask.worker: desk.ask -> null",
        "  ~ spec.operations.ask.timeout: null -> 4h",
    ]


@pytest.mark.parametrize("verb", ["schedule", "migrate"])
def test_a_verb_of_jobs_says_which_takes_workflows(
    terminal: Terminal, server: FakeServer, manifest: str, verb: str
) -> None:
    done = terminal.run(verb, manifest, server=server.url)
    assert (done.code, server.asked) == (2, [])
    told = f"{manifest}:2:1: this verb takes a Job; declare a Workflow with harpoon apply -f {manifest}"
    assert told in done.err


def test_a_workflow_is_taken_away(terminal: Terminal, server: FakeServer) -> None:
    server.tell("DELETE /v1/namespaces/shop/workflows/refund", Told(body={"revision": "1.9"}))
    done = terminal.run("delete", "workflow/refund", "-n", "shop", server=server.url)
    assert (done.code, done.out) == (0, "workflow/refund deleted\n"), done.err
    done = terminal.run("delete", "workflow/refund", "-n", "shop", "-o", "json", server=server.url)
    assert json.loads(done.out) == {"revision": "1.9"}


def test_a_run_that_ended_is_described_by_how(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {RUNS}/o-17", Told(body=ended("failed", reason="no way on", outputs={"a": "x" * 400})))
    done = terminal.run("describe", "run/o-17", server=server.url)
    assert done.out.startswith("run/o-17   failed, no way on\n")
    assert "Took        2.5s" in done.out
    assert "…" in done.out
    assert "x" * 400 in terminal.run("describe", "run/o-17", "-o", "wide", server=server.url).out


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        ({"worker": "mail.send", "wait": None}, "worker mail.send"),
        ({"http": {"url": "https://shop/pay", "method": "POST"}}, "POST https://shop/pay"),
        ({"call": {"workflow": "ship"}, "foreach": {"items": [1, 2]}}, "call workflow ship for each of 2 items"),
        ({"task": {"task": {"command": ["sh", "-c", "true"]}}}, "task sh -c true"),
        ({"job": {"migrate": "web", "schedule": None}}, "migrate job web"),
        ({"later": {}}, ""),
    ],
)
def test_what_an_operation_does_is_said(operation: dict[str, Any], told: str) -> None:
    assert does(operation) == told
