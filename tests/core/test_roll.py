"""Which workers there are."""

from harpoon.core.exchange import Exchange
from harpoon.core.roll import roll, united
from harpoon.core.sessions import QUIET_MS, Sessions
from tests.core.exchanging import a_session, an_asker, an_offer, take


def test_workers_are_told_by_name_with_their_sessions_and_what_they_have() -> None:
    exchange, sessions = Exchange(), Sessions()
    sessions.enter(a_session("w2", "s2"), 3).handlers = ("sign", "pack")
    sessions.enter(a_session("w1", "old"), 1).handlers = ("gone",)
    young = sessions.enter(a_session("w1", "s1"), 2)
    young.handlers, young.want, young.is_draining = ("pack",), 4, True
    sessions.enter(a_session("w1", "s1", namespace="else"), 2).handlers = ("pack",)
    sessions.enter(a_session("w1-returning"), 2)
    exchange.offer([an_offer(op="a"), an_offer(op="b")], 0)
    take(exchange, an_asker("w1", want=2))
    first, second = roll(exchange, sessions, "default", 4)
    assert (first.name, first.handlers, first.busy, first.since_ms, first.heard_ms) == ("w1", ("pack",), 2, 1, 2)
    assert [(one.id, one.want, one.busy, one.is_draining) for one in first.sessions] == [
        ("old", 0, 0, False),
        ("s1", 4, 2, True),
    ]
    assert (second.name, second.handlers, second.busy, second.is_quiet) == ("w2", ("pack", "sign"), 0, False)
    exchange.advance(an_offer(op="b").id, {"percent": 30})
    told = roll(exchange, sessions, "default", 4)[0].sessions[1].attempts
    assert [(one.run, one.op, one.visit, one.attempt, one.progress) for one in told] == [
        ("r1", "a", 1, 1, None),
        ("r1", "b", 1, 1, {"percent": 30}),
    ]
    assert [one.is_quiet for one in roll(exchange, sessions, "default", QUIET_MS + 3)] == [True, False]


def test_what_several_instances_have_heard_of_a_session_is_put_together() -> None:
    rolls = []
    for heard_ms, want in ((5, 1), (9, 3), (7, 2)):
        exchange, sessions = Exchange(), Sessions()
        session = sessions.enter(a_session(), heard_ms)
        session.handlers, session.want = (f"h{heard_ms}",), want
        exchange.offer([an_offer()], 0)
        take(exchange, an_asker())
        rolls.append(roll(exchange, sessions, "default", QUIET_MS + 8))
    (worker,) = united(rolls)
    (session,) = worker.sessions
    assert (worker.name, worker.handlers, worker.busy, worker.is_quiet) == ("w1", ("h9",), 3, False)
    assert (session.since_ms, session.heard_ms, session.want, session.busy, session.is_quiet) == (5, 9, 3, 3, False)
    assert len(session.attempts) == 3
    assert united([]) == []
