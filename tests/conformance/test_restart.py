"""What was told before a server died can be resumed from after it, until that history is gone, which is said."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.conftest import in_a_loop
from tests.conformance.events import ENCODINGS, NDJSON, Event
from tests.conformance.history import record
from tests.conformance.judge import after, changes_of, fold, judge_order, judge_tail
from tests.conformance.promises import opened, reaches
from tests.conformance.refusals import judge_gone
from tests.conformance.stir import Stir
from tests.conformance.wire import PATIENCE_S, Address, Refusal
from tests.system.cluster import Cluster

pytestmark = pytest.mark.system


@pytest.fixture
def mortal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A server that may be killed."""
    if request.config.getoption("--server", default=None):
        pytest.skip("a server of the user's is not to be killed")
    with Cluster(tmp_path) as cluster:
        cluster.start_server()
        cluster.start_agent("a1")
        cluster.connected("a1")
        yield cluster


def outline(events: list[Event]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    return [
        (event.revision, [(change["kind"], change["key"], change["type"]) for change in event.changes])
        for event in events
    ]


def test_history_outlives_the_server_and_its_end_is_told(mortal: Cluster) -> None:
    address = Address.of(mortal.url)
    stir = Stir(address, seed=5)
    history = in_a_loop(lambda: record(address, stir, is_ours=True, steps=15))
    mortal.kill("server")
    mortal.start_server()
    in_a_loop(lambda: _resume_all(address, history.events, history.revisions[::5], history.until))
    mortal.stop("server")
    mortal.start_server("--keep-history", "200ms")
    in_a_loop(lambda: _until_gone(address, stir, history.begin))


async def _resume_all(address: Address, reference: list[Event], revisions: list[str], until: str) -> None:
    for encoding in ENCODINGS:
        for revision in revisions:
            async with opened(address.watch("", encoding, after=revision)) as stream:
                told = await stream.until(reaches(until))
            judge_order(told, resumed_after=revision)
            rest = after(reference, revision)
            # An agent is made of two records; beside one of them, the store has the other as it is now.
            assert outline(changes_of(told)) == outline(rest)
            kinds = "kinds=jobs,placements,tasks"
            async with opened(address.watch(kinds, encoding, after=revision)) as stream:
                judge_tail(_of_jobs(reference), await stream.until(reaches(until)), revision, until)
            assert fold(told).keys() == fold(rest).keys()


def _of_jobs(events: list[Event]) -> list[Event]:
    """The changes, without those of agents."""
    kept = [
        Event(event.body | {"changes": [change for change in event.changes if change["kind"] != "agent"]})
        for event in changes_of(events)
    ]
    return [event for event in kept if event.changes]


async def _until_gone(address: Address, stir: Stir, begin: str) -> None:
    """Ask again until the history is gone; meanwhile it can be resumed from."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            mark = await stir.put("mark")
            try:
                async with address.watch("", NDJSON, after=begin) as stream:
                    # It may also go while it is being told.
                    await stream.until(lambda event, mark=mark: event.type == "error" or reaches(mark)(event))
            except Refusal as refusal:
                answer = refusal.answer
                break
    assert "no longer kept" in answer.json["detail"]
    await judge_gone(address, stir, answer)
