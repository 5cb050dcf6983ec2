"""How a run is shown: the states of its visits, what they wait for, when their clocks are due, and what is left out."""

from itertools import chain

import pytest

from harpoon.core import run_picture
from harpoon.core.chronicle import read
from harpoon.core.event import Claimed, Closed, Ended, Event, Opened, Started
from harpoon.core.run_groups import UNKNOWN, Most, Plot
from harpoon.core.run_picture import attempts, measures, signals, span_ms_of, visits
from harpoon.model.label import Member
from harpoon.model.run import Status
from harpoon.model.visit_shown import VisitState
from tests.core.flow import begun, each, spec, work
from tests.core.histories import BEGAN_MS, CANCELLED, PAUSED, REFUNDED, TOKEN, a_plot, a_spec
from tests.workflows import a_workflow

NOW_MS = BEGAN_MS + 2_000
FLOW = a_workflow(
    later={"wait": {"for": "10m"}},
    at={"wait": {"until": "${1}"}},
    keyed={"wait": {"signal": "paid", "key": "${1}"}, "timeout": "4h"},
    size={"choose": [{"else": "small"}]},
    ask={"wait": {"callback": True}, "timeout": "4h"},
)


@pytest.mark.parametrize(
    ("length", "op", "state", "waits_for", "due"),
    [
        (1, "pay_back", VisitState.READY, "a worker that offers payments.refund", 3_600_000),
        (2, "pay_back", VisitState.RUNNING, "", 30_010),
        (3, "pay_back", VisitState.RETRYING, "its attempt 2, at 2026-09-21T14:13:21Z, after fail: no funds", 3_601_020),
        (6, "pay_back", VisitState.CLOSED, "", None),
        (8, "wait_human", VisitState.WAITING, "signal decision with key o-1", 14_401_400),
    ],
)
def test_a_visit_is_shown_as_it_stands(
    length: int, op: str, state: VisitState, waits_for: str, due: int | None
) -> None:
    shown, left = visits(read(REFUNDED[:length]), a_plot(), BEGAN_MS + 900)
    one = next(one for one in shown if one.op == op)
    assert (one.state, one.waits_for, left) == (state, waits_for, 0)
    assert one.due_ms == (None if due is None else BEGAN_MS + due)


@pytest.mark.parametrize(
    ("error", "told"),
    [("", "after fail"), ("no funds", "after fail: no funds"), ("x" * 201, f"after fail: {'x' * 200}…")],
)
def test_a_retry_says_in_short_why(error: str, told: str) -> None:
    (visit,) = read([*REFUNDED[:2], REFUNDED[2]._replace(error=error)]).visits.values()
    assert run_picture.after(visit) == told


def test_a_retry_that_is_due_may_be_claimed() -> None:
    shown, _ = visits(read(REFUNDED[:4]), a_plot(), BEGAN_MS + 1_020)
    assert (shown[0].state, shown[0].attempts, shown[0].kind) == (VisitState.READY, 2, "worker")
    assert shown[0].label is None


def test_what_is_paused_waits_for_that() -> None:
    shown, _ = visits(read(PAUSED[:12]), a_plot(), NOW_MS)
    assert [one.waits_for for one in shown] == ["", "", "", "the run to be resumed"]


def test_waits_of_each_kind_say_what_for() -> None:
    opened = (
        Opened("later", 1, due_ms=BEGAN_MS + 600_000),
        Opened("at", 1),
        Opened("keyed", 1, key="o-1"),
        Opened("size", 1, error="no such key"),
        Opened("ask", 1, key="ask/1"),
    )
    plot = Plot(operations=a_spec(FLOW).operations, most={"later": Most(visits=1, attempts=1, span_ms=700)})
    shown, _ = visits(read([Started(1, BEGAN_MS, opened)]), plot, NOW_MS)
    assert [(one.kind, one.waits_for, one.error) for one in shown] == [
        ("wait", "until 2026-09-21T14:23:20Z", ""),
        ("wait", "its turn", ""),
        ("wait", "signal paid with key o-1", ""),
        ("choose", "its turn", "no such key"),
        ("wait", "its callback", ""),
    ]
    assert [one.due_ms for one in shown[:3]] == [
        BEGAN_MS + 600_000,
        BEGAN_MS + 86_400_000,
        BEGAN_MS + 14_400_000,
    ]
    assert [one.span_max_ms for one in shown] == [700, None, None, None, None]


