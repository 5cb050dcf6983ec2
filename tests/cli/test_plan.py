"""What plan and diff say of a change that nobody makes, and how their exit codes tell it to scripts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

PLAN = "POST /v1/plan"
DIFF = "GET /v1/namespaces/default/jobs/web/diff"
MANIFEST = "apiVersion: harpoon/v1\nkind: Job\nmetadata: {name: web}\nspec:\n  scale: 3\n  task: {command: [serve]}\n"
SCALED = {"pointer": "/spec/scale", "op": "replace", "old": 2, "new": 3}
COMMANDED = {"pointer": "/spec/task/command", "op": "replace", "old": ["serve"], "new": ["serve", "-v"]}
PLACED = {"slot": 2, "agent": "a1", "replaces": [], "wave": 1, "reason": "it had the fewest tasks"}
REPLACED = {"slot": 0, "agent": "a2", "replaces": ["default.web.0.1-7"], "wave": 2, "reason": "a new generation"}
DROPPED = {"task": "default.web.1.1-7", "agent": "a1", "wave": 2, "reason": "its slot is placed anew"}
BLOCKER = {"predicate": "memory", "wanted": "900Gi", "found": "8Gi free", "agents": ["a1", "a2"], "agents_count": 5}
PENDING = {"slots": [0, 1], "reason": "no agent has the memory", "blockers": [BLOCKER]}


def a_plan(**fields: Any) -> dict[str, Any]:
    plan = {"namespace": "default", "job": "web", "action": "unchanged", "is_new_generation": False, "changes": []}
    plan |= {"placements": [], "drops": [], "pending": None, "waves": 1, "is_whole": True}
    return {**plan, **fields}


def planned(*plans: dict[str, Any]) -> Told:
    has_changes = any(plan["action"] != "unchanged" for plan in plans)
    return Told(body={"revision": "1.9", "has_changes": has_changes, "plans": list(plans)})


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "web.yaml"
    path.write_text(MANIFEST)
    return str(path)


def test_a_plan_without_changes_is_0_and_asks_with_the_manifests(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    server.tell(PLAN, planned(a_plan()))
    done = terminal.run("plan", manifest, "-n", "shop", server=server.url)
    assert (done.code, done.out) == (0, "job/web: unchanged\n")
    assert done.err == "jobs: 1 unchanged; tasks: 0 to start, 0 to stop\n"
    assert [one["metadata"] for one in server.asked[0].body["documents"]] == [{"name": "web", "namespace": "shop"}]


def test_a_plan_shows_what_differs_what_starts_where_and_what_stops(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    plan = a_plan(action="change", is_new_generation=True, changes=[SCALED, COMMANDED], drops=[DROPPED])
    server.tell(PLAN, planned({**plan, "placements": [PLACED, REPLACED], "waves": 2, "is_whole": False}))
    done = terminal.run("plan", manifest, server=server.url)
    assert done.code == 10
    assert done.out.splitlines() == [
        "job/web: change, new generation",
        "  ~ spec.scale: 2 -> 3",
        '  ~ spec.task.command: ["serve"] -> ["serve", "-v"]',
        "  Places:",
        "    WAVE   SLOT   AGENT   REPLACES            WHY",
        "    1      2      a1      -                   it had the fewest tasks",
        "    2      0      a2      default.web.0.1-7   a new generation",
        "  Stops:",
        "    WAVE   TASK                AGENT   WHY",
        "    2      default.web.1.1-7   a1      its slot is placed anew",
        "  and so on: only the first 2 waves are shown",
    ]
    assert done.err == "jobs: 1 to change; tasks: 2 to start, 1 to stop\n"


def test_a_plan_that_places_not_all_is_8_and_shows_every_blocker(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    added = {"pointer": "/spec/scale", "op": "add", "old": None, "new": 2}
    server.tell(PLAN, planned(a_plan(action="create", pending=PENDING, changes=[added])))
    done = terminal.run("plan", manifest, server=server.url)
    assert done.code == 8
    assert "+ spec.scale: 2" not in done.out
    assert "  + spec.scale: 2\n" in terminal.run("plan", manifest, "-o", "wide", server=server.url).out
    assert done.out.splitlines()[1:] == [
        "  Cannot place slots 0, 1: no agent has the memory",
        "    - memory: wants 900Gi, finds 8Gi free on a1, a2 and 3 more",
    ]
    assert "2 without an agent" in done.err


def test_what_is_new_is_shown_value_by_value(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    task = {"command": ["serve"], "env": {"A/B": "1", "MODE": ""}, "checks": [{"http": {"port": "http"}}], "ports": {}}
    added = {"pointer": "/spec", "op": "add", "old": None, "new": {"scale": 3, "task": task, "type": None}}
    gone = {"pointer": "/metadata/tags/a~1b~0c", "op": "remove", "old": "two words\n", "new": None}
    server.tell(PLAN, planned(a_plan(action="create", changes=[added, gone])))
    done = terminal.run("diff", manifest, server=server.url)
    assert done.code == 10
    assert done.out.splitlines() == [
        "job/web: create",
        "  + spec.scale: 3",
        '  + spec.task.command: ["serve"]',
        "  + spec.task.env.A/B: 1",
        '  + spec.task.env.MODE: ""',
        "  + spec.task.checks[0].http.port: http",
        '  - metadata.tags.a/b~c: "two words\\n"',
    ]


def test_diff_of_files_says_nothing_of_placements(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(PLAN, planned(a_plan(action="change", changes=[SCALED], placements=[PLACED])))
    done = terminal.run("diff", manifest, server=server.url)
    assert (done.code, done.out) == (10, "job/web: change\n  ~ spec.scale: 2 -> 3\n")
    told = json.loads(terminal.run("diff", manifest, "-o", "json", server=server.url).out)
    assert set(told["plans"][0]) == {"namespace", "job", "action", "is_new_generation", "changes"}


def test_what_cannot_be_placed_is_not_the_business_of_diff(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    server.tell(PLAN, planned(a_plan(pending=PENDING)))
    assert terminal.run("diff", manifest, server=server.url).code == 0


def test_two_versions_are_compared_and_one_with_the_present(terminal: Terminal, server: FakeServer) -> None:
    told = {"revision": "1.9", "from": 3, "to": 5, "is_new_generation": True, "changes": [COMMANDED]}
    server.tell(DIFF, Told(body=told), Told(body={**told, "is_new_generation": False, "changes": []}))
    done = terminal.run("diff", "web@3", "job/web@5", server=server.url)
    assert done.code == 10
    assert done.out == (
        'job/web: version 3 -> 5, new generation\n  ~ spec.task.command: ["serve"] -> ["serve", "-v"]\n'
    )
    done = terminal.run("diff", "web@3", server=server.url)
    assert (done.code, done.out) == (0, "job/web: version 3 -> 5, unchanged\n")
    assert [asked.query for asked in server.asked] == [{"from": ["3"], "to": ["5"]}, {"from": ["3"]}]


def test_a_file_named_like_a_version_is_a_file(
    terminal: Terminal, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web@3").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    server.tell(PLAN, planned(a_plan()))
    assert terminal.run("diff", "web@3", server=server.url).code == 0
    assert server.of(PLAN)


@pytest.mark.parametrize("words", [("web@3", "api@3"), ("web@1", "web@2", "web@3"), ("web@3", "web.yaml")])
def test_what_cannot_be_compared_is_refused_unasked(
    terminal: Terminal, server: FakeServer, words: tuple[str, ...]
) -> None:
    done = terminal.run("diff", *words, server=server.url)
    assert done.code == 2
    assert "version" in done.err
    assert server.asked == []


def test_a_fault_is_told_with_its_place_in_the_file(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    errors = [{"pointer": "/documents/0/spec/scale", "detail": "scale is 0 to 10000"}]
    server.tell(PLAN, problem(400, "scale", errors=errors))
    done = terminal.run("plan", manifest, server=server.url)
    assert done.code == 2
    assert done.err == f"error: {manifest}:5:3: spec.scale: scale is 0 to 10000\n"


def test_names_are_those_of_jobs_that_would_change(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(PLAN, planned(a_plan(), a_plan(job="api", action="create")))
    for name in ("plan", "diff"):
        assert terminal.run(name, manifest, "-o", "name", server=server.url).out == "job/api\n"


def test_plan_as_json_is_the_answer_and_keeps_its_exit_code(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    answer = planned(a_plan(action="change", changes=[SCALED]))
    server.tell(PLAN, answer)
    done = terminal.run("plan", manifest, "-o", "json", server=server.url)
    assert done.code == 10
    assert json.loads(done.out) == answer.body
