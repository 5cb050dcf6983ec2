"""Graphs over HTTP: of workflows and of runs, in every form, folded where they are large."""

from xml.etree import ElementTree as ET

import pytest

from harpoon.control.view import GRAPHS
from harpoon.kit import codec
from harpoon.model.graph_shown import GraphDrawing
from harpoon.store.port import Delete
from tests.api.runs_rig import PLAIN, RUNS, WORKFLOWS, Worker, a_runs_rig, declare, start
from tests.api.telling import as_problem
from tests.core.pictures import DOT, MERMAID
from tests.workflows import REFUND, a_workflow

OPERATIONS = sorted(REFUND["spec"]["operations"])


async def test_a_workflow_is_laid_out() -> None:
    async with a_runs_rig(shards=()) as rig:
        await declare(rig)
        answer = await rig.get(f"{WORKFLOWS}/refund/graph")
        told = codec.load(GraphDrawing, answer.body)
        assert answer.headers["Content-Type"].startswith("application/json")
        assert [box.title for box in told.boxes] == OPERATIONS
        assert all(box.x >= 0 and box.x + box.width <= told.width for box in told.boxes)
        assert (told.boxes[0].state, told.folded, dict(told.states)) == (None, "", {})
        [start_] = [box.title for box in told.boxes if box.is_start]
        ends = {
            (told.boxes[one.box].title, one.label, told.boxes[end.box].title)
            for line in told.lines
            for one in line.from_
            for end in line.to
        }
        edges = {
            (op, label, target)
            for op, one in REFUND["spec"]["operations"].items()
            for label, targets in one.get("next", {}).items()
            for target in ([targets] if isinstance(targets, str) else targets)
        }
        assert ends == edges and start_ == "pay_back"
        as_problem(await rig.get(f"{WORKFLOWS}/none/graph"), 404, "not_found")
        as_problem(await rig.get(f"{WORKFLOWS}/refund/graph?format=png"), 400, "invalid")
        as_problem(await rig.get(f"{WORKFLOWS}/refund/graph?format=svg&ascii_only=true"), 400, "invalid")
        as_problem(await rig.get(f"{WORKFLOWS}/refund/graph?boxes=0"), 400, "invalid")


@pytest.mark.parametrize(
    ("form", "media_type"),
    [
        ("dot", "text/vnd.graphviz"),
        ("mermaid", "text/vnd.mermaid"),
        ("svg", "image/svg+xml"),
        ("ascii", "text/plain"),
        ("ascii&ascii_only=true", "text/plain"),
    ],
)
async def test_a_run_is_drawn_in_every_form(form: str, media_type: str) -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        worker = Worker(rig, "payments.refund", "desk.ask")
        await worker.close(await worker.claim(), "fail", error="<script>alert(1)</script>")
        answer = await rig.get(f"{RUNS}/o-1/graph?format={form}")
        assert answer.status == 200, answer.body
        assert answer.headers["Content-Type"] == f"{media_type}; charset=utf-8"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        text = answer.body.decode()
        assert "pay_back" in text and "run o-1 of refund" in text
        if form == "dot":
            assert DOT.fullmatch(text)
        elif form == "mermaid":
            assert MERMAID.fullmatch(text)
        elif form == "svg":
            ET.fromstring(text)
            assert "<script" not in text
        assert form != "ascii&ascii_only=true" or text.isascii()


async def test_a_run_is_drawn_as_it_stands() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        worker = Worker(rig, "payments.refund", "desk.ask")
        claim = await worker.claim()
        told = codec.load(GraphDrawing, (await rig.get(f"{RUNS}/o-1/graph")).body)
        states = {box.title: box.state for box in told.boxes}
        assert states["pay_back"] == "running"
        assert dict(told.states) == {"running": 1, "not yet": len(OPERATIONS) - 1}
        await worker.close(claim, "done")
        told = codec.load(GraphDrawing, (await rig.get(f"{RUNS}/o-1/graph")).body)
        assert {one.label: one.times for line in told.lines for one in line.from_}["done"] == 1
        await rig.ask("POST", f"{RUNS}/o-1/pause", {})
        assert "paused" in (await rig.get(f"{RUNS}/o-1/graph?format=ascii")).body.decode()
        as_problem(await rig.get(f"{RUNS}/none/graph"), 404, "not_found")


async def test_large_graphs_are_folded() -> None:
    async with a_runs_rig() as rig:
        wide = {f"p{number}": {"worker": "w", "needs": ["first"]} for number in range(80)}
        await declare(rig, a_workflow(first={"worker": "w"}, **wide))
        text = (await rig.get(f"{WORKFLOWS}/flow/graph?format=ascii")).body.decode()
        assert "81 operations are drawn as 2 boxes" in text and "80 side by side" in text
        told = codec.load(GraphDrawing, (await rig.get(f"{WORKFLOWS}/flow/graph")).body)
        assert len(told.boxes) == 81
        told = codec.load(GraphDrawing, (await rig.get(f"{WORKFLOWS}/flow/graph?boxes=1")).body)
        assert [len(box.ops) for box in told.boxes] == [81]


async def test_what_the_workflow_is_not_kept_of_is_not_drawn() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, PLAIN)
        await start(rig, "late", workflow="flow")
        keys = [entry.key async for page in rig.store.list(GRAPHS) for entry in page.entries]
        await rig.store.commit((), tuple(map(Delete, keys)))
        assert "not kept any more" in as_problem(await rig.get(f"{RUNS}/late/graph"), 410, "gone")["detail"]
