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

from harpoon.kit.address import is_loopback
from harpoon.model.name import check_name
from harpoon.store.url import MemoryUrl, StoreUrl

#: Where a server listens unless told otherwise: below the range that Linux gives to outgoing connections.
SERVER_PORT: Final = 4450
#: Documents of one ``POST /v1/apply``: they are one commit, which holds at most 100 writes, two or three a job.
APPLY_DOCUMENTS_MAX: Final = 40
#: Bytes of a token file: a token is a line, and a file given by mistake is not to be read whole.
TOKEN_BYTES_MAX: Final = 4096
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
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


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
    #: What this instance calls itself, in holds and logs.
    instance: str = field(default_factory=lambda: instance_name(socket.gethostname()))
    #: Agents that need not register themselves: name → base URL.
    agents: Mapping[str, str] = field(default_factory=dict)
    #: An agent not reached for so long is lost and its tasks are replaced: six missed signs of life of 5 s.
    lost_after: timedelta = timedelta(seconds=30)
    #: Every key is looked at again at least so often, woken or not: what a wake-up missed heals within it.
    resync: timedelta = timedelta(seconds=30)
    #: A watcher that was away for longer has to start afresh; a store keeps at most 100,000 revisions anyway.
    keep_history: timedelta = timedelta(minutes=10)

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
