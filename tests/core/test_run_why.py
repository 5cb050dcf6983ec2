"""Why a run stands as it does: each thing that it may wait for is told apart, with the values that it rests on."""

import pytest

from harpoon.core import run_why
from harpoon.core.chronicle import read
from harpoon.core.crew import Crew, Wait, Waiting
from harpoon.core.event import Claimed, Opened, Paused, Started
from harpoon.core.homes import Standing
from harpoon.core.offers import AttemptId, Limit, Offer
from harpoon.core.outlook import Join
from harpoon.core.run_groups import UNKNOWN, Plot
from harpoon.core.run_why import Floor, summary, why
from harpoon.model.label import Member
from harpoon.model.why import Reason, ReasonCode
from tests.core.histories import BEGAN_MS, CANCELLED, PAUSED, REFUNDED, a_plot, a_spec
from tests.workflows import a_workflow

NOW_MS = BEGAN_MS + 900
CREW = Crew(workers=2, busy=2, held=5, quiet=1, quiet_heard_ms=BEGAN_MS, draining=0)


def first(length: int, floor: Floor | None = None) -> Reason:
    """What is said of a refund so far."""
    return why(read(REFUNDED[:length]), a_plot(), (), floor, NOW_MS)[0]


THREE = Standing(3, ())


def waiting(wait: Wait, *, limit: Limit | None = None, crew: Crew = CREW, standing: Standing = THREE) -> Floor:
    """What the exchange says of the first visit."""
    id_ = AttemptId("default", "o-1", "pay_back", 1, 1)
    offer = Offer(id_, "refund", "payments.refund", BEGAN_MS, limit=limit)
    return {("pay_back", 1): Waiting(wait, offer, crew, None if limit is None else standing)}


@pytest.mark.parametrize(
    ("wait", "code", "sentence"),
    [
        (Wait.NO_WORKER, ReasonCode.NO_WORKER, "waits for a worker: none offers payments.refund; start one that does"),
        (
            Wait.UNREACHABLE,
            ReasonCode.WORKERS_UNREACHABLE,
            "waits for a worker: 1 worker offered payments.refund, and not one was heard of since 2026-09-21T14:13:20Z",
        ),
        (
            Wait.BUSY,
            ReasonCode.WORKERS_BUSY,
            "waits for a worker: 2 workers offer payments.refund, all busy with 5 attempts",
        ),
        (
            Wait.TURN,
            ReasonCode.WORKERS_FREE,
            "is about to be claimed: 2 workers offer payments.refund, and one takes it in its turn",
        ),
    ],
)
def test_who_could_do_it_is_told_apart(wait: Wait, code: ReasonCode, sentence: str) -> None:
    told = first(1, waiting(wait))
    assert (told.code, told.sentence) == (code, f"pay_back (visit 1) {sentence}")
    assert told.evidence["handler"] == "payments.refund"
    assert (told.evidence["workers"], told.evidence["busy"], told.evidence["silent"]) == (2, 2, 1)


@pytest.mark.parametrize(
    ("crew", "wait", "sentence"),
    [
        (Crew(1, 1, 1, 0, None, 0), Wait.BUSY, "1 worker offers payments.refund, busy with 1 attempt"),
        (Crew(0, 0, 0, 0, None, 1), Wait.NO_WORKER, "start one that does; 1 that did is leaving"),
        (Crew(0, 0, 0, 0, None, 2), Wait.NO_WORKER, "start one that does; 2 that did are leaving"),
    ],
)
def test_workers_are_counted(crew: Crew, wait: Wait, sentence: str) -> None:
    assert first(1, waiting(wait, crew=crew)).sentence.endswith(sentence)


def test_a_limit_is_told_with_its_key_and_who_leaves_as_well() -> None:
    crew = CREW._replace(draining=1, quiet_heard_ms=None)
    told = first(1, waiting(Wait.LIMIT, limit=Limit("shop", 3), crew=crew))
    assert told.code is ReasonCode.LIMIT
    assert told.sentence == (
        "pay_back (visit 1) waits for its turn: 3 of at most 3 with key shop are claimed; 1 more is leaving"
    )
    assert (told.evidence["key"], told.evidence["limit"], told.evidence["claimed"]) == ("shop", 3, 3)


