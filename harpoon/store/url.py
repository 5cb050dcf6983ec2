"""Where a registry is kept, as it is written on a command line. Holds no secret: a password comes from a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

#: Of etcd, unless an endpoint names its own.
ETCD_PORT: Final = 2379
_SQLITE: Final = "sqlite:///"
_FORMS: Final = "memory, sqlite:///FILE, etcd://HOST:PORT,… or etcds://HOST:PORT,…"
_OPTIONS: Final = ("ca", "cert", "key", "server_name", "user", "password_file")
_TLS_OPTIONS: Final = ("ca", "cert", "key", "server_name")


@dataclass(frozen=True, slots=True)
class MemoryUrl:
    """A store that forgets."""

    def __str__(self) -> str:
        return "memory"


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """A file on this machine."""

    path: Path

    def __str__(self) -> str:
        return f"{_SQLITE}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdUrl:
    """An etcd cluster, by some or all of its members."""

    #: ``host:port`` each; an IPv6 address in brackets.
    endpoints: tuple[str, ...]
    is_tls: bool = False
    #: What the members' certificates are checked against; None: the system's authorities.
    ca: Path | None = None
    #: Ours, for members that ask who we are, and its private key.
    cert: Path | None = None
    key: Path | None = None
    #: The name in the members' certificates, when it is not that of the endpoint.
    server_name: str | None = None
    user: str | None = None
    password_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("a store's cert and key belong together: give both, or none")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("a store's user and password_file belong together: give both, or none")
        if not self.is_tls and any(getattr(self, name) is not None for name in _TLS_OPTIONS):
            raise ValueError(f"{', '.join(_TLS_OPTIONS)} are for TLS: write etcds:// instead of etcd://")

    def __str__(self) -> str:
        given = {name: str(value) for name in _OPTIONS if (value := getattr(self, name)) is not None}
        query = f"?{urlencode(given, safe='/')}" if given else ""
        return f"{'etcds' if self.is_tls else 'etcd'}://{','.join(self.endpoints)}{query}"


StoreUrl = MemoryUrl | SqliteUrl | EtcdUrl


def parse_url(text: str) -> StoreUrl:
    """Read what `StoreUrl` writes.

    Raises:
        ValueError: It is no such thing; the message says what would be right, and repeats no password.
    """
    if text == "memory":
        return MemoryUrl()
    if text.startswith(_SQLITE):
        path = text.removeprefix(_SQLITE)
        if not path.strip("/"):
            raise ValueError("the store names no file: write sqlite:///relative/path.db or sqlite:////absolute/path.db")
        return SqliteUrl(Path(path))
    if text.startswith(("etcd://", "etcds://")):
        return _etcd_url(text)
    # What follows the scheme may hold a password, and so may all of it when there is none.
    scheme, found, _ = text.partition("://")
    raise ValueError(f"a store is {_FORMS}; got {f'{scheme}://' if found else 'no scheme'}")


def _etcd_url(text: str) -> EtcdUrl:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError("write an endpoint of etcd as HOST:PORT, an IPv6 address in brackets") from error
    if "@" in parts.netloc:
        raise ValueError("a store's URL holds no password, as others can read it: write ?user=NAME&password_file=FILE")
    if parts.path.strip("/") or parts.fragment:
        raise ValueError("an etcd store has endpoints and options only: write no path after them, and no #")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if name == "password":
            raise ValueError("a store's URL holds no password, as others can read it: write password_file=FILE")
        if name not in _OPTIONS:
            raise ValueError(f"an etcd store has no option {name!r}; there are {', '.join(_OPTIONS)}")
        if not value:
            raise ValueError(f"the store's option {name} is empty")
    files = {name: Path(options[name]) for name in ("ca", "cert", "key", "password_file") if name in options}
    return EtcdUrl(
        endpoints=tuple(_endpoint(endpoint) for endpoint in unquote(parts.netloc).split(",")),
        is_tls=parts.scheme == "etcds",
        server_name=options.get("server_name"),
        user=options.get("user"),
        **files,
    )


def _endpoint(text: str) -> str:
    """Return an endpoint with its port."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        port, parts = 0, urlsplit("//")
    if not parts.hostname or port == 0 or parts.path or "@" in text:
        shown = text.rpartition("@")[2]
        raise ValueError(f"write an endpoint of etcd as HOST:PORT, such as 10.0.0.1:{ETCD_PORT}; got {shown!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{ETCD_PORT if port is None else port}"
