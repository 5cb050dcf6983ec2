"""A grouped mapping is a mapping."""

import hypothesis.strategies as st
from hypothesis import given

from harpoon.store.grouped import Grouped

KEYS = st.builds("{}/{}".format, st.sampled_from("ab"), st.sampled_from(["x", "y", "z/1"]))
STEPS = st.lists(st.tuples(st.sampled_from(["put", "delete"]), KEYS, st.integers()))


@given(STEPS)
def test_it_is_as_a_dictionary_of_the_same_keys(steps) -> None:
    grouped, plain = Grouped(), {}
    for verb, key, value in steps:
        if verb == "put":
            grouped[key] = plain[key] = value
        elif key in plain:
            del grouped[key], plain[key]
        assert (dict(grouped), len(grouped), key in grouped) == (plain, len(plain), key in plain)
        assert grouped.get(key) == plain.get(key)
    assert dict(grouped.items()) == plain
    assert sorted(grouped.groups()) == sorted({key.partition("/")[0] for key in plain})
    twin = grouped.copy()
    assert (dict(twin), len(twin)) == (plain, len(plain))
    twin["a/new"] = 0
    assert dict(grouped) == plain
    for name in "ab":
        assert grouped.group(name) == {k.partition("/")[2]: v for k, v in plain.items() if k.startswith(f"{name}/")}


def test_what_is_not_there_is_no_key() -> None:
    grouped = Grouped()
    grouped["a/x"] = 1
    for key in ("a/y", "b/x", "a", ""):
        assert key not in grouped
    assert not grouped.group("b")
