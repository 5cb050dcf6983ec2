"""The verbs of ``run``, and waiting for one: what is asked, what is shown, and how it is told to scripts."""

import json
from pathlib import Path

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.runs_told import RUNS, WORKFLOWS, a_detail, a_run, a_visit, a_workflow, ended
from tests.cli.terminal_rig import Terminal

POST = f"POST {RUNS}"


def test_a_run_is_started_with_values_read_as_the_inputs_schemas_say(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WORKFLOWS}/refund", Told(body=a_workflow()))
    server.tell(POST, Told(status=201, body=a_run()))
    given = ("--set", "order=12", "--set", "amount=20", "--set", "lines=[1, {}]", "--tag", "cause=test")
    done = terminal.run(
        "run", "start", "workflow/refund", "--id", "o-17", "--deadline", "2h", *given, server=server.url
    )
    assert (done.code, done.out) == (0, "run/o-17 started\n"), done.err
    asked = server.of(POST)[0]
    assert asked.body == {
        "workflow": "refund",
        "inputs": {"order": "12", "amount": 20, "lines": [1, {}]},
        "id": "o-17",
        "tags": {"cause": "test"},
        "deadline": "2h",
    }
    assert asked.headers["idempotency-key"]


def test_inputs_come_from_a_file_and_what_is_set_goes_before(
    terminal: Terminal, server: FakeServer, tmp_path: Path
) -> None:
    path = tmp_path / "order.yaml"
    path.write_text("order: o-1\namount: 3.5\n")
    server.tell(f"GET {WORKFLOWS}/refund", Told(body=a_workflow()))
    server.tell(POST, Told(status=200, body=a_run()))
    done = terminal.run("run", "start", "refund", "--inputs", str(path), "--set", "order=o-2", server=server.url)
    assert (done.code, done.out) == (0, "run/o-17 was started before\n"), done.err
    assert server.of(POST)[0].body == {"workflow": "refund", "inputs": {"order": "o-2", "amount": 3.5}}
    done = terminal.run(
        "run", "start", "refund", "--inputs", "-", "-o", "name", server=server.url, stdin=b'{"order":"x"}'
    )
    assert (done.out, server.of(POST)[1].body["inputs"]) == ("run/o-17\n", {"order": "x"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--set", "order=a", "--set", "order=b"), "--set order stands twice; say which value is meant"),
        (("--set", "order"), "write an input as NAME=VALUE; got --set 'order'"),
        (("--set", "hour=1"), "--set hour: workflow refund has no such input; it has order, amount, lines"),
        (("--set", "amount=much"), "--set amount: write a number, such as 0.5; got 'much'"),
        (("--set", "lines=a,b"), '--set lines: write JSON, such as {"a": 1} or "text" in its quotes; got \'a,b\''),
        (("--set", "lines=NaN"), "--set lines: write JSON"),
        (("--timeout", "5s"), "--timeout is how long --wait waits; give --wait as well"),
        (("--deadline", "soon"), "'soon': write a duration"),
        (("--inputs", "{file}"), "inputs are a mapping of names to values"),
    ],
)
def test_what_is_given_wrongly_is_refused_before_anything_is_started(
    terminal: Terminal, server: FakeServer, tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    server.tell(f"GET {WORKFLOWS}/refund", Told(body=a_workflow()))
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    done = terminal.run("run", "start", "refund", *(one.format(file=path) for one in given), server=server.url)
    assert done.code == 2
    assert message in done.err
    assert not server.of(POST)


def test_the_same_id_for_another_start_is_a_refusal(terminal: Terminal, server: FakeServer) -> None:
    server.tell(POST, problem(422, "run o-17 was started by another request; make a new id", code="id_reused"))
    done = terminal.run("run", "start", "refund", "--id", "o-17", server=server.url)
    assert done.code in (1, 2, 4)
    assert "was started by another request" in done.err


def test_waiting_shows_what_came_of_it(terminal: Terminal, server: FakeServer) -> None:
    server.tell(POST, Told(status=201, body=a_run()))
    waits = a_visit(waits_for="a worker that offers payments.refund")
    server.tell(
        f"GET {RUNS}/o-17", Told(body=a_detail(waits)), Told(body=a_detail(waits)), Told(body=ended(outputs={"a": 1}))
    )
    done = terminal.run("run", "start", "refund", "--wait", server=server.url)
    assert done.code == 0, done.err
    assert done.out == 'run/o-17 succeeded after 2.5s\n{\n  "a": 1\n}\n'
    assert (
        "run/o-17: running, 1 ready, 3 of at most 12 attempts; waits: a worker that offers payments.refund" in done.err
    )


@pytest.mark.parametrize("status", ["failed", "timed_out", "cancelled"])
def test_a_run_that_did_not_succeed_ends_the_wait_with_7(terminal: Terminal, server: FakeServer, status: str) -> None:
    server.tell(POST, Told(status=201, body=a_run()))
    server.tell(f"GET {RUNS}/o-17", Told(body=ended(status, reason="pay_back closed as fail")))
    done = terminal.run("run", "start", "refund", "--wait", "--timeout", "30s", server=server.url)
    assert done.code == 7
    assert f"run/o-17 {status} after 2.5s" in done.out
    assert f"run/o-17 {status.replace('_', ' ')}: pay_back closed as fail" in done.err
    assert terminal.run("wait", "run/o-17", server=server.url).code == 7


def test_waiting_for_a_run_tells_how_it_ended_or_that_time_is_over(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {RUNS}/o-17", Told(body=ended()))
    done = terminal.run("wait", "run/o-17", server=server.url)
    assert (done.code, done.out) == (0, "")
    assert "run/o-17 succeeded after 2.5s" in done.err
    server.tell(f"GET {RUNS}/o-17", Told(body=a_detail(is_paused=True)))
    done = terminal.run("wait", "run/o-17", "--timeout", "1ms", server=server.url)
    assert done.code == 6
    assert "run/o-17 is not done after 1ms: paused" in done.err
    assert "To wait on: harpoon wait run/o-17" in done.err


def test_a_signal_goes_to_a_run(terminal: Terminal, server: FakeServer) -> None:
    route = f"POST {RUNS}/o-17/signals/decision"
    server.tell(route, Told(body={"id": "d-1", "run": a_run()}))
    given = ("--label", "approved", "--payload", '{"by": "ann"}', "--id", "d-1")
    done = terminal.run("run", "signal", "run/o-17", "decision", *given, server=server.url)
    assert (done.code, done.out) == (0, "run/o-17 has signal decision (d-1)\n"), done.err
    assert server.of(route)[0].body == {"label": "approved", "payload": {"by": "ann"}, "id": "d-1"}
    done = terminal.run(
        "run", "signal", "o-17", "decision", "-o", "json", "--payload", "-", server=server.url, stdin=b"1"
    )
    assert (server.of(route)[1].body, '"id": "d-1"' in done.out) == ({"payload": 1}, True)


def test_it_is_shown_by_which_urls_a_run_is_called_back(terminal: Terminal, server: FakeServer) -> None:
    route = f"GET {RUNS}/o-17/callbacks"
    path = "/v1/callbacks/default/o-17/ask/1/abc"
    told = {"op": "ask", "visit": 1, "is_open": True, "is_used": False, "url": path}
    used = {"op": "ask", "visit": 2, "is_open": False, "is_used": True, "url": "https://x.example/c/2"}
    later = {**told, "op": "pay", "is_open": False}
    server.tell(route, Told(body={"items": [told, used, later]}))
    done = terminal.run("run", "callbacks", "run/o-17", server=server.url)
    assert done.code == 0, done.err
    assert [line.split() for line in done.out.splitlines()][1:] == [
        ["ask", "1", "open", f"{server.url}{path}"],
        ["ask", "2", "used", "https://x.example/c/2"],
        ["pay", "1", "next", f"{server.url}{path}"],
    ]
    done = terminal.run("run", "callbacks", "o-17", "-o", "name", server=server.url)
    assert done.out.splitlines()[1] == "https://x.example/c/2"
    done = terminal.run("run", "callbacks", "o-17", "-o", "json", server=server.url)
    assert json.loads(done.out)["items"][0]["url"] == f"{server.url}{path}"
    server.tell(route, Told(body={"items": []}))
    done = terminal.run("run", "callbacks", "o-17", server=server.url)
    assert (done.code, done.out, "run/o-17 waits for no callback" in done.err) == (0, "", True)


def test_a_signal_with_a_key_goes_to_whoever_waits_for_it(terminal: Terminal, server: FakeServer) -> None:
    route = "POST /v1/namespaces/default/signals/paid"
    server.tell(route, Told(body={"id": "s-1", "run": "o-17"}), Told(body={"id": "s-2", "run": None}))
    done = terminal.run("run", "signal", "paid", "--key", "k/1", server=server.url)
    assert (done.code, done.out) == (0, "run/o-17 has signal paid (s-1)\n"), done.err
    assert server.of(route)[0].query == {"key": ["k/1"]}
    done = terminal.run("run", "signal", "paid", "--key", "k", server=server.url)
    assert (done.code, done.out) == (0, "")
    assert "signal paid with key 'k' is kept for 7 days, until a run waits for it (s-2)" in done.err


@pytest.mark.parametrize("words", [("decision",), ("o-17", "decision", "--key", "k"), ("a", "b", "c")])
def test_a_signal_names_a_run_or_a_key(terminal: Terminal, server: FakeServer, words: tuple[str, ...]) -> None:
    done = terminal.run("run", "signal", *words, server=server.url)
    assert done.code == 2
    assert "harpoon run signal NAME --key KEY" in done.err
    assert not server.asked


@pytest.mark.parametrize(
    ("action", "body", "told"),
    [
        (("cancel", "o-17", "--reason", "twice"), {"reason": "twice"}, "run/o-17 is cancelled\n"),
        (("cancel", "run/o-17"), {}, "run/o-17 is cancelled\n"),
        (("pause", "o-17"), {}, "run/o-17 is paused; to go on: harpoon run resume o-17\n"),
        (("resume", "o-17"), {}, "run/o-17 goes on\n"),
        (("resume", "o-17", "-o", "name"), {}, "run/o-17\n"),
    ],
)
def test_a_run_is_told_to_end_to_wait_or_to_go_on(
    terminal: Terminal, server: FakeServer, action: tuple[str, ...], body: object, told: str
) -> None:
    route = f"POST {RUNS}/o-17/{action[0]}"
    server.tell(route, Told(body=a_run()))
    done = terminal.run("run", *action, server=server.url)
    assert (done.code, done.out) == (0, told), done.err
    assert server.of(route)[0].body == body


def test_a_run_that_is_not_there_is_3_and_one_that_is_over_is_4(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {RUNS}/x/pause", problem(404, "there is no run x in namespace default"))
    assert terminal.run("run", "pause", "x", server=server.url).code == 3
    server.tell(f"POST {RUNS}/x/pause", problem(409, "run x is over"))
    assert terminal.run("run", "pause", "x", "-n", "default", server=server.url).code == 4


def test_of_a_run_that_is_not_kept_no_way_back_is_told(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {RUNS}/o-17", problem(410, "run o-17 has failed, and is not kept any more", oldest=""))
    done = terminal.run("describe", "run/o-17", server=server.url)
    assert (done.code, done.err) == (1, "error: run o-17 has failed, and is not kept any more\n")
