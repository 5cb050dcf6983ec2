"""Rollouts over HTTP: how one stands, and what is decided of it."""

from typing import Any

from tests.api.rig import Answer, Rig, a_manifest, a_rig
from tests.builders import a_placement, a_task

WEB = "/v1/namespaces/default/jobs/web"


async def put(rig: Rig, **spec: Any) -> Answer:
    manifest = a_manifest()
    return await rig.ask("PUT", WEB, {**manifest, "spec": {**manifest["spec"], **spec}})


async def test_a_job_that_was_only_scheduled_has_a_rollout_too() -> None:
    async with a_rig() as rig:
        await rig.put(scale=1)
        told = (await rig.get(f"{WEB}/rollout")).json
        assert (told["phase"], told["summary"]) == ("progressing", "version 1 is under way: 0 of 1 slots healthy")
        assert (told["stable"], told["failure"], told["paused_by"], told["is_promoted"]) == (None, None, None, True)
        generation = told["generation"]
        placement = a_placement(generation=generation)
        await rig.write(placement, a_task(placement))
        shown = await rig.get(f"{WEB}/rollout")
        assert shown.json["phase"] == "complete"
        assert shown.headers["ETag"] == (await rig.get(WEB)).headers["ETag"]


async def test_a_pause_is_durable_shown_and_taken_back() -> None:
    async with a_rig() as rig:
        job = (await rig.put(scale=1)).json
        paused = await rig.ask("POST", f"{WEB}/pause", {})
        assert (paused.status, paused.json["change"]) == (202, job["change"])
        assert paused.headers["ETag"] == (await rig.get(WEB)).headers["ETag"]
        assert paused.json["job"]["metadata"] == job["job"]["metadata"]
        assert (await rig.ask("POST", f"{WEB}/pause", {})).status == 200
        assert (await rig.get(f"{WEB}/rollout")).json["paused_by"] == "operator"
        waiting = (await rig.get(WEB)).json["status"]["waiting"]
        assert waiting[0] == "its rollouts are paused by an operator; to go on: harpoon rollout resume web"
        assert (await rig.ask("POST", f"{WEB}/resume", {})).status == 202
        assert (await rig.ask("POST", f"{WEB}/resume", {})).status == 200
        assert (await rig.get(f"{WEB}/rollout")).json["paused_by"] is None


async def test_what_makes_no_sense_is_refused() -> None:
    async with a_rig() as rig:
        assert (await rig.get(f"{WEB}/rollout")).status == 404
        assert (await rig.ask("POST", f"{WEB}/pause", {})).status == 404
        await rig.put(scale=1)
        none = await rig.ask("POST", f"{WEB}/promote", {})
        assert (none.status, none.json["detail"]) == (409, "job web has no rollout under way that could be promoted")
        odd = await rig.ask("POST", f"{WEB}/pause", {"for": "1h"})
        assert (odd.status, odd.json["errors"][0]["pointer"]) == (400, "/for")


async def test_an_order_under_a_key_is_given_once() -> None:
    async with a_rig() as rig:
        await rig.put(scale=1)
        first = await rig.ask("POST", f"{WEB}/pause", {}, Idempotency_Key="k1")
        await rig.ask("POST", f"{WEB}/resume", {})
        again = await rig.ask("POST", f"{WEB}/pause", {}, Idempotency_Key="k1")
        assert (first.status, again.status, first.json) == (202, 202, again.json)
        assert (await rig.get(f"{WEB}/rollout")).json["paused_by"] is None


async def test_wrong_policies_name_their_field() -> None:
    async with a_rig() as rig:
        for update, said in (
            ({"deadline": "10ms"}, "deadline is 1s to 168h"),
            ({"healthy_for": "5m"}, "healthy_for is less than deadline"),
            ({"canary": -1}, "canary is 0 to"),
            ({"on_failure": "panic"}, "revert"),
        ):
            refused = await put(rig, update=update)
            assert refused.status == 400
            assert refused.json["errors"][0]["pointer"].startswith("/spec/update")
            assert said in refused.json["errors"][0]["detail"]
        both = await put(rig, update={"canary": 1}, exclusive=True)
        assert "update.canary runs a slot twice" in both.json["errors"][0]["detail"]
