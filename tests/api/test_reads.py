"""Tasks, agents, endpoints, status and metrics over HTTP."""

import asyncio
from dataclasses import replace

import pytest

from harpoon.api.limits import Limits
from harpoon.model.agent import LinkState
from harpoon.model.decision import Pending
from harpoon.model.task import TaskState
from tests.api.rig import Rig, a_rig
from tests.builders import MIB, a_cordon, a_job, a_link, a_placement, a_task, an_agent

PENDING = Pending(
    namespace="default", job="web", generation="g1", slots=(1, 2), reason="no agent has 4 cpu", since_ms=5
)


async def a_fleet(rig: Rig) -> None:
    """A job with one task that runs, one that is placed, two slots that wait; on an agent that is connected."""
    running, placed = a_placement(revision=7, cpu=500, memory=64 * MIB), a_placement(slot=3, revision=8, cpu=250)
    await rig.write(a_job(scale=4), an_agent("a1"), a_link("a1"), an_agent("a2", endpoint="http://127.0.0.1:9"))
    await rig.write(running, placed, a_task(running, ports={"http": 8000}), PENDING)


async def test_tasks_are_shown_with_their_placement_and_slots_without_one_too() -> None:
    async with a_rig() as rig:
        await a_fleet(rig)
        for path in ("/v1/tasks", "/v1/namespaces/default/tasks"):
            items = (await rig.get(path)).json["items"]
            assert [(item["id"], item["state"]) for item in items] == [
                ("default.web.0.1-7", "running"),
                ("default.web.1", "pending"),
                ("default.web.2", "pending"),
                ("default.web.3.1-8", "placed"),
            ]
        task, pending = items[:2]
        assert (task["namespace"], task["job"], task["slot"], task["placement"]) == ("default", "web", 0, "1-7")
        assert (task["version"], task["placement_reason"]) == (1, "spread: it had the fewest")
        assert task["ports"] == {"http": 8000}
        assert (pending["placement"], pending["agent"], pending["reason"]) == (None, "", "no agent has 4 cpu")
        assert (await rig.get("/v1/namespaces/other/tasks")).json["items"] == []


async def test_a_task_whose_job_is_gone_is_shown_still() -> None:
    async with a_rig() as rig:
        await rig.write(a_task(state=TaskState.UNCLAIMED))
        assert [item["state"] for item in (await rig.get("/v1/tasks")).json["items"]] == ["unclaimed"]


@pytest.mark.parametrize(
    ("task", "status"),
    [
        ("default.web.0.1-7", 200),
        ("default.web.3.1-8", 200),
        ("default.web.1", 200),
        ("default.web.9", 404),
        ("default.web.0.1-6", 404),
        ("default.web.0.1-7x", 400),
        ("nonsense", 400),
        ("a.b.c.d.e", 400),
        ("..%2f.1.1-1", 400),
        ("default.web.%D9%A1", 400),
    ],
)
async def test_a_task_is_found_by_its_id_only(task: str, status: int) -> None:
    async with a_rig() as rig:
        await a_fleet(rig)
        answer = await rig.get(f"/v1/namespaces/default/tasks/{task}")
        assert answer.status == status
        if status == 200:
            assert answer.json["id"] == task
            assert answer.headers["ETag"] == '"1.2"'


async def test_a_task_is_not_found_in_another_namespace() -> None:
    async with a_rig() as rig:
        await a_fleet(rig)
        assert (await rig.get("/v1/namespaces/other/tasks/default.web.0.1-7")).status == 404


async def test_agents_are_shown_with_their_link_and_what_is_reserved() -> None:
    async with a_rig() as rig:
        await a_fleet(rig)
        first, second = (await rig.get("/v1/agents")).json["items"]
        assert (first["name"], first["link"]["state"], first["tasks"]) == ("a1", "connected", 1)
        assert first["reserved"] == {"cpu": "750m", "memory": "64Mi", "named": {}}
        assert first["capacity"] == {"cpu": "4000m", "memory": "4Gi", "named": {}}
        assert (second["name"], second["link"]["state"], second["tasks"]) == ("a2", "unknown", 0)
        one = await rig.get("/v1/agents/a1")
        assert one.json == first
        assert one.headers["ETag"] == '"1.1"'
        assert (await rig.get("/v1/agents/a9")).status == 404
        assert (await rig.get("/v1/agents/A9")).status == 400


