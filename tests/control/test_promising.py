"""Plans that are applied: the real loops with agents that behave, and what becomes of a promise that cannot be kept."""

from harpoon.control.controller import Controller
from harpoon.control.promising import apply_document, promise_documents
from harpoon.core.verify import verify
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.model.job import Update
from harpoon.model.manifest import Manifest
from harpoon.model.promise import PlanDocument
from tests.control.test_controller import settled
from tests.control.test_planning import a_manifest, came, house, planned


async def promised(controller: Controller, *manifests: Manifest) -> PlanDocument:
    await planned(controller, *manifests)
    made = promise_documents(
        controller.view, controller.registry, manifests, controller.bookings(), SystemClock().now()
    )
    document = codec.load(PlanDocument, (await made)[1])
    assert verify(document) == ()
    return document


async def apply(controller: Controller, document: PlanDocument) -> str:
    (accepted,) = await apply_document(
        controller.view, controller.registry, document, controller.bookings, SystemClock()
    )
    return accepted.change


def told(document: PlanDocument) -> dict[str, list[tuple[int, str]]]:
    return {one.plan.job: sorted((p.slot, p.agent) for p in one.plan.placements) for one in document.jobs}


async def test_each_slot_of_a_migrate_goes_where_its_plan_promised() -> None:
    async with house().running() as controller:
        await controller.registry.put(a_manifest(scale=5, cpu=500, update=Update(surge=2)))
        await settled(controller)
        document = await promised(controller, a_manifest(scale=6, cpu=1200, env="new", update=Update(surge=2)))
        after = controller.view.revision
        change = await apply(controller, document)
        await settled(controller)
        placed = await came(controller, after)
        assert {job: sorted(slots) for job, slots in placed.items()} == told(document)
        status = controller.registry.change(change)
        assert (status.is_done, status.unkept) == (True, ())
        reasons = {row.value.reason for row in controller.view.placements_of("default/web").values()}
        assert all(reason.endswith("as the plan promised") for reason in reasons)


async def test_a_promise_that_cannot_be_kept_any_more_is_told_by_the_change_and_the_job_is_ready_all_the_same() -> None:
    async with house(2).running() as controller:
        document = await promised(controller, a_manifest(scale=2, cpu=500))
        assert told(document) == {"web": [(0, "a1"), (1, "a2")]}
        # Between the server's last look and the scheduler's, an operator cordons an agent.
        commit = controller.registry.commit_drafts

        async def cordoned_first(*args: object, **more: object) -> object:
            await controller.cordons.cordon("a2")
            return await commit(*args, **more)

        controller.registry.commit_drafts = cordoned_first
        change = await apply(controller, document)
        await settled(controller)
        status = controller.registry.change(change)
        assert status.is_done
        (unkept,) = status.unkept
        assert unkept.startswith("slot 1 is on a1, not on a2 as the plan promised: ")
        assert "the plan promised a2, which does not do (cordon: wants none, found cordoned)" in unkept
