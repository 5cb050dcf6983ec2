"""Cordon, drain, declare dead, over HTTP: what is asked, what is answered, and how an agent shows it."""

from typing import Any

import pytest

from harpoon.model.agent import LinkState
from harpoon.model.decision import Pending
from harpoon.model.task import TaskState
from tests.api.rig import Answer, Rig, a_rig
from tests.builders import T0, a_cordon, a_job, a_link, a_placement, a_task, an_agent

A1 = "/v1/agents/a1"
VERBS = ("cordon", "uncordon", "drain", "declare-dead")


async def ask(rig: Rig, verb: str, body: Any = None, **headers: str) -> Answer:
    return await rig.ask("POST", f"{A1}/{verb}", {} if body is None else body, **headers)


async def shown(rig: Rig) -> Any:
    return (await rig.get(A1)).json


async def test_a_cordon_is_shown_until_it_is_lifted() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent(), a_link())
        assert (await shown(rig))["cordon"] is None
        answer = await ask(rig, "cordon", {"reason": "disks"})
        assert (answer.status, answer.json["revision"]) == (200, answer.headers["Harpoon-Revision"])
        agent = await shown(rig)
        assert (agent["cordon"]["is_draining"], agent["cordon"]["reason"], agent["drain"]) == (False, "disks", None)
        assert (await ask(rig, "cordon")).json == answer.json, "nothing changed, so nothing was written"
        assert (await ask(rig, "uncordon")).status == 200
        assert (await shown(rig))["cordon"] is None
        assert (await rig.get("/v1/agents")).json["items"][0]["cordon"] is None


async def test_a_drain_shows_how_many_tasks_are_left_and_what_they_wait_for() -> None:
    async with a_rig() as rig:
        here = [a_placement(slot=slot) for slot in range(25)]
        over = a_task(a_placement(job="old"), state=TaskState.FINISHED)
        await rig.write(a_job(scale=25), an_agent(), a_link(), over)
        await rig.write(*here, *(a_task(one) for one in here))
        answer = await ask(rig, "drain", {"deadline": "10m", "reason": "new kernel"})
        assert answer.status == 202
        agent = await shown(rig)
        cordon, drain = agent["cordon"], agent["drain"]
        assert (cordon["is_draining"], cordon["reason"]) == (True, "new kernel")
        assert cordon["deadline_ms"] == cordon["since_ms"] + 600_000
        assert (drain["left"], len(drain["tasks"]), len(drain["waiting"]), drain["is_done"]) == (25, 20, 20, False)
        assert drain["waiting"][0].startswith("default.web.0.1-1 waits for its turn: update.surge 1")
        await rig.write(gone=[*here, *(a_task(one) for one in here)])
        assert (await shown(rig))["drain"] == {"is_done": True, "left": 0, "tasks": [], "waiting": []}


async def test_each_task_that_is_left_says_what_it_waits_for() -> None:
    async with a_rig() as rig:
        moved, stopping = a_placement(), a_placement(slot=1)
        unscheduled, coming = a_placement(job="old"), a_placement(revision=2, agent="a2")
        await rig.write(a_job(scale=2), a_job(name="old", is_terminating=True), an_agent(), a_link())
        await rig.write(moved, unscheduled, a_task(stopping, state=TaskState.STOPPING, reason="told to"), coming)
        await rig.write(a_cordon(is_draining=True))
        assert (await shown(rig))["drain"]["waiting"] == [
            "default.old.0.1-1 is to stop, for its job is unscheduled",
            "default.web.0.1-1 stays until default.web.0.1-2 is ready, which a2 has not reported yet",
            "default.web.1.1-1 is to stop, and is stopping: told to",
        ]
        await rig.write(a_task(coming, state=TaskState.STARTING, reason="its checks fail"))
        why = (await rig.get(f"/v1/namespaces/default/tasks/{moved.task}/why")).json["reasons"]
        assert why[1].startswith("agent a1 is being drained; it stays until default.web.0.1-2 on a2 is ready")
        assert (await shown(rig))["drain"]["waiting"][1] == (
            "default.web.0.1-1 stays until default.web.0.1-2 on a2 is ready; it is starting: its checks fail"
        )
        await rig.write(a_link(state=LinkState.LOST))
        assert (await shown(rig))["drain"]["waiting"][0] == (
            "default.old.0.1-1 cannot be told to stop: the agent is lost; if that is gone for good: "
            "harpoon declare-dead a1"
        )


async def test_a_drain_that_does_not_come_to_its_end_is_told_among_what_waits() -> None:
    async with a_rig() as rig:
        here = a_placement(decided_ms=T0)
        await rig.write(a_job(), an_agent(), a_link(), here, a_task(here), a_cordon(is_draining=True))
        (told,) = (await rig.get("/v1/waiting")).json["items"]
        assert (told["kind"], told["subjects"], told["since_ms"]) == ("agent", ["agent/a1"], T0)
        assert told["reason"].startswith("it is being drained, and 1 tasks are left: default.web.0.1-1 waits for")
        await rig.write(gone=[here, a_task(here)])
        assert (await rig.get("/v1/waiting")).json["items"] == []


