"""The difference of two JSON values: nothing is missed, nothing is told that is not so."""

import copy

import hypothesis.strategies as st
from hypothesis import given

from harpoon.core.diff import diff
from harpoon.model.edit import Edit, EditOp

KEYS = st.sampled_from(["a", "b", "c/d", "e~f", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def patched(value, edits):
    """Apply edits one after the other, as RFC 6902 says."""
    root = [copy.deepcopy(value)]
    for edit in edits:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in edit.pointer.split("/")[1:]]
        place, key = root, 0
        for part in parts:
            place = place[key]
            key = int(part) if isinstance(place, list) else part
        match edit.op:
            case EditOp.ADD if isinstance(place, list):
                assert key == len(place)
                place.append(edit.new)
            case EditOp.ADD:
                assert key not in place
                place[key] = edit.new
            case EditOp.REMOVE:
                assert same(place.pop(key), edit.old)
            case EditOp.REPLACE:
                assert same(place[key], edit.old)
                place[key] = edit.new
    return root[0]


def same(one, other):
    return repr(one) == repr(other)


def by_key(value):
    match value:
        case dict():
            return {key: by_key(value[key]) for key in sorted(value)}
        case list():
            return [by_key(inner) for inner in value]
        case _:
            return value


@given(JSON, JSON)
def test_edits_applied_in_order_turn_the_old_value_into_the_new_one(old, new):
    assert same(by_key(patched(old, diff(old, new))), by_key(new))


@given(JSON)
def test_equal_values_differ_in_nothing(value):
    assert diff(value, copy.deepcopy(value)) == ()


def test_each_value_that_differs_is_told_where_it_is():
    old = {"spec": {"scale": 2, "task": {"command": ["serve", "a", "b"], "env": {"A": "1"}}}}
    new = {"spec": {"scale": 2, "task": {"command": ["serve", "c"], "env": {"A": "1", "B/C": "2"}}}}
    assert diff(old, new) == (
        Edit(pointer="/spec/task/command/1", op=EditOp.REPLACE, old="a", new="c"),
        Edit(pointer="/spec/task/command/2", op=EditOp.REMOVE, old="b"),
        Edit(pointer="/spec/task/env/B~1C", op=EditOp.ADD, new="2"),
    )


def test_true_is_not_one():
    assert diff({"a": True}, {"a": 1}) == (Edit(pointer="/a", op=EditOp.REPLACE, old=True, new=1),)


def test_a_hidden_value_that_changed_is_told_as_changed_and_stays_hidden():
    def redact(pointer, value):
        return "(hidden)" if "PW" in pointer else value

    old = {"env": {"PW": "old", "A": "1"}}
    new = {"env": {"PW": "new", "A": "1"}, "more": [{"PW": "secret", "B": "2"}]}
    assert diff(old, new, redact=redact) == (
        Edit(pointer="/env/PW", op=EditOp.REPLACE, old="(hidden)", new="(hidden)"),
        Edit(pointer="/more", op=EditOp.ADD, new=[{"PW": "(hidden)", "B": "2"}]),
    )


def test_lists_grow_and_shrink_at_their_end():
    assert diff([1], [1, {"a": 2}]) == (Edit(pointer="/1", op=EditOp.ADD, new={"a": 2}),)
    assert diff([1, 2, 3], [1]) == (
        Edit(pointer="/2", op=EditOp.REMOVE, old=3),
        Edit(pointer="/1", op=EditOp.REMOVE, old=2),
    )
