"""Idempotency keys: a mutation asked for twice under one key is done once, and answered alike both times.

What is kept is the answer to a mutation that was done, in the same commit as the mutation. What was refused, or could
not be done, left nothing behind, so it is not kept: the same key may be tried again. After a 503 that says
``maybe_applied``, trying again with the key is how to find out.

1. A scale is committed, with its receipt; the server is killed before it answers. 2. The client tries again with the
key, elsewhere or later. 3. The receipt is there, and so is the answer that was never sent.
"""

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from aiohttp import hdrs, web

from harpoon.api.doors import DOORS
from harpoon.api.operation import IDEMPOTENCY_KEY
from harpoon.api.problem import Refused
from harpoon.api.revision import bad_header, single_header
from harpoon.control.receipts import Found, Receipts
from harpoon.kit.errors import HarpoonError
from harpoon.model.receipt import Receipt
from harpoon.store.port import Compare, Write

HEADER: Final = IDEMPOTENCY_KEY.name
REPLAYED: Final = "Idempotency-Replayed"

_KEY: Final = re.compile(r"[!-~]{1,255}")
#: Parts of a request beside its body and path without which it would be another one.
_CONDITIONS: Final = (hdrs.IF_MATCH, hdrs.IF_NONE_MATCH)
#: Headers that are part of the kept answer.
_KEPT: Final = ("Harpoon-Revision", "ETag", "Content-Type")

#: What a mutation comes to.
T = TypeVar("T")
#: Given what it comes to at a revision, what else is to be written in its commit.
Extra = Callable[[Callable[[int], tuple[T, ...]]], tuple[Sequence[Compare], Sequence[Write]]]
Mutate = Callable[[Extra[T] | None], Awaitable[T | tuple[T, ...]]]
Tell = Callable[[tuple[T, ...]], web.Response]


def check_key(request: web.Request) -> str | None:
    """Return the idempotency key of a request, or None.

    Raises:
        Invalid: It is no key, or the request is not one that takes any.
    """
    key = single_header(request, HEADER)
    if key is None:
        return None
    if request.method != hdrs.METH_POST:
        raise bad_header(HEADER, f"it is for POST; a {request.method[:20]} can be sent again as it is")
    if not _KEY.fullmatch(key):
        raise bad_header(HEADER, "1 to 255 visible characters of ASCII")
    return key


class Underway:
    """The keys of requests that are being answered: name of the receipt → hash of the request."""

    def __init__(self) -> None:
        self._asked: dict[str, str] = {}

    @contextmanager
    def enter(self, name: str, asked: str) -> Iterator[None]:
        """Keep others with this key out while the block runs.

        Raises:
            Refused: Someone else is in.
        """
        other = self._asked.get(name)
        if other is not None:
            raise _reused() if other != asked else _in_progress()
        self._asked[name] = asked
        try:
            yield
        finally:
            del self._asked[name]


UNDERWAY: web.AppKey[Underway] = web.AppKey("underway", Underway)


async def once(request: web.Request, body: bytes, mutate: Mutate[T], tell: Tell[T]) -> web.Response:
    """Do a mutation and tell what came of it; with an idempotency key: once, and tell the same ever after.

    Args:
        request: Perhaps with a key.
        body: Of the request.
        mutate: Does it, and hands what it is given down to the commit.
        tell: Makes the answer; it does nothing else, for it is called twice.

    Raises:
        Invalid: The key is no key, or the answer too large to be kept.
        Refused: The key was used for another request, or this one is being answered.
    """
    key = check_key(request)
    if key is None:
        return tell(_all(await mutate(None)))
    receipts = request.app[DOORS].registry.receipts
    name, asked = hashlib.sha256(key.encode()).hexdigest(), _hash(request, body)
    with request.app[UNDERWAY].enter(name, asked):
        found, compare = await receipts.find(name)
        if found is not None:
            return _replay(found, asked)
        writing = _Writing(request, receipts, name, compare, asked, tell)
        try:
            accepted = await mutate(writing.extra)
        except HarpoonError:
            # It may have been done meanwhile by another instance, which was sent the same.
            found, _ = await receipts.find(name)
            if found is None:
                raise
            return _replay(found, asked)
        receipts.note(writing.writes)
        return tell(_all(accepted))


class _Writing(Generic[T]):
    """The making of one receipt."""

    def __init__(
        self, request: web.Request, receipts: Receipts, name: str, compare: Compare, asked: str, tell: Tell[T]
    ) -> None:
        self._request = request
        self._receipts = receipts
        self._name = name
        self._compare = compare
        self._asked = asked
        self._tell = tell
        #: Those of the last try.
        self.writes: Sequence[Write] = ()

    def extra(self, outcomes: Callable[[int], tuple[T, ...]]) -> tuple[Sequence[Compare], Sequence[Write]]:
        """Return what is to be committed beside the mutation itself."""
        # The answer is told with a revision that nobody can have written into a job; there it is cut apart.
        unknown = 10**17 + secrets.randbelow(9 * 10**17)
        response = self._tell(outcomes(unknown))
        assert isinstance(response.body, bytes), "mutations are answered with bytes"
        receipt = Receipt(
            request=self._asked,
            at_ms=self._request.app[DOORS].clock.now().wall,
            status=response.status,
            body=_cut(response.body.decode(), unknown),
            headers={name: _cut(response.headers[name], unknown) for name in _KEPT if name in response.headers},
        )
        self.writes = self._receipts.writes(self._name, receipt)
        return (self._compare,), self.writes


def _all(accepted: T | tuple[T, ...]) -> tuple[T, ...]:
    return accepted if isinstance(accepted, tuple) else (accepted,)


def _cut(text: str, unknown: int) -> tuple[str, ...]:
    return tuple(text.split(str(unknown)))


def _replay(found: Found, asked: str) -> web.Response:
    receipt, revision = found
    if receipt.request != asked:
        raise _reused()
    headers = {name: str(revision).join(parts) for name, parts in receipt.headers.items()}
    body = str(revision).join(receipt.body).encode()
    return web.Response(status=receipt.status, body=body, headers=headers | {REPLAYED: "true"})


def _hash(request: web.Request, body: bytes) -> str:
    parts = [request.method, request.rel_url.raw_path_qs, *(request.headers.get(name, "") for name in _CONDITIONS)]
    digest = hashlib.sha256("\0".join(parts).encode(errors="surrogateescape"))
    digest.update(b"\0" + body)
    return digest.hexdigest()


def _reused() -> Refused:
    return Refused(422, "this key was used for another request; make a new one", code="idempotency_key_reused")


def _in_progress() -> Refused:
    detail = "the request with this key is still being answered; ask again soon"
    return Refused(409, detail, code="idempotency_in_progress", headers={hdrs.RETRY_AFTER: "1"})
