"""The digest of a document: of what it says, not of how it is laid out."""

import json

from harpoon.kit.digest import digest_of, seal


def test_a_sealed_document_says_the_digest_of_the_rest_however_it_is_laid_out():
    sealed = json.loads(seal(b'{"b": [1, 2.5], "a": {"y": null, "x": "\xc3\xa9"}, "digest": ""}'))
    assert sealed["digest"].startswith("sha256:")
    again = json.loads(json.dumps({name: sealed[name] for name in ("a", "digest", "b")}, indent=2))
    assert digest_of(again) == sealed["digest"]


def test_whatever_is_changed_changes_the_digest():
    sealed = json.loads(seal(b'{"a": 1, "b": [1, 2]}'))
    for changed in ({**sealed, "a": 2}, {**sealed, "b": [2, 1]}, {**sealed, "c": None}):
        assert digest_of(changed) != sealed["digest"]
