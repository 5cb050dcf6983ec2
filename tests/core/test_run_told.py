"""What those who watch a run are told of its events."""

from typing import Any, NamedTuple, cast

from harpoon.core.event import Event, Fired, Opened, Paused, Resumed, Signalled, Warned
from harpoon.core.run_told import told
from harpoon.kit.plain import plain
from tests.core.histories import BEGAN_MS, CANCELLED


def plainly(event: Event, output_max: int | None = None) -> dict[str, Any]:
    """What is told of an event, without what all have in common."""
    every = plain(told("default", "o-1", event, output_max))
    assert (every.pop("namespace"), every.pop("run")) == ("default", "o-1")
    assert (every.pop("seq"), every.pop("at_ms")) == (event.seq, event.now_ms)
    opened = every.pop("opened", ())
    assert isinstance(opened, (tuple, list))
    return {**every, **({"opened": [plain(one) for one in opened]} if opened else {})}


def test_each_kind_of_event_is_told_with_what_belongs_to_it_and_no_token() -> None:
    first = {"op": "pay_back", "visit": 1, "attempt": 1}
    second = {"op": "pay_back", "visit": 1, "attempt": 2}
    wait = {"op": "wait_human", "visit": 1, "attempt": 1}
    asked = {"op": "ask_human", "visit": 1, "attempt": 1}
    assert [plainly(event) for event in CANCELLED] == [
        {"kind": "started", "opened": [{"op": "pay_back", "visit": 1}]},
        {"kind": "claimed", **first, "worker": "w1"},
        {"kind": "retried", **first, "label": "fail", "error": "no funds", "retry_ms": BEGAN_MS + 1020},
        {"kind": "warned", **second, "clock": "queue"},
        {"kind": "claimed", **second, "worker": "w2"},
        {
            "kind": "closed",
            **second,
            "label": "fail",
            "error": "no funds",
            "opened": [{"op": "ask_human", "visit": 1}],
        },
        {"kind": "claimed", **asked, "worker": "w1"},
        {
            "kind": "closed",
            **asked,
            "label": "done",
            "output": 1,
            "opened": [{"op": "wait_human", "visit": 1, "key": "o-1"}],
        },
        {"kind": "signalled", "signal": "d-0", "name": "other", "label": "done"},
        {
            "kind": "signalled",
            "signal": "d-1",
            "name": "decision",
            "key": "o-1",
            "label": "rejected",
            "output": {"by": "ann"},
        },
        {
            "kind": "closed",
            **wait,
            "label": "rejected",
            "signal": "d-1",
            "opened": [{"op": "tell", "visit": 1}],
        },
        {"kind": "paused", "by": "ann"},
        {"kind": "resumed", "by": "ann"},
        {"kind": "fired"},
        {"kind": "cancelled", "reason": "ordered twice"},
        {"kind": "ended", "status": "cancelled", "reason": "ordered twice"},
    ]


def test_what_may_be_absent_is() -> None:
    assert plainly(Warned(5, BEGAN_MS, "", 0, 0, "deadline")) == {"kind": "warned", "clock": "deadline"}
    assert plainly(Resumed(6, BEGAN_MS, "", (Opened("a", 2, due_ms=9),))) == {
        "kind": "resumed",
        "opened": [{"op": "a", "visit": 2, "due_ms": 9}],
    }
    assert plainly(Paused(6, BEGAN_MS, is_callers=True)) == {"kind": "paused", "by": "the run that called it"}
    assert plainly(Resumed(6, BEGAN_MS, is_callers=True)) == {"kind": "resumed", "by": "the run that called it"}
    assert plainly(Fired(7, BEGAN_MS, (Opened("b", 1, input={"secret": 1}),)))["opened"] == [{"op": "b", "visit": 1}]


def test_a_large_output_is_left_out_where_many_runs_are_watched() -> None:
    event = Signalled(3, BEGAN_MS, "s", "paid", None, "done", "x" * 98)
    assert plainly(event, 100)["output"] == "x" * 98
    assert plainly(event, 99) == {"kind": "signalled", "signal": "s", "name": "paid", "label": "done", "is_cut": True}


class Later(NamedTuple):
    """An event that is not known here."""

    seq: int
    now_ms: int


def test_what_is_not_known_is_told_by_its_name() -> None:
    assert plainly(cast("Event", Later(8, BEGAN_MS))) == {"kind": "later"}
