"""Where a server is: its URL, read once and strictly."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from harpoon.kit.errors import Invalid

#: Where a server listens unless told otherwise.
DEFAULT_URL: Final = "http://127.0.0.1:4450"
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_PATH: Final = re.compile(r"[!-~]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One server's address."""

    #: As it was given, less a last slash: for people.
    url: str
    host: str
    port: int
    is_tls: bool
    #: What stands before ``/v1``; mostly empty.
    prefix: str

    @property
    def authority(self) -> str:
        """What is sent as ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def origin_of(url: str) -> Origin:
    """Read a server's URL.

    Raises:
        Invalid: It is none, or holds a password.
    """
    wrong = f"a server is a URL such as {DEFAULT_URL}; got {url!r}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Invalid(wrong if "ort" not in str(error) else f"a server's port is 1 to 65535; got {url!r}") from error
    if parts.username is not None or parts.password is not None:
        raise Invalid("a server's URL holds no password; put the token in a file and name it with --token-file")
    host = parts.hostname or ""
    is_plain = not parts.query and not parts.fragment and _HOST.fullmatch(host) and _PATH.fullmatch(parts.path)
    if parts.scheme not in ("http", "https") or not is_plain or not url.isprintable():
        raise Invalid(wrong)
    if port == 0:
        raise Invalid(f"a server's port is 1 to 65535; got {url!r}")
    is_tls = parts.scheme == "https"
    return Origin(
        url=url.rstrip("/"),
        host=host,
        port=port or (443 if is_tls else 80),
        is_tls=is_tls,
        prefix=parts.path.rstrip("/"),
    )
