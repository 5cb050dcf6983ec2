"""Why something stands as it does, over HTTP."""

from dataclasses import replace
from datetime import timedelta

from harpoon.control.view import VERSIONS
from harpoon.kit import codec
from harpoon.model.agent import LinkState
from harpoon.model.check import Check, HttpProbe, OnFail
from harpoon.model.decision import Blocker, Pending
from harpoon.model.dependency import Dependency
from harpoon.model.job import Version
from harpoon.model.task import CheckResult, TaskState
from harpoon.store.port import Put
from tests.api.rig import a_rig
from tests.builders import MIB, T0, a_job, a_link, a_placement, a_task, an_agent

WEB = "/v1/namespaces/default/jobs/web"
PENDING = Pending(namespace="default", job="web", generation="g1", slots=(0,), reason="no room", since_ms=T0)


async def why(rig, path):
    answer = await rig.get(path)
    assert answer.status == 200, answer.body
    assert answer.json["revision"] == answer.headers["Harpoon-Revision"]
    return answer.json


async def test_a_job_that_is_as_it_should_be_is_fine() -> None:
    async with a_rig() as rig:
        placement = a_placement()
        await rig.write(a_job(), placement, a_task(placement), an_agent(), a_link())
        told = await why(rig, f"{WEB}/why")
        assert (told["subject"], told["state"], told["summary"], told["is_fine"]) == (
            "job/web",
            "ready",
            "1/1 ready",
            True,
        )
        assert told["reasons"] == ["every slot has a ready task, and nothing older is left"]
        assert (told["slots"], told["tasks"], told["dependencies"]) == ([], [], [])


async def test_a_slot_that_fits_nowhere_is_told_with_every_agent_and_the_nearest_fix() -> None:
    async with a_rig() as rig:
        job = a_job(scale=2, memory=2048 * MIB)
        await rig.write(
            job, PENDING, an_agent("a1", memory=1024 * MIB), a_link("a1"), an_agent("a2", memory=1024 * MIB)
        )
        await rig.write(a_link("a2"), an_agent("a3"), a_link("a3", LinkState.LOST, reason="timed out"))
        told = await why(rig, f"{WEB}/why")
        (slots,) = told["slots"]
        assert slots["slots"] == [0, 1]
        assert [(group["agents"], group["agents_count"]) for group in slots["groups"]] == [
            (["a3"], 1),
            (["a1", "a2"], 2),
        ]
        assert slots["groups"][1]["failed"] == [
            {"predicate": "memory", "wanted": "2Gi free", "found": "1Gi free of 1Gi"}
        ]
        assert slots["fix"]["agent"] == "a3"
        assert "(timed out)" in slots["fix"]["steps"][0]
        assert told["is_fine"] is False
        assert told["reasons"][0].startswith("slots 0, 1: 2 of 2 wanted slots cannot be placed")
        (of_slot,) = (await why(rig, "/v1/namespaces/default/tasks/default.web.0/why"))["slots"]
        assert of_slot == slots


async def test_tasks_that_are_not_ready_are_told_with_their_checks() -> None:
    async with a_rig() as rig:
        good, bad, silent = (a_placement(slot=slot) for slot in range(3))
        checks = (CheckResult(name="http", is_passing=False, detail="connection refused"),)
        failing = a_task(bad, ready=False, reason="check http fails", checks=checks, restarts=2)
        await rig.write(a_job(scale=3), an_agent(), a_link(), good, bad, silent, a_task(good), failing)
        told = await why(rig, f"{WEB}/why")
        assert [(one["id"], one["state"]) for one in told["tasks"]] == [(bad.task, "running"), (silent.task, "placed")]
        assert told["tasks"][0]["restarts"] == 2
        assert told["tasks"][0]["checks"] == [
            {"name": "http", "is_passing": False, "detail": "connection refused", "since_ms": 0}
        ]
        assert [one["code"] for one in told["tasks"][0]["causes"]] == ["not_ready", "check_failing"]
        assert any("check http fails" in reason for reason in told["reasons"])


