"""What an instance knows of the others: how far behind they are, by how much their clocks differ, why they are silent."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from harpoon.control import peers as module
from harpoon.control.controller import Controller
from harpoon.control.means import PeerAnswer
from harpoon.control.peers import Peer
from harpoon.control.view import INSTANCES
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Unavailable
from harpoon.model.instance import Instance
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put
from tests.control.test_controller import House

Ask = Callable[[str], Awaitable[PeerAnswer]]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_EVERY_S", 0.01)
    monkeypatch.setattr(module, "WITHIN_S", 0.05)


async def known(ask: Ask, url: str = "http://s2") -> tuple[Peer, Controller]:
    """What an instance comes to know of another, whose record names a URL."""
    store = MemoryStore()
    async with House(store, (), instance="s1", ask_peer=ask).running() as controller:
        record = Instance(name="s2", url=url, version="1", since_ms=1)
        revision = await store.commit((), (Put(INSTANCES + "s2", codec.dump(record)),))
        assert revision is not None
        async with asyncio.timeout(5):
            while controller.term is None or "s2" not in controller.term.peers.known:
                await asyncio.sleep(0.005)
        return controller.term.peers.known["s2"], controller


@pytest.mark.parametrize(
    ("revision", "lag"),
    [("1.1", "behind"), ("1.999", 0), ("2.1", None), ("1.x", None), ("", None)],
)
async def test_how_far_another_is_behind_is_known_unless_it_is_of_another_life(revision: str, lag: object) -> None:
    async def ask(_: str) -> PeerAnswer:
        return PeerAnswer("s2", revision, SystemClock().now().wall + 500)

    peer, controller = await known(ask)
    if lag == "behind":
        # It was asked before this view came to where it is now.
        assert peer.lag is not None
        assert 1 <= peer.lag < controller.view.revision
    else:
        assert peer.lag == lag
    assert peer.revision == revision
    assert peer.ahead_ms == pytest.approx(500, abs=50)


async def silent(_: str) -> PeerAnswer:
    await asyncio.sleep(60)
    raise AssertionError


async def away(url: str) -> PeerAnswer:
    raise Unavailable(f"{url}: Connection refused")


async def another(_: str) -> PeerAnswer:
    return PeerAnswer("s9", "1.1", 0)


@pytest.mark.parametrize(
    ("ask", "url", "reason"),
    [
        (silent, "http://s2", "http://s2 did not answer within 0.05 s"),
        (away, "http://s2", "http://s2: Connection refused"),
        (another, "http://s2", "s9 answers at http://s2"),
        (away, "", "it tells no URL"),
    ],
)
async def test_why_another_did_not_answer_is_known(ask: Ask, url: str, reason: str) -> None:
    peer, _ = await known(ask, url)
    assert peer == Peer(reason=reason)
