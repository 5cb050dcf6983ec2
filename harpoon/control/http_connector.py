"""``http:``: calls that operations make, by way of a `Caller`; what is sent, which redirects, and what comes of it.

What trying again may help is told so: no answer at all, and a status that says so (408, 425, 429, 5xx). Whatever else
was not expected will not change by itself.

Values of secrets are put in here, at the last moment, and taken out of all that comes back: a server may well repeat
what it was sent.
"""

import asyncio
import base64
import codecs
import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, Protocol
from urllib.parse import quote, urljoin, urlsplit

import orjson

from harpoon.client.outward import Answer, NotReached, Request
from harpoon.client.unpacking import Unreadable
from harpoon.control.connector_port import Order, Outcome, Report
from harpoon.kit import codec
from harpoon.kit.destination import Forbidden
from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.model.http import HEADER_MAX, Http
from harpoon.model.label import DONE, FAIL
from harpoon.model.sensitive import HIDDEN, Sensitive
from harpoon.model.units import format_duration

#: Calls at once.
CALLS_MAX: Final = 500
#: Bytes of a body that is read at once; larger ones are read beside the loop.
SMALL_BYTES: Final = 16 << 10
#: Of an answer's headers, how many are kept, and characters of one.
KEPT_MAX: Final = 50
KEPT_CHARACTERS: Final = 1024
#: Characters of a body that an error quotes.
QUOTED_MAX: Final = 200
#: Numbers from here on may be secrets, such as of four digits; a status is none.
_NUMBER_MIN: Final = 1000
#: Statuses that another time may not be.
_LATER: Final = frozenset({408, 425, 429})
#: Statuses whose ``Retry-After`` says when they may be another; what is asked for beyond so long is cut off.
_ASKING: Final = frozenset({429, 503})
_ASKED_MAX: Final = timedelta(days=90)
_NONE: Final = timedelta(0)
_SECONDS: Final = re.compile(r"\d{1,9}", re.ASCII)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
#: What names who calls: not sent on to another origin.
_OF_THE_CALLER: Final = frozenset({"authorization", "cookie"})
#: Headers of answers that are of the connection, or are for whoever called alone.
_NOT_KEPT: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-encoding", "content-length"}
    | {"set-cookie", "set-cookie2", "www-authenticate", "proxy-authenticate", "authentication-info"}
    | {"proxy-authentication-info", "strict-transport-security", "content-security-policy", "alt-svc", "nel"}
)

#: What text may be written in, as Python calls it: others take long, or come to what is no text.
_CHARSET: Final = re.compile(
    r"ascii|utf-(8|16|32)(-[bl]e)?|utf-8-sig|iso8859-\d+|cp125\d|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis|euc_(jp|kr)"
)

#: Namespace and ``<name>/<key>`` → the value; raises `HarpoonError`.
SecretOf = Callable[[str, str], Sensitive]


class Caller(Protocol):
    """Makes one call; `harpoon.client.outward.OutwardCaller`."""

    async def call(self, request: Request, most: int) -> Answer:
        """Send a request, and read up to ``most`` bytes of the body of the answer.

        Raises:
            Forbidden: It may not be called.
            NotReached: There was no answer.
            Unreadable: There was one that cannot be decoded.
        """


class _Wrong(Exception):
    """It cannot be sent as it came out; trying again does not help."""


