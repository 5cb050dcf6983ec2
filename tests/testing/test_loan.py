"""The loan of examples/workflows: every part of a flow, each way through it, and a server that dies at every step."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.workflows import loan
from harpoon.kit.errors import HarpoonError
from harpoon.store.memory import MemoryStore
from harpoon.store.port import StoreUnavailable
from harpoon.testing import Call, Environment, Run
from harpoon.worker import Fail

LOAN = Path(loan.__file__).with_name("loan.yaml")
DEBTS = {"ann": 20, "bob": 5, "cat": 95}


class Outside:
    """The register and the bank: what stands in for HTTP."""

    def __init__(self) -> None:
        self.paid: dict[str, Any] = {}
        #: Calls of the bank that fail first.
        self.away = 0

    def __call__(self, call: Call) -> object:
        if call.op == "look_up":
            person = call.input["url"].rpartition("/")[2]
            if person not in DEBTS:
                return {"status": 404, "body": None}
            return {"status": 200, "body": {"debts": DEBTS[person]}}
        if self.away:
            self.away -= 1
            raise ConnectionError("the bank is away")
        # A bank that honours the key pays once.
        self.paid.setdefault(call.idempotency_key, call.input["body"])
        return {"status": 201, "body": {"id": f"p-{len(self.paid)}"}}


async def applied(env: Environment, *people: str, amount: float = 500) -> Run:
    await env.apply(LOAN)
    return await env.start("loan", {"applicants": list(people), "amount": amount}, id="l-1")


async def test_a_small_loan_is_signed_cools_off_and_is_paid() -> None:
    outside = Outside()
    async with Environment(loan.app, stand_ins={"http": outside}) as env:
        run = await applied(env, "ann", "bob")
        await run.call_back("signing", label="signed", payload={"account": "DE1"})
        ended = await run.result(within="1h")
        assert (ended.status, ended.took) == ("succeeded", timedelta(hours=1))
        assert ended.outputs == {"payment": "p-1", "points": [{"points": 80}, {"points": 95}]}
        assert [one for one in ended.story if "[]" not in one] == [
            "scores.done",
            "worthy.small",
            "invite.done",
            "signing.signed",
            "cooling_off.done",
            "pay.done",
            "tell.done",
        ]
    assert list(outside.paid.values()) == [{"to": "DE1", "amount": 500.0}]


async def test_a_risk_is_declined_and_so_is_a_stranger() -> None:
    for person in ("cat", "nobody"):
        async with Environment(loan.app, stand_ins={"http": Outside()}) as env:
            ended = await (await applied(env, "ann", person)).result()
            assert (ended.status, ended.outputs["payment"]) == ("succeeded", None)
            assert [one for one in ended.story if "[]" not in one][-2:] == ["worthy.risky", "decline.done"]


async def test_papers_are_asked_for_three_times_and_unreadable_ones_again() -> None:
    async with Environment(loan.app, stand_ins={"http": Outside()}) as env:
        run = await applied(env, "ann", amount=50_000)
        await run.signal("papers", label="unreadable")
        await env.advance("5d")
        ended = await run.result()
        assert Counter(ended.story)["ask_papers.done"] == 3
        assert ended.story[-2:] == ["ask_papers.exhausted", "decline.done"]


async def test_who_does_not_sign_is_told_that_it_is_closed() -> None:
    async with Environment(loan.app, stand_ins={"http": Outside()}) as env:
        ended = await (await applied(env, "ann")).result(within="3d")
        assert ended.story[-2:] == ["signing.timeout", "closed.done"]


async def test_a_bank_that_stays_away_is_an_incident() -> None:
    outside = Outside()
    outside.away = 5
    async with Environment(loan.app, stand_ins={"http": outside}) as env:
        run = await applied(env, "ann")
        await run.call_back("signing", label="signed", payload={"account": "DE1"})
        ended = await run.result(within="2h")
        assert (ended.status, ended.reason) == ("failed", "incident was reached, which ends the run as failed")
        assert Counter(ended.story)["pay.fail"] == 5


# A server that dies at every step: what comes of the run is the same, and so is the way there.


class Dying(Environment):
    """Kills its server in the commit of that number, before or after it is made."""

    def __init__(self, dies_at: int, *, is_made: bool, **stand_ins: Any) -> None:
        super().__init__(loan.app, stand_ins=stand_ins)
        self.dies_at, self.is_made = dies_at, is_made
        self.commits = -1

    async def _open_store(self) -> MemoryStore:
        env = self

        class Store(MemoryStore):
            async def commit(self, compares, writes):  # type: ignore[no-untyped-def]
                is_last = env.commits == env.dies_at
                env.commits += env.commits >= 0
                if not is_last:
                    return await super().commit(compares, writes)
                if env.is_made:
                    await super().commit(compares, writes)
                assert env._life is not None
                env._life.cancel()
                await asyncio.sleep(0)
                raise StoreUnavailable("the server is dead", maybe_applied=True)

        return Store(clock=self._clock)

    async def insist(self, act: Callable[[], Awaitable[Any]]) -> Any:
        """Do something as a client does: again, at the next server, if this one dies over it."""
        try:
            told = await act()
        except HarpoonError:
            await self.restart()
            told = await act()
        if self.commits > self.dies_at:
            self.dies_at = 1 << 30
            await self.restart()
        return told


async def story_of(dies_at: int, *, is_made: bool) -> tuple[int, list[tuple[str, int, str]], Any]:
    """Return how many commits it took, what closed in which order, and the outputs."""
    outside = Outside()
    async with Dying(dies_at, is_made=is_made, http=outside) as env:
        await env.apply(LOAN)
        env.commits = 0
        inputs = {"applicants": ["ann", "bob"], "amount": 50_000}
        run = await env.insist(lambda: env.start("loan", inputs, id="l-1"))
        await env.insist(lambda: env.advance("1m"))
        await env.insist(lambda: run.signal("papers", label="complete", id="s-1"))
        await env.insist(lambda: env.advance("1m"))
        await env.insist(lambda: run.call_back("signing", label="signed", payload={"account": "DE1"}))
        for _ in range(8):
            await env.insist(lambda: env.advance("10m"))
        detail = await run.describe()
        assert detail.status == "succeeded", (await run.why()).reasons
        assert len(outside.paid) == 1, "the bank has paid once"
        assert env.dies_at == 1 << 30, "it has died, if it was to"
        told = sorted((one for one in detail.visits), key=lambda one: one.ended_ms or 0)
        return env.commits, [(one.op, one.visit, one.label or "") for one in told], detail.outputs


async def test_a_server_that_dies_at_any_step_changes_nothing() -> None:
    commits, story, outputs = await story_of(1 << 30, is_made=True)
    assert len(story) == 9
    assert commits > 10
    for dies_at in range(commits):
        for is_made in (False, True):
            _, told, came_to = await story_of(dies_at, is_made=is_made)
            assert (sorted(told), came_to) == (sorted(story), outputs), (dies_at, is_made)


async def test_a_register_that_stays_away_declines_and_tells_nothing_of_points() -> None:
    def answer(_call: Call) -> object:
        raise Fail("no such host")

    async with Environment(loan.app, stand_ins={"http": answer}) as env:
        ended = await (await applied(env, "ann")).result()
        assert (ended.status, ended.outputs) == ("succeeded", {"payment": None, "points": None})


@pytest.mark.parametrize("op", ["look_up", "pay"])
async def test_a_server_that_dies_in_a_call_makes_it_again_under_the_same_key(op: str) -> None:
    gate, keys = asyncio.Event(), []
    outside = Outside()

    async def answer(call: Call) -> object:
        if call.op == op:
            keys.append(call.idempotency_key)
            if len(keys) == 1:
                await gate.wait()
        return outside(call)

    async with Environment(loan.app, stand_ins={"http": answer}) as env:
        run = await applied(env, "ann")
        await run.call_back("signing", label="signed", payload={"account": "DE1"})
        for _ in range(3):
            await env.advance("30m")
            if keys:
                await env.restart()
        ended = await run.result(within="2h")
        assert ended.status == "succeeded"
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_rating_of_nonsense_fails() -> None:
    with pytest.raises(Fail):
        asyncio.run(loan.rate(None, "ann", -1))  # type: ignore[arg-type]
