"""Work where several instances conduct runs: each worker asks one, and does the work of all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from harpoon.control import work_errand
from harpoon.control.ledger_records import shard_of
from harpoon.control.runs import SHARD_HOLDS, shard_name
from harpoon.model.instance import Instance
from harpoon.store.memory import MemoryStore
from tests.api.rig import TOKEN, Rig, a_rig
from tests.control.working import Table, lost, ops, settled, statuses, which

PATH = "/v1/namespaces/default/work"
#: Runs of even shards are the first instance's.
HERE = [f"r{number}" for number in range(100) if shard_of(f"default/r{number}") % 2 == 0][:9]
THERE = [f"r{number}" for number in range(100) if shard_of(f"default/r{number}") % 2][:9]


@dataclass
class Two:
    """Two instances; workers ask the first."""

    rig: Rig
    here: Table
    there: Table
    other: Rig
    seq: int = 0

    async def ask(self, *, repeat: bool = False, rig: Rig | None = None, want: int = 1, **more: Any) -> dict[str, Any]:
        self.seq += not repeat
        body = {"worker": "w1", "session": "s1", "seq": self.seq, "handlers": ["pack"], "want": want, **more}
        answer = await (rig or self.rig).ask("POST", PATH, body)
        assert answer.status == 200, answer.body
        return answer.json


@asynccontextmanager
async def two(**settings: Any) -> AsyncIterator[Two]:
    store, here, there = MemoryStore(), Table(), Table()
    here.conductors = lambda key: here.plain if shard_of(key) % 2 == 0 else None
    there.conductors = lambda key: there.plain if shard_of(key) % 2 else None
    async with (
        a_rig(store=store, instance="s1", work=here.exchange, **settings) as first,
        a_rig(store=store, instance="s2", work=there.exchange, **settings) as second,
    ):
        for rig in (first, second):
            revision = await first.write(Instance(name=rig.doors.instance, url=rig.doors.url, version="1", since_ms=1))
        for shard in range(64):
            revision = await first.hold(SHARD_HOLDS + shard_name(shard), "s2" if shard % 2 else "s1")
        await second.view.mirror.reached(revision)
        yield Two(first, here, there, second)


@pytest.fixture(autouse=True)
def _no_asides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who has nothing to do here asks others, unless a test is about the other case."""
    monkeypatch.setattr(work_errand, "ASIDE_EVERY_S", 1e9)


def closing(claim: dict[str, Any]) -> dict[str, Any]:
    return {**which(claim), "label": "done"}


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_work_of_another_instance_is_done_by_who_waits_here(token: str | None) -> None:
    async with two(token=token) as both, asyncio.TaskGroup() as group:
        asked = group.create_task(both.ask(wait="30s"))
        while not both.there.exchange._asking:
            await asyncio.sleep(0.001)
        both.there.plain.start(THERE[0])
        claim = (await asked)["claims"][0]
        assert claim["run"] == THERE[0]
        # What goes on is kept there, and what is done goes back there.
        assert "lost" not in await both.ask(want=0, heartbeats=[which(claim)])
        assert statuses(await both.ask(want=0, closings=[closing(claim)])) == [200]
        assert both.there.plain.closed
        assert lost(await both.ask(want=0, heartbeats=[which(claim)]))


async def test_what_is_here_goes_before_what_is_elsewhere_and_nobody_gets_more_than_wanted() -> None:
    async with two() as both:
        both.here.plain.start(HERE[0], "a")
        both.there.plain.start(THERE[0], "x", "y", "z")
        assert ops(await both.ask(want=2, wait="30s")) == ["a"]
        assert ops(await both.ask(want=2, wait="30s")) == ["x", "y"]
        assert len(both.there.plain.tokens) == 2


async def test_closings_go_to_whoever_conducts_each_run_and_results_keep_their_order() -> None:
    async with two() as both:
        both.here.plain.start(HERE[0], "a")
        both.there.plain.start(THERE[0], "x", "y")
        own = (await both.ask(want=2, wait="30s"))["claims"]
        away = (await both.ask(want=2, wait="30s"))["claims"]
        sent = [
            closing(away[0]),
            closing(own[0]),
            closing(away[1] | {"token": "no"}),
            closing(own[0] | {"run": HERE[1]}),
        ]
        answer = await both.ask(want=0, closings=sent)
        assert statuses(answer) == [200, 200, 409, 409]
        assert [one["run"] for one in answer["results"]] == [THERE[0], HERE[0], THERE[0], HERE[1]]
        assert await both.ask(repeat=True) == answer


