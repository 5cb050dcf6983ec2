"""How much a value takes as JSON."""

import json
from typing import Final

#: Texts up to here are measured without being written.
_SHORT: Final = 64
#: Made once: `json.dumps` makes one a call when it is not to write as it does by default.
_write: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def json_bytes(value: object) -> int:
    """Return how many bytes a JSON value takes in UTF-8, without spaces."""
    if value is None or value is True:
        return 4
    if type(value) is str and len(value) < _SHORT and value.isascii() and value.isalnum():
        return len(value) + 2
    written = _write(value)
    return len(written) if written.isascii() else len(written.encode())