@pytest.mark.parametrize(
    ("standing", "sentence"),
    [
        (
            Standing(2, ("r1", "r2")),
            "2 of at most 3 with key shop are claimed, by r1, r2; what is left is given out in turn",
        ),
        (Standing(3, ("r1",), home="i2"), "3 of at most 3 with key shop are claimed, by r1 and others"),
        (
            Standing(0, (), ("i3", "i4"), is_closed=True, home="i2"),
            "i2, which keeps the limit with key shop, does not know yet what is claimed of the runs of i3 and i4",
        ),
        (
            Standing(0, (), is_closed=True),
            "some runs are conducted by nobody now, so what is claimed with key shop is not known",
        ),
        (Standing(1, ("r1",), home="i2", is_silent=True), "i2, which keeps the limit with key shop, does not answer"),
    ],
)
def test_of_a_limit_it_is_told_who_has_its_places_or_who_is_not_heard(standing: Standing, sentence: str) -> None:
    told = first(1, waiting(Wait.LIMIT, limit=Limit("shop", 3), standing=standing))
    assert told.sentence.startswith(f"pay_back (visit 1) waits for its turn: {sentence}")
    assert told.evidence["runs"] == standing.runs
    assert told.evidence.get("home", "") == standing.home
    assert told.evidence.get("unheard", ()) == standing.lacks


def test_where_nobody_can_be_asked_that_is_said() -> None:
    assert first(1).code is ReasonCode.WORKERS_UNKNOWN
    assert first(1).sentence == "pay_back (visit 1) waits for a worker that offers payments.refund"
    told = why(read(REFUNDED[:1]), UNKNOWN, (), {}, NOW_MS)[0]
    assert (told.code, told.sentence) == (ReasonCode.WORKERS_UNKNOWN, "pay_back (visit 1) waits for a worker")


def test_to_a_clock_that_is_behind_a_first_attempt_is_no_retry() -> None:
    told = why(read(REFUNDED[:1]), a_plot(), (), None, BEGAN_MS - 5)[0]
    assert (told.code, told.sentence) == (
        ReasonCode.WORKERS_UNKNOWN,
        "pay_back (visit 1) waits for a worker that offers payments.refund",
    )


def test_claims_retries_and_signals_are_told_with_their_times() -> None:
    claimed, retry, signal = first(2), first(3), first(8)
    assert (claimed.code, claimed.evidence["worker"]) == (ReasonCode.CLAIMED, "w1")
    assert claimed.sentence == "pay_back (visit 1) is with worker w1 since 2026-09-21T14:13:20Z"
    assert (retry.code, retry.evidence["ready_ms"]) == (ReasonCode.RETRY, BEGAN_MS + 1020)
    assert (retry.evidence["condition"], retry.evidence["error"]) == ("fail", "no funds")
    assert retry.sentence == "pay_back (visit 1) waits for its attempt 2, at 2026-09-21T14:13:21Z, after fail: no funds"
    assert (signal.code, signal.evidence["signal"], signal.evidence["key"]) == (ReasonCode.SIGNAL, "decision", "o-1")
    assert signal.sentence == (
        "wait_human (visit 1) waits for signal decision with key o-1, until 2026-09-21T18:13:21Z"
    )


def test_times_are_told_by_what_ends_them() -> None:
    flow = a_workflow(
        later={"wait": {"for": "10m"}},
        free={"wait": {"signal": "go"}},
        pick={"choose": [{"else": "a"}]},
        ask={"wait": {"callback": True}, "timeout": "1h"},
    )
    later = Opened("later", 1, due_ms=BEGAN_MS + 600_000)
    opened = (later, Opened("free", 1), Opened("pick", 1), Opened("ask", 1, key="ask/1"))
    plot = Plot(operations=a_spec(flow).operations, most={})
    told = why(read([Started(1, BEGAN_MS, opened)]), plot, (), None, NOW_MS)
    assert [one.sentence for one in told] == [
        "later (visit 1) waits until 2026-09-21T14:23:20Z",
        "free (visit 1) waits for signal go, until 2026-09-22T14:13:20Z",
        "pick (visit 1) waits until 2026-09-21T14:13:20Z",
        "ask (visit 1) waits for its callback, until 2026-09-21T15:13:20Z",
    ]
    assert told[3].code is ReasonCode.CALLBACK
    assert (told[0].code, told[0].evidence["due_ms"]) == (ReasonCode.TIME, BEGAN_MS + 600_000)


