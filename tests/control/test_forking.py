"""Runs that begin with the log of another one: small or large, of one that goes on or is over, and after a takeover."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from harpoon.control import forking
from harpoon.control.forking import Fork, fork, fork_named
from harpoon.control.run_reader import events_of
from harpoon.core.event import Ended, RetriedFrom
from harpoon.core.repairing import Audit
from harpoon.kit.errors import Conflict, NotFound, Reused
from harpoon.model.run import Status
from harpoon.model.run_repairs import RunFork
from harpoon.store.memory import MemoryStore
from tests.control.stage import Stage
from tests.control.test_starts import its
from tests.control.test_workflows import declaring, told
from tests.core.flow import spec, work

R1, R2, R3 = its(1), its(2), its(3)
CHAIN = spec(a=work(output_max=1 << 20, visits=3, next={"done": "b", "fail": "a"}), b=work(), start="a")


@asynccontextmanager
async def staged(store):
    stage = Stage(store, CHAIN)
    async with declaring(store) as workflows, stage.at_work():
        await workflows.put(told(CHAIN))
        stage.form = await workflows.form("shop", "refund")
        yield stage, workflows


async def forked(stage, workflows, id_, op="b", source=R1, **fields):
    header, _ = await stage.stored(source)
    raw = {"from": op, **fields}
    named = fork_named({**raw, "id": id_}, f"/{source}", None)
    asked = Fork(header, named.id, named.body_hash, RunFork(from_=op, **fields), Audit("ann", "try", "k1"))
    return await fork(stage.conductor, stage.reader, workflows, asked, stage.clock.ms)


async def test_a_fork_goes_on_by_itself_and_its_log_tells_where_it_is_from() -> None:
    store = MemoryStore()
    async with staged(store) as (stage, workflows):
        await stage.start(R1, tags={"team": "shop"})
        await stage.do(R1, "a", output=1)
        ref, token = await stage.claim(R1, "b")
        begun = await forked(stage, workflows, R2)
        assert (begun.id, begun.is_new, begun.status) == (R2, True, Status.RUNNING)
        assert not (await forked(stage, workflows, R2)).is_new
        header, records = await stage.stored(R2)
        assert (header.origin, header.forked_ms, header.tags) == (R1, stage.clock.ms, {"team": "shop"})
        kinds = [type(event).__name__ for event in events_of(header, records)]
        assert kinds == ["Started", "Claimed", "Closed", "Claimed", "CancelAsked", "Ended", "RetriedFrom"]
        assert stage.notes.offered() == [(R2, "b")]
        # What the other one's worker does is nothing to it.
        assert (await stage.close(R2, ref, token)).code == "late"
        assert await stage.close(R1, ref, token) is None
        await stage.do(R2, "b")
        assert [(await stage.stored(run))[0].status for run in (R1, R2)] == [Status.SUCCEEDED] * 2
        await forked(stage, workflows, R3, "a", source=R2)
        events = events_of(*(await stage.stored(R3)))
        assert [type(event) for event in events].count(Ended) == 2
        hold = await stage.sealed()
    stage = Stage(store, CHAIN, "other")
    stage._graph = lambda *_: _graph(stage)
    async with stage.at_work(hold):
        assert list(stage.conductor.runs) == [f"shop/{R3}"]
        assert stage.run(R3).repairs == 2


async def _graph(stage):
    return stage.graph


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_an_id_that_is_taken_stays_what_it_is(is_remembered: bool) -> None:
    async with staged(MemoryStore()) as (stage, workflows):
        await stage.start(R1, R2)
        await stage.do(R1, "a")
        await stage.do(R1, "b")
        await stage.do(R2, "a")
        await stage.do(R2, "b")
        if not is_remembered:
            stage.conductor._ended.clear()
        before = await stage.stored(R2)
        with pytest.raises(Reused):
            await forked(stage, workflows, R2)
        assert await stage.stored(R2) == before


async def test_a_large_log_is_copied_whole_and_one_that_is_too_large_is_not(monkeypatch) -> None:
    async with staged(MemoryStore()) as (stage, workflows):
        await stage.start(R1)
        for label in ("fail", "fail", "done"):
            await stage.do(R1, "a", label, output="x" * 900_000)
        await forked(stage, workflows, R2)
        copy, original = [events_of(*(await stage.stored(run))) for run in (R2, R1)]
        assert copy[: len(original)] == original
        assert type(copy[-1]) is RetriedFrom
        await stage.do(R2, "b")
        stage.conductor._ended.clear()
        await forked(stage, workflows, R3, source=R2)
        assert stage.run(R3).scope["ops"]["a"]["output"] == "x" * 900_000
        monkeypatch.setattr(forking, "COPIED_BYTES_MAX", 1000)
        with pytest.raises(Conflict, match="at most 1000 are copied"):
            await forked(stage, workflows, its(4))


async def test_what_cannot_be_gone_on_with_is_not_forked() -> None:
    async with staged(MemoryStore()) as (stage, workflows):
        await stage.start(R1)
        header, _ = await stage.stored(R1)
        with pytest.raises(NotFound):
            await workflows.generations.pin("shop", "refund", "gone")
        gone = replace(header, generation="gone")
        asked = Fork(gone, R2, "h", RunFork(from_="a"), Audit())
        with pytest.raises(Conflict, match="generation gone of workflow refund is not kept, so run"):
            await fork(stage.conductor, stage.reader, workflows, asked, stage.clock.ms)


def test_a_fork_is_named_by_what_was_sent() -> None:
    one, other = (fork_named({"from": "a"}, "/runs/r/fork", key) for key in ("k1", "k1"))
    assert one == other
    assert fork_named({"from": "a"}, "/runs/r/fork", None).id != one.id
    assert fork_named({"from": "a", "id": "x"}, "/p", None).body_hash == fork_named({"from": "a"}, "/p", "k").body_hash
