"""Sessions of workers: numbers, answers, successors and silence."""

from harpoon.core.sessions import FORGET_MS, QUIET_MS, Sessions, Turn, answered, turn
from tests.core.exchanging import a_session


def test_a_request_is_answered_once_and_told_again_until_the_next_acknowledges_it() -> None:
    session = Sessions().enter(a_session(), 0)
    assert turn(session, 7) is Turn.NEW
    answered(session, 7, b"seven")
    assert (turn(session, 7), session.answer) == (Turn.AGAIN, b"seven")
    assert turn(session, 6) is Turn.STALE
    assert turn(session, 8) is turn(session, 90) is Turn.NEW
    answered(session, 8, b"eight")
    assert (turn(session, 7), session.answer) == (Turn.STALE, b"eight")


def test_a_session_is_known_by_its_namespace_worker_and_id() -> None:
    sessions = Sessions()
    first = sessions.enter(a_session(), 5)
    assert sessions.enter(a_session(), 9) is sessions.find(a_session()) is first
    assert (first.born_ms, first.heard_ms) == (5, 9)
    # A clock that was set back takes nothing away.
    sessions.enter(a_session(), 7)
    assert first.heard_ms == 9
    other = sessions.enter(a_session(namespace="else"), 5)
    assert sessions.find(a_session("w2")) is None
    assert sessions.namespaces() == ["default", "else"]
    assert (sessions.of("default"), sessions.of("else"), len(sessions)) == ([first], [other], 2)


def test_a_later_session_of_a_worker_supersedes_the_earlier_until_it_is_quiet() -> None:
    sessions = Sessions()
    first = sessions.enter(a_session(session="z"), 0)
    second = sessions.enter(a_session(session="a"), 0)
    sessions.enter(a_session("w2"), 0)
    sessions.enter(a_session(session="n", namespace="else"), 0)
    assert sessions.is_superseded(first, 0)
    assert not sessions.is_superseded(second, 0)
    assert sessions.is_superseded(first, QUIET_MS)
    assert not sessions.is_superseded(first, QUIET_MS + 1)
    # A request that is still being answered is word of it.
    second.under_way = 1
    assert sessions.is_superseded(first, QUIET_MS + 1)


def test_a_session_that_is_quiet_for_long_is_forgotten() -> None:
    sessions = Sessions()
    first, second = sessions.enter(a_session(), 0), sessions.enter(a_session(session="s2"), 10)
    assert sessions.forget(FORGET_MS) == []
    first.under_way = 1
    assert sessions.forget(FORGET_MS + 1) == []
    first.under_way = 0
    assert sessions.forget(FORGET_MS + 1) == [first]
    assert sessions.forget(FORGET_MS + 11) == [second]
    assert (len(sessions), sessions.find(a_session())) == (0, None)
    assert sessions.enter(a_session(), FORGET_MS + 20).seq == 0


def test_a_session_that_leaves_in_peace_is_forgotten_sooner() -> None:
    sessions = Sessions()
    session = sessions.enter(a_session(), 0)
    session.is_draining = True
    assert sessions.forget(QUIET_MS) == []
    assert sessions.forget(QUIET_MS + 1) == [session]
