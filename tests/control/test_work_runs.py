"""The work exchange over real runs: a conductor, its ledger and a store."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from harpoon.control.work import WorkExchange
from harpoon.core.offers import AttemptId
from harpoon.model.run import Status
from harpoon.model.work import Closing, WorkRequest
from harpoon.store.memory import MemoryStore
from tests.control.stage import Stage
from tests.control.working import a_beat, a_closing, lost, ops, statuses, stay
from tests.core.flow import limit, retry, spec, work

CHAIN = spec(a=work(next={"done": "b"}), b=work(next={"done": "c"}), c=work())
RETRIED = spec(a=work(retry=retry(fail=2, lost=2), heartbeat=1000, takes=10_000, next={"done": "b"}), b=work())


class Shop:
    """A conductor whose exchange is the real one, and workers."""

    def __init__(self, store: MemoryStore, told: Any, name: str = "me") -> None:
        self.stage = Stage(store, told, name)
        self.exchange = WorkExchange(lambda _key: self.stage.conductor, self.stage.clock)
        self.stage.notes = self.exchange  # type: ignore[assignment]
        self.seqs: dict[str, int] = {}

    async def ask(self, worker: str = "w1", want: int = 1, *, wait_s: float = 0, **more: Any) -> dict[str, Any]:
        seq = self.seqs[worker] = self.seqs.get(worker, 0) + 1
        asked = WorkRequest(
            worker=worker,
            session="s1",
            seq=seq,
            handlers=("w",),
            want=want,
            wait=timedelta(seconds=wait_s),
            **{name: tuple(items) for name, items in more.items()},
        )
        return json.loads(await self.exchange.serve("shop", asked, stay))


@asynccontextmanager
async def a_shop(
    told: Any, store: MemoryStore | None = None, hold: Any = None, name: str = "me"
) -> AsyncIterator[Shop]:
    shop = Shop(store or MemoryStore(), told, name)
    async with shop.stage.at_work(hold):
        yield shop


async def test_a_run_goes_from_one_worker_to_the_next_and_each_step_is_one_commit() -> None:
    async with a_shop(CHAIN) as shop:
        await shop.stage.start("r1", inputs={})
        claim = (await shop.ask())["claims"][0]
        assert (claim["op"], claim["workflow"], claim["key"], claim["labels"]) == (
            "a",
            "refund",
            "shop/r1/a/1",
            ["done", "fail"],
        )
        assert (claim["timeout_ms"], claim["heartbeat_ms"]) == (300_000, 30_000)
        for op in "bc":
            before = shop.stage.ledger.commits
            answer = await shop.ask(closings=[a_closing(claim, output={"n": 1})])
            # What the closing opened was claimed in the very commit of the closing.
            assert (statuses(answer), ops(answer), shop.stage.ledger.commits) == ([200], [op], before + 1)
            claim = answer["claims"][0]
        answer = await shop.ask(closings=[a_closing(claim)])
        assert (statuses(answer), lost(answer)) == ([200], {})
        header, _ = await shop.stage.stored("r1")
        assert header.status is Status.SUCCEEDED
        assert len(shop.exchange.core) == 0
        # The very last closing is answered alike again, though its run is over; another is not taken.
        again = await shop.ask(closings=[a_closing(claim), a_closing(claim, "fail")])
        assert statuses(again) == [200, 409]


async def test_the_closings_and_claims_of_many_runs_are_one_commit() -> None:
    async with a_shop(CHAIN) as shop:
        await shop.stage.start(*(f"r{number}" for number in range(20)))
        claims = (await shop.ask(want=20))["claims"]
        before = shop.stage.ledger.commits
        answer = await shop.ask(want=20, closings=[a_closing(one) for one in claims])
        assert (statuses(answer), ops(answer)) == ([200] * 20, ["b"] * 20)
        assert shop.stage.ledger.commits == before + 1


async def test_a_worker_that_is_silent_loses_its_attempt_and_learns_it_and_another_gets_the_next() -> None:
    async with a_shop(RETRIED) as shop:
        await shop.stage.start("r1")
        claim = (await shop.ask())["claims"][0]
        await shop.stage.pass_(900)
        assert "lost" not in await shop.ask(want=0, heartbeats=[a_beat(claim)])
        await shop.stage.pass_(900)
        assert "lost" not in await shop.ask(want=0, heartbeats=[a_beat(claim)])
        await shop.stage.pass_(1000)
        assert lost(await shop.ask(want=0)) == {"a": "lost"}
        again = (await shop.ask("w2"))["claims"][0]
        assert (again["attempt"], again["key"]) == (2, claim["key"])
        assert again["token"] != claim["token"]
        assert statuses(await shop.ask(want=0, closings=[a_closing(claim)])) == [409]
        assert statuses(await shop.ask("w2", closings=[a_closing(again)])) == [200]


async def test_workers_learn_of_a_cancelled_run_and_get_nothing_of_a_paused_one() -> None:
    async with a_shop(CHAIN) as shop:
        await shop.stage.start("r1", "r2")
        claims = (await shop.ask(want=1))["claims"]
        run, other = claims[0]["run"], {"r1": "r2", "r2": "r1"}[claims[0]["run"]]
        await shop.stage.conductor.pause(f"shop/{other}", "me")
        assert ops(await shop.ask("w2", want=9)) == []
        await shop.stage.conductor.cancel(f"shop/{run}", "no longer needed")
        assert lost(await shop.ask()) == {"a": "the run is over: cancelled"}
        await shop.stage.conductor.resume(f"shop/{other}", "me")
        assert [one["run"] for one in (await shop.ask("w2", want=9))["claims"]] == [other]


async def test_concurrency_is_limited_across_runs() -> None:
    told = spec(a=work(concurrency=limit("one", most=2)))
    async with a_shop(told) as shop:
        await shop.stage.start(*(f"r{number}" for number in range(5)))
        claims = (await shop.ask(want=9))["claims"]
        assert len(claims) == shop.exchange.core.gates.standing("shop", "one").held == 2
        assert ops(await shop.ask("w2", want=9)) == []
        answer = await shop.ask(want=9, closings=[a_closing(claims[0])])
        assert (statuses(answer), len(answer["claims"])) == ([200], 1)
        # However a claim ends, its place is free.
        await shop.stage.conductor.cancel(f"shop/{claims[1]['run']}", "")
        assert len((await shop.ask("w2", want=9))["claims"]) == 1


async def test_who_conducts_next_knows_who_has_what() -> None:
    store = MemoryStore()
    async with a_shop(RETRIED, store) as shop:
        await shop.stage.start("r1", "r2")
        claim = (await shop.ask())["claims"][0]
        sealed = await shop.stage.sealed()
    async with a_shop(RETRIED, store, sealed) as later:
        assert later.stage.loaded == 2
        id_ = AttemptId("shop", claim["run"], "a", 1, 1)
        session = later.exchange.core.claimant(id_)
        assert session is not None
        assert (session.worker, session.session) == ("w1", "s1")
        rest = (await later.ask("w2", want=9))["claims"]
        assert {one["run"] for one in rest} == {"r1", "r2"} - {claim["run"]}
        answer = await later.ask(want=0, heartbeats=[a_beat(claim)], closings=[a_closing(claim)])
        assert (statuses(answer), lost(answer)) == ([200], {})


async def test_a_closing_that_is_not_so_leaves_the_attempt_open() -> None:
    async with a_shop(CHAIN) as shop:
        await shop.stage.start("r1")
        claim = (await shop.ask())["claims"][0]
        wrong = [
            a_closing(claim, "approved"),
            a_closing(claim, output="x" * (64 << 10)),
            Closing(run="r1", op="a", visit=9, attempt=1, token=claim["token"], label="done"),
            Closing(run="r1", op="none", visit=1, attempt=1, token=claim["token"], label="done"),
        ]
        answer = await shop.ask(want=0, closings=wrong)
        assert statuses(answer) == [422, 422, 404, 404]
        assert statuses(await shop.ask(closings=[a_closing(claim)])) == [200]
