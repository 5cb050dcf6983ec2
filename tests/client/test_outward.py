"""Calls to the world outside: every way back in that there is, and answers that are more than anybody takes."""

import asyncio
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harpoon.client import outward, unpacking
from harpoon.client.outward import Answer, NotReached, OutwardCaller, Request
from harpoon.client.unpacking import Unreadable
from harpoon.kit.destination import Forbidden, Guard, parse_opening
from tests.client.outside import bomb, closed, outside
from tests.etcd.certificates import make_certificates

MIB = 1 << 20


class Names:
    """Says what names come to, one answer after the other, the last again and again; and counts who asks."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def a_caller(
    *openings: str, names: Names | None = None, shut: frozenset[int] = frozenset(), tls: ssl.SSLContext | None = None
) -> AsyncIterator[OutwardCaller]:
    caller = OutwardCaller(Guard([parse_opening(one) for one in openings], shut), names, tls)
    try:
        yield caller
    finally:
        await caller.close()


async def get(caller: OutwardCaller, url: str, most: int = MIB, method: str = "GET", **headers: str) -> Answer:
    return await caller.call(Request(method, url, headers), most)


#: Ways to the server of these tests that nobody opened; ``{port}`` is its port.
INWARD = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0x7f.1:{port}/",
    "http://0x7f000001:{port}/",
    "http://2130706433:{port}/",
    "http://017700000001:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://①②⑦.0.0.1:{port}/",
    "http://127。0。0。1:{port}/",
    "http://127.0.0.1:{port}/#@example.com/",
    "http://127.0.0.1:{port}?@example.com/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[fe80::1%lo]:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://user:pass@example.com:{port}/",
    "http://example.com\\@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://@127.0.0.1:{port}/",
    "http:///etc/passwd",
    "http://:{port}/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:{port}/\r\nHost: a",
    "http://127.0.0.1\x00.example.com:{port}/",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "ftp://127.0.0.1:{port}/",
    "dict://127.0.0.1:{port}/",
    "ws://127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}",
    "javascript:alert(1)",
    "",
]


@pytest.mark.parametrize("url", INWARD)
async def test_no_way_leads_back_in(url: str) -> None:
    async with outside() as there, a_caller() as caller:
        with pytest.raises(Forbidden) as caught:
            await get(caller, url.format(port=there.port))
        assert there.taken == 0
        assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://a.example/" + "x" * 8192, "http://" + "\ufdfa." * 500, "http://" + "a" * 400 + "?"]
)
async def test_what_takes_long_to_be_read_as_a_url_is_not_read(url: str) -> None:
    names = Names(["127.0.0.1"])
    async with a_caller("127.0.0.1", names=names) as caller:
        with pytest.raises(Forbidden, match=r"8192 at most|names no host"):
            await get(caller, url)
        assert names.asked == []


async def test_what_an_operator_opens_is_called() -> None:
    async with outside() as there, a_caller("127.0.0.0/8", "localhost") as caller:
        there.reply("/", 200, b"hello", Content_Type="text/plain; charset=latin-1", X_A="1")
        for host in ("127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]"):
            answer = await get(caller, there.at("/", host))
            assert answer == Answer(
                200,
                (("content-type", "text/plain; charset=latin-1"), ("x-a", "1"), ("content-length", "5")),
                b"hello",
                False,
                "latin-1",
                answer.url,
            )


async def test_ports_of_the_house_stay_closed_whatever_is_opened() -> None:
    async with outside() as there, a_caller("127.0.0.1", shut=frozenset({there.port})) as caller:
        with pytest.raises(Forbidden, match="own"):
            await get(caller, there.at("/"))
        assert there.taken == 0


async def test_what_is_connected_to_is_what_was_checked_and_the_host_stays_in_the_request() -> None:
    names = Names(["127.0.0.1"])
    async with outside() as there, a_caller("127.0.0.1", names=names) as caller:
        there.reply("/")
        await get(caller, there.at("/", "shop.example"))
        assert there.got[0].headers["host"] == f"shop.example:{there.port}"
        # The connection is kept, so nobody is asked again what the name is.
        await get(caller, there.at("/", "shop.example"))
        assert (there.taken, names.asked) == (1, [("shop.example", there.port)])


async def test_a_name_that_comes_to_something_else_a_moment_later_is_checked_again() -> None:
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    async with outside() as there, a_caller(names=names) as caller:
        # It is asked once for each connection, and connected to is what it was: which nobody answers at here.
        with pytest.raises(NotReached):
            async with asyncio.timeout(0.2):
                try:
                    await get(caller, there.at("/", "rebind.example"))
                except TimeoutError:
                    raise NotReached from None
        assert len(names.asked) == 1
        with pytest.raises(Forbidden, match=r"rebind\.example is 127\.0\.0\.1"):
            await get(caller, there.at("/", "rebind.example"))
        assert (there.taken, len(names.asked)) == (0, 2)


@pytest.mark.parametrize(
    "answers", [["93.184.216.34", "127.0.0.1"], ["127.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%lo"], ["fd00::1"]]
)
async def test_every_answer_is_checked(answers: list[str]) -> None:
    async with outside() as there, a_caller(names=Names(answers)) as caller:
        with pytest.raises(Forbidden):
            await get(caller, there.at("/", "mixed.example"))
        assert there.taken == 0


async def test_a_name_that_comes_to_nothing_is_not_reached() -> None:
    async with a_caller(names=Names([])) as caller:
        with pytest.raises(NotReached, match=r"nothing\.example:80 could not be resolved"):
            await get(caller, "http://nothing.example/")


async def test_nothing_is_brought_along(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    async with outside() as there, a_caller("127.0.0.1") as caller:
        there.reply("/", 200, b"", Set_Cookie="a=1; Path=/")
        await get(caller, there.at("/"), X_One="1")
        await get(caller, there.at("/"))
        assert there.got[0].headers["x_one"] == "1"
        assert "cookie" not in there.got[1].headers
        assert there.taken == 1


async def test_a_redirect_is_not_followed() -> None:
    async with outside() as there, a_caller("127.0.0.1") as caller:
        there.reply("/", 302, b"", Location="/b")
        answer = await get(caller, there.at("/"))
        assert (answer.status, dict(answer.headers)["location"], len(there.got)) == (302, "/b", 1)


async def test_no_more_is_read_than_is_taken_and_the_rest_is_not_waited_for() -> None:
    async with outside() as there, a_caller("127.0.0.1") as caller:

        async def endless(_got: object, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()

        there.replies["/"] = endless
        answer = await get(caller, there.at("/"), 1000)
        assert (answer.body, answer.is_cut) == (b"x" * 1000, True)
        await closed(lambda: not there.open)


@pytest.mark.parametrize("most", [0, 1, 1000, MIB])
async def test_what_is_packed_counts_as_what_it_unpacks_to(most: int) -> None:
    async with outside() as there, a_caller("127.0.0.1") as caller:
        there.reply("/", 200, bomb(64 * MIB), Content_Encoding="gzip")
        answer = await get(caller, there.at("/"), most)
        assert (answer.body, answer.is_cut) == (bytes(most), True)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"hello", mtime=0)),
        ("GZIP", gzip.compress(b"hel", mtime=0) + gzip.compress(b"lo", mtime=0)),
        ("deflate", zlib.compress(b"hello")),
        ("identity", b"hello"),
    ],
)
async def test_what_is_packed_is_unpacked(encoding: str, packed: bytes) -> None:
    async with outside() as there, a_caller("127.0.0.1") as caller:
        there.reply("/", 200, packed, Content_Encoding=encoding)
        answer = await get(caller, there.at("/"), 5)
        assert (answer.body, answer.is_cut) == (b"hello", False)
        there.reply("/", 200, b"", Content_Encoding=encoding)
        assert (await get(caller, there.at("/"))).body == b""


@pytest.mark.parametrize("empty", [gzip.compress(b"", mtime=0), zlib.compress(b"")])
async def test_streams_that_stand_for_nothing_are_not_unpacked_for_ever(empty: bytes) -> None:
    async with outside() as there, a_caller("127.0.0.1") as caller:
        there.reply(
            "/", 200, empty * (unpacking.STREAMS_MAX - 1) + gzip.compress(b"end", mtime=0), Content_Encoding="gzip"
        )
        assert (await get(caller, there.at("/"))).body == b"end"
        there.reply("/", 200, empty * 50_000, Content_Encoding="gzip")
        with pytest.raises(Unreadable, match="more than 1000 streams"):
            await get(caller, there.at("/"))


async def test_an_encoding_that_is_not_known_is_refused() -> None:
    async with outside() as there, a_caller("127.0.0.1") as caller:
        there.reply("/", 200, b"x", Content_Encoding="br")
        with pytest.raises(Unreadable, match="'br'"):
            await get(caller, there.at("/"))


#: An answer that is none → what is said of it.
BROKEN = {
    b"": "closed the connection without an answer",
    b"SSH-2.0-OpenSSH\r\n\r\n": "no HTTP",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab": "broke off its answer",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": "",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab": "no HTTP",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000 + b"\r\n\r\n": "no HTTP",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello": "not encoded as it says",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n"
    + gzip.compress(b"hello", mtime=0)[:12]: ("not encoded as it says"),
}


@pytest.mark.parametrize("text", BROKEN)
async def test_an_answer_that_is_none_is_told_so(text: bytes) -> None:
    async with outside() as there, a_caller("127.0.0.1") as caller:
        there.raw("/", text)
        with pytest.raises(NotReached, match=rf"127\.0\.0\.1:{there.port} .*{BROKEN[text]}"):
            await get(caller, there.at("/"), method="POST")


async def test_where_nobody_listens_nothing_is_reached() -> None:
    async with outside() as there:
        url = there.at("/")
    async with a_caller("127.0.0.1") as caller:
        with pytest.raises(NotReached, match="took no connection"):
            await get(caller, url)


async def test_who_takes_no_connection_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outward, "CONNECT_S", 0.01)
    async with a_caller("127.0.0.1") as caller:

        async def never(*_: object, **__: object) -> object:
            await asyncio.sleep(60)
            raise AssertionError

        monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", never)
        with pytest.raises(NotReached, match="no connection within"):
            await get(caller, "http://127.0.0.1:1/")


async def test_who_calls_may_leave_and_the_connection_ends() -> None:
    async with outside() as there, a_caller("127.0.0.1") as caller:

        async def drip(_got: object, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.005)

        there.replies["/"] = drip
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await get(caller, there.at("/"))
        await closed(lambda: not there.open)


async def test_over_tls_the_name_counts_and_not_the_address(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, "shop.example")
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(made.server_cert, made.server_key)
    named: list[str | None] = []
    theirs.sni_callback = lambda _socket, name, _context: named.append(name)
    ours = ssl.create_default_context(cafile=str(made.ca))
    async with outside(theirs) as there, a_caller("127.0.0.1", names=Names(["127.0.0.1"]), tls=ours) as caller:
        there.reply("/", 200, b"hello")
        assert (await get(caller, there.at("/", "shop.example", "https"))).body == b"hello"
        assert (named, there.got[0].headers["host"]) == (["shop.example"], f"shop.example:{there.port}")
        for host in ("other.example", "127.0.0.1"):
            with pytest.raises(NotReached, match="certificate"):
                await get(caller, there.at("/", host, "https"))
    async with outside(theirs) as there, a_caller("127.0.0.1", names=Names(["127.0.0.1"])) as caller:
        with pytest.raises(NotReached, match="certificate"):
            await get(caller, there.at("/", "shop.example", "https"))


async def test_a_name_that_takes_long_to_resolve_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outward, "CONNECT_S", 0.01)

    async def never(_host: str, _port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        raise AssertionError

    async with a_caller(names=never) as caller:  # type: ignore[arg-type]
        with pytest.raises(NotReached, match="no connection within"):
            await get(caller, "http://slow.example/")
