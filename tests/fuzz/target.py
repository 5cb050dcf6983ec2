"""What is attacked: a real server and agents as processes of their own, seen as an attacker and as a bystander see them."""

import contextlib
import http.client
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port
from tests.system.cluster import Cluster, eventually

TOKEN = "correct-horse-battery-staple"
#: Stands in bodies, headers and URLs that are sent; no log may hold it.
CANARY = "c4nary-do-not-log"
#: Longest that anyone else may wait because of one input.
STALL_S = 0.1
#: What one input may make a process grow by.
GROWTH_BYTES = 96 << 20
PATIENCE_S = 15.0


class GuardedCluster(Cluster):
    """A cluster that asks for a token, and is shown it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.token_file = directory / "token"
        self.token_file.write_text(TOKEN)
        self.token_file.chmod(0o600)

    def start(self, *agents: str) -> None:
        """Start a server and agents, and wait until they are connected."""
        self.start_server("--token-file", str(self.token_file))
        for name in agents:
            self.start_agent(name, "--token-file", str(self.token_file))
        self.connected(*agents)

    def start_lone_agent(self, name: str) -> int:
        """Start an agent that no server knows, and return its port once it answers."""
        port = self.agent_ports.setdefault(name, free_port())
        where = ["--listen", f"127.0.0.1:{port}", "--state-dir", str(self.directory / name)]
        self._start(name, "agent", "--name", name, *where, "--token-file", str(self.token_file))

        def answers() -> bool:
            assert self.processes[name].poll() is None, self.log(name)
            with contextlib.suppress(OSError):
                return speak(port, http_bytes("GET", "/v1/health")).status == 200
            return False

        eventually(answers, bool)
        return port

    def request(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict]:
        return super().request(method, path, body, **{"Authorization": f"Bearer {TOKEN}"} | headers)

    def rss(self, name: str) -> int:
        """Return the memory that a part of the cluster holds, in bytes."""
        pages = Path(f"/proc/{self.processes[name].pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    def whole_log(self, name: str) -> bytes:
        return (self.directory / f"{name}.log").read_bytes()


@dataclass
class Reply:
    """What came back for bytes that were sent."""

    #: None: the connection was closed, or nothing came in time.
    status: int | None
    head: bytes = b""
    body: bytes = b""
    #: Whether the connection ended.
    is_closed: bool = False
    #: Whether time ran out.
    is_late: bool = False


def http_bytes(method: str, path: str, body: bytes | None = None, **headers: str | None) -> bytes:
    """A whole request as a decent client sends it; underscores in names are dashes, None leaves a header out."""
    sent: dict[str, str | None] = {"Host": "localhost", "Authorization": f"Bearer {TOKEN}"}
    if body is not None:
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + (body or b"")


def speak(port: int, payload: bytes, *, patience_s: float = PATIENCE_S) -> Reply:
    """Send bytes as they are, read one answer meanwhile, and see whether the connection goes on."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as peer:
        peer.setblocking(False)
        received, is_closed, is_late = _exchange(peer, payload, time.monotonic() + patience_s)
        reply = _parse(received)
        reply.is_closed, reply.is_late = is_closed, is_late
        if reply.status is not None and not is_closed and not _is_last(reply.head):
            again, _, _ = _exchange(peer, http_bytes("GET", "/v1/health"), time.monotonic() + patience_s)
            # What follows on the same connection is the answer to this, or to what the payload held besides.
            assert again.startswith(b"HTTP/1.1 "), f"the connection went dead after {reply.head[:200]!r}"
        return reply


def _exchange(peer: socket.socket, payload: bytes, until: float) -> tuple[bytes, bool, bool]:
    rest, received = memoryview(payload), b""
    while time.monotonic() < until:
        writable = [peer] if rest else []
        readable, ready, _ = select.select([peer], writable, [], 0.2)
        if ready:
            try:
                rest = rest[peer.send(rest[: 1 << 18]) :]
            except BlockingIOError:
                pass
            except OSError:
                rest = rest[:0]
        if readable:
            try:
                chunk = peer.recv(1 << 18)
            except BlockingIOError:
                continue
            except OSError:
                return received, True, False
            received += chunk
            if not chunk:
                return received, True, False
        if not rest and _is_whole(received, payload.startswith(b"HEAD ")):
            return received, False, False
    return received, False, True


def _is_whole(received: bytes, is_head: bool) -> bool:
    head, mark, body = received.partition(b"\r\n\r\n")
    if not mark:
        return False
    if head.split(b" ", 2)[1:2] == [b"100"]:
        return _is_whole(body, is_head)
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return is_head or len(body) >= int(value)
    return True


def _is_last(head: bytes) -> bool:
    """Return whether an answer says that the connection ends with it."""
    return not head.startswith(b"HTTP/1.1") or b"\nconnection: close" in head.lower()


def _parse(received: bytes) -> Reply:
    head, mark, body = received.partition(b"\r\n\r\n")
    if mark and head.startswith(b"HTTP/1.1 100"):
        return _parse(body)
    words = head.split(b" ", 2)
    if not mark or len(words) < 2 or not words[1].isdigit():
        return Reply(None, head, body)
    return Reply(int(words[1]), head, body)


@dataclass
class Bystander:
    """Someone else who asks ``/v1/health`` all the time, and notes how long each answer was held up.

    That is how long it took, or if that is less, the time that the asked process's loop was computing meanwhile: what a
    machine that is busy with other things adds to the former is nobody's fault here.
    """

    port: int
    #: Of the asked process, whose first thread runs its event loop.
    pid: int
    #: When each answer came, and how long it was held up.
    waits: list[tuple[float, float]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Bystander":
        self._thread = threading.Thread(target=self._run, name="bystander", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def worst_since(self, moment: float) -> float:
        """Return the longest that an answer took that came after ``moment``; an answer under way counts."""
        deadline = time.monotonic() + PATIENCE_S
        ended = time.monotonic()
        while not self.lost and time.monotonic() < deadline:
            if self.waits and self.waits[-1][0] > ended:
                return max(wait for came, wait in self.waits if came > moment)
            time.sleep(0.001)
        raise AssertionError(f"the bystander is not answered any more: {self.lost}")

    def _computed_s(self) -> float:
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        while not self._stop.wait(0.002):
            began = time.monotonic()
            computed = self._computed_s()
            try:
                connection.request("GET", "/v1/health")
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                return
            if response.status != 200:
                self.lost.append(f"status {response.status}")
                return
            came = time.monotonic()
            self.waits.append((came, min(came - began, self._computed_s() - computed)))
        with contextlib.suppress(OSError):
            connection.close()
