"""What a server is told is what its control loops are given."""

from datetime import timedelta

import aiohttp

from harpoon.api.site import own_socket
from harpoon.config import Listen, ServerSettings
from harpoon.kit.clock import SystemClock
from harpoon.model.lease import LeaseTimes
from harpoon.service import server
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Renewal
from tests.api.rig import a_rig

LEASE = LeaseTimes.of(timedelta(seconds=8), timedelta(seconds=2), timedelta(seconds=1))


async def test_the_times_of_the_lease_govern_how_it_is_kept_and_when_agents_are_handed_over() -> None:
    settings = ServerSettings(listen=Listen("127.0.0.1", 4450), instance="s", lease=LEASE)
    async with aiohttp.ClientSession() as session:
        means = server._means(settings, MemoryStore(), session, None)
    assert (means.lease_ttl, means.settle) == (timedelta(seconds=8), timedelta(seconds=8))
    assert means.renewal == Renewal(every_s=2.0, margin_s=1.0)
    assert (means.url, means.instance[:2]) == ("http://127.0.0.1:4450", "s-")


async def test_one_that_shares_its_port_tells_others_its_own() -> None:
    settings = ServerSettings(listen=Listen("127.0.0.1", 4450), instance="s")
    async with aiohttp.ClientSession() as session:
        with own_socket("127.0.0.1") as own:
            means = server._means(settings, MemoryStore(), session, own)
            assert means.url == f"http://127.0.0.1:{own.getsockname()[1]}"


async def test_another_instance_is_asked_how_it_stands_and_what_its_clock_says() -> None:
    async with a_rig(instance="s2") as rig:
        means = server._means(ServerSettings(instance="s"), rig.store, rig.session, None)
        assert means.ask_peer is not None
        told = await means.ask_peer(rig.doors.url)
    assert (told.instance, told.revision) == ("s2", "1.0")
    assert abs(told.now_ms - SystemClock().now().wall) < 5_000
