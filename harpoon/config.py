"""What a server is told at its start: read once, checked together, passed down as the few values a part needs.

No other module reads the environment or a token file. An agent's settings are its own (`harpoon.agent`).
"""

import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from harpoon.kit.address import is_loopback
from harpoon.kit.destination import Opening
from harpoon.model.lease import LeaseTimes
from harpoon.model.name import check_name
from harpoon.store.past.budget import Budget
from harpoon.store.url import EtcdUrl, MemoryUrl, SqliteUrl, StoreUrl

#: Where a server listens unless told otherwise: below the range that Linux gives to outgoing connections.
SERVER_PORT: Final = 4450
#: Documents of one ``POST /v1/apply``: they are one commit, which holds at most 100 writes, two or three a job.
APPLY_DOCUMENTS_MAX: Final = 40
#: Bytes of a token file: a token is a line, and a file given by mistake is not to be read whole.
TOKEN_BYTES_MAX: Final = 4096
#: Characters of a URL at which an instance is reached.
URL_MAX: Final = 300
#: Characters of a token: fewer can be guessed.
TOKEN_LENGTH_MIN: Final = 16


class Listen(NamedTuple):
    """An address to listen at."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """The base URL at which clients on this machine find it."""
        return _url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)

    @property
    def advertised(self) -> str:
        """The base URL at which other machines find it, as far as can be known here; empty without a port."""
        host = socket.gethostname() if self.host in ("", "0.0.0.0", "::") else self.host
        return _url(host, self.port) if self.port else ""


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


#: Only this machine reaches a server that was not told otherwise.
DEFAULT_LISTEN: Final = Listen("127.0.0.1", SERVER_PORT)


class TokenFile(NamedTuple):
    """A token as read from its file."""

    token: str
    #: What is wrong with the file without making it useless, or empty.
    warning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What one server instance is started with.

    Raises:
        ValueError: The values do not go together; the message says which and what would be right.
    """

    listen: Listen = DEFAULT_LISTEN
    #: Where the registry is kept.
    store: StoreUrl = field(default_factory=MemoryUrl)
    #: The bearer token that clients and agents show; None: no authentication, on loopback only.
    token: str | None = None
    #: The keys that secrets are encrypted with; None: no secrets are taken, and none delivered.
    secrets_key_file: Path | None = None
    #: What this instance calls itself, in holds and logs.
    instance: str = field(default_factory=lambda: instance_name(socket.gethostname()))
    #: Base URL at which the other instances reach this one, and no other one; None: where it listens.
    advertise: str | None = None
    #: Base URL at which users outside reach the servers, for callbacks; None: callbacks are told as paths.
    public_url: str | None = None
    #: It shares its port with others on this host, and has one of its own for its peers.
    is_sharing: bool = False
    #: It stops when its standard input ends, which is when whoever started it is gone.
    is_tied: bool = False
    #: Agents that need not register themselves: name → base URL.
    agents: Mapping[str, str] = field(default_factory=dict)
    #: An agent not reached for so long is lost and its tasks are replaced: six missed signs of life of 5 s.
    lost_after: timedelta = timedelta(seconds=30)
    #: What ``http:`` operations may call beside the internet.
    http_allow: tuple[Opening, ...] = ()
    #: Its lease: the right to act, and how it is kept.
    lease: LeaseTimes = field(default_factory=LeaseTimes.of)
    #: Every key is looked at again at least so often, woken or not: what a wake-up missed heals within it.
    resync: timedelta = timedelta(seconds=30)
    #: A watcher that was away for longer has to start afresh; a store keeps at most 100,000 revisions anyway.
    keep_history: timedelta = timedelta(minutes=10)
    #: Where what happened is kept for whoever looks back; None: nowhere.
    history: Path | None = None
    #: How much of it.
    history_budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        check_name("an instance's name", self.instance)
        if self.token is None and not self.listen.is_loopback:
            raise ValueError(
                f"{self.listen.host} can be reached from other machines, and there is no token: "
                "give --token-file, or listen at 127.0.0.1"
            )
        for name, endpoint in self.agents.items():
            check_name("an agent's name", name)
            if not endpoint.startswith(("http://", "https://")):
                raise ValueError(f"agent {name}: write its URL, such as http://127.0.0.1:4451; got {endpoint!r}")
        if min(self.lost_after, self.resync, self.keep_history) <= timedelta(0):
            raise ValueError("lost_after, resync and keep_history are more than 0")
        if isinstance(self.store, EtcdUrl):
            self.lease.check_lost_after(self.lost_after)
        if self.advertise is not None:
            _check_base("--advertise", self.advertise)
            if urlsplit(self.advertise).hostname in ("0.0.0.0", "::"):
                raise ValueError(f"--advertise: {self.advertise} is no address that others can reach; name this host")
        if self.public_url is not None:
            _check_base("--public-url", self.public_url, has_path=True)
        if self.is_sharing:
            self._check_sharing()

    def _check_sharing(self) -> None:
        owned = {MemoryUrl: "memory", SqliteUrl: "file"}.get(type(self.store))
        if owned is not None:
            raise ValueError(f"--instances: one process owns the {owned}; use --store etcd://HOST:PORT,…")
        if self.advertise is not None and urlsplit(self.advertise).port is not None:
            raise ValueError(
                f"--advertise: with --instances each has a port of its own; leave out that of {self.advertise}"
            )

    @property
    def history_directory(self) -> Path | None:
        """Where this instance keeps its history: of several on one host, each in a directory of its own."""
        return self.history / self.instance if self.history is not None and self.is_sharing else self.history

    def closed_ports(self, own_port: int | None = None) -> frozenset[int]:
        """Return the ports that operations never call, whatever is opened: the store's, and this instance's.

        Args:
            own_port: The port that is this instance's alone, when it shares the one it listens at.
        """
        store = self.store.endpoints if isinstance(self.store, EtcdUrl) else ()
        ports = {urlsplit(f"//{one}").port for one in store} | {self.listen.port, own_port}
        if self.advertise is not None:
            ports.add(urlsplit(self.advertise).port)
        return frozenset(port for port in ports if port)

    def url(self, own_port: int | None = None) -> str:
        """Return where the other instances reach this one; empty: nowhere.

        Args:
            own_port: The port that is this instance's alone, when it shares the one it listens at.
        """
        if own_port is None:
            return self.listen.advertised if self.advertise is None else self.advertise.rstrip("/")
        if self.advertise is None:
            return self.listen._replace(port=own_port).advertised
        return f"{self.advertise.rstrip('/')}:{own_port}"


