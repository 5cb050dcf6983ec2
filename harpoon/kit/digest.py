"""The digest of a document that says its own: of all of it but that, however it is laid out."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def digest_of(document: Mapping[str, Any]) -> str:
    """Return the digest of a document read from JSON, which is in its member ``digest``, or is to be put there."""
    rest = {name: value for name, value in document.items() if name != "digest"}
    return f"sha256:{hashlib.sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).hexdigest()}"


def seal(data: bytes) -> bytes:
    """Return a document in JSON with its digest."""
    document = orjson.loads(data)
    return orjson.dumps({**document, "digest": digest_of(document)})
