"""Operations that have a task run on an agent, with the real loops: run once, told, stopped, carried on and swept."""

import asyncio
from dataclasses import replace

from harpoon.control.attempt_jobs import Once, job_name, owner_of
from harpoon.control.connector_port import Order
from harpoon.control.records import manifest_of
from harpoon.core.visit import Ref
from harpoon.kit import codec
from harpoon.model.command import StartTask
from harpoon.model.instance import Holder
from harpoon.model.namespace import NamespaceManifest, NamespaceMetadata, NamespaceSpec, Quota
from harpoon.model.operation import Operation
from harpoon.model.owner import RunOwner
from harpoon.model.run import Status
from harpoon.model.why import ReasonCode
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put
from tests.control.ordering import works
from tests.control.test_batches import a_batch
from tests.fakes import FakeAgent

MIGRATE = {
    "task": {
        "task": {"command": ["migrate", "--to", "${inputs.version}"], "env": {"N": "${string(inputs.n)}"}},
        "placement": {"require": [{"tag": "name", "equals": "a1"}]},
    }
}
INPUTS = {"version": {"type": "string"}, "n": {"type": "integer", "default": 1}}


def starts(*agents):
    return [one for agent in agents for one in agent.obeyed if isinstance(one, StartTask)]


async def last_lines(_endpoint, _task):
    return ("applied 3", "done")


async def declared(told, **op):
    await told.declare(operations={"migrate": {**MIGRATE, **op}}, inputs=INPUTS)


async def test_a_task_runs_once_with_what_its_expressions_came_to_and_tells_how_it_ended() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with works(a1, a2, last_lines=last_lines) as told:
        await told.declare(operations={"migrate": MIGRATE}, inputs=INPUTS, outputs={"came": "${ops.migrate.output}"})
        await told.start(version="v7", n=3)
        task = await told.task("migrate-")
        [start] = starts(a1, a2)
        assert start.template.command == ("migrate", "--to", "v7")
        assert (start.template.env["N"], task in a1.tasks) == ("3", True)
        [name] = told.jobs()
        job = told.controller.view.jobs.rows[f"default/{name}"].value
        assert job.run_owner == RunOwner(run="r-1", op="migrate", visit=1, attempt=1)
        assert job_name(job.run_owner) == name
        assert job.tags == {"run": "r-1", "operation": "migrate"}
        told.end(task)
        header = await told.ended()
        assert header.status is Status.SUCCEEDED
        assert header.outputs == {
            "came": {"job": name, "task": task, "agent": "a1", "exit_code": 0, "lines": ["applied 3", "done"]}
        }
        # It is kept for its logs; that it was ordered need not be.
        await told.until(lambda: not told.controller.view.orders.rows)
        assert told.jobs() == [name]


async def test_a_task_that_fails_fails_the_attempt_and_a_retry_is_another_job() -> None:
    agent = FakeAgent("a1")
    async with works(agent, last_lines=last_lines) as told:
        retry = {"retry": {"fail": {"attempts": 2}, "backoff": {"initial": "10ms"}}}
        clean = {"wait": {"signal": "go"}}
        outputs = {"label": "${ops.migrate.label}", "code": "${ops.migrate.output.exit_code}"}
        operations = {"migrate": {**MIGRATE, **retry, "next": {"fail": "clean"}}, "clean": clean}
        await told.declare(operations=operations, inputs=INPUTS, outputs=outputs)
        await told.start(version="v7")
        first = await told.task()
        told.end(first, 3)
        await told.until(lambda: len(told.jobs()) == 2)
        second = await told.task()
        assert first.split(".")[1] != second.split(".")[1]
        told.end(second, 4)
        await told.until(lambda: told.open() == ["clean"])
        await told.signal("go", "done")
        assert (await told.ended()).outputs == {"label": "fail", "code": 4}


async def test_a_task_whose_attempt_takes_too_long_is_stopped_and_its_job_taken_away() -> None:
    agent = FakeAgent("a1")
    async with works(agent) as told:
        await declared(told, timeout="100ms")
        await told.start(version="v7")
        await told.task()
        header = await told.ended()
        assert header.status is Status.FAILED
        assert "it took longer than 100ms" in header.reason
        await told.until(lambda: not told.jobs() and not told.live())


