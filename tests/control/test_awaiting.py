"""Jobs that wait for runs of workflows, through the shipped loops: how these stand is looked up, and never polled."""

from dataclasses import replace

from harpoon.control.explaining import explain_job
from harpoon.control.ledger_records import GONE, RUNS, prefix_of, shard_of
from harpoon.control.planning import plan_documents
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.model.dependency import Dependency
from harpoon.model.header import Header
from harpoon.model.job import Metadata, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.run import Status
from harpoon.model.status import JobState
from harpoon.model.template import TaskTemplate
from harpoon.model.tombstone import Tombstone
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete, Put
from tests.control.test_controller import House, settled, until
from tests.fakes import FakeAgent

KEY = "default/m-42"
HEADER = Header(
    namespace="default", run="m-42", workflow="migrate", generation="g1", body_hash="h", created_ms=1, deadline_ms=9
)


def web(*runs, name="web"):
    spec = Spec(task=TaskTemplate(command=("serve",)), depends_on=tuple(Dependency(run=one) for one in runs))
    return Manifest(apiVersion="harpoon/v1", kind="Job", metadata=Metadata(name=name), spec=spec)


async def put(store, *, key=KEY, **told):
    run = key.partition("/")[2]
    record = codec.dump(replace(HEADER, run=run, **told))
    await store.commit((), [Put(f"{prefix_of(RUNS, shard_of(key))}{key}", record)])


def waiting(controller, name="web"):
    return controller.registry.status("default", name).waiting


async def why(controller, name="web"):
    row = controller.view.jobs.rows[f"default/{name}"]
    return await explain_job(controller.view, row, controller.bookings(), SystemClock().now())


async def test_a_job_waits_for_a_run_through_all_that_becomes_of_it_and_says_so() -> None:
    agent, store = FakeAgent("a1"), MemoryStore()
    async with House(store, (agent,)).running() as controller:
        await controller.registry.put(web("m-42"))

        def says(found):
            told = f"1 of 1 wanted slots wait for run m-42 to have succeeded (found {found})"
            return lambda: waiting(controller) == (told,)

        await until(controller, says("there is no such run"))
        assert controller.registry.status("default", "web").state is JobState.WAITING
        await put(store)
        await until(controller, says("running"))
        assert (await why(controller)).slots[0].fix is None
        await put(store, status=Status.FAILED, reason="create failed: no disk", ended_ms=5)
        await until(controller, says("failed: create failed: no disk"))
        assert not agent.tasks
        # As when it is repaired.
        await put(store, status=Status.SUCCEEDED, ended_ms=7)
        await settled(controller)
        assert len(agent.tasks) == 1


async def test_why_names_the_run_with_evidence_and_a_way_out() -> None:
    store = MemoryStore()
    async with House(store, (FakeAgent("a1"),)).running() as controller:
        await put(store, status=Status.TIMED_OUT, reason="its deadline passed", ended_ms=5)
        await controller.registry.put(web("m-42"))
        await until(controller, lambda: "timed_out" in "".join(waiting(controller)))
        told = await why(controller)
        [slots] = told.slots
        assert (slots.evidence["jobs"], slots.evidence["found"]) == (
            ("run/m-42",),
            ("timed_out: its deadline passed",),
        )
        assert slots.fix is not None
        again = "harpoon run start migrate --id ANOTHER-ID, and name that in depends_on"
        assert slots.fix.steps == (f"harpoon run retry m-42 --from OPERATION; or {again}",)
        [cause] = [one for one in told.causes if one.evidence.get("run")]
        assert cause.sentence == "run m-42 has not succeeded: timed_out: its deadline passed"
        [dependency] = told.dependencies
        assert (dependency.run, dependency.job, dependency.is_met) == ("m-42", "", False)


async def test_a_plan_looks_up_a_run_that_nothing_has_waited_for_and_writes_nothing() -> None:
    store = MemoryStore()
    async with House(store, (FakeAgent("a1"),)).running() as controller:
        await put(store, status=Status.SUCCEEDED, ended_ms=5)
        before = await store.revision()

        async def plan(*runs):
            known, now = controller.bookings(), SystemClock().now()
            return (await plan_documents(controller.view, controller.registry, [web(*runs)], known, now)).plans[0]

        assert len((await plan("m-42")).placements) == 1
        held = (await plan("m-42", "m-43")).pending
        assert held is not None and held.blockers[0].found == "there is no such run"
        assert await store.revision() == before


async def test_what_succeeded_once_did_whatever_becomes_of_the_run_and_is_forgotten_with_the_last_job() -> None:
    store, key = MemoryStore(), f"{prefix_of(RUNS, shard_of(KEY))}{KEY}"
    async with House(store, (FakeAgent("a1"),)).running() as controller:
        await put(store, status=Status.SUCCEEDED, ended_ms=5)
        await controller.registry.put(web("m-42"))
        await settled(controller)
        await store.commit((), [Delete(key)])
        await controller.registry.put(web("m-42", name="api"))
        await settled(controller, "api")
        await controller.registry.delete("default", "web")
        await until(controller, lambda: "default/web" not in controller.view.jobs.rows)
        assert KEY in controller.view.awaited.rows
        await controller.registry.delete("default", "api")
        await until(controller, lambda: not controller.view.awaited.rows)


async def test_a_run_that_is_not_kept_any_more_counts_by_what_is_left_of_it() -> None:
    store = MemoryStore()
    gone = Tombstone(body_hash="h", status=Status.SUCCEEDED, purged_ms=5)
    await store.commit((), [Put(f"{prefix_of(GONE, shard_of(KEY))}{KEY}", codec.dump(gone))])
    async with House(store, (FakeAgent("a1"),)).running() as controller:
        await controller.registry.put(web("m-42"))
        await settled(controller)


async def test_other_runs_of_the_shard_have_nothing_written_and_the_next_who_schedules_goes_on() -> None:
    store = MemoryStore()
    near = next(run for number in range(10_000) if shard_of(run := f"default/n-{number}") == shard_of(KEY))
    async with House(store, (FakeAgent("a1"),)).running() as controller:
        await controller.registry.put(web("m-42"))
        await until(controller, lambda: bool(waiting(controller)))
        await put(store, key=near, status=Status.SUCCEEDED)
        await put(store)
        await until(controller, lambda: controller.view.awaited.rows[KEY].value.status is Status.RUNNING)
        assert list(controller.view.awaited.rows) == [KEY]
    await put(store, status=Status.SUCCEEDED, ended_ms=5)
    async with House(store, (FakeAgent("a1"),), instance="next").running() as controller:
        await settled(controller)


async def test_an_unreadable_header_holds_the_job_back_and_breaks_nothing() -> None:
    store = MemoryStore()
    await store.commit((), [Put(f"{prefix_of(RUNS, shard_of(KEY))}{KEY}", b"{")])
    async with House(store, (FakeAgent("a1"),)).running() as controller:
        await controller.registry.put(web("m-42"))
        await controller.registry.put(web(name="api"))
        await settled(controller, "api")
        assert "it is being looked up" in waiting(controller)[0]
