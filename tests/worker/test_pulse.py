"""Heartbeats: they go on while the event loop is busy, and stop for what a dead loop will never finish."""

import asyncio
import threading
import time

import pytest

from harpoon.kit.errors import leaves
from harpoon.worker import Context, Settings, Worker
from harpoon.worker.serving import serve
from harpoon.worker.wire import Ref
from tests.worker.exchange import Exchange, Fault, Site
from tests.worker.working import working


def beats(body: dict) -> bool:
    return bool(body.get("heartbeats"))


async def test_an_attempt_is_kept_alive_until_it_is_closed(exchange: Exchange, site: Site) -> None:
    app, go = Worker("shop"), asyncio.Event()

    @app.handler
    async def work() -> None:
        await go.wait()

    ref = exchange.offer("work", heartbeat_ms=60)
    async with working(app, site):
        await exchange.seen(lambda: exchange.beats[ref] >= 5, "five heartbeats")
        go.set()
        await exchange.closed(ref)
    sent = [body for body in exchange.requests if beats(body)]
    assert {body["want"] for body in sent} == {0}
    assert [body["seq"] for body in sent] == list(range(1, len(sent) + 1))
    assert {body["session"] for body in sent}.isdisjoint(body["session"] for body in exchange.requests if body["want"])


async def test_heartbeats_that_are_due_soon_go_together(exchange: Exchange, site: Site) -> None:
    app, go = Worker("shop"), asyncio.Event()

    @app.handler
    async def work() -> None:
        await go.wait()

    refs = [exchange.offer("work", heartbeat_ms=3000) for _ in range(50)]
    async with working(app, site):
        await exchange.seen(lambda: all(exchange.beats[ref] for ref in refs), "a heartbeat of each")
        go.set()
    first = next(filter(beats, exchange.requests))
    assert len(first["heartbeats"]) == len(refs)


async def test_a_blocked_loop_loses_what_needs_it_and_keeps_what_runs_in_a_thread(
    exchange: Exchange, site: Site, log: list[dict]
) -> None:
    app, go = Worker("shop"), threading.Event()
    noted: dict[Ref, int] = {}

    def told(event: str) -> list[dict]:
        return [one for one in log if one["event"] == event]

    @app.handler
    def apart() -> str:
        go.wait(20)
        return "ended"

    @app.handler
    async def waiting() -> None:
        await asyncio.Event().wait()

    @app.handler
    async def blocking() -> None:
        before = len(told("loop_is_blocked"))
        while len(told("loop_is_blocked")) == before:
            time.sleep(0.005)
        noted.update(exchange.beats)
        exchange.until(lambda: exchange.beats[kept] >= noted[kept] + 4, "four heartbeats of what runs in a thread")
        # One may have been on its way.
        assert exchange.beats[left] <= noted[left] + 1

    kept = exchange.offer("apart", heartbeat_ms=900)
    left = exchange.offer("waiting", heartbeat_ms=900)
    async with working(app, site) as worker:
        await exchange.seen(lambda: bool(exchange.beats[left] and exchange.beats[kept]))
        (blocked,) = await exchange.closed(exchange.offer("blocking", heartbeat_ms=900))
        assert blocked["label"] == "done", blocked["error"]
        exchange.lose(left, "its worker was silent")
        while not told("loop_answers_again"):
            await asyncio.sleep(0.001)
        go.set()
        await exchange.closed(kept)
        await worker.end()
    last = told("loop_is_blocked")[-1]
    assert (last["attempts_left"], last["attempts_kept"]) == (2, 1)


async def test_a_loop_that_is_blocked_for_less_than_a_heartbeat_loses_nothing(
    exchange: Exchange, site: Site, log: list[dict]
) -> None:
    app = Worker("shop")

    @app.handler
    async def blocking() -> None:
        exchange.until(lambda: exchange.beats[ref] >= 2, "heartbeats while the loop is blocked")

    ref = exchange.offer("blocking", heartbeat_ms=6000)
    async with working(app, site):
        await exchange.closed(ref)
    assert not [one for one in log if one["event"].startswith("loop_")]


async def test_an_attempt_that_is_lost_is_cancelled_and_not_closed(exchange: Exchange, site: Site) -> None:
    app, ended = Worker("shop"), asyncio.Event()

    @app.handler
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            raise

    ref = exchange.offer("work", heartbeat_ms=60)
    async with working(app, site):
        await exchange.seen(lambda: bool(exchange.beats[ref]))
        exchange.lose(ref, "cancelled")
        await ended.wait()
    assert exchange.closing(ref) is None
    assert not any(body.get("closings") for body in exchange.requests)


