"""Where nothing is ever fetched from: addresses at which clouds hand out credentials, and those that are nobody's.

Private networks and this host itself are allowed: that is where files to be run are kept. An operator who wants less
names the hosts that may be asked.

A name is resolved once, what it resolves to is judged, and the connection goes to just that, so that a name which
leads elsewhere the second time gains nothing.
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from harpoon.kit.errors import Unavailable

_REFUSED: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        # Link-local, and in it the metadata services of most clouds.
        *("169.254.0.0/16", "fe80::/10"),
        # Those of others.
        *("fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "192.0.0.192/32"),
        # Nobody, and everybody.
        *("0.0.0.0/8", "::/128", "224.0.0.0/4", "240.0.0.0/4", "ff00::/8"),
    )
)
#: Networks whose addresses hold an IPv4 address, and how far from their end.
_EMBEDDING: Final = ((ipaddress.IPv6Network("64:ff9b::/96"), 0), (ipaddress.IPv6Network("2002::/16"), 80))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_refused(text: str) -> bool:
    """Whether nothing is fetched from an address; what is no address is refused."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return True
    return any(one in network for one in _meanings(address) for network in _REFUSED if one.version == network.version)


def check_host(host: str, allowed: Iterable[str]) -> None:
    """See that a host may be asked at all; a name is judged again once it is resolved.

    Raises:
        Unavailable: It may not.
    """
    named = [one.lower() for one in allowed]
    known = host.lower().rstrip(".")
    if named and not any(known == one or (one.startswith(".") and known.endswith(one)) for one in named):
        raise Unavailable(f"{host} is not among the hosts that this agent fetches from; see --artifact-host")
    if _is_address(host) and is_refused(host):
        raise Unavailable(_sentence(host, host))


class Resolver(AbstractResolver):
    """Resolves names, but none that leads to where nothing is fetched from."""

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        """Make one, in a running event loop."""
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            OSError: It has none, or one that nothing is fetched from.
        """
        found = await self._inner.resolve(host, port, family)
        for one in found:
            if is_refused(one["host"]):
                raise OSError(_sentence(host, one["host"]))
        return found

    async def close(self) -> None:
        """Let go of what it has."""
        await self._inner.close()


def _sentence(host: str, address: str) -> str:
    leads = "" if host == address else f"{host} leads to "
    return f"{leads}{address}: nothing is fetched from link-local or metadata addresses"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _meanings(address: Address) -> tuple[Address, ...]:
    """Return an address with the one that it holds, if any."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address, address.ipv4_mapped)
    held = [ipaddress.IPv4Address(int(address) >> by & 0xFFFFFFFF) for net, by in _EMBEDDING if address in net]
    return (address, *held)
