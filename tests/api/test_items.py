"""An operation with items, over HTTP: from its start to its end, counted, told item by item, and explained."""

from typing import Any

import pytest

from harpoon.kit import codec
from harpoon.model.run_shown import RunDetail
from harpoon.model.visit_shown import ItemList
from tests.api.rig import Rig
from tests.api.runs_rig import RUNS, Worker, a_runs_rig, declare, start
from tests.api.telling import as_problem
from tests.workflows import a_workflow


def packing(**foreach: Any) -> dict[str, Any]:
    """Every parcel is packed, and then all are sent."""
    told = a_workflow(
        pack={"worker": "shop.pack", "foreach": {"items": "${inputs.parcels}"} | foreach, "input": "${item}"},
        send={"worker": "shop.send", "needs": ["pack"], "input": "${ops.pack.output}"},
    )
    told["spec"]["inputs"] = {"parcels": {"type": "array"}}
    return told


async def begin(rig: Rig, parcels: list[Any], **foreach: Any) -> Worker:
    await declare(rig, packing(**foreach))
    assert (await start(rig, workflow="flow", inputs={"parcels": parcels})).status == 201
    return Worker(rig, "shop.pack", "shop.send")


async def detail(rig: Rig) -> dict[str, Any]:
    answer = await rig.get(f"{RUNS}/o-1")
    codec.load(RunDetail, answer.body)
    return dict(answer.json)


async def items(rig: Rig, query: str = "") -> dict[str, Any]:
    answer = await rig.get(f"{RUNS}/o-1/items{query}")
    assert answer.status == 200, answer.body
    codec.load(ItemList, answer.body)
    return dict(answer.json)


async def test_each_item_is_done_and_all_together_are_handed_on() -> None:
    async with a_runs_rig() as rig:
        worker = await begin(rig, ["a", "b", "c"], parallel=2)
        first, second = (await worker.ask(want=9))["claims"]
        assert [(one["op"], one["visit"], one["input"], one["key"]) for one in (first, second)] == [
            ("pack[]", 1, "a", "default/o-1/pack[]/1"),
            ("pack[]", 2, "b", "default/o-1/pack[]/2"),
        ]
        await worker.close(second, output="B")
        told = await detail(rig)
        whole = told["visits"][0]
        assert (whole["op"], whole["kind"], whole["state"], len(told["visits"])) == ("pack", "each", "waiting", 1)
        assert whole["waits_for"] == "its items: 1 of 3 done, 2 under way"
        await worker.close(await worker.claim(), output="C")
        await worker.close(first, output="A")
        sent = await worker.claim()
        assert sent["input"] == ["A", "B", "C"]
        await worker.close(sent)
        told = await detail(rig)
        assert told["status"] == "succeeded"
        counts = {"count": 3, "pending": 0, "open": 0, "done": 3, "failed": 0, "cancelled": 0}
        assert [one["items"] for one in told["visits"]] == [counts, None]
        assert [(one["op"], one["visits"], one["attempts"]) for one in told["operations"]] == [
            ("pack", 1, 4),
            ("send", 1, 1),
        ]


async def test_items_are_told_page_by_page_and_by_how_they_stand() -> None:
    async with a_runs_rig() as rig:
        worker = await begin(rig, [{"n": n} for n in range(1200)], parallel=2, max=1200, tolerate=1)
        one, other = (await worker.ask(want=2))["claims"]
        await worker.close(one, "fail", error="too heavy", retryable=False)
        await worker.close(other, output=7)
        page = await items(rig)
        assert (len(page["items"]), page["remaining"]) == (1000, 200)
        assert (page["items"][0]["status"], page["items"][0]["error"]) == ("failed", "too heavy")
        assert (page["items"][1]["item"], page["items"][1]["output"]) == ({"n": 1}, 7)
        rest = await items(rig, f"?continue={page['continue']}")
        assert [one["index"] for one in rest["items"]] == list(range(1000, 1200))
        stands = {
            status: (await items(rig, f"?status={status}&op=pack&visit=1"))["items"] for status in ("open", "done")
        }
        assert [one["index"] for one in stands["open"]] == [2, 3]
        assert stands["open"][0]["waits_for"] == "a worker that offers shop.pack"
        assert [one["index"] for one in stands["done"]] == [1]
        assert (await items(rig, "?op=send"))["items"] == []
        as_problem(await rig.get(f"{RUNS}/o-1/items?status=lost"), 400, "invalid")


@pytest.mark.parametrize("is_taken", [False, True])
async def test_one_failure_too_many_ends_it_and_workers_are_told(is_taken: bool) -> None:
    async with a_runs_rig() as rig:
        manifest = packing(parallel=2)
        if is_taken:
            manifest["spec"]["operations"]["pack"]["next"] = {"fail": "ask"}
            manifest["spec"]["operations"]["ask"] = {"wait": {"signal": "go"}}
        await declare(rig, manifest)
        await start(rig, workflow="flow", inputs={"parcels": ["a", "b", "c"]})
        worker = Worker(rig, "shop.pack", "shop.send")
        failing, held = (await worker.ask(want=2))["claims"]
        which = {name: failing[name] for name in ("run", "op", "visit", "attempt", "token")}
        lost = (await worker.ask({**which, "label": "fail", "error": "too heavy"}, want=0))["lost"]
        reason = "cancelled" if is_taken else "the run is over: failed"
        assert [(one["op"], one["visit"], one["reason"]) for one in lost] == [("pack[]", held["visit"], reason)]
        told = await detail(rig)
        if not is_taken:
            assert told["reason"] == "pack closed as fail, which no edge takes: item 0 closed as fail: too heavy"
        counts = {"count": 3, "pending": 0, "open": 0, "done": 0, "failed": 1, "cancelled": 2}
        assert (told["visits"][0]["items"], len(told["visits"])) == (counts, 1 + is_taken)
        assert [one["status"] for one in (await items(rig))["items"]] == ["failed", "cancelled", "cancelled"]


async def test_why_tells_how_far_it_is_and_what_keeps_the_first_items() -> None:
    async with a_runs_rig() as rig:
        await begin(rig, list(range(30)), parallel=20)
        told = (await rig.get(f"{RUNS}/o-1/why")).json
        codes = [one["code"] for one in told["causes"]]
        assert codes == ["items", *["no_worker"] * 10, "waiting"]
        assert told["reasons"][0] == "pack (visit 1) has 0 of 30 done, 20 under way"
        assert told["reasons"][1].startswith("item 0 of pack (visit 1) waits for a worker: none offers shop.pack")
        assert (told["reasons"][-1], told["summary"]) == ("and 10 more open visits", "20 waiting")