async def test_a_run_that_is_cancelled_takes_its_task_with_it() -> None:
    agent = FakeAgent("a1")
    async with works(agent) as told:
        await declared(told)
        await told.start(version="v7")
        await told.task()
        await told.cancel()
        assert (await told.ended()).status is Status.CANCELLED
        await told.until(lambda: not told.jobs() and not told.live())


async def test_who_conducts_the_run_next_waits_for_the_same_task() -> None:
    store, agent = MemoryStore(), FakeAgent("a1")
    async with works(agent, store=store) as told:
        await declared(told)
        await told.start(version="v7")
        task = await told.task()
    async with works(agent, store=store, instance="next") as told:
        await told.until(lambda: told.controller.runs.conductor_of("default/r-1"))
        assert told.live() == [task]
        told.end(task)
        assert (await told.ended()).status is Status.SUCCEEDED
        assert len(starts(agent)) == 1


async def test_a_task_that_ended_while_nobody_conducted_its_run_is_told_all_the_same() -> None:
    store, agent = MemoryStore(), FakeAgent("a1")
    async with works(agent, store=store) as told:
        await declared(told)
        await told.start(version="v7")
        task = await told.task()
    told.end(task, 0)
    async with works(agent, store=store, instance="next") as told:
        assert (await told.ended()).status is Status.SUCCEEDED
        assert len(starts(agent)) == 1


async def test_a_job_that_somebody_took_away_fails_the_attempt_and_is_not_made_again() -> None:
    store, agent = MemoryStore(), FakeAgent("a1")
    async with works(agent, store=store) as told:
        await declared(told)
        await told.start(version="v7")
        await told.task()
        [name] = told.jobs()
    async with works(agent, store=store, instance="next") as told:
        await told.controller.registry.delete("default", name)
        header = await told.ended()
        assert header.status is Status.FAILED
        assert f"job {name} was unscheduled before its task had ended" in header.reason
        assert len(starts(agent)) == 1


async def test_who_has_lost_the_shard_without_knowing_it_starts_nothing() -> None:
    store = MemoryStore()
    async with works(FakeAgent("a1"), store=store) as told:
        controller = told.controller
        await told.until(lambda: controller.runs.conductor_of("default/r-1"))
        conductor = controller.runs.conductor_of("default/r-1")
        order = Order("default", "r-1", "w", Ref("migrate", 1, 1), Operation(worker="w"), {}, "k", 0, is_resumed=False)
        tried = asyncio.Event()

        async def make(extra):
            if not tried.is_set():
                # As another takes the shard while this one stands still.
                holder = codec.dump(Holder(instance="other"))
                await store.commit((), [Put(conductor.ledger.hold.key, holder)])
                tried.set()
            return await controller.registry.make(a_batch("migrate-1"), owner_of(order), extra=extra)

        once = Once(controller.registry, controller.view, store, controller.runs)
        trying = asyncio.ensure_future(once(order, "migrate-1", make))
        await tried.wait()
        await told.until(lambda: controller.runs.conductor_of("default/r-1") is None)
        assert (told.jobs(), trying.done()) == ([], False)
        trying.cancel()


async def test_a_task_of_a_run_that_ended_while_nobody_saw_to_it_is_swept_by_who_comes_next() -> None:
    store, agent = MemoryStore(), FakeAgent("a1")
    async with works(agent, store=store) as told:
        await declared(told)
        await told.start(version="v7")
        await told.task()
    async with works(agent, store=store, instance="dying", has_crew=False) as told:
        await told.until(lambda: told.open() == ["migrate"])
        await told.cancel()
        await told.ended()
        assert told.live()
    async with works(agent, store=store, instance="next") as told:
        await told.until(lambda: not (told.jobs() or told.live() or told.controller.view.orders.rows))


