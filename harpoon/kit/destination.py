"""Where a server may be sent to by what users write: decided here, from addresses and names alone.

A URL that a user gives is called from where the server stands, which reaches more than the user does: its own port,
the store, whatever has only an address in its network, the host's cloud. So nothing but public addresses may be
called, unless an operator opens others. What is decided on is the address that is connected to, never a name that
resolves to one thing now and to another later.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORT_MAX: Final = 65535
#: Of the web: at public addresses these are open, whatever else uses them.
_OF_THE_WEB: Final = frozenset({80, 443})
#: Where clouds tell what a host is, and give out its rights; some of these are public addresses.
_METADATA: Final = frozenset(
    map(
        ip_address,
        (
            *("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
            *("fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe"),
        ),
    )
)
_METADATA_NAMES: Final = frozenset(
    {"metadata.google.internal", "metadata.goog", "metadata", "instance-data", "instance-data.ec2.internal"}
)
#: IPv6 addresses that stand for the IPv4 address in their last 32 bits.
_EMBEDDING: Final = (ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96"), ip_network("::/96"))
#: Those that hold one elsewhere, or lead to one by a relay.
_RELAYED: Final = (ip_network("2002::/16"), ip_network("2001::/32"), ip_network("64:ff9b:1::/48"))
#: Of hosts and addresses, what was found out is kept for so many: most are called again and again.
_REMEMBERED: Final = 1024
_UNNAMED: Final = frozenset({IPv6Address("::"), IPv6Address("::1")})


class Forbidden(Exception):
    """It may not be called; the message says what, and what would open it."""


@lru_cache(_REMEMBERED)
def literal(host: str) -> Address | None:
    """Return the address that a host is written as, in any form that some resolver takes; None: it is a name.

    ``127.1``, ``0x7f.1``, ``2130706433``, ``017700000001`` and ``0`` are such forms of IPv4.

    Raises:
        Forbidden: It looks like an address, and is none; or it is bound to an interface.
    """
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare:
        try:
            address = IPv6Address(bare)
        except ValueError:
            raise Forbidden(f"{host[:80]!r} is no address") from None
        if address.scope_id is not None:
            raise Forbidden(f"{host[:80]!r} names an interface of the server's own")
        return address
    parts = bare.removesuffix(".").split(".")
    if not _is_number(parts[-1]):
        return None
    numbers = [_number(part) for part in parts]
    if len(parts) > 4 or None in numbers:
        raise Forbidden(f"{host[:80]!r} is no address")
    *leading, last = [number for number in numbers if number is not None]
    if any(number > 255 for number in leading) or last >= 256 ** (4 - len(leading)):
        raise Forbidden(f"{host[:80]!r} is no address")
    return IPv4Address(sum(number << (24 - 8 * place) for place, number in enumerate(leading)) + last)


def _is_number(part: str) -> bool:
    return part.isascii() and (part.isdigit() or part[:2].lower() == "0x")


def _number(part: str) -> int | None:
    """Read a number as C does: ``0x`` for base 16, ``0`` for base 8."""
    text = part.lower()
    digits, base = (text[2:] or "0", 16) if text[:2] == "0x" else (text, 8 if text[:1] == "0" else 10)
    try:
        return int(digits, base) if digits.isascii() and digits.isalnum() and len(digits) <= 32 else None
    except ValueError:
        return None


def meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, IPv6Address) and address not in _UNNAMED:
        for network in _EMBEDDING:
            if address in network:
                return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


@lru_cache(_REMEMBERED)
def is_public(address: Address) -> bool:
    """Whether an address is one of the internet's, that whoever wrote it might reach as well."""
    address = meant(address)
    if not address.is_global or address.is_multicast or address.is_reserved or address in _METADATA:
        return False
    if isinstance(address, IPv6Address):
        return not (address.is_site_local or any(address in network for network in _RELAYED))
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What an operator opens: a network, or a name; at one port, or at all but the closed ones."""

    network: Network | None = None
    #: In lower case; empty: it is a network.
    name: str = ""
    port: int | None = None

    def opens(self, name: str, address: Address, port: int) -> bool:
        """Whether an address is open, which a name has come to; a name that is an address counts as that."""
        if self.port not in (None, port):
            return False
        if self.network is None:
            return self.name == name
        return address.version == self.network.version and address in self.network

    @property
    def is_exact(self) -> bool:
        """Whether it opens one address alone."""
        return self.network is not None and self.network.num_addresses == 1


def parse_opening(text: str) -> Opening:
    """Read ``NETWORK``, ``ADDRESS`` or ``NAME``, each with ``:PORT`` if it is for one; of IPv6 that is ``[…]:PORT``.

    Raises:
        ValueError: It is none of them.
    """
    host, mark, port = text.rpartition(":")
    is_bare_v6 = text.count(":") > 1 and not text.startswith("[")
    if not mark or is_bare_v6 or text.endswith("]"):
        host, port = text, ""
    if (mark and not is_bare_v6 and not text.endswith("]")) and not (
        port.isascii() and port.isdigit() and 0 < int(port) <= PORT_MAX
    ):
        raise ValueError(_how(text))
    told = int(port) if port else None
    host = host.removeprefix("[").removesuffix("]")
    try:
        return Opening(network=ip_network(host), port=told)
    except ValueError as error:
        if "/" in host or ":" in host or not host or "has host bits" in str(error) or _is_number(host.split(".")[-1]):
            raise ValueError(_how(text)) from None
    if not all(c.isascii() and (c.isalnum() or c in ".-_") for c in host):
        raise ValueError(_how(text))
    return Opening(name=host.lower().removesuffix("."), port=told)


def _how(text: str) -> str:
    return (
        "write a network, an address or a name, with :PORT for one port only, such as 10.0.0.0/8, [fd00::1]:8080 or "
        f"localhost:8080; got {text[:200]!r}"
    )


class Guard:
    """Decides what may be called.

    Args:
        openings: What an operator has opened beside the internet.
        closed: Ports of the store, of servers and agents: closed at every address that is not public, and at those
            too, unless they are the web's.
    """

    def __init__(self, openings: Sequence[Opening] = (), closed: Container[int] = ()) -> None:
        self._openings = tuple(openings)
        self._closed = closed
        # What is opened never changes.
        self._is_open = lru_cache(_REMEMBERED)(self._find)

    def check_host(self, host: str, port: int) -> None:
        """Check a host as it is written in a URL, before anybody is asked what it is.

        Raises:
            Forbidden: It may not be called, whatever it comes to.
        """
        name = host.lower().removesuffix(".")
        if port in self._closed and port not in _OF_THE_WEB:
            raise Forbidden(f"port {port} is one of the store's, of servers' or of agents' own, which nothing may call")
        if name in _METADATA_NAMES:
            raise Forbidden(f"{name} tells the host's cloud about itself, which nothing may ask for")
        address = literal(host)
        if address is not None:
            self.check(name, (address,), port)

    def check(self, name: str, addresses: Sequence[Address], port: int) -> None:
        """Check all that a name has come to; nothing may be connected to that is not among it.

        Raises:
            Forbidden: One of them may not be called.
        """
        name = name.lower().removesuffix(".")
        for address in addresses:
            self._check(name, meant(address), port)

    def _check(self, name: str, address: Address, port: int) -> None:
        if is_public(address):
            return
        what = str(address) if name == str(address) else f"{name} is {address}, which"
        if port in self._closed:
            raise Forbidden(f"{what} may not be called at port {port}: it is the store's, a server's or an agent's own")
        if not self._is_open(name, address, port):
            at = f"[{address}]" if ":" in str(address) else str(address)
            raise Forbidden(
                f"{what} is no public address; an operator who means it to be called starts servers with "
                f"--http-allow {at}:{port}"
            )

    def _find(self, name: str, address: Address, port: int) -> bool:
        """Whether an operator has opened an address that is not public."""
        opening = [one for one in self._openings if one.opens(name, address, port)]
        # What is nearest to the host itself is opened by its very address, and never by the way.
        if address in _METADATA or address.is_link_local:
            opening = [one for one in opening if one.is_exact]
        return bool(opening)
