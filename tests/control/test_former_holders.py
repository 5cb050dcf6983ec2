"""Whoever has held an agent before starts nothing there that its successor need not know of."""

import asyncio
from dataclasses import replace

import pytest

from harpoon.control.view import placement_key
from harpoon.kit import codec
from harpoon.model.instance import Holder
from harpoon.store.hold import HOLDS
from harpoon.store.port import Delete, Put
from tests.control.crew import Crew, soon
from tests.control.test_controller import a_manifest, settled
from tests.fakes import FakeAgent
from tests.faulty import FaultyStore

pytestmark = pytest.mark.usefixtures("in_haste")
HOLD = f"{HOLDS}agents/a0"
#: For anything that comes of what the view has just shown.
A_WHILE_S = 0.1


@pytest.mark.parametrize("has_successor", [True, False])
async def test_who_hears_at_once_that_its_hold_is_over_and_what_was_placed_since_starts_nothing_of_it(
    has_successor: bool,
) -> None:
    store, a0 = FaultyStore(), FakeAgent("a0")
    async with Crew(store, [a0]).at_work("i1") as crew:
        view = crew.mates["i1"].plane.view
        await crew.mates["i1"].plane.registry.put(a_manifest(scale=1))
        await settled(crew.mates["i1"].plane)
        [first] = [row.value for row in view.placements.rows.values()]
        second = replace(first, revision=store._feed.revision)
        mark, before = a0.mark, dict(a0.tasks)
        store.hush()
        await store.commit((), (Delete(HOLD),))
        if has_successor:
            await store.commit((), (Put(HOLD, codec.dump(Holder(instance="i2"))),))
        placed = await store.commit((), (Put(placement_key(second), codec.dump(second)),))
        store.tell()
        await view.mirror.reached(placed or 0)
        await asyncio.sleep(A_WHILE_S)
        if has_successor:
            assert (a0.mark, a0.tasks) == (mark, before)
        else:
            # Whoever takes it after that knows of it, and may start it.
            await soon(lambda: second.task in a0.tasks)
            assert a0.mark > mark
