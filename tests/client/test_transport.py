"""The transport: connections kept and given up, answers that are cut, slow, too large or no HTTP at all."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from functools import partial

import pytest
import pytest_asyncio

from harpoon.client import Client
from harpoon.client.pool import KEPT_MAX, REQUESTS_MAX
from harpoon.client.watch import Selection
from harpoon.kit.errors import HarpoonError, Unreachable
from tests.client.raw_server import OK, Hangs, RawServer, a_raw_server, until

SOON = timedelta(milliseconds=100)


@pytest_asyncio.fixture
async def raw() -> AsyncIterator[RawServer]:
    async with a_raw_server() as server:
        yield server


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + end


async def test_one_connection_serves_one_request_after_another(raw: RawServer) -> None:
    raw.tell([OK] * 5)
    async with Client(raw.url) as client:
        for _ in range(5):
            assert (await client.get("x")).body == {}
    assert raw.opened == 1
    await until(lambda: raw.closed == 1)


async def test_chunks_and_interim_answers_are_put_together(raw: RawServer) -> None:
    raw.tell([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + chunked(b'{"a":', b"1}"), OK])
    async with Client(raw.url) as client:
        assert (await client.get("x")).body == {"a": 1}
        await client.get("x")
    assert raw.opened == 1


@pytest.mark.parametrize(
    "cut",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}",
        chunked(b'{"a":1}', end=b""),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_whole_is_none(raw: RawServer, cut: bytes) -> None:
    raw.tell([cut])
    async with Client(raw.url) as client:
        with pytest.raises(Unreachable):
            await client.get("x")
    assert raw.opened == 1, "a fresh connection that breaks is not tried again"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46" * 3 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n" + b"Y: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20 + OK,
    ],
)
async def test_what_is_no_http_is_another_service_and_its_connection_is_not_kept(raw: RawServer, answer: bytes) -> None:
    raw.tell([answer, Hangs], [OK])
    async with Client(raw.url) as client:
        with pytest.raises(HarpoonError, match="another service") as raised:
            await client.get("x")
        assert not isinstance(raised.value, Unreachable)
        await client.get("x")
    assert raw.opened == 2


async def test_an_answer_larger_than_any_list_is_given_up(raw: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.client.client.ANSWER_BYTES_MAX", 1000)
    raw.tell([chunked(*[b" " * 100] * 20)])
    async with Client(raw.url) as client:
        with pytest.raises(HarpoonError, match="more than"):
            await client.get("x")


@pytest.mark.parametrize("beginning", [[Hangs], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", Hangs]])
async def test_a_server_that_says_nothing_more_is_unreachable_in_time(
    raw: RawServer, beginning: list[bytes | type[Hangs]]
) -> None:
    raw.tell(beginning)
    async with Client(raw.url) as client:
        with pytest.raises(Unreachable, match="in time"):
            await client.get("x", within=SOON)


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_used(raw: RawServer) -> None:
    raw.tell([OK], [OK])
    async with Client(raw.url) as client:
        await client.get("x")
        await until(lambda: raw.closed == 1)
        await client.delete("x")
    assert [number for number, _ in raw.asked] == [0, 1], "it is sent once, over a new connection"


async def test_a_connection_the_server_will_close_is_not_kept(raw: RawServer) -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    raw.tell([closing, OK], [OK])
    async with Client(raw.url) as client:
        await client.get("x")
        await client.get("x")
    assert [number for number, _ in raw.asked] == [0, 1]


async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(raw: RawServer) -> None:
    raw.tell([OK + b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}', OK], [OK])
    async with Client(raw.url) as client:
        await client.get("x")
        assert (await client.get("x")).body == {}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_what_may_be_repeated_is_sent_once_more_when_a_kept_connection_turns_out_closed(
    raw: RawServer, method: str
) -> None:
    raw.tell([OK, b""], [OK])
    async with Client(raw.url) as client:
        await client.get("first")
        ask = {"GET": client.get, "POST": partial(client.post, body={}), "PUT": partial(client.put, body={})}[method]
        await ask("x")
    assert [number for number, _ in raw.asked] == [0, 0, 1]
    assert raw.asked[1][1] == raw.asked[2][1], "the same request, with the same idempotency key"


@pytest.mark.parametrize("method", ["DELETE", "PUT if-match", "PUT new"])
async def test_what_might_be_told_as_failed_by_its_own_success_is_not_sent_again(raw: RawServer, method: str) -> None:
    raw.tell([OK, b""], [OK])
    async with Client(raw.url) as client:
        await client.get("first")
        ask = {
            "DELETE": client.delete,
            "PUT if-match": partial(client.put, body={}, if_match='"1.7"'),
            "PUT new": partial(client.put, body={}, is_new=True),
        }[method]
        with pytest.raises(Unreachable):
            await ask("x")
    assert [number for number, _ in raw.asked] == [0, 0]


async def test_an_answer_that_has_begun_is_not_asked_for_again(raw: RawServer) -> None:
    raw.tell([OK, b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"], [OK])
    async with Client(raw.url) as client:
        await client.get("first")
        with pytest.raises(Unreachable):
            await client.get("x")
    assert len(raw.asked) == 2


async def test_it_is_sent_again_once_only(raw: RawServer) -> None:
    raw.tell([OK, b""], [b""])
    async with Client(raw.url) as client:
        await client.get("first")
        with pytest.raises(Unreachable):
            await client.get("x")
    assert [number for number, _ in raw.asked] == [0, 0, 1]


async def test_few_connections_are_kept_of_many(raw: RawServer) -> None:
    raw.tell([OK] * 100)
    async with Client(raw.url) as client:
        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                group.create_task(client.get("x"))
        assert len(raw.asked) == 200
        await until(lambda: raw.opened - raw.closed <= KEPT_MAX)
    await until(lambda: raw.opened == raw.closed)


async def test_requests_on_their_way_at_once_are_bounded(raw: RawServer) -> None:
    raw.tell([Hangs])
    async with Client(raw.url) as client, asyncio.TaskGroup() as group:
        asking = [group.create_task(client.get("x")) for _ in range(REQUESTS_MAX + 1)]
        await until(lambda: len(raw.asked) == REQUESTS_MAX)
        for task in asking[:-1]:
            assert len(raw.asked) == REQUESTS_MAX
            task.cancel()
        await until(lambda: len(raw.asked) == REQUESTS_MAX + 1)
        asking[-1].cancel()


async def test_a_cancelled_request_leaves_no_connection_behind(raw: RawServer) -> None:
    raw.tell([Hangs], [OK])
    async with Client(raw.url) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON.total_seconds()):
                await client.get("x")
        assert (await client.get("x")).body == {}
    assert [number for number, _ in raw.asked] == [0, 1]


async def test_a_large_body_that_is_refused_unread_is_told_by_its_answer(raw: RawServer) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        told = b'{"title": "too large", "detail": "too large"}'
        writer.write(b"HTTP/1.1 413 X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(told), told))
        try:
            while await reader.read(1 << 16):
                pass
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(HarpoonError, match="too large"):
            await client.put("x", body={"a": "a" * (8 << 20)})


async def test_a_name_that_cannot_be_looked_up_is_unreachable() -> None:
    for host in ("nowhere.invalid", "a" * 64 + ".invalid"):
        async with Client(f"http://{host}") as client:
            with pytest.raises(Unreachable):
                await client.get("x")


async def test_a_server_without_tls_is_not_spoken_to_in_clear(raw: RawServer) -> None:
    raw.tell([OK])
    async with Client(raw.url.replace("http:", "https:"), token="0123456789abcdef") as client:
        with pytest.raises(Unreachable):
            await client.get("x", within=timedelta(seconds=2))
    assert raw.asked == []


def test_certificates_are_checked_unless_a_context_says_otherwise() -> None:
    client = Client("https://a")
    context = client._pool._tls()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_a_silent_watch_is_taken_up_again(raw: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.client.client.SILENCE", SOON)
    first, second = (b'{"type":"bookmark","revision":"1.%d"}\n' % number for number in (4, 5))
    raw.tell([chunked(first, end=b""), Hangs], [chunked(second)])
    assert await told(raw, 2) == ["1.4", "1.5"]
    assert b"after=1.4" in raw.asked[1][1]


@pytest.mark.parametrize("at", range(1, 80, 6))
async def test_wherever_a_watch_is_cut_nothing_is_left_out_and_nothing_comes_twice(raw: RawServer, at: int) -> None:
    lines = [b'{"type":"change","revision":"1.%d","changes":[]}\n' % number for number in range(1, 5)]
    cut = b"".join(lines)[: len(lines[0]) + at]
    done = cut.count(b"\n")
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % 1000
    raw.tell([head + cut], [chunked(*lines[done:])])
    assert await told(raw, 4) == ["1.1", "1.2", "1.3", "1.4"]
    assert b"after=1.%d HTTP" % done in raw.asked[1][1]


async def test_a_stream_ends_with_its_client(raw: RawServer) -> None:
    raw.tell([chunked(b"hello", end=b""), Hangs])
    async with Client(raw.url) as client:
        text = client.logs("t", is_followed=True)
        assert await anext(text) == b"hello"
    with pytest.raises(Unreachable):
        await anext(text)


async def told(raw: RawServer, count: int) -> list[str]:
    revisions: list[str] = []
    async with Client(raw.url) as client, aclosing(client.watch(Selection(kinds=("jobs",)))) as messages:
        async for message in messages:
            revisions.append(message.revision)
            if len(revisions) == count:
                break
    return revisions
