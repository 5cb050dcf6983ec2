"""The client of the REST API: errors by kind, and a watch that goes on over anything but a gap."""

from contextlib import aclosing
from typing import Any

import pytest

from harpoon.client import Client
from harpoon.client.origin import DEFAULT_URL, origin_of
from harpoon.client.watch import Lines, Selection
from harpoon.config import DEFAULT_LISTEN
from harpoon.kit.errors import (
    Conflict,
    Denied,
    Gone,
    HarpoonError,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unavailable,
    Unreachable,
)
from tests.cli.fake_server import FakeServer, Told, problem
from tests.ports import free_port

WATCH = "GET /v1/watch"
JOBS = Selection(kinds=("jobs",))


def a_change(revision: int) -> dict[str, Any]:
    return {"type": "change", "revision": f"1.{revision}", "changes": []}


async def revisions(client: Client, count: int, losses: list[HarpoonError] | None = None) -> list[str]:
    """Return the revisions that a watch tells, at least so many."""
    told: list[str] = []
    lost = None if losses is None else losses.append
    async with aclosing(client.watch(JOBS, lost=lost)) as messages:
        async for message in messages:
            told.append(message.revision)
            if len(told) >= count:
                break
    return told


async def test_a_path_is_quoted_and_a_query_leaves_out_what_is_not_given(client: Client, server: FakeServer) -> None:
    server.tell("GET /v1/jobs/a%2F..%2Fb", Told(body={}))
    await client.get("jobs", "a/../b", query={"tag": ("x=1", "y=2"), "name": None, "wait": ""})
    assert server.asked[0].query == {"tag": ["x=1", "y=2"]}


@pytest.mark.parametrize("part", ["", ".", "..", "a\r\nX-Evil: 1", "a\0", "\ud800"])
async def test_what_cannot_be_a_name_is_not_asked_for(client: Client, server: FakeServer, part: str) -> None:
    with pytest.raises(Invalid):
        await client.get("jobs", part)
    assert server.asked == []


async def test_nothing_in_an_etag_becomes_another_header(client: Client, server: FakeServer) -> None:
    with pytest.raises(Invalid):
        await client.put("x", body={}, if_match='"1.7"\r\nX-Evil: 1')
    assert server.asked == []


@pytest.mark.parametrize("token", ["a\r\nb", "a b", "", "\u00e9"])
def test_what_is_no_token_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(Invalid) as raised:
        Client(token=token)
    assert not token or token not in str(raised.value)


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": "\ud800"}, {"a": object()}])
async def test_what_is_no_json_is_not_sent(client: Client, server: FakeServer, body: object) -> None:
    with pytest.raises(Invalid):
        await client.post("x", body=body)
    assert server.asked == []


async def test_the_token_travels_in_a_header_alone(client: Client, server: FakeServer) -> None:
    server.tell("GET /v1/status", Told(body={}))
    await client.get("status")
    assert server.asked[0].headers["authorization"] == "Bearer 0123456789abcdef"
    assert server.asked[0].query == {}


async def test_etag_and_revision_of_an_answer_are_told(client: Client, server: FakeServer) -> None:
    server.tell("GET /v1/x", Told(body={"a": 1}, headers={"ETag": '"1.7"', "Harpoon-Revision": "1.9"}))
    answer = await client.get("x")
    assert (answer.etag, answer.revision, answer.body) == ('"1.7"', "1.9", {"a": 1})


async def test_conditions_travel_as_headers(client: Client, server: FakeServer) -> None:
    server.tell("PUT /v1/x", Told(body={}))
    await client.put("x", body={}, if_match='"1.7"')
    await client.put("x", body={}, is_new=True)
    assert [asked.headers.get("if-match") for asked in server.asked] == ['"1.7"', None]
    assert [asked.headers.get("if-none-match") for asked in server.asked] == [None, "*"]


async def test_every_post_has_a_key_of_its_own_and_nothing_else_has_one(client: Client, server: FakeServer) -> None:
    for method in ("GET", "PUT", "POST", "DELETE"):
        server.tell(f"{method} /v1/x", Told(body={}))
    await client.get("x")
    await client.put("x", body={})
    await client.delete("x")
    assert [asked.headers.get("idempotency-key") for asked in server.asked] == [None] * 3
    await client.post("x", body={})
    await client.post("x", body={})
    assert len({asked.headers["idempotency-key"] for asked in server.asked[3:]}) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Denied),
        (403, Denied),
        (404, NotFound),
        (409, Conflict),
        (412, PreconditionFailed),
        (413, Invalid),
        (415, Invalid),
        (422, Invalid),
        (429, Unavailable),
        (500, HarpoonError),
        (502, HarpoonError),
        (503, Unavailable),
        (504, Unavailable),
    ],
)
async def test_each_status_is_its_kind_of_error(
    client: Client, server: FakeServer, status: int, kind: type[HarpoonError]
) -> None:
    server.tell("GET /v1/x", problem(status, "so it is"))
    with pytest.raises(kind, match="so it is") as raised:
        await client.get("x")
    assert type(raised.value) is kind


async def test_every_fault_of_an_input_arrives(client: Client, server: FakeServer) -> None:
    errors = [{"pointer": "/spec/scale", "detail": "too large"}, {"pointer": "/spec/tusk", "detail": "unknown"}]
    server.tell("PUT /v1/x", problem(400, "wrong", errors=errors))
    with pytest.raises(Invalid) as raised:
        await client.put("x", body={})
    assert [(fault.pointer, fault.detail) for fault in raised.value.problems] == [
        ("/spec/scale", "too large"),
        ("/spec/tusk", "unknown"),
    ]


