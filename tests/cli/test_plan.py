"""What plan and diff say of a change that nobody makes, and how their exit codes tell it to scripts."""

import json
from pathlib import Path
from typing import Any

import pytest

from harpoon.core.foretold import Outset
from harpoon.kit import codec
from harpoon.kit.digest import seal
from tests.builders import a_job, an_agent
from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal
from tests.core.placing import a_fleet
from tests.core.test_verify import a_plan as a_document

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


APPLY = "POST /v1/plan/apply"
PROMISE = "POST /v1/plan/promise"


@pytest.fixture
def document() -> dict[str, Any]:
    """A plan as a server makes it."""
    fleet = a_fleet(an_agent("a1"), an_agent("a2"))
    job = a_job(scale=3, cpu=1500)
    made: dict[str, Any] = json.loads(seal(codec.dump_full(a_document([Outset(job=job)], fleet))))
    return made


@pytest.mark.parametrize("options", [("-o", "plan.json"), ("-o", "./plan"), ("--out", "plan")])
def test_a_plan_is_written_to_a_file_that_can_be_checked_and_applied(  # noqa: PLR0917 they are fixtures
    terminal: Terminal,
    server: FakeServer,
    manifest: str,
    document: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, str],
) -> None:
    monkeypatch.chdir(tmp_path)
    server.tell(PROMISE, Told(body=document))
    done = terminal.run("plan", "-f", manifest, *options, server=server.url)
    assert done.code == 10
    assert done.out.splitlines()[:2] == ["job/web: change, new generation", "  Places:"]
    assert done.err.endswith(f"written to {options[1]}; to do just that: harpoon apply --plan {options[1]}\n")
    assert json.loads((tmp_path / options[1]).read_bytes()) == document
    checked = terminal.run("verify-plan", options[1])
    assert (checked.code, checked.out) == (0, "")
    assert checked.err == (
        f"{options[1]} holds together: jobs: 1; tasks: 3 to start, 0 to stop; on 2 agents as they were at revision 1.50\n"
    )
    results = [{"namespace": "default", "job": "web", "change": "default.web.1-9", "outcome": "changed"}]
    server.tell(APPLY, Told(status=202, body={"revision": "1.9", "results": results}))
    applied = terminal.run("apply", "--plan", options[1], "--no-wait", server=server.url)
    assert (applied.code, applied.out) == (0, "job/web changed\n")
    assert server.of(APPLY)[0].body == document


def test_a_plan_that_does_not_hold_together_is_1_with_every_fault(
    terminal: Terminal, document: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    document["jobs"][0]["plan"]["placements"][0]["agent"] = "a9"
    path.write_text(json.dumps(document))
    done = terminal.run("verify-plan", str(path))
    assert done.code == 1
    assert done.out.splitlines()[:2] == [
        "/digest: the plan was changed after it was made",
        "/jobs/0/plan/placements/0: there is no slot 0, or no agent a9",
    ]
    assert f"{path} does not hold together: " in done.err


def test_a_plan_that_cannot_be_kept_is_4_with_what_has_changed(
    terminal: Terminal, server: FakeServer, document: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document))
    changed = [{"pointer": "/agents", "detail": "agent a1 is cordoned now"}]
    server.tell(APPLY, problem(409, "plan anew", code="plan_outdated", changed=changed))
    done = terminal.run("apply", "--plan", str(path), server=server.url)
    assert (done.code, done.out) == (4, "")
    assert done.err == "error: plan anew\n  agent a1 is cordoned now\n"


def test_what_did_not_come_as_promised_is_said_at_the_end(
    terminal: Terminal, server: FakeServer, document: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document))
    results = [{"namespace": "default", "job": "web", "change": "default.web.1-9", "outcome": "changed"}]
    server.tell(APPLY, Told(status=202, body={"revision": "1.9", "results": results}))
    status = {"state": "done", "is_done": True, "summary": "3/3 ready", "unkept": ["slot 1 is on a1"]}
    server.tell("GET /v1/changes/default.web.1-9", Told(body=status))
    done = terminal.run("apply", "--plan", str(path), server=server.url)
    assert done.code == 0
    assert "\n  slot 1 is on a1\n" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("apply",), "name what to apply"),
        (("apply", "-f", "x.yaml", "--plan", "plan.json"), "name what to apply"),
        (("apply", "--plan", "plan.json", "-n", "shop"), "leave --namespace out"),
        (("apply", "--plan", "missing.json"), "No such file"),
        (("plan",), "name the manifests"),
        (("plan", "x.yaml", "-o", "pdf"), "it is one of table, wide, json, yaml, name"),
        (("plan", "x.yaml", "-o", "a.json", "--out", "b.json"), "leave one out"),
        (("verify-plan", "text.json"), "holds no JSON"),
        (("verify-plan", "list.json"), "holds no plan"),
        (("verify-plan", "empty.json"), "not a PlanDocument"),
    ],
)
def test_what_cannot_be_meant_is_2_and_says_what_can(
    terminal: Terminal,
    server: FakeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("text.json", "x"), ("list.json", "[]"), ("empty.json", '{"kind": "Plan"}')):
        (tmp_path / name).write_text(text)
    done = terminal.run(*words, server=server.url)
    assert done.code == 2
    assert told in done.err
    assert server.asked == []


def test_a_plan_that_cannot_be_written_is_2(
    terminal: Terminal, server: FakeServer, manifest: str, document: dict[str, Any], tmp_path: Path
) -> None:
    server.tell(PROMISE, Told(body=document))
    done = terminal.run("plan", manifest, "-o", str(tmp_path / "missing" / "plan.json"), server=server.url)
    assert (done.code, "No such file" in done.err) == (2, True)
