"""What a worker may ask, and what is refused by name."""

from datetime import timedelta
from typing import Any

import pytest

from harpoon.model.work import (
    HANDLERS_MAX,
    ITEMS_MAX,
    SEQ_MAX,
    WAIT_MAX,
    WANT_MAX,
    Closing,
    Heartbeat,
    WorkLook,
    WorkRequest,
)

WHICH: dict[str, Any] = {"run": "r", "op": "a", "visit": 1, "attempt": 1, "token": "t"}


def a_request(**fields: Any) -> WorkRequest:
    return WorkRequest(
        **{"worker": "w-1/a@h:2", "session": "S.1", "seq": 1, "handlers": ("payments.refund",), **fields}
    )


def test_a_request_may_be_as_large_as_can_be() -> None:
    asked = a_request(
        seq=SEQ_MAX,
        want=WANT_MAX,
        wait=WAIT_MAX,
        handlers=("a",) * HANDLERS_MAX,
        closings=(Closing(**WHICH, label="done"),) * ITEMS_MAX,
        heartbeats=(Heartbeat(**WHICH),) * ITEMS_MAX,
        worker="w" * 128,
    )
    assert len(asked.closings) == ITEMS_MAX
    assert a_request(handlers=()).want == 0


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"worker": ""}, "worker is 1 to 128"),
        ({"worker": "-w"}, "worker is 1 to 128"),
        ({"worker": "w" * 129}, "worker is 1 to 128"),
        ({"session": "a b"}, "session is 1 to 128"),
        ({"session": "s\n"}, "session is 1 to 128"),
        ({"seq": 0}, "seq is 1"),
        ({"seq": SEQ_MAX + 1}, "seq is 1"),
        ({"want": -1}, "want is 0"),
        ({"want": WANT_MAX + 1}, "want is 0"),
        ({"wait": WAIT_MAX + timedelta(milliseconds=1)}, "wait is at most 60s"),
        ({"handlers": ("Pack",)}, "a handler is"),
        ({"handlers": ("a",) * (HANDLERS_MAX + 1)}, "handlers holds at most"),
        ({"handlers": (), "want": 1}, "handlers names"),
        ({"closings": (Closing(**WHICH, label="done"),) * (ITEMS_MAX + 1)}, "closings holds at most"),
        ({"heartbeats": (Heartbeat(**WHICH),) * (ITEMS_MAX + 1)}, "heartbeats holds at most"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        a_request(**fields)


def test_a_look_is_for_handlers_and_not_for_ever() -> None:
    assert WorkLook(handlers=("a",), wait=WAIT_MAX).handlers == ("a",)
    with pytest.raises(ValueError, match="wait is at most 60s"):
        WorkLook(handlers=(), wait=WAIT_MAX * 2)
    with pytest.raises(ValueError, match="a handler is"):
        WorkLook(handlers=("A",))
