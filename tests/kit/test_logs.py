"""Lines of the log: all, in order, together."""

import asyncio
import io
import threading

import orjson
import pytest
import structlog

from harpoon.kit.logs import Lines, configure_logs, warnings_only


class Stream(io.BytesIO):
    """Counts how often it is written to."""

    writes = 0

    def write(self, data) -> int:
        self.writes += 1
        return super().write(data)


def test_without_a_loop_each_line_is_written_at_once() -> None:
    stream = Stream()
    lines = Lines(stream)
    lines.info(b"one")
    assert stream.getvalue() == b"one\n"
    lines.error(b"two")
    assert stream.getvalue() == b"one\ntwo\n"


async def test_lines_of_one_turn_are_written_together_and_in_order() -> None:
    stream = Stream()
    lines = Lines(stream)
    for number in range(100):
        lines.info(b"%d" % number)
    assert stream.writes == 0
    await asyncio.sleep(0)
    assert (stream.writes, stream.getvalue().split()) == (1, [b"%d" % number for number in range(100)])
    lines.flush()
    assert stream.writes == 1


async def test_lines_of_threads_are_not_lost() -> None:
    stream = Stream()
    lines = Lines(stream)

    def talk(name: bytes) -> None:
        for _ in range(200):
            lines.info(name)

    threads = [threading.Thread(target=talk, args=(name,)) for name in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for _ in range(50):
        lines.info(b"loop")
        await asyncio.sleep(0)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    lines.flush()
    told = stream.getvalue().split(b"\n")
    assert (told.count(b"a"), told.count(b"b"), told.count(b"loop")) == (200, 200, 50)


def test_a_line_is_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    before = structlog.get_config()
    stream = Stream()
    try:
        lines = configure_logs(stream)
        structlog.get_logger("x").info("task_started", task="a\nb", what={1})
        structlog.get_logger("x").debug("not told")
        lines.flush()
    finally:
        structlog.configure(**before)
    told = orjson.loads(stream.getvalue())
    assert told["event"] == "task_started"
    assert (told["task"], told["what"], told["level"]) == ("a\nb", "{1}", "info")


def test_a_person_is_told_warnings_alone_and_afterwards_all_is_as_before() -> None:
    before, stream = structlog.get_config(), io.StringIO()
    with warnings_only(stream):
        structlog.get_logger("x").info("all_is_well")
        structlog.get_logger("x").warning("store_untidy", reason="no space")
    assert "store_untidy" in stream.getvalue()
    assert "all_is_well" not in stream.getvalue()
    assert structlog.get_config() == before


def test_what_every_line_is_to_say_is_in_each_but_never_in_place_of_what_it_says_itself() -> None:
    before = structlog.get_config()
    stream = Stream()
    try:
        configure_logs(stream, instance="web-1")
        structlog.get_logger("instances").info("server_ready")
        structlog.get_logger("instances").info("term_begun", instance="web-1-3d275f53")
    finally:
        structlog.configure(**before)
    told = [orjson.loads(line)["instance"] for line in stream.getvalue().splitlines()]
    assert told == ["web-1", "web-1-3d275f53"]


async def test_a_thread_that_speaks_does_not_wait_for_a_loop_that_is_blocked() -> None:
    stream = Stream()
    lines = Lines(stream)
    lines.info(b"loop")
    thread = threading.Thread(target=lines.info, args=(b"thread",))
    thread.start()
    thread.join()
    assert stream.getvalue() == b"loop\nthread\n"
    lines.info(b"again")
    await asyncio.sleep(0)
    assert stream.getvalue() == b"loop\nthread\nagain\n"