async def test_a_task_that_its_namespace_has_no_room_for_is_tried_again_as_retry_says() -> None:
    agent = FakeAgent("a1")
    async with works(agent) as told:
        quotas = told.controller.registry.quotas
        metadata = NamespaceMetadata(name="default")
        none = NamespaceManifest(
            apiVersion="harpoon/v1",
            kind="Namespace",
            metadata=metadata,
            spec=NamespaceSpec(quota=Quota(tasks=0)),
        )
        await quotas.declare(none)
        await declared(told, retry={"fail": {"attempts": 100}, "backoff": {"initial": "10ms"}})
        await told.start(version="v7")
        run = told.controller.runs.conductor_of("default/r-1").runs["default/r-1"].run
        await told.until(lambda: run.open["migrate", 1].ref.attempt > 2)
        assert "tasks" in run.open["migrate", 1].last_error
        await quotas.declare(replace(none, spec=NamespaceSpec(quota=Quota(tasks=1))))
        told.end(await told.task())
        assert (await told.ended()).status is Status.SUCCEEDED


async def test_what_a_crash_left_of_an_attempt_that_is_over_is_swept() -> None:
    store, agent = MemoryStore(), FakeAgent("a1")
    async with works(agent, store=store) as told:
        await declared(told)
        await told.start(version="v7")
        task = await told.task()
        [name] = told.jobs()
        job = told.controller.view.jobs.rows[f"default/{name}"].value
        # As a crash leaves it between the end of an attempt and its task's.
        owner = RunOwner(run="r-1", op="migrate", visit=1, attempt=9)
        manifest = manifest_of(replace(job, name=job_name(owner)), job.spec)
        order = Order("default", "r-1", "w", Ref("migrate", 1, 9), Operation(worker="w"), {}, "k", 0, is_resumed=False)
        controller = told.controller
        once = Once(controller.registry, controller.view, store, controller.runs)
        await once(order, job_name(owner), lambda extra: controller.registry.make(manifest, owner, extra=extra))
        await told.until(lambda: told.jobs() == [name])
        assert told.live() == [task]


async def test_why_tells_what_a_task_waits_for_that_is_not_placed() -> None:
    async with works(FakeAgent("a2")) as told:
        await declared(told)
        await told.start(version="v7")
        await told.until(lambda: told.jobs())
        [name] = told.jobs()
        waits = told.controller.registry
        await told.until(lambda: "none of 1 agents" in str(waits.status("default", name).waiting))
        [cause] = (await told.why()).causes
        assert (cause.code, cause.evidence["job"], cause.evidence["found"]) == (ReasonCode.JOB, name, "pending")
        assert cause.sentence.startswith(f"migrate (visit 1) waits for its task, job {name}: ")
        assert "none of 1 agents" in cause.sentence
        await told.controller.registry.delete("default", name)
        await told.ended()


async def test_what_its_expressions_come_to_is_checked_and_what_is_wrong_named() -> None:
    async with works(FakeAgent("a1")) as told:
        bad = {"task": {"task": {"command": ["x"], "env": {"N": "${inputs.n}"}, "user": "${inputs.version}"}}}
        await told.declare(operations={"migrate": bad}, inputs=INPUTS)
        await told.start(version="no user!", n=2)
        header = await told.ended()
        assert header.status is Status.FAILED
        assert "task.task.env.N: expected text" in header.reason
        assert told.jobs() == []


async def test_a_task_is_run_for_each_item_so_many_at_once() -> None:
    agent = FakeAgent("a1")
    async with works(agent) as told:
        each = {
            "task": {"task": {"command": ["convert", "${item}"], "env": {"N": "${string(index)}"}}},
            "foreach": {"items": "${inputs.files}", "max": 5, "parallel": 2},
        }
        outputs = {"codes": "${ops.each.output.map(one, one.exit_code)}"}
        await told.declare(operations={"each": each}, inputs={"files": {"type": "array"}}, outputs=outputs)
        await told.start(files=["a", "b", "c"])
        for _ in range(3):
            await told.until(lambda: told.live())
            assert len(told.live()) <= 2
            told.end(told.live()[0])
        assert (await told.ended()).outputs == {"codes": [0, 0, 0]}
        commands = [(one.template.command[1], one.template.env["N"]) for one in starts(agent)]
        assert sorted(commands) == [("a", "0"), ("b", "1"), ("c", "2")]
        assert {one.rpartition("-")[0] for one in told.jobs()} == {"each"}