async def test_a_dependency_that_does_not_hold_comes_first() -> None:
    async with a_rig() as rig:
        job = a_job()
        web = replace(job, spec=replace(job.spec, depends_on=(Dependency(job="db"), Dependency(job="cache"))))
        cache = a_placement(job="cache")
        await rig.write(web, a_job(name="db"), a_job(name="cache"), cache, a_task(cache), an_agent(), a_link())
        told = await why(rig, f"{WEB}/why")
        assert told["dependencies"] == [
            {"job": "db", "wanted": "ready", "found": "progressing, 0/1 ready", "is_met": False, "run": ""},
            {"job": "cache", "wanted": "ready", "found": "ready", "is_met": True, "run": ""},
        ]
        assert told["reasons"][0] == "job db is not ready: progressing, 0/1 ready"
        assert told["slots"][0]["slots"] == [0]


async def test_a_job_that_is_being_unscheduled_names_the_tasks_that_are_left() -> None:
    async with a_rig() as rig:
        task = a_task(state=TaskState.STOPPING, reason="draining")
        await rig.write(a_job(is_terminating=True), task, an_agent(), a_link())
        told = await why(rig, f"{WEB}/why")
        assert (told["state"], told["slots"]) == ("terminating", [])
        assert told["reasons"][0] == "it is being unscheduled: its tasks are stopped first"
        assert [one["id"] for one in told["tasks"]] == [task.id]


async def test_a_task_is_told_with_its_placement_its_agent_and_its_checks() -> None:
    async with a_rig() as rig:
        placement = a_placement(generation="g0")
        checks = (
            CheckResult(name="http", is_passing=False, detail="refused"),
            CheckResult(name="tcp", is_passing=True),
        )
        task = a_task(placement, ready=False, reason="check http fails", checks=checks)
        lost = a_link(state=LinkState.LOST, reason="timed out")
        await rig.write(a_job(version=2), placement, task, an_agent(), lost)
        path = f"/v1/namespaces/default/tasks/{placement.task}/why"
        told = await why(rig, path)
        assert (told["subject"], told["state"], told["is_fine"]) == (f"task/{placement.task}", "running", False)
        assert told["reasons"][:5] == [
            "it is running: check http fails",
            "check http fails: refused",
            "agent a1 is lost since 2026-01-01T00:00:00Z: timed out; no server minds it",
            "it was placed on a1 because spread: it had the fewest",
            "it runs version 1; version 2 is to replace it",
        ]
        codes = ["not_ready", "check_failing", "agent_lost", "placed", "outdated", "fits_nowhere"]
        assert [one["code"] for one in told["causes"]] == codes
        assert [one["sentence"] for one in told["causes"]] == told["reasons"]
        assert told["reasons"][5].startswith("slot 0: 1 of 1 wanted slots cannot be placed: none of 1 agents")
        assert told["slots"][0]["fix"]["agent"] == "a1"
        await rig.write(a_task(placement), a_link(), gone=[placement])
        assert (await why(rig, path))["reasons"][-1] == "its placement was withdrawn, so it is to stop"
        await rig.write(replace(placement, generation="g1"), a_job(), a_task(placement))
        told = await why(rig, path)
        assert (told["is_fine"], told["summary"]) == (True, "ready on a1")
        await rig.write(gone=[a_task(placement), a_job()])
        assert (await why(rig, path))["state"] == "placed"


async def test_a_check_that_never_passed_tells_how_long_its_failures_do_not_count() -> None:
    async with a_rig() as rig:
        now_ms = rig.doors.clock.now().wall
        check = Check(http=HttpProbe(port="http"), start_within=timedelta(minutes=5), on_fail=OnFail.RESTART)
        job = a_job(ports={"http": 0}, checks=(check,))
        placement = a_placement()
        failing = CheckResult(name="http http /", is_passing=False, detail="refused", since_ms=now_ms - 10_000)
        task = a_task(placement, ready=False, reason="runs", checks=(failing,), since_ms=now_ms - 9_999, restarts=2)
        version = Version(
            namespace="default", name="web", version=1, generation=job.generation, spec=job.spec, at_ms=T0
        )
        await rig.store.commit((), [Put(VERSIONS + "default/web/1", codec.dump(version))])
        await rig.write(job, placement, replace(task, exit_code=3), an_agent(), a_link())
        told = await why(rig, f"/v1/namespaces/default/tasks/{placement.task}/why")
        assert [one["code"] for one in told["causes"]] == ["not_ready", "exited", "check_failing", "placed"]
        _, exited, check_told, _ = told["causes"]
        assert exited["evidence"] == {"exit_code": 3, "restarts": 2}
        assert exited["sentence"] == (
            "its last process exited 3, and was started again 2 times; "
            f"what it wrote: harpoon logs {placement.task} --stream stderr"
        )
        assert check_told["sentence"].endswith(
            "refused; asked each 2s, and 3 failures in a row restart it; "
            f"it has never passed, and failures count in {round(check_told['evidence']['start_within_left_ms'] / 1000)} s, "
            "after start_within 5m"
        )
        assert 280_000 < check_told["evidence"]["start_within_left_ms"] <= 290_000
        assert (check_told["evidence"]["check"], check_told["evidence"]["fail_after"]) == ("http http /", 3)


