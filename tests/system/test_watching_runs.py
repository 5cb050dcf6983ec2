"""Runs are watched over the death of their server: the client comes back, and has missed and repeated nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harpoon.client import Client
from harpoon.client.watch import RunSelection, Selection
from tests.system.cluster import Cluster
from tests.workflows import a_workflow

pytestmark = pytest.mark.system

STEPS = 8
#: One wait after the other: it goes on without workers.
CHAIN = a_workflow(
    **{f"s{n}": {"wait": {"for": "400ms"}, **({"needs": [f"s{n - 1}"]} if n else {})} for n in range(STEPS)}
)
#: Events of one run: its start, a closing each, its end.
EVENTS = STEPS + 2


async def watched(client: Client, run: str | None, last: int, begun: asyncio.Event) -> list[dict[str, Any]]:
    """The events of a watch, until one run has had its last."""
    told: list[dict[str, Any]] = []
    one, all_ = RunSelection(namespace="default", run=run), Selection(kinds=("workflows", "runs", "attempts"))
    async for batch in client.follow(all_ if run is None else one):
        for one in batch:
            begun.set()
            told += one.message.get("events", ())
        if any(event["seq"] == last for event in told):
            return told
    raise AssertionError("it ended before the run did")


async def watch_and_kill(cluster: Cluster) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Watch a run, and all, while their server is killed in the middle and started again."""
    async with Client(cluster.url) as client, asyncio.timeout(120), asyncio.TaskGroup() as group:
        await client.put("namespaces", "default", "workflows", "flow", body=CHAIN)
        begun = asyncio.Event()
        all_ = group.create_task(watched(client, None, EVENTS, begun))
        await begun.wait()
        await client.post("namespaces", "default", "runs", body={"id": "r1", "workflow": "flow"})
        begun.clear()
        one = group.create_task(watched(client, "r1", EVENTS, begun))
        await begun.wait()
        await asyncio.to_thread(cluster.kill, "server")
        await asyncio.to_thread(cluster.start_server, "--lease-ttl", "2s")
        return await one, await all_


def test_a_watch_goes_on_where_it_was_when_its_server_is_killed(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start_server("--lease-ttl", "2s")
        one, all_ = asyncio.run(watch_and_kill(cluster))
    assert [event["seq"] for event in all_] == list(range(1, EVENTS + 1))
    # The snapshot shows how it stood when it was asked for.
    assert [event["seq"] for event in one] == list(range(EVENTS - len(one) + 1, EVENTS + 1))
    assert len(one) > 1
    assert all_[-len(one) :] == one
    assert [event["op"] for event in all_ if event["kind"] == "closed"] == [f"s{n}" for n in range(STEPS)]