def test_a_workflow_that_is_not_kept_any_more_is_not_guessed_at() -> None:
    shown, _ = visits(read(REFUNDED[:1]), UNKNOWN, NOW_MS)
    assert (shown[0].kind, shown[0].waits_for, shown[0].due_ms) == ("", "a worker that offers its handler", None)
    told = measures(read(REFUNDED), UNKNOWN, (), NOW_MS)[0]
    assert (told.op, told.visits_max) == ("pay_back", None)


def test_attempts_are_told_one_by_one() -> None:
    told = list(attempts(read(CANCELLED), a_plot(), NOW_MS))
    assert [(one.op, one.attempt, one.label, one.worker) for one in told] == [
        ("pay_back", 1, "fail", "w1"),
        ("pay_back", 2, "fail", "w2"),
        ("ask_human", 1, "done", "w1"),
        ("wait_human", 1, "rejected", None),
        ("tell", 1, "cancelled", None),
    ]
    assert told[0].input == {"order": "o-1"}
    assert (told[0].error, told[3].output, told[4].state) == ("no funds", {"by": "ann"}, VisitState.CLOSED)


def test_operations_are_measured_beside_what_they_may_come_to() -> None:
    most = {"pay_back": Most(visits=4, attempts=32, span_ms=1)}
    told = {one.op: one for one in measures(read(CANCELLED), a_plot(**most), ("incident",), NOW_MS)}
    paid, incident = told["pay_back"], told["incident"]
    assert (paid.visits, paid.visits_max, paid.attempts, paid.attempts_max, paid.is_skipped) == (1, 4, 2, 32, False)
    assert (incident.visits, incident.visits_max, incident.is_skipped) == (0, None, True)
    assert not any(one.is_skipped for one in measures(read(REFUNDED), a_plot(), (), NOW_MS))


def did(length: int, op: str, now_ms: int = NOW_MS) -> list[tuple[str, int, int | None]]:
    """What the visit of an operation did, in milliseconds from the beginning, after so many events."""
    shown, _ = visits(read(REFUNDED[:length]), a_plot(), now_ms)
    told = next(one for one in shown if one.op == op).stretches
    return [
        (one.phase.value, one.from_ms - BEGAN_MS, None if one.to_ms is None else one.to_ms - BEGAN_MS) for one in told
    ]


def test_what_a_visit_did_is_told_phase_by_phase() -> None:
    assert did(1, "pay_back") == [("queue", 0, None)]
    assert did(2, "pay_back") == [("queue", 0, 10), ("work", 10, None)]
    # It may be claimed again later.
    assert did(3, "pay_back") == [("queue", 0, 10), ("work", 10, 20), ("wait", 20, 1020), ("queue", 1020, None)]
    tried = [("queue", 0, 10), ("work", 10, 20), ("wait", 20, 1020), ("queue", 1020, 1100), ("work", 1100, 1200)]
    assert did(6, "pay_back") == tried
    assert did(8, "wait_human") == [("wait", 1400, None)]
    assert did(11, "wait_human") == [("wait", 1400, 1600)]


def test_what_has_items_waits_for_them_while_they_are_worked_at() -> None:
    flow = begun(spec(a=work("w", foreach=each([1, 2], parallel=1))))
    flow.do("a[]")
    shown, _ = visits(read(flow.log), Plot(operations=flow.spec.operations, most={}), flow.now)
    assert [(one.op, [phase.phase.value for phase in one.stretches]) for one in shown if one.op == "a"] == [
        ("a", ["wait"])
    ]
    told = measures(read(flow.log), Plot(operations=flow.spec.operations, most={}), (), flow.now + 500)[0]
    assert (told.op, told.queue_ms, told.work_ms, told.wait_ms) == ("a", 500, 0, 0)


