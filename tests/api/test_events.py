"""Events over HTTP: what happened lately, made of the view's recent changes."""

import json
from dataclasses import replace
from functools import partial

from harpoon.kit import codec
from harpoon.model.agent import LinkState
from harpoon.model.decision import Pending
from harpoon.model.task import TaskState
from tests.api.rig import a_rig
from tests.builders import T0, a_cordon, a_link, a_placement, a_task, an_agent, at

WEB = "/v1/namespaces/default/jobs/web"


async def told(rig, path):
    """Subjects and events, in order."""
    answer = await rig.get(path)
    assert answer.status == 200, answer.body
    return [(item["subject"], item["event"]) for item in answer.json["items"]]


async def test_the_life_of_a_job_is_told_in_order() -> None:
    async with a_rig() as rig:
        await rig.put(scale=1)
        await rig.put(scale=2)
        await rig.put(scale=2, tags={"a": "b"})
        await rig.put(scale=3, env={"A": "1"})
        await rig.ask("POST", f"{WEB}/rollback", {"version": 1})
        await rig.write(a_placement())
        await rig.ask("DELETE", WEB)
        shown = (await rig.get(f"{WEB}/events")).json
        assert [(item["event"], item["detail"]) for item in shown["items"] if item["subject"] == "job/web"] == [
            ("scheduled", "version 1, scale 1"),
            ("scaled", "1 to 2"),
            ("changed", "version 3; no task is replaced"),
            ("migrated", "version 3 to version 4, scale 2 to 3"),
            ("migrated", "version 4 to version 5, scale 3 to 1, as version 1 was"),
            ("unscheduled", "its tasks are to stop"),
        ]
        assert shown["oldest"] == "1.0"
        assert [item["revision"] for item in shown["items"]] == [f"1.{number}" for number in range(1, 8)]
        job = rig.view.jobs.rows["default/web"].value
        await rig.write(gone=[job])
        assert (await told(rig, f"{WEB}/events"))[-1] == ("job/web", "gone")
        await rig.put(scale=1)
        assert (await told(rig, f"{WEB}/events"))[-1] == ("job/web", "scheduled")


async def test_the_life_of_a_task_is_told_to_its_job_its_agent_and_itself() -> None:
    async with a_rig() as rig:
        placement = a_placement(decided_ms=at(1).wall)
        await rig.write(placement)
        for state, ready, more in (
            (TaskState.STARTING, False, {}),
            (TaskState.RUNNING, False, {}),
            (TaskState.RUNNING, True, {}),
            (TaskState.RUNNING, True, {"address": "10.0.0.1"}),
            (TaskState.RUNNING, False, {"reason": "the check fails"}),
            (TaskState.RUNNING, True, {"restarts": 1}),
            (TaskState.RUNNING, True, {"restarts": 2}),
        ):
            await rig.write(a_task(placement, state=state, ready=ready, **more))
        await rig.write(gone=[placement])
        await rig.write(a_task(placement, state=TaskState.STOPPING))
        await rig.write(a_task(placement, state=TaskState.FINISHED, since_ms=T0 + 5))
        await rig.write(gone=[a_task(placement)])
        names = [
            "placed",
            "starting",
            "running",
            "ready",
            "unready",
            "ready",
            "ready",
            "withdrawn",
            "stopping",
            "finished",
        ]
        whole = [(f"task/{placement.task}", name) for name in names]
        await rig.write(a_placement(job="other", agent="a2"))
        task = f"/v1/namespaces/default/tasks/{placement.task}/events"
        assert (
            await told(rig, f"{WEB}/events")
            == await told(rig, task)
            == await told(rig, "/v1/agents/a1/events")
            == whole
        )
        items = (await rig.get(task)).json["items"]
        assert items[0]["at_ms"] == items[7]["at_ms"] == at(1).wall
        assert items[0]["detail"] == "on a1: spread: it had the fewest"
        assert items[4]["detail"] == "the check fails"
        assert items[9]["at_ms"] == T0 + 5
        assert await told(rig, f"{task}?limit=2") == whole[-2:]