def _check_base(option: str, url: str, *, has_path: bool = False) -> None:
    """Check a URL at which this instance says that it is reached; it may have a path if ``has_path``.

    Raises:
        ValueError: It is none.
    """
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (has_path or parts.path in ("", "/"))
        is_whole = is_whole and not (parts.query or parts.fragment or parts.username) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or len(url) > URL_MAX:
        raise ValueError(f"{option}: write a base URL, such as http://10.0.0.1:{SERVER_PORT}; got {url[:200]!r}")


def parse_listen(text: str) -> Listen:
    """Read ``HOST:PORT``, ``[HOST]:PORT`` or ``PORT`` (on loopback).

    Raises:
        ValueError: It is none of them.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"write an address as HOST:PORT, such as 127.0.0.1:{SERVER_PORT}; got {text!r}")
    return Listen(host.strip("[]") or "127.0.0.1", int(port))


def instance_name(host: str) -> str:
    """Make a name out of a host's, whatever characters it has."""
    text = "".join(c if c.isascii() and c.isalnum() else "-" for c in host.partition(".")[0].lower()).strip("-")[:60]
    return text if text[:1].isalpha() else f"h-{text}".strip("-")


def read_token(path: Path) -> TokenFile:
    """Read the token, which is the file's only line.

    A file that others can read is used with a warning rather than refused, because mounted secrets often are so.

    Raises:
        ValueError: It cannot be read, or holds no usable token; the message never holds the token.
    """
    try:
        with path.open("rb") as file:
            data = file.read(TOKEN_BYTES_MAX + 1)
            mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ValueError(f"token file {path}: {error.strerror or error}") from error
    token = data.decode("ascii", "replace").strip()
    if len(data) > TOKEN_BYTES_MAX or len(token) < TOKEN_LENGTH_MIN or not all("!" <= c <= "~" for c in token):
        raise ValueError(
            f"token file {path}: a token is one line of at least {TOKEN_LENGTH_MIN} printable characters, no blanks; "
            f"make one with: (umask 077; openssl rand -hex 32 > {path})"
        )
    open_to_others = mode & (stat.S_IRGRP | stat.S_IROTH)
    return TokenFile(token, f"token file {path} can be read by others; run: chmod 600 {path}" if open_to_others else "")
