"""What handlers come to, as it is told: JSON that any server takes, errors that are short."""

import dataclasses
import datetime as dt
import json

import pytest
from pydantic import BaseModel

from harpoon.worker import Fail, Label, Retry
from harpoon.worker.outcome import ERROR_MAX, failure_of, result_of


@dataclasses.dataclass
class Paid:
    at: dt.date
    ids: frozenset[int]


class Card(BaseModel):
    number: str


@pytest.mark.parametrize(
    ("value", "output"),
    [
        (1, 1),
        ("ä", "ä"),
        ([1.5, None, True], [1.5, None, True]),
        (Paid(dt.date(2027, 1, 31), frozenset({1})), {"at": "2027-01-31", "ids": [1]}),
        ({"card": Card(number="1"), 5: ()}, {"card": {"number": "1"}, "5": []}),
    ],
)
def test_a_value_is_told_as_json(value: object, output: object) -> None:
    result = result_of(value, ("done", "fail"))
    assert result.label == "done"
    assert json.loads(result.output) == output


def test_nothing_is_told_as_nothing() -> None:
    assert result_of(None, ()) == ("done", b"", "", False)
    assert result_of(Label("approved"), ()) == ("approved", b"", "", False)


def test_a_label_needs_to_be_offered_if_it_is_known_what_is() -> None:
    assert result_of(Label("approved", 1), ("approved",)) == ("approved", b"1", "", False)
    refused = result_of(Label("approved", 1), ("done", "fail"))
    assert (refused.label, refused.retryable) == ("fail", False)
    assert refused.error == "the handler returned the label 'approved'; the operation offers done, fail"


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize(
    "value",
    [object(), float("nan"), 1 << 64, "\ud800", "nul\0", nested(40), nested(3000 // 10), {"a": {"b": float("inf")}}],
    ids=["object", "nan", "large", "half", "nul", "deep", "deeper", "infinity"],
)
def test_what_no_server_takes_fails_for_good(value: object) -> None:
    result = result_of(value, ())
    assert (result.label, result.output, result.retryable) == ("fail", b"", False)
    assert result.error.startswith("the handler's output cannot be written as JSON: ")


def test_errors_are_told_by_type_and_message_and_never_at_length() -> None:
    assert failure_of(ValueError("no")) == ("fail", b"", "ValueError: no", True)
    assert failure_of(ValueError()).error == "ValueError"
    assert failure_of(Fail("no")) == ("fail", b"", "no", False)
    assert failure_of(Fail("no", retryable=True)).retryable
    assert failure_of(Retry("later")) == ("fail", b"", "later", True)
    long = failure_of(ValueError("x" * 9999)).error
    assert len(long) == ERROR_MAX
    assert long.endswith("x…")
    assert failure_of(ValueError("a\0b\ud800")).error == "ValueError: a\ufffdb?"
