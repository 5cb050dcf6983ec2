"""The work exchange: what a worker's request gets, what waits for what, and what a lost answer costs."""

import asyncio

import pytest

from harpoon.control import work
from harpoon.control.orders import Refusal
from harpoon.core.offers import SessionId
from harpoon.core.sessions import FORGET_MS, QUIET_MS
from harpoon.kit.errors import Conflict, Unavailable
from tests.control.working import GONE, NAMESPACE, Table, a_beat, a_closing, durable, lost, ops, settled, statuses


async def test_a_claim_has_all_that_a_worker_needs() -> None:
    table = Table()
    table.plain.start("r1", "a", ready_ms=table.clock.wall - 5)
    answer = await table.ask()
    assert answer == {
        "seq": 1,
        "claims": [
            {
                "run": "r1",
                "workflow": "ship",
                "op": "a",
                "visit": 1,
                "attempt": 1,
                "token": "t1",
                "handler": "pack",
                "input": {"op": "a"},
                "key": "default/r1/a/1",
                "timeout_ms": 300_000,
                "heartbeat_ms": 30_000,
                "queued_ms": 5,
                "labels": ["done", "fail"],
            }
        ],
    }


async def test_with_nothing_to_tell_and_no_time_to_wait_the_answer_is_empty() -> None:
    assert await Table().ask() == {"seq": 1}


async def test_who_waits_is_woken_by_what_comes() -> None:
    table = Table()
    async with table.waiting() as asked:
        table.plain.start("r1", "a", "b")
        assert ops(await asked) == ["a"]


async def test_what_comes_for_another_handler_wakes_nobody() -> None:
    table = Table()
    async with table.waiting() as asked:
        table.plain.start(handler="sign")
        await settled()
        assert not asked.done()


async def test_waiting_ends_with_its_time() -> None:
    assert await Table().ask(wait_s=0.01) == {"seq": 1}


async def test_a_retry_wakes_who_waits_when_its_time_comes() -> None:
    table = Table()
    async with table.waiting() as asked:
        table.plain.start(ready_ms=table.clock.wall + 20)
        await settled()
        assert not asked.done()
        table.clock.wall += 20
        assert ops(await asked) == ["a"]
    # A timer that is early, or none too soon, does no harm.
    table.plain.start("r2", ready_ms=table.clock.wall + 5)
    table.plain.start("r3", ready_ms=table.clock.wall + 1)
    async with table.waiting(seq=2, want=9) as asked:
        await asyncio.sleep(0.01)
        assert not asked.done()
        table.clock.wall += 1
        assert [claim["run"] for claim in (await asked)["claims"]] == ["r3"]


async def test_nothing_is_told_before_it_is_durable() -> None:
    table = Table()
    table.plain.start()
    table.plain.durable.clear()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(table.ask())
        await settled()
        assert not asked.done()
        table.plain.durable.set()
    assert ops(asked.result()) == ["a"]


async def test_what_is_brought_back_makes_room_and_goes_with_what_is_taken() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    first = await table.ask()
    table.plain.log.clear()
    answer = await table.ask(seq=2, closings=[a_closing(first["claims"][0], output={"n": 1})])
    assert (statuses(answer), ops(answer)) == ([200], ["b"])
    # In one go: nothing was awaited between the two.
    assert table.plain.log == [("close", 1), ("claim", 1)]


async def test_what_a_closing_opens_is_taken_by_the_same_request() -> None:
    table = Table()
    table.plain.start()
    first = await table.ask()
    table.plain.then = lambda _key, _ref: table.plain.start("r1", "b")
    answer = await table.ask(seq=2, closings=[a_closing(first["claims"][0])])
    assert (statuses(answer), ops(answer)) == ([200], ["b"])
    assert [name for name, _ in table.plain.log] == ["claim", "close", "claim"]


async def test_a_closing_frees_its_limit_for_the_same_request() -> None:
    table = Table()
    table.plain.start("r1", "a", "b", most=1)
    first = await table.ask(want=5)
    assert ops(first) == ["a"]
    answer = await table.ask(seq=2, want=5, closings=[a_closing(first["claims"][0])])
    assert (statuses(answer), ops(answer)) == ([200], ["b"])


async def test_each_closing_has_a_result_of_its_own() -> None:
    table = Table()
    table.plain.start("r1", "a", "b", "c")
    claims = (await table.ask(want=3))["claims"]
    answer = await table.ask(
        seq=2,
        want=0,
        closings=[
            a_closing(claims[0]),
            a_closing(claims[1], "strange"),
            a_closing(claims[2] | {"token": "mine"}),
            a_closing(claims[2] | {"op": "never"}),
            a_closing(claims[2] | {"run": "r9"}),
        ],
    )
    assert statuses(answer) == [200, 422, 409, 404, 409]
    assert answer["results"][1] == {
        "run": "r1", "op": "b", "visit": 1, "attempt": 1, "status": 422,
        "title": "Unprocessable Content", "detail": "it offers done and fail",
    }  # fmt: skip
    # What was refused is open, and the worker's still; what was closed is answered alike again.
    again = await table.ask(seq=3, want=0, closings=[a_closing(one) for one in claims])
    assert statuses(again) == [200, 200, 200]
    late = await table.ask(seq=4, want=0, closings=[a_closing(claims[0], "fail")])
    assert statuses(late) == [409]


