"""How much a value takes as JSON."""

import json
from typing import Final

#: Texts up to here are measured without being written.
_SHORT: Final = 64


def json_bytes(value: object) -> int:
    """Return how many bytes a JSON value takes in UTF-8, without spaces."""
    if value is None or value is True:
        return 4
    if type(value) is str and len(value) < _SHORT and value.isascii() and value.isalnum():
        return len(value) + 2
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(written) if written.isascii() else len(written.encode())