class HttpConnector:
    """Carries out ``http:`` operations.

    Args:
        caller: Makes the calls.
        secret_of: Finds values of secrets.
        agent: What calls name themselves by.
    """

    handler: Final = ":http"
    most: Final = CALLS_MAX
    #: What became of a call that nobody waits for any more, nobody can find out.
    resumes: Final = False

    def __init__(self, caller: Caller, secret_of: SecretOf, agent: str) -> None:
        self._caller = caller
        self._secret_of = secret_of
        self._agent = agent

    async def carry_out(self, order: Order, report: Report) -> Outcome:  # noqa: ARG002 there is nothing to tell
        """Make a call."""
        http = order.spec.http
        assert http is not None, "it is an http operation"
        try:
            values = _secrets(http, order.namespace, self._secret_of)
        except HarpoonError as error:
            # It may be set at any time.
            return Outcome(FAIL, None, str(error))
        except _Wrong as wrong:
            return Outcome(FAIL, None, str(wrong), is_retryable=False)
        return await self._carry_out(http, order, values)

    async def abandon(self, order: Order, reason: str) -> None:
        """Nothing: the connection was closed, and what the other side makes of that is its own matter."""

    async def _carry_out(self, http: Http, order: Order, values: Mapping[str, str]) -> Outcome:
        try:
            request = _request(http, order, values, self._agent)
            answer = await self._follow(http, request, order.spec.output_max)
        except NotReached as error:
            return _hidden(Outcome(FAIL, None, str(error)), values)
        except (Forbidden, Unreadable, _Wrong) as error:
            return _hidden(Outcome(FAIL, None, str(error), is_retryable=False), values)
        told = partial(_outcome, http, answer, order.spec.output_max, values)
        # A large one takes long to be read, for there may be very much in it.
        return told() if len(answer.body) <= SMALL_BYTES else await asyncio.to_thread(told)

    async def _follow(self, http: Http, request: Request, most: int) -> Answer:
        """Call, and call where that leads to, as often as may be."""
        answer = await self._caller.call(request, most)
        left = http.follow
        while answer.status in _REDIRECTS and not http.expects(answer.status) and left:
            to = dict(answer.headers).get("location", "")
            if not to:
                break
            left -= 1
            try:
                url = urljoin(answer.url or request.url, to)
            except ValueError:
                raise _Wrong(f"the answer ({answer.status}) leads to what is no URL") from None
            if (answer.url or request.url).startswith("https:") and not url.lower().startswith("https:"):
                raise _Wrong(f"the answer ({answer.status}) leads away from https, where everybody could read along")
            request = _redirected(request, answer, url, http)
            answer = await self._caller.call(request, most)
        return answer


def _secrets(http: Http, namespace: str, secret_of: SecretOf) -> dict[str, str]:
    """Return the headers that are secrets', without what stands before them.

    Raises:
        HarpoonError: A value is not there, or cannot be decrypted.
        _Wrong: It is no text that a header may have.
    """
    found = {}
    for name, header in http.secrets().items():
        try:
            text = secret_of(namespace, header.secret).reveal().decode().rstrip("\r\n")
        except UnicodeDecodeError:
            text = "\n"
        if not _is_header(text):
            raise _Wrong(f"secret {header.secret} has line breaks or is no text, so it can be no header")
        found[name] = text
    return found


def _request(http: Http, order: Order, values: Mapping[str, str], agent: str) -> Request:
    """Return what is sent, of what expressions came to and what is declared.

    Raises:
        _Wrong: It is not to be sent so.
    """
    told = order.input
    assert isinstance(told, dict), "it is what the template came to"
    url, body = told.get("url"), told.get("body")
    if not isinstance(url, str):
        raise _Wrong("url came to no text")
    headers = {"User-Agent": agent, "Accept-Encoding": "gzip", "Idempotency-Key": order.idempotency_key}
    sent = None if body is None else body.encode() if isinstance(body, str) else orjson.dumps(body)
    if sent is not None:
        headers["Content-Type"] = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
    own = {name.lower(): name for name in headers}
    for name, text in told.get("headers", {}).items():
        if not isinstance(text, str | int | float) or isinstance(text, bool) or not _is_header(str(text)):
            raise _Wrong(f"header {name} came to no text of at most {HEADER_MAX} characters without line breaks")
        headers.pop(own.get(name.lower(), ""), None)
        headers[name] = str(text)
    for name, value in values.items():
        headers.pop(own.get(name.lower(), ""), None)
        headers[name] = http.secrets()[name].prefix + value
    return Request(http.method, url, headers, sent)


def _is_header(text: str) -> bool:
    return len(text) <= HEADER_MAX and not any(c < " " or c == "\x7f" for c in text)


def _redirected(request: Request, answer: Answer, url: str, http: Http) -> Request:
    """Return what is sent where an answer leads to; another origin is not told who calls."""
    method, headers, body = request.method, dict(request.headers), request.body
    if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):
        method, body = ("HEAD" if method == "HEAD" else "GET"), None
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    if _origin(url) != _origin(answer.url or request.url):
        secret = {name.lower() for name in http.secrets()} | _OF_THE_CALLER
        headers = {name: value for name, value in headers.items() if name.lower() not in secret}
    return Request(method, url, headers, body)


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        # It will be refused; it is like no other until then.
        return "", url, None
    return parts.scheme, parts.hostname or "", port


def _outcome(http: Http, answer: Answer, output_max: int, values: Mapping[str, str]) -> Outcome:
    """Return what comes of an answer, without the values of secrets."""
    return _hidden(_read(http, answer, output_max, is_quoting=not values), values)


