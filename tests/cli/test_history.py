"""Looking back at the terminal: what is asked, how it is told, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from harpoon.store.cluster import Cluster
from harpoon.store.past.archive import Archive, frozen
from harpoon.store.past.budget import Budget, parse_budget
from harpoon.store.past.line import Header, Record
from harpoon.store.past.transfer import lines
from harpoon.store.port import Change, Entry
from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

JOB = "GET /v1/namespaces/default/jobs/web"
SEEN = {"Harpoon-Revision": "1.42", "Harpoon-At": "2026-01-31T12:00:00.000Z"}
#: A minute before.
SINCE_MS = 1769860740000


def a_job(scale: int, generation: str = "g1", **metadata: Any) -> dict[str, Any]:
    told = {"name": "web", "namespace": "default", "tags": {}, "generation": generation, "created_ms": SINCE_MS}
    return {"metadata": {**told, **metadata}, "spec": {"scale": scale}, "status": {"state": "ready", "summary": "ok"}}


def test_a_list_of_the_past_says_of_which_revision_it_is_and_ages_are_of_then(
    terminal: Terminal, server: FakeServer
) -> None:
    server.tell("GET /v1/namespaces/default/jobs", Told(body={"revision": "1.42", "items": [a_job(1)]}, headers=SEEN))
    done = terminal.run("get", "jobs", "--at", "-10m", server=server.url)
    assert (done.code, done.err) == (0, "as of revision 1.42, seen 2026-01-31T12:00:00.000Z\n")
    assert "60s" in done.out
    assert server.asked[0].query == {"at": ["-10m"]}
    # The next verb counts from now again.
    server.tell("GET /v1/namespaces/default/jobs", Told(body={"revision": "1.43", "items": [a_job(1)]}))
    assert "60s" not in terminal.run("get", "jobs", server=server.url).out


def test_what_was_is_not_watched(terminal: Terminal, server: FakeServer) -> None:
    done = terminal.run("get", "jobs", "-w", "--at", "-10m", server=server.url)
    assert (done.code, server.asked) == (2, [])


def test_all_of_a_description_is_of_the_revision_that_was_found_first(terminal: Terminal, server: FakeServer) -> None:
    server.tell(JOB, Told(body=a_job(1), headers=SEEN))
    server.tell(f"{JOB}/status", Told(body={"state": "ready", "summary": "1/1 ready", "tasks": []}))
    done = terminal.run("describe", "job/web", "--at", "-10m", "-o", "json", server=server.url)
    assert done.code == 0
    assert [one.query for one in server.asked] == [{"at": ["-10m"]}, {"at": ["1.42"]}]


def test_why_asks_for_the_moment(terminal: Terminal, server: FakeServer) -> None:
    told = {"subject": "job/web", "state": "ready", "summary": "1/1 ready", "reasons": ["all is well"]}
    server.tell(f"{JOB}/why", Told(body=told, headers=SEEN))
    done = terminal.run("why", "web", "--at", "2026-01-31T12:00:00+02:00", server=server.url)
    assert (done.code, "all is well" in done.out) == (0, True)
    assert server.asked[0].query == {"at": ["2026-01-31T12:00:00+02:00"]}


def test_a_difference_of_two_times(terminal: Terminal, server: FakeServer) -> None:
    server.tell(JOB, Told(body=a_job(1), headers={"Harpoon-Revision": "1.3"}), Told(body=a_job(2, "g2"), headers=SEEN))
    done = terminal.run("diff", "web", "--at", "-1h", "--to", "-1m", server=server.url)
    assert done.code == 10
    assert done.out == "job/web: revision 1.3 -> 1.42, new generation\n  ~ spec.scale: 1 -> 2\n"
    assert [one.query for one in server.asked] == [{"at": ["-1h"]}, {"at": ["-1m"]}]


def test_a_job_that_was_not_there_is_new_since(terminal: Terminal, server: FakeServer) -> None:
    server.tell(JOB, problem(404, "there was no job"), Told(body=a_job(2), headers=SEEN))
    server.tell("GET /v1/jobs", Told(body={"items": []}, headers={"Harpoon-Revision": "1.3"}))
    done = terminal.run("diff", "job/web", "--at", "-1h", server=server.url)
    assert (done.code, done.out.splitlines()[0]) == (10, "job/web: revision 1.3 -> 1.42, new since")
    assert "+ spec.scale: 2" in done.out
    server.tell(JOB, problem(404, "there was no job"))
    assert terminal.run("diff", "web", "--at", "-1h", server=server.url).code == 3


@pytest.mark.parametrize(
    "words", [("web", "--to", "-1h"), ("web", "db", "--at", "-1h"), ("web@3", "--at", "-1h"), ("a.yaml", "--at", "-1h")]
)
def test_times_are_compared_of_one_job_only(terminal: Terminal, server: FakeServer, words: tuple[str, ...]) -> None:
    assert terminal.run("diff", *words, server=server.url).code == 2
    assert server.asked == []


def test_what_is_not_kept_says_where_to_look(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/namespaces/default/jobs", problem(410, "that time is not kept", oldest="1.2", gaps=[]))
    done = terminal.run("get", "jobs", "--at", "-9d", server=server.url)
    assert (done.code, done.err.splitlines()[-1]) == (1, "what is kept tells: harpoon history show")


def test_a_history_is_shown_with_its_gaps(terminal: Terminal, server: FakeServer) -> None:
    kept = {"start": "1.2", "end": "1.9", "start_ms": SINCE_MS, "end_ms": SINCE_MS, "bytes": 2048, "segments": 1}
    gap = {"after": "1.9", "before": "1.20", "after_ms": SINCE_MS, "before_ms": SINCE_MS, "reason": "it was off"}
    told = {"revision": "1.30", "state": "following", "reason": "", "through": "1.30", "directory": "past"}
    told |= {"bytes": 2048, "budget": {"age_ms": 86_400_000, "bytes": 1 << 20}, "kept": [kept], "gaps": [gap]}
    server.tell("GET /v1/history", Told(body=told))
    done = terminal.run("history", "show", server=server.url)
    assert done.code == 0
    assert "of 1Mi, for 1d, in past" in done.out
    assert "it was off" in done.out
    assert json.loads(terminal.run("history", "show", "-o", "json", server=server.url).out) == told
    server.tell("GET /v1/history", Told(body={"state": "off", "reason": "start it with --history DIR"}))
    assert "--history DIR" in terminal.run("history", "show", server=server.url).out


@pytest.fixture
def exported(tmp_path: Path) -> bytes:
    """An export with a snapshot and two revisions."""
    archive = Archive.open(tmp_path / "past", Budget())
    about = Cluster("c1", 1)
    entry = Entry("/h/1/ctl/jobs/default/web", b"{}", 1, 1)
    draft = archive.begin(Header(about=about, revision=1, at_ms=1000, continues=False))
    draft.add([entry])
    draft.finish()
    archive.append([Record(2, 1001, (Change(entry.key, None),)), Record(3, 1002, (Change(entry.key, entry),))])
    archive.close()
    return b"".join(lines(frozen(tmp_path / "past"), None, version="1", at_ms=1))


def test_an_export_is_there_whole_or_not_at_all(
    terminal: Terminal, server: FakeServer, exported: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    server.tell("GET /v1/history/export", Told(text=exported))
    done = terminal.run("history", "export", "-o", str(file), "--from", "-1h", "--to", "1.3", server=server.url)
    assert (done.code, file.read_bytes(), file.stat().st_mode & 0o777) == (0, exported, 0o600)
    assert server.asked[0].query == {"from": ["-1h"], "to": ["1.3"]}
    for spoilt in (exported[:-40], exported.rpartition(b'{"lines"')[0], exported.replace(b"1001", b"1000"), b"x\n"):
        server.tell("GET /v1/history/export", Told(text=spoilt))
        assert terminal.run("history", "export", "-o", str(file), server=server.url).code == 1
    server.tell("GET /v1/history/export", Told(text=b'{"type":"bye"}\n'))
    assert terminal.run("history", "export", "-o", str(file), server=server.url).code == 9
    assert file.read_bytes() == exported


def test_an_import_is_checked_line_by_line_and_leaves_nothing_of_what_is_damaged(
    terminal: Terminal, exported: bytes, tmp_path: Path
) -> None:
    file, into = tmp_path / "file", tmp_path / "into"
    told = exported.splitlines(keepends=True)
    for place in range(len(told)):
        file.write_bytes(b"".join(told[:place] + told[place + 1 :]))
        done = terminal.run("history", "import", str(file), "--into", str(into))
        assert (done.code, "line " in done.err) == (2, True), done.err
        assert not list(into.glob("*.history*"))
    file.write_bytes(exported)
    assert terminal.run("history", "import", str(file), "--into", str(into)).code == 0
    (one,) = frozen(into)
    assert (one.start, one.end) == (1, 3)
    again = terminal.run("history", "import", str(file), "--into", str(into))
    assert (again.code, "holds a history already" in again.err) == (2, True)
    assert frozen(into) == (one,)


@pytest.mark.parametrize(
    ("text", "meant"), [("7d,1Gi", "7d,1Gi"), ("1h", "1h,1Gi"), ("64Mi", "7d,64Mi"), ("8Mi, 2d", "2d,8Mi")]
)
def test_a_budget_is_how_long_and_how_much(text: str, meant: str) -> None:
    assert str(parse_budget(text)) == meant


@pytest.mark.parametrize("text", ["", "much", "7d,7d", "1Gi,2Gi", "1s,1Gi", "7d,1k", "7d,1Gi,1Gi"])
def test_what_is_no_budget_is_refused(terminal: Terminal, text: str) -> None:
    done = terminal.run("server", "--store", "memory", "--history-budget", text)
    assert (done.code, "budget" in done.err or "how many bytes" in done.err) == (2, True)
