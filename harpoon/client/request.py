"""One request, made so that nothing a caller passes can become another header, another path or another request."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from harpoon.client.origin import Origin
from harpoon.kit.errors import Invalid

Query = Mapping[str, str | Sequence[str] | None]

#: A token or an ETag: visible ASCII; neither a line's end nor a space inside.
_VISIBLE: Final = re.compile(r"[!-~]+")
#: Randomness of an idempotency key, as in a UUID.
_KEY_BYTES: Final = 16
_NO_QUERY: Final[Query] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent to a server."""

    method: str
    #: Path and query, quoted.
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @property
    def can_repeat(self) -> bool:
        """Whether it may be sent again when nobody knows if it arrived.

        1. A kept connection is used just as the server closes it. 2. Nothing comes back; it may have been done or not.

        A GET changes nothing, a POST bears an idempotency key, and an unconditional PUT twice is as good as once, so
        they are sent again. A conditional PUT, or a DELETE, would not be done twice either, but its second answer could
        be a 412 or 404 caused by its own first arrival: a success would be told as a failure. So the caller is told
        that nobody knows.
        """
        names = {name for name, _ in self.headers}
        return (
            self.method == "GET"
            or (self.method == "POST" and "Idempotency-Key" in names)
            or (self.method == "PUT" and not names & {"If-Match", "If-None-Match"})
        )


def make_request(
    method: str,
    path: Sequence[str],
    *,
    query: Query = _NO_QUERY,
    body: object = None,
    if_match: str | None = None,
    is_new: bool = False,
) -> Request:
    """Make the request for ``/v1/<path…>``; a body that is bytes is sent as it is, another one as JSON.

    Raises:
        Invalid: Something of it cannot be sent.
    """
    headers = []
    if if_match is not None:
        headers.append(("If-Match", visible("an ETag", if_match)))
    if is_new:
        headers.append(("If-None-Match", "*"))
    data = b"" if body is None else _encoded(body)
    if body is not None:
        headers.append(("Content-Type", "application/json"))
    if data or method in ("POST", "PUT"):
        headers.append(("Content-Length", str(len(data))))
    if method == "POST":
        headers.append(("Idempotency-Key", os.urandom(_KEY_BYTES).hex()))
    return Request(method=method, target=_target(path, query), headers=tuple(headers), body=data)


def addressed(request: Request, origin: Origin, token: str | None, accept: str) -> Request:
    """Return the request with what every request to this server has."""
    common = [("Host", origin.authority), ("Accept", accept)]
    if token is not None:
        common.append(("Authorization", f"Bearer {token}"))
    target = f"{origin.prefix}{request.target}"
    return Request(method=request.method, target=target, headers=(*common, *request.headers), body=request.body)


def visible(what: str, text: str) -> str:
    """Return a header's value.

    Raises:
        Invalid: It holds something that could end the header; the message does not repeat it.
    """
    if not _VISIBLE.fullmatch(text):
        raise Invalid(f"{what} is visible ASCII without spaces")
    return text


def _target(path: Sequence[str], query: Query) -> str:
    for part in path:
        if part in ("", ".", "..") or not part.isprintable():
            raise Invalid(f"{part!r} cannot be the name of anything")
    given = {key: value for key, value in query.items() if value}
    try:
        asked = f"?{urlencode(given, doseq=True)}" if given else ""
        return f"/v1/{'/'.join(quote(part, safe='') for part in path)}{asked}"
    except UnicodeEncodeError as error:
        raise Invalid("a name or a parameter is not Unicode text") from error


def _encoded(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise Invalid(f"it cannot be written as JSON: {error}") from error
