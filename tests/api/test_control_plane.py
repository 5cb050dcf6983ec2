"""What Adagio's control plane could be asked, asked of ours: start, list by time and limit, inspect, agents, stats."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from harpoon.kit.yaml import load_documents
from tests.api.runs_rig import RUNS, Worker, a_runs_rig, declare

SEVEN = Path(__file__).parents[2] / "examples" / "workflows" / "seven.yaml"


async def test_what_adagios_control_plane_could_be_asked() -> None:
    async with a_runs_rig() as rig:
        [document] = load_documents(SEVEN.read_bytes(), SEVEN.name)
        await declare(rig, document.value)
        begun = []
        for number in range(5):
            answer = await rig.ask("POST", RUNS, {"workflow": "seven", "id": f"r{number}"})
            assert answer.status == 201, answer.body
            begun.append(moment(answer.json["created_ms"]))
            # Each at a moment of its own.
            await asyncio.sleep(0.002)

        async def listed(query: str) -> list[str]:
            answer = await rig.get(f"{RUNS}{query}")
            assert answer.status == 200, answer.body
            return [one["id"] for one in answer.json["items"]]

        assert await listed("") == ["r4", "r3", "r2", "r1", "r0"], "the latest first"
        assert await listed("?limit=2") == ["r4", "r3"]
        assert await listed(f"?since={begun[1]}&until={begun[3]}") == ["r2", "r1"]

        worker = Worker(rig, "seven.node")
        while claims := (await worker.ask(want=9))["claims"] if (await left(rig)) else []:
            for claim in claims:
                await worker.close(claim, output=claim["op"])

        inspected = (await rig.get(f"{RUNS}/r0")).json
        assert inspected["status"] == "succeeded"
        assert sorted(one["op"] for one in inspected["visits"]) == list("abcdefg")
        assert {one["label"] for one in inspected["visits"]} == {"done"}
        attempts = (await rig.get(f"{RUNS}/r0/attempts")).json["items"]
        assert {one["op"]: one["output"] for one in attempts} == {op: op for op in "abcdefg"}

        [agent] = (await rig.get("/v1/namespaces/default/workers")).json["items"]
        assert agent["handlers"] == ["seven.node"]
        stats = (await rig.get("/v1/stats")).json
        assert (stats["runs"], stats["workers"]) == ({"succeeded": 5}, 1)


def moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def left(rig) -> bool:  # type: ignore[no-untyped-def]
    return bool((await rig.get(f"{RUNS}?status=running")).json["items"])