async def test_a_task_that_its_agent_lost_without_an_end_is_gone() -> None:
    async with a_rig() as rig:
        await rig.write(a_task(state=TaskState.LOST))
        await rig.write(gone=[a_task()])
        assert [event for _, event in await told(rig, f"{WEB}/events")] == ["lost", "gone"]


async def test_slots_that_cannot_be_placed_are_told() -> None:
    async with a_rig() as rig:
        pending = Pending(namespace="default", job="web", generation="g1", slots=(0,), reason="no room", since_ms=T0)
        await rig.write(pending)
        await rig.write(replace(pending, reason="still no room"))
        await rig.write(gone=[pending])
        items = (await rig.get(f"{WEB}/events")).json["items"]
        assert [(item["event"], item["detail"]) for item in items] == [
            ("pending", "no room"),
            ("pending", "still no room"),
        ]


async def test_the_life_of_an_agent_is_told() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent())
        await rig.write(an_agent("a2"))
        for state in (LinkState.UNKNOWN, LinkState.CONNECTED, LinkState.INTERRUPTED, LinkState.LOST):
            await rig.write(a_link(state=state, reason=f"it is {state}"))
        await rig.write(gone=[an_agent(), a_link()])
        items = (await rig.get("/v1/agents/a1/events")).json["items"]
        assert [item["event"] for item in items] == [
            "registered",
            "unknown",
            "connected",
            "interrupted",
            "lost",
            "removed",
        ]
        assert items[3]["detail"] == "it is interrupted"
        assert {item["subject"] for item in items} == {"agent/a1"}


async def test_what_an_operator_decided_of_an_agent_is_told() -> None:
    async with a_rig() as rig:
        ask = partial(rig.ask, "POST")
        await rig.write(an_agent())
        await ask("/v1/agents/a1/cordon", {"reason": "disks"})
        await ask("/v1/agents/a1/drain", {})
        await rig.write(a_cordon(is_draining=True, deadline_ms=T0))
        await ask("/v1/agents/a1/uncordon", {})
        await ask("/v1/agents/a1/cordon", {})
        await ask("/v1/agents/a1/declare-dead", {"reason": "burnt"})
        await rig.ask("PUT", "/v1/agents/a1", json.loads(codec.dump(an_agent())))
        items = (await rig.get("/v1/agents/a1/events")).json["items"]
        assert [(item["event"], item["detail"]) for item in items if item["event"] != "removed"] == [
            ("registered", "at http://127.0.0.1:4451"),
            ("cordoned", "disks"),
            ("draining", "disks"),
            ("draining", "until 2026-01-01T00:00:00Z at the latest"),
            ("uncordoned", "it takes new tasks again"),
            ("cordoned", ""),
            ("declared_dead", "burnt"),
            ("registered", "at http://127.0.0.1:4451"),
        ]
        assert {item["subject"] for item in items} == {"agent/a1"}


async def test_who_never_was_has_no_events_and_who_is_quiet_has_an_empty_list() -> None:
    async with a_rig() as rig:
        for path in (f"{WEB}/events", "/v1/agents/a1/events", "/v1/namespaces/default/tasks/default.web.0.1-1/events"):
            assert (await rig.get(path)).status == 404
        placement = a_placement(job="web")
        await rig.put(scale=1)
        await rig.write(an_agent(), placement, a_task(placement))
        rig.view.mirror.recent.reset(rig.view.revision)
        for path in (f"{WEB}/events", "/v1/agents/a1/events", f"/v1/namespaces/default/tasks/{placement.task}/events"):
            assert (await rig.get(path)).json == {"revision": "1.2", "oldest": "1.2", "items": []}
        assert (await rig.get(f"/v1/namespaces/other/tasks/{placement.task}/events")).status == 404
        assert (await rig.get("/v1/namespaces/default/tasks/x/events")).status == 400
        assert (await rig.get(f"{WEB}/events?limit=0")).status == 400
