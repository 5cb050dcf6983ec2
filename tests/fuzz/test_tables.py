"""What the terminal shows of what any server answers, and of what any task printed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.agent.logs import Log
from harpoon.cli.columns import KINDS, Kind
from harpoon.cli.table import Table
from tests.fuzz.spoilt import spoilt_json

ROW = {
    "metadata": {"name": "web", "namespace": "default", "generation": "g", "version": 1, "tags": {"a": "b"}},
    "spec": {"scale": 1},
    "status": {"state": "ready", "summary": "1/1 ready", "outdated": 0, "waiting": ["a", "b"], "scale": 1, "ready": 1},
    "name": "a1",
    "id": "default.web.0.1-42",
    "task": "default.web.0.1-42",
    "namespace": "default",
    "job": "web",
    "agent": "a1",
    "state": "running",
    "ready": False,
    "reason": "r\x1b[2J",
    "since_ms": 1767225600000,
    "address": "::1",
    "ports": {"http": 20000},
    "restarts": 0,
    "capacity": {"cpu": "4", "memory": "24684084Ki"},
    "reserved": {"cpu": "100m", "memory": "64Mi"},
    "link": {"state": "connected", "since_ms": 1, "reason": ""},
    "tasks": 1,
    "tags": {"zone": "a"},
    "kind": "job",
    "count": 1,
    "subjects": ["job/default/web"],
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("is_wide", [False, True])
def test_a_row_of_anything_is_shown_in_one_line_that_cannot_steer_the_terminal(kind: Kind, is_wide: bool) -> None:
    @settings(max_examples=100, deadline=1000)
    @given(spoilt_json(ROW).filter(lambda row: isinstance(row, dict)))
    def check(row: Any) -> None:
        title, line = Table(kind.columns, is_wide=is_wide).lines([row])
        assert title.startswith(kind.columns[0].title)
        assert line.isprintable()

    check()


@settings(max_examples=100, deadline=2000)
@given(st.lists(st.sampled_from([b"\n", b"a", b"long\r\x1b[2J", b"\xff", b""])), st.integers(0, 12))
def test_the_last_lines_of_a_log_of_anything_are_its_last_lines(
    tmp_path_factory: Any, parts: list[bytes], tail: int
) -> None:
    path = Path(tmp_path_factory.getbasetemp()) / "stdout"
    text = b"".join(parts)
    path.write_bytes(text)

    async def read() -> bytes:
        return b"".join([chunk async for chunk in Log(str(path)).read(tail, follow=False)])

    assert asyncio.run(read()) == b"".join(last_lines(text, tail))


def last_lines(text: bytes, count: int) -> list[bytes]:
    lines = [line + b"\n" for line in text.split(b"\n")[:-1]]
    rest = text.rpartition(b"\n")[2]
    return ([*lines, rest] if rest else lines)[-count:] if count else []
