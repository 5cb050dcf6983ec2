"""Cron jobs over HTTP: declared, shown, paused, resumed and triggered."""

from typing import Any

from tests.api.rig import Answer, Rig, a_manifest, a_rig

NIGHTLY = "/v1/namespaces/default/jobs/nightly"


async def put(rig: Rig, **cron: Any) -> Answer:
    manifest = a_manifest("nightly")
    spec = {name: given for name, given in manifest["spec"].items() if name != "scale"}
    return await rig.ask(
        "PUT", NIGHTLY, {**manifest, "spec": {**spec, "type": "batch", "cron": {"at": "0 2 * * *", **cron}}}
    )


async def test_a_cron_job_is_shown_with_when_it_is_due() -> None:
    async with a_rig() as rig:
        assert (await put(rig, timezone="Europe/Berlin")).status == 202
        told = (await rig.get(NIGHTLY)).json
        assert told["spec"]["cron"] == {
            "at": "0 2 * * *",
            "timezone": "Europe/Berlin",
            "overlap": "forbid",
            "catch_up": "1h",
        }
        status = told["status"]
        assert (status["scale"], status["is_done"]) == (0, True)
        assert status["summary"].startswith("next ")
        assert status["cron"]["next_ms"] % 3_600_000 == 0
        assert {name: status["cron"][name] for name in ("paused_ms", "running", "fired", "skipped", "missed")} == {
            "paused_ms": None,
            "running": [],
            "fired": None,
            "skipped": None,
            "missed": 0,
        }
        again = await rig.ask(
            "PUT", NIGHTLY, {**{k: told[k] for k in ("apiVersion", "kind", "spec")}, "metadata": {"name": "nightly"}}
        )
        assert again.json["change"] == status["change"], "what is shown can be declared again"
        why = (await rig.get(f"{NIGHTLY}/why")).json
        assert [one["code"] for one in why["causes"]] == ["cron_due"]


async def test_a_pause_is_durable_shown_and_taken_back() -> None:
    async with a_rig() as rig:
        await put(rig)
        paused = await rig.ask("POST", f"{NIGHTLY}/cron/pause", {})
        assert (paused.status, paused.headers["ETag"]) == (202, (await rig.get(NIGHTLY)).headers["ETag"])
        assert (await rig.ask("POST", f"{NIGHTLY}/cron/pause", {})).status == 200
        told = (await rig.get(NIGHTLY)).json["status"]
        assert told["summary"].startswith("paused since ")
        assert told["cron"]["next_ms"] is None
        assert (await rig.ask("POST", f"{NIGHTLY}/cron/resume", {})).status == 202
        assert (await rig.ask("POST", f"{NIGHTLY}/cron/resume", {})).status == 200
        assert (await rig.get(NIGHTLY)).json["status"]["cron"]["paused_ms"] is None


async def test_a_trigger_answers_with_the_child_and_is_done_once_under_a_key() -> None:
    async with a_rig() as rig:
        await put(rig)
        first = await rig.ask("POST", f"{NIGHTLY}/cron/trigger", {}, Idempotency_Key="k1")
        child = first.json["job"]["metadata"]
        assert (first.status, child["owner"]["job"], child["owner"]["is_triggered"]) == (202, "nightly", True)
        assert child["name"] == f"nightly-t{child['owner']['due_ms'] // 1000}"
        assert first.json["job"]["spec"]["cron"] is None
        assert first.json["change"].startswith(f"default.{child['name']}.")
        again = await rig.ask("POST", f"{NIGHTLY}/cron/trigger", {}, Idempotency_Key="k1")
        assert (again.status, again.json) == (202, first.json)
        shown = (await rig.get(f"/v1/namespaces/default/jobs/{child['name']}")).json
        assert shown["metadata"]["owner"] == child["owner"]
        other = await rig.ask("POST", f"{NIGHTLY}/cron/trigger", {})
        assert other.status == 409
        assert f"{child['name']} is not over, and overlap is forbid" in other.json["detail"]
        assert (await rig.get(NIGHTLY)).json["status"]["cron"]["triggered"]["job"] == child["name"]


async def test_a_trigger_takes_values_of_parameters_and_refuses_wrong_ones() -> None:
    async with a_rig() as rig:
        manifest = a_manifest("nightly")
        spec = {name: given for name, given in manifest["spec"].items() if name != "scale"}
        spec |= {
            "type": "batch",
            "cron": {"at": "0 2 * * *"},
            "parameters": {"count": {"type": "integer", "default": 1}},
        }
        assert (await rig.ask("PUT", NIGHTLY, {**manifest, "spec": spec})).status == 202
        wrong = await rig.ask("POST", f"{NIGHTLY}/cron/trigger", {"arguments": {"count": "many"}})
        assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (400, "/arguments")
        assert "arguments.count is of type integer" in wrong.json["errors"][0]["detail"]
        made = await rig.ask("POST", f"{NIGHTLY}/cron/trigger", {"arguments": {"count": 7}})
        assert (made.status, made.json["job"]["spec"]["arguments"]) == (202, {"count": 7})
        none = await rig.ask("POST", f"{NIGHTLY}/cron/pause", {"arguments": {"count": 7}})
        assert (none.status, none.json["errors"][0]["pointer"]) == (400, "/arguments")


async def test_what_makes_no_sense_is_refused() -> None:
    async with a_rig() as rig:
        assert (await rig.ask("POST", f"{NIGHTLY}/cron/pause", {})).status == 404
        await rig.put(scale=1)
        none = await rig.ask("POST", "/v1/namespaces/default/jobs/web/cron/trigger", {})
        assert (none.status, none.json["detail"]) == (409, "job web is no cron job: its spec has no cron")
        odd = await rig.ask("POST", f"{NIGHTLY}/cron/pause", {"for": "1h"})
        assert (odd.status, odd.json["errors"][0]["pointer"]) == (400, "/for")


async def test_wrong_schedules_name_their_field() -> None:
    async with a_rig() as rig:
        for cron, pointer, said in (
            ({"at": "0 0 31 2 *"}, "/spec/cron/at", "never fires"),
            ({"at": "*/0 * * * *"}, "/spec/cron/at", "its minute is '*/0'"),
            ({"timezone": "Mars/Phobos"}, "/spec/cron/timezone", "no time zone"),
            ({"overlap": "queue"}, "/spec/cron/overlap", "forbid"),
            ({"catch_up": "1s"}, "/spec/cron", "catch_up is 10s to 168h"),
        ):
            refused = await put(rig, **cron)
            assert (refused.status, refused.json["errors"][0]["pointer"]) == (400, pointer)
            assert said in refused.json["errors"][0]["detail"]
