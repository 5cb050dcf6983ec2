"""How an instance stands, while its store does well, is in trouble, or says nothing at all."""

import asyncio
import time
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from harpoon.control.metrics import StoreMetrics
from harpoon.kit.clock import SystemClock
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Entry, StoreHealth, StoreUnavailable, Trouble
from tests.api.rig import a_rig
from tests.builders import a_job

WELL = StoreHealth(kind="etcd", at="10.0.0.2:2379", version="3.5.16", gauges={"db_bytes": 5.0}, counts={"commits": 7})


class ScriptedStore(MemoryStore):
    """A store that says of itself what it is told to, and may be away."""

    def __init__(self, health: StoreHealth) -> None:
        super().__init__()
        self._told = health
        self.is_silent = False
        self.is_away = False

    def health(self) -> StoreHealth:
        return self._told

    async def get(self, key: str) -> Entry | None:
        if self.is_silent:
            await asyncio.sleep(60)
        if self.is_away:
            raise StoreUnavailable("nobody answers", maybe_applied=False)
        return await super().get(key)


async def test_status_tells_how_the_store_does() -> None:
    async with a_rig(store=ScriptedStore(WELL)) as rig:
        told = (await rig.get("/v1/status")).json
    assert told["store"] == "etcd"
    assert told["store_health"] == {
        "at": "10.0.0.2:2379",
        "version": "3.5.16",
        "trouble": None,
        "reason": "",
        "since_ms": None,
        "gauges": {"db_bytes": 5.0},
    }


async def test_status_tells_since_when_the_store_is_in_trouble_and_what_mends_it() -> None:
    began = SystemClock().now()
    since = began.elapsed - timedelta(minutes=2)
    trouble = StoreHealth(kind="etcd", at="e", trouble=Trouble.FULL, reason="it is full; defragment it", since=since)
    async with a_rig(store=ScriptedStore(trouble)) as rig:
        told = (await rig.get("/v1/status")).json["store_health"]
    assert (told["trouble"], told["reason"]) == ("full", "it is full; defragment it")
    assert told["since_ms"] == pytest.approx(began.wall - 120_000, abs=2_000)


@pytest.mark.parametrize("is_silent", [True, False])
async def test_status_is_told_within_a_second_while_the_store_says_nothing(is_silent: bool) -> None:
    store = ScriptedStore(WELL)
    async with a_rig(store=store) as rig:
        await rig.write(a_job())
        store.is_silent, store.is_away = is_silent, not is_silent
        began = time.monotonic()
        answer = await rig.get("/v1/status")
        assert time.monotonic() - began < 1
        assert (answer.status, answer.json["leader"], answer.json["jobs"]) == (200, None, 1)


async def test_the_store_of_the_instance_is_among_its_metrics() -> None:
    async with a_rig() as rig:
        await rig.write(a_job())
        text = (await rig.get("/metrics")).body.decode()
    assert "harpoon_store_up 1.0" in text
    assert "harpoon_store_commits_total 1.0" in text
    assert "harpoon_store_revision 1.0" in text


def test_metrics_tell_trouble_errors_counts_and_gauges_as_they_are_when_asked() -> None:
    told = [WELL]
    registry = CollectorRegistry()
    registry.register(StoreMetrics(lambda: told[-1]))

    def lines() -> set[str]:
        return {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}

    before = lines()
    assert {"harpoon_store_up 1.0", "harpoon_store_commits_total 7.0", "harpoon_store_db_bytes 5.0"} <= before
    assert {f'harpoon_store_errors_total{{kind="{kind}"}} 0.0' for kind in Trouble} <= before
    told.append(StoreHealth(kind="etcd", at="e", trouble=Trouble.TIMEOUT, errors={Trouble.TIMEOUT: 3}))
    assert {"harpoon_store_up 0.0", 'harpoon_store_errors_total{kind="timeout"} 3.0'} <= lines()