async def test_a_handler_in_a_thread_sees_that_its_attempt_is_lost_even_while_the_loop_is_blocked(
    exchange: Exchange, site: Site
) -> None:
    app, seen, began = Worker("shop"), threading.Event(), threading.Event()

    @app.handler
    def work(ctx: Context) -> str:
        began.set()
        while not ctx.is_cancelled:
            threading.Event().wait(0.005)
        seen.set()
        return "too late"

    @app.handler
    async def blocking() -> None:
        exchange.lose(ref, "cancelled")
        assert seen.wait(20)

    ref = exchange.offer("work", heartbeat_ms=60)
    async with working(app, site):
        assert await asyncio.to_thread(began.wait, 20)
        await exchange.closed(exchange.offer("blocking"))
    assert exchange.closing(ref) is None


async def test_an_attempt_ends_when_its_time_is_over(exchange: Exchange, site: Site) -> None:
    app, ended = Worker("shop"), asyncio.Event()

    @app.handler
    async def work(ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            assert ctx.is_cancelled
            assert not ctx.remaining
            ended.set()

    ref = exchange.offer("work", timeout_ms=50)
    async with working(app, site):
        await ended.wait()
    assert exchange.closing(ref) is None


async def test_progress_goes_with_a_heartbeat_that_is_sent_soon(exchange: Exchange, site: Site) -> None:
    app, go = Worker("shop"), asyncio.Event()

    @app.handler
    async def work(ctx: Context) -> None:
        ctx.progress({"done": 1})
        ctx.progress({"done": 2})
        await go.wait()

    ref = exchange.offer("work", heartbeat_ms=600_000)
    async with working(app, site):
        await exchange.seen(lambda: ref in exchange.progress, "progress")
        go.set()
        await exchange.closed(ref)
    assert exchange.progress[ref] == {"done": 2}


async def test_progress_that_is_no_json_or_too_much_is_refused(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def work(ctx: Context, kind: str) -> None:
        ctx.progress(object() if kind == "none" else "x" * 5000)

    refs = [exchange.offer("work", {"kind": kind}) for kind in ("none", "much")]
    async with working(app, site):
        closings = await exchange.closed(*refs)
    assert "progress is to be JSON" in closings[0]["error"]
    assert "at most 4 KiB" in closings[1]["error"]


async def test_heartbeats_go_on_after_a_server_was_away(exchange: Exchange, site: Site) -> None:
    app, go = Worker("shop"), asyncio.Event()

    @app.handler
    async def work() -> None:
        await go.wait()

    ref = exchange.offer("work", heartbeat_ms=60)
    async with working(app, site):
        await exchange.seen(lambda: exchange.beats[ref] >= 2)
        exchange.faults.append(Fault(drop=True, when=beats))
        exchange.faults.append(Fault(status=422, when=beats))
        await exchange.seen(lambda: not exchange.faults)
        site.stop()
        before = exchange.beats[ref]
        site.start()
        await exchange.seen(lambda: exchange.beats[ref] > before + 1)
        go.set()
        await exchange.closed(ref)


async def test_a_server_that_knows_of_no_progress_is_told_none(exchange: Exchange, site: Site) -> None:
    app, go = Worker("shop"), asyncio.Event()

    @app.handler
    async def work(ctx: Context) -> None:
        ctx.progress(1)
        await go.wait()

    exchange.faults.append(Fault(status=422, when=beats))
    ref = exchange.offer("work", heartbeat_ms=60)
    async with working(app, site):
        await exchange.seen(lambda: exchange.beats[ref] >= 2)
        go.set()
        await exchange.closed(ref)
    assert ref not in exchange.progress


async def test_a_worker_whose_heartbeats_cannot_go_on_ends(
    exchange: Exchange, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harpoon.worker.pulse.named", lambda claim: {}[claim])
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        await asyncio.Event().wait()

    exchange.offer("work", heartbeat_ms=60)
    with pytest.raises(ExceptionGroup) as raised:
        await serve(app, Settings(servers=(site.url,)), stop=asyncio.Event())
    assert isinstance(leaves(raised.value)[0], KeyError)
