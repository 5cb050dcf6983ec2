"""Which workers there are, over HTTP, of one instance and of several."""

import pytest

from harpoon.control.view import INSTANCES
from harpoon.core.sessions import QUIET_MS
from harpoon.kit import codec
from harpoon.model.instance import Instance
from harpoon.model.work import WorkerList
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete
from tests.api.rig import TOKEN, a_rig
from tests.control.working import Table

PATH = "/v1/namespaces/default/workers"


async def test_a_worker_is_shown_with_what_it_has() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    async with a_rig(work=table.exchange) as rig:
        assert (await rig.get(PATH)).json == {"items": [], "unanswered": []}
        since = table.clock.wall
        await table.ask("w1", want=3)
        await table.ask("w2", want=0, handlers=("sign",))
        table.clock.wall += QUIET_MS + 1
        await table.ask("w2", seq=2, want=0, handlers=("sign",))
        told = codec.load(WorkerList, (await rig.get(PATH)).body)
        first, second = told.items
        assert (first.name, first.handlers, first.busy, first.is_quiet) == ("w1", ("pack",), 2, True)
        assert (first.since_ms, first.heard_ms, first.sessions[0].want) == (since, since, 1)
        assert (second.name, second.busy, second.is_quiet) == ("w2", 0, False)
        assert (await rig.get("/v1/namespaces/else/workers")).json["items"] == []


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_all_instances_are_asked_and_those_that_do_not_answer_are_named(token: str | None) -> None:
    store, here, there = MemoryStore(), Table(), Table()
    async with (
        a_rig(store=store, instance="s1", work=here.exchange, token=token) as first,
        a_rig(store=store, instance="s2", work=there.exchange, token=token) as second,
    ):
        for name, url in (("s1", first.doors.url), ("s2", second.doors.url), ("s3", "http://127.0.0.1:1"), ("s4", "")):
            await first.write(Instance(name=name, url=url, version="1", since_ms=1))
        await here.ask("w1")
        await here.ask("w2")
        await there.ask("w2", via="s1")
        await there.ask("w3")
        told = (await first.get(PATH)).json
        assert [(one["name"], len(one["sessions"])) for one in told["items"]] == [("w1", 1), ("w2", 1), ("w3", 1)]
        assert told["unanswered"] == ["s3", "s4"]
        for name in ("s3", "s4"):
            revision = await store.commit((), (Delete(INSTANCES + name),))
            await first.view.mirror.reached(revision or 0)
        assert (await first.get(PATH)).json["unanswered"] == []


async def test_an_instance_without_runs_has_heard_of_nobody() -> None:
    async with a_rig() as rig:
        assert (await rig.get(PATH)).json["items"] == []
