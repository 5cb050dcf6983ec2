"""The client of the REST API: errors by kind, and a watch that goes on over anything but a gap."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from harpoon.client import Client, Denied, Selection, Unreachable
from harpoon.kit.errors import Conflict, Gone, HarpoonError, Invalid, NotFound, PreconditionFailed, Unavailable
from tests.cli.fake_server import FakeServer, Told, free_port, problem

WATCH = "GET /v1/watch"
JOBS = Selection(kinds=("jobs",))


def a_change(revision: int) -> dict[str, Any]:
    return {"type": "change", "revision": f"1.{revision}", "changes": []}


def revisions(messages: Iterator[dict[str, Any]], count: int) -> list[str]:
    return [message["revision"] for message in itertools.islice(messages, count)]


def test_a_path_is_quoted_and_a_query_leaves_out_what_is_not_given(server: FakeServer) -> None:
    server.tell("GET /v1/jobs/a%2F..%2Fb", Told(body={}))
    Client(server.url).get("jobs", "a/../b", query={"tag": ("x=1", "y=2"), "name": None, "wait": ""})
    assert server.asked[0].query == {"tag": ["x=1", "y=2"]}


def test_the_token_travels_in_a_header_alone(server: FakeServer) -> None:
    server.tell("GET /v1/status", Told(body={}))
    Client(server.url, token="0123456789abcdef").get("status")
    assert server.asked[0].headers["authorization"] == "Bearer 0123456789abcdef"
    assert server.asked[0].query == {}


def test_etag_and_revision_of_an_answer_are_told(server: FakeServer) -> None:
    server.tell("GET /v1/x", Told(body={"a": 1}, headers={"ETag": '"1.7"', "Harpoon-Revision": "1.9"}))
    answer = Client(server.url).get("x")
    assert (answer.etag, answer.revision, answer.body) == ('"1.7"', "1.9", {"a": 1})


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
def test_each_status_is_its_kind_of_error(server: FakeServer, status: int, kind: type[HarpoonError]) -> None:
    server.tell("GET /v1/x", problem(status, "so it is"))
    with pytest.raises(kind, match="so it is") as raised:
        Client(server.url).get("x")
    assert type(raised.value) is kind


def test_every_fault_of_an_input_arrives(server: FakeServer) -> None:
    errors = [{"pointer": "/spec/scale", "detail": "too large"}, {"pointer": "/spec/tusk", "detail": "unknown"}]
    server.tell("PUT /v1/x", problem(400, "wrong", errors=errors))
    with pytest.raises(Invalid) as raised:
        Client(server.url).put("x", body={})
    assert [(fault.pointer, fault.detail) for fault in raised.value.problems] == [
        ("/spec/scale", "too large"),
        ("/spec/tusk", "unknown"),
    ]


def test_a_redirect_is_not_followed(server: FakeServer) -> None:
    server.tell("GET /v1/x", Told(status=307, headers={"Location": "/v1/y"}))
    with pytest.raises(HarpoonError):
        Client(server.url, token="0123456789abcdef").get("x")
    assert server.of("GET /v1/y") == []


def test_an_answer_cut_short_is_no_answer(server: FakeServer) -> None:
    server.tell("GET /v1/x", Told(body={"items": list(range(1000))}, cut=True))
    with pytest.raises(Unreachable):
        Client(server.url).get("x")


@pytest.mark.parametrize("url", ["", "localhost", "ftp://a", "http://", "http://a:99999", "http://a?b", "http://u:p@a"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Client(url)


def test_a_watch_goes_on_after_the_last_whole_message_when_the_connection_is_lost(server: FakeServer) -> None:
    first = Told(lines=[{"type": "snapshot", "revision": "1.3", "items": []}, a_change(4)])
    server.tell(WATCH, first, Told(lines=[a_change(5)]), Told(lines=[a_change(6)], hangs=True))
    losses: list[HarpoonError] = []
    told = revisions(Client(server.url).watch(JOBS, lost=losses.append), 4)
    assert told == ["1.3", "1.4", "1.5", "1.6"]
    assert [asked.query.get("after") for asked in server.of(WATCH)] == [None, ["1.4"], ["1.5"]]
    assert len(losses) == 2


def test_a_watch_cut_off_for_being_slow_goes_on(server: FakeServer) -> None:
    slow = {"type": "error", "code": "slow_reader", "detail": "too slow"}
    server.tell(WATCH, Told(lines=[a_change(4), slow]), Told(lines=[a_change(5)], hangs=True))
    losses: list[HarpoonError] = []
    assert revisions(Client(server.url).watch(JOBS, lost=losses.append), 2) == ["1.4", "1.5"]
    assert [str(loss) for loss in losses] == ["too slow"]


def test_a_server_that_stops_is_come_back_to(server: FakeServer) -> None:
    server.tell(WATCH, Told(lines=[a_change(4), {"type": "bye"}]), Told(lines=[a_change(5)], hangs=True))
    assert revisions(Client(server.url).watch(JOBS, lost=lambda _: None), 2) == ["1.4", "1.5"]


def test_an_outage_is_told_once_however_long_it_lasts(server: FakeServer) -> None:
    away = problem(503, "starting")
    server.tell(WATCH, Told(lines=[a_change(4)]), away, away, away, Told(lines=[a_change(5)], hangs=True))
    losses: list[HarpoonError] = []
    revisions(Client(server.url).watch(JOBS, lost=losses.append), 2)
    assert len(losses) == 1


def test_history_that_is_gone_ends_a_watch_and_names_what_is_kept(server: FakeServer) -> None:
    server.tell(WATCH, Told(lines=[a_change(4)]), problem(410, "compacted", oldest="1.90"))
    watch = Client(server.url).watch(JOBS, lost=lambda _: None)
    assert revisions(watch, 1) == ["1.4"]
    with pytest.raises(Gone) as raised:
        next(watch)
    assert raised.value.oldest == "1.90"


def test_a_watch_that_never_was_connected_fails_at_once() -> None:
    watch = Client(f"http://127.0.0.1:{free_port()}").watch(JOBS, lost=lambda _: None)
    with pytest.raises(Unreachable):
        next(watch)


def test_text_is_read_as_it_comes(server: FakeServer) -> None:
    server.tell("GET /v1/tasks/t/logs", Told(text=b"one\ntwo\n"))
    assert b"".join(Client(server.url).read_text("tasks", "t", "logs")) == b"one\ntwo\n"
