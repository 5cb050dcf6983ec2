"""How a worker comes back to servers that were all away."""

import asyncio
from datetime import timedelta

import orjson

from harpoon.worker.servers import Servers, pause_s
from tests.worker.exchange import Exchange, Fault, Site

REQUEST = {"worker": "w1", "session": "s1", "seq": 1, "handlers": [], "want": 0, "wait": "0s"}
SHORT, LONG = timedelta(seconds=1), timedelta(seconds=35)


def test_pauses_grow_and_none_is_longer_than_what_has_to_be_said_may_take() -> None:
    assert [pause_s(rounds, LONG, 0.0) for rounds in (1, 2, 3, 6, 7, 1000)] == [0.1, 0.2, 0.4, 3.2, 5.0, 5.0]
    assert [pause_s(rounds, SHORT, 0.0) for rounds in (1, 4, 5, 1000)] == [0.1, 0.8, 1.0, 1.0]
    assert pause_s(1000, SHORT, 1.0) == 0.5


async def test_what_is_in_a_hurry_is_said_soon_after_a_long_time_without_servers(
    exchange: Exchange, site: Site
) -> None:
    exchange.faults.extend([Fault(status=503)] * 20)
    async with asyncio.timeout(20), Servers((site.url,), None) as servers:
        answer = await servers.exchange("default", orjson.dumps(REQUEST), timedelta(milliseconds=40))
    assert answer.seq == 1
    assert len(exchange.requests) == 21
