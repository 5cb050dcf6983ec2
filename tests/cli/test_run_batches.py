"""Batches at the terminal: started, listed, told item by item, waited for and cancelled."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.runs_told import BEGAN_MS, RUNS, a_detail, a_run, a_visit, ended
from tests.cli.terminal_rig import Terminal
from tests.workflows import a_batch

BATCHES = "/v1/namespaces/default/batches"
POST = f"POST {BATCHES}"


def an_item(index: int = 0, **more: object) -> dict[str, object]:
    told = {"op": "each", "visit": 1, "index": index, "status": "done", "item": {"n": index}, "attempts": 1}
    told |= {"label": "done", "worker": "w1", "opened_ms": BEGAN_MS, "started_ms": BEGAN_MS, "error": ""}
    return {**told, "ended_ms": BEGAN_MS + 1500, "waits_for": "", "output": None, **more}


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "batch.json"
    path.write_text(json.dumps(a_batch()))
    return str(path)


def test_apply_starts_a_batch_once(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(POST, Told(status=201, body=a_run("resize")), Told(body=a_run("resize", status="succeeded")))
    done = terminal.run("apply", "-f", manifest, server=server.url)
    assert (done.code, done.out) == (0, "batch/resize started\n"), done.err
    assert server.of(POST)[0].body == a_batch()
    done = terminal.run("apply", "-f", manifest, "-o", "json", server=server.url)
    assert json.loads(done.out)["batches"] == [{"namespace": "default", "batch": "resize", "outcome": "succeeded"}]
    server.tell(POST, Told(body=a_run("resize")))
    assert terminal.run("apply", manifest, "-o", "name", server=server.url).out == "batch/resize\n"


def test_what_is_wrong_with_a_batch_is_told_with_its_place(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    fault = {"pointer": "/spec/each/input", "detail": "there is no itm"}
    server.tell(POST, problem(400, "no batch", errors=[fault]))
    done = terminal.run("apply", "-f", manifest, server=server.url)
    assert done.code == 2
    assert "spec.each.input" in done.err
    assert "there is no itm" in done.err


def a_batch_plan(**more: object) -> dict[str, object]:
    told = {"namespace": "default", "batch": "resize", "action": "start", "refusal": None, "status": None}
    told |= {"items": 3, "steps": 0, "mode": "parallel", "parallel": 2, "tolerate": 1, "deadline_ms": 600_000}
    return {**told, "attempts": 21, "ends_after_ms": 600_000, "bytes": 1 << 20, **more}


def planned(*batches: dict[str, object], has_changes: bool = True) -> Told:
    told = {"revision": "1.9", "has_changes": has_changes, "refusal": None, "plans": [], "workflows": []}
    return Told(body={**told, "batches": list(batches)})


@pytest.mark.parametrize("verb", ["plan", "diff"])
def test_a_plan_says_what_a_batch_would_start(terminal: Terminal, server: FakeServer, manifest: str, verb: str) -> None:
    server.tell(
        "POST /v1/plan",
        planned(a_batch_plan()),
        planned(a_batch_plan(items=0, steps=1, mode="in_order", parallel=1, attempts=1)),
        planned(a_batch_plan()),
        planned(a_batch_plan(action="unchanged", status="succeeded"), has_changes=False),
    )
    done = terminal.run(verb, manifest, server=server.url)
    assert (done.code, done.err) == (10, "")
    assert done.out.splitlines() == [
        "batch/resize: start",
        "  3 items, 2 at once; 1 may fail",
        "  at most 21 attempts, 10m from start to end, 1Mi of data",
    ]
    assert server.of("POST /v1/plan")[0].body == {"documents": [a_batch()]}
    done = terminal.run(verb, manifest, server=server.url)
    assert "  1 step, one after the other up to the first that fails\n  at most 1 attempt," in done.out
    assert terminal.run(verb, manifest, "-o", "name", server=server.url).out == "batch/resize\n"
    done = terminal.run(verb, manifest, server=server.url)
    assert (done.code, done.out) == (0, "batch/resize: unchanged, succeeded\n")


def test_a_batch_whose_name_is_taken_is_refused_by_a_plan(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    why = "something else was started under the name resize before; give this batch another metadata.name"
    server.tell(
        "POST /v1/plan", planned(a_batch_plan(action="refuse", refusal=why, status="failed"), has_changes=False)
    )
    done = terminal.run("plan", manifest, server=server.url)
    assert (done.code, done.out) == (8, f"batch/resize: refuse\n  {why}\n")
    assert terminal.run("diff", manifest, server=server.url).code == 10
    done = terminal.run("plan", manifest, "-o", "plan.json", server=server.url)
    assert (done.code, "a plan in a file is of jobs only" in done.err) == (2, True)


def test_where_other_runs_have_a_workflow_a_batch_says_what_it_is(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {RUNS}", Told(body={"revision": "1.9", "items": [a_run("resize", workflow=":batch")]}))
    assert terminal.run("get", "runs", server=server.url).out.splitlines()[1].split()[:2] == ["resize", "(batch)"]
    server.tell(f"GET {RUNS}/resize", Told(body=a_detail(workflow=":batch")))
    assert "  Workflow    (batch), generation abc123" in terminal.run("describe", "run/resize", server=server.url).out
    done = terminal.run("run", "fork", "resize", "--from", "each", "--set", "a=1", server=server.url)
    assert (done.code, done.err) == (
        2,
        "error: run resize is a batch, which is given no inputs; leave out --set and --inputs\n",
    )


def test_batches_and_their_items_are_listed(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {BATCHES}", Told(body={"revision": "1.9", "items": [a_run("resize", status="failed")]}))
    done = terminal.run("get", "batches", server=server.url)
    assert done.out.splitlines()[0].split() == ["BATCH", "STATUS", "AGE", "TOOK", "REASON"]
    assert done.out.splitlines()[1].split()[:2] == ["resize", "failed"]
    found = [
        an_item(0, output={"kb": 3}),
        an_item(1, status="failed", error="no image"),
        an_item(2, status="open", ended_ms=None, worker=None, waits_for="a worker that offers img.resize"),
    ]
    server.tell(f"GET {RUNS}/resize/items", Told(body={"revision": "1.9", "items": found}))
    done = terminal.run("get", "items", "batch/resize", server=server.url)
    # How wide the column is in which an open one's time stands, goes by the clock.
    rows = [re.split(r"\s{2,}", line) for line in done.out.splitlines()[1:]]
    assert rows[:2] == [
        ["each", "0", "done", "1", "w1", "1.5s", '{"n": 0}', '{"kb": 3}'],
        ["each", "1", "failed", "1", "w1", "1.5s", '{"n": 1}', "no image"],
    ]
    assert done.out.splitlines()[3].endswith("a worker that offers img.resize")
    assert "name the run, or the batch" in terminal.run("get", "items", server=server.url).err
    named = terminal.run("get", "items", "resize", "-o", "name", server=server.url)
    assert (named.code, named.out, "items have no names" in named.err) == (2, "", True)


def test_items_of_several_visits_are_told_apart(terminal: Terminal, server: FakeServer) -> None:
    found = [an_item(0, status="failed", error="no image"), an_item(0, visit=2)]
    server.tell(f"GET {RUNS}/resize/items", Told(body={"revision": "1.9", "items": found}))
    title, *rows = terminal.run("get", "items", "resize", server=server.url).out.splitlines()
    assert title.split()[:4] == ["OPERATION", "VISIT", "INDEX", "STATUS"]
    assert [row.split()[:4] for row in rows] == [["each", "1", "0", "failed"], ["each", "2", "0", "done"]]


def test_a_batch_is_shown_explained_waited_for_and_cancelled(terminal: Terminal, server: FakeServer) -> None:
    counts = {"count": 30, "pending": 9, "open": 1, "done": 18, "failed": 2, "cancelled": 0}
    visit = a_visit("each", kind="each", state="closed", items=counts, ended_ms=BEGAN_MS + 9000)
    server.tell(f"GET {BATCHES}/resize", Told(body=a_detail(visit)))
    done = terminal.run("describe", "batch/resize", server=server.url)
    assert "18 of 30 items done, 2 failed" in done.out
    why = {"subject": "run/resize", "state": "running", "summary": "1 waiting", "reasons": ["each has 18 of 30 done"]}
    server.tell(f"GET {BATCHES}/resize/why", Told(body=why))
    assert "each has 18 of 30 done" in terminal.run("why", "batch/resize", server=server.url).out
    server.tell(f"GET {RUNS}/o-17", Told(body=ended()))
    assert terminal.run("wait", "batch/o-17", server=server.url).code == 0
    server.tell(f"DELETE {BATCHES}/resize", Told(body=a_run("resize", status="cancelled")))
    assert terminal.run("delete", "batch/resize", server=server.url).out == "batch/resize cancelled\n"


@pytest.mark.parametrize(
    ("given", "sent"),
    [(("--failed",), []), (("--item", "3", "--item", "17"), [3, 17]), ((), None)],
)
def test_items_are_done_anew(
    terminal: Terminal, server: FakeServer, given: tuple[str, ...], sent: list[int] | None
) -> None:
    server.tell(f"POST {RUNS}/resize/retry", Told(body=a_run("resize")))
    done = terminal.run("run", "retry", "resize", "--from", "each", *given, server=server.url)
    assert done.code == 0, done.err
    asked = {"from": "each"} if sent is None else {"from": "each", "items": sent}
    assert server.of(f"POST {RUNS}/resize/retry")[0].body == asked


def test_items_are_named_or_those_that_failed_are_meant(terminal: Terminal, server: FakeServer) -> None:
    done = terminal.run("run", "retry", "resize", "--from", "each", "--item", "1", "--failed", server=server.url)
    assert (done.code, "give one of them" in done.err) == (2, True)
