"""Batches as Boltzmann had them: side by side or in order, and nothing that hangs or dies keeps the others."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from harpoon.kit.errors import Invalid, Reused
from harpoon.testing import Environment, NotOver
from harpoon.worker import Context, Fail, Worker


def a_batch(**spec: Any) -> dict[str, Any]:
    each = {
        "worker": "page.fetch",
        "input": {"page": "${item}"},
        "timeout": "30s",
        "heartbeat": "10s",
        "retry": {"fail": {"attempts": 2}, "timeout": {"attempts": 2}, "backoff": {"initial": "1s", "jitter": 0}},
    }
    return {
        "apiVersion": "harpoon/v1",
        "kind": "Batch",
        "metadata": {"name": "pages"},
        "spec": {"deadline": "10m", "items": list(range(20)), "each": each, **spec},
    }


class Pages:
    """A worker's handler that does to a page what the test says, the first time that it is asked for it."""

    def __init__(self, **first: str) -> None:
        self.first = {int(page.removeprefix("p")): what for page, what in first.items()}
        self.begun: list[int] = []
        self.at_once = self.most = 0

    def worker(self, name: str, concurrency: int = 100) -> Worker:
        app = Worker(name, concurrency=concurrency)

        @app.handler("page.fetch")
        async def fetch(_ctx: Context, page: int) -> int:
            self.begun.append(page)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            try:
                what = self.first.pop(page, "")
                await asyncio.sleep(3600 if what == "hangs" else 1)
                if what == "fails":
                    raise Fail("no such page")
                return page * 10
            finally:
                self.at_once -= 1

        return app


async def test_steps_side_by_side_have_a_cap_and_a_time_and_what_hangs_is_tried_again() -> None:
    pages = Pages(p3="hangs", p7="hangs")
    async with Environment(pages.worker("w")) as env:
        run = await env.batch(a_batch(parallel=5, collect=True))
        await env.advance("29s")
        assert pages.most == 5
        with pytest.raises(NotOver, match="18 of 20 done, 2 under way"):
            await run.result()
        ended = await run.result(within="1m")
        assert (ended.status, ended.outputs) == ("succeeded", {"results": [page * 10 for page in range(20)]})
        assert Counter(ended.story)["each[].timeout"] == 2
        assert Counter(pages.begun) == Counter([*range(20), 3, 7])


async def test_what_a_dead_worker_had_is_recovered_by_the_others() -> None:
    dead = Pages(**{f"p{page}": "hangs" for page in range(20)})
    alive = Pages()
    async with Environment(dead.worker("dead", concurrency=4)) as env:
        run = await env.batch(a_batch())
        await env.hands[0].kill()
        await env.work(alive.worker("alive"))
        ended = await run.result(within="1m")
        assert ended.status == "succeeded"
        assert Counter(ended.story) == {"each[].lost": 4, "each[].done": 20, "each.done": 1}
        assert sorted(alive.begun) == list(range(20))


async def test_as_many_may_fail_as_is_said_and_at_one_more_the_rest_is_cancelled() -> None:
    async with Environment(Pages(p1="fails", p2="fails").worker("w")) as env:
        ended = await (await env.batch(a_batch(parallel=4, tolerate=2))).result(within="1m")
        assert (ended.status, Counter(ended.story)["each[].done"]) == ("succeeded", 18)
    async with Environment(Pages(p1="fails", p2="fails", p3="fails").worker("w")) as env:
        run = await env.batch(a_batch(parallel=4, tolerate=2))
        ended = await run.result(within="1m")
        assert ended.status == "failed"
        assert "no such page" in ended.reason
        assert Counter(ended.story)["each[].done"] < 4


async def test_in_order_nothing_begins_after_the_first_error() -> None:
    pages = Pages(p2="fails")
    async with Environment(pages.worker("w")) as env:
        ended = await (await env.batch(a_batch(mode="in_order"))).result(within="1m")
        assert (ended.status, pages.begun, pages.most) == ("failed", [0, 1, 2], 1)


async def test_all_of_it_is_over_by_its_deadline() -> None:
    pages = Pages(**{f"p{page}": "hangs" for page in range(20)})
    async with Environment(pages.worker("w")) as env:
        ended = await (await env.batch(a_batch(parallel=1, deadline="45s"))).result(within="10m")
        assert (ended.status, ended.took.total_seconds()) == ("timed_out", 45)


async def test_a_server_that_dies_in_the_middle_goes_on_where_it_was() -> None:
    pages = Pages()
    async with Environment(pages.worker("w")) as env:
        run = await env.batch(a_batch(parallel=3))
        for _ in range(6):
            await env.advance("500ms")
            await env.restart()
        ended = await run.result(within="1m")
        assert ended.status == "succeeded"
        assert Counter(pages.begun) == Counter(range(20))


async def test_a_name_stands_for_one_batch_and_what_is_none_is_refused() -> None:
    async with Environment(Pages().worker("w")) as env:
        first = await env.batch(a_batch())
        assert (await env.batch(a_batch())).id == first.id == "pages"
        with pytest.raises(Reused):
            await env.batch(a_batch(tolerate=1))
        with pytest.raises(Invalid, match="expected 'Batch'"):
            await env.batch({**a_batch(), "kind": "Workflow"})
        with pytest.raises(Invalid, match="of namespace other"):
            await env.batch({**a_batch(), "metadata": {"name": "pages", "namespace": "other"}})


async def test_a_file_holds_one_batch(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "two.yaml"
    path.write_text("kind: Batch\n---\nkind: Batch\n")
    async with Environment() as env:
        with pytest.raises(Invalid, match="holds 2 documents"):
            await env.batch(path)