async def test_who_waits_here_is_told_when_there_is_work_here() -> None:
    async with two() as both, asyncio.TaskGroup() as group:
        asked = group.create_task(both.ask(wait="30s"))
        while not both.there.exchange._asking:
            await asyncio.sleep(0.001)
        both.here.plain.start(HERE[0])
        assert ops(await asked) == ["a"]
        # And looks no longer.
        while both.there.exchange._asking:
            await asyncio.sleep(0.001)
        both.there.plain.start(THERE[0])
        await settled()
        assert both.there.plain.tokens == {}


async def test_what_was_claimed_with_an_answer_that_was_lost_comes_with_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work_errand, "WITHIN_S", 0.2)
    monkeypatch.setattr(work_errand, "SHUNNED_S", 0.0)
    async with two() as both:
        both.there.plain.durable.clear()
        both.there.plain.start(THERE[0], "x", "y")
        assert await both.ask(wait="500ms") == {"seq": 1}
        assert len(both.there.plain.tokens) == 1
        both.there.plain.durable.set()
        assert ops(await both.ask()) == ["x"]
        assert len(both.there.plain.tokens) == 1


async def test_an_instance_that_does_not_answer_costs_no_closing_and_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_errand, "WITHIN_S", 0.2)
    async with two() as both:
        both.there.plain.start(THERE[0], "x")
        claim = (await both.ask(wait="30s"))["claims"][0]
        both.there.plain.durable.clear()
        answer = await both.ask(want=0, closings=[closing(claim)], heartbeats=[which(claim)])
        assert (statuses(answer), lost(answer)) == ([503], {})
        both.there.plain.durable.set()
        assert statuses(await both.ask(want=0, closings=[closing(claim)])) == [200]


async def test_who_has_lost_something_elsewhere_is_told() -> None:
    async with two() as both:
        both.there.plain.start(THERE[0], "x")
        claim = (await both.ask(wait="30s"))["claims"][0]
        both.there.plain.withdraw(THERE[0], "x", "cancelled")
        answer = await both.ask(want=0, wait="30s", heartbeats=[which(claim)])
        assert lost(answer) == {"x": "cancelled"}


async def test_others_are_served_now_and_then_however_much_there_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_errand, "ASIDE_EVERY_S", 0.0)
    async with two() as both:
        both.here.plain.start(HERE[0], *"abc")
        both.there.plain.start(THERE[0], "x")
        assert ops(await both.ask(want=2)) == ["a", "x"]
        # Another worker asks for some elsewhere at once, for there was something.
        monkeypatch.setattr(work_errand, "ASIDE_EVERY_S", 1e9)
        both.there.plain.start(THERE[1], "y", "z")
        assert ops(await both.ask(want=1)) == ["y"]
        assert ops(await both.ask(want=1)) == ["z"]
        assert ops(await both.ask(want=1)) == ["b"]


async def test_what_is_passed_on_is_not_passed_on_again() -> None:
    async with two() as both:
        claim = {"run": HERE[0], "op": "a", "visit": 1, "attempt": 1, "token": "t"}
        body = {"worker": "w1", "session": "s1", "seq": 1, "closings": [closing(claim)]}
        answer = await both.other.ask("POST", PATH, body, **{"Harpoon-Passed-On": "s1"})
        assert statuses(answer.json) == [503]
        assert not both.here.plain.log


async def test_a_look_shows_what_is_here_and_takes_nothing() -> None:
    async with two() as both:
        look = {"handlers": ["pack"]}
        assert (await both.other.ask("POST", PATH + "/look", look)).json == {"ready": False}
        both.there.plain.start(THERE[0], "x")
        assert (await both.other.ask("POST", PATH + "/look", look | {"wait": "30s"})).json == {"ready": True}
        assert (await both.rig.ask("POST", PATH + "/look", look | {"wait": "10ms"})).json == {"ready": False}
        assert both.there.plain.tokens == {}
