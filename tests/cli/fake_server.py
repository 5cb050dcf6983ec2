"""A server that answers as it is told, and remembers what it was asked."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.ports import free_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One answer: JSON unless it is text, or lines, after which a stream ends or hangs."""

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    text: bytes | None = None
    lines: Sequence[object] | None = None
    #: The stream stays open after its lines.
    hangs: bool = False
    #: The connection is cut in the middle of the body.
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: object


def problem(status: int, detail: str, **members: object) -> Told:
    """Return an error as the server tells it."""
    told = {"type": "urn:harpoon:problem:x", "title": "X", "status": status, "detail": detail, **members}
    return Told(status=status, body=told)


class FakeServer:
    """Answers each route with its answers in turn; the last one again and again."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.heard = threading.Condition()
        self._answers: dict[str, list[Told]] = defaultdict(list)
        self.port = 0
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tell(self, route: str, *answers: Told) -> None:
        """Set the answers of a route such as ``GET /v1/jobs``."""
        self._answers[route] = list(answers)

    def of(self, route: str) -> list[Asked]:
        """Return what was asked on a route."""
        return [asked for asked in self.asked if f"{asked.method} {asked.path}" == route]

    def wait_for(self, route: str, count: int = 1) -> None:
        """Return once a route was asked so often."""
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.of(route)) >= count, timeout=10), f"{route} was not asked"

    def answer(self, asked: Asked) -> Told:
        """Note the request and return what it is to be told."""
        with self.heard:
            self.asked.append(asked)
            self.heard.notify_all()
            answers = self._answers[f"{asked.method} {asked.path}"]
            if not answers:
                return problem(404, f"the fake has no answer to {asked.method} {asked.path}")
            return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def a_server() -> Iterator[FakeServer]:
    """Run a fake server."""
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(length)
            asked = Asked(
                method=self.command,
                path=parts.path,
                query=parse_qs(parts.query),
                headers={key.lower(): value for key, value in self.headers.items()},
                body=json.loads(data) if data else None,
            )
            with suppress(OSError):
                _write(self, fake.answer(asked), fake.over)
            self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = _do  # noqa: N815 the library's names

        def log_message(self, *args: object) -> None:
            pass

    server = _listening(Handler)
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        fake.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _listening(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    while True:
        with suppress(OSError):
            server = ThreadingHTTPServer(("127.0.0.1", free_port()), handler)
            server.daemon_threads = True
            server.block_on_close = False
            return server


def _write(handler: BaseHTTPRequestHandler, told: Told, over: threading.Event) -> None:
    handler.send_response(told.status)
    handler.send_header("Connection", "close")
    for name, value in told.headers.items():
        handler.send_header(name, value)
    if told.lines is not None:
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for line in told.lines:
            data = json.dumps(line).encode() + b"\n"
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        handler.wfile.flush()
        if told.hangs:
            over.wait(20)
        else:
            handler.wfile.write(b"0\r\n\r\n")
        return
    data = told.text if told.text is not None else b"" if told.body is None else json.dumps(told.body).encode()
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2] if told.cut else data)
