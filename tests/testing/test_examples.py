"""The workflows of examples/workflows, with their workers: the cases of Adagio's graph, and the story of Relentless."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from examples.workflows import refund, seven
from harpoon.testing import Environment, NotOver, Run
from harpoon.worker import Context, Worker

HERE = Path(refund.__file__).parent

# Adagio: a → c, d; b → d, f; c, d → e; e, f → g. A failure lets siblings go on.


async def started(env: Environment, **fails: int) -> Run:
    await env.apply(HERE / "seven.yaml")
    return await env.start("seven", {"fails": fails} if fails else {})


async def test_seven_operations_run_in_four_layers() -> None:
    async with Environment(seven.app) as env:
        ended = await (await started(env)).result()
        assert (ended.status, ended.outputs) == ("succeeded", {"made": "g(e(c(a)d(ab))f(b))"})
        place = {op: index for index, op in enumerate(one.removesuffix(".done") for one in ended.story)}
        assert sorted(place) == list("abcdefg")
        for before, after in ("ac", "ad", "bd", "bf", "ce", "de", "eg", "fg"):
            assert place[before] < place[after]


async def test_a_failure_is_tried_again_as_often_as_is_said() -> None:
    async with Environment(seven.app) as env:
        run = await started(env, a=1)
        with pytest.raises(NotOver, match="a \\(visit 1\\) waits for its attempt 2"):
            await run.result()
        ended = await run.result(within="2s")
        assert (ended.status, len(ended.attempts)) == ("succeeded", 8)
        assert [one.label for one in ended.attempts if one.op == "a"] == ["fail", "done"]


async def test_what_follows_a_failure_never_runs_and_the_rest_does() -> None:
    async with Environment(seven.app) as env:
        run = await started(env, a=2)
        ended = await run.result(within="1m")
        assert ended.status == "failed"
        assert sorted(ended.story) == ["a.fail", "a.fail", "b.done", "f.done"]
        shown = await run.describe()
        assert [one.op for one in shown.operations if one.is_skipped] == ["c", "d", "e", "g"]


async def test_an_orphan_is_another_workers() -> None:
    dead = Worker("dead")

    @dead.handler("seven.node", limit=1)
    async def node(ctx: Context, **_: object) -> str:
        await asyncio.sleep(3600)
        return ctx.op

    async with Environment(dead) as env:
        run = await started(env)
        assert [(one.op, one.worker) for one in await run.attempts()] == [("a", "dead-1-l0"), ("b", None)]
        await env.hands[0].kill()
        await env.work(seven.app, name="alive")
        with pytest.raises(NotOver, match=r"a \(visit 1\) .*dead-1-l0"):
            await run.result(within="9s")
        ended = await run.result(within="3s")
        assert ended.outputs == {"made": "g(e(c(a)d(ab))f(b))"}
        assert [(one.worker, one.label) for one in ended.attempts if one.op == "a"] == [
            ("dead-1-l0", "lost"),
            ("alive", "done"),
        ]
        assert ended.took == timedelta(seconds=10)


async def test_of_five_claimers_one_wins_each_time() -> None:
    """Each has room for one attempt, and takes its time; so all five ask whenever there is one to be had."""
    took: list[tuple[str, str]] = []

    def claimer(name: str) -> Worker:
        app = Worker(name, concurrency=1)

        @app.handler("seven.node")
        async def node(ctx: Context, **_: object) -> str:
            took.append((ctx.op, name))
            await asyncio.sleep(1)
            return ctx.op

        return app

    async with Environment(*(claimer(f"w{number}") for number in range(5))) as env:
        runs = [await started(env) for _ in range(5)]
        await env.advance("1m")
        for run in runs:
            ended = await run.result()
            assert (ended.status, len(ended.attempts)) == ("succeeded", 7)
            assert {one.label for one in ended.attempts} == {"done"}
    # Each attempt was had by one, and all of them had some.
    assert Counter(op for op, _ in took) == dict.fromkeys("abcdefg", 5)
    assert {name for _, name in took} == {f"w{number}" for number in range(5)}


# Relentless: what fails again and again is put before a human; who does not answer is asked again; then an incident.


async def asked(env: Environment, amount: float) -> Run:
    await env.apply(HERE / "refund.yaml")
    return await env.start("refund", {"order": "o-1", "amount": amount})


async def test_a_refund_that_the_bank_takes_needs_nobody() -> None:
    async with Environment(refund.app) as env:
        ended = await (await asked(env, 20)).result()
        assert (ended.outputs, ended.story) == ({"refund": "refund-o-1"}, ["pay_back.done", "tell.done"])


async def test_a_refund_that_fails_is_put_before_a_human_who_lets_it_go_on() -> None:
    async with Environment(refund.app) as env:
        run = await asked(env, 5000)
        await env.advance("4s")
        assert (await run.why()).reasons == (
            f"wait_human (visit 1) waits for signal decision, until {until((await run.describe()).visits[-1].due_ms)}",
        )
        await env.advance("4h")
        await run.signal("decision", label="approved", payload={"by": "ann"})
        ended = await run.result()
        assert (ended.status, ended.outputs) == ("succeeded", {"refund": "refund-o-1"})
        assert ended.story == [
            *["pay_back.fail"] * 3,
            "ask_human.done",
            "wait_human.timeout",
            "ask_human.done",
            "wait_human.approved",
            "pay_back.done",
            "tell.done",
        ]
        assert ended.attempts[-1].input == {"order": "o-1", "text": "done"}


async def test_a_human_may_reject_a_refund() -> None:
    async with Environment(refund.app) as env:
        run = await asked(env, 5000)
        await run.signal("decision", label="rejected")
        ended = await run.result(within="1m")
        assert (ended.status, ended.outputs) == ("succeeded", {"refund": None})
        assert ended.story[-2:] == ["wait_human.rejected", "tell.done"]


async def test_after_several_requests_that_nobody_answers_there_is_an_incident() -> None:
    async with Environment(refund.app) as env:
        ended = await (await asked(env, 5000)).result(within="1d")
        assert (ended.status, ended.reason) == ("failed", "incident was reached, which ends the run as failed")
        assert Counter(ended.story) == {
            "pay_back.fail": 3,
            "ask_human.done": 4,
            "wait_human.timeout": 4,
            "ask_human.exhausted": 1,
            "incident.done": 1,
        }
        assert timedelta(hours=16) < ended.took < timedelta(hours=16, seconds=5)


async def test_what_the_bank_never_takes_ends_however_often_it_is_approved() -> None:
    async with Environment(refund.app) as env:
        run = await asked(env, 50_000)
        for _ in range(4):
            await env.advance("10s")
            await run.signal("decision", label="approved")
        ended = await run.result(within="1m")
        assert ended.status == "failed"
        assert ended.story.count("pay_back.fail") == 12


def until(due_ms: int | None) -> str:
    assert due_ms is not None
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=due_ms)).strftime("%Y-%m-%dT%H:%M:%SZ")