def _read(http: Http, answer: Answer, output_max: int, *, is_quoting: bool) -> Outcome:
    """Return what comes of an answer; where it may repeat a secret, no part of it is quoted."""
    status = answer.status
    output: dict[str, object] = {"status": status, "headers": _headers(answer)}
    is_done = http.expects(status)
    if answer.is_cut:
        if is_done:
            told = f"the answer ({status}) has more than the {output_max} bytes that output_max lets through"
            return Outcome(FAIL, output, told, is_retryable=False)
    elif answer.body:
        output["body"] = _decoded(answer)
    if is_done and len(orjson.dumps(output)) <= output_max:
        return Outcome(DONE, output)
    if is_done:
        del output["body"]
        told = f"the answer ({status}) and its headers have more than the {output_max} bytes of output_max"
        return Outcome(FAIL, output, told, is_retryable=False)
    text = _text(answer) if is_quoting else ""
    quoted = f": {' '.join(text.split())[:QUOTED_MAX]}" if text else ""
    after = _asked_after(answer)
    asked = f", not to be asked again for {format_duration(after)}" if after else ""
    error = f"answered {status}{asked}, and {' or '.join(http.expect)} was expected{quoted}"
    if len(orjson.dumps(output)) > output_max:
        output.pop("body", None)
    after_ms = after // timedelta(milliseconds=1)
    return Outcome(FAIL, output, error, is_retryable=status in _LATER or status >= 500, after_ms=after_ms)


def _asked_after(answer: Answer) -> timedelta:
    """Return how long an answer asks not to be called again: 0, unless it has a ``Retry-After`` that can be read.

    A moment is reckoned from that at which the answer was made, as it says itself: clocks of others may be off.
    """
    headers = dict(answer.headers)
    asked = headers.get("retry-after", "").strip()
    if answer.status not in _ASKING or not asked:
        return _NONE
    if _SECONDS.fullmatch(asked):
        return min(timedelta(seconds=int(asked)), _ASKED_MAX)
    try:
        span = parsedate_to_datetime(asked) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return _NONE
    return max(_NONE, min(span, _ASKED_MAX))


def _headers(answer: Answer) -> dict[str, str]:
    """Return what is kept of an answer's headers; one that came several times has its values behind one another."""
    kept: dict[str, str] = {}
    for name, value in answer.headers:
        if name in _NOT_KEPT or (name not in kept and len(kept) >= KEPT_MAX):
            continue
        told = f"{kept[name]}, {value}" if name in kept else value
        if len(told) <= KEPT_CHARACTERS:
            kept[name] = told.encode("utf-8", "replace").decode()
    return kept


def _decoded(answer: Answer) -> object:
    """Return a body as JSON if it says that it is, and is; else as text."""
    kind = dict(answer.headers).get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return codec.read_value(answer.body)
        except Invalid:
            pass
    return _text(answer)


def _text(answer: Answer) -> str:
    """Return a body as text; in what it is written its server says, which is not always meant for that."""
    try:
        charset = codecs.lookup(answer.charset).name
    except (LookupError, ValueError):
        charset = ""
    text = answer.body.decode(charset if _CHARSET.fullmatch(charset) else "utf-8", "replace")
    return text.replace("\x00", "\ufffd")


def _shapes(value: str) -> tuple[str, ...]:
    """Return how a value may be written where it is repeated."""
    plain, ascii_ = orjson.dumps(value).decode()[1:-1], json.dumps(value)[1:-1]
    coded = base64.b64encode(value.encode()).decode()
    escaped = (plain, ascii_, plain.replace("/", "\\/"), ascii_.replace("/", "\\/"))
    return (value, *escaped, quote(value), quote(value, safe=""), coded, coded.rstrip("="))


def _hidden(outcome: Outcome, values: Mapping[str, str]) -> Outcome:
    """Return an outcome without the values of secrets, in any of the ways in which they come back."""
    if not values:
        return outcome
    shapes = {shape for value in values.values() if value for shape in _shapes(value)}
    longest_first = sorted(shapes, key=len, reverse=True)

    def hide(told: object) -> object:
        if isinstance(told, str):
            for shape in longest_first:
                told = told.replace(shape, HIDDEN)
            return told
        if isinstance(told, dict):
            return {hide(name): hide(one) for name, one in told.items()}
        if type(told) is int and told >= _NUMBER_MIN:
            return HIDDEN if str(told) in shapes else told
        return [hide(one) for one in told] if isinstance(told, list) else told

    return outcome._replace(output=hide(outcome.output), error=str(hide(outcome.error)))
