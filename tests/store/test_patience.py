"""How long a server waits for its store."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from harpoon.kit.errors import Unavailable
from harpoon.store.patience import Patience
from harpoon.store.port import StoreUnavailable, Trouble


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.store.patience.PAUSE_S", (0.001, 0.01))


def failing(times: int, trouble: Trouble = Trouble.UNREACHABLE) -> Callable[[], Awaitable[str]]:
    """Work that fails so often, and then succeeds."""
    left = [times]

    async def work() -> str:
        if left[0]:
            left[0] -= 1
            raise StoreUnavailable("not there", maybe_applied=False, trouble=trouble)
        return "done"

    return work


async def test_a_store_that_comes_is_waited_for_and_that_is_said_once() -> None:
    patience = Patience(timedelta(seconds=5), asyncio.Event())
    with capture_logs() as told:
        assert await patience.insist(failing(5)) == "done"
    assert [(line["event"], line["reason"]) for line in told] == [("waiting_for_store", "not there")]


async def test_a_store_that_does_not_come_is_given_up() -> None:
    patience = Patience(timedelta(seconds=1), asyncio.Event())
    with pytest.raises(Unavailable, match="could not be used for 1 s: not there"):
        await patience.insist(failing(10**6))


@pytest.mark.parametrize("trouble", [Trouble.DENIED, Trouble.UNFIT])
async def test_what_a_person_must_mend_first_is_not_waited_for(trouble: Trouble) -> None:
    patience = Patience(timedelta(seconds=5), asyncio.Event())
    with pytest.raises(StoreUnavailable, match="not there"):
        await patience.insist(failing(1, trouble))


async def test_a_store_of_this_machine_is_there_or_not() -> None:
    with pytest.raises(StoreUnavailable, match="not there"):
        await Patience(timedelta(0), asyncio.Event()).insist(failing(1))


async def test_a_store_that_was_there_is_waited_for_for_ever() -> None:
    for span in (timedelta(0), timedelta(milliseconds=1)):
        patience = Patience(span, asyncio.Event())
        patience.rely()
        await asyncio.sleep(0.002)
        assert await patience.insist(failing(5, Trouble.DENIED)) == "done"


async def test_waiting_ends_when_the_process_is_told_to_stop() -> None:
    stop = asyncio.Event()
    patience = Patience(timedelta(seconds=5), stop)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(patience.insist(failing(10**6)))
        await asyncio.sleep(0.01)
        stop.set()
    assert waiting.result() is None
