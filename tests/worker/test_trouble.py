"""Whatever gets lost between a worker and its servers: each claim is carried out once, each result arrives."""

import asyncio
import random
from collections import Counter

import pytest

from harpoon.worker import Context, Fail, Worker
from tests.worker.exchange import Exchange, Fault, a_site
from tests.worker.working import working


@pytest.mark.parametrize("seed", range(3))
async def test_each_claim_is_carried_out_once_and_each_result_arrives(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harpoon.worker.servers.PAUSE_S", (0.001, 0.02))
    monkeypatch.setattr("harpoon.worker.outbox.AGAIN_S", 0.005)
    monkeypatch.setattr("harpoon.worker.lane.FULL_S", 0.005)
    chance, exchange = random.Random(seed), Exchange()
    app, calls = Worker("shop", concurrency=7), Counter[str]()

    def mischief(body: dict) -> Fault | None:
        kind = chance.choices(("none", "drop", "away"), (6, 2, 1))[0]
        return {"none": None, "drop": Fault(drop=True), "away": Fault(status=503)}[kind]

    @app.handler
    async def soon(ctx: Context, number: int) -> int:
        calls[ctx.run] += 1
        await asyncio.sleep(number % 5 / 1000)
        if number % 11 == 0:
            raise Fail("eleven")
        return number

    @app.handler(limit=3)
    def apart(ctx: Context, number: int) -> int:
        calls[ctx.run] += 1
        return -number

    with a_site(exchange) as one, a_site(exchange) as other:
        async with working(app, one, other) as worker:
            exchange.mischief = mischief
            refs = [exchange.offer(("soon", "apart")[number % 3 == 0], {"number": number}) for number in range(200)]
            for site in (one, other, one):
                await exchange.seen(lambda: chance.random() < 0.1, "some requests")
                await asyncio.to_thread(site.away)
                await exchange.seen(lambda: chance.random() < 0.1, "some requests elsewhere")
                site.back()
            closings = await exchange.closed(*refs)
            exchange.mischief = lambda body: None
            await worker.end()
    assert set(calls.values()) == {1}
    assert len(calls) == 200
    assert {piece.claims for piece in exchange.pieces.values()} == {1}
    for number, closing in enumerate(closings):
        if number % 3 == 0:
            assert closing["output"] == -number
        elif number % 11 == 0:
            assert closing["error"] == "eleven"
        else:
            assert closing["output"] == number
