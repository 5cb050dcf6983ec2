"""The ports of this host that tasks were given. A port is one task's until the task is over."""

import errno
import socket
from collections.abc import Callable, Mapping
from typing import Final

from harpoon.kit.errors import Conflict
from harpoon.model.agent import PortRange
from harpoon.model.name import TaskId

#: The address that stands for all of this host's, of both families.
_EVERYWHERE: Final = "::"


class Ports:
    """Gives ports to tasks: those they ask for by number, and free ones of the range."""

    def __init__(self, span: PortRange, why_taken: Callable[[int], str | None] | None = None) -> None:
        """Make them.

        Args:
            span: From which free ones are given.
            why_taken: Tells why nobody could listen at a port now, or None; by itself it asks this machine.
        """
        self._span = span
        self._why_taken = _why_taken if why_taken is None else why_taken
        self._owners: dict[int, TaskId] = {}
        # A port just given back is the last to be given again: peers may still take it for the former owner's.
        self._next = span.low

    def take(self, task: TaskId, wanted: Mapping[str, int]) -> dict[str, int]:
        """Give a task all it asks for, or nothing.

        Args:
            task: Who asks.
            wanted: Name → port; 0: any free one of the range.

        Raises:
            Conflict: A port is taken, or the range is used up; the message says which.
        """
        given: dict[str, int] = {}
        try:
            for name, port in sorted(wanted.items(), key=lambda item: item[1] == 0):
                given[name] = self._take_fixed(name, port) if port else self._take_free(name)
                self._owners[given[name]] = task
        except Conflict:
            self.give_back(given)
            raise
        return given

    def keep(self, task: TaskId, ports: Mapping[str, int]) -> None:
        """Note the ports of a task that an earlier daemon started."""
        for port in ports.values():
            self._owners[port] = task

    def give_back(self, ports: Mapping[str, int]) -> None:
        """Let others have the ports that a task was given."""
        for port in ports.values():
            self._owners.pop(port, None)

    def _take_fixed(self, name: str, port: int) -> int:
        owner = self._owners.get(port)
        if owner is not None:
            raise Conflict(f"port {port} ({name}) is task {owner}'s on this agent")
        reason = self._why_taken(port)
        if reason is not None:
            raise Conflict(f"port {port} ({name}) cannot be had on this agent's host: {reason}")
        return port

    def _take_free(self, name: str) -> int:
        size = self._span.high - self._span.low + 1
        for step in range(size):
            port = self._span.low + (self._next - self._span.low + step) % size
            if port not in self._owners and self._why_taken(port) is None:
                self._next = port + 1
                return port
        raise Conflict(f"no free port for {name}: all of {self._span.low} to {self._span.high} are taken")


def _why_taken(port: int) -> str | None:
    """Return why nobody could listen at a port now, or None."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            return _try(probe, _EVERYWHERE, port)
    except OSError:
        # A host without IPv6.
        with socket.socket(socket.AF_INET) as probe:
            return _try(probe, "", port)


def _try(probe: socket.socket, host: str, port: int) -> str | None:
    # So that connections which are just closing do not count, as they would not for the task either.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
    except PermissionError:
        return "ports so low are the administrator's"
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return "another program uses it"
    return None
