"""Secrets over HTTP: set, told of without their values, held on to while they are used, encrypted anew."""

import base64
from typing import Any

import pytest

from harpoon.control.registry import Registry
from harpoon.kit.clock import SystemClock
from tests.api.rig import Answer, Rig, a_manifest, a_rig
from tests.api.runs_rig import NAMESPACE, RUNS, WORKFLOWS, a_runs_rig, declare, start
from tests.api.telling import as_problem
from tests.workflows import a_batch, a_workflow

DB = "/v1/namespaces/default/secrets/db"
CANARY = "correct-horse-battery-staple"


async def put(rig: Rig, body: dict[str, Any] | None = None, **headers: str) -> Answer:
    return await rig.ask("PUT", DB, body or {"data": {"password": CANARY}}, **headers)


async def use(rig: Rig) -> None:
    manifest = a_manifest(env={"PW": {"secret": "db/password"}})
    assert (await rig.ask("PUT", "/v1/namespaces/default/jobs/web", manifest)).status == 202


async def test_a_secret_is_set_and_told_of_without_its_values() -> None:
    async with a_rig() as rig:
        await use(rig)
        made = await put(rig)
        assert (made.status, made.json["outcome"], made.headers["ETag"]) == (
            200,
            "created",
            f'"{made.json["revision"]}"',
        )
        again = await put(rig, {"base64": {"password": base64.b64encode(CANARY.encode()).decode()}})
        assert again.json["outcome"] == "unchanged"
        added = await put(rig, {"data": {"user": "bob"}, "keep_others": True})
        assert [(one["key"], one["version"]) for one in added.json["secret"]["keys"]] == [("password", 1), ("user", 2)]
        shown = await rig.get(DB)
        assert shown.headers["ETag"] == added.headers["ETag"]
        assert shown.json["used_by"] == ["web"]
        assert shown.json["keys"][0]["encrypted_with"] == "k1"
        for path in ("/v1/secrets", "/v1/namespaces/default/secrets", "/v1/secrets?limit=1"):
            assert (await rig.get(path)).json["items"] == [shown.json]
        assert (await rig.get("/v1/namespaces/shop/secrets")).json["items"] == []
        told = [made, again, added, shown, await rig.get("/v1/secrets"), await rig.get("/v1/backup")]
        assert not [one for one in told if CANARY.encode() in one.body]


async def test_conditions_are_held_to() -> None:
    async with a_rig() as rig:
        first = await put(rig, If_None_Match="*")
        as_problem(await put(rig, If_None_Match="*"), 412, "precondition_failed")
        second = await put(rig, {"data": {"password": "b"}}, If_Match=first.headers["ETag"])
        as_problem(await put(rig, If_Match=first.headers["ETag"]), 412, "precondition_failed")
        both = await put(rig, If_Match=first.headers["ETag"], If_None_Match="*")
        assert both.status == 400
        gone = await rig.ask("DELETE", DB, If_Match=second.headers["ETag"])
        assert gone.status == 200
        as_problem(await rig.get(DB), 404, "not_found")


async def test_what_is_used_is_deleted_by_force_only() -> None:
    async with a_rig() as rig:
        await use(rig)
        await put(rig)
        refused = as_problem(await rig.ask("DELETE", DB), 409, "conflict")
        assert refused["detail"].startswith("1 job could start no task without secret db (web)")
        assert (await rig.ask("DELETE", f"{DB}?force=true")).status == 200
        as_problem(await rig.ask("DELETE", DB), 404, "not_found")


CALLING = a_workflow(
    ask={"http": {"url": "https://a.example/", "headers": {"Authorization": {"secret": "db/password"}}}}
)
RUNNING = a_workflow(run={"task": {"task": {"command": ["x"], "env": {"PW": {"secret": "db/password"}}}}})


