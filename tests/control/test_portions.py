"""A job of very many slots is placed a part at a time, and others have their turn in between."""

from harpoon.control import placing
from harpoon.model.template import Resources
from harpoon.store.memory import MemoryStore
from tests.control.test_controller import House, a_manifest, settled, until
from tests.fakes import FakeAgent


async def test_a_job_of_more_slots_than_are_placed_at_once_is_placed_whole(monkeypatch) -> None:
    monkeypatch.setattr(placing, "PLACED_AT_ONCE", 4)
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        await controller.registry.put(a_manifest(scale=18))
        await settled(controller)
        placed = [row.value for row in controller.view.placements_of("default/web").values()]
        assert sorted(one.slot for one in placed) == list(range(18))
        decided = [one.revision for one in placed]
        assert max(decided.count(revision) for revision in decided) == 4
        assert len(a1.tasks) == len(a2.tasks) == 9


async def test_what_of_it_fits_nowhere_is_told_whole_and_placed_once_there_is_room(monkeypatch) -> None:
    monkeypatch.setattr(placing, "PLACED_AT_ONCE", 2)
    house = House(MemoryStore(), (FakeAgent("a1"),))
    async with house.running() as controller:
        await controller.registry.put(a_manifest("big", scale=1, resources=Resources(cpu=2000)))
        await settled(controller, "big")
        await controller.registry.put(a_manifest(scale=7, resources=Resources(cpu=500)))
        await until(controller, lambda: "default/web" in controller.view.pending.rows)
        assert controller.view.pending.rows["default/web"].value.slots == (4, 5, 6)
        await controller.registry.delete("default", "big")
        await settled(controller)
        assert "default/web" not in controller.view.pending.rows
