"""Who there is to do the work, and what an attempt waits for."""

from harpoon.core.crew import Crew, Wait, crew, waits_for
from harpoon.core.exchange import Exchange
from harpoon.core.homes import Standing
from harpoon.core.sessions import QUIET_MS, Session, Sessions
from tests.core.exchanging import a_session, an_asker, an_id, an_offer, take


def a_worker(sessions: Sessions, worker: str = "w1", *, want: int = 1, now_ms: int = 0, session: str = "s1") -> Session:
    found = sessions.enter(a_session(worker, session), now_ms)
    found.handlers, found.want, found.is_asking = ("pack",), want, True
    return found


def wait_of(exchange: Exchange, sessions: Sessions, now_ms: int = 0, **which) -> Wait:
    found = waits_for(exchange, sessions, an_id(**which), now_ms)
    assert found is not None
    return found.wait


def test_what_is_not_here_waits_for_nothing_here() -> None:
    assert waits_for(Exchange(), Sessions(), an_id(), 0) is None


def test_workers_that_are_not_there_are_busy_or_are_not_heard_are_told_apart() -> None:
    exchange, sessions = Exchange(), Sessions()
    exchange.offer([an_offer()], 0)
    a_worker(sessions, "other").handlers = ("sign",)
    # It only brings back what another session of its worker took.
    a_worker(sessions, "returning").is_asking = False
    assert wait_of(exchange, sessions) is Wait.NO_WORKER
    session = a_worker(sessions)
    assert wait_of(exchange, sessions) is Wait.TURN
    session.want = 0
    assert wait_of(exchange, sessions) is Wait.BUSY
    a_worker(sessions, "w2")
    assert wait_of(exchange, sessions) is Wait.TURN
    assert wait_of(exchange, sessions, QUIET_MS + 1) is Wait.UNREACHABLE
    for one in sessions.of("default"):
        one.is_draining = True
    assert wait_of(exchange, sessions) is wait_of(exchange, sessions, QUIET_MS + 1) is Wait.NO_WORKER


def test_where_an_attempt_stands_goes_before_who_is_there() -> None:
    exchange, sessions = Exchange(), Sessions()
    exchange.offer([an_offer(op=name, limit=("k", 1)) for name in "ab"], 0)
    exchange.offer([an_offer(op="c", ready_ms=9)], 0)
    take(exchange, an_asker(want=9))
    assert [wait_of(exchange, sessions, op=name) for name in "abc"] == [Wait.CLAIMED, Wait.LIMIT, Wait.BACKOFF]
    found = waits_for(exchange, sessions, an_id(op="b"), 0)
    assert found is not None
    assert (found.standing, found.offer.handler) == (Standing(1, ("r1",)), "pack")
    found = waits_for(exchange, sessions, an_id(op="c"), 0)
    assert found is not None
    assert found.standing is None


def test_a_crew_is_counted_by_the_present_session_of_each_worker() -> None:
    exchange, sessions = Exchange(), Sessions()
    a_worker(sessions, "w1", want=3, session="old")
    a_worker(sessions, "w1", want=0)
    a_worker(sessions, "w2", want=2)
    a_worker(sessions, "w3").is_draining = True
    exchange.offer([an_offer(op="a"), an_offer(op="b")], 0)
    take(exchange, an_asker("w1", want=2))
    assert crew(exchange, sessions, "default", "pack", 0) == Crew(2, 1, 2, 0, None, 1)
    a_worker(sessions, "w2", now_ms=7)
    a_worker(sessions, "w1", now_ms=5)
    now = QUIET_MS + 6
    assert crew(exchange, sessions, "default", "pack", now) == Crew(1, 0, 0, 1, 5, 0)
