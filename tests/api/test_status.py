"""How an instance stands, while its store does well, is in trouble, or says nothing at all."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from harpoon.control.metrics import StoreMetrics
from harpoon.control.peers import Peer
from harpoon.kit.clock import SystemClock
from harpoon.model.instance import Instance
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
async def test_status_is_told_at_once_while_the_store_says_nothing(is_silent: bool) -> None:
    store = ScriptedStore(WELL)
    async with a_rig(store=store) as rig:
        await rig.write(a_job())
        await rig.hold("scheduler", "s9")
        store.is_silent, store.is_away = is_silent, not is_silent
        began = time.monotonic()
        answer = await rig.get("/v1/status")
        assert time.monotonic() - began < 0.5
        assert (answer.status, answer.json["leader"], answer.json["jobs"]) == (200, "s9", 1)


def an_instance(name: str, **fields: Any) -> Instance:
    return Instance(name=name, url=f"http://{name}:4450", version="1.0", since_ms=1000, **fields)


async def test_status_tells_of_every_live_instance_without_asking_any() -> None:
    peers = {
        "s2": Peer(revision="1.3", ahead_ms=-40, lag=1),
        "s3": Peer(reason="http://s3:4450 did not answer within 1 s"),
    }
    async with a_rig(peers=lambda: peers) as rig:
        await rig.write(*map(an_instance, ("s1", "s2", "s4")), an_instance("s3", unfit="its clock is off"))
        token = f"1.{await rig.hold('scheduler', 's2')}"
        for agent, holder in {"a1": "s1", "a2": "s2", "a3": "s2"}.items():
            revision = await rig.hold(f"agents/{agent}", holder)
        told = (await rig.get("/v1/status")).json["instances"]
        metrics = (await rig.get("/metrics")).body.decode()
    s1, s2, s3, s4 = told
    assert s1 == {
        "name": "s1",
        "url": "http://s1:4450",
        "version": "1.0",
        "since_ms": 1000,
        "is_self": True,
        "is_leader": False,
        "token": None,
        "agents": 1,
        "revision": f"1.{revision}",
        "lag": 0,
        "skew_ms": 0,
        "unfit": "",
        "reason": "",
    }
    assert (s2["is_self"], s2["is_leader"], s2["token"], s2["agents"]) == (False, True, token, 2)
    assert (s2["revision"], s2["lag"], s2["skew_ms"]) == ("1.3", 1, -40)
    assert (s3["revision"], s3["lag"], s3["skew_ms"], s3["unfit"]) == ("", None, None, "its clock is off")
    assert s3["reason"] == "http://s3:4450 did not answer within 1 s"
    assert s4["reason"] == "it was not asked yet"
    assert {"harpoon_instances 4.0", "harpoon_agents_held 1.0", "harpoon_is_leader 0.0"} <= set(metrics.splitlines())


async def test_an_instance_without_a_lease_says_so_and_that_it_asks_nobody() -> None:
    async with a_rig() as rig:
        await rig.write(an_instance("s2"))
        s1, s2 = (await rig.get("/v1/status")).json["instances"]
    assert (s1["name"], s1["unfit"], s1["since_ms"], s1["url"]) == ("s1", "it has no lease now", None, rig.doors.url)
    assert s2["reason"] == "this instance has no lease now, and asks nobody"


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
