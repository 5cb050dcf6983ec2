"""Who may speak to an agent, and what it says to those who may not."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.agent.rig import daemon


async def ask(port: int, *lines: str) -> tuple[int, str]:
    """Send a request as it stands, and return the status and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("".join(line + "\r\n" for line in (*lines, "Connection: close", "")).encode("latin-1"))
    async with asyncio.timeout(10):
        answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    ("line", "host", "status"),
    [
        ("GET /v1/tasks HTTP/1.1", "evil.example", 403),
        ("POST /v1/adopt HTTP/1.1", "evil.example:80", 403),
        ("GET /v1/tasks?token=sekrit HTTP/1.1", "localhost", 400),
        ("GET /nowhere HTTP/1.1", "localhost", 404),
        ("TRACE /v1/tasks HTTP/1.1", "localhost", 405),
        ("GET /v1/tasks HTTP/1.1", "localhost", 200),
    ],
)
async def test_who_may_ask_what(tmp_path: Path, line: str, host: str, status: int) -> None:
    async with daemon(tmp_path) as running:
        found, body = await ask(running.port, line, f"Host: {host}")
    assert found == status
    assert json.loads(body)
    assert "sekrit" not in body


async def test_what_cannot_be_read_is_not_quoted(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        for header in ("Authorization: Bearer sekrit\x01", "X: " + "sekrit" * 20_000):
            status, body = await ask(running.port, "GET /v1/tasks HTTP/1.1", "Host: localhost", header)
            assert status == 400
            assert "sekrit" not in body