def a_registration(**fields: object) -> dict[str, object]:
    return {
        "name": "a1",
        "uid": "u1",
        "endpoint": "http://127.0.0.1:4451",
        "capacity": {"cpu": "2", "memory": "1Gi"},
        "ports": {"low": 20000, "high": 20999},
    } | fields


async def test_tags_select_agents_by_theirs_and_tasks_by_those_of_their_job() -> None:
    async with a_rig() as rig:
        web, api = a_placement(revision=7), a_placement(job="api", revision=8)
        await rig.write(replace(a_job(), tags={"team": "shop"}), a_job(name="api"), web, api, an_agent("a1"))
        await rig.write(replace(an_agent("a2"), tags={"team": "shop", "zone": "a"}))
        for path in ("/v1/tasks", "/v1/namespaces/default/tasks"):
            assert [item["id"] for item in (await rig.get(f"{path}?tag=team=shop")).json["items"]] == [web.task]
        assert [item["name"] for item in (await rig.get("/v1/agents?tag=team=shop&tag=zone=a")).json["items"]] == ["a2"]
        assert (await rig.get("/v1/agents?tag=team=shop&tag=zone=b")).json["items"] == []
        assert (await rig.get("/v1/agents?tag=team")).status == 400


async def test_an_agent_registers_itself_and_again_without_writing() -> None:
    async with a_rig() as rig:
        first = await rig.ask("PUT", "/v1/agents/a1", a_registration(of_a_newer_release=True))
        again = await rig.ask("PUT", "/v1/agents/a1", a_registration())
        assert (first.status, again.status) == (200, 200)
        assert first.json == again.json == {"revision": "1.1"}
        assert (await rig.get("/v1/agents/a1")).json["uid"] == "u1"


async def test_another_agent_of_a_connected_name_is_refused() -> None:
    async with a_rig() as rig:
        await rig.ask("PUT", "/v1/agents/a1", a_registration())
        await rig.write(a_link("a1"))
        refused = await rig.ask("PUT", "/v1/agents/a1", a_registration(uid="u2"))
        assert refused.status == 409
        assert refused.json["code"] == "conflict"


@pytest.mark.parametrize("body", [{}, a_registration(name="a2"), a_registration(endpoint="ftp://x"), [], None])
async def test_registrations_that_cannot_be_are_refused(body: object) -> None:
    async with a_rig() as rig:
        answer = await rig.ask("PUT", "/v1/agents/a1", b"null" if body is None else body)
        assert answer.status == 400


async def test_only_an_agent_that_is_away_and_has_no_task_can_be_removed() -> None:
    async with a_rig() as rig:
        await a_fleet(rig)
        assert (await rig.ask("DELETE", "/v1/agents/a1")).status == 409
        await rig.write(a_link("a1", LinkState.LOST), a_cordon("a1"))
        refused = await rig.ask("DELETE", "/v1/agents/a1")
        assert (refused.status, "2 tasks are still placed" in refused.json["detail"]) == (409, True)
        assert refused.json["detail"].endswith("harpoon declare-dead a1")
        await rig.write(gone=[a_placement(revision=7), a_placement(slot=3, revision=8)])
        answer = await rig.ask("DELETE", "/v1/agents/a1")
        assert answer.status == 200
        assert answer.json["revision"] == answer.headers["Harpoon-Revision"]
        assert (await rig.get("/v1/agents/a1")).status == 404
        assert (await rig.ask("DELETE", "/v1/agents/a1")).status == 404
        assert not rig.view.cordons.rows


