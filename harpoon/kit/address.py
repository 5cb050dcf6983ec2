"""Addresses of hosts: which of them only this machine can reach."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at ``host``; of names, only ``localhost`` counts."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
