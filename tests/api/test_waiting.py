"""Everything that does not progress, over HTTP."""

from dataclasses import replace

from harpoon.model.agent import LinkState
from harpoon.model.decision import Blocker, Pending
from harpoon.model.task import TaskState
from tests.api.rig import a_rig
from tests.builders import T0, a_job, a_link, a_placement, a_task, an_agent, at


def a_pending(job, *predicates, reason="no room", since_s=0):
    blockers = tuple(
        Blocker(predicate=p, wanted="w", found=f"f of {job}", agents=(), agents_count=0) for p in predicates
    )
    return Pending(
        namespace="default",
        job=job,
        generation="g1",
        slots=(0,),
        reason=reason,
        blockers=blockers,
        since_ms=at(since_s).wall,
    )


async def waiting(rig, query=""):
    answer = await rig.get(f"/v1/waiting{query}")
    assert answer.status == 200, answer.body
    return answer.json["items"]


async def test_nothing_waits_where_everything_is_well() -> None:
    async with a_rig() as rig:
        placement = a_placement()
        await rig.write(a_job(), placement, a_task(placement), an_agent(), a_link())
        await rig.write(a_task(a_placement(slot=1), state=TaskState.FINISHED))
        # Of a batch job that has ended: kept for its logs.
        await rig.write(a_task(a_placement(slot=2), state=TaskState.FAILED, since_ms=T0))
        assert await waiting(rig) == []


async def test_jobs_that_fail_the_same_predicates_are_one_group_and_the_largest_comes_first() -> None:
    async with a_rig() as rig:
        await rig.write(
            a_pending("alone", "memory", reason="it lacks memory", since_s=1),
            a_pending("late", "cpu", "tag zone", reason="late lacks 3 of 5", since_s=3),
            a_pending("early", "tag zone", "cpu", reason="early lacks 4 of 5", since_s=2),
        )
        assert await waiting(rig) == [
            {
                "kind": "job",
                "reason": "early lacks 4 of 5",
                "count": 2,
                "since_ms": T0 + 2000,
                "subjects": ["job/default/early", "job/default/late"],
            },
            {
                "kind": "job",
                "reason": "it lacks memory",
                "count": 1,
                "since_ms": T0 + 1000,
                "subjects": ["job/default/alone"],
            },
        ]


async def test_tasks_that_differ_in_names_and_numbers_only_are_one_group() -> None:
    async with a_rig() as rig:
        for slot in range(25):
            task = a_task(
                a_placement(slot=slot, agent=f"a{slot % 3}"),
                state=TaskState.STARTING,
                since_ms=at(slot).wall,
                reason=f"restart {slot} of 50 in {slot + 1}s: port 80{slot:02} of a{slot % 3} is taken",
            )
            await rig.write(task)
        await rig.write(a_task(a_placement(job="api"), ready=False, reason="check http fails"))
        many, one = await waiting(rig)
        assert (many["kind"], many["count"], len(many["subjects"])) == ("task", 25, 20)
        assert many["subjects"][0] == "task/default.web.0.1-1"
        assert many["reason"] == "it is starting: restart 0 of 50 in 1s: port 8000 of a0 is taken"
        assert one["reason"] == "it is running: check http fails"


async def test_a_task_is_given_a_moment_before_it_is_told() -> None:
    async with a_rig() as rig:
        now = rig.doors.clock.now().wall
        await rig.write(
            a_task(a_placement(slot=0), ready=False, since_ms=now),
            a_placement(slot=1, decided_ms=now),
            a_placement(slot=2, decided_ms=now - 60_000, agent="a9"),
        )
        (only,) = await waiting(rig)
        assert only["subjects"] == ["task/default.web.2.1-1"]
        assert only["reason"] == "it is placed on agent a9, which has not reported it yet and is unknown"


async def test_agents_that_are_not_connected_are_grouped_by_what_keeps_them() -> None:
    async with a_rig() as rig:
        agents = [an_agent(name, endpoint=f"http://10.0.0.{index}:4451") for index, name in enumerate("pqrst")]
        await rig.write(*agents)
        await rig.write(
            a_link("p"),
            *(a_link(n, LinkState.LOST, reason=f"http://10.0.0.{i}:4451 refused") for i, n in ((1, "q"), (2, "r"))),
            a_link("s", LinkState.INTERRUPTED, reason="the agent ended the stream"),
        )
        told = [(item["count"], item["reason"], item["subjects"]) for item in await waiting(rig)]
        assert told == [
            (2, "it is lost: http://10.0.0.1:4451 refused", ["agent/q", "agent/r"]),
            (1, "it is unknown: http://10.0.0.4:4451 was not reached yet", ["agent/t"]),
            (1, "it is interrupted: the agent ended the stream", ["agent/s"]),
        ]


async def test_a_job_that_is_being_unscheduled_waits_for_its_tasks() -> None:
    async with a_rig() as rig:
        placement = a_placement()
        await rig.write(a_job(is_terminating=True), placement, a_task(placement), a_task(a_placement(slot=1)))
        (only,) = await waiting(rig)
        assert only["reason"] == "it is being unscheduled, and 2 of its tasks are left"
        assert only["subjects"] == ["job/default/web"]


async def test_of_one_namespace_only_its_jobs_and_tasks_are_told() -> None:
    async with a_rig() as rig:
        await rig.write(a_pending("web"), replace(a_pending("web"), namespace="shop"), an_agent())
        await rig.write(a_task(ready=False), a_task(a_placement(namespace="shop"), ready=False))
        (jobs, tasks) = await waiting(rig, "?namespace=shop")
        assert (jobs["subjects"], tasks["subjects"]) == (["job/shop/web"], ["task/shop.web.0.1-1"])
        assert await waiting(rig, "?namespace=sho") == []
        assert (await rig.get("/v1/waiting?namespace=A")).status == 400
        assert sum(item["count"] for item in await waiting(rig)) == 5
