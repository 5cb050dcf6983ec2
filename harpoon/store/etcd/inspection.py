"""Asking a member of etcd, over HTTP, for what the gRPC protocol does not tell: its quota and its flags.

Best effort, and bounded: what a member does not tell, or not soon, is not known, and is no error.
"""

import asyncio
import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from harpoon.store.etcd.settings import Facts
from harpoon.store.url import ETCD_PORT, EtcdUrl

#: A member that is asked for its pages has so long in all.
INSPECTED_WITHIN: Final = timedelta(seconds=2)
#: Bytes of a page that are read: a member's metrics are some 100 KiB.
_PAGE_MAX: Final = 4 << 20


async def inspect(endpoint: str, url: EtcdUrl) -> Facts:
    """Ask a member for its pages of facts: version, metrics, flags. What it does not tell, or not soon, is not known.

    Args:
        endpoint: ``host:port`` of the member.
        url: How it is reached: plain, or by TLS with these files.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(INSPECTED_WITHIN.total_seconds()):
            return await asyncio.to_thread(_inspect, endpoint, url)
    return Facts()


def _inspect(endpoint: str, url: EtcdUrl) -> Facts:
    deadline = time.monotonic() + INSPECTED_WITHIN.total_seconds()
    version = _loaded(_page(endpoint, url, "/version", deadline)).get("etcdserver", "")
    metrics = _metrics(_page(endpoint, url, "/metrics", deadline))
    arguments = _loaded(_page(endpoint, url, "/debug/vars", deadline)).get("cmdline", ())
    return Facts(
        version=version if isinstance(version, str) else "",
        versions={endpoint: version} if version and isinstance(version, str) else {},
        db_bytes=metrics.get("etcd_mvcc_db_total_size_in_bytes"),
        used_bytes=metrics.get("etcd_mvcc_db_total_size_in_use_in_bytes"),
        quota_bytes=metrics.get("etcd_server_quota_backend_bytes"),
        flags=flags_of(arguments if isinstance(arguments, list) else ()),
    )


def _page(endpoint: str, url: EtcdUrl, path: str, deadline: float) -> bytes:
    """Return a page of a member, empty when there is none."""
    host, port = urlsplit(f"//{endpoint}").hostname or "", urlsplit(f"//{endpoint}").port or ETCD_PORT
    left = deadline - time.monotonic()
    if left <= 0:
        return b""
    connection = http.client.HTTPConnection(host, port, timeout=left)
    try:
        if url.is_tls:
            context = _context(url)
            plain = socket.create_connection((host, port), timeout=left)
            connection.sock = context.wrap_socket(plain, server_hostname=url.server_name or host)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read(_PAGE_MAX) if answer.status == http.HTTPStatus.OK else b""
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()


def _context(url: EtcdUrl) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=url.ca)
    if url.cert is not None:
        context.load_cert_chain(url.cert, url.key)
    return context


def _loaded(page: bytes) -> Mapping[str, object]:
    with suppress(ValueError):
        loaded = json.loads(page)
        return loaded if isinstance(loaded, dict) else {}
    return {}


def _metrics(page: bytes) -> dict[str, int]:
    """Return the numbers without labels of a page of metrics."""
    found = {}
    for line in page.decode("utf-8", "replace").splitlines():
        name, _, number = line.partition(" ")
        if name.startswith("etcd_") and "{" not in name:
            with suppress(ValueError, OverflowError):
                found[name] = int(float(number))
    return found


def flags_of(arguments: Sequence[object]) -> dict[str, str]:
    """Read flags as Go does: one dash or two, the value behind ``=`` or as the next argument; the last one counts."""
    words = [word for word in arguments if isinstance(word, str)][1:]
    flags: dict[str, str] = {}
    for word, following in pairwise([*words, "-"]):
        if word.startswith("-"):
            name, mark, value = word.lstrip("-").partition("=")
            flags[name] = value if mark else ("true" if following.startswith("-") else following)
    return flags
