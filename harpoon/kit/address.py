"""Addresses of hosts: which of them only this machine can reach."""

import ipaddress
from functools import lru_cache


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at ``host``; of names, only ``localhost`` counts."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(64)
def is_local_name(host: str) -> bool:
    """Whether a Host header names this machine as only itself would.

    Scenario: no token is needed on loopback. A page in a browser on this machine has its own name resolve to
    127.0.0.1, and from then on may send anything here as if to itself. The name it was loaded by gives it away.
    """
    host = host.lower()
    return is_loopback(host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0])
