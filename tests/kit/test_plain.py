"""The short cut for documents that are sure to be unambiguous: it must never take what the strict reader refuses."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harpoon.kit.codec import _PLAIN_BYTES_MAX, _is_plain, decode, dump, dump_around
from harpoon.kit.errors import Invalid
from harpoon.kit.strict import INT_MAX, INT_MIN, read
from harpoon.model.manifest import Manifest

PLAIN = b'{"apiVersion":"harpoon/v1","kind":"Job","metadata":{"name":"web"},"spec":{"task":{"command":["a"]}}}'
PARTS = [b'"a"', b'"\\u0061"', b":", b",", b"{", b"}", b"[", b"]", b"1", b"null", b"1e400", b"NaN", b"-0", b" ", b'""']
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def test_a_manifest_as_programs_write_it_takes_the_short_cut() -> None:
    assert _is_plain(PLAIN)
    assert _is_plain(json.dumps(json.loads(PLAIN), indent=2).encode())
    assert decode(Manifest, PLAIN).metadata.name == "web"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\u0000"}',
        b'{"a":NaN}',
        b'{"a":1e400}',
        b'{"a":%d}' % (INT_MAX + 1),
        b'{"a":%d}' % (INT_MIN - 1),
        b"[" * 33 + b"]" * 33,
        b'"' + b"x" * _PLAIN_BYTES_MAX + b'"',
    ],
)
def test_what_might_be_refused_takes_the_long_way(data: bytes) -> None:
    assert not _is_plain(data)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=12).map(b"".join) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b'{"a":1,"a":null,"b":null}')
def test_the_short_cut_is_taken_only_by_what_the_strict_reader_finds_nothing_wrong_with(data: bytes) -> None:
    if _is_plain(data):
        assert read(data)[1] == []


@pytest.mark.parametrize("data", [b"null", PLAIN.replace(b'"web"', b"7"), PLAIN.replace(b"kind", b"kin")])
def test_what_the_short_cut_finds_wrong_is_told_in_plain_words(data: bytes) -> None:
    assert _is_plain(data)
    with pytest.raises(Invalid) as caught:
        decode(Manifest, data)
    assert caught.value.problems


def test_a_noun_written_around_a_part_is_the_same_as_written_whole() -> None:
    manifest = decode(Manifest, PLAIN)
    assert dump_around(manifest, manifest.spec, dump(manifest.spec)) == dump(manifest)