async def test_workflows_hold_on_to_what_they_refer_to() -> None:
    async with a_runs_rig(shards=()) as rig:
        await put(rig)
        for name, manifest in (("call", CALLING), ("run", RUNNING)):
            manifest = {**manifest, "metadata": {"name": name}}
            assert (await rig.ask("PUT", f"{WORKFLOWS}/{name}", manifest)).status == 200
        shown = (await rig.get(DB)).json
        assert (shown["used_by"], shown["used_by_workflows"]) == ([], ["call", "run"])
        detail = as_problem(await rig.ask("DELETE", DB), 409, "conflict")["detail"]
        assert detail.startswith("2 workflows refer to secret db (call, run); change what refers to it before")
        await use(rig)
        detail = as_problem(await rig.ask("DELETE", DB), 409, "conflict")["detail"]
        assert detail.startswith(
            "1 job could start no task without secret db (web) and 2 workflows refer to it (call, run)"
        )
        assert (await rig.ask("DELETE", f"{WORKFLOWS}/run")).status == 200
        await declare(rig, {**a_workflow(a={"worker": "x"}), "metadata": {"name": "call"}})
        assert (await rig.get("/v1/secrets")).json["items"][0]["used_by_workflows"] == []


async def test_open_runs_of_what_a_workflow_was_and_batches_hold_on_to_it_too() -> None:
    async with a_runs_rig() as rig:
        await put(rig)
        # It waits for somebody before it calls.
        waiting = a_workflow(first={"wait": {"signal": "go"}, "next": {"done": "ask"}}, **CALLING["spec"]["operations"])
        await declare(rig, {**waiting, "metadata": {"name": "call"}})
        await start(rig, "r1", workflow="call")
        await declare(rig, {**a_workflow(a={"worker": "x"}), "metadata": {"name": "call"}})
        each = {"http": CALLING["spec"]["operations"]["ask"]["http"]}
        assert (await rig.ask("POST", f"{NAMESPACE}/batches", a_batch(each=each))).status == 201
        detail = as_problem(await rig.ask("DELETE", DB), 409, "conflict")["detail"]
        assert detail.startswith("2 open runs refer to secret db (r1, resize); change what refers to it before")
        assert (await rig.ask("DELETE", f"{NAMESPACE}/batches/resize")).status == 200
        assert (await rig.ask("POST", f"{RUNS}/r1/cancel", {})).status == 200
        assert (await rig.ask("DELETE", DB)).status == 200


async def test_all_are_encrypted_anew() -> None:
    async with a_rig() as rig:
        await put(rig)
        done = await rig.ask("PUT", "/v1/secrets/encryption", {})
        assert (done.status, done.json["key_id"], done.json["rotated"]) == (200, "k1", 0)


async def test_a_server_without_keys_says_so() -> None:
    async with a_rig(registry=lambda store, view: Registry(store, view, SystemClock())) as rig:
        for answer in (await put(rig), await rig.ask("PUT", "/v1/secrets/encryption", {})):
            assert "--secrets-key-file" in as_problem(answer, 409, "conflict")["detail"]
        assert (await rig.get("/v1/secrets")).json["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"password": [CANARY]}},
        {"data": {"password": {"x": CANARY}}},
        {"data": [CANARY]},
        {"data": CANARY},
        {"base64": {"password": CANARY}},
        {"data": {"pass word": CANARY}},
        {"data": {"password": CANARY}, "remove": ["password"], "keep_others": True},
        {"data": {"password": CANARY * 4000}},
        {"data": {"password": f"{CANARY}\x00"}},
        {"data": {"password": CANARY}, "more": CANARY},
        {"data": {"password": CANARY}, "keep_others": CANARY[:4]},
        {},
        {"data": {}},
    ],
)
async def test_a_wrong_body_is_told_without_being_quoted(
    body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with a_rig() as rig:
        refused = await rig.ask("PUT", DB, body)
        assert refused.status == 400
        assert CANARY.encode() not in refused.body
        broken = await rig.ask("PUT", DB, f'{{"data": {{"password": "{CANARY}"}}'.encode())
        assert (broken.status, CANARY.encode() in broken.body) == (400, False)
    assert CANARY not in caplog.text
