"""Events as they are written: what is read is what was written, and little is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from harpoon.core.event import (
    CancelAsked,
    Claimed,
    Closed,
    Ended,
    Fired,
    Opened,
    Paused,
    Resumed,
    Signalled,
    Started,
    Warned,
    dump,
    load,
)
from harpoon.model.run import Status

JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**53), 2**53) | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
COUNT = some.integers(0, 2**40)
TEXT = some.text(max_size=5)
MAYBE = some.none() | TEXT
OPENED = some.lists(
    some.builds(Opened, TEXT, COUNT, some.none() | COUNT, JSON, MAYBE, MAYBE, some.none() | COUNT), max_size=3
).map(tuple)
EVENTS = some.one_of(
    some.builds(Started, COUNT, COUNT, OPENED),
    some.builds(Claimed, COUNT, COUNT, TEXT, COUNT, COUNT, TEXT, TEXT, TEXT),
    some.builds(Closed, COUNT, COUNT, TEXT, COUNT, COUNT, TEXT, TEXT, JSON, TEXT, OPENED, some.none() | COUNT, MAYBE),
    some.builds(Fired, COUNT, COUNT, OPENED),
    some.builds(Warned, COUNT, COUNT, TEXT, COUNT, COUNT, TEXT),
    some.builds(Signalled, COUNT, COUNT, TEXT, TEXT, MAYBE, TEXT, JSON),
    some.builds(Paused, COUNT, COUNT, TEXT),
    some.builds(Resumed, COUNT, COUNT, TEXT, OPENED),
    some.builds(CancelAsked, COUNT, COUNT, TEXT),
    some.builds(Ended, COUNT, COUNT, some.sampled_from(Status), JSON, TEXT),
)


@given(EVENTS)
def test_an_event_is_read_as_it_was_written(event):
    read = load(json.loads(json.dumps(dump(event))))
    assert read == event
    assert type(read) is type(event)


def test_what_is_empty_at_the_end_is_left_out():
    assert dump(Closed(2, 9, "a", 1, 1, "t", "done")) == ["x", 2, 9, "a", 1, 1, "t", "done"]
    opened = Started(1, 9, (Opened("a", 1), Opened("b", 1, None, {"n": 1})))
    assert dump(opened) == ["s", 1, 9, [["a", 1], ["b", 1, None, {"n": 1}]]]
    assert dump(Started(1, 9)) == ["s", 1, 9]


@pytest.mark.parametrize("output", ["", [], {}, 0, False, None])
def test_an_output_that_is_empty_is_not_an_output_that_is_absent(output):
    event = Closed(2, 9, "a", 1, 1, "t", "done", output)
    read = load(dump(event))
    assert type(read.output) is type(output)
    assert read == event


def test_fields_of_a_newer_release_are_passed_over():
    assert load(["p", 3, 9, "ann", False, 5]) == Paused(3, 9, "ann")
    assert load(["s", 1, 9, [["a", 1, None, None, None, None, None, "more"]], "more"]) == Started(
        1, 9, (Opened("a", 1),)
    )


@pytest.mark.parametrize("written", [[], ["?"], ["?", 1, 2], [5, 1, 2]])
def test_what_has_no_letter_of_ours_is_no_event(written):
    with pytest.raises(ValueError, match="no event begins with"):
        load(written)


def test_an_event_that_lacks_fields_is_none():
    with pytest.raises(ValueError, match="an event 'c' of 3 fields lacks some"):
        load(["c", 1, 2, "a"])
