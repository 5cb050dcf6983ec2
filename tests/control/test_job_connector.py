"""Operations that declare, change and take away jobs, with the real loops: done once, waited for, and told."""

import asyncio

import pytest

from harpoon.model.run import Status
from harpoon.model.task import TaskState
from harpoon.model.why import ReasonCode
from harpoon.store.memory import MemoryStore
from tests.control.ordering import works
from tests.control.test_controller import a_manifest, settled
from tests.fakes import FakeAgent

SPEC = {"scale": 2, "task": {"command": ["serve", "${inputs.version}"]}}
INPUTS = {"version": {"type": "string", "default": "v1"}}


def job(told, name="web"):
    return told.controller.view.jobs.rows[f"default/{name}"].value


async def declare(told, **job):
    await told.declare(operations={"do": {"job": job}}, inputs=INPUTS, outputs={"came": "${ops.do.output}"})


async def test_a_job_is_scheduled_and_waited_for_until_its_tasks_are_ready() -> None:
    agent = FakeAgent("a1", makes_ready=False)
    async with works(agent) as told:
        await declare(told, schedule="web", spec=SPEC)
        await told.start(version="v3")
        await told.until(lambda: len(told.live()) == 2)
        assert told.open() == ["do"]
        [cause] = (await told.why()).causes
        assert (cause.code, cause.evidence["job"]) == (ReasonCode.JOB, "web")
        assert cause.sentence.startswith("do (visit 1) waits for job web: 0/2 ready")
        for task in told.live():
            agent.report(task, state=TaskState.RUNNING, ready=True)
        came = (await told.ended()).outputs["came"]
        assert job(told).spec.task.command == ("serve", "v3")
        assert (came["job"], came["version"], came["generation"]) == ("web", 1, job(told).generation)
        assert told.controller.registry.change(came["change"]).is_done
        # The same order again finds what it wants.
        await told.start("r-2", version="v3")
        assert (await told.ended("r-2")).outputs["came"]["version"] == 1
        # Another does not.
        await told.start("r-3", version="v4")
        assert "job web exists already, and is not what is to be scheduled" in (await told.ended("r-3")).reason


async def test_a_migrate_changes_what_it_names_and_nothing_else() -> None:
    async with works(FakeAgent("a1")) as told:
        await told.controller.registry.put(a_manifest(scale=2, env={"MODE": "old", "KEEP": "1"}))
        await settled(told.controller)
        patch = {"scale": 1, "task": {"env": {"MODE": "${inputs.version}", "KEEP": None}}}
        await declare(told, migrate="web", set=patch)
        await told.start(version="v9")
        assert (await told.ended()).outputs["came"]["version"] == 2
        assert (job(told).spec.scale, dict(job(told).spec.task.env)) == (1, {"MODE": "v9"})
        assert job(told).spec.task.command == ("serve",)
        assert len(told.live()) == 1


async def test_a_migrate_whose_rollout_is_taken_back_fails_with_its_evidence() -> None:
    agent = FakeAgent("a1")
    async with works(agent, last_lines=lambda *_: asyncio.sleep(0, ("no such table",))) as told:
        await told.controller.registry.put(a_manifest(scale=1))
        await settled(told.controller)
        agent.makes_ready = False
        outputs = {"label": "${ops.do.label}", "came": "${ops.do.output}"}
        change = {"task": {"env": {"MODE": "bad"}}, "update": {"deadline": "1s"}}
        operations = {"do": {"job": {"migrate": "web", "set": change}, "next": {"fail": "note"}}}
        operations["note"] = {"wait": {"for": "10ms"}}
        await told.declare(operations=operations, outputs=outputs)
        await told.start()
        came = (await told.ended()).outputs
        assert came["label"] == "fail"
        assert (came["came"]["version"], came["came"]["reverted_by"]) == (2, 3)
        assert came["came"]["reason"].startswith("no further slot became healthy for 1s")
        assert came["came"]["lines"] == ["no such table"]
        assert job(told).spec.task.env == {}


