"""What stands in for the world outside: it is asked as the real one would be, and its word is what came of it."""

import asyncio
from typing import Any

import pytest

from harpoon.testing import Call, Environment, NotOver
from harpoon.worker import Fail, Label

CHECK: dict[str, Any] = {
    "apiVersion": "harpoon/v1",
    "kind": "Workflow",
    "metadata": {"name": "check"},
    "spec": {
        "inputs": {"host": {"type": "string"}},
        "operations": {
            "ask": {
                "http": {"url": "https://${inputs.host}/v1", "method": "POST", "body": {"host": "${inputs.host}"}},
                "retry": {"fail": {"attempts": 2}, "backoff": {"initial": "1s", "jitter": 0}},
                "timeout": "10s",
            }
        },
        "outputs": {"told": "${ops.ask.output.body}"},
    },
}


async def test_a_stand_in_is_asked_what_would_be_sent_and_tells_what_came_of_it() -> None:
    asked: list[Call] = []

    def answer(call: Call) -> object:
        asked.append(call)
        return {"status": 200, "body": {"ok": True}}

    async with Environment(stand_ins={"http": answer}) as env:
        await env.apply(CHECK)
        run = await env.start("check", {"host": "a.example"})
        ended = await run.result()
        assert (ended.status, ended.outputs) == ("succeeded", {"told": {"ok": True}})
    [call] = asked
    assert call.input["url"] == "https://a.example/v1"
    assert call.input["body"] == {"host": "a.example"}
    assert (call.run, call.op, call.visit, call.attempt, call.is_resumed) == (run.id, "ask", 1, 1, False)
    assert call.idempotency_key == f"default/{run.id}/ask/1"


@pytest.mark.parametrize(
    ("error", "story"),
    [(ConnectionError("refused"), ["ask.fail", "ask.fail"]), (Fail("no such host"), ["ask.fail"])],
)
async def test_what_it_raises_fails_the_attempt_as_a_handlers_does(error, story) -> None:
    async def answer(_call: Call) -> None:
        raise error

    async with Environment(stand_ins={"http": answer}) as env:
        await env.apply(CHECK)
        ended = await (await env.start("check", {"host": "a"})).result(within="1m")
        assert (ended.status, ended.story) == ("failed", story)
        assert str(error) in str(ended.attempts[-1].error)


async def test_a_label_that_is_not_offered_and_what_is_no_json_fail_the_attempt() -> None:
    for told in (Label("maybe"), float("nan")):
        async with Environment(stand_ins={"http": lambda _call, told=told: told}) as env:
            await env.apply(CHECK)
            ended = await (await env.start("check", {"host": "a"})).result(within="1m")
            assert (ended.status, ended.story) == ("failed", ["ask.fail"])


async def test_without_one_it_fails_and_says_how_to_give_one() -> None:
    async with Environment() as env:
        await env.apply(CHECK)
        ended = await (await env.start("check", {"host": "a"})).result()
        assert "stand_ins={'http': …}" in str(ended.attempts[0].error)


async def test_one_that_takes_its_time_is_cancelled_when_the_attempt_is_over() -> None:
    ended: list[str] = []

    async def answer(_call: Call) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with Environment(stand_ins={"http": answer}) as env:
        await env.apply(CHECK)
        run = await env.start("check", {"host": "a"})
        with pytest.raises(NotOver):
            await run.result(within="9s")
        assert not ended
        assert (await run.result(within="1s")).story == ["ask.timeout"]
        assert ended == ["cancelled"]


async def test_a_call_that_a_killed_server_had_under_way_is_lost_and_made_again_with_the_same_key() -> None:
    asked: list[Call] = []
    gate = asyncio.Event()

    async def answer(call: Call) -> object:
        asked.append(call)
        if len(asked) == 1:
            await gate.wait()
        return {"body": len(asked)}

    spec = {**CHECK["spec"], "operations": {"ask": {**CHECK["spec"]["operations"]["ask"], "heartbeat": "2s"}}}
    async with Environment(stand_ins={"http": answer}) as env:
        await env.apply({**CHECK, "spec": spec})
        run = await env.start("check", {"host": "a"})
        await env.restart()
        ended = await run.result(within="5s")
        assert (ended.story, ended.outputs) == (["ask.lost", "ask.done"], {"told": 2})
    assert asked[0].idempotency_key == asked[1].idempotency_key


def test_what_nothing_can_stand_in_for_is_refused() -> None:
    with pytest.raises(ValueError, match="got worker"):
        Environment(stand_ins={"worker": lambda _call: None})
