"""How much values take."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from harpoon.core.measure import json_bytes
from harpoon.kit.codec import dump


@given(
    some.recursive(
        some.none() | some.booleans() | some.integers(-(2**53), 2**53) | some.text(),
        lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
        max_leaves=8,
    )
)
def test_a_value_takes_what_it_is_written_with(value):
    assert json_bytes(value) == len(dump(value))


@pytest.mark.parametrize("value", [None, True, False, "abc", "a b", "é", "x" * 100, "", 5, "\n"])
def test_short_ways_measure_the_same(value):
    assert json_bytes(value) == len(dump(value))