async def test_a_redirect_is_not_followed(client: Client, server: FakeServer) -> None:
    server.tell("GET /v1/x", Told(status=307, headers={"Location": "/v1/y"}))
    with pytest.raises(HarpoonError):
        await client.get("x")
    assert server.of("GET /v1/y") == []


async def test_an_answer_that_is_no_json_is_another_services(client: Client, server: FakeServer) -> None:
    server.tell("GET /v1/x", Told(text=b"<html>"))
    with pytest.raises(HarpoonError, match="another service"):
        _ = (await client.get("x")).body


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "ftp://a",
        "http://",
        "http://a:99999",
        "http://a:0",
        "http://a:b",
        "http://a?b",
        "http://a#b",
        "http://u:p@a",
        "http://a b",
        "http://a/b c",
        "http://a\r\nX: y",
        "http://[::1",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Client(url)


@pytest.mark.parametrize(
    ("url", "authority", "prefix"),
    [
        ("http://a", "a", ""),
        ("http://a:80/", "a", ""),
        ("https://a:443/x/", "a", "/x"),
        ("https://a:80", "a:80", ""),
        ("http://[::1]:4450", "[::1]:4450", ""),
    ],
)
def test_a_url_is_read_whole(url: str, authority: str, prefix: str) -> None:
    assert (origin_of(url).authority, origin_of(url).prefix) == (authority, prefix)


def test_a_client_asks_where_a_server_listens_unless_told_otherwise() -> None:
    assert DEFAULT_LISTEN.url == DEFAULT_URL


async def test_a_watch_goes_on_after_the_last_whole_message_when_the_connection_is_lost(
    client: Client, server: FakeServer
) -> None:
    first = Told(lines=[{"type": "snapshot", "revision": "1.3", "items": []}, a_change(4)])
    server.tell(WATCH, first, Told(lines=[a_change(5)]), Told(lines=[a_change(6)], hangs=True))
    losses: list[HarpoonError] = []
    assert await revisions(client, 4, losses) == ["1.3", "1.4", "1.5", "1.6"]
    assert [asked.query.get("after") for asked in server.of(WATCH)] == [None, ["1.4"], ["1.5"]]
    assert len(losses) == 2


async def test_a_watch_cut_off_for_being_slow_goes_on(client: Client, server: FakeServer) -> None:
    slow = {"type": "error", "code": "slow_reader", "detail": "too slow"}
    server.tell(WATCH, Told(lines=[a_change(4), slow]), Told(lines=[a_change(5)], hangs=True))
    losses: list[HarpoonError] = []
    assert await revisions(client, 2, losses) == ["1.4", "1.5"]
    assert [str(loss) for loss in losses] == ["too slow"]


async def test_a_server_that_stops_is_come_back_to(client: Client, server: FakeServer) -> None:
    server.tell(WATCH, Told(lines=[a_change(4), {"type": "bye"}]), Told(lines=[a_change(5)], hangs=True))
    assert await revisions(client, 2) == ["1.4", "1.5"]


async def test_a_message_of_a_kind_to_come_is_passed_over(client: Client, server: FakeServer) -> None:
    server.tell(WATCH, Told(lines=[{"type": "weather", "revision": "1.4"}, a_change(5)], hangs=True))
    assert await revisions(client, 1) == ["1.5"]


async def test_an_outage_is_told_once_however_long_it_lasts(client: Client, server: FakeServer) -> None:
    away = problem(503, "starting")
    server.tell(WATCH, Told(lines=[a_change(4)]), away, away, away, Told(lines=[a_change(5)], hangs=True))
    losses: list[HarpoonError] = []
    assert await revisions(client, 2, losses) == ["1.4", "1.5"]
    assert len(losses) == 1


@pytest.mark.parametrize(
    "answer",
    [
        problem(410, "compacted", oldest="1.90"),
        Told(lines=[{"type": "error", "code": "gone", "detail": "compacted", "oldest": "1.90"}]),
    ],
)
async def test_history_that_is_gone_ends_a_watch_and_names_what_is_kept(
    client: Client, server: FakeServer, answer: Told
) -> None:
    server.tell(WATCH, Told(lines=[a_change(4)]), answer)
    with pytest.raises(Gone) as raised:
        await revisions(client, 2)
    assert raised.value.oldest == "1.90"


async def test_a_watch_that_never_was_connected_fails_at_once() -> None:
    async with Client(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(Unreachable):
            await revisions(client, 1)


@pytest.mark.parametrize("line", [b"[]\n", b"frob\n"])
async def test_a_watch_that_tells_no_messages_is_another_services(
    client: Client, server: FakeServer, line: bytes
) -> None:
    server.tell(WATCH, Told(text=line))
    with pytest.raises(HarpoonError):
        await revisions(client, 1)


async def test_text_is_read_as_it_comes(client: Client, server: FakeServer) -> None:
    server.tell("GET /v1/tasks/t/logs", Told(text=b"one\ntwo\n"))
    assert b"".join([data async for data in client.logs("t", tail=2)]) == b"one\ntwo\n"
    assert server.asked[0].query == {"stream": ["stdout"], "tail": ["2"]}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_the_same_however_the_stream_was_cut(size: int) -> None:
    text, lines = b"one\n\ntwo\nthree\nrest", Lines()
    told = [line for start in range(0, len(text), size) for line in lines.take(text[start : start + size])]
    assert told == [b"one", b"", b"two", b"three"]
    assert lines.take(b"\n") == [b"rest"]


def test_a_message_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.client.watch.LINE_BYTES_MAX", 100)
    lines = Lines()
    with pytest.raises(HarpoonError, match="larger"):
        for _ in range(3):
            lines.take(b"x" * 50)