async def test_endpoints_are_the_ready_tasks_that_are_to_stay() -> None:
    async with a_rig() as rig:
        await rig.write(a_job(scale=4))
        one, unready, leaving = (a_placement(slot=slot, revision=7) for slot in range(3))
        await rig.write(one, unready, a_task(one, ports={"http": 8000}), a_task(unready, ready=False), a_task(leaving))
        answer = await rig.get("/v1/namespaces/default/jobs/web/endpoints")
        assert answer.json == {
            "revision": "1.2",
            "endpoints": [
                {"task": "default.web.0.1-7", "slot": 0, "agent": "a1", "address": "127.0.0.1", "ports": {"http": 8000}}
            ],
        }


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
async def test_a_stream_of_endpoints_tells_the_whole_list_only_when_it_differs(accept: str) -> None:
    async with a_rig() as rig:
        placement = a_placement()
        await rig.write(a_job(), placement)
        async with rig.watch("/v1/namespaces/default/jobs/web/endpoints", accept) as reader:
            assert (await reader.next())["endpoints"] == []
            await rig.write(a_task(placement, ready=False))
            await rig.write(a_job(name="other"))
            ready = await rig.write(a_task(placement))
            event = (await reader.until_type("endpoints"))[-1]
            assert event["revision"] == f"1.{ready}"
            assert [one["task"] for one in event["endpoints"]] == [placement.task]
            await rig.write(replace(a_task(placement), reason="changed in nothing that is shown"))
            await rig.write(gone=[placement])
            assert (await reader.until_type("endpoints"))[-1]["endpoints"] == []


async def test_a_quiet_stream_of_endpoints_shows_that_it_lives() -> None:
    async with a_rig(limits=Limits(bookmark_s=0.05)) as rig:
        await rig.write(a_job())
        async with rig.watch("/v1/namespaces/default/jobs/web/endpoints") as reader:
            assert [event["type"] for event in await reader.until_type("bookmark")] == ["endpoints", "bookmark"]


async def test_what_nobody_can_answer_in_is_not_acceptable() -> None:
    async with a_rig() as rig:
        await rig.write(a_job())
        for path in ("/v1/watch", "/v1/namespaces/default/jobs/web/endpoints"):
            answer = await rig.get(path, Accept="image/png")
            assert (answer.status, answer.json["code"]) == (406, "not_acceptable")


async def test_health_is_open_and_says_little() -> None:
    async with a_rig(token="0123456789abcdef") as rig:
        rig.headers.clear()
        answer = await rig.get("/v1/health")
        assert answer.status == 200
        assert answer.json.keys() == {"status", "instance", "version", "revision", "now_ms"}
        assert (answer.json["status"], answer.json["instance"], answer.json["revision"]) == ("ok", "s1", "1.0")


async def test_status_counts_what_there_is_and_names_the_leader() -> None:
    async with a_rig() as rig:
        await a_fleet(rig)
        assert (await rig.get("/v1/status")).json["leader"] is None
        await rig.hold("scheduler", "s9")
        told = (await rig.get("/v1/status")).json
        assert (told["instance"], told["store"], told["leader"]) == ("s1", "memory", "s9")
        assert told["agents"] == {"unknown": 1, "connected": 1, "interrupted": 0, "lost": 0}
        assert {state: count for state, count in told["tasks"].items() if count} == {
            "running": 1,
            "placed": 1,
            "pending": 2,
        }


async def test_metrics_are_told_in_the_form_of_prometheus() -> None:
    async with a_rig() as rig:
        await rig.get("/v1/status")
        await rig.get("/v1/nothing")
        answer = await rig.get("/metrics")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.body.decode()
        assert 'harpoon_http_requests_total{method="GET",route="/v1/status",status="200"} 1.0' in text
        assert 'harpoon_http_requests_total{method="GET",route="unknown",status="404"} 1.0' in text


async def test_a_long_list_lets_others_have_their_turn() -> None:
    async with a_rig() as rig:
        for batch in range(4):
            await rig.write(*(a_task(a_placement(slot=slot)) for slot in range(batch * 90, batch * 90 + 90)))
        lists = await asyncio.gather(*(rig.get("/v1/tasks") for _ in range(3)))
        assert [len(answer.json["items"]) for answer in lists] == [360] * 3
