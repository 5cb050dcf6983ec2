"""Verbs that change what is wanted ask for it the right way and tell what became of it."""

import json
from pathlib import Path

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

WEB = "/v1/namespaces/default/jobs/web"
CHANGE = "default.web.1-7"
MANIFEST = """\
apiVersion: harpoon/v1
kind: Job
metadata: {name: web}
spec:
  scale: 3
  task: {command: [serve]}
"""


def accepted(status: int = 202) -> Told:
    return Told(status=status, body={"revision": "1.7", "change": CHANGE, "job": {}})


def results(*names: str) -> Told:
    made = [
        {"namespace": "default", "job": name, "change": f"default.{name}.1-7", "outcome": "created"} for name in names
    ]
    return Told(status=202, body={"revision": "1.7", "results": made})


def a_change(state: str, *waiting: str, name: str = "web") -> Told:
    told = {"id": f"default.{name}.1-7", "namespace": "default", "job": name, "state": state}
    return Told(body={**told, "is_done": state == "done", "summary": "3/3 ready", "waiting": waiting})


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "web.yaml"
    path.write_text(MANIFEST)
    return str(path)


def test_schedule_asks_that_nothing_be_there(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(f"PUT {WEB}", accepted())
    done = terminal.run("schedule", manifest, "--no-wait", server=server.url)
    assert (done.code, done.out) == (0, "job/web created\n")
    asked = server.of(f"PUT {WEB}")[0]
    assert asked.headers["if-none-match"] == "*"
    assert asked.body["spec"]["scale"] == 3


def test_migrate_asks_for_the_version_it_has_seen(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(f"GET {WEB}", Told(body={}, headers={"ETag": '"1.5"'}))
    server.tell(f"PUT {WEB}", accepted())
    assert terminal.run("migrate", manifest, "--no-wait", server=server.url).out == "job/web changed\n"
    assert server.of(f"PUT {WEB}")[0].headers["if-match"] == '"1.5"'


def test_migrate_of_what_is_not_there_names_the_verb_that_would_do(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    server.tell(f"GET {WEB}", problem(404, "there is no job web"))
    done = terminal.run("migrate", manifest, server=server.url)
    assert done.code == 3
    assert "use schedule" in done.err
    assert server.of(f"PUT {WEB}") == []


def test_an_unchanged_manifest_is_said_to_be_so(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(f"GET {WEB}", Told(body={}, headers={"ETag": '"1.5"'}))
    server.tell(f"PUT {WEB}", accepted(200))
    assert terminal.run("migrate", manifest, "--no-wait", server=server.url).out == "job/web unchanged\n"


def test_a_verb_waits_and_tells_each_new_blocker_on_a_line(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    server.tell(f"PUT {WEB}", accepted())
    blocked = a_change("progressing", "task 0 is starting")
    server.tell(f"GET /v1/changes/{CHANGE}", blocked, blocked, blocked, a_change("done"))
    done = terminal.run("schedule", manifest, server=server.url)
    assert done.code == 0
    assert done.out == "job/web created\n"
    lines = done.err.splitlines()
    assert len(lines) == 2, lines
    assert "task 0 is starting" in lines[0]
    assert lines[1].startswith("job/web is done after")


def test_a_wait_asks_a_server_that_is_away_again(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET /v1/changes/{CHANGE}", problem(503, "starting"), problem(503, "starting"), a_change("done"))
    done = terminal.run("wait", f"change/{CHANGE}", server=server.url)
    assert done.code == 0
    assert "starting, trying again" in done.err


def test_a_wrong_timeout_is_found_before_anything_is_changed(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    assert terminal.run("schedule", manifest, "--timeout", "5", server=server.url).code == 2
    assert server.asked == []


def test_scale_unschedule_and_delete_ask_for_what_they_say(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {WEB}/scale", accepted())
    server.tell(f"DELETE {WEB}", accepted())
    server.tell("DELETE /v1/agents/a3", Told(status=200, body={}))
    assert terminal.run("scale", "web", "5", "--no-wait", server=server.url).out == "job/web changed\n"
    assert server.asked[0].body == {"scale": 5}
    assert terminal.run("unschedule", "web", "--no-wait", server=server.url).out == "job/web unscheduled\n"
    assert terminal.run("delete", "job/web", "--no-wait", "-o", "name", server=server.url).out == "job/web\n"
    assert terminal.run("delete", "agent/a3", server=server.url).out == "agent/a3 deleted\n"


def test_apply_sends_every_document_with_its_namespace(terminal: Terminal, server: FakeServer) -> None:
    server.tell("POST /v1/apply", results("web", "api"))
    text = MANIFEST + "---\n" + MANIFEST.replace("name: web", "name: api, namespace: shop")
    done = terminal.run("apply", "-f", "-", "--no-wait", "-o", "json", server=server.url, stdin=text.encode())
    assert [one["job"] for one in json.loads(done.out)["results"]] == ["web", "api"]
    sent = server.asked[0].body["documents"]
    assert [one["metadata"] for one in sent] == [{"name": "web"}, {"name": "api", "namespace": "shop"}]


def test_apply_refuses_a_manifest_of_another_namespace_than_the_one_asked_for(
    terminal: Terminal, server: FakeServer
) -> None:
    text = MANIFEST.replace("name: web", "name: web, namespace: shop")
    done = terminal.run("apply", "-f", "-", "-n", "lab", server=server.url, stdin=text.encode())
    assert done.code == 2
    assert "<stdin>:3:" in done.err
    assert server.asked == []


def test_more_documents_than_a_commit_takes_go_in_several(terminal: Terminal, server: FakeServer) -> None:
    names = [f"j{number}" for number in range(41)]
    server.tell("POST /v1/apply", results(*names[:40]), results(*names[40:]))
    text = "---\n".join(MANIFEST.replace("name: web", f"name: {name}") for name in names)
    done = terminal.run("apply", "-f", "-", "--no-wait", server=server.url, stdin=text.encode())
    assert [len(asked.body["documents"]) for asked in server.asked] == [40, 1]
    assert done.out.splitlines() == [f"job/{name} created" for name in names]


def test_the_servers_complaints_are_told_with_file_line_and_column(
    terminal: Terminal, server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(MANIFEST)
    (tmp_path / "b.yml").write_text(MANIFEST + "---\n" + MANIFEST)
    (tmp_path / "notes.txt").write_text("not a manifest")
    errors = [
        {"pointer": "/documents/2/spec/scale", "detail": "too large"},
        {"pointer": "/documents/0/spec/tusk", "detail": "required, but missing"},
    ]
    server.tell("POST /v1/apply", problem(400, "wrong", errors=errors))
    done = terminal.run("apply", "-f", str(tmp_path), server=server.url)
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: 2 faults",
        f"  {tmp_path}/b.yml:12:3: spec.scale: too large",
        f"  {tmp_path}/a.yaml:4:1: spec.tusk: required, but missing",
    ]


def test_a_single_fault_is_a_single_line(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(f"PUT {WEB}", problem(400, "wrong", errors=[{"pointer": "/spec/scale", "detail": "too large"}]))
    done = terminal.run("schedule", manifest, server=server.url)
    assert done.err.splitlines() == [f"error: {manifest}:5:3: spec.scale: too large"]


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "[1, 2]", "metadata: {}", "metadata: []", "{", "", "- \t- x"])
def test_what_is_no_manifest_is_refused_with_its_place(terminal: Terminal, server: FakeServer, text: str) -> None:
    done = terminal.run("apply", "-f", "-", server=server.url, stdin=text.encode())
    assert done.code == 2
    assert "<stdin>" in done.err or "no document" in done.err
    assert server.asked == []


def test_a_verb_for_one_job_refuses_a_file_of_several(terminal: Terminal, server: FakeServer) -> None:
    done = terminal.run("schedule", "-", server=server.url, stdin=f"{MANIFEST}---\n{MANIFEST}".encode())
    assert done.code == 2
    assert "2 documents" in done.err


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("kind: Workflo", "'Workflo' is none; did you mean 'Workflow'?"),
        ("kind: workflow", "'workflow' is none; did you mean Workflow?"),
        ("kind: Deployment", "'Deployment' is none"),
        ("kind: 5", "got no text"),
        ("tags: {}", "it is missing"),
    ],
)
def test_kinds_that_there_are_are_told_where_one_is_named_that_is_none(
    terminal: Terminal, tmp_path: Path, kind: str, told: str
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"metadata: {{name: a}}\n{kind}\n")
    line = 1 if kind.startswith("tags") else 2
    for verb in (("apply", "-f"), ("bounds",), ("graph",), ("plan",)):
        done = terminal.run(*verb, str(path))
        assert (done.code, done.out) == (2, "")
        assert f"{path}:{line}:1: kind: write Job, Workflow, Namespace or Batch; {told}\n" in done.err