async def test_what_nobody_here_knows_is_to_be_brought_again_and_is_not_lost() -> None:
    table = Table()
    table.plain.start()
    claim = (await table.ask())["claims"][0]
    table.conductors = lambda _key: None
    answer = await table.ask(seq=2, want=0, closings=[a_closing(claim)], heartbeats=[a_beat(claim)])
    assert statuses(answer) == [503]
    assert "lost" not in answer


async def test_a_heartbeat_keeps_and_what_is_not_kept_is_lost() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    claims = (await table.ask(want=2))["claims"]
    beats = [a_beat(claims[0]), a_beat(claims[1] | {"token": "mine"})]
    answer = await table.ask(seq=2, want=0, heartbeats=beats, wait_s=60)
    assert lost(answer) == {"b": "it is not this worker's any more"}
    assert "lost" not in await table.ask(seq=3, want=0, heartbeats=[a_beat(claims[0])])


async def test_who_waits_is_told_at_once_what_it_has_lost() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    claims = (await table.ask(want=2))["claims"]
    async with table.waiting(seq=2, want=0, heartbeats=[a_beat(one) for one in claims]) as asked:
        table.plain.withdraw("r1", "b", "cancelled")
        assert lost(await asked) == {"b": "cancelled"}
    # It is told once, and again if the answer is asked for again.
    assert lost(await table.ask(seq=2)) == {"b": "cancelled"}
    assert "lost" not in await table.ask(seq=3)


async def test_what_is_lost_while_nobody_waits_is_told_with_the_next_answer() -> None:
    table = Table()
    table.plain.start()
    await table.ask()
    table.plain.withdraw("r1", "a", "timeout")
    assert lost(await table.ask(seq=2, wait_s=60)) == {"a": "timeout"}


async def test_what_is_lost_before_it_was_told_of_is_not_told_of() -> None:
    table = Table()
    table.plain.start()
    table.plain.durable.clear()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(table.ask())
        await settled()
        table.plain.withdraw("r1", "a", "cancelled")
        table.plain.durable.set()
    assert asked.result() == {"seq": 1}


async def test_a_run_that_ends_is_lost_to_all_but_who_ended_it() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    claim = (await table.ask("w1"))["claims"][0]
    other = await table.ask("w2")
    assert ops(other) == ["b"]
    run = table.plain.runs["default/r1"]
    table.plain.then = lambda _key, _ref: table.exchange.over(run, durable())
    answer = await table.ask("w1", seq=2, closings=[a_closing(claim)])
    assert (statuses(answer), lost(answer)) == ([200], {})
    assert lost(await table.ask("w2", seq=2)) == {"b": "the run is over: succeeded"}


async def test_a_run_that_goes_on_elsewhere_is_nobodys_loss() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    await table.ask()
    table.exchange.left(table.plain.runs["default/r1"])
    assert await table.ask(seq=2) == {"seq": 2}


async def test_a_claim_from_before_is_kept_and_told_when_it_is_lost() -> None:
    table = Table()
    table.plain.start()
    await table.ask()
    later = Table()
    later.plain = table.plain
    later.plain.exchange = later.exchange
    ((key, attempt),) = table.plain.open.items()
    attempt.claim = type("Claim", (), {"worker": "w1", "session": "s1"})()  # type: ignore[assignment]
    later.exchange.claimed(table.plain.runs[key[0]], [attempt])
    await later.ask(seq=2)
    later.plain.withdraw("r1", "a", "timeout")
    assert lost(await later.ask(seq=3)) == {"a": "timeout"}
    # Of one that never came back here, nobody is told.
    later.exchange.claimed(table.plain.runs[key[0]], [attempt])
    attempt.claim = type("Claim", (), {"worker": "w9", "session": "s1"})()  # type: ignore[assignment]
    later.exchange.claimed(table.plain.runs[key[0]], [attempt])
    later.exchange.withdrawn(table.plain.runs[key[0]], [attempt.ref], "timeout", durable())
    assert len(later.exchange.core) == 0


# Sessions.


async def test_the_same_request_is_answered_alike_and_nothing_is_done_twice() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    first = await table.raw(want=1)
    assert await table.raw(want=1) == first
    assert [name for name, _ in table.plain.log] == ["claim"]
    assert ops(await table.ask(seq=2)) == ["b"]
    with pytest.raises(Conflict, match="older"):
        await table.ask(seq=1)


async def test_who_asks_again_while_the_first_is_made_durable_is_told_the_same() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    table.plain.durable.clear()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(table.raw())
        await settled()
        again = group.create_task(table.raw())
        await settled()
        table.plain.durable.set()
    assert first.result() == again.result()
    assert table.plain.log == [("claim", 1)]


