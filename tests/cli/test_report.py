"""The verbs of ``report``, and ``get workers``: what is asked, and what is shown of it."""

from typing import Any

import pytest

from tests.cli.fake_server import FakeServer, Told
from tests.cli.runs_told import BEGAN_MS
from tests.cli.terminal_rig import Terminal

REPORT = "/v1/namespaces/default/reports/runs"
SPREAD = {"count": 3, "p50_ms": 1_000, "p95_ms": 90_000, "max_ms": 7_200_000}


def a_group(key: str = "refund", **more: Any) -> dict[str, Any]:
    told = {"key": key, "runs": 4, "counts": {"failed": 1, "succeeded": 3}, "took": SPREAD, "queue": SPREAD}
    told |= {"work": None, "visits": 8, "attempts": 9, "retries": 1}
    return {**told, "failures": [{"reason": "no funds", "count": 1, "run": "o-1"}], **more}


def a_report(*groups: dict[str, Any], **more: Any) -> dict[str, Any]:
    told = {"revision": "1.7", "by": "workflow", "since_ms": None, "until_ms": None, "runs": 4, "counted": 4}
    told |= {"looked_into": 4, "counted_since_ms": BEGAN_MS, "looked_into_since_ms": BEGAN_MS, "is_whole": True}
    return {**told, "groups": list(groups), "groups_left": 0, **more}


def test_a_report_is_a_table_and_its_failures_another(terminal: Terminal, server: FakeServer) -> None:
    other = a_group("ship", took=None, queue=None, failures=[{"reason": "lost", "count": 3, "run": "s-1"}])
    server.tell(f"GET {REPORT}", Told(body=a_report(a_group(), other)))
    done = terminal.run("report", "runs", "--since", "24h", "--workflow", "refund", server=server.url)
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0][0] == "WORKFLOW"
    assert rows[1] == ["refund", "4", "failed=1,succeeded=3", "1s", "1m30s", "2h", "9", "1", "1s", "1m30s"]
    assert rows[2] == ["ship", "4", "failed=1,succeeded=3", "-", "-", "-", "9", "1", "-", "-"]
    assert rows[5:] == [["3", "ship", "run/s-1", "lost"], ["1", "refund", "run/o-1", "no", "funds"]]
    assert server.asked[0].query == {"by": ["workflow"], "workflow": ["refund"], "since": ["-24h"]}
    assert not done.err


def test_a_report_calls_batches_what_they_are(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {REPORT}", Told(body=a_report(a_group(":batch/each"))))
    done = terminal.run("report", "runs", "--by", "operation", server=server.url)
    rows = [line.split() for line in done.out.splitlines()]
    assert (rows[1][0], rows[4][1]) == ("(batch)/each", "(batch)/each")
    server.tell(f"GET {REPORT}", Told(body=a_report(a_group(":batch"))))
    done = terminal.run("report", "runs", "--by", "tag:team", server=server.url)
    assert done.out.splitlines()[1].startswith(":batch ")


def test_a_report_says_what_it_is_not_of(terminal: Terminal, server: FakeServer) -> None:
    short = {"is_whole": False, "runs": 30_000, "counted": 20_000, "looked_into": 10, "groups_left": 2}
    server.tell(f"GET {REPORT}", Told(body=a_report(a_group("refund/a", failures=[]), **short)))
    done = terminal.run("report", "runs", "--by", "operation", "--within", "1s", server=server.url)
    assert done.out.splitlines()[0].startswith("OPERATION")
    assert "and 2 more of fewer runs" in done.err
    assert (
        "counted are the latest 20000 of 30000 runs; the attempts of 10 were looked at, of those since 20" in done.err
    )
    server.tell(f"GET {REPORT}", Told(body=a_report(runs=0, looked_into_since_ms=None)))
    assert "no runs" in terminal.run("report", "runs", server=server.url).err
    server.tell("GET /v1/reports/runs", Told(body=a_report(runs=2)))
    done = terminal.run("report", "runs", "-A", "--by", "tag:team", "-l", "a=b", server=server.url)
    assert "nothing to tell of these runs" in done.err
    assert server.asked[-1].query == {"by": ["tag"], "key": ["team"], "tag": ["a=b"]}
    assert '"is_whole": true' in terminal.run("report", "runs", "-A", "-o", "json", server=server.url).out


def test_statistics_are_shown_with_who_offers_what(terminal: Terminal, server: FakeServer) -> None:
    handler = {"namespace": "default", "handler": "shop.pack", "workers": 2, "ready": 5, "claimed": 1}
    own = {**handler, "handler": ":http", "workers": 0}
    told = {"revision": "1.7", "runs": {"running": 3}, "operations": {"ready": 5}, "workers": 2, "heard": []}
    server.tell("GET /v1/stats", Told(body={**told, "handlers": [handler, own], "unanswered": ["b"]}))
    done = terminal.run("report", "stats", server=server.url)
    assert done.code == 0, done.err
    assert "running 3" in done.out and "ready 5" in done.out
    assert [line.split() for line in done.out.splitlines()[-2:]] == [
        ["default", "shop.pack", "2", "5", "1"],
        ["default", ":http", "-", "5", "1"],
    ]
    assert "b did not answer" in done.err
    server.tell("GET /v1/stats", Told(body={**told, "handlers": [], "unanswered": []}))
    assert terminal.run("report", "stats", server=server.url).err == ""
    assert '"workers": 2' in terminal.run("report", "stats", "-o", "json", server=server.url).out


@pytest.mark.parametrize(
    "given",
    [
        ("report", "runs", "--by", "day"),
        ("report", "runs", "--by", "tag"),
        ("report", "runs", "--by", "workflow:x"),
        ("report", "runs", "-o", "name"),
        ("report", "stats", "-o", "name"),
        ("get", "workers", "-w"),
        ("get", "workers", "-A"),
        ("get", "workers", "--at", "-1h"),
        ("get", "workers", "--since", "1h"),
    ],
)
def test_what_cannot_be_asked_is_refused(terminal: Terminal, given: tuple[str, ...]) -> None:
    assert terminal.run(*given).code == 2


def test_workers_are_listed_with_what_they_offer(terminal: Terminal, server: FakeServer) -> None:
    session = {"id": "s1", "is_quiet": False, "is_draining": True}
    worker = {"name": "w1", "handlers": ["a", "b"], "busy": 3, "since_ms": BEGAN_MS, "heard_ms": BEGAN_MS}
    items = [
        {**worker, "is_quiet": False, "sessions": [{**session, "is_draining": False}]},
        {**worker, "name": "w2", "is_quiet": True, "sessions": []},
        {**worker, "name": "w3", "is_quiet": False, "sessions": [session]},
    ]
    server.tell("GET /v1/namespaces/default/workers", Told(body={"items": items, "unanswered": ["b"]}))
    done = terminal.run("get", "workers", server=server.url)
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()[1:]]
    assert [row[:4] for row in rows] == [
        ["w1", "connected", "3", "1"], ["w2", "quiet", "3", "0"], ["w3", "draining", "3", "1"]
    ]  # fmt: skip
    assert rows[0][-2:] == ["a,", "b"] and "b did not answer" in done.err
    assert '"name": "w2"' in terminal.run("get", "worker/w2", "-o", "json", server=server.url).out
    assert terminal.run("get", "worker", "w9", server=server.url).code == 3
    assert terminal.run("get", "workers", "-o", "name", server=server.url).out == "worker/w1\nworker/w2\nworker/w3\n"
