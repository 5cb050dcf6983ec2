"""What asks for nothing, as far as a view shows that is a moment behind."""

import asyncio
from dataclasses import replace

from harpoon.control.registry import Registry
from harpoon.control.view import JOBS, View
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.model.shown import Outcome
from harpoon.store.port import Put
from tests.control.test_controller import a_manifest
from tests.faulty import FaultyStore


class Telling(FaultyStore):
    """Has its watch tell what it kept back, and waits until that is seen, before it says what its revision is."""

    view: View

    async def revision(self) -> int:
        self.tell()
        await self.view.mirror.reached(self._feed.revision)
        return await super().revision()


async def test_a_job_that_was_changed_while_the_store_was_asked_is_not_said_to_stand_as_asked() -> None:
    store = Telling()
    view = store.view = View(store, incarnation=1, cluster="c1")
    await view.mirror.load()
    registry = Registry(store, view, SystemClock())
    async with asyncio.TaskGroup() as group:
        following = group.create_task(view.mirror.run())
        first = await registry.put(a_manifest(scale=1))
        store.hush()
        scaled = replace(first.job, version=2, spec=replace(first.job.spec, scale=5))
        await store.commit((), (Put(f"{JOBS}default/web", codec.dump(scaled)),))
        assert view.revision == first.revision, "the view is behind"
        again = await registry.put(a_manifest(scale=1))
        assert (again.outcome, again.job.version, again.job.spec.scale) == (Outcome.CHANGED, 3, 1)
        following.cancel()