async def test_why_tells_of_a_cordon_and_of_what_a_drain_waits_for() -> None:
    async with a_rig() as rig:
        here = a_placement()
        await rig.write(a_job(), an_agent(), a_link(), here, a_task(here), a_cordon(reason="disks"))
        told = (await rig.get(f"{A1}/why")).json
        assert told["reasons"][0] == "it is cordoned since 2026-01-01T00:00:00Z and takes no new tasks: disks"
        assert told["is_fine"]
        await rig.write(a_cordon(is_draining=True, deadline_ms=T0 + 60_000))
        told = (await rig.get(f"{A1}/why")).json
        assert told["reasons"][0] == (
            "it is being drained since 2026-01-01T00:00:00Z, until 2026-01-01T00:01:00Z at the latest, "
            "and 1 task is left"
        )
        assert told["reasons"][1].startswith("default.web.0.1-1 waits for its turn")
        assert not told["is_fine"]


async def test_lost_tasks_say_whether_they_are_replaced() -> None:
    async with a_rig() as rig:
        here = a_placement()
        await rig.write(a_job(), here, a_task(here, state=TaskState.LOST))
        await rig.write(an_agent("a1"), a_link("a1", LinkState.LOST), an_agent("a2"), a_link("a2"))
        status = "/v1/namespaces/default/jobs/web/status"
        assert (await rig.get(status)).json["waiting"][0] == "replacing lost tasks is limited to 20 a second"
        await rig.write(a_link("a2", LinkState.LOST))
        told = "replacing lost tasks is halted: 2 of 2 agents are lost"
        assert (await rig.get(status)).json["waiting"][0] == told
        reasons = [item["reason"] for item in (await rig.get("/v1/waiting?namespace=default")).json["items"]]
        assert any(reason.endswith(told) for reason in reasons)


async def test_a_dead_agent_is_forgotten_and_declaring_it_again_changes_nothing() -> None:
    async with a_rig() as rig:
        here = a_placement()
        await rig.write(a_job(), an_agent(), a_link(), here, a_task(here), a_cordon())
        refused = await ask(rig, "declare-dead")
        assert (refused.status, refused.json["code"]) == (409, "conflict")
        await rig.write(a_link(state=LinkState.LOST))
        first = await ask(rig, "declare-dead", {"reason": "burnt down"})
        assert first.status == 200
        assert (await rig.get(A1)).status == 404
        assert (await rig.get("/v1/tasks")).json["items"] == []
        assert (await ask(rig, "declare-dead")).json == first.json


@pytest.mark.parametrize("verb", VERBS)
async def test_an_agent_that_is_not_there_is_not_found(verb: str) -> None:
    async with a_rig() as rig:
        assert (await ask(rig, verb)).status == 404


@pytest.mark.parametrize("verb", VERBS)
async def test_a_decision_with_an_idempotency_key_is_made_once(verb: str) -> None:
    async with a_rig() as rig:
        await rig.write(an_agent(), a_link(state=LinkState.LOST))
        first = await ask(rig, verb, Idempotency_Key="k1")
        revision = rig.view.revision
        again = await ask(rig, verb, Idempotency_Key="k1")
        assert (first.status, first.json) == (again.status, again.json)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert rig.view.revision == revision


@pytest.mark.parametrize(
    ("verb", "body", "pointer"),
    [
        ("cordon", {"deadline": "10m"}, "/deadline"),
        ("cordon", {"reason": 7}, "/reason"),
        ("cordon", {"reason": "x" * 501}, ""),
        ("cordon", {"reason": "a\nb"}, ""),
        ("uncordon", {"reason": "done"}, "/reason"),
        ("drain", {"deadline": "soon"}, "/deadline"),
        ("drain", {"deadline": 10}, "/deadline"),
        ("drain", {"dead_line": "1m"}, "/dead_line"),
        ("declare-dead", {"yes": True}, "/yes"),
    ],
)
async def test_what_cannot_be_is_refused_where_it_stands(verb: str, body: object, pointer: str) -> None:
    async with a_rig() as rig:
        await rig.write(an_agent())
        refused = await ask(rig, verb, body)
        assert (refused.status, [fault["pointer"] for fault in refused.json["errors"]]) == (400, [pointer])
        assert not rig.view.cordons.rows


async def test_why_a_job_that_is_ready_does_not_leave_a_draining_agent_is_told() -> None:
    async with a_rig() as rig:
        await rig.put(scale=1)
        row = rig.view.jobs.rows["default/web"].value
        here = a_placement(generation=row.generation)
        pending = Pending(namespace="default", job="web", generation=row.generation, slots=(0,), reason="no room")
        await rig.write(an_agent(), a_link(), here, a_task(here, generation=row.generation), pending)
        await rig.write(a_cordon(is_draining=True))
        told = (await rig.get("/v1/namespaces/default/jobs/web/why")).json
        assert told["state"] == "ready"
        assert told["reasons"][0].endswith("; default.web.0.1-1 stays on a1, which is draining")
