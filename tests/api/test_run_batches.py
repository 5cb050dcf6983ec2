"""Batches over HTTP: started once, gone through, told item by item, and cancelled."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from harpoon.kit import codec, yaml
from harpoon.model.batch_manifest import BatchSpec
from harpoon.model.run_shown import RunDetail, RunList, RunObject
from harpoon.model.visit_shown import ItemList
from tests.api.rig import Answer, Rig
from tests.api.runs_rig import NAMESPACE, RUNS, Worker, a_runs_rig, conducting, declare, start
from tests.api.telling import as_problem
from tests.documents import FENCED, ROOT
from tests.workflows import a_batch

BATCHES = f"{NAMESPACE}/batches"


async def begin(rig: Rig, manifest: dict[str, Any] | None = None) -> Answer:
    return await rig.ask("POST", BATCHES, manifest or a_batch())


async def detail(rig: Rig, name: str = "resize") -> dict[str, Any]:
    answer = await rig.get(f"{BATCHES}/{name}")
    assert answer.status == 200, answer.body
    codec.load(RunDetail, answer.body)
    return dict(answer.json)


async def items(rig: Rig, query: str = "", name: str = "resize") -> list[dict[str, Any]]:
    answer = await rig.get(f"{BATCHES}/{name}/items{query}")
    codec.load(ItemList, answer.body)
    return list(answer.json["items"])


async def test_a_batch_is_a_run_that_does_the_same_for_all_its_items() -> None:
    async with a_runs_rig() as rig:
        begun = await begin(rig, a_batch(parallel=2, tolerate=1, deadline="10m"))
        assert begun.status == 201, begun.body
        told = codec.load(RunObject, begun.body)
        assert (told.id, told.deadline_ms - told.created_ms) == ("resize", 600_000)
        worker = Worker(rig, "img.resize")
        first, second = (await worker.ask(want=9))["claims"]
        await worker.close(first, "fail", error="no image")
        await worker.close(second, output={"kb": 3})
        await worker.close(await worker.claim(), output={"kb": 4})
        told_ = await detail(rig)
        assert told_["status"] == "succeeded"
        counts = {"count": 3, "pending": 0, "open": 0, "done": 2, "failed": 1, "cancelled": 0}
        assert told_["visits"][0]["items"] == counts
        every = await items(rig)
        assert [(one["item"], one["status"], one["output"]) for one in every] == [
            ("a", "failed", None),
            ("b", "done", {"kb": 3}),
            ("c", "done", {"kb": 4}),
        ]
        assert [one["error"] for one in await items(rig, "?status=failed")] == ["no image"]


async def test_steps_are_done_in_order_up_to_the_first_that_fails() -> None:
    async with a_runs_rig() as rig:
        steps = [
            {"worker": "db.drain"},
            {"worker": "db.move", "timeout": "1m", "input": {"n": 2}},
            {"worker": "db.fill"},
        ]
        assert (await begin(rig, a_batch("move", mode="in_order", steps=steps))).status == 201
        worker = Worker(rig, "db.drain", "db.move", "db.fill")
        claims = (await worker.ask(want=9))["claims"]
        assert [(one["handler"], one["op"], one["visit"]) for one in claims] == [("db.drain", "steps[0]", 1)]
        await worker.close(claims[0], output=1)
        second = await worker.claim()
        assert (second["handler"], second["input"], second["timeout_ms"]) == ("db.move", {"n": 2}, 60_000)
        await worker.close(second, "fail", error="full")
        told = await detail(rig, "move")
        assert told["status"] == "failed"
        assert told["reason"] == "steps closed as fail, which no edge takes: item 1 closed as fail: full"
        assert [one["status"] for one in await items(rig, name="move")] == ["done", "failed", "cancelled"]
        why = (await rig.get(f"{BATCHES}/move/why")).json
        assert why["reasons"][0].endswith(told["reason"])


async def test_steps_go_beside_each_other_and_their_results_are_kept_if_asked_for() -> None:
    async with a_runs_rig() as rig:
        await begin(rig, a_batch("all", parallel=2, collect=True, steps=[{"worker": "w"}] * 3))
        worker = Worker(rig, "w")
        first, second = (await worker.ask(want=9))["claims"]
        await worker.close(second, output="B")
        assert (await detail(rig, "all"))["visits"][0]["waits_for"] == "its items: 1 of 3 done, 2 under way"
        why = (await rig.get(f"{BATCHES}/all/why")).json["reasons"]
        assert why[1].startswith("item 0 of steps (visit 1) is with worker w1")
        await worker.close(await worker.claim(), output="C")
        await worker.close(first, output="A")
        assert (await detail(rig, "all"))["outputs"] == {"results": ["A", "B", "C"]}


async def test_numbers_out_of_their_bounds_are_told() -> None:
    async with a_runs_rig() as rig:
        for given, said in (
            ({"parallel": 0}, "parallel is 1 to 10000"),
            ({"parallel": 10_001}, "parallel is 1 to 10000"),
            ({"tolerate": -1}, "tolerate is 0 to 10000"),
            ({"deadline": "0s"}, "deadline is 1s to 365d"),
        ):
            manifest = a_batch()
            for spec in (manifest["spec"], {"steps": [{"worker": "x"}]}):
                told = as_problem(await begin(rig, manifest | {"spec": spec | given}), 400, "invalid")
                assert told["errors"] == [{"pointer": "/spec", "detail": said}]


async def test_the_same_batch_again_is_the_same_run() -> None:
    async with a_runs_rig() as rig:
        assert [(await begin(rig)).status for _ in range(3)] == [201, 200, 200]
        other = await begin(rig, a_batch(items=["a"]))
        as_problem(other, 422, "id_reused")
        assert "give this batch another metadata.name" in other.json["detail"]
        cancelled = await rig.ask("DELETE", f"{BATCHES}/resize")
        assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
        assert (await rig.ask("DELETE", f"{BATCHES}/resize")).status == 200
        assert (await begin(rig)).json["status"] == "cancelled"


async def test_batches_are_listed_apart_from_other_runs() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        await begin(rig)
        await begin(rig, a_batch("other") | {"metadata": {"name": "other", "tags": {"team": "a"}}})
        told = await rig.get(BATCHES)
        codec.load(RunList, told.body)
        assert {one["id"] for one in told.json["items"]} == {"resize", "other"}
        assert [one["id"] for one in (await rig.get("/v1/batches?tag=team=a")).json["items"]] == ["other"]
        assert (await rig.get(f"{BATCHES}?status=failed")).json["items"] == []
        assert len((await rig.get(RUNS)).json["items"]) == 3
        for path in ("o-1", "o-1/items", "o-1/why", "none"):
            assert (await rig.get(f"{BATCHES}/{path}")).status == 404
        assert (await rig.ask("DELETE", f"{BATCHES}/o-1")).status == 404


async def test_what_it_is_made_of_is_kept_for_as_long_as_its_run() -> None:
    async with a_runs_rig() as rig:
        await begin(rig)
        await rig.ask("DELETE", f"{BATCHES}/resize")
        assert rig.doors.workflows is not None
        assert rig.doors.runs is not None
        assert await rig.doors.workflows.generations.sweep(rig.doors.runs.reader) == 0
        assert len(await items(rig)) == 3
        assert (await begin(rig, a_batch("again"))).status == 201


@pytest.mark.parametrize(
    ("spec", "pointer", "detail"),
    [
        ({"items": ["${nothing}"]}, "/spec/items/0", "nothing"),
        ({"each": {"worker": "w", "input": "${itm}"}}, "/spec/each/input", "itm"),
        ({"steps": [{"worker": "w"}, {"worker": "w", "input": "${item}"}]}, "/spec/steps/1/input", "item"),
        ({"steps": [{"worker": "w", "needs": ["a"]}]}, "/spec", "steps[0]: needs is for a workflow"),
        ({"steps": []}, "/spec", "a batch has items and each, or steps"),
        ({"each": None}, "/spec", "a batch has items and each, or steps"),
        ({"mode": "in_order", "tolerate": 3}, "/spec", "no meaning with mode in_order"),
        ({"items": list(range(10_001))}, "/spec", "items holds at most 10000"),
        ({"each": {"worker": "w", "retry": {"fail": {"attempts": 100}}, "visits": 2}}, "/spec", "each: visits is for"),
    ],
)
async def test_what_cannot_be_is_refused_at_its_place(spec: dict[str, Any], pointer: str, detail: str) -> None:
    async with a_runs_rig() as rig:
        told = as_problem(await begin(rig, a_batch(**spec)), 400, "invalid")
        assert told["errors"][0]["pointer"] == pointer, told
        assert detail in told["errors"][0]["detail"]


async def test_a_batch_without_a_bound_and_one_of_another_namespace_are_refused() -> None:
    async with a_runs_rig() as rig:
        told = as_problem(
            await begin(
                rig,
                a_batch(
                    items=list(range(10_000)),
                    each={"worker": "w", "retry": {"fail": {"attempts": 100}, "lost": {"attempts": 99}}},
                ),
            ),
            400,
            "invalid",
        )
        assert told["errors"][0]["pointer"] == "/spec/each"
        assert "attempts" in told["errors"][0]["detail"]
        manifest = a_batch() | {"metadata": {"name": "x", "namespace": "shop"}}
        assert as_problem(await begin(rig, manifest), 400, "invalid")["errors"][0]["pointer"] == "/metadata/namespace"
        as_problem(await begin(rig, a_batch("export")), 400, "invalid")


async def test_a_batch_goes_on_where_it_stood_with_whoever_conducts_it_next() -> None:
    async with a_runs_rig(shards=()) as rig:
        async with conducting(rig):
            await begin(rig, a_batch(parallel=2, items=list(range(5))))
            worker = Worker(rig, "img.resize")
            first, held = (await worker.ask(want=2))["claims"]
            await worker.close(first, output="A")
        async with conducting(rig, loads=True):
            worker = Worker(rig, "img.resize", name="w2")
            claims = (await worker.ask(want=9))["claims"]
            assert [one["input"] for one in claims] == [2]
            await worker.close(held, output="B")
            await worker.close(claims[0], output=2)
            for item in (3, 4):
                await worker.close(await worker.claim(), output=item)
            told = await detail(rig)
            assert (told["status"], told["visits"][0]["items"]["done"]) == ("succeeded", 5)
            assert [one["output"] for one in await items(rig)] == ["A", "B", 2, 3, 4]


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "batches").iterdir()), ids=lambda path: path.name)
async def test_the_examples_are_batches(path: Path) -> None:
    (document,) = yaml.load_documents(path.read_text(), str(path))
    async with a_runs_rig() as rig:
        assert (await begin(rig, document.value)).status == 201


async def test_the_page_about_batches_shows_one_and_names_every_field() -> None:
    text = (ROOT / "docs" / "batches.md").read_text()
    [example] = [body for language, body in FENCED.findall(text) if language == "yaml"]
    (document,) = yaml.load_documents(example, "docs/batches.md")
    assert document.value == yaml.load_documents((ROOT / "examples/batches/resize.yaml").read_text(), "")[0].value
    named = set(re.findall(r"^\| `spec\.(\w+)`", text, re.MULTILINE))
    assert named == {field.name for field in fields(BatchSpec)}


async def test_what_failed_is_done_anew_and_the_rest_is_kept() -> None:
    async with a_runs_rig() as rig:
        await begin(rig, a_batch(mode="in_order", collect=True))
        worker = Worker(rig, "img.resize")
        await worker.close(await worker.claim(), output="A")
        await worker.close(await worker.claim(), "fail", error="no image")
        assert (await detail(rig))["status"] == "failed"
        as_problem(await rig.ask("POST", f"{RUNS}/resize/retry", {"from": "each", "items": [7]}), 400, "invalid")
        as_problem(await rig.ask("POST", f"{RUNS}/resize/retry", {"from": "each", "items": [0]}), 400, "invalid")
        told = await rig.ask("POST", f"{RUNS}/resize/retry", {"from": "each", "items": []})
        assert (told.status, told.json["status"]) == (200, "running"), told.body
        for item in ("b", "c"):
            claim = await worker.claim()
            assert claim["input"] == item
            await worker.close(claim, output=item.upper())
        told_ = await detail(rig)
        assert (told_["status"], told_["outputs"]) == ("succeeded", {"results": ["A", "B", "C"]})
        assert [one["items"]["done"] for one in told_["visits"]] == [1, 3]
        assert [(one["status"], one["output"]) for one in await items(rig, "?visit=2")] == [
            ("done", "A"),
            ("done", "B"),
            ("done", "C"),
        ]
        body = {"from": "each", "items": [1], "by": "ann", "reason": "a better one"}
        assert (await rig.ask("POST", f"{RUNS}/resize/retry", body)).status == 200
        await worker.close(await worker.claim(), output="B2")
        assert (await detail(rig))["outputs"] == {"results": ["A", "B2", "C"]}
