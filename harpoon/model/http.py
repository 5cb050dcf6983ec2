"""A call over HTTP that an operation makes: what is sent, and which answers are expected."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from harpoon.model.secret import check_reference
from harpoon.model.units import Unit

#: Any value that JSON has.
Json = Any

URL_MAX: Final = 8192
HEADERS_MAX: Final = 64
#: Characters of one header's value, as it is declared.
HEADER_MAX: Final = 4096
#: Redirects that one attempt follows.
FOLLOW_MAX: Final = 10
EXPECT_MAX: Final = 100

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_CODE: Final = re.compile(r"[1-5]xx|[1-5][0-9]{2}", re.ASCII)
#: Of the transport, which the server that calls sees to; in lower case.
_NOT_YOURS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "te", "trailer", "upgrade"}
    | {"expect", "keep-alive", "proxy-authorization", "proxy-connection", "idempotency-key"}
)
#: What begins an expression.
_EXPRESSION: Final = "${"

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def parse_codes(value: object) -> tuple[str, ...]:
    """Read ``200``, ``2xx``, or a list of such.

    Raises:
        ValueError: It is neither, or empty.
    """
    told = value if isinstance(value, list | tuple) else [value]
    if not told or len(told) > EXPECT_MAX:
        raise ValueError(f"expect is a status such as 200, a class such as 2xx, or a list of 1 to {EXPECT_MAX} of them")
    codes = [str(one) for one in told]
    for one, code in zip(told, codes, strict=True):
        if isinstance(one, bool) or not isinstance(one, int | str) or not _CODE.fullmatch(code):
            raise ValueError(f"a status is 100 to 599, a class is 1xx to 5xx; got {code[:80]!r}")
    return tuple(dict.fromkeys(codes))


def format_codes(codes: tuple[str, ...]) -> int | str | list[int | str]:
    """Write codes as they are written by hand."""
    told: list[int | str] = [int(code) if code.isdigit() else code for code in codes]
    return told[0] if len(told) == 1 else told


_CODE_SCHEMA: Final = [
    {"type": "integer", "minimum": 100, "maximum": 599},
    {"type": "string", "pattern": "^([1-5]xx|[1-5][0-9]{2})$"},
]
Codes = Annotated[
    tuple[str, ...],
    Unit(
        parse_codes,
        format_codes,
        tuple,
        "status, class, or list of them",
        {
            "anyOf": [
                *_CODE_SCHEMA,
                {"type": "array", "items": {"anyOf": _CODE_SCHEMA}, "minItems": 1, "maxItems": EXPECT_MAX},
            ],
            "examples": [200, "2xx", [200, 404]],
        },
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretHeader:
    """The value of a header that is a secret's: put in when the call is made, and shown nowhere."""

    #: ``<name>/<key>``, of a secret in the same namespace.
    secret: str
    #: Stands before the value, such as ``"Bearer "``.
    prefix: str = ""

    def __post_init__(self) -> None:
        check_reference(self.secret)
        _check_text("prefix", self.prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """A call over HTTP, made by the server that conducts the run."""

    #: ``http://…`` or ``https://…``; expressions may stand in it.
    url: str
    #: Of the request.
    method: Method = "GET"
    #: Name → its text, in which expressions may stand; or ``{secret: <name>/<key>}``.
    headers: Mapping[str, str | SecretHeader] = field(default_factory=dict)
    #: A text is sent as it is, anything else as JSON; ``${…}`` may stand in its texts. Null: nothing is sent.
    body: Json = None
    #: Statuses, such as 200, or classes, such as 2xx, with which it is done. Others fail it.
    expect: Codes = ("2xx",)
    #: Redirects that are followed, unless their status is expected; 0 to 10.
    follow: int = 5

    def __post_init__(self) -> None:
        if not 0 < len(self.url) <= URL_MAX:
            raise ValueError(f"url is 1 to {URL_MAX} characters")
        if not self.url.startswith(_EXPRESSION) and not self.url.lower().startswith(("http://", "https://")):
            raise ValueError(f"url starts with http:// or https://; got {self.url[:80]!r}")
        if not 0 <= self.follow <= FOLLOW_MAX:
            raise ValueError(f"follow is 0 to {FOLLOW_MAX}")
        if self.body is not None and self.method in ("GET", "HEAD"):
            raise ValueError(f"body has no meaning with {self.method}; leave it out, or say another method")
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self.headers) > HEADERS_MAX:
            raise ValueError(f"headers holds at most {HEADERS_MAX}")
        lower = [name.lower() for name in self.headers]
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name):
                raise ValueError(f"a header's name is 1 to 128 letters, digits and '-'; got {name[:80]!r}")
            if name.lower() in _NOT_YOURS:
                raise ValueError(f"headers: {name} is set by the server that calls; leave it out")
            if lower.count(name.lower()) > 1:
                raise ValueError(f"headers names {name} twice; name it once")
            if isinstance(value, str):
                _check_text(f"header {name}", value)

    def template(self) -> Json:
        """Return what expressions may stand in, which is evaluated when the operation opens."""
        told: dict[str, Json] = {"url": self.url}
        texts = {name: value for name, value in self.headers.items() if isinstance(value, str)}
        if texts:
            told["headers"] = texts
        if self.body is not None:
            told["body"] = self.body
        return told

    def secrets(self) -> Mapping[str, SecretHeader]:
        """Return the headers whose values are secrets'."""
        return {name: value for name, value in self.headers.items() if isinstance(value, SecretHeader)}

    def expects(self, status: int) -> bool:
        """Whether it is done by an answer of a status."""
        return str(status) in self.expect or f"{status // 100}xx" in self.expect


def _check_text(what: str, text: str) -> None:
    if len(text) > HEADER_MAX:
        raise ValueError(f"{what} has at most {HEADER_MAX} characters")
    if any(c < " " or c == "\x7f" for c in text):
        raise ValueError(f"{what} has no line breaks and no control characters")
