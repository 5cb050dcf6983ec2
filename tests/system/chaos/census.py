"""An independent count of what runs: each task's process is connected here from its start until it is gone.

The kernel closes the connection when the process dies, whatever agents say of it. Whoever was closed before another one
told of its start is noted as gone before it: ends are looked for before each start is noted.
"""

import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.proof.history import Event, Exited, Started

_FILE = "effects"


@dataclass(frozen=True)
class Run:
    """A process of a task."""

    agent: str
    task: str
    pid: int
    number: int

    @property
    def name(self) -> str:
        return f"{self.pid}-{self.number}"


class Census:
    """Counts in a thread of its own, which also writes."""

    def __init__(self, path: Path, note: Callable[[Event, str], None], now: Callable[[], float]) -> None:
        self.path = path
        self._note = note
        self._now = now
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(512)
        self._listener.setblocking(False)
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._wake, self._woken = socket.socketpair()
        self._poll.register(self._woken, select.EPOLLIN)
        self._found: dict[int, socket.socket] = {}
        self._known: dict[int, Run] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="census", daemon=True)
        self._thread.start()

    def running(self) -> list[Run]:
        """Return the processes that are there, in the order of their tasks' ids."""
        with self._lock:
            return sorted(self._known.values(), key=lambda run: (run.task, run.number))

    def close(self) -> None:
        """End it, and with it every task that is left."""
        self._wake.send(b"x")
        self._thread.join()
        for connection in (*self._found.values(), self._listener, self._wake, self._woken):
            connection.close()
        self._poll.close()
        self.path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            ready = [number for number, _ in self._poll.poll()]
            if self._woken.fileno() in ready:
                return
            if self._listener.fileno() in ready:
                self._accept()
            self._read([number for number in ready if number in self._found])

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._found[connection.fileno()] = connection
                self._poll.register(connection, select.EPOLLIN)

    def _read(self, numbers: list[int]) -> None:
        # In the order in which they connected, which is that of the dict.
        for number in sorted(numbers, key=list(self._found).index):
            if number in self._found:
                self._hear(number)

    def _hear(self, number: int) -> None:
        connection = self._found[number]
        if number in self._known:
            self._drain()
            return
        told = b""
        with suppress(ConnectionError):
            told = connection.recv(1000)
        if told:
            self._drain()
            self._begin(number, *told.decode().split())
        else:
            self._close(number)

    def _begin(self, number: int, agent: str, task: str) -> None:
        told = self._found[number].getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        self._count += 1
        run = Run(agent, task, struct.unpack("3i", told)[0], self._count)
        with self._lock:
            self._known[number] = run
        self._note(Started(t=self._now(), node=agent, task=task, run=run.name), _FILE)

    def _drain(self) -> None:
        """Note all who are gone."""
        for number in list(self._known):
            with suppress(BlockingIOError):
                try:
                    is_over = not self._found[number].recv(1000)
                except ConnectionError:
                    is_over = True
                if is_over:
                    with self._lock:
                        run = self._known.pop(number)
                    self._note(Exited(t=self._now(), node=run.agent, task=run.task, run=run.name), _FILE)
                    self._close(number)

    def _close(self, number: int) -> None:
        connection = self._found.pop(number)
        self._poll.unregister(connection)
        connection.close()