async def test_an_agent_that_is_interrupted_tells_when_it_is_lost_and_one_that_is_lost_what_becomes_of_its_tasks() -> (
    None
):
    async with a_rig() as rig:
        await rig.write(an_agent(), a_link(state=LinkState.INTERRUPTED, reason="connection refused"), an_agent("a2"))
        await rig.write(a_link("a2"), a_job(), a_job(name="db", exclusive=True))
        web, db = a_placement(), a_placement(job="db", is_exclusive=True)
        await rig.write(web, a_task(web), db, a_task(db))
        told = await why(rig, "/v1/agents/a1/why")
        assert told["reasons"][0] == (
            "agent a1 is interrupted since 2026-01-01T00:00:00Z: connection refused; nothing is commanded there, and "
            "what runs runs on; it counts as lost from 2026-01-01T00:00:30Z on, unless it is reached; no server minds it"
        )
        assert told["causes"][0]["evidence"]["lost_at_ms"] == T0 + 30_000
        await rig.write(a_link(state=LinkState.LOST, reason="connection refused"))
        told = await why(rig, "/v1/agents/a1/why")
        assert told["causes"][1]["code"] == "lost_tasks"
        assert told["causes"][1]["sentence"] == (
            f"{web.task} is replaced elsewhere, as fast as that may go; {db.task} waits for it (exclusive, or on_lost "
            "is wait); if it will never come back: harpoon declare-dead a1"
        )


async def test_what_is_not_there_has_no_why() -> None:
    async with a_rig() as rig:
        await rig.write(a_job(), PENDING, a_placement())
        tasks = "/v1/namespaces/default/tasks"
        for path in (
            "/v1/namespaces/default/jobs/api/why",
            "/v1/agents/a1/why",
            f"{tasks}/default.web.1/why",
            f"{tasks}/default.api.0/why",
            f"{tasks}/default.web.0.1-9/why",
            "/v1/namespaces/other/tasks/default.web.0.1-1/why",
        ):
            assert (await rig.get(path)).status == 404, path
        assert (await rig.get(f"{tasks}/web/why")).status == 400


async def test_an_agent_is_told_with_what_is_reserved_and_what_it_lacks_for_jobs_that_wait() -> None:
    async with a_rig() as rig:
        placement = a_placement(job="db", cpu=1500)
        blocker = Blocker(predicate="cpu", wanted="w", found="f", agents=(), agents_count=0)
        await rig.write(a_job(cpu=3000), replace(PENDING, blockers=(blocker,)), an_agent("a1"), a_link("a1"))
        await rig.write(placement, a_task(placement, ready=False), an_agent("a2", cpu=100), a_link("a2"))
        told = await why(rig, "/v1/agents/a1/why")
        assert (told["subject"], told["state"], told["summary"], told["is_fine"]) == (
            "agent/a1",
            "connected",
            "connected, 1 placed",
            False,
        )
        assert told["reasons"] == [
            "1500m of 4000m cpu and 0 of 4Gi memory are reserved by 1 placements",
            "job default/web cannot be placed on it: cpu 3000m free (found 2500m free of 4000m)",
        ]
        (slots,) = told["slots"]
        assert [group["agents"] for group in slots["groups"]] == [["a1"]]
        assert slots["fix"]["steps"] == ["free 500m of cpu on a1, or lower task.resources.cpu to 2500m"]
        assert [one["id"] for one in told["tasks"]] == [placement.task]


async def test_agents_that_are_lost_together_say_that_nothing_is_evicted() -> None:
    async with a_rig() as rig:
        await rig.write(*(an_agent(name) for name in ("a1", "a2")), *(a_link(n, LinkState.LOST) for n in ("a1", "a2")))
        told = await why(rig, "/v1/agents/a1/why")
        assert told["reasons"][0] == "agent a1 is lost since 2026-01-01T00:00:00Z; no server minds it"
        assert told["reasons"][1].startswith("replacing lost tasks is halted: 2 of 2 agents are lost")
        assert told["reasons"][-1] == "no task is placed on it"
