"""Namespaces with quotas, kept to by several registries on one store, whatever comes at once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from harpoon.control.bulk import apply_each
from harpoon.control.planning import plan_documents
from harpoon.control.quotas import shown
from harpoon.control.registry import Accepted, Registry
from harpoon.control.view import JOBS, QUOTAS, View
from harpoon.core.quota import add, over, use_of
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, Exceeded, HarpoonError, Invalid, NotFound, Unavailable
from harpoon.model.job import Job, Metadata, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.namespace import NamespaceManifest, NamespaceMetadata, NamespaceSpec, Quota, Use
from harpoon.model.shown import Outcome
from harpoon.model.template import Resources, TaskTemplate
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete, Put
from tests.builders import MIB


def a_namespace(name: str = "shop", **limits: Any) -> NamespaceManifest:
    return NamespaceManifest(
        apiVersion="harpoon/v1",
        kind="Namespace",
        metadata=NamespaceMetadata(name=name),
        spec=NamespaceSpec(quota=Quota(**limits)),
    )


def a_manifest(
    name: str = "web", *, namespace: str = "shop", scale: int = 1, cpu: int = 0, memory: int = 0, mode: str = ""
) -> Manifest:
    resources = Resources(cpu=cpu, memory=memory)
    template = TaskTemplate(command=("serve",), env={"MODE": mode}, resources=resources)
    metadata = Metadata(name=name, namespace=namespace)
    return Manifest(apiVersion="harpoon/v1", kind="Job", metadata=metadata, spec=Spec(scale=scale, task=template))


@asynccontextmanager
async def registries(store: MemoryStore, count: int = 1) -> AsyncIterator[list[Registry]]:
    """Registries of as many instances, each with a view of its own."""
    async with asyncio.TaskGroup() as group:
        found, tasks = [], []
        for _ in range(count):
            view = View(store, incarnation=1, cluster="c1")
            await view.mirror.load()
            tasks.append(group.create_task(view.mirror.run()))
            found.append(Registry(store, view, SystemClock()))
        yield found
        for task in tasks:
            task.cancel()


async def used(store: MemoryStore, namespace: str = "shop") -> Use:
    """What the jobs in the store take, counted anew."""
    total = Use()
    async for page in store.list(f"{JOBS}{namespace}/"):
        for entry in page.entries:
            total = add(total, use_of(codec.load(Job, entry.value)))
    return total


async def test_a_namespace_that_is_not_declared_takes_everything() -> None:
    async with registries(MemoryStore()) as [registry]:
        accepted = await registry.put(a_manifest(scale=10_000, cpu=10**6))
        assert accepted.outcome is Outcome.CREATED
        assert registry.quotas.excesses(()) == ()


async def test_a_job_beyond_the_quota_is_refused_with_the_field_both_values_and_the_fix() -> None:
    async with registries(MemoryStore()) as [registry]:
        await registry.quotas.declare(a_namespace(memory=16 * 1024 * MIB))
        await registry.put(a_manifest("db", memory=4 * 1024 * MIB))
        with pytest.raises(Exceeded) as error:
            await registry.put(a_manifest(scale=18, memory=1024 * MIB))
        assert str(error.value) == (
            "quota of namespace shop: memory 22Gi of 16Gi (now 4Gi); lower scale to 12 or raise the quota"
        )
        [found] = error.value.excesses
        assert (found.field, found.used, found.wanted, found.limit) == ("memory", "4Gi", "22Gi", "16Gi")
        assert (await registry.put(a_manifest(scale=12, memory=1024 * MIB))).outcome is Outcome.CREATED


async def test_scaling_rolling_back_and_declaring_again_are_held_to_the_quota() -> None:
    async with registries(MemoryStore()) as [registry]:
        await registry.put(a_manifest(scale=5))
        await registry.put(a_manifest(scale=2))
        await registry.quotas.declare(a_namespace(tasks=3, jobs=1))
        with pytest.raises(Exceeded, match=r"tasks 4 of 3 \(now 2\); lower scale to 3 or raise"):
            await registry.scale("shop", "web", 4)
        with pytest.raises(Exceeded, match="tasks 5 of 3"):
            await registry.rollback("shop", "web", 1)
        with pytest.raises(Exceeded, match=r"jobs 2 of 1 .*; unschedule a job or raise"):
            await registry.put(a_manifest("other", scale=0))
        await registry.delete("shop", "web")
        await registry.put(a_manifest("other", scale=3))
        with pytest.raises(Exceeded, match="tasks 6 of 3"):
            await registry.apply([a_manifest(scale=3)])


async def test_a_quota_lowered_below_what_is_used_stops_nothing_and_takes_nothing_more() -> None:
    async with registries(MemoryStore()) as [registry]:
        view = registry._view
        await registry.put(a_manifest(scale=5, cpu=100))
        await registry.quotas.declare(a_namespace(tasks=3, cpu=1000))
        assert shown(view, "shop").status.over == ("tasks 5 of 3",)
        with pytest.raises(Exceeded, match="scale another job down"):
            await registry.put(a_manifest("other", scale=1))
        assert (await registry.put(a_manifest(scale=5, cpu=100, mode="new"))).outcome is Outcome.CHANGED
        assert (await registry.scale("shop", "web", 4)).outcome is Outcome.CHANGED
        assert view.used("shop") == Use(cpu=400, tasks=4, jobs=1)
        await registry.scale("shop", "web", 2)
        assert shown(view, "shop").status.over == ()


async def test_documents_together_are_all_taken_or_none_and_apart_each_is_told_its_own() -> None:
    async with registries(MemoryStore()) as [registry]:
        await registry.quotas.declare(a_namespace(tasks=5))
        manifests = [a_manifest(f"j{number}", scale=2) for number in range(4)]
        with pytest.raises(Exceeded, match=r"tasks 8 of 5 .*; declare less or raise"):
            await registry.apply(manifests)
        assert not registry._view.jobs.rows
        results = await apply_each(registry, manifests)
        assert [type(one) for one in results] == [Accepted, Accepted, Exceeded, Exceeded]


async def test_a_job_that_makes_room_in_the_same_commit_lets_another_in() -> None:
    async with registries(MemoryStore()) as [registry]:
        await registry.quotas.declare(a_namespace(tasks=4))
        await registry.put(a_manifest("a", scale=4))
        await registry.apply([a_manifest("a", scale=1), a_manifest("b", scale=3)])
        assert registry._view.used("shop").tasks == 4


async def test_two_instances_at_once_do_not_both_slip_under_a_limit() -> None:
    store = MemoryStore()
    async with registries(store, 2) as [first, second]:
        await first.quotas.declare(a_namespace(tasks=10))
        await second._view.mirror.reached(await store.revision())
        done = await asyncio.gather(
            *(
                one.put(a_manifest(f"{name}{number}", scale=3))
                for number in range(4)
                for name, one in (("a", first), ("b", second))
            ),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in done) == ["Accepted"] * 3 + ["Exceeded"] * 5
        assert (await used(store)).tasks == 9


async def test_a_job_that_is_declared_while_the_quota_is_keeps_to_it_or_came_first() -> None:
    store = MemoryStore()
    async with registries(store, 2) as [first, second]:
        for turn in range(20):
            name = f"n{turn}"
            await asyncio.gather(
                first.quotas.declare(a_namespace(name, tasks=1)),
                second.put(a_manifest(namespace=name, scale=5)),
                return_exceptions=True,
            )
            quota = await store.get(f"{QUOTAS}{name}")
            job = await store.get(f"{JOBS}{name}/web")
            assert quota is not None
            assert job is None or job.mod_revision < quota.mod_revision


async def test_room_that_another_instance_has_just_made_is_not_refused() -> None:
    store = MemoryStore()
    async with registries(store) as [first], asyncio.TaskGroup() as group:
        await first.quotas.declare(a_namespace(tasks=2))
        await first.put(a_manifest("a", scale=2))
        view = View(store, incarnation=1, cluster="c1")
        await view.mirror.load()
        await first.delete("shop", "a")
        asked = group.create_task(Registry(store, view, SystemClock()).put(a_manifest("b", scale=2)))
        await asyncio.sleep(0.01)
        assert not asked.done()
        assert view.used("shop").tasks == 2, "else this shows nothing"
        following = group.create_task(view.mirror.run())
        assert (await asked).outcome is Outcome.CREATED
        following.cancel()


async def test_what_makes_nothing_more_leaves_the_record_of_its_namespace_alone() -> None:
    store = MemoryStore()
    async with registries(store) as [registry]:
        await registry.quotas.declare(a_namespace(tasks=5))
        await registry.put(a_manifest(scale=3))
        before = await store.get(f"{QUOTAS}shop")
        await registry.put(a_manifest(scale=3, mode="new"))
        await registry.scale("shop", "web", 1)
        await registry.delete("shop", "web")
        assert await store.get(f"{QUOTAS}shop") == before
        await registry.quotas.declare(a_namespace("free"))
        free = await store.get(f"{QUOTAS}free")
        await registry.put(a_manifest(namespace="free"))
        assert await store.get(f"{QUOTAS}free") == free, "where nothing is limited nobody has to wait"


async def test_forty_documents_of_as_many_limited_namespaces_are_too_many_for_one_commit() -> None:
    async with registries(MemoryStore()) as [registry]:
        for number in range(40):
            await registry.quotas.declare(a_namespace(f"n{number}", tasks=5))
        manifests = [a_manifest(namespace=f"n{number}") for number in range(40)]
        with pytest.raises(Invalid, match="too many namespaces with quotas"):
            await registry.apply(manifests)
        assert len(await registry.apply(manifests[:20])) == 20


async def test_declaring_a_namespace_again_changes_nothing_and_a_new_quota_changes_it() -> None:
    async with registries(MemoryStore()) as [registry]:
        revision, outcome = await registry.quotas.declare(a_namespace(tasks=5))
        assert outcome is Outcome.CREATED
        await registry.put(a_manifest(scale=3))
        again, outcome = await registry.quotas.declare(a_namespace(tasks=5))
        assert outcome is Outcome.UNCHANGED
        assert again > revision, "the job has sealed it"
        _, outcome = await registry.quotas.declare(a_namespace(tasks=4), is_dry=True)
        assert outcome is Outcome.CHANGED
        assert registry._view.quotas.rows["shop"].value.quota.tasks == 5
        _, outcome = await registry.quotas.declare(a_namespace(tasks=4))
        assert outcome is Outcome.CHANGED


async def test_a_namespace_is_deleted_once_it_has_no_jobs() -> None:
    async with registries(MemoryStore()) as [registry]:
        with pytest.raises(NotFound, match="namespace shop is not declared"):
            await registry.quotas.delete("shop")
        await registry.quotas.declare(a_namespace(tasks=5))
        await registry.put(a_manifest())
        with pytest.raises(
            Conflict, match=r"has 1 job \(web\): unschedule first what is there; to lift its limits only"
        ):
            await registry.quotas.delete("shop")
        await registry._store.commit((), [Delete(f"{JOBS}shop/web")])
        await registry._view.mirror.reached(await registry._store.revision())
        await registry.quotas.delete("shop")
        assert registry._view.namespaces() == []


async def test_a_record_that_a_later_release_wrote_lets_no_job_in() -> None:
    store = MemoryStore()
    async with registries(store) as [registry]:
        revision = await store.commit((), [Put(f"{QUOTAS}shop", b'{"name": 5}')])
        assert revision is not None
        await registry._view.mirror.reached(revision)
        with pytest.raises(Unavailable, match="record of namespace shop cannot be read"):
            await registry.put(a_manifest())


async def test_a_plan_says_what_the_quota_would_refuse() -> None:
    async with registries(MemoryStore()) as [registry]:
        await registry.quotas.declare(a_namespace(tasks=2))
        now = SystemClock().now()
        told = await plan_documents(registry._view, registry, [a_manifest(scale=3)], None, now)
        assert told.refusal == "quota of namespace shop: tasks 3 of 2 (now 0); lower scale to 2 or raise the quota"
        assert (await plan_documents(registry._view, registry, [a_manifest(scale=2)], None, now)).refusal is None


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_two_instances_take_at_once_is_never_beyond_the_quota(seed: int) -> None:
    rng, store = random.Random(seed), MemoryStore()
    limits = {"tasks": rng.randint(3, 12), "cpu": rng.randint(500, 3000), "jobs": rng.randint(2, 5)}
    quota = Quota(**limits)

    def draw() -> Manifest:
        return a_manifest(f"j{rng.randrange(6)}", scale=rng.randint(0, 6), cpu=rng.choice((0, 100, 300)))

    async def act(registry: Registry) -> bool:
        name = f"j{rng.randrange(6)}"
        await asyncio.sleep(0)
        match rng.randrange(6):
            case 0 | 1:
                await registry.put(draw())
            case 2:
                await registry.scale("shop", name, rng.randint(0, 8))
            case 3:
                await registry.delete("shop", name)
            case 4:
                drawn = {one.metadata.name: one for one in (draw() for _ in range(3))}
                await registry.apply(list(drawn.values()))
            case _:
                await registry.rollback("shop", name, None)
        return True

    async def actor(registry: Registry) -> int:
        done = 0
        for _ in range(12):
            try:
                done += await act(registry)
            except HarpoonError:
                continue
            assert over(quota, await used(store)) == ()
        return done

    async with registries(store, 2) as both:
        await both[0].quotas.declare(a_namespace(**limits))
        await both[1]._view.mirror.reached(await store.revision())
        done = await asyncio.gather(*(actor(one) for one in (*both, *both)))
        assert over(quota, await used(store)) == ()
        for one in both:
            await one._view.mirror.reached(await store.revision())
            assert one._view.used("shop") == await used(store), "what is kept in step is what counting anew finds"
    assert any(done)


async def test_a_job_record_that_is_written_twice_counts_once() -> None:
    store = MemoryStore()
    async with registries(store) as [registry]:
        accepted = await registry.put(a_manifest(scale=2))
        renewed = replace(accepted.job, updated_ms=accepted.job.updated_ms + 1)
        revision = await store.commit((), [Put(f"{JOBS}shop/web", codec.dump(renewed))])
        assert revision is not None
        await registry._view.mirror.reached(revision)
        assert registry._view.used("shop") == Use(tasks=2, jobs=1)