async def test_what_was_decided_is_told_later_to_who_left_before_it_was_durable() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    table.plain.durable.clear()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(table.ask())
        await settled()
        asked.cancel()
        await settled()
        table.plain.durable.set()
        assert ops(await table.ask()) == ["a"]


async def test_who_leaves_while_it_waits_takes_nothing() -> None:
    table = Table()
    async with table.waiting() as asked:
        asked.cancel()
        await settled()
        table.plain.start()
        assert ops(await table.ask("w2")) == ["a"]
    assert ops(await table.ask()) == []


async def test_who_leaves_when_it_has_just_been_dealt_something_gives_it_back() -> None:
    table = Table()
    async with table.waiting() as asked, table.waiting("w2") as other:
        table.plain.start()
        table.exchange._deal()
        asked.cancel()
        assert ops(await other) == ["a"]


async def test_a_request_takes_the_place_of_one_of_its_session_that_waits() -> None:
    table = Table()

    async def replaced() -> None:
        with pytest.raises(Conflict, match="took the place"):
            await table.ask(wait_s=60)

    async with asyncio.TaskGroup() as group:
        group.create_task(replaced())
        await settled()
        async with table.waiting(want=5) as second:
            table.plain.start("r1", "a", "b")
            assert ops(await second) == ["a", "b"]


async def test_a_later_session_of_a_worker_gets_all_and_the_earlier_gives_back_what_it_has() -> None:
    table = Table()
    table.plain.start("r1", "a", "b", "c")
    claim = (await table.ask(session="old"))["claims"][0]
    await table.ask(session="new")
    answer = await table.ask(session="old", seq=2, closings=[a_closing(claim)])
    assert (statuses(answer), ops(answer), answer["superseded"]) == ([200], [], True)
    # What another instance passes on is another matter.
    assert ops(await table.ask(session="old", via="i2")) == ["c"]
    table.clock.wall += QUIET_MS + 1
    table.plain.start("r2")
    assert ops(await table.ask(session="old", seq=3)) == ["a"]


async def test_a_session_that_waits_is_heard() -> None:
    table = Table()
    async with table.waiting():
        table.clock.wall += QUIET_MS + 1
        session = table.exchange.sessions.find(SessionId(NAMESPACE, "w1", "s1"))
        assert session is not None
        assert not session.is_quiet(table.clock.wall)


async def test_who_drains_takes_nothing_more_and_brings_back_what_it_has() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    claim = (await table.ask())["claims"][0]
    answer = await table.ask(seq=2, want=5, draining=True, closings=[a_closing(claim)])
    assert (statuses(answer), ops(answer)) == ([200], [])
    async with table.waiting(seq=3, want=5, draining=True):
        table.plain.start("r2")
        await settled()


async def test_sessions_that_left_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "SWEEP_S", 0.001)
    table = Table()
    await table.ask()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(table.exchange.run())
        table.clock.wall += FORGET_MS + 1
        while len(table.exchange.sessions):
            await asyncio.sleep(0.001)
        running.cancel()


async def test_there_are_not_more_sessions_than_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "SESSIONS_MAX", 1)
    table = Table()
    await table.ask()
    with pytest.raises(Unavailable, match="sessions"):
        await table.ask("w2")
    await table.ask(seq=2)


# Refusals.


async def test_what_cannot_be_claimed_after_all_is_offered_no_more() -> None:
    table = Table()
    table.plain.start()
    table.plain.refusal = Refusal("taken", "it is not to be had")
    assert await table.ask() == {"seq": 1}
    assert len(table.exchange.core) == 0


@pytest.mark.parametrize("how", ["moved", "full", "nobody"])
async def test_what_cannot_be_claimed_now_is_offered_again(how: str) -> None:
    table = Table()
    table.plain.start()
    table.plain.refusal = GONE if how == "moved" else None
    table.plain.is_full = how == "full"
    if how == "nobody":
        table.conductors = lambda _key: None
    with pytest.raises(Unavailable, match="ask again soon"):
        await table.ask()
    table.plain.refusal, table.plain.is_full, table.conductors = None, False, lambda _key: table.plain
    assert ops(await table.ask()) == ["a"]


async def test_what_is_brought_back_is_told_though_nothing_can_be_claimed_now() -> None:
    table = Table()
    table.plain.start("r1", "a", "b")
    claim = (await table.ask())["claims"][0]
    table.plain.is_full = True
    answer = await table.ask(seq=2, closings=[a_closing(claim)])
    assert (statuses(answer), ops(answer)) == ([200], [])


async def test_one_whose_pause_is_not_over_is_offered_again() -> None:
    table = Table()
    table.plain.start()
    table.plain.refusal = Refusal("early", "it may be claimed in 3 ms")
    assert await table.ask() == {"seq": 1}
    table.plain.refusal = None
    assert ops(await table.ask(seq=2)) == ["a"]
