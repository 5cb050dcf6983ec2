"""Where the callbacks of a run are: each visit's URL ends in a token that nobody can make but who knows a secret.

The secret is made when the run is started, and stands in its header alone: not in its log, nor in anything shown. A
token is a keyed hash of the run's name and the visit's, so it opens that one visit, and tells nothing of any other.
"""

import hashlib
import hmac
import secrets
from functools import partial
from typing import Final

import orjson

from harpoon.core.run import Address

PREFIX: Final = "/v1/callbacks/"
#: Characters of a secret, and of a token: 128 bits and more.
_SECRET_BYTES: Final = 16
_TOKEN_CHARACTERS: Final = 40
_DIGEST_CHARACTERS: Final = 32


def new_secret() -> str:
    """Return the secret of a run that is started now."""
    return secrets.token_hex(_SECRET_BYTES)


def address_of(base: str, key: str, secret: str) -> Address:
    """Return what tells the URLs of a run's callbacks.

    Args:
        base: URL by which users outside reach the servers, without a slash at its end; empty: URLs are paths.
        key: ``<namespace>/<run>``.
        secret: Of the run.
    """
    return partial(_url, base, key, secret)


def is_right(key: str, secret: str, op: str, visit: int, token: str) -> bool:
    """Whether a token is that of a visit's callback; it takes equally long whatever is wrong with it.

    Args:
        key: ``<namespace>/<run>``.
        secret: Of the run; empty: there is none, and no token is right.
        op: The operation.
        visit: Its number.
        token: As it was shown.
    """
    told = token_of(key, secret, op, visit)
    return hmac.compare_digest(told.encode(), token.encode(errors="surrogateescape")) and bool(secret)


def digest_of(label: str, payload: object) -> str:
    """Return what tells what one callback brings from what another does."""
    told = orjson.dumps([label, payload], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()[:_DIGEST_CHARACTERS]


def token_of(key: str, secret: str, op: str, visit: int) -> str:
    """Return the token of a visit's callback."""
    told = hmac.new(secret.encode(), f"{key}/{op}/{visit}".encode(), hashlib.sha256)
    return told.hexdigest()[:_TOKEN_CHARACTERS]


def _url(base: str, key: str, secret: str, op: str, visit: int) -> str:
    return f"{base}{PREFIX}{key}/{op}/{visit}/{token_of(key, secret, op, visit)}"
