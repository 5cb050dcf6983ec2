"""What is foretold against what comes: the real loops with agents that behave, after the very same manifests."""

import pytest

from harpoon.control.controller import Controller
from harpoon.control.planning import plan_documents
from harpoon.kit.clock import SystemClock
from harpoon.model.agent import LinkState
from harpoon.model.job import Metadata, Spec, Update
from harpoon.model.manifest import Manifest
from harpoon.model.plan import Plan
from harpoon.model.rules import Distinct, PlacementRules
from harpoon.model.template import Resources, TaskTemplate
from harpoon.store.memory import MemoryStore
from tests.control.test_controller import House, settled, until
from tests.fakes import FakeAgent


def a_manifest(name: str = "web", *, scale: int = 3, env: str = "", cpu: int = 0, **spec: object) -> Manifest:
    template = TaskTemplate(command=("serve",), env={"MODE": env} if env else {}, resources=Resources(cpu=cpu))
    return Manifest(
        apiVersion="harpoon/v1",
        kind="Job",
        metadata=Metadata(name=name),
        spec=Spec(scale=scale, task=template, **spec),
    )


async def planned(controller: Controller, *manifests: Manifest) -> Plan:
    links = controller.view.links.rows
    await until(
        controller,
        lambda: (
            len(links) == len(controller.view.agents.rows)
            and all(row.value.state is LinkState.CONNECTED for row in links.values())
        ),
    )
    before = controller.view.revision
    plan = await plan_documents(
        controller.view, controller.registry, manifests, controller.bookings(), SystemClock().now()
    )
    assert controller.view.revision == before
    return plan


async def came(controller: Controller, after: int) -> dict[str, list[tuple[int, str]]]:
    """The slots placed after a revision and where, in order, by job."""
    placed: dict[str, list[tuple[int, str]]] = {}
    for _, changes in controller.view.mirror.since(after) or ():
        for change in changes:
            if change.table is controller.view.placements and change.old is None:
                row = change.new.value
                placed.setdefault(row.job, []).append((row.slot, row.agent))
    return placed


def told(plan: Plan) -> dict[str, list[tuple[int, str]]]:
    return {one.job: [(p.slot, p.agent) for p in one.placements] for one in plan.plans if one.placements}


def house(count: int = 3) -> House:
    return House(MemoryStore(), tuple(FakeAgent(f"a{number}") for number in range(1, count + 1)))


async def test_a_new_job_goes_where_the_plan_said() -> None:
    async with house().running() as controller:
        manifest = a_manifest(scale=7, cpu=500)
        plan, after = await planned(controller, manifest), controller.view.revision
        await controller.registry.put(manifest)
        await settled(controller)
        assert await came(controller, after) == told(plan)


@pytest.mark.parametrize("update", [Update(), Update(surge=2), Update(surge=0, unavailable=2)])
async def test_a_migrate_takes_the_slots_in_the_order_and_to_the_agents_the_plan_said(update: Update) -> None:
    async with house().running() as controller:
        await controller.registry.put(a_manifest(scale=5, cpu=500, update=update))
        await settled(controller)
        manifest = a_manifest(scale=5, cpu=600, env="new", update=update)
        plan, after = await planned(controller, manifest), controller.view.revision
        await controller.registry.put(manifest)
        await settled(controller)
        assert await came(controller, after) == told(plan)
        assert plan.plans[0].is_whole


async def test_scaling_up_and_down_touches_what_the_plan_said() -> None:
    async with house().running() as controller:
        await controller.registry.put(a_manifest(scale=2, cpu=500))
        await settled(controller)
        larger = a_manifest(scale=4, cpu=500)
        plan, after = await planned(controller, larger), controller.view.revision
        await controller.registry.put(larger)
        await settled(controller)
        assert await came(controller, after) == told(plan)
        smaller = a_manifest(scale=1, cpu=500)
        (plan_down,) = (await planned(controller, smaller)).plans
        before = set(controller.view.placements_of("default/web"))
        await controller.registry.put(smaller)
        await settled(controller)
        assert before - set(controller.view.placements_of("default/web")) == {drop.task for drop in plan_down.drops}


async def test_what_the_plan_left_pending_stays_pending() -> None:
    async with house().running() as controller:
        manifest = a_manifest(scale=5, placement=PlacementRules(distinct=Distinct.AGENT))
        (plan,) = (await planned(controller, manifest)).plans
        await controller.registry.put(manifest)
        await until(controller, lambda: "default/web" in controller.view.pending.rows)
        pending = controller.view.pending.rows["default/web"].value
        assert plan.pending is not None
        assert plan.pending.slots == pending.slots == (3, 4)
        assert plan.pending.blockers == pending.blockers
        assert plan.pending.reason == pending.reason


async def test_documents_applied_together_share_the_room_as_the_plan_said() -> None:
    async with house(2).running() as controller:
        manifests = [a_manifest(name, scale=2, cpu=1500) for name in ("b", "a", "c")]
        plan, after = await planned(controller, *manifests), controller.view.revision
        await controller.registry.apply(manifests)
        await until(controller, lambda: sum(len(known) for known in controller.view.placements.rows) > 0)
        await until(controller, lambda: len(controller.view.pending.rows) > 0)
        assert await came(controller, after) == told(plan)
        assert {one.job for one in plan.plans if one.pending} == {"c"}
        assert set(controller.view.pending.rows) == {"default/c"}
