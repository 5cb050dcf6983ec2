"""A worker's whole day, against a work exchange: claims, results, refusals, losses, and its end."""

import asyncio
import json
import threading
from datetime import timedelta

import pytest

from harpoon.kit.errors import Conflict, HarpoonError, Invalid, leaves
from harpoon.worker import Context, Fail, Label, Retry, Settings, Worker
from harpoon.worker.serving import serve
from harpoon.worker.settings import process_name
from harpoon.worker.wire import Ref
from tests.worker.exchange import Exchange, Fault, Site, a_site
from tests.worker.working import working


def claims(body: dict) -> bool:
    return bool(body["want"])


async def test_what_a_handler_returns_closes_its_attempt_as_done(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler("payments.refund")
    async def refund(ctx: Context, order: str, amount: float = 1.5) -> dict[str, object]:
        told = (ctx.run, ctx.workflow, ctx.op, ctx.visit, ctx.attempt, ctx.idempotency_key, list(ctx.labels))
        assert timedelta(seconds=50) < ctx.remaining <= timedelta(seconds=60)
        assert not ctx.is_cancelled
        return {"order": order, "amount": amount, "told": told}

    ref = exchange.offer("payments.refund", {"order": "o1"}, labels=("done", "fail"))
    async with working(app, site):
        (closing,) = await exchange.closed(ref)
    told = [ref.run, "flow", "op", 1, 1, f"default/{ref.run}/op/1", ["done", "fail"]]
    assert closing["label"] == "done"
    assert closing["output"] == {"order": "o1", "amount": 1.5, "told": told}
    assert "error" not in closing
    assert exchange.heads[0]["path"] == "/v1/namespaces/default/work"
    assert exchange.heads[0]["Authorization"] == "Bearer 0123456789abcdef"


async def test_what_is_not_asynchronous_runs_in_threads_side_by_side(exchange: Exchange, site: Site) -> None:
    app, meet = Worker("shop"), threading.Barrier(3)

    @app.handler
    def wait() -> str:
        meet.wait(10)
        return threading.current_thread().name

    refs = [exchange.offer("wait") for _ in range(3)]
    async with working(app, site):
        closings = await exchange.closed(*refs)
    assert len({one["output"] for one in closings}) == 3


@pytest.mark.parametrize(
    ("raised", "error", "is_retryable"),
    [
        (Fail("no such order"), "no such order", False),
        (Fail("later", retryable=True), "later", True),
        (Retry("the bank is closed"), "the bank is closed", True),
        (KeyError("x"), "KeyError: 'x'", True),
        (ValueError(), "ValueError", True),
        (SystemExit(3), "SystemExit: 3", True),
        (asyncio.CancelledError(), "CancelledError", True),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_a_handler_raises_closes_its_attempt_as_failed(
    exchange: Exchange, site: Site, raised: BaseException, error: str, is_retryable: bool, is_async: bool
) -> None:
    app = Worker("shop")

    async def soon() -> None:
        raise raised

    def now() -> None:
        raise raised

    app.handler("broken")(soon if is_async else now)
    ref = exchange.offer("broken")
    async with working(app, site):
        (closing,) = await exchange.closed(ref)
    assert closing["label"] == "fail"
    assert error in closing["error"]
    assert closing["retryable"] is is_retryable
    assert "Traceback" not in closing["error"]


async def test_an_input_that_does_not_fit_fails_for_good_and_names_the_field(exchange: Exchange, site: Site) -> None:
    app, called = Worker("shop"), []

    @app.handler
    async def refund(amount: float) -> None:
        called.append(amount)

    ref = exchange.offer("refund", {"amount": "a secret"})
    async with working(app, site):
        (closing,) = await exchange.closed(ref)
    assert not called
    assert closing["label"] == "fail"
    assert not closing["retryable"]
    assert "/amount" in closing["error"]
    assert "secret" not in closing["error"]


async def test_a_label_closes_with_it_and_one_that_is_not_offered_fails(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def ask(label: str) -> Label:
        return Label(label, {"by": "ann"})

    good = exchange.offer("ask", {"label": "approved"}, labels=("done", "fail", "approved"))
    bad = exchange.offer("ask", {"label": "maybe"}, labels=("done", "fail", "approved"))
    async with working(app, site):
        approved, refused = await exchange.closed(good, bad)
    assert (approved["label"], approved["output"]) == ("approved", {"by": "ann"})
    assert refused["label"] == "fail"
    assert not refused["retryable"]
    assert "maybe" in refused["error"]
    assert "done, fail, approved" in refused["error"]


async def test_no_more_is_claimed_than_there_are_places(exchange: Exchange, site: Site) -> None:
    app, go, full = Worker("shop"), asyncio.Event(), asyncio.Event()
    running: set[str] = set()
    most = 0

    @app.handler
    async def work(ctx: Context) -> None:
        nonlocal most
        running.add(ctx.run)
        most = max(most, len(running))
        if most == 3:
            full.set()
        await go.wait()
        running.discard(ctx.run)

    refs = [exchange.offer("work") for _ in range(7)]
    async with working(app, site, concurrency=3):
        await full.wait()
        go.set()
        await exchange.closed(*refs)
    assert most == 3
    assert max(body["want"] for body in exchange.requests) == 3


async def test_a_handler_with_a_limit_has_places_of_its_own(exchange: Exchange, site: Site) -> None:
    app, go, full = Worker("shop", concurrency=2), asyncio.Event(), asyncio.Event()
    running: dict[str, int] = {"rare": 0, "usual": 0}
    most = dict(running)

    async def count(name: str) -> None:
        running[name] += 1
        most[name] = max(most[name], running[name])
        if sum(running.values()) == 3:
            full.set()
        await go.wait()
        running[name] -= 1

    @app.handler(limit=1)
    async def rare() -> None:
        await count("rare")

    @app.handler
    async def usual() -> None:
        await count("usual")

    refs = [exchange.offer(name) for name in ("rare", "usual") for _ in range(4)]
    async with working(app, site):
        await full.wait()
        go.set()
        await exchange.closed(*refs)
    assert most == {"rare": 1, "usual": 2}
    names = {body["worker"] for body in exchange.requests if body["handlers"]}
    assert len(names) == 2, "of two sessions of one name a server takes one for dead"


async def test_a_finished_attempt_goes_back_at_once_while_another_request_waits(exchange: Exchange, site: Site) -> None:
    app, go = Worker("shop"), asyncio.Event()

    @app.handler
    async def work() -> None:
        await go.wait()

    ref = exchange.offer("work")
    async with working(app, site):
        await exchange.seen(lambda: sum(map(claims, exchange.requests)) == 2, "the next request for work")
        go.set()
        await exchange.closed(ref)
        assert sum(map(claims, exchange.requests)) == 2, "the one that waits still waits"


async def test_a_lost_answer_is_asked_for_again_and_its_claims_are_carried_out_once(
    exchange: Exchange, site: Site
) -> None:
    app, called = Worker("shop"), []

    @app.handler
    async def work(ctx: Context) -> None:
        called.append(ctx.run)

    exchange.faults.append(Fault(drop=True, when=claims))
    refs = [exchange.offer("work") for _ in range(5)]
    async with working(app, site):
        await exchange.closed(*refs)
    assert sorted(called) == sorted(ref.run for ref in refs)
    assert {one.claims for one in exchange.pieces.values()} == {1}
    first, second = [body for body in exchange.requests if claims(body)][:2]
    assert (first["session"], first["seq"]) == (second["session"], second["seq"])


async def test_a_closing_whose_answer_was_lost_is_sent_again(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> str:
        return "once"

    exchange.faults.append(Fault(drop=True, when=lambda body: bool(body.get("closings"))))
    ref = exchange.offer("work")
    async with working(app, site):
        await exchange.closed(ref)
    sent = [body for body in exchange.requests if body.get("closings")]
    assert len(sent) == 2
    assert sent[0] == sent[1]


async def test_another_server_is_asked_when_one_is_gone(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    with a_site(exchange) as other:
        async with working(app, site, other):
            await exchange.closed(exchange.offer("work"))
            site.stop()
            await exchange.closed(*(exchange.offer("work") for _ in range(3)))
            assert other.port in exchange.ports


async def test_a_server_that_is_away_is_waited_for_and_nothing_is_lost(exchange: Exchange, site: Site) -> None:
    app, go = Worker("shop"), asyncio.Event()

    @app.handler
    async def work() -> None:
        await go.wait()

    site.stop()
    ref = exchange.offer("work")
    async with working(app, site):
        site.start()
        await exchange.seen(lambda: bool(exchange.pieces[ref].token))
        site.stop()
        go.set()
        site.start()
        await exchange.closed(ref)
    assert exchange.pieces[ref].claims == 1


async def test_a_server_that_is_about_to_stop_is_left_for_the_other(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    exchange.faults.append(Fault(status=503))
    with a_site(exchange) as other:
        async with working(app, site, other):
            await exchange.closed(exchange.offer("work"))
    assert exchange.ports[:2] == [site.port, other.port]


async def test_a_session_that_a_server_knows_better_is_begun_anew(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    exchange.faults.append(Fault(status=409))
    async with working(app, site):
        await exchange.closed(exchange.offer("work"))
    first, second = exchange.requests[:2]
    assert first["session"] != second["session"]
    assert second["seq"] == 1


@pytest.mark.parametrize("status", [401, 403, 404, 422])
async def test_a_worker_that_no_server_takes_ends_and_says_why(exchange: Exchange, site: Site, status: int) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    exchange.faults.extend([Fault(status=status, detail="not you")] * 3)
    with pytest.raises(ExceptionGroup) as raised:
        await serve(app, Settings(servers=(site.url,)), stop=asyncio.Event())
    (error,) = leaves(raised.value)
    assert isinstance(error, HarpoonError)
    assert str(error) == "not you"


async def test_a_worker_that_was_taken_once_goes_on_when_it_is_refused(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    async with working(app, site):
        await exchange.closed(exchange.offer("work"))
        exchange.faults.append(Fault(status=401))
        await exchange.closed(exchange.offer("work"))
    assert not exchange.faults


async def test_a_worker_without_handlers_does_not_begin() -> None:
    with pytest.raises(Invalid, match="no handlers"):
        await serve(Worker("shop"), Settings(), stop=asyncio.Event())


async def test_a_closing_that_came_late_is_logged_and_let_be(exchange: Exchange, site: Site, log: list[dict]) -> None:
    app, go = Worker("shop"), asyncio.Event()

    @app.handler
    async def work() -> None:
        await go.wait()

    late = exchange.offer("work")
    async with working(app, site) as worker:
        await exchange.seen(lambda: bool(exchange.pieces[late].token))
        exchange.lose(late, "another worker has it")
        go.set()
        await exchange.seen(lambda: any(body.get("closings") for body in exchange.requests))
        await worker.end()
    assert sum(len(body.get("closings", ())) for body in exchange.requests) == 1
    (line,) = [one for one in log if one["event"] == "closing_came_late"]
    assert (line["run"], line["reason"]) == (late.run, "another worker has it")


async def test_a_closing_that_is_refused_becomes_a_failure(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> Label:
        return Label("strange")

    exchange.verdicts["strange"] = (422, "the label is not offered")
    ref = exchange.offer("work")
    async with working(app, site):
        (closing,) = await exchange.closed(ref)
    assert closing["label"] == "fail"
    assert not closing["retryable"]
    assert "the label is not offered" in closing["error"]


async def test_a_closing_that_spoils_its_request_is_found_and_the_others_arrive(exchange: Exchange, site: Site) -> None:
    app, go = Worker("shop"), asyncio.Event()

    @app.handler
    async def work(text: str) -> str:
        await go.wait()
        return text

    exchange.poison = lambda closing: closing.get("output") == "bad"
    refs = [exchange.offer("work", {"text": text}) for text in ("a", "b", "bad", "c")]
    async with working(app, site):
        await exchange.seen(lambda: all(one.token for one in exchange.pieces.values()))
        go.set()
        closings = await exchange.closed(*refs)
    assert [one["label"] for one in closings] == ["done", "done", "fail", "done"]
    assert "cannot be read" in closings[2]["error"]


async def test_a_closing_that_cannot_be_taken_now_is_sent_again(
    exchange: Exchange, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harpoon.worker.outbox.AGAIN_S", 0.01)
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    exchange.verdicts["done"] = (503, "nobody holds the shard")
    ref = exchange.offer("work")
    async with working(app, site):
        await exchange.seen(lambda: sum(len(body.get("closings", ())) for body in exchange.requests) >= 3)
        del exchange.verdicts["done"]
        await exchange.closed(ref)


async def test_a_closing_is_given_up_when_its_attempt_has_timed_out(
    exchange: Exchange, site: Site, log: list[dict]
) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    exchange.verdicts["done"] = (503, "nobody holds the shard")
    exchange.offer("work", timeout_ms=900)
    async with working(app, site) as worker:
        await exchange.seen(lambda: any(body.get("closings") for body in exchange.requests))
        await worker.end()
    assert [one["event"] for one in log if one["event"].startswith("closing_")][-1] == "closing_given_up"


async def test_a_claim_for_a_handler_that_is_not_there_is_left_alone(
    exchange: Exchange, site: Site, log: list[dict]
) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    ref = exchange.offer("work")
    exchange.pieces[ref].claim = lambda: {**type(exchange.pieces[ref]).claim(exchange.pieces[ref]), "handler": "other"}
    async with working(app, site):
        await exchange.seen(lambda: bool(exchange.pieces[ref].token))
        await exchange.closed(exchange.offer("work"))
    assert [one["handler"] for one in log if one["event"] == "claim_not_understood"] == ["other"]


async def test_draining_claims_nothing_more_and_lets_what_runs_end(exchange: Exchange, site: Site) -> None:
    app, go = Worker("shop"), asyncio.Event()

    @app.handler
    async def work() -> str:
        await go.wait()
        return "ended"

    ref = exchange.offer("work")
    async with working(app, site) as worker:
        await exchange.seen(lambda: bool(exchange.pieces[ref].token))
        worker.stop.set()
        await exchange.seen(lambda: any(body.get("draining") for body in exchange.requests))
        later = exchange.offer("work")
        go.set()
        await worker.end()
    assert exchange.closing(ref)["output"] == "ended"
    assert not exchange.pieces[later].token


async def test_claims_whose_answer_was_cut_off_by_draining_are_carried_out(exchange: Exchange, site: Site) -> None:
    app, called = Worker("shop"), []

    @app.handler
    async def work(ctx: Context) -> None:
        called.append(ctx.run)

    async with working(app, site) as worker:
        await exchange.seen(lambda: any(map(claims, exchange.requests)))
        # The answer gets lost, and until it is asked for again the worker is told to stop.
        exchange.faults.append(Fault(drop=True, when=lambda body: True))
        exchange.faults.append(Fault(status=503))
        (life,) = exchange.lives.values()
        life.seq, life.answer = 1, b'{"seq": 1, "claims": [%s]}' % _claimed(exchange, exchange.offer("elsewhere"))
        site.stop()
        worker.stop.set()
        site.start()
        await worker.end()
    assert called == ["r1"]


def _claimed(exchange: Exchange, ref: Ref) -> bytes:
    piece = exchange.pieces[ref]
    piece.token, piece.handler = "1.1", "work"
    return json.dumps(piece.claim()).encode()


async def test_what_does_not_end_within_the_grace_is_cancelled_and_left(
    exchange: Exchange, site: Site, log: list[dict]
) -> None:
    app, ended = Worker("shop"), []

    @app.handler
    async def endless(ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(ctx.is_cancelled)

    @app.handler
    async def tidy() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "tidied up"

    left, closed = exchange.offer("endless"), exchange.offer("tidy")
    async with working(app, site, grace_s=0.05) as worker:
        await exchange.seen(lambda: all(one.token for one in exchange.pieces.values()))
        await worker.end()
    assert ended == [True]
    assert exchange.closing(left) is None
    assert exchange.closing(closed)["output"] == "tidied up"
    assert [one["run"] for one in log if one["event"] == "attempt_left"] == [left.run]


async def test_what_never_ends_is_abandoned(exchange: Exchange, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.worker.serving.CLEANUP_S", 0.05)
    app, go, stop = Worker("shop"), threading.Event(), asyncio.Event()

    @app.handler
    def stubborn() -> None:
        go.wait(20)

    exchange.offer("stubborn")
    settings = Settings(servers=(site.url,), grace=timedelta(seconds=0.05))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve(app, settings, stop=stop, abandon=go.set))
        await exchange.seen(lambda: all(one.token for one in exchange.pieces.values()))
        stop.set()
        await task
    assert go.is_set()


async def test_a_process_may_have_a_name_of_its_own_and_learns_that_another_has_it(
    exchange: Exchange, site: Site, log: list[dict]
) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    exchange.extra["superseded"] = True
    async with working(app, site, name="shop-1") as worker:
        await exchange.closed(exchange.offer("work"), exchange.offer("work"))
        await worker.end()
    assert {body["worker"] for body in exchange.requests} <= {"shop-1", "shop-1-returns", "shop-1-beats"}
    assert [one["event"] for one in log].count("worker_superseded") == 1


async def test_a_failure_without_a_word_is_still_for_good(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        raise Fail("")

    async with working(app, site):
        (closing,) = await exchange.closed(exchange.offer("work"))
    assert closing["retryable"] is False


async def test_draining_without_a_server_does_not_take_long(
    exchange: Exchange, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harpoon.worker.serving.FAREWELL_S", 0.05)
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    async with working(app, site, grace_s=3600) as worker:
        await exchange.closed(exchange.offer("work"))
        site.stop()
        await worker.end()


async def test_an_attempt_that_is_claimed_anew_takes_the_place_of_the_earlier_one(
    exchange: Exchange, site: Site
) -> None:
    app, cancelled, go = Worker("shop"), [], asyncio.Event()

    @app.handler
    async def work() -> str:
        try:
            await go.wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return "second"

    ref = exchange.offer("work")
    async with working(app, site):
        await exchange.seen(lambda: bool(exchange.pieces[ref].token))
        exchange.pieces[ref].token = ""
        exchange.wake()
        await exchange.seen(lambda: exchange.pieces[ref].claims == 2)
        while not cancelled:
            await asyncio.sleep(0.001)
        go.set()
        (closing,) = await exchange.closed(ref)
    assert closing["output"] == "second"
    assert closing["token"] == "1.2"


async def test_a_server_that_always_knows_better_is_not_asked_for_ever(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    exchange.faults.extend([Fault(status=409, detail="older")] * 4)
    with pytest.raises(ExceptionGroup) as raised:
        await serve(app, Settings(servers=(site.url,)), stop=asyncio.Event())
    assert isinstance(leaves(raised.value)[0], Conflict)


async def test_a_worker_that_is_refused_later_on_asks_again(
    exchange: Exchange, site: Site, monkeypatch: pytest.MonkeyPatch, log: list[dict]
) -> None:
    monkeypatch.setattr("harpoon.worker.lane.REFUSED_S", 0.01)
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    async with working(app, site):
        await exchange.closed(exchange.offer("work"))
        exchange.faults.append(
            Fault(status=422, detail="no more", when=lambda body: claims(body) and not body.get("closings"))
        )
        exchange.offer("work")
        await exchange.seen(lambda: not exchange.faults)
        await exchange.closed(*exchange.pieces)
    assert [one["reason"] for one in log if one["event"] == "worker_refused"] == ["no more"]


async def test_a_full_worker_learns_at_once_what_is_lost_and_asks_again_when_it_has_room(
    exchange: Exchange, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harpoon.worker.lane.FULL_S", 0.01)
    app, ended, go = Worker("shop", concurrency=2), asyncio.Event(), asyncio.Event()

    def is_idle(body: dict) -> bool:
        return body["wait"] == "20s" and not body["want"]

    @app.handler
    async def work() -> None:
        try:
            await go.wait()
        finally:
            ended.set()

    first, second = exchange.offer("work"), exchange.offer("work")
    async with working(app, site):
        await exchange.seen(lambda: any(map(is_idle, exchange.requests)), "a request that asks for nothing")
        exchange.lose(first, "cancelled")
        await ended.wait()
        assert not exchange.beats[first], "no heartbeat was due so soon"
        third = exchange.offer("work")
        await exchange.seen(lambda: sum(map(is_idle, exchange.requests)) >= 2, "another, with no room again")
        go.set()
        await exchange.closed(second, third)
    assert exchange.closing(first) is None


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong, told in (
        ({"servers": ()}, "at least one server"),
        ({"concurrency": 0}, "at least 1"),
        ({"namespace": "No"}, "a namespace"),
        ({"name": "No"}, "a worker's name"),
    ):
        with pytest.raises(ValueError, match=told):
            Settings(**wrong)
    assert len(process_name("a" * 63)) <= 48


async def test_an_answer_that_cannot_be_read_is_no_answer(exchange: Exchange, site: Site) -> None:
    app = Worker("shop")

    @app.handler
    async def work() -> None:
        return None

    with a_site(exchange) as other:
        async with working(app, site, other):
            await exchange.closed(exchange.offer("work"))
            exchange.faults.extend([Fault(text="<html>"), Fault(text='{"seq": "one"}')])
            await exchange.closed(exchange.offer("work"))
            await exchange.closed(exchange.offer("work"))
    assert not exchange.faults
    assert {piece.claims for piece in exchange.pieces.values()} == {1}