def test_a_call_waits_for_the_run_that_it_has_started() -> None:
    flow = a_workflow(pack={"call": {"workflow": "ship"}})
    plot = Plot(operations=a_spec(flow).operations, most={})
    begun = [Started(1, BEGAN_MS, (Opened("pack", 1),))]
    assert why(read(begun), plot, (), None, NOW_MS, "o-1")[0].code is ReasonCode.WORKERS_UNKNOWN
    told = why(read([*begun, Claimed(2, BEGAN_MS, "pack", 1, 1, "t", "harpoon", "s1")]), plot, (), None, NOW_MS, "o-1")
    assert (told[0].code, told[0].evidence["run"]) == (ReasonCode.SUB_RUN, "o-1~pack.1")
    assert told[0].sentence == (
        "pack (visit 1) waits for sub-run o-1~pack.1 since 2026-09-21T14:13:20Z; "
        "harpoon why run/o-1~pack.1 tells what that waits for"
    )


def test_a_run_that_is_over_or_paused_says_so_first() -> None:
    over = why(read(CANCELLED), a_plot(), (), None, NOW_MS)
    assert [one.code for one in over] == [ReasonCode.RUN_OVER]
    assert over[0].sentence == "it was cancelled at 2026-09-21T14:13:22Z: ordered twice"
    paused = why(read(PAUSED[:12]), a_plot(), (), None, BEGAN_MS + 1700)
    assert [one.code for one in paused] == [ReasonCode.RUN_PAUSED, ReasonCode.WORKERS_UNKNOWN]


def test_a_run_that_is_paused_as_its_caller_is_names_that() -> None:
    held = (*REFUNDED, Paused(12, BEGAN_MS + 1600, is_callers=True))
    told = why(read(held), a_plot(), (), None, BEGAN_MS + 1700, "o-1~pack.1")[0]
    assert (told.code, told.evidence["parent"]) == (ReasonCode.RUN_PAUSED, "o-1")
    assert told.sentence.startswith("run o-1, which called it, is paused, and so it is itself: ")
    assert "until that one is resumed" in told.sentence
    told = why(read((*held, Paused(13, BEGAN_MS + 1650, "ann"))), a_plot(), (), None, BEGAN_MS + 1700, "o-1~pack.1")[0]
    assert told.sentence.startswith("it is paused, and run o-1, which called it, is, too: ")
    assert "until both are resumed" in told.sentence


def test_a_join_says_what_it_lacks_and_whether_that_can_still_come() -> None:
    a, b, c = Member("a", "done"), Member("b", "ok"), Member("c", "done")
    joins = (Join("both", (a,), (b,), ()), Join("all", (), (b,), (c,)), Join("three", (a,), (), (c,)))
    told = why(read([]), UNKNOWN, joins, None, 0)
    assert [one.sentence for one in told] == [
        "both waits for b.ok; it has a",
        "all can never be opened: c cannot occur any more",
        "three can never be opened: c cannot occur any more; it has a",
    ]
    assert {one.code for one in told} == {ReasonCode.JOIN}
    assert told[0].evidence == {"op": "both", "has": ("a.done",), "missing": ("b.ok",), "impossible": ()}


def test_of_very_many_open_visits_some_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_why, "EXPLAINED_MAX", 2)
    log = [Started(1, 0, tuple(Opened("a", number) for number in range(1, 6)))]
    told = why(read(log), UNKNOWN, (), None, 0)
    assert [one.sentence for one in told][2:] == ["and 3 more open visits"]


def test_a_run_is_summed_up() -> None:
    assert summary(read(REFUNDED[:1]), a_plot()) == "1 waiting"
    assert summary(read(REFUNDED[:2]), a_plot()) == "1 with workers"
    assert summary(read(CANCELLED), a_plot()) == "ordered twice"
    assert summary(read([]), a_plot()) == "nothing is open"