async def test_a_canary_waits_for_people_who_promote_it_or_have_it_undone() -> None:
    agent = FakeAgent("a1")
    for verdict, mode in (("good", "new"), ("bad", "old")):
        async with works(agent, store=MemoryStore()) as told:
            await told.controller.registry.put(a_manifest(scale=2, env={"MODE": "old"}))
            await settled(told.controller)
            change = {"task": {"env": {"MODE": "new"}}, "update": {"canary": 1, "healthy_for": "50ms"}}
            await told.declare(
                operations={
                    "canary": {"job": {"migrate": "web", "set": change, "until": "canaries"}, "next": {"done": "ask"}},
                    "ask": {"wait": {"signal": "verdict"}, "next": {"good": "promote", "bad": "undo"}},
                    "promote": {"job": {"promote": "web"}},
                    "undo": {"job": {"undo": "web"}},
                }
            )
            await told.start()
            await told.until(lambda: told.open() == ["ask"])
            assert len(told.live()) == 3
            await told.signal("verdict", verdict)
            assert (await told.ended()).status is Status.SUCCEEDED
            assert job(told).spec.task.env == {"MODE": mode}
            assert len(told.live()) == 2
        agent = FakeAgent("a1")


async def test_a_job_is_scaled_and_unscheduled_and_what_is_gone_stays_so() -> None:
    async with works(FakeAgent("a1")) as told:
        await told.controller.registry.put(a_manifest(scale=1))
        await settled(told.controller)
        operations = {
            "grow": {"job": {"scale": "web", "to": "${inputs.n}"}, "next": {"done": "go"}},
            "go": {"job": {"unschedule": "web"}, "next": {"done": "again"}},
            "again": {"job": {"unschedule": "web"}},
        }
        outputs = {"grown": "${ops.grow.output.version}", "gone": "${ops.again.output.change}"}
        await told.declare(operations=operations, inputs={"n": {"type": "integer"}}, outputs=outputs)
        await told.start(n=3)
        assert (await told.ended()).outputs == {"grown": 2, "gone": None}
        assert (told.jobs(), told.live()) == ([], [])


async def test_who_carries_on_waits_for_the_change_that_was_made_and_makes_no_other() -> None:
    store, agent = MemoryStore(), FakeAgent("a1")
    async with works(agent, store=store) as told:
        await told.controller.registry.put(a_manifest(scale=1))
        await settled(told.controller)
        agent.makes_ready = False
        await declare(told, migrate="web", set={"task": {"env": {"MODE": "new"}}})
        await told.start()
        await told.until(lambda: job(told).version == 2)
    async with works(agent, store=store, instance="next") as told:
        await told.until(lambda: told.open() == ["do"])
        # Somebody changes it on: then the attempt's own change is overtaken, and not made once more.
        accepted = await told.controller.registry.put(a_manifest(scale=1, env={"MODE": "other"}))
        header = await told.ended()
        assert f"superseded by {accepted.change}" in header.reason
        assert (job(told).version, job(told).spec.task.env) == (3, {"MODE": "other"})


async def test_a_run_that_is_cancelled_leaves_what_was_accepted_as_it_is() -> None:
    agent = FakeAgent("a1")
    async with works(agent) as told:
        await told.controller.registry.put(a_manifest(scale=1))
        await settled(told.controller)
        agent.makes_ready = False
        await declare(told, migrate="web", set={"task": {"env": {"MODE": "new"}}})
        await told.start()
        await told.until(lambda: job(told).version == 2)
        await told.cancel()
        assert (await told.ended()).status is Status.CANCELLED
        assert job(told).spec.task.env == {"MODE": "new"}


@pytest.mark.parametrize(
    ("order", "because"),
    [
        ({"migrate": "api", "set": {}}, "there is no job api in namespace default to be migrated"),
        ({"scale": "web", "to": "${inputs.version}"}, "job.to: it came to no whole number"),
        ({"migrate": "web", "set": {"scale": "${inputs.version}"}}, "job.set.scale: expected a whole number"),
        ({"promote": "web"}, "job web has no rollout under way that could be promoted"),
        ({"undo": "${inputs.version + '!'}"}, "job.undo is 1 to 63"),
    ],
)
async def test_what_cannot_be_done_fails_the_attempt_and_says_why(order, because) -> None:
    async with works(FakeAgent("a1")) as told:
        await told.controller.registry.put(a_manifest(scale=1))
        await declare(told, **order)
        await told.start()
        header = await told.ended()
        assert (header.status, because in header.reason) == (Status.FAILED, True), header.reason


async def test_what_is_accepted_need_not_be_waited_for() -> None:
    agent = FakeAgent("a1", makes_ready=False)
    async with works(agent) as told:
        await declare(told, schedule="web", spec=SPEC, until="accepted")
        await told.start()
        assert (await told.ended()).status is Status.SUCCEEDED
        assert not told.controller.registry.status("default", "web").is_done
