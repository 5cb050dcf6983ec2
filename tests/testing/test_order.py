"""The order of examples/workflows: what was done is undone in reverse order, and what cannot be undone waits for a person."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.workflows import order
from harpoon.testing import Environment, NotOver, Run

ORDER = Path(order.__file__).with_name("order.yaml")


@pytest.fixture(autouse=True)
def _nothing_stands() -> Iterator[None]:
    yield
    for one in (order.BOOKED, order.CHARGED, order.BROKEN):
        one.clear()


async def ordered(env: Environment) -> Run:
    await env.apply(ORDER)
    return await env.start("order", {"order": "o1", "amount": 20}, id="o-1")


async def test_an_order_is_shipped() -> None:
    async with Environment(order.app) as env:
        ended = await (await ordered(env)).result()
        assert (ended.status, ended.outputs) == ("succeeded", {"parcel": "parcel-o1"})
        assert (list(order.BOOKED), order.CHARGED) == (["o1"], {"o1": 20})


@pytest.mark.parametrize(
    ("broken", "tries", "back"),
    [
        ("book", 2, ["book.fail", "book.fail", "refused.told"]),
        ("charge", 1, ["book.done", "charge.fail", "cancel.done", "refused.told"]),
        (
            "ship",
            3,
            ["book.done", "charge.done", *["ship.fail"] * 3, "refund.done", "cancel.done", "refused.told"],
        ),
    ],
)
async def test_what_was_done_is_undone_in_reverse_order(broken: str, tries: int, back: list[str]) -> None:
    order.BROKEN[broken] = tries
    async with Environment(order.app) as env:
        ended = await (await ordered(env)).result(within="1m")
        assert (ended.status, ended.story) == ("failed", back)
        assert ended.reason == "refused was reached, which ends the run as failed"
        assert (order.BOOKED, order.CHARGED) == ({}, {})


async def test_what_cannot_be_undone_waits_for_a_person_and_goes_on_then() -> None:
    order.BROKEN |= {"ship": 3, "refund": 1}
    async with Environment(order.app) as env:
        run = await ordered(env)
        with pytest.raises(NotOver, match="refund closed as fail, which no edge takes: the refund desk is closed"):
            await run.result(within="1h")
        assert [one.op for one in (await run.describe()).parked] == ["refund"]
        assert order.CHARGED == {"o1": 20}
        await run.retry("refund", reason="the desk is open")
        ended = await run.result()
        assert (ended.status, ended.story[-3:]) == ("failed", ["refund.done", "cancel.done", "refused.told"])
        assert (order.BOOKED, order.CHARGED) == ({}, {})


async def test_what_failed_is_shipped_by_hand_before_anything_is_undone() -> None:
    order.BROKEN |= {"ship": 3, "refund": 1}
    async with Environment(order.app) as env:
        run = await ordered(env)
        await env.advance("1m")
        # The parcel was sent after all: what it leads to is done anew, which is nothing.
        await run.retry("ship")
        await run.result()
        assert (await run.describe()).repairs == 1
        ended = await run.result()
        assert (ended.status, ended.outputs) == ("succeeded", {"parcel": "parcel-o1"})


async def test_a_step_is_set_by_hand_while_its_worker_is_away() -> None:
    async with Environment() as env:
        run = await ordered(env)
        for op in ("book", "charge"):
            await run.set(op)
        await run.set("ship", output={"parcel": "by-hand"})
        ended = await run.result()
        assert (ended.status, ended.outputs) == ("succeeded", {"parcel": "by-hand"})
