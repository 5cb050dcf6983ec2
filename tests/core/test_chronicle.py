"""What a log tells of a run: visits, attempts, signals, and how it stands."""

from harpoon.core.chronicle import read
from harpoon.core.event import Paused, Resumed
from harpoon.model.run import Status
from tests.core.histories import BEGAN_MS, CANCELLED, PAUSED, REFUNDED


def test_every_visit_is_told_with_its_attempts() -> None:
    told = read(REFUNDED)
    assert list(told.visits) == [("pay_back", 1), ("ask_human", 1), ("wait_human", 1), ("tell", 1)]
    paid = told.visits["pay_back", 1]
    assert [(one.attempt, one.worker, one.label, one.error) for one in paid.tries] == [
        (1, "w1", "fail", "no funds"),
        (2, "w2", "fail", "no funds"),
    ]
    assert [one.ready_ms - BEGAN_MS for one in paid.tries] == [0, 1020]
    assert (paid.claimed_ms, paid.latest.claimed_ms) == (BEGAN_MS + 10, BEGAN_MS + 1100)
    assert (paid.is_closed, paid.condition, paid.opened.input) == (True, "fail", {"order": "o-1"})
    tell = told.visits["tell", 1]
    assert (tell.is_closed, tell.condition, tell.claimed_ms) == (False, None, None)
    assert (told.attempts, told.seq, told.now_ms) == (5, 11, BEGAN_MS + 1600)


def test_a_signal_is_there_until_it_is_consumed_and_becomes_an_output() -> None:
    before, after = read(REFUNDED[:10]), read(REFUNDED)
    assert list(before.signals) == ["d-0", "d-1"]
    assert list(after.signals) == ["d-0"]
    assert after.visits["wait_human", 1].latest.output == {"by": "ann"}


def test_how_a_run_stands_and_ends() -> None:
    open_ = read(REFUNDED)
    assert (open_.status, open_.ended_ms, open_.is_paused) == (Status.RUNNING, None, False)
    assert read(PAUSED[:12]).is_paused
    assert not read(PAUSED).is_paused
    held = (*PAUSED[:12], Paused(13, BEGAN_MS, is_callers=True), Resumed(14, BEGAN_MS))
    assert (read(held).is_stopped, read(held).is_paused) == (False, True)
    assert not read((*held, Resumed(15, BEGAN_MS, is_callers=True))).is_paused
    over = read(CANCELLED)
    assert (over.status, over.ended_ms, over.reason, over.cancel) == (
        Status.CANCELLED,
        BEGAN_MS + 2000,
        "ordered twice",
        "ordered twice",
    )
    last = over.visits["tell", 1].latest
    assert (last.label, last.ended_ms) == ("cancelled", BEGAN_MS + 2000)
    # What was closed before stays as it was.
    assert over.visits["ask_human", 1].latest.label == "done"