def test_what_is_cancelled_before_it_can_be_tried_again_waited_until_then() -> None:
    cut = (*REFUNDED[:3], Ended(4, BEGAN_MS + 500, Status.CANCELLED, None, "no more"))
    shown, _ = visits(read(cut), a_plot(), NOW_MS)
    assert [(one.phase.value, one.to_ms) for one in shown[0].stretches[2:]] == [("wait", BEGAN_MS + 500)]
    at_once = (Started(1, BEGAN_MS, (Opened("pay_back", 1),)), Claimed(2, BEGAN_MS, "pay_back", 1, 1, TOKEN, "w1"))
    shown, _ = visits(read(at_once), a_plot(), NOW_MS)
    assert [one.phase.value for one in shown[0].stretches] == ["work"]
    again = (*at_once, Closed(3, BEGAN_MS + 5, "pay_back", 1, 1, TOKEN, "lost", None, "", (), BEGAN_MS + 5))
    shown, _ = visits(read(again), a_plot(), NOW_MS)
    assert [one.phase.value for one in shown[0].stretches] == ["work", "queue"]


def test_operations_are_measured_by_what_their_time_went_into() -> None:
    told = {one.op: one for one in measures(read(REFUNDED[:8]), a_plot(), (), BEGAN_MS + 1_450)}
    paid, waits, tell = told["pay_back"], told["wait_human"], told["tell"]
    assert (paid.queue_ms, paid.work_ms, paid.wait_ms, paid.latest_ms) == (90, 110, 1_000, 1_200)
    assert (waits.queue_ms, waits.work_ms, waits.wait_ms, waits.latest_ms) == (0, 0, 50, 50)
    assert (tell.latest_ms, tell.span_max_ms) == (None, None)
    early = {one.op: one for one in measures(read(REFUNDED[:3]), a_plot(), (), BEGAN_MS + 120)}["pay_back"]
    assert (early.queue_ms, early.work_ms, early.wait_ms) == (10, 10, 100)


def test_signals_that_nothing_consumed_are_told() -> None:
    assert [(one.id, one.name, one.key, one.label) for one in signals(read(REFUNDED))] == [
        ("d-0", "other", None, "done")
    ]


def test_of_a_long_run_the_latest_visits_are_told_and_all_that_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_picture, "VISITS_SHOWN", 2)
    turns: list[list[Event]] = [
        [
            Claimed(2 * turn, BEGAN_MS, "tell", turn, 1, TOKEN, "w1"),
            Closed(2 * turn + 1, BEGAN_MS, "tell", turn, 1, TOKEN, "done", opened=(Opened("tell", turn + 1, 0),)),
        ]
        for turn in range(1, 5)
    ]
    first = Started(1, BEGAN_MS, (Opened("ask_human", 1), Opened("tell", 1)))
    shown, left = visits(read([first, *chain(*turns)]), a_plot(), NOW_MS)
    assert [(one.op, one.visit) for one in shown] == [("ask_human", 1), ("tell", 4), ("tell", 5)]
    assert left == 3


def test_members_are_written_as_needs_has_them() -> None:
    assert run_picture.joined([Member("a", "done"), Member("ask", "approved")]) == "a, ask.approved"


def test_how_long_a_visit_may_take_follows_from_its_retries_and_clocks() -> None:
    operations = a_spec().operations
    # Eight attempts of an hour and half a minute each, and seven pauses of at most 1m and a fifth more.
    assert span_ms_of(operations["pay_back"]) == 8 * 3_630_000 + 7 * 72_000
    assert span_ms_of(operations["wait_human"]) == 4 * 3_600_000
    assert span_ms_of(a_spec(FLOW).operations["later"]) == 600_000


def test_a_call_shows_the_run_that_each_attempt_has_started() -> None:
    plot = Plot(operations=a_spec(a_workflow(pack={"call": {"workflow": "ship"}})).operations, most={})
    events = [
        Started(1, BEGAN_MS, (Opened("pack", 1),)),
        Claimed(2, BEGAN_MS, "pack", 1, 1, "t", "harpoon", "s1"),
        Closed(3, BEGAN_MS, "pack", 1, 1, "t", "fail", None, "", (), BEGAN_MS),
    ]
    assert [one.run for one in attempts(read(events), plot, NOW_MS, "o-1")] == ["o-1~pack.1", None]
    events.append(Claimed(4, BEGAN_MS, "pack", 1, 2, "u", "harpoon", "s1"))
    shown, _ = visits(read(events), plot, NOW_MS, "o-1")
    assert (shown[0].kind, shown[0].run) == ("call", "o-1~pack.1.2")
