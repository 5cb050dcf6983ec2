"""What a worker process is started with."""

import os
import re
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from harpoon.client.origin import DEFAULT_URL, origin_of
from harpoon.model.name import DEFAULT_NAMESPACE, check_name

#: A worker's name leaves room for what its parts add.
_NAME_MAX: Final = 48
_UNFIT: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where a worker finds its work, and how it ends."""

    #: Any one of them will do.
    servers: tuple[str, ...] = (DEFAULT_URL,)
    token: str | None = None
    namespace: str = DEFAULT_NAMESPACE
    #: What this process calls itself, unlike any other; None: after the worker, the host and the process's number.
    name: str | None = None
    #: Attempts at once, of handlers without a limit of their own; None: as the worker itself says.
    concurrency: int | None = None
    #: Told to stop, it lets attempts run on for so long.
    grace: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        if not self.servers:
            raise ValueError("name at least one server")
        for url in self.servers:
            origin_of(url)
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency is at least 1; got {self.concurrency}")
        check_name("a namespace", self.namespace)
        if self.name is not None:
            check_name("a worker's name", self.name)


def process_name(worker: str) -> str:
    """Return what this process calls itself: after the worker, the host, and its own number."""
    tail = f"-{os.getpid()}"
    called = _UNFIT.sub("-", f"{worker}-{socket.gethostname()}".lower())[: _NAME_MAX - len(tail)].strip("-")
    return f"{called}{tail}"
